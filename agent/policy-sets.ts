// What this node knows of the addresses that other nodes have in the sets of their policies, for who gives addresses to pods: whether
// there are policies at all, and whether the API server still tells that a pod which has gone here has its address.
import type { FlowEnd } from '../api/answers.ts'
import { isAtLeast, RECEIPT_ANNOTATION, RECEIPT_KINDS } from '../api/policy-receipts.ts'
import type { Caches } from '../datastore/cache.ts'
import type { Cache } from '../datastore/kind-cache.ts'
import { NotFound } from '../datastore/port.ts'
import { type PodName, REST_MS, type Sets } from '../ipam/resting.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { addressesOf, hasEnded, statusAddressesOf } from './cluster/policies/endpoints.ts'

export type PolicySetsDeps = {
  caches: Pick<Caches, 'of'>
  clock: Pick<Clock, 'monotonicMs'>
  log: Log
  /** Who has an address by what policies are told. */
  at: (address: string) => FlowEnd
  /** `lateVersion` is another one: all nodes are to be asked. */
  ask: () => void
}

/** Between two lines of the log, and two questions. */
const TOLD_MS = 600_000

export class PolicySets implements Sets {
  readonly #deps: PolicySetsDeps
  readonly #policies: readonly Pick<Cache<'NetworkPolicy'>, 'known' | 'cause' | 'size'>[]
  readonly #pods: Cache<'Pod'>
  readonly #cluster: Cache<'ClusterInformation'>
  #toldMs = Number.NEGATIVE_INFINITY
  #untold = 0
  #lateVersion: string | undefined

  constructor(deps: PolicySetsDeps) {
    this.#deps = deps
    this.#policies = RECEIPT_KINDS.map(kind => deps.caches.of(kind))
    this.#pods = deps.caches.of('Pod')
    this.#cluster = deps.caches.of('ClusterInformation')
  }

  /** Before all kinds are known there may be some; a server that does not have a kind has none of it. */
  mayHold(): boolean {
    return this.#policies.some(({ known, cause, size }) => size > 0 || !(known || cause instanceof NotFound))
  }

  heard({ namespace, name }: PodName, address: string): 'has' | 'gone' | 'unclear' {
    if (!this.#pods.connected) return 'unclear'
    const pod = this.#pods.get(name, namespace)
    if (pod === undefined || hasEnded(pod)) return 'gone'
    const addresses = addressesOf(pod)
    if (addresses.includes(address)) return 'has'
    return addresses.length > 0 ? 'gone' : 'unclear'
  }

  holder(address: string): PodName | undefined {
    const { kind, namespace, name } = this.#deps.at(address)
    if (kind !== 'Pod' || namespace === undefined || name === undefined || !this.#pods.connected) return undefined
    const pod = this.#pods.get(name, namespace)
    // by its annotations one Pod could have all addresses that are free
    return pod !== undefined && statusAddressesOf(pod).includes(address) ? { namespace, name } : undefined
  }

  version(): string | undefined {
    return this.#pods.connected ? this.#pods.version : undefined
  }

  areThrough(version: string): boolean {
    return isAtLeast(this.#cluster.get('default')?.metadata.annotations?.[RECEIPT_ANNOTATION.podsSettled], version)
  }

  /** What this node tells margay-controllers: in this version of Pods a pod was gone whose address went to another one late. */
  get lateVersion(): string | undefined {
    return this.#lateVersion
  }

  late(address: string): void {
    this.#untold++
    const nowMs = this.#deps.clock.monotonicMs()
    if (nowMs - this.#toldMs < TOLD_MS) return
    this.#deps.log.info(
      { address, addresses: this.#untold },
      `addresses may go to other pods after their ${REST_MS / 1000} s of rest, before all nodes said that no set has them: all are asked now, and margay-controllers tell which do not answer`,
    )
    this.#toldMs = nowMs
    this.#untold = 0
    this.#lateVersion = this.version() ?? this.#lateVersion
    this.#deps.ask()
  }
}
