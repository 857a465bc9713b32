// What this node says of policies, in one object of its own (PolicyReceipt): how far it has worked through them, which of them its
// kernel enforces, and which it does not, with the reason. Written when it changes; there is no heartbeat, since what a kernel has
// stays there when an agent stops, and an agent that stops misses the next change.
// Hazards: one policy that changes is a write of every node, so all nodes together write so many times a second at the most, each at
// a time of its own. What is told must have been in the kernel: felix says so, never what was only told to it.
import { sameJson } from '../api/json.ts'
import { isAtLeast, RECEIPT_KINDS } from '../api/policy-receipts.ts'
import { MOST_ENFORCED, MOST_FAILING, type PolicyReceipt, type ReflectionReceipt } from '../api/receipt-schemas.ts'
import { isStoreError, NotFound, type Store } from '../datastore/port.ts'
import type { EnforcerReceipt, PolicyFailure } from '../felix/enforcer.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'

export type PolicyReceiptsDeps = {
  nodeName: string
  store: Pick<Store, 'patch' | 'create'>
  clock: Clock
  log: Log
  /** How many nodes the cluster has. */
  nodes: () => number
  /** What stands in the kernel; undefined while that cannot be told: `changed` follows then. */
  receipt: () => EnforcerReceipt | undefined
  /** Why a policy is enforced in another way than it says, whatever the kernel took. */
  faultOf: (policy: string) => PolicyFailure | undefined
  /** The version of Pods that all nodes are asked for; undefined: none. */
  asked: () => string | undefined
  /** The version of Pods in which a pod was gone whose address went to another one too early for all nodes to have said so. */
  late: () => string | undefined
  /** What this node says of automatic reflectors. Absent: nothing. */
  reflection?: () => ReflectionReceipt | undefined
  random?: () => number
}

/** Between two writes of one node: at the least, and for each node of the cluster: all together write a hundred times a second. */
const LEAST_MS = 500
const PER_NODE_MS = 10
/** Between two writes where only pods came and went: what policies say is as it was, and a pod costs no write of its own. */
const PODS_MS = 60_000
/** Said again although nothing changed: how far the node is with Pods, and somebody may have deleted the object, or put an older copy back. */
const REPEAT_MS = 900_000
const FIRST_RETRY_MS = 1_000
const MOST_RETRY_MS = 600_000
const MOST_MESSAGE = 500

