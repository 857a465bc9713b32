// The next move of automatic route reflectors, from what objects say alone: a leader may end between any two. Pure. One move at a time,
// and each waits until those nodes have answered that would lose routes by it:
//   a reflector comes once those before it say that they reflect, and at once where fewer than two can be counted on;
//   the mesh goes, or a reflector does, once every node has all its routes from two others;
//   the mesh comes back at once; then the last reflectors go, once every node has all its routes from the nodes themselves.
// Where the state is gone, or is not what nodes go by (an edit, a backup), it begins again, with the mesh and with those that say that they reflect.
import type { Resource } from '../api/kinds.ts'
import type { ReflectionReceipt } from '../api/receipt-schemas.ts'
import { isLaterStep, LEAST_REFLECTORS, MOST_REFLECTORS, MOST_STEP, type ReflectorState } from '../api/reflectors.ts'
import type { ReflectorWish } from './reflector-wish.ts'

/** A node of the mesh. */
export type PlanNode = {
  name: string
  rack: string
  /** It can be counted on as a reflector: Ready, and nobody is about to take it away. */
  isFit: boolean
  /** Others wait for its answer: it may carry packets. */
  isAwaited: boolean
  /** Since when it is Ready, milliseconds since the epoch. */
  readyMs: number
  said?: Resource<'PolicyReceipt'>['spec']['reflection'] | undefined
}

/** `next` absent: nothing is to be written; `'nothing'`: the state is to go. */
export type ReflectorPlan = {
  next?: ReflectorState | 'nothing'
  /** The nodes whose answer the next move waits for, sorted. */
  waitsFor: readonly string[]
  /** Reflectors are asked for, and fewer than two nodes can be one. */
  lacksNodes?: true
}

/** A number of nodes that goes up and down around the wish moves nothing: reflectors go below so much of it. */
const STAY = 0.9

export type PlanInputs = {
  /** Undefined: there is none, or somebody wrote something else. */
  state: ReflectorState | undefined
  /** Undefined: reflectors are not asked for. */
  wish: ReflectorWish | undefined
  nodes: readonly PlanNode[]
  /** Milliseconds since the epoch: steps begin there, so that one of an earlier beginning is no later one. */
  nowMs: number
}

export function reflectorPlan({ state, wish, nodes, nowMs }: PlanInputs): ReflectorPlan {
  const least = state === undefined ? (wish?.above ?? 0) : Math.floor((wish?.above ?? 0) * STAY)
  const isWanted = wish !== undefined && nodes.length > least
  const awaited = nodes.filter(({ isAwaited }) => isAwaited)
  const answered = awaited.filter(({ said }) => said !== undefined)
  const begun = (from: number, those: readonly PlanNode[]) => {
    const reflecting = those.filter(isReflecting).map(nameOf).toSorted()
    return moved({ step: stepAfter(from, those, nodes), mesh: 'whole', nodes: reflecting.slice(0, MOST_REFLECTORS) })
  }
  if (state === undefined) return isWanted || answered.some(isReflecting) ? begun(nowMs, answered) : DONE
  const ahead = answered.filter(({ said }) => isAhead(said!, state))
  if (2 * ahead.length > answered.length) return begun(state.step, ahead)
  const held = ahead.filter(({ said }) => said!.held === true)
  const step = stepAfter(state.step, held, nodes)
  const known = new Map(nodes.map(node => [node.name, node]))
  const there = state.nodes.filter(name => known.has(name))
  const to = (change: Partial<ReflectorState>) => moved({ ...state, nodes: there, ...change, step })
  const whoLacks = (has: (said: ReflectionReceipt) => boolean) =>
    awaited.filter(({ said }) => !(isAnswer(said, state) && has(said))).map(nameOf)
  const wanted = isWanted ? chosen(wish, state, nodes) : []
  // agents have sessions with all by then: one that comes now must not end these before it reflects
  if (state.mesh === 'thin' && there.length < LEAST_REFLECTORS) return to({ mesh: 'whole' })
  // they wait for a later step than they have followed. Others may have followed it too, and what is heard of them may be out of a backup:
  // a thin mesh would end their sessions before those that it names reflect
  if (held.length > 0) return to({ mesh: 'whole' })
  const stray = awaited.find(node => node.said?.held === true && isReflecting(node) && !there.includes(node.name))
  if (stray !== undefined && there.length < MOST_REFLECTORS) return to({ nodes: [...there, stray.name] })
  if (wanted.length < LEAST_REFLECTORS) {
    if (state.mesh === 'thin') return to({ mesh: 'whole' })
    if (isWanted) return { waitsFor: [], lacksNodes: true }
    const lacking = whoLacks(({ direct }) => direct)
    if (lacking.length > 0) return waits(lacking)
    // whoever missed that there is none any more would take the end for a mishap
    return there.length === 0 ? { next: 'nothing', waitsFor: [] } : to({ nodes: there.slice(0, -1) })
  }
  const missing = wanted.find(name => !there.includes(name))
  const present = wanted.filter(name => there.includes(name))
  if (missing !== undefined && there.length < MOST_REFLECTORS) {
    const silent = present.filter(name => !reflects(known.get(name)!, state))
    return silent.length > 0 && present.length >= LEAST_REFLECTORS ? waits(silent) : to({ nodes: [...there, missing] })
  }
  // one that is missing still has no room: another one goes first
  if (state.mesh === 'thin' && present.length < LEAST_REFLECTORS) return to({ mesh: 'whole' })
  const rest = there.filter(name => !wanted.includes(name))
  // the API server hears nothing of it, and nodes do: others of which nothing is heard either may have all their routes from it
  const isHeard = (name: string) =>
    known.get(name)?.isAwaited === false && awaited.some(({ said }) => isAnswer(said, state) && said.via.includes(name))
  const surplus = rest.findLast(name => !isHeard(name))
  if (surplus === undefined && (state.mesh === 'thin' || missing !== undefined)) return waits(rest)
  const isSpared = ({ direct }: ReflectionReceipt) => missing !== undefined && state.mesh === 'whole' && direct
  const hasTwo = ({ via }: ReflectionReceipt) => via.filter(name => wanted.includes(name)).length >= LEAST_REFLECTORS
  const lacking = whoLacks(said => hasTwo(said) || isSpared(said))
  if (lacking.length > 0) return waits(lacking)
  return to(surplus === undefined ? { mesh: 'thin' } : { nodes: there.filter(name => name !== surplus) })
}

