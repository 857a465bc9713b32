// The kinds that routing depends on, as the caches have them.
import type { Kind, Resource } from '../api/kinds.ts'
import { broken, type Condition } from '../api/status.ts'
import type { Caches } from '../datastore/cache.ts'
import type { Cache, CacheChange } from '../datastore/kind-cache.ts'
import { NotFound, Refused } from '../datastore/port.ts'
import type { Cancel } from '../lib/clock.ts'
import { parseCidr } from '../lib/ip.ts'
import { refusedConditions } from './cluster/refused.ts'

const WATCHED = [
  'Node',
  'IPPool',
  'BGPConfiguration',
  'BGPPeer',
  'BGPFilter',
  'FelixConfiguration',
  'IPAMConfiguration',
  'IPReservation',
  'ClusterInformation',
] as const satisfies readonly Kind[]
export type Watched = (typeof WATCHED)[number]

type ClusterCaches = Pick<Caches, 'of' | 'ownNode' | 'endpointReadiness' | 'connection' | 'doubt' | 'retryNow'>

export class ClusterView {
  readonly #caches: Pick<Caches, 'of' | 'endpointReadiness' | 'connection' | 'doubt' | 'retryNow'>
  readonly #own: Cache<'Node'>
  readonly #nodeName: string
  readonly #followed: readonly Cache<Kind>[]
  readonly #cancels: Cancel[] = []

  /** Asks for the cache of each kind at once: what is asked for before the caches start has the last run's objects. */
  constructor(caches: ClusterCaches, nodeName: string) {
    this.#caches = caches
    this.#nodeName = nodeName
    this.#own = caches.ownNode(nodeName)
    this.#followed = [...WATCHED.map(kind => caches.of(kind)), this.#own] as unknown as Cache<Kind>[]
  }

  /** This node's Node, with fields that the Nodes of `all` and `get` lack: addresses and conditions of `status`. */
  get ownNode(): Resource<'Node'> | undefined {
    return this.#own.get(this.#nodeName)
  }

  /** The ranges that Kubernetes gave this node for its pods. */
  podCidrs(): readonly string[] {
    const { podCIDRs, podCIDR } = this.ownNode?.spec ?? {}
    return (podCIDRs ?? [podCIDR]).filter(cidr => cidr !== undefined && parseCidr(cidr) !== undefined) as string[]
  }

  /** Calls `listen` with each change of `ownNode`. */
  onOwnNode(listen: (change: CacheChange<'Node'>) => void): void {
    this.#cancels.push(this.#own.onChange(listen))
  }

  /** Calls `listen` with each change of an object of a kind. */
  onChange<K extends Watched>(kind: K, listen: (change: CacheChange<K>) => void): void {
    this.#cancels.push(this.#caches.of(kind).onChange(listen))
  }

  /** Calls `listen` when `synced`, `connected` or `refused` may have changed. */
  onState(listen: () => void): void {
    for (const cache of this.#followed) this.#cancels.push(cache.onState(listen))
  }

  /** Whether every kind that matters was seen whole (at the server, or while it is away in the last run). */
  get synced(): boolean {
    return this.#needed().every(({ synced }) => synced)
  }

  /**
   * Nobody waits for BGPFilters that no peer has, as after an upgrade from a version without while the server is away, or that a
   * server lacks or does not give out: who names one then has no session, and all others have theirs. Nor for a ClusterInformation
   * that was never seen and cannot be read: there is the mesh then.
   */
  #needed(): readonly Cache<Kind>[] {
    const filters = this.#followed[WATCHED.indexOf('BGPFilter')]!
    const areUsed = this.all('BGPPeer').some(({ spec: { filters: names = [] } }) => names.length > 0)
    const areThere = filters.size > 0 || !(filters.cause instanceof NotFound || filters.cause instanceof Refused)
    const information = this.#followed[WATCHED.indexOf('ClusterInformation')]!
    const isHopeless = !information.known && information.cause !== undefined
    return this.#followed.filter(cache =>
      cache === filters ? areUsed && areThere : cache !== information || !isHopeless,
    )
  }

  /** Whether every watch of these kinds is connected to a server right now. */
  get connected(): boolean {
    return this.#needed().every(({ connected }) => connected)
  }

  /** The API server is not believed, and why. */
  doubted(): Condition[] {
    const { doubt } = this.#caches
    if (doubt === undefined) return []
    return [
      broken('ClusterRecognised', {
        reason: 'NotBelieved',
        message: `the API server is not believed: ${doubt.reason}; this node goes on with what it knew and writes nothing there`,
        remedy:
          'restore the API server, or correct the kubeconfig; if it is right as it is: margayctl node accept-cluster',
      }),
    ]
  }

  /** Whether every watch of the agent's caches is connected, those of policies too, and if not why, as one of them was told. */
  get connection(): Caches['connection'] {
    return this.#caches.connection
  }

  /** Objects that are not valid. */
  refused(): Condition[] {
    return WATCHED.flatMap(kind => refusedConditions(kind, this.#caches.of(kind).refused))
  }

  /** The way to the API server may be there again. */
  retryNow(): void {
    this.#caches.retryNow()
  }

  all<K extends Watched>(kind: K): readonly Resource<K>[] {
    return this.#caches.of(kind).all()
  }

  get<K extends Watched>(kind: K, name: string): Resource<K> | undefined {
    return this.#caches.of(kind).get(name)
  }

  /** Watched from the first call on, as `endpointReadiness` is: nothing else waits for them. */
  services(): Cache<'Service'> {
    return this.#caches.of('Service')
  }

  /** EndpointSlices with which endpoints are ready, and on which nodes. */
  endpointReadiness(): Cache<'EndpointSlice'> {
    return this.#caches.endpointReadiness()
  }

  close(): void {
    for (const cancel of this.#cancels) cancel()
  }
}
