// Tells which nodes have not heard that a pod ended whose address another pod has by now (`roll-call.ts`), from the receipts that
// `policy-statuses.ts` watches. What is asked, and what all have answered, are annotations of the ClusterInformation, which every
// agent watches: a question is one write here and one of each node.

import { sameJson } from '../api/json.ts'
import { RECEIPT_ANNOTATION } from '../api/policy-receipts.ts'
import type { PolicyReceipt } from '../api/receipt-schemas.ts'
import { Conflict, NotFound, type Store } from '../datastore/port.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { RollCall } from './roll-call.ts'

export type ReusedAddressesDeps = {
  store: Pick<Store, 'get' | 'patch'>
  clock: Clock
  log: Log
  /** Whether the receipts of all nodes were listed. */
  known: () => boolean
  /** A node says something else. */
  changed: () => void
}

const NAME = 'default'
const DONE_MS = 600_000
const MOST_NAMED = 10

export class ReusedAddresses {
  readonly name = 'reused addresses'
  readonly restMs = 5_000
  readonly #deps: ReusedAddressesDeps
  readonly #call = new RollCall()
  #behind: readonly string[] = []

  constructor(deps: ReusedAddressesDeps) {
    this.#deps = deps
  }

  /** Nodes that have not answered in their time, sorted. */
  get behind(): readonly string[] {
    return this.#behind
  }

  /** What a node says now; undefined: nothing any more. */
  take(node: string, receipt: PolicyReceipt | undefined): void {
    if (this.#call.set(node, receipt)) this.#deps.changed()
  }

  /** Asks where it is time, and writes what was answered. Resolves with the time until the next look. Rejects as the store. */
  async run(): Promise<number> {
    const { store, clock, log, known } = this.#deps
    if (!known()) return DONE_MS // what is listed at last is told
    try {
      const { uid, resourceVersion, annotations = {} } = (await store.get('ClusterInformation', NAME)).metadata
      const there = {
        asked: annotations[RECEIPT_ANNOTATION.podsAsked],
        settled: annotations[RECEIPT_ANNOTATION.podsSettled],
      }
      this.#call.take(there, clock.monotonicMs())
      const { asked, settled, behind, waitMs } = this.#call.step(clock.monotonicMs())
      if (!sameJson(behind, this.#behind) && behind.length > 0)
        log.warn(
          { nodes: behind.slice(0, MOST_NAMED), count: behind.length },
          'addresses of pods that ended went to other pods, and nodes have not said that they have heard of it',
        )
      this.#behind = behind
      if (!sameJson(there, { asked, settled })) {
        const annotations = {
          [RECEIPT_ANNOTATION.podsAsked]: asked ?? null,
          [RECEIPT_ANNOTATION.podsSettled]: settled ?? null,
        }
        await store.patch('ClusterInformation', NAME, { metadata: { uid, resourceVersion, annotations } })
      }
      return Math.min(DONE_MS, waitMs)
    } catch (error) {
      if (error instanceof Conflict) return this.restMs // somebody wrote meanwhile, and it is read again
      if (!(error instanceof NotFound)) throw error
      return DONE_MS // the first objects are made in a moment
    }
  }
}
