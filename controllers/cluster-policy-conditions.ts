// Writes into each ClusterNetworkPolicy what its PolicyStatus says, as the conditions `Ready` (how many nodes enforce it) and `Accepted`
// (whether nodes understand all of it). The API prescribes no types: these are those of Kubernetes' own NetworkPolicy while it had
// a status, and what `kubectl wait` and other tools ask for. Conditions of others stay.
// Hazard: every agent watches these objects, so one write goes to thousands of nodes. What is said when all is well is written at once, a
// policy that is not enforced after some time, and other numbers of nodes alone rarely. What changes back and forth, or is taken away
// by another program, is written three times, and then as rarely.
import type { Resource } from '../api/kinds.ts'
import { conditionList, type ObjectCondition } from '../api/meta.ts'
import { policyStatusName, revisionOf } from '../api/policy-receipts.ts'
import { formatRef } from '../api/status.ts'
import { Conflict, NotFound, Refused, type Store, type Watch, type WatchEvent } from '../datastore/port.ts'
import { type Clock, formatSeconds } from '../lib/clock.ts'

const KIND = 'ClusterNetworkPolicy'

type Status = NonNullable<Resource<'PolicyStatus'>['status']>
type Said = Pick<ObjectCondition, 'type' | 'status' | 'reason' | 'message'>
type Policy = {
  uid?: string
  resourceVersion?: string
  generation: number
  revision: string
  conditions: readonly ObjectCondition[]
}

export type ClusterPolicyConditionsDeps = {
  store: Pick<Store, 'patch' | 'watch'>
  clock: Clock
  /** A policy, or the status of one, is another one than the last run saw. */
  changed(): void
}

/** Statuses that come one after the other share a run. */
const REST_MS = 2_000
/** How long a policy is not enforced before it is said, and how long the numbers in a message may be old. */
const NOT_READY_MS = 30_000
const NUMBERS_MS = 600_000
/** Most writes of one form of a policy in so long. */
const MOST_OF_A_FORM = 3
const FORM_MS = 600_000
const DONE_MS = 600_000
/** Most policies that one run writes. */
const MOST_WRITES = 50
/** What an API server answers to an object that breaks its rules. */
const UNPROCESSABLE = 422

const FIELDS = {
  metadata: { name: true, uid: true, resourceVersion: true, generation: true },
  spec: true,
  status: { conditions: true },
} as const

export class ClusterPolicyConditions {
  readonly name = 'cluster policy conditions'
  readonly restMs = REST_MS
  readonly #deps: ClusterPolicyConditionsDeps
  readonly #policies = new Map<string, Policy>()
  /** By the names of the policies, as are all others here. */
  readonly #statuses = new Map<string, Status>()
  readonly #dirty = new Set<string>()
  /** Since when there is something else to say than what is written, on the monotonic clock. */
  readonly #differsMs = new Map<string, number>()
  /** When the present form of a policy was written, the last times, on the monotonic clock. */
  readonly #written = new Map<string, { form: string; timesMs: readonly number[] }>()
  #watches: readonly Watch[] = []

  constructor(deps: ClusterPolicyConditionsDeps) {
    this.#deps = deps
  }

  close(): void {
    for (const watch of this.#watches) watch.close()
    this.#watches = []
  }

  /** Writes what is due. Resolves with the time until the next run. Rejects as the store, after which nothing is lost. */
  async run(): Promise<number> {
    this.#open()
    let nextMs = DONE_MS
    let writes = 0
    for (const name of [...this.#dirty]) {
      const leftMs = this.#leftMs(name)
      if (leftMs === undefined) this.#dirty.delete(name)
      else if (leftMs > 0) nextMs = Math.min(nextMs, leftMs)
      else if (writes === MOST_WRITES) return REST_MS
      else {
        writes++
        await this.#write(name)
      }
    }
    return nextMs
  }

  #open(): void {
    if (this.#watches.length > 0) return
    const { store, changed } = this.#deps
    const followPolicies = (event: WatchEvent<'ClusterNetworkPolicy'>): void => {
      if (event.type === 'sync') this.#policies.clear()
      for (const item of event.type === 'sync' ? event.items : [event.item]) {
        this.#dirty.add(item.metadata.name)
        if (event.type === 'gone') this.#policies.delete(item.metadata.name)
        else this.#policies.set(item.metadata.name, policyOf(item))
      }
      changed()
    }
    const followStatuses = (event: WatchEvent<'PolicyStatus'>): void => {
      if (event.type === 'sync') this.#statuses.clear()
      for (const { metadata, spec, status } of event.type === 'sync' ? event.items : [event.item]) {
        if (spec.kind !== KIND || metadata.name !== policyStatusName(KIND, spec)) continue
        this.#dirty.add(spec.name)
        if (event.type === 'gone' || status === undefined) this.#statuses.delete(spec.name)
        else this.#statuses.set(spec.name, status)
      }
      changed()
    }
    this.#watches = [
      store.watch('ClusterNetworkPolicy', { event: followPolicies }, { fields: FIELDS, mayBeAbsent: true }),
      store.watch('PolicyStatus', { event: followStatuses }, { mayBeAbsent: true }),
    ]
  }

  /** How long the conditions of a policy are left as they are; undefined: nothing is to be written. */
  #leftMs(name: string): number | undefined {
    const [policy, status] = [this.#policies.get(name), this.#statuses.get(name)]
    const holdMs =
      policy === undefined || status === undefined || !isOf(status, policy) ? undefined : holdOf(policy, saidOf(status))
    if (policy === undefined) this.#written.delete(name)
    if (policy === undefined || holdMs === undefined) {
      this.#differsMs.delete(name)
      return undefined
    }
    const nowMs = this.#deps.clock.monotonicMs()
    const sinceMs = this.#differsMs.get(name) ?? nowMs
    this.#differsMs.set(name, sinceMs)
    const timesMs = this.#timesOf(name, policy)
    const freeMs = timesMs.length < MOST_OF_A_FORM ? nowMs : timesMs[0]! + FORM_MS
    return Math.max(sinceMs + holdMs, freeMs) - nowMs
  }

  /** When this form of a policy was written, the oldest of the last times first. */
  #timesOf(name: string, policy: Policy): readonly number[] {
    const written = this.#written.get(name)
    return written?.form === formOf(policy) ? written.timesMs : []
  }

