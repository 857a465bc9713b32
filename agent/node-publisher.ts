// What this node tells the others through its Node object: annotations, and the condition NetworkUnavailable. A strategic
// merge patch of these alone: never a write of a whole decoded object, which would drop what somebody else put there.
// Hazards: a server that refuses must not be asked at each change of the cluster, and another program that writes the same
// fields must not be answered for ever at its speed.
import { isDeepStrictEqual } from 'node:util'
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { broken, type Condition } from '../api/status.ts'
import { Conflict, isStoreError, Refused, type Store, type StoreError, Unreachable } from '../datastore/port.ts'
import { Backoff } from '../lib/backoff.ts'
import { type Cancel, type Clock, formatSeconds } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { NetworkCondition } from './serving.ts'

export type OwnFacts = {
  /** `address/length` on the uplink: peers resolve CrossSubnet by their own mask, people read ours. Absent: removed. */
  ipv4?: string
  /** The same for IPv6; absent: what the object says stays, since a person may have written it. */
  ipv6?: string
  ipipTunnelAddress?: string
  vxlanTunnelAddress?: string
  vxlanTunnelAddressV6?: string
  vxlanTunnelMac?: string
  /** When this node saw that another Node claims what it has; absent: nothing is said about it. */
  confirmed?: string
}

export type NodePublisherDeps = {
  store: Store
  clock: Clock
  log: Log
  /** Where this node answers path probes; absent: nowhere. */
  probes?: () => { probeAddress?: string; probeAddressV6?: string }
}

type NodeCondition = NetworkCondition & { type: string; lastHeartbeatTime: string; lastTransitionTime: string }

/** The type of the condition that an agent writes into its Node object. */
export const NETWORK_CONDITION = 'NetworkUnavailable'
/** As a server takes it back; whatever else somebody wrote there would be refused. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/
/** Most writes that the server answers in a minute, whatever happens. */
const MOST_WRITES = 6
const MINUTE_MS = 60_000

/** The annotations of `facts`; a fact that is absent is removed from the object. */
function factAnnotations(
  facts: OwnFacts & ReturnType<NonNullable<NodePublisherDeps['probes']>>,
): Record<string, string | null> {
  return {
    [NODE_ANNOTATION.ipv4Address]: facts.ipv4 ?? null,
    ...(facts.ipv6 !== undefined && { [NODE_ANNOTATION.ipv6Address]: facts.ipv6 }),
    [NODE_ANNOTATION.ipipTunnelAddress]: facts.ipipTunnelAddress ?? null,
    [NODE_ANNOTATION.vxlanTunnelAddress]: facts.vxlanTunnelAddress ?? null,
    [NODE_ANNOTATION.vxlanTunnelAddressV6]: facts.vxlanTunnelAddressV6 ?? null,
    [NODE_ANNOTATION.vxlanTunnelMac]: facts.vxlanTunnelMac ?? null,
    [NODE_ANNOTATION.probeAddress]: facts.probeAddress ?? null,
    [NODE_ANNOTATION.probeAddressV6]: facts.probeAddressV6 ?? null,
    ...(facts.confirmed !== undefined && { [NODE_ANNOTATION.addressConfirmed]: facts.confirmed }),
  }
}

/** Publishes the latest facts, trying for ever while the API server refuses or is away. */
export class NodePublisher {
  readonly #store: Store
  readonly #clock: Clock
  readonly #log: Log
  readonly #name: string
  readonly #probes: NonNullable<NodePublisherDeps['probes']>
  readonly #backoff = new Backoff({ firstMs: 500, maxMs: 30_000 })
  #annotations: Readonly<Record<string, string | null>> = {}
  #condition: NodeCondition | undefined
  /** The object as the watch told it last, and as it is known: the answer to a write is newer. */
  #watched: Resource<'Node'> | undefined
  #seen: Resource<'Node'> | undefined
  #state: 'idle' | 'writing' | 'waiting' = 'idle'
  /** Something changed while it was written. */
  #again = false
  #writesMs: number[] = []
  #problem: StoreError | undefined
  #closed = false
  #cancel: Cancel = () => undefined

  constructor(name: string, deps: NodePublisherDeps) {
    this.#name = name
    this.#probes = deps.probes ?? (() => ({}))
    this.#store = deps.store
    this.#clock = deps.clock
    this.#log = deps.log
  }

