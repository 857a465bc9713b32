// What the agents of a lab say, conditions that are not True and events, and whether that names a fault.
import { eventsAnswer, statusAnswer } from '../../api/answers.ts'
import type { Explanation, NodeExplanation } from '../../api/explanation.ts'
import { askAgent } from '../ask.ts'
import type { Lab } from '../lab.ts'
import type { Fault, Word } from './fault.ts'

/** A condition or event of one node as it was said. */
export type Said = {
  at: string
  of: 'condition' | 'event'
  type: string
  reason: string
  object?: { kind: string; name: string }
  message: string
  /** Of a condition. */
  remedy?: string
}

const ASK_MS = 1000
const EVENTS = 500

/** All that the agents say now: conditions that are not True, and events since `since` (RFC 3339). One that is silent says nothing. */
export async function saidNow(lab: Lab, since: string): Promise<Said[]> {
  const said = await Promise.all(
    lab.plan.nodes.map(async ({ name: at }): Promise<Said[]> => {
      const socket = lab.agentSocket(at)
      const [status, events] = await Promise.all([
        askAgent(socket, '/status', ASK_MS),
        askAgent(socket, `/events?count=${EVENTS}`, ASK_MS),
      ])
      if (status === undefined || events === undefined) return []
      const conditions = statusAnswer.parse(status).conditions.filter(({ status: is }) => is !== 'True')
      const happened = eventsAnswer.parse(events).filter(event => event.at >= since)
      return [
        ...conditions.map(({ type, reason, object, message, remedy }) => {
          return { at, of: 'condition', type, reason, object, message, remedy } as const
        }),
        ...happened.map(({ type, reason, object, message }) => {
          return { at, of: 'event', type, reason, object, message } as const
        }),
      ]
    }),
  )
  return said.flat()
}

/** Whether what was said is the word that names a fault. */
export function isWord(word: Word, { at, of, type, reason, object, message }: Said): boolean {
  if (at !== word.at || !`${object?.kind} ${object?.name} ${message}`.includes(word.about)) return false
  if ('condition' in word) return of === 'condition' && type === word.condition && reason === word.reason
  return of === 'event' && type === word.event && object?.kind === word.kind && (word.reason ?? reason) === reason
}

/** Whether `explain` gives the cause first, or tells what of it was healed since `since`. `words`: that name the fault in this lab. */
export function isExplained(
  { explained }: Pick<Fault, 'explained'>,
  words: readonly Word[],
  { verdict, first, notes }: Pick<Explanation | NodeExplanation, 'verdict' | 'first' | 'notes'>,
  since: string,
): boolean {
  if (explained !== 'healed') return first?.code === explained.code && first.node === explained.at
  // a condition has no time: it is so now
  const recent = notes.filter(({ at = since }) => at >= since)
  const isTold = ({ at, about }: Word) => recent.some(({ node, text }) => node === at && text.includes(about))
  return verdict === 'passes' && words.some(isTold)
}

/** In one line, as a person reads it. */
export function saidText({ at, type, reason, object, message }: Said): string {
  return `${at} ${type} ${reason}${object === undefined ? '' : ` ${object.kind} ${object.name}`}: ${message}`
}