  #noteWrite(name: string, policy: Policy): void {
    const timesMs = [...this.#timesOf(name, policy), this.#deps.clock.monotonicMs()]
    this.#written.set(name, { form: formOf(policy), timesMs: timesMs.slice(-MOST_OF_A_FORM) })
  }

  async #write(name: string): Promise<void> {
    const policy = this.#policies.get(name)!
    const { uid, resourceVersion, generation, conditions: before } = policy
    const said = saidOf(this.#statuses.get(name)!)
    const now = formatSeconds(this.#deps.clock.wallMs())
    const ours = said.map(({ type, status, reason, message }): ObjectCondition => {
      const last = before.find(each => each.type === type)
      const lastTransitionTime = (last?.status === status && last.lastTransitionTime) || now
      return { type, status, observedGeneration: generation, lastTransitionTime, reason, message }
    })
    const others = before.filter(({ type }) => !said.some(each => each.type === type))
    const patch = { metadata: { uid, resourceVersion }, status: { conditions: [...others, ...ours] } }
    // before the answer: a change that comes meanwhile is looked at again
    this.#dirty.delete(name)
    try {
      await this.#deps.store.patch('ClusterNetworkPolicy', name, patch, { subresource: 'status' })
      this.#differsMs.delete(name)
      this.#noteWrite(name, policy)
    } catch (error) {
      // the watch tells what it is now
      if (error instanceof Conflict) return
      // it is gone, or has no status; or it breaks a rule of the server, and keeps no other one waiting
      if (error instanceof NotFound || (error instanceof Refused && error.status === UNPROCESSABLE)) {
        this.#noteWrite(name, policy)
        return
      }
      this.#dirty.add(name)
      throw error
    }
  }
}

function formOf({ uid, generation }: Policy): string {
  return `${uid} ${generation}`
}

/** A policy that was made anew under its name has the generations of the one before: 1, 2 and so on. */
function isOf(status: Status, { generation, revision }: Policy): boolean {
  return status.generation === generation && status.revision === revision
}

function policyOf({ metadata, spec, status }: Resource<'ClusterNetworkPolicy'>): Policy {
  const { name, uid, resourceVersion, generation = 0 } = metadata
  const revision = revisionOf(formatRef({ kind: KIND, name }), spec)
  // the CRD lets no others in
  const { data: conditions = [] } = conditionList.safeParse(status?.['conditions'])
  return { uid, resourceVersion, generation, revision, conditions }
}

/** How long other conditions than those that a policy has are not written; undefined: it has these. */
function holdOf({ generation, conditions }: Policy, said: readonly Said[]): number | undefined {
  const pairs = said.map(after => ({ after, before: conditions.find(({ type }) => type === after.type) }))
  const isOther = pairs.some(
    ({ after: { status, reason }, before }) =>
      before?.status !== status || before.reason !== reason || before.observedGeneration !== generation,
  )
  if (isOther) return isFinal(said) ? 0 : NOT_READY_MS
  return pairs.some(({ after, before }) => after.message !== before?.message) ? NUMBERS_MS : undefined
}

/** Whether waiting brings nothing better. */
function isFinal(said: readonly Said[]): boolean {
  return said.some(({ type, status }) => (type === 'Ready' ? status === 'True' : status === 'False'))
}

/** What the nodes' word comes to. A node says of policies that an endpoint of it asks whether it understands them. */
function saidOf(status: Status): Said[] {
  const { nodesRequired, nodesEnforcing, lagging, laggingNodes } = status
  const count = `enforced on ${nodesEnforcing} of ${nodesRequired} nodes`
  const named = lagging.map(({ node, reason }) => `${node} (${reason})`).join(', ')
  const more = nodesRequired - nodesEnforcing - lagging.length
  const closed = lagging.find(({ reason }) => reason === 'Closed')
  const ready: Omit<Said, 'type'> =
    laggingNodes !== ''
      ? {
          status: 'False',
          reason: 'Lagging',
          message: `${count}; not on ${named}${more > 0 ? ` and ${more} more` : ''}`,
        }
      : {
          ...{ status: 'True', reason: 'Enforced' },
          message: nodesRequired > 0 ? count : `${count}: no node has a pod that it has rules for`,
        }
  const accepted: Omit<Said, 'type'> =
    closed !== undefined
      ? { status: 'False', reason: 'Closed', message: `as node ${closed.node} reads it: ${closed.message}` }
      : nodesEnforcing > 0
        ? { status: 'True', reason: 'Understood', message: 'every node that enforces it understands all of it' }
        : { status: 'Unknown', reason: 'NotRead', message: 'no node has said whether it understands all of it' }
  return [
    { type: 'Ready', ...ready },
    { type: 'Accepted', ...accepted },
  ]
}
