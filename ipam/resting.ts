// Which released addresses must not go to another pod yet. Other nodes have an address in the sets of their policies until they
// have heard that its pod is gone: whoever had it before would be taken for that pod, and let in or shut out as it was. So it
// rests until every node has said that it has worked through that, or until a deadline has passed, and at least as long as
// `ipCooldownSeconds` says. Where no policy is there no set holds an address, and nothing waits.
// Hazards: the API server tells of the end of a pod seconds after its DEL, and while it still tells that the pod has the address no
// node has heard of it. What rests is in the journal too, by the wall clock: one that is set while no agent runs moves the deadline.
import type { Clock } from '../lib/clock.ts'
import type { Journal } from './journal.ts'
import type { Assigned } from './port.ts'

/**
 * The deadline. Nodes hear of a pod within a second or two, and those that an API server serves late within some more; an
 * ADD never waits for it, but takes another address or another block. A kubelet repeats one that is refused, and in a
 * pool where no other address is free a pod starts so much later. As long as Amazon's VPC CNI has it.
 */
export const REST_MS = 30_000
/** By then each node that lives has said how far it is, without being asked. */
const LATE_MS = 1_800_000
/** Pods that are remembered of an address, the last ones: more where the API server does not tell of their ends for days. */
const MOST_PODS = 16

/** Of Kubernetes; undefined for what has an address without being a pod of it. */
export type PodName = { namespace: string; name: string }

/** What this node knows of what others have in their sets. */
export type Sets = {
  /** Whether some node may have addresses of pods in a set. */
  mayHold(): boolean
  /**
   * What the API server tells of a pod that had an address here: that it has it, that it has it no more, or neither: while the server
   * is away, and of a pod without an address, which may be told yet.
   */
  heard(pod: PodName, address: string): 'has' | 'gone' | 'unclear'
  /** The pod that has an address by its status, as policies are told here; undefined: none, or the API server is away. */
  holder(address: string): PodName | undefined
  /** The version of Pods up to which this node has heard; undefined while the API server is away. */
  version(): string | undefined
  /** Whether every node has said that it has worked through this version of Pods. */
  areThrough(version: string): boolean
  /** An address goes to another pod after the deadline, before every node has said that it has it no more. */
  late(address: string): void
}

const NO_SETS: Sets = {
  ...{ mayHold: () => false, heard: () => 'unclear', holder: () => undefined },
  ...{ version: () => undefined, areThrough: () => false, late: () => undefined },
}

/** `late`: the deadline has passed, and not every node has said that it has the address no more. */
export type RestState = 'free' | 'rests' | 'late'

/**
 * `pods` had the address, and this node has not heard of the end of each: the last one, and whoever had it before while the API server
 * was away. `goneAt`: a version of Pods in which none of them had it, once this node has heard of one. `isHeld`: a pod has it again.
 */
type Rest = {
  sinceMs: number
  block: string
  pods: readonly PodName[]
  goneAt: string | undefined
  isHeld: boolean
}

export class Resting {
  readonly #clock: Pick<Clock, 'monotonicMs' | 'wallMs'>
  readonly #journal: Pick<Journal, 'rest' | 'restEnded'>
  readonly #sets: Sets
  readonly #rests = new Map<string, Rest>()

  /** `isHeld`: whether a pod has an address. */
  constructor(
    clock: Pick<Clock, 'monotonicMs' | 'wallMs'>,
    journal: Journal,
    isHeld: (address: string) => boolean,
    sets = NO_SETS,
  ) {
    this.#clock = clock
    this.#journal = journal
    this.#sets = sets
    const [nowMs, wallMs] = [clock.monotonicMs(), clock.wallMs()]
    for (const { address, block, releasedMs, pods } of journal.resting()) {
      const sinceMs = nowMs - Math.max(0, wallMs - releasedMs)
      this.#rests.set(address, { sinceMs, block, pods, goneAt: undefined, isHeld: isHeld(address) })
    }
  }

