// Chooses route reflectors among the nodes where the BGPConfiguration `default` asks for them, and moves the cluster from the mesh to
// them and back, by the steps of `reflector-plan.ts`. All that is decided stands in one annotation of the ClusterInformation `default`
// (api/reflectors.ts): each write names the version that it was decided on, so of two programs that lead one writes. Agents answer in
// their receipts, which `policy-statuses.ts` watches. Nobody's BGPPeers, BGPConfiguration or Nodes are written.
// Hazards: a receipt that was written for an earlier state, which `step` tells apart; an agent that ends while its node stays Ready.

import type { ControllerCause } from '../api/controller-conditions.ts'
import { sameJson } from '../api/json.ts'
import type { Resource } from '../api/kinds.ts'
import type { PolicyReceipt, ReflectionReceipt } from '../api/receipt-schemas.ts'
import { formatReflectors, parseReflectors, REFLECTORS_ANNOTATION, type ReflectorState } from '../api/reflectors.ts'
import { Conflict, type Fields, NotFound, type Store, type Watch, type WatchEvent } from '../datastore/port.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { DefaultObject, UnknownObject } from './default-object.ts'
import { goodNode, type MeshNode, meshNodes } from './reflector-nodes.ts'
import { reflectorPlan } from './reflector-plan.ts'
import { asNumbersProblem, badWish, meshIsOff, nodesBehind, notKnown, tooFewNodes } from './reflector-problems.ts'
import { type AskedReflectors, askedReflectors } from './reflector-wish.ts'

type BgpConfiguration = Resource<'BGPConfiguration'>

export type ReflectorsDeps = {
  store: Pick<Store, 'get' | 'patch' | 'watch'>
  clock: Clock
  log: Log
  /** The BGPConfiguration `default`; while it is unknown nothing is moved. */
  configuration: Pick<DefaultObject<'BGPConfiguration'>, 'unknown' | 'current'>
  /** Whether the receipts of all nodes were listed. */
  known: () => boolean
  /** A node, or what one says, is another one than the last run saw. */
  changed: () => void
}

const NAME = 'default'
const DONE_MS = 600_000
const SOON_MS = 1_000
/** While there are reflectors: how soon it is looked whether one has ended that its Node does not tell of. */
const LOOK_MS = 30_000
/** How long most nodes must lack a reflector: longer than its agent needs to start again. */
const LOST_MS = 120_000
/** After so long without an answer nodes are told. */
const PATIENCE_MS = 180_000

const NODE_FIELDS = {
  metadata: { name: true, uid: true, labels: true, annotations: true, deletionTimestamp: true },
  spec: { unschedulable: true },
  status: { conditions: true },
} as const satisfies Fields

export class Reflectors {
  readonly name = 'reflectors'
  /** Answers come one after the other. */
  readonly restMs = 500
  readonly #deps: ReflectorsDeps
  readonly #nodes = new Map<string, Resource<'Node'>>()
  readonly #said = new Map<string, ReflectionReceipt>()
  #watch: Watch | undefined
  #isSynced = false
  #problem: ControllerCause<'ReflectorsPlaced'> | undefined
  #fault: string | undefined
  /** Since when most nodes lack a reflector, on the monotonic clock: this program's own memory, which makes nothing wrong where it is lost. */
  readonly #lostMs = new Map<string, number>()
  /** Since when nodes are not Ready, likewise: clocks of others that wrote it may be wrong, and so may the one here. */
  readonly #awayMs = new Map<string, number>()
  /** Since when the same step waits. */
  #waiting: { step: number; sinceMs: number } | undefined

  constructor(deps: ReflectorsDeps) {
    this.#deps = deps
  }

  /** What is wrong with the reflectors that are asked for, as the last run found. */
  get problem(): ControllerCause<'ReflectorsPlaced'> | undefined {
    return this.#problem
  }

