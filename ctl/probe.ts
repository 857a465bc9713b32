// `explain --probe`: sends the packet of a question really, from where it begins, and follows it on the nodes of both ends. Both are told
// before anything is sent, and asked after it, so that what one counted and the other did not was counted at the same time.
import { randomBytes } from 'node:crypto'
import type { Question } from '../api/explain.ts'
import type { Probed } from '../api/explanation.ts'
import type { ProbePacket, TraceAnswer, TraceFacts, TraceOrder } from '../api/trace.ts'
import type { Ends } from './ends/ends.ts'

const BY_NUMBER: Readonly<Record<number, ProbePacket['protocol']>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6' }

/** What the packet met, and how it ended; `failed` says why none was sent, or what of it is not known. */
export type Probing = { traces: TraceFacts[]; probe?: Probed; failed?: string }

/** Never rejects for a node that does not answer, or that refuses. */
export async function probed(question: Question, ends: Pick<Ends, 'trace'>): Promise<Probing> {
  const [near, far] = [question.from.node, question.to.node]
  const packet = packetOf(question)
  if (near === undefined) return { traces: [], failed: `nobody of the cluster can send from ${question.from.address}` }
  if (typeof packet === 'string') return { traces: [], failed: packet }
  const marker = randomBytes(8).toString('hex')
  const order = async (node: string, asked: TraceOrder) => ({ node, answer: await ends.trace(node, asked) })
  const nodes = far === undefined || far === near ? [near] : [near, far]
  const arming = await Promise.all(nodes.map(node => order(node, { do: 'arm', packet, marker })))
  const armed = arming.filter(({ answer }) => 'armed' in answer).map(({ node }) => node)
  const said = arming.flatMap(({ node, answer }) => (isSilent(answer) ? [`${node}: ${answer.silent}`] : []))
  const sent = armed.includes(near) ? (await order(near, { do: 'send', marker })).answer : undefined
  const collecting = await Promise.all(armed.map(node => order(node, { do: 'collect', marker })))
  for (const { node, answer } of collecting) if (isSilent(answer)) said.push(`${node}: ${answer.silent}`)
  if (sent !== undefined && isSilent(sent)) said.push(`${near}: ${sent.silent}`)
  const traces = collecting.flatMap(({ answer }) => ('facts' in answer ? answer.facts : []))
  const failed = said.length === 0 ? undefined : said.join('; ')
  return {
    traces,
    ...(failed !== undefined && { failed }),
    ...(sent !== undefined && 'outcome' in sent && { probe: { node: near, ...sent } }),
  }
}

function isSilent(answer: TraceAnswer | { silent: string }): answer is { silent: string } {
  return 'silent' in answer
}

/** The packet of a question as a probe; a text says why it is none. */
function packetOf({ packet }: Question): ProbePacket | string {
  const { source, destination, sourcePort, destinationPort, length } = packet
  const protocol = typeof packet.protocol === 'number' ? BY_NUMBER[packet.protocol] : packet.protocol
  if (protocol === undefined)
    return `packets of protocol ${packet.protocol} are not sent: ask for icmp, tcp/PORT or udp/PORT`
  const hasPorts = protocol === 'tcp' || protocol === 'udp'
  if (hasPorts && destinationPort === undefined)
    return `a packet of ${protocol} is sent to a port: ask for ${protocol}/PORT`
  return {
    ...{ source, destination, protocol },
    ...(hasPorts && { destinationPort }),
    ...(hasPorts && sourcePort !== undefined && { sourcePort }),
    ...(length !== undefined && { length }),
  }
}
