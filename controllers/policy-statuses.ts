// Keeps one PolicyStatus for each policy: how many nodes must enforce it, how many do, since when, and which lag and why, from the
// receipts of the nodes (`receipt-book.ts`). The nodes write nothing into policies, and this program one object when a policy has
// settled: what has not is written after some seconds, and then as rarely.
// Hazards: a policy must not look enforced before all kinds, Nodes and receipts were listed; a Node is seen by another watch than its
// receipt, so one is not taken for missing because of the other before a time has passed.
import { sameJson } from '../api/json.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { hasReceipts, policyStatusName, RECEIPT_KINDS, type ReceiptKind, revisionOf } from '../api/policy-receipts.ts'
import type { PolicyReceipt } from '../api/receipt-schemas.ts'
import { formatRef } from '../api/status.ts'
import {
  Conflict,
  NotFound,
  Refused,
  type Store,
  type Watch,
  type WatchEvent,
  type WatchHandlers,
} from '../datastore/port.ts'
import { type Clock, formatSeconds } from '../lib/clock.ts'
import { type BookedPolicy, type PolicyCount, ReceiptBook } from './receipt-book.ts'

type PolicyStatus = Resource<'PolicyStatus'>
type Status = NonNullable<PolicyStatus['status']>
type Policy = { kind: ReceiptKind; namespace?: string; name: string }

export type PolicyStatusesDeps = {
  store: Store
  clock: Clock
  /** A policy, a Node or a receipt is another one than the last run saw. */
  changed(): void
  /** What a node says now; undefined: nothing any more. */
  receipt(node: string, said: PolicyReceipt | undefined): void
}

/** Changes that come one after the other share a run. */
const REST_MS = 2_000
/** How long a policy that has not settled is not written, and then how rarely. */
const HOLD_MS = 5_000
/** How long a Node may be without a receipt, and a receipt without a Node. */
const GRACE_MS = 60_000
const DONE_MS = 600_000
/** Most policies that one run looks at, and most that it writes. */
const MOST_LOOKS = 2_000
const MOST_WRITES = 200
/** What an API server answers to an object that breaks its rules. */
const UNPROCESSABLE = 422
/** Most nodes that a status names. */
const MOST_NAMED = 10

const NODE_FIELDS = { metadata: { name: true, uid: true } } as const
const POLICY_FIELDS = {
  metadata: { name: true, namespace: true, uid: true, generation: true, creationTimestamp: true },
  spec: true,
} as const

export class PolicyStatuses {
  readonly name = 'policy statuses'
  readonly restMs = REST_MS
  readonly #deps: PolicyStatusesDeps
  readonly #book = new ReceiptBook()
  readonly #policies = new Map<string, Policy>()
  /** What is there, by its name, and the ids of the policies by the names of their statuses. */
  readonly #there = new Map<string, PolicyStatus>()
  readonly #ids = new Map<string, string>()
  readonly #nodes = new Set<string>()
  readonly #receipts = new Map<string, Resource<'PolicyReceipt'>['metadata']>()
  /** Since when a Node has no receipt, and a receipt no Node, on the monotonic clock. */
  readonly #silentMs = new Map<string, number>()
  readonly #orphanMs = new Map<string, number>()
  /** When a policy that has not settled was seen first, or written last. */
  readonly #heldMs = new Map<string, number>()
  /** Names of statuses that no policy has. */
  readonly #unwanted = new Set<string>()
  /** Kinds that were not listed yet. */
  #unknown = new Set<Kind>()
  #hasLooked = false
  #watches: readonly Watch[] = []

  constructor(deps: PolicyStatusesDeps) {
    this.#deps = deps
  }

  /** Whether the receipts of all nodes were listed. */
  get receiptsKnown(): boolean {
    return this.#watches.length > 0 && !this.#unknown.has('PolicyReceipt')
  }