  /** What a node says now; undefined: nothing any more. */
  take(node: string, receipt: PolicyReceipt | undefined): void {
    const said = receipt?.reflection
    if (sameJson(said, this.#said.get(node))) return
    if (said === undefined) this.#said.delete(node)
    else this.#said.set(node, said)
    this.#deps.changed()
  }

  /** What was seen while this program led before is old. */
  begin(): void {
    this.#lostMs.clear()
    this.#awayMs.clear()
    this.#waiting = undefined
  }

  close(): void {
    this.#watch?.close()
    this.#watch = undefined
    this.#isSynced = false
    this.#nodes.clear()
  }

  /** Makes the next move where it is time. Resolves with the time until the next look. Rejects as the store. */
  async run(): Promise<number> {
    const { store, known, configuration } = this.#deps
    const { unknown, current: object } = configuration
    this.#warn(unknown)
    if (unknown === undefined && !known()) return SOON_MS
    try {
      const { metadata } = await store.get('ClusterInformation', NAME)
      const text = metadata.annotations?.[REFLECTORS_ANNOTATION]
      if (unknown !== undefined) {
        // what takes a moment is no problem, nor what nobody has asked for
        this.#problem = unknown.reason === 'NotRead' || text === undefined ? undefined : notKnown(unknown)
        return DONE_MS // a change of it is told
      }
      const asked = askedReflectors(object?.metadata)
      const isAsked = asked.wish !== undefined || asked.fault !== undefined
      if (!isAsked && text === undefined && !this.#someReflects()) {
        this.close()
        this.#problem = undefined
        return DONE_MS
      }
      this.#open()
      if (!this.#isSynced) return SOON_MS
      return await this.#move(asked, object, metadata)
    } catch (error) {
      if (error instanceof Conflict) return this.restMs // somebody wrote meanwhile, and it is read again
      if (!(error instanceof NotFound)) throw error
      return LOOK_MS // the first objects are made in a moment, and again where somebody deletes them
    }
  }

  async #move(
    asked: AskedReflectors,
    object: BgpConfiguration | undefined,
    { uid, resourceVersion, annotations = {} }: Resource<'ClusterInformation'>['metadata'],
  ): Promise<number> {
    const { store, log } = this.#deps
    const state = parseReflectors(annotations[REFLECTORS_ANNOTATION])
    const nodes = meshNodes(this.#nodes.values(), asked.wish?.label)
    const refused = refusal(asked, object, nodes)
    this.#problem = refused?.cause
    // what it asks for is not known
    if (refused?.moves === false) return DONE_MS
    const [lost, away] = [this.#lost(state), this.#away(nodes)]
    const good = nodes.map(node => {
      const { name } = node
      return goodNode(node, { said: this.#said.get(name), isLost: lost.has(name), awayMs: away(name) })
    })
    const { next, waitsFor, lacksNodes } = reflectorPlan({
      state,
      wish: refused === undefined ? asked.wish : undefined,
      // without a mesh a node has nothing to say
      nodes: isMeshOff(object)
        ? good.map(each => ({ ...each, isAwaited: each.isAwaited && each.said !== undefined }))
        : good,
      nowMs: this.#deps.clock.wallMs(),
    })
    this.#problem ??= lacksNodes === true ? tooFewNodes() : this.#lateNodes(state, waitsFor)
    if (next === undefined) return state === undefined ? DONE_MS : LOOK_MS
    const after = next === 'nothing' ? null : formatReflectors(next)
    await store.patch('ClusterInformation', NAME, {
      metadata: { uid, resourceVersion, annotations: { [REFLECTORS_ANNOTATION]: after } },
    })
    log.info({ before: annotations[REFLECTORS_ANNOTATION] ?? '', after: after ?? '' }, 'route reflectors are moved')
    return this.restMs
  }

  /** Says once that nobody knows what is asked for: a condition would be there in clusters that ask for nothing. */
  #warn(unknown: UnknownObject | undefined): void {
    const fault = unknown === undefined || unknown.reason === 'NotRead' ? undefined : unknown.message
    if (fault !== undefined && fault !== this.#fault)
      this.#deps.log.warn(notKnown(unknown!), 'automatic route reflectors are not chosen, nor moved')
    this.#fault = fault
  }

  /** By their own word: where nothing is written any more they wait for an end. */
  #someReflects(): boolean {
    return this.#said.entries().some(([name, { via }]) => via.includes(name))
  }

  /** Reflectors that most of those who answer have lacked for long, whatever their Nodes say. */
  #lost(state: ReflectorState | undefined): ReadonlySet<string> {
    const nowMs = this.#deps.clock.monotonicMs()
    const answers = [...this.#said.values()].filter(({ step }) => step === state?.step)
    const lost = new Set<string>()
    const all = new Set(state?.nodes)
    for (const name of this.#lostMs.keys()) if (!all.has(name)) this.#lostMs.delete(name)
    for (const name of all) {
      const lacking = answers.filter(({ via }) => !via.includes(name)).length
      if (2 * lacking <= answers.length) this.#lostMs.delete(name)
      else {
        const sinceMs = this.#lostMs.get(name) ?? nowMs
        this.#lostMs.set(name, sinceMs)
        if (nowMs - sinceMs >= LOST_MS) lost.add(name)
      }
    }
    return lost
  }

  /** For how long a node was seen not to be Ready, in milliseconds; 0: it is. */
  #away(nodes: readonly MeshNode[]): (name: string) => number {
    const nowMs = this.#deps.clock.monotonicMs()
    const away = new Set(nodes.filter(({ isReady }) => isReady === false).map(({ name }) => name))
    for (const name of this.#awayMs.keys()) if (!away.has(name)) this.#awayMs.delete(name)
    for (const name of away) if (!this.#awayMs.has(name)) this.#awayMs.set(name, nowMs)
    return name => nowMs - (this.#awayMs.get(name) ?? nowMs)
  }

  #lateNodes(
    state: ReflectorState | undefined,
    waitsFor: readonly string[],
  ): ControllerCause<'ReflectorsPlaced'> | undefined {
    const nowMs = this.#deps.clock.monotonicMs()
    if (state === undefined || waitsFor.length === 0) {
      this.#waiting = undefined
      return undefined
    }
    if (this.#waiting?.step !== state.step) this.#waiting = { step: state.step, sinceMs: nowMs }
    return nowMs - this.#waiting.sinceMs < PATIENCE_MS ? undefined : nodesBehind(waitsFor)
  }

  #open(): void {
    if (this.#watch !== undefined) return
    const follow = (event: WatchEvent<'Node'>) => {
      if (event.type === 'sync') {
        this.#nodes.clear()
        this.#isSynced = true
      }
      for (const item of event.type === 'sync' ? event.items : [event.item])
        if (event.type === 'gone') this.#nodes.delete(item.metadata.name)
        else this.#nodes.set(item.metadata.name, item)
      this.#deps.changed()
    }
    this.#watch = this.#deps.store.watch('Node', { event: follow }, { fields: NODE_FIELDS })
  }
}

/** Why what is asked for is not done; `moves`: what there is goes back to the mesh. */
function refusal(
  { wish, fault }: AskedReflectors,
  object: BgpConfiguration | undefined,
  nodes: readonly MeshNode[],
): { cause: ControllerCause<'ReflectorsPlaced'>; moves: boolean } | undefined {
  if (fault !== undefined) return { cause: badWish(fault), moves: false }
  if (wish === undefined) return undefined
  if (isMeshOff(object)) return { cause: meshIsOff(), moves: true }
  const cause = asNumbersProblem(nodes, object)
  return cause && { cause, moves: true }
}

function isMeshOff(object: BgpConfiguration | undefined): boolean {
  return object?.spec.nodeToNodeMeshEnabled === false
}
