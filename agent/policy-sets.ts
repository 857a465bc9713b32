// What this node knows of the addresses that other nodes have in the sets of their policies, for who gives addresses to pods: whether
// there are policies at all, and whether the API server still tells that a pod which has gone here has its address.
import { RECEIPT_KINDS } from '../api/policy-receipts.ts'
import type { Caches } from '../datastore/cache.ts'
import type { Cache } from '../datastore/kind-cache.ts'
import { NotFound } from '../datastore/port.ts'
import type { PodName, Sets } from '../ipam/resting.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { addressesOf } from './cluster/policies/endpoints.ts'

export type PolicySetsDeps = { caches: Pick<Caches, 'of'>; clock: Pick<Clock, 'monotonicMs'>; log: Log }

/** Between two lines of the log. */
const TOLD_MS = 600_000

export class PolicySets implements Sets {
  readonly #deps: PolicySetsDeps
  readonly #policies: readonly Pick<Cache<'NetworkPolicy'>, 'known' | 'cause' | 'size'>[]
  readonly #pods: Cache<'Pod'>
  #toldMs = Number.NEGATIVE_INFINITY
  #untold = 0

  constructor(deps: PolicySetsDeps) {
    this.#deps = deps
    this.#policies = RECEIPT_KINDS.map(kind => deps.caches.of(kind))
    this.#pods = deps.caches.of('Pod')
  }

  /** Before all kinds are known there may be some; a server that does not have a kind has none of it. */
  mayHold(): boolean {
    return this.#policies.some(({ known, cause, size }) => size > 0 || !(known || cause instanceof NotFound))
  }

  tells({ namespace, name }: PodName, address: string): boolean {
    const pod = this.#pods.connected ? this.#pods.get(name, namespace) : undefined
    return pod !== undefined && addressesOf(pod).includes(address)
  }

  late(address: string): void {
    this.#untold++
    const nowMs = this.#deps.clock.monotonicMs()
    if (nowMs - this.#toldMs < TOLD_MS) return
    this.#deps.log.info(
      { address, addresses: this.#untold },
      'addresses went to other pods some 30 s after those that had them, before all nodes said that they have them in no set any more: more blocks for this node let them rest longer',
    )
    this.#toldMs = nowMs
    this.#untold = 0
  }
}
