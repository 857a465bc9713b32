// Reads a question about a packet: at most 16 KiB, of the form of api/explain.ts, with addresses that are some.
import type { IncomingMessage } from 'node:http'
import { type AskedPacket, type Question, question } from '../../api/explain.ts'
import { bodyText } from '../../lib/http-routes.ts'
import { familyOf, parseAddress } from '../../lib/ip.ts'

const MOST_OCTETS = 16 << 10

/** The question with its addresses in canonical text; a text says what is wrong with it. Rejects where the asker went away. */
export async function readQuestion(request: IncomingMessage): Promise<Question | string> {
  const text = await bodyText(request, MOST_OCTETS)
  if (text === undefined) return `a question has at most ${MOST_OCTETS} octets`
  const read = question.safeParse(parsed(text))
  if (!read.success)
    return `this is no question: ${read.error.issues[0]?.path.join('.') ?? ''} ${read.error.issues[0]?.message ?? ''}`
  const { packet, back, from, to, service } = read.data
  const asked = { packet: canonical(packet), back: canonical(back), from, to, ...(service && { service }) }
  return asked.packet === undefined || asked.back === undefined
    ? 'source and destination: write two addresses of the family'
    : (asked as Question)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function canonical(packet: AskedPacket): AskedPacket | undefined {
  const [source, destination] = [parseAddress(packet.source), parseAddress(packet.destination)]
  if (source === undefined || destination === undefined) return undefined
  if ([source, destination].some(address => familyOf(address) !== packet.family)) return undefined
  return { ...packet, source, destination }
}
