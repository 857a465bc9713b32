// One direction of a question as the steps see it: the packet, the node where it begins, the node where it ends, and what each of them
// said. And how a step says what it found. Pure.
import type { AskedPacket, End, Fact, NodeFacts, Question, WayFacts } from '../api/explain.ts'
import type { Evidence, Step } from '../api/explanation.ts'
import type { TraceFacts } from '../api/trace.ts'
import type { Found } from './causes.ts'

/** What came of asking one node. `away`: nobody is there to answer, which is more than no answer. */
export type NodeAnswer = { node: string; ms: number } & ({ facts: NodeFacts } | { silent: string; away: boolean })

/** A node of the cluster that the packet crosses. Without `facts` it did not answer. */
export type Place = { node: string; away: boolean; facts?: NodeFacts; trace?: TraceFacts }

export type Direction = Step['direction']

/** `near` or `far` is absent where that end is outside of the cluster. On one node both are the same. */
export type Crossing = {
  direction: Direction
  question: Question
  packet: AskedPacket
  source: End
  target: End
  near?: Place
  far?: Place
  isOneNode: boolean
  /** By which it leaves `near`, or gets to the target on one node. */
  way?: WayFacts
  /** By which it comes in on `far`. */
  arrival?: WayFacts
  /** What a packet to the address of the Service met on `near`. */
  toService?: TraceFacts
}

/** What a step says; undefined where the packet does not meet it. */
export type Finding = Pick<Step, 'verdict' | 'says'> & { evidence?: Evidence[]; found?: Found }

export function passes(says: string, ...evidence: Evidence[]): Finding {
  return { verdict: 'passes', says, evidence }
}

export function unknown(says: string, ...evidence: Evidence[]): Finding {
  return { verdict: 'unknown', says, evidence }
}

export function stopped(found: Found, ...evidence: Evidence[]): Finding {
  return { verdict: 'stopped', says: found.message, evidence, found }
}

/** A fact as it came from the wire: in JSON a value that is not there is no field. */
type WireFact<T> = ({ value?: T } | { absent: string }) & Pick<Fact<T>, 'of' | 'ageMs'>

export function known<T>(fact: WireFact<T> | undefined): T | undefined {
  return fact === undefined || 'absent' in fact ? undefined : fact.value
}

/** Why a fact is not there; undefined where it is. */
export function absenceOf(fact: WireFact<unknown> | undefined): string | undefined {
  if (fact === undefined) return 'the node does not say'
  return 'absent' in fact ? fact.absent : undefined
}

/** `text` as the fact is: its source and its age. */
export function evidence(fact: WireFact<unknown> | undefined, text: string): Evidence {
  return fact === undefined ? { of: 'kernel', text } : { of: fact.of, text, ageMs: fact.ageMs }
}

/** The crossing of the packet (`there`) or of its answer (`back`). */
export function crossing(
  direction: Direction,
  question: Question,
  ends: { near: NodeAnswer | undefined; far: NodeAnswer | undefined },
  { traces, toService }: { traces: readonly TraceFacts[]; toService?: TraceFacts | undefined },
): Crossing {
  const isThere = direction === 'there'
  const place = (answer: NodeAnswer | undefined): Place | undefined => {
    if (answer === undefined) return undefined
    const trace = traces.find(each => each.node === answer.node && each.direction === direction)
    return {
      node: answer.node,
      away: 'silent' in answer && answer.away,
      ...('facts' in answer && { facts: answer.facts }),
      ...(trace !== undefined && { trace }),
    }
  }
  const [near, far] = [place(isThere ? ends.near : ends.far), place(isThere ? ends.far : ends.near)]
  const waysOf = (at: Place | undefined, ...from: WayFacts['from'][]) =>
    at?.facts?.ways.filter(each => each.direction === direction && from.includes(each.from)) ?? []
  const way = waysOf(near, 'pod', 'host')[0]
  const arrivals = waysOf(far, 'uplink', 'tunnel')
  const by = way === undefined ? undefined : way.outer === undefined ? 'uplink' : 'tunnel'
  const arrival = arrivals.find(({ from }) => from === by) ?? arrivals[0]
  const isOneNode = near !== undefined && near.node === far?.node
  return {
    direction,
    question,
    packet: isThere ? question.packet : question.back,
    source: isThere ? question.from : question.to,
    target: isThere ? question.to : question.from,
    ...(near !== undefined && { near }),
    ...(far !== undefined && { far }),
    isOneNode,
    ...(way !== undefined && { way }),
    ...(!isOneNode && arrival !== undefined && { arrival }),
    ...(isThere && toService !== undefined && { toService }),
  }
}

/** The packet goes to a port of a node that stands for a Service: a pod gets it from there. */
export function isToNodePort({ direction, packet, target, question }: Crossing): boolean {
  return direction === 'there' && target.role === 'node' && packet.destination === question.service?.address
}

/** A pod asks itself, by its own address: what it sends stays in it. */
export function isToItself({ packet, source }: Pick<Crossing, 'packet' | 'source'>): boolean {
  return source.role === 'pod' && packet.source === packet.destination
}

/** An end as people name it. */
export function nameOf({ pod, role, node, address }: End): string {
  if (pod !== undefined) return `${pod.namespace}/${pod.name}`
  return role === 'node' && node !== undefined ? node : address
}

/** Whether a word stands in a text by itself: 10.0.0.1 does not in 10.0.0.10. */
export function mentions(text: string, word: string): boolean {
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1))
    if (!/[\w.:-]$/.test(text.slice(0, at)) && !/^(?:[\w-]|[.:]\w)/.test(text.slice(at + word.length))) return true
  return false
}