export class PolicyReceipts {
  readonly #deps: PolicyReceiptsDeps
  readonly #random: () => number
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MOST_RETRY_MS })
  #state: 'idle' | 'waiting' | 'writing' | 'failed' = 'idle'
  /** Something changed that is not written. */
  #isDue = false
  #written: PolicyReceipt | undefined
  #writtenMs = Number.NEGATIVE_INFINITY
  #repeatAtMs = Number.NEGATIVE_INFINITY
  #failure: string | undefined
  #closed = false
  #cancel: Cancel = () => undefined

  constructor(deps: PolicyReceiptsDeps) {
    this.#deps = deps
    this.#random = deps.random ?? Math.random
  }

  /** The receipt may be another one. */
  changed(): void {
    this.#isDue = true
    if (this.#state !== 'idle') return
    const periodMs = Math.max(LEAST_MS, this.#deps.nodes() * PER_NODE_MS)
    const leftMs = this.#writtenMs + periodMs - this.#deps.clock.monotonicMs()
    this.#after('waiting', Math.max(0, leftMs) + periodMs * this.#random())
  }

  /** The server may be written again: what failed waits no longer. */
  retryNow(): void {
    if (this.#state === 'failed') void this.#write()
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  #after(state: 'idle' | 'waiting' | 'failed', delayMs: number): void {
    this.#state = state
    this.#cancel()
    if (!this.#closed) this.#cancel = this.#deps.clock.after(delayMs, () => void this.#write())
  }

  async #write(): Promise<void> {
    const isRepeat = this.#state === 'idle'
    const said = this.#deps.receipt()
    this.#cancel()
    if (said === undefined) {
      this.#state = 'idle' // the pass that is under way tells of its end
      return
    }
    this.#isDue = false
    const late = this.#deps.late()
    const reflection = this.#deps.reflection?.()
    const spec = {
      ...receiptOf(said, this.#deps.faultOf),
      ...(late !== undefined && { late }),
      ...(reflection !== undefined && { reflection }),
    }
    const laterMs = isRepeat ? undefined : this.#laterMs(spec)
    if (laterMs !== undefined) {
      this.#after('idle', laterMs)
      return
    }
    this.#state = 'writing'
    try {
      await this.#put(spec)
      if (this.#failure !== undefined) this.#deps.log.info('the receipts of policies are written again')
      this.#failure = undefined
      this.#backoff.reset()
      this.#written = spec
      this.#writtenMs = this.#deps.clock.monotonicMs()
      this.#rest()
    } catch (error) {
      if (!isStoreError(error)) throw error
      if (this.#failure !== error.message)
        this.#deps.log.warn({ err: error }, 'the PolicyReceipt of this node cannot be written; it is tried again')
      this.#failure = error.message
      this.#after('failed', this.#backoff.next())
    }
  }

  /** How long what is to be said can wait; undefined: not at all. */
  #laterMs(spec: PolicyReceipt): number | undefined {
    const written = this.#written
    const asked = this.#deps.asked()
    if (asked !== undefined && isAtLeast(spec.pods, asked) && !isAtLeast(written?.pods, asked)) return undefined
    if (spec.pods !== undefined && written?.pods === undefined) return undefined
    // how far the node is with Pods is no news of its own
    const said = { ...spec, pods: written?.pods }
    if (sameJson(said, written)) return this.#leftUntil(this.#repeatAtMs)
    if (!sameJson({ ...said, enforced: written?.enforced }, written)) return undefined
    return this.#leftUntil(this.#writtenMs + PODS_MS)
  }

  #leftUntil(ms: number): number | undefined {
    const leftMs = ms - this.#deps.clock.monotonicMs()
    return leftMs > 0 ? leftMs : undefined
  }

  #rest(): void {
    const repeatMs = REPEAT_MS * (1 + this.#random() / 3)
    this.#repeatAtMs = this.#writtenMs + repeatMs
    this.#after('idle', repeatMs)
    if (this.#isDue && !this.#closed) this.changed()
  }

  async #put(spec: PolicyReceipt): Promise<void> {
    const { store, nodeName: name } = this.#deps
    try {
      // a merge keeps that of which nothing is said any more
      const worked = Object.fromEntries(RECEIPT_KINDS.map(kind => [kind, spec.worked[kind] ?? null]))
      const { pods = null, late = null } = spec
      const reflection = spec.reflection === undefined ? null : { held: null, ...spec.reflection }
      await store.patch('PolicyReceipt', name, { spec: { ...spec, worked, pods, late, reflection } })
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
      await store.create('PolicyReceipt', { metadata: { name }, spec })
    }
  }
}

function receiptOf({ worked, pods, asked }: EnforcerReceipt, faultOf: PolicyReceiptsDeps['faultOf']): PolicyReceipt {
  const enforced: string[] = []
  const failing: PolicyReceipt['failing'] = []
  for (const { policy, revision, failure } of asked) {
    const why = failure ?? faultOf(policy)
    if (why === undefined) enforced.push(revision)
    else failing.push({ policy, revision, reason: why.reason, message: why.message.slice(0, MOST_MESSAGE) })
  }
  const isCut = enforced.length > MOST_ENFORCED || failing.length > MOST_FAILING
  return {
    worked: isCut ? {} : { ...worked },
    ...(pods !== undefined && { pods }),
    enforced: enforced.sort().slice(0, MOST_ENFORCED),
    failing: failing.sort((a, b) => (a.policy < b.policy ? -1 : 1)).slice(0, MOST_FAILING),
  }
}