const DONE: ReflectorPlan = { waitsFor: [] }

/** A number after `from` and those that some have followed, which no node has said: nobody has answered it, and agents can read it. */
function stepAfter(from: number, those: readonly PlanNode[], nodes: readonly PlanNode[]): number {
  const followed = those.map(({ said }) => said!.step).filter(isStep)
  const last = followed.reduce((most, each) => (isLaterStep(each, most) ? each : most), from)
  const said = new Set(nodes.map(node => node.said?.step ?? 0))
  const after = (step: number) => (step < MOST_STEP ? step + 1 : 1)
  let step = after(last)
  while (said.has(step)) step = after(step)
  return step
}

function isStep(step: number): boolean {
  return step > 0 && step <= MOST_STEP
}

function moved(next: ReflectorState): ReflectorPlan {
  return { next, waitsFor: [] }
}

function waits(nodes: readonly string[]): ReflectorPlan {
  return { waitsFor: nodes.toSorted() }
}

function isAnswer(said: ReflectionReceipt | undefined, { step }: ReflectorState): said is ReflectionReceipt {
  return said?.step === step && said.held !== true
}

/** It has followed a state that came after this one, or another one of this step. */
function isAhead({ step, held }: ReflectionReceipt, state: ReflectorState): boolean {
  return isStep(step) && (isLaterStep(step, state.step) || (held === true && step === state.step))
}

/** By its own word, of whatever step. */
function isReflecting({ name, said }: PlanNode): boolean {
  return said?.via.includes(name) === true
}

/** By its own word, of this step. */
function reflects(node: PlanNode, state: ReflectorState): boolean {
  return isAnswer(node.said, state) && isReflecting(node)
}

/**
 * The nodes that are to reflect: of each rack so many, in all at least two where there are so many, and no more than each node can have
 * sessions with. Those that reflect stay where they can; of others, those that have answered and are Ready for longest come first.
 */
function chosen(wish: ReflectorWish, state: ReflectorState, nodes: readonly PlanNode[]): string[] {
  const can = nodes.filter(node => node.isFit && (state.nodes.includes(node.name) || node.said !== undefined))
  const order = (node: PlanNode) => [
    state.nodes.includes(node.name) ? 0 : 1,
    node.said?.step === state.step || state.nodes.includes(node.name) ? 0 : 1,
    node.readyMs,
  ]
  const sorted = can.toSorted((a, b) => compare([...order(a), a.name], [...order(b), b.name]))
  // racks in the order of their first ones: those that reflect now keep the places of all
  const racks = [...Map.groupBy(sorted, ({ rack }) => rack).values()]
  const rounds = Array.from({ length: wish.perRack }, (_, round) => racks.flatMap(rack => rack[round] ?? []))
  const all = rounds.flat().slice(0, MOST_REFLECTORS)
  const others = sorted.filter(node => !all.includes(node)).slice(0, Math.max(0, LEAST_REFLECTORS - all.length))
  return [...all, ...others].map(nameOf)
}

function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  const at = a.findIndex((each, i) => each !== b[i])
  if (at < 0) return 0
  return a[at]! < b[at]! ? -1 : 1
}

function nameOf({ name }: { name: string }): string {
  return name
}
