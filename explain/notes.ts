// What is worth knowing beside the steps: faults that were healed a moment ago, what the nodes themselves say is wrong, a session that is
// about to end. Nothing of it is the cause of anything. Pure.
import type { NodeFacts } from '../api/explain.ts'
import type { Note } from '../api/explanation.ts'
import { formatRef } from '../api/status.ts'
import type { NamedObject } from '../api/status-answers.ts'
import type { CauseCode } from './causes.ts'
import { type Crossing, known, mentions, type Place } from './crossing.ts'
import { sessionBetween } from './no-way.ts'

const MOST_EVENTS = 8
const MOST_CONDITIONS = 8
/** What somebody changed: other events tell what follows of it. */
const CHANGES: readonly string[] = ['Healed', 'Removed', 'LetPass']

/** What was changed comes first: the newest, and of what came with it the thing that took the others along. */
export function notesOf(c: Crossing): Note[] {
  const places = [c.near, ...(c.isOneNode ? [] : [c.far])].filter(each => each?.facts !== undefined) as Place[]
  const words = wordsOf(c)
  const concerns = (text: string) => words.some(word => mentions(text, word))
  // every pod has an interface of the same name
  const ofEnds = (text: string) => endWords(c).some(word => mentions(text, word))
  const changes = places.flatMap(({ node, facts }) => changesOf(node, facts!))
  return [
    ...sessionNotes(c),
    ...changes
      .map(change => {
        const isNear = change.object.kind === 'Endpoint' ? ofEnds : concerns
        return { ...change, isNear: change.isOfAll || isNear(`${change.object.name} ${change.note.text}`) }
      })
      .toSorted((a, b) => Number(b.isNear) - Number(a.isNear) || b.burst - a.burst || a.rank - b.rank)
      .slice(0, MOST_EVENTS)
      .map(({ note }) => note),
    ...places.flatMap(({ node, facts }) => conditionNotes(node, facts!, concerns)).slice(0, MOST_CONDITIONS),
  ]
}

/** `isOfAll`: it is about every packet that the node forwards. */
type Change = { note: Note; object: NamedObject; isOfAll: boolean; burst: number; rank: number }

/** With an interface go its routes, neighbours and settings; the kernel tells of all of them at once. */
const BURST_MS = 1000
const RANKS: readonly string[] = ['Link', 'Address', 'Sysctl']

function changesOf(node: string, { recent }: NodeFacts): Change[] {
  let [burst, beforeMs] = [0, 0]
  return recent
    .filter(({ type }) => CHANGES.includes(type))
    .map(event => ({ event, atMs: Date.parse(event.at) }))
    .toSorted((a, b) => a.atMs - b.atMs)
    .map(({ event: { at, type, object, message }, atMs }) => {
      if (atMs - beforeMs > BURST_MS) burst = atMs
      beforeMs = atMs
      return {
        // an endpoint is called by its container's id, and in its message by the pod's name
        note: { node, at, text: `${object.kind === 'Endpoint' ? type : `${type} ${formatRef(object)}`}: ${message}` },
        object,
        isOfAll: type === 'LetPass',
        burst,
        rank: rankOf(object),
      }
    })
}

/** A setting of all interfaces goes before those of each. */
function rankOf({ kind, name }: NamedObject): number {
  const rank = RANKS.indexOf(kind)
  if (rank < 0) return RANKS.length + 1
  return kind === 'Sysctl' && /conf[/.]/.test(name) && !/conf[/.]all[/.]/.test(name) ? rank + 1 : rank
}

/** Those of the node as a whole, and those about something of this way. */
function conditionNotes(node: string, { conditions }: NodeFacts, concerns: (text: string) => boolean): Note[] {
  return conditions
    .filter(({ status, object, message }) => {
      if (status !== 'False') return false
      return (
        object === undefined ||
        (object.kind === 'Node' && object.name === node) ||
        concerns(`${object.name} ${message}`)
      )
    })
    .map(({ type, reason, object, message }) => ({
      node,
      text: `${type} is not kept (${reason})${object === undefined ? '' : ` of ${formatRef(object)}`}: ${message}`,
      ...(Object.hasOwn(CODES, type) &&
        (type !== 'AddressesUnique' || object?.kind === 'Address') && { code: CODES[type]! }),
    }))
}

/** Conditions that say what a cause says. */
const CODES: Readonly<Record<string, CauseCode>> = {
  NodeObjectKnown: 'NodeUnknown',
  AddressesUnique: 'AddressTwice',
  NeighboursRight: 'NeighbourWrong',
}

function sessionNotes(c: Crossing): Note[] {
  const lag = oneWay(c)
  if (lag !== undefined) return [lag]
  const session = sessionBetween(c.near, c.far)
  if (c.isOneNode || session === undefined || session.state === 'Established') return []
  const text = `the BGP session with ${c.far!.node} is ${session.state} (${session.message || session.reason}): routes over it end when its time is over`
  return [{ node: c.near!.node, text, code: 'SessionDown' }]
}

function endWords({ source, target }: Pick<Crossing, 'source' | 'target'>): string[] {
  return [source, target].flatMap(({ address, pod }) => [address, ...(pod === undefined ? [] : [pod.name])])
}

/** Names and addresses that the way goes by. */
function wordsOf({ way, arrival, source, target, near, far }: Crossing): string[] {
  const links = [way?.entersBy, way?.leavesBy, way?.outer?.leavesBy, arrival?.entersBy, arrival?.leavesBy]
  const blocks = [near, far].flatMap(place => known(place?.facts?.blocks) ?? [])
  return [
    ...links.flatMap(link => known(link)?.name ?? []),
    ...endWords({ source, target }),
    ...blocks.flatMap(({ block }) => block ?? []),
    ...(way?.outer === undefined ? [] : [way.outer.remote]),
    'ip_forward',
  ]
}

/** Longer than the usual keepalives, of which one comes every 30 s. */
const SILENT_MS = 45_000
const RECENT_MS = 35_000

/** Messages of the session between both ends go one way only: one end sent a short time ago, the other has heard nothing for long. */
function oneWay({ near, far }: Crossing): Note | undefined {
  for (const [hears, sends] of [
    [near, far],
    [far, near],
  ] as const) {
    const [heard, sent] = [sessionBetween(hears, sends), sessionBetween(sends, hears)]
    if (heard?.lastReceivedMs === undefined || sent?.lastSentMs === undefined) continue
    const heardAgo = hears!.facts!.atMs - heard.lastReceivedMs
    const sentAgo = sends!.facts!.atMs - sent.lastSentMs
    if (heardAgo < SILENT_MS || sentAgo > RECENT_MS) continue
    const text = `${sends!.node} sent to their BGP session ${seconds(sentAgo)} ago, and ${hears!.node} has heard nothing for ${seconds(heardAgo)}: something drops TCP port 179 from ${sends!.node} to ${hears!.node}`
    return { node: hears!.node, text }
  }
  return undefined
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`
}