  close(): void {
    for (const watch of this.#watches) watch.close()
    this.#watches = []
  }

  /** Writes what has settled, or has not for some time. Resolves with the time until the next run. Rejects as the store. */
  async run(): Promise<number> {
    this.#open()
    if (this.#unknown.size > 0) return DONE_MS // what is listed at last is told
    const waitsMs = [DONE_MS, await this.#lookAtNodes()]
    const ids = this.#book.take(MOST_LOOKS)
    if (ids.length === MOST_LOOKS) waitsMs.push(REST_MS)
    let writes = 0
    try {
      for (const id of ids) {
        if (writes === MOST_WRITES) {
          this.#book.again(id)
          waitsMs.push(REST_MS)
        } else if (await this.#look(id, waitsMs)) writes++
      }
    } catch (error) {
      for (const id of ids) this.#book.again(id)
      throw error
    }
    for (const name of [...this.#unwanted].slice(0, MOST_WRITES - writes)) await this.#remove(name)
    if (this.#unwanted.size > 0) waitsMs.push(REST_MS)
    return waitsMs.reduce((least, each) => Math.min(least, each))
  }

  #open(): void {
    if (this.#watches.length > 0) return
    const { store } = this.#deps
    this.#unknown = new Set<Kind>([...RECEIPT_KINDS, 'Node', 'PolicyReceipt', 'PolicyStatus'])
    this.#watches = [
      store.watch(
        'Node',
        this.#handlers('Node', e => this.#followNodes(e)),
        { fields: NODE_FIELDS },
      ),
      store.watch(
        'PolicyReceipt',
        this.#handlers('PolicyReceipt', e => this.#followReceipts(e)),
        { mayBeAbsent: true },
      ),
      store.watch(
        'PolicyStatus',
        this.#handlers('PolicyStatus', e => this.#followStatuses(e)),
        { mayBeAbsent: true },
      ),
      ...RECEIPT_KINDS.map(kind =>
        store.watch(
          kind,
          this.#handlers(kind, e => this.#followPolicies(kind, e)),
          {
            ...{ fields: POLICY_FIELDS, mayBeAbsent: true },
          },
        ),
      ),
    ]
  }

  #handlers<K extends Kind>(kind: K, follow: (event: WatchEvent<K>) => void): WatchHandlers<K> {
    const { changed } = this.#deps
    return {
      event: event => {
        follow(event)
        if (event.type === 'sync') this.#unknown.delete(kind)
        changed()
      },
      connection: ({ cause }) => {
        // a server that does not have a kind of policy has none of them
        if (!(cause instanceof NotFound) || !this.#unknown.has(kind) || !hasReceipts(kind)) return
        follow({ type: 'sync', items: [], resourceVersion: '' })
        this.#unknown.delete(kind)
        changed()
      },
    }
  }

  #followNodes(event: WatchEvent<'Node'>): void {
    if (event.type === 'sync') this.#nodes.clear()
    for (const { metadata } of event.type === 'sync' ? event.items : [event.item])
      if (event.type === 'gone') this.#nodes.delete(metadata.name)
      else this.#nodes.add(metadata.name)
  }

  #followReceipts(event: WatchEvent<'PolicyReceipt'>): void {
    if (event.type === 'sync') {
      const names = new Set(event.items.map(({ metadata }) => metadata.name))
      for (const name of [...this.#receipts.keys()]) if (!names.has(name)) this.#takeReceipt(name, undefined)
    }
    for (const item of event.type === 'sync' ? event.items : [event.item])
      this.#takeReceipt(item.metadata.name, event.type === 'gone' ? undefined : item)
  }

  #takeReceipt(name: string, item: Resource<'PolicyReceipt'> | undefined): void {
    if (item === undefined) this.#receipts.delete(name)
    else this.#receipts.set(name, item.metadata)
    this.#book.setReceipt(name, item?.spec)
    this.#deps.receipt(name, item?.spec)
  }

  #followStatuses(event: WatchEvent<'PolicyStatus'>): void {
    if (event.type === 'sync') {
      this.#there.clear()
      this.#unwanted.clear()
      for (const id of this.#policies.keys()) this.#book.again(id)
    }
    for (const item of event.type === 'sync' ? event.items : [event.item]) {
      const { name } = item.metadata
      const id = this.#ids.get(name)
      if (event.type === 'gone') {
        this.#there.delete(name)
        this.#unwanted.delete(name)
      } else {
        this.#there.set(name, item)
        if (id === undefined) this.#unwanted.add(name)
      }
      if (id !== undefined) this.#recall(id)
    }
  }

  #followPolicies(kind: ReceiptKind, event: WatchEvent<ReceiptKind>): void {
    if (event.type === 'sync') {
      const all = new Map(event.items.map(item => [idOf(kind, item), item]))
      for (const [id, policy] of [...this.#policies])
        if (policy.kind === kind && !all.has(id)) this.#note(id, policy, false)
      for (const [id, { metadata }] of all) this.#note(id, policyOf(kind, metadata), true)
      const booked = new Map([...all].map(([id, item]) => [id, bookedOf(kind, id, item)]))
      this.#book.list(kind, booked, this.#unknown.has(kind))
      for (const id of all.keys()) this.#recall(id)
    } else {
      const id = idOf(kind, event.item)
      const isThere = event.type === 'set'
      this.#note(id, policyOf(kind, event.item.metadata), isThere)
      this.#book.set(kind, id, isThere ? bookedOf(kind, id, event.item) : undefined)
    }
  }

  #note(id: string, policy: Policy, isThere: boolean): void {
    const name = policyStatusName(policy.kind, policy)
    if (isThere) {
      this.#policies.set(id, policy)
      this.#ids.set(name, id)
      this.#unwanted.delete(name)
      return
    }
    this.#policies.delete(id)
    this.#ids.delete(name)
    this.#heldMs.delete(id)
    if (this.#there.has(name)) this.#unwanted.add(name)
  }

  /** Takes in what is written of a policy: what has settled before this run began has. */
  #recall(id: string): void {
    this.#book.again(id)
    const { status } = this.#there.get(policyStatusName(this.#policies.get(id)!.kind, this.#policies.get(id)!)) ?? {}
    const { revision, generation } = this.#book.policy(id) ?? {}
    if (status === undefined || status.lagging.length > 0 || generation === undefined) return
    if (status.generation === generation && status.revision === revision) this.#book.settled(id, revision)
  }

  /** Which Nodes are awaited, and which receipts are nobody's any more. Resolves with the time until the next look. */
  async #lookAtNodes(): Promise<number> {
    const nowMs = this.#deps.clock.monotonicMs()
    let nextMs = DONE_MS
    const isOver = (since: Map<string, number>, name: string): boolean => {
      const sinceMs = since.get(name) ?? nowMs
      since.set(name, sinceMs)
      if (nowMs - sinceMs >= GRACE_MS) return true
      nextMs = Math.min(nextMs, sinceMs + GRACE_MS - nowMs)
      return false
    }
    for (const name of this.#silentMs.keys())
      if (!this.#nodes.has(name) || this.#receipts.has(name)) {
        this.#silentMs.delete(name)
        this.#book.setAwaited(name, false)
      }
    for (const name of this.#orphanMs.keys())
      if (this.#nodes.has(name) || !this.#receipts.has(name)) this.#orphanMs.delete(name)
    for (const name of this.#nodes) {
      if (this.#receipts.has(name)) continue
      // one that was there before this run began had its time
      if (!this.#hasLooked) this.#silentMs.set(name, nowMs - GRACE_MS)
      if (isOver(this.#silentMs, name)) this.#book.setAwaited(name, true)
    }
    this.#hasLooked = true
    // a cluster without any Node is one that lost them
    if (this.#nodes.size === 0) return nextMs
    for (const [name, { uid, resourceVersion }] of [...this.#receipts])
      if (!this.#nodes.has(name) && isOver(this.#orphanMs, name)) {
        this.#orphanMs.delete(name)
        await gone(this.#deps.store.delete('PolicyReceipt', name, { uid, resourceVersion }))
      }
    return nextMs
  }

  /** Whether the status of a policy was written. `waitsMs` gets when it is to be looked at again. */
  async #look(id: string, waitsMs: number[]): Promise<boolean> {
    const policy = this.#policies.get(id)
    const booked = this.#book.policy(id)
    if (policy === undefined || booked === undefined) return false
    const nowMs = this.#deps.clock.monotonicMs()
    const count = this.#book.countOf(id)
    const isSettled = count.lagging.length === 0
    if (isSettled) this.#heldMs.delete(id)
    else this.#book.again(id)
    const there = this.#there.get(policyStatusName(policy.kind, policy))
    const status = this.#statusOf(booked, count, there?.status)
    if (sameJson(there?.status, status)) return false
    if (!isSettled) {
      const sinceMs = this.#heldMs.get(id) ?? nowMs
      this.#heldMs.set(id, sinceMs)
      const leftMs = sinceMs + HOLD_MS - nowMs
      if (leftMs > 0) {
        waitsMs.push(leftMs)
        return false
      }
      this.#heldMs.set(id, nowMs)
    }
    if (!(await this.#write(policy, there, status))) {
      this.#book.again(id)
      waitsMs.push(HOLD_MS)
    }
    return true
  }

  #statusOf({ revision, generation }: BookedPolicy, count: PolicyCount, before: Status | undefined): Status {
    const { required, enforcing, lagging } = count
    const isSame = before?.revision === revision && (before.lagging.length === 0) === (lagging.length === 0)
    const named = lagging.slice(0, MOST_NAMED)
    const more = lagging.length - named.length
    return {
      ...(generation !== undefined && { generation }),
      revision,
      nodesRequired: required,
      nodesEnforcing: enforcing,
      nodes: `${enforcing}/${required}`,
      since: isSame ? before.since : formatSeconds(this.#deps.clock.wallMs()),
      lagging: named,
      laggingNodes: named.map(({ node }) => node).join(',') + (more > 0 ? ` and ${more} more` : ''),
    }
  }

  /** Whether it is written; false where somebody was quicker. */
  async #write(policy: Policy, there: PolicyStatus | undefined, status: Status): Promise<boolean> {
    const { store } = this.#deps
    const { kind, namespace, name: of } = policy
    const name = policyStatusName(kind, policy)
    const spec = { kind, name: of, ...(namespace !== undefined && { namespace }) }
    try {
      const written =
        there === undefined
          ? await store.create('PolicyStatus', { metadata: { name }, spec, status })
          : await store.update('PolicyStatus', { ...there, spec, status })
      this.#there.set(name, written)
      return true
    } catch (error) {
      if (error instanceof Conflict || (error instanceof NotFound && there !== undefined)) return false
      // one that breaks a rule of the server keeps no other one waiting
      if (error instanceof Refused && error.status === UNPROCESSABLE) return false
      throw error
    }
  }

  async #remove(name: string): Promise<void> {
    const { store } = this.#deps
    const { uid, resourceVersion } = this.#there.get(name)!.metadata
    await gone(store.delete('PolicyStatus', name, { uid, resourceVersion }))
    this.#unwanted.delete(name)
  }
}

/** A deletion that another one, or a change, may be quicker than: the watch shows what is so. */
async function gone(deletion: Promise<void>): Promise<void> {
  try {
    await deletion
  } catch (error) {
    if (!(error instanceof NotFound || error instanceof Conflict)) throw error
  }
}

function policyOf(kind: ReceiptKind, { name, namespace }: Resource<ReceiptKind>['metadata']): Policy {
  return { kind, name, ...(namespace !== undefined && { namespace }) }
}

function idOf(kind: ReceiptKind, { metadata }: Resource<ReceiptKind>): string {
  return formatRef(policyOf(kind, metadata))
}

function bookedOf(kind: ReceiptKind, id: string, { metadata, spec }: Resource<ReceiptKind>): BookedPolicy {
  return { kind, revision: revisionOf(id, spec), generation: metadata.generation }
}