  /** Writes that these addresses of a pod are released now; called within the transaction that releases them. */
  persist(released: readonly Assigned[], pod: PodName | undefined): void {
    const wallMs = this.#clock.wallMs()
    this.#journal.rest(
      released.map(({ address, block }) => ({ address, block, releasedMs: wallMs, pods: this.#podsOf(address, pod) })),
    )
  }

  /** These addresses of a pod were released just now. */
  begin(released: readonly Assigned[], pod: PodName | undefined): void {
    const sinceMs = this.#clock.monotonicMs()
    for (const { address, block } of released) {
      const pods = this.#podsOf(address, pod)
      this.#rests.set(address, { sinceMs, block, pods, goneAt: undefined, isHeld: false })
    }
  }

  /** Writes that addresses are in use again; called within the transaction that gives them to a pod. */
  persistEnd(addresses: readonly string[]): void {
    this.#journal.restEnded(addresses.filter(address => this.#isOver(address)))
  }

  /** This pod has got an address. */
  end(address: string, pod: PodName | undefined): void {
    if (this.state(address, { pod, cooldownSeconds: 0 }) === 'late') this.#sets.late(address)
    const rest = this.#rests.get(address)
    if (this.#isOver(address)) this.#rests.delete(address)
    else if (rest !== undefined) rest.isHeld = true
  }

  /**
   * What an address is for a pod; `cooldownSeconds` as `ipCooldownSeconds`. A pod of the same name may have it at once: who may
   * make that one again could have given it any labels before.
   */
  state(address: string, { pod, cooldownSeconds }: { pod: PodName | undefined; cooldownSeconds: number }): RestState {
    const rest = this.#rests.get(address)
    if (rest === undefined) return this.#isAnothers(address, pod) ? 'rests' : 'free'
    const isSame = pod !== undefined && rest.pods.length > 0 && rest.pods.every(each => isEqual(each, pod))
    if (isSame && !this.#isCooling(rest, cooldownSeconds)) return 'free'
    return this.#stateOf(address, rest, cooldownSeconds)
  }

  /** Whether it is told to be another pod's, as that of a node which is gone and whose block has come here. */
  #isAnothers(address: string, pod: PodName | undefined): boolean {
    const holder = this.#sets.mayHold() ? this.#sets.holder(address) : undefined
    return holder !== undefined && (pod === undefined || !isEqual(holder, pod))
  }

  /** A block is not this node's any more: it may be another one's. */
  forget(block: string): void {
    for (const [address, rest] of this.#rests) {
      if (rest.block !== block) continue
      if (this.#stateOf(address, rest, 0) === 'late') this.#sets.late(address)
      this.#rests.delete(address)
    }
  }

  /** How many addresses rest, by block. */
  counts(cooldownSeconds: number): ReadonlyMap<string, number> {
    const counts = new Map<string, number>()
    for (const [address, rest] of this.#rests)
      if (!rest.isHeld && this.#stateOf(address, rest, cooldownSeconds) === 'rests')
        counts.set(rest.block, (counts.get(rest.block) ?? 0) + 1)
    return counts
  }

  /** What the addresses of a block without pods are, those that are not free at the most: `late` for half an hour. */
  stateOf(block: string, cooldownSeconds: number): RestState {
    const nowMs = this.#clock.monotonicMs()
    let found: RestState = 'free'
    for (const [address, rest] of this.#rests) {
      const state = rest.block === block ? this.#stateOf(address, rest, cooldownSeconds) : 'free'
      if (state === 'rests') return state
      if (state === 'late' && nowMs - rest.sinceMs < LATE_MS) found = state
    }
    return found
  }

  #stateOf(address: string, rest: Rest, cooldownSeconds: number): RestState {
    if (this.#isCooling(rest, cooldownSeconds)) return 'rests'
    const heard = this.#hear(address, rest)
    if (!this.#sets.mayHold()) return 'free'
    if (heard.includes('has') || this.#clock.monotonicMs() - rest.sinceMs < REST_MS) return 'rests'
    return rest.goneAt !== undefined && this.#sets.areThrough(rest.goneAt) ? 'free' : 'late'
  }

  /** What is told of those of its pods that this node has not heard the end of. Where it has of all, notes in which version. */
  #hear(address: string, rest: Rest): ('has' | 'gone' | 'unclear')[] {
    const heard = rest.goneAt === undefined ? rest.pods.map(pod => this.#sets.heard(pod, address)) : []
    if (heard.every(each => each === 'gone')) rest.goneAt ??= this.#sets.version()
    return heard
  }

  #isCooling({ sinceMs }: Rest, cooldownSeconds: number): boolean {
    return this.#clock.monotonicMs() - sinceMs < cooldownSeconds * 1000
  }

  /** Nothing is left to be heard of those who had an address before. */
  #isOver(address: string): boolean {
    return this.#rests.get(address)?.goneAt !== undefined
  }

  #podsOf(address: string, pod: PodName | undefined): PodName[] {
    const rest = this.#rests.get(address)
    const heard = rest === undefined ? [] : this.#hear(address, rest)
    const pods = rest === undefined || rest.goneAt !== undefined ? [] : rest.pods
    const before = pods.filter((each, i) => heard[i] !== 'gone' && (pod === undefined || !isEqual(each, pod)))
    return pod === undefined ? before : [...before, pod].slice(-MOST_PODS)
  }
}

/** Whose an address is by the attributes of its allocation. */
export function podNameOf({ namespace, pod }: { namespace?: string; pod?: string } = {}): PodName | undefined {
  return namespace === undefined || pod === undefined ? undefined : { namespace, name: pod }
}

function isEqual(one: PodName, other: PodName): boolean {
  return one.name === other.name && one.namespace === other.namespace
}
