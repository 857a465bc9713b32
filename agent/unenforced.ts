// Policies that the API server holds in a form that nobody enforces: AdminNetworkPolicy and BaselineAdminNetworkPolicy, which
// ClusterNetworkPolicy has replaced. Whoever wrote one relies on it, so every node says so. They are not watched: a watch would
// tell thousands of nodes of every change of objects that they have no use for. So one object of each kind is asked for, its
// metadata alone, with the number of the others; the more nodes there are, the more rarely: all nodes together ask twice a second.
import { broken, type Condition } from '../api/status.ts'
import { type AnyKind, isStoreError, NotFound, type ObjectCount, Refused, type Store } from '../datastore/port.ts'
import type { Cancel, Clock } from '../lib/clock.ts'

type Row = AnyKind & { kind: string }

const ROWS: readonly Row[] = [
  ['adminnetworkpolicies', 'AdminNetworkPolicy'] as const,
  ['baselineadminnetworkpolicies', 'BaselineAdminNetworkPolicy'] as const,
].map(([plural, kind]) => ({ group: 'policy.networking.k8s.io', version: 'v1alpha1', plural, kind }))

/** Until the first question, at the most: many agents start in the same moment. */
const FIRST_MS = 20_000
/** Between the questions of one node: at the least, and for each node of the cluster. */
const LEAST_MS = 60_000
const PER_NODE_MS = 500
/** A kind that the server does not have, or that this node may not read, is asked for again after so long. */
const ABSENT_MS = 3_600_000
/** The token of the node has expired, or the server does not know it yet: that says nothing of a kind. */
const UNAUTHORIZED = 401

export type UnenforcedDeps = {
  store: Pick<Store, 'count'>
  clock: Clock
  /** How many nodes the cluster has. */
  nodes: () => number
  /** What is wrong now; called after each round. */
  report: (conditions: readonly Condition[]) => void
  random?: () => number
}

export class Unenforced {
  readonly #deps: UnenforcedDeps
  readonly #random: () => number
  readonly #found = new Map<Row, ObjectCount>()
  /** When a kind that was not there is asked for again, on the monotonic clock. */
  readonly #absentUntilMs = new Map<Row, number>()
  #closed = false
  #cancel: Cancel = () => undefined

  constructor(deps: UnenforcedDeps) {
    this.#deps = deps
    this.#random = deps.random ?? Math.random
  }

  start(): void {
    this.#after(FIRST_MS * this.#random())
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  #after(delayMs: number): void {
    if (!this.#closed) this.#cancel = this.#deps.clock.after(delayMs, () => void this.#round())
  }

  async #round(): Promise<void> {
    const { clock, nodes, report } = this.#deps
    for (const row of ROWS) {
      if (this.#closed) return
      if ((this.#absentUntilMs.get(row) ?? 0) > clock.monotonicMs()) continue
      // the server of the group is away: it is for the others too
      if (!(await this.#ask(row))) break
    }
    if (this.#closed) return
    report(conditionsOf(this.#found))
    this.#after(Math.max(LEAST_MS, nodes() * PER_NODE_MS) * (0.75 + this.#random() / 2))
  }

  /** Whether the server answered; while it does not, what it said before counts. */
  async #ask(row: Row): Promise<boolean> {
    const { store, clock } = this.#deps
    try {
      const { group, version, plural } = row
      const found = await store.count({ group, version, plural })
      if (found === undefined) this.#found.delete(row)
      else this.#found.set(row, found)
      return true
    } catch (error) {
      if (!isStoreError(error)) throw error
      const isAbsent = error instanceof NotFound || (error instanceof Refused && error.status !== UNAUTHORIZED)
      if (!isAbsent) return false
      this.#found.delete(row)
      this.#absentUntilMs.set(row, clock.monotonicMs() + ABSENT_MS)
      return true
    }
  }
}

function conditionsOf(found: ReadonlyMap<Row, ObjectCount>): Condition[] {
  if (found.size === 0) return []
  const texts = [...found].map(([{ kind, group }, { count, atLeast, name, namespace }]) => {
    const example = namespace === undefined ? name : `${namespace}/${name}`
    return `${count}${atLeast ? ' or more' : ''} ${kind} of ${group} (such as ${example})`
  })
  return [
    broken('PoliciesEnforced', {
      reason: 'NotEnforced',
      message: `nobody enforces ${texts.join(', ')}: what they should decide is decided by the other policies alone`,
      remedy:
        'write them as ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2, which took their place, and delete them',
    }),
  ]
}
