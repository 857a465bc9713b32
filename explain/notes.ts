// What is worth knowing beside the steps: faults that were healed a moment ago, what the nodes themselves say is wrong, a session that is
// about to end. Nothing of it is the cause of anything. Pure.
import type { NodeFacts } from '../api/explain.ts'
import type { Note } from '../api/explanation.ts'
import { formatRef } from '../api/status.ts'
import { type Crossing, known, type Place } from './crossing.ts'
import { isUnknownNode, oneWay, sessionBetween } from './no-way.ts'

const MOST_EVENTS = 8
const MOST_CONDITIONS = 8
/** What somebody changed: other events tell what follows of it. */
const CHANGES: readonly string[] = ['Healed', 'Removed', 'LetPass']

/** The newest first, those that name something of this way before others. */
export function notesOf(c: Crossing): Note[] {
  const places = [c.near, ...(c.isOneNode ? [] : [c.far])].filter(each => each?.facts !== undefined) as Place[]
  const words = wordsOf(c)
  const concerns = ({ text }: Note) => words.some(word => text.includes(word))
  const events = places.flatMap(({ node, facts }) => eventNotes(node, facts!))
  const conditions = places.flatMap(({ node, facts }) => conditionNotes(node, facts!))
  return [
    ...sessionNotes(c),
    ...events
      .toSorted((a, b) => Number(concerns(b)) - Number(concerns(a)) || (b.at ?? '').localeCompare(a.at ?? ''))
      .slice(0, MOST_EVENTS),
    ...conditions.toSorted((a, b) => Number(concerns(b)) - Number(concerns(a))).slice(0, MOST_CONDITIONS),
  ]
}

function eventNotes(node: string, { recent }: NodeFacts): Note[] {
  return recent
    .filter(({ type }) => CHANGES.includes(type))
    .map(({ at, type, object, message }) => ({ node, at, text: `${type} ${formatRef(object)}: ${message}` }))
}

function conditionNotes(node: string, facts: NodeFacts): Note[] {
  const notes = facts.conditions
    .filter(({ status }) => status === 'False')
    .map(({ type, reason, object, message }) => ({
      node,
      text: `${type} is not kept (${reason})${object === undefined ? '' : ` of ${formatRef(object)}`}: ${message}`,
      ...(type === 'NodeObjectKnown' && isUnknownNode(facts) && { code: 'NodeUnknown' }),
    }))
  return notes
}

function sessionNotes(c: Crossing): Note[] {
  const lag = oneWay(c)
  if (lag !== undefined) return [{ node: lag.node, text: lag.message, code: lag.code }]
  const session = sessionBetween(c.near, c.far)
  if (c.isOneNode || session === undefined || session.state === 'Established') return []
  const text = `the BGP session with ${c.far!.node} is ${session.state} (${session.message || session.reason}): routes over it end when its time is over`
  return [{ node: c.near!.node, text, code: 'SessionDown' }]
}

/** Names and addresses that the way goes by. */
function wordsOf({ way, arrival, source, target, near, far }: Crossing): string[] {
  const links = [way?.entersBy, way?.leavesBy, way?.outer?.leavesBy, arrival?.entersBy, arrival?.leavesBy]
  const blocks = [near, far].flatMap(place => known(place?.facts?.blocks) ?? [])
  return [
    ...links.flatMap(link => known(link)?.name ?? []),
    ...[source, target].flatMap(({ address, pod }) => [address, ...(pod === undefined ? [] : [pod.name])]),
    ...blocks.flatMap(({ block }) => block ?? []),
    ...(way?.outer === undefined ? [] : [way.outer.remote]),
    'ip_forward',
  ]
}