  /** Wants the Node object to say `facts`, and where probes are answered as of now. */
  want(facts: OwnFacts): void {
    const annotations = factAnnotations({ ...facts, ...this.#probes() })
    if (isDeepStrictEqual(annotations, this.#annotations)) return
    this.#annotations = annotations
    this.#changed()
  }

  /** Wants the Node object to have `condition` as NetworkUnavailable. */
  wantCondition(condition: NetworkCondition): void {
    const { status, reason, message } = this.#condition ?? {}
    if (isDeepStrictEqual({ status, reason, message }, condition)) return
    const now = formatSeconds(this.#clock.wallMs())
    const before = networkCondition(this.#seen)
    const since = before?.['status'] === condition.status ? before['lastTransitionTime'] : undefined
    const lastTransitionTime = typeof since === 'string' && TIME.test(since) ? since : now
    this.#condition = { type: NETWORK_CONDITION, ...condition, lastHeartbeatTime: now, lastTransitionTime }
    this.#changed()
  }

  /** The object as it is watched; undefined where there is none. Another one than before ends a pause. */
  saw(node: Resource<'Node'> | undefined): void {
    if (node === this.#watched) return
    this.#watched = node
    this.#seen = node
    this.retryNow()
  }

  /** What a write failed by may be over. */
  retryNow(): void {
    if (this.#state === 'waiting') this.#state = 'idle'
    this.#cancel()
    this.#changed()
  }

  /** What the API server refuses to write. A server that is away is no news: the facts are as old as it is away. */
  refused(): Condition[] {
    const problem = this.#problem
    if (problem === undefined || problem instanceof Unreachable) return []
    const isForbidden = problem instanceof Refused && (problem.status === 403 || problem.status === 401)
    const node = { kind: 'Node', name: this.#name } as const
    return [
      broken('NodePublished', {
        reason: isForbidden ? 'Forbidden' : problem.name,
        message: `the addresses of this node cannot be written into its Node object: ${problem.message}`,
        remedy: isForbidden
          ? 'let the user that the message names patch nodes/status (RBAC)'
          : 'look at what the API server says, and at the Node object',
        object: node,
      }),
    ]
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  #changed(): void {
    this.#again = true
    if (this.#closed || this.#state !== 'idle' || this.#isSaid()) return
    const leftMs = this.#untilMayWriteMs()
    if (leftMs > 0) this.#wait(leftMs)
    else void this.#write()
  }

  /** Whether the object says all of it: then no write is made. */
  #isSaid(): boolean {
    const annotations = this.#seen?.metadata.annotations ?? {}
    if (!Object.entries(this.#annotations).every(([key, value]) => (annotations[key] ?? null) === value)) return false
    if (this.#condition === undefined) return true
    const { status, reason, message } = networkCondition(this.#seen) ?? {}
    const { status: wanted, reason: why, message: text } = this.#condition
    return status === wanted && reason === why && message === text
  }

  #untilMayWriteMs(): number {
    const nowMs = this.#clock.monotonicMs()
    this.#writesMs = this.#writesMs.filter(atMs => nowMs - atMs < MINUTE_MS)
    return this.#writesMs.length < MOST_WRITES ? 0 : this.#writesMs[0]! + MINUTE_MS - nowMs
  }

  #wait(delayMs: number): void {
    this.#state = 'waiting'
    this.#cancel()
    this.#cancel = this.#clock.after(delayMs, () => this.retryNow())
  }

  async #write(): Promise<void> {
    this.#state = 'writing'
    this.#again = false
    const annotations = Object.keys(this.#annotations).length > 0 && { metadata: { annotations: this.#annotations } }
    const condition = this.#condition !== undefined && { status: { conditions: [this.#condition] } }
    const patch = { ...annotations, ...condition }
    try {
      this.#seen = await this.#store.patch('Node', this.#name, patch, { subresource: 'status', strategic: true })
      this.#answered()
      this.#backoff.reset()
      if (this.#problem !== undefined) this.#log.info('the Node object says the addresses of this node again')
      this.#problem = undefined
      this.#state = 'idle'
      if (this.#again) this.#changed()
    } catch (error) {
      if (!isStoreError(error)) throw error
      this.#failed(error)
    }
  }

  /** The server did some work for it. */
  #answered(): void {
    this.#writesMs.push(this.#clock.monotonicMs())
  }

  #failed(error: StoreError): void {
    if (error instanceof Refused || error instanceof Conflict) this.#answered()
    const delayMs = this.#backoff.next()
    // once: it is tried again for as long as it takes
    if (this.#problem?.message !== error.message)
      this.#log.warn({ err: error, delayMs }, 'could not publish node addresses')
    this.#problem = error
    if (!this.#closed) this.#wait(Math.max(delayMs, this.#untilMayWriteMs()))
  }
}

/** The condition NetworkUnavailable of a Node, whatever is in it: anybody with the right may have written it. */
export function networkCondition(node: Resource<'Node'> | undefined): Record<string, unknown> | undefined {
  const conditions: unknown = node?.status?.['conditions']
  if (!Array.isArray(conditions)) return undefined
  return conditions.find(each => isObject(each) && each['type'] === NETWORK_CONDITION)
}

/** Without its Node object nobody knows of a node. */
export function lacksNode(name: string): Condition {
  return broken('NodeObjectKnown', {
    reason: 'NoNodeObject',
    message: `the cluster has no Node ${name}`,
    remedy: `create Node ${name}, or start margay-node with --node-name of the Node object of this machine`,
    object: { kind: 'Node', name },
  })
}
