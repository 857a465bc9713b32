// `explain --probe`: sends the packet of a question really, from where it begins, and follows it on the nodes of both ends. Both are told
// before anything is sent, and asked after it, so that what one counted and the other did not was counted at the same time.
import { randomBytes } from 'node:crypto'
import type { AskedPacket, Question } from '../api/explain.ts'
import type { Probed } from '../api/explanation.ts'
import type { ProbePacket, TraceFacts, TraceOrder } from '../api/trace.ts'
import type { Ends } from './ends/ends.ts'

const BY_NUMBER: Readonly<Record<number, ProbePacket['protocol']>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6' }

/** What the packet met, and how it ended; `failed` says why none was sent, or what of it is not known. */
export type Probing = { traces: TraceFacts[]; probe?: Probed; failed?: string }

/** Never rejects for a node that does not answer, or that refuses. */
export async function probed(question: Question, ends: Pick<Ends, 'trace'>): Promise<Probing> {
  const { from, to, packet } = question
  if (from.node === undefined) return { traces: [], failed: `nobody of the cluster can send from ${from.address}` }
  if (to.address === '') return { traces: [] }
  return follow(packet, from.node, to.node, ends)
}

/**
 * What the node where a question begins does with a packet to the Service itself; undefined where it has no address, where the question's
 * own packet goes there, or where nothing is known. To which pod it goes is not known before, so that no other node is asked.
 */
export async function probedService(
  { from, packet, service }: Question,
  ends: Pick<Ends, 'trace'>,
): Promise<TraceFacts | undefined> {
  if (from.node === undefined || service === undefined) return undefined
  if (service.address === '' || service.address === packet.destination) return undefined
  const { address: destination, port: destinationPort, protocol } = service
  const asked = { ...packet, destination, destinationPort, protocol }
  const { traces } = await follow(asked, from.node, undefined, ends)
  return traces.find(({ direction }) => direction === 'there')
}

/** Sends a packet from `near`, and follows it there and on `far`. */
async function follow(
  asked: AskedPacket,
  near: string,
  far: string | undefined,
  ends: Pick<Ends, 'trace'>,
): Promise<Probing> {
  const packet = packetOf(asked)
  if (typeof packet === 'string') return { traces: [], failed: packet }
  const marker = randomBytes(8).toString('hex')
  const order = async (node: string, asked: TraceOrder) => ({ node, answer: await ends.trace(node, asked) })
  const nodes = far === undefined || far === near ? [near] : [near, far]
  const arming = await Promise.all(nodes.map(node => order(node, { do: 'arm', packet, marker })))
  const armed = arming.filter(({ answer }) => 'armed' in answer).map(({ node }) => node)
  const sending = armed.includes(near) ? [await order(near, { do: 'send', marker })] : []
  const collecting = await Promise.all(armed.map(node => order(node, { do: 'collect', marker })))
  const said = [...arming, ...sending, ...collecting].flatMap(({ node, answer }) =>
    'silent' in answer ? [`${node}: ${answer.silent}`] : [],
  )
  const [sent] = sending.flatMap(({ answer }) => ('outcome' in answer ? [answer] : []))
  return {
    // which node says it is known by whom was asked, not by its word
    traces: collecting.flatMap(({ node, answer }) =>
      'facts' in answer ? answer.facts.map(each => ({ ...each, node })) : [],
    ),
    ...(said.length > 0 && { failed: said.join('; ') }),
    ...(sent !== undefined && { probe: { node: near, ...sent } }),
  }
}

/** A packet as a probe; a text says why it is none. */
function packetOf(packet: AskedPacket): ProbePacket | string {
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
