// Passes on to felix what policies are made of, and whom they are about: the objects of the cluster, and which pods are here.
// A pod of this node counts under the addresses that it was given, whatever the API server knows of them yet.
// Hazard: before all kinds are known nothing may be enforced: a policy without its peers would be closed to all.
import type { Resource } from '../api/kinds.ts'
import type { Condition } from '../api/status.ts'
import type { PodEndpoint } from '../cni/endpoints.ts'
import type { Caches } from '../datastore/cache.ts'
import type { Cache } from '../datastore/kind-cache.ts'
import { NotFound } from '../datastore/port.ts'
import type { Felix } from '../felix/loop.ts'
import type { PolicyEndpoint } from '../felix/policy/model.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { podProfiles } from './cluster/policies/endpoints.ts'
import { POLICY_KINDS, type PolicyKind, PolicyObjects } from './cluster/policies/objects.ts'
import { DEFAULT_ALLOW } from './cluster/policies/profiles.ts'

export type PolicyFeedDeps = {
  caches: Pick<Caches, 'of'>
  felix: Pick<Felix, 'setPolicy' | 'setLocalEndpoint' | 'complete'>
  clock: Clock
  report: (conditions: readonly Condition[]) => void
}

/** A kubelet knows its pod from the API server, so this node hears of it in the same moment. */
const POD_PATIENCE_MS = 5000

export class PolicyFeed {
  readonly #deps: PolicyFeedDeps
  readonly #objects: PolicyObjects
  readonly #caches = new Map<PolicyKind, Cache<PolicyKind>>()
  readonly #cancels: Cancel[] = []
  /** What the cluster says of endpoints, for those that come to be of this node. */
  readonly #endpoints = new Map<string, PolicyEndpoint>()
  /** The pods of this node by `namespace/name`. */
  readonly #local = new Map<string, PodEndpoint>()
  /** Who waits for the cluster to tell of a pod. */
  readonly #waiting = new Map<string, Set<() => void>>()
  #told = false

  /** Asks for the cache of each kind at once: what is asked for before the caches start has the last run's objects. */
  constructor(deps: PolicyFeedDeps) {
    this.#deps = deps
    const { caches, felix } = deps
    this.#objects = new PolicyObjects(change => {
      if (change.kind !== 'endpoint') felix.setPolicy(change.kind, change.key, change.value as never)
      else {
        if (change.value === undefined) this.#endpoints.delete(change.key)
        else this.#endpoints.set(change.key, change.value)
        this.#tellEndpoint(change.key)
        if (change.value !== undefined) for (const known of this.#waiting.get(change.key) ?? []) known()
      }
    })
    for (const kind of POLICY_KINDS) this.#follow(kind, caches)
  }

  /** A pod interface of this node came or changed. */
  setLocal(endpoint: PodEndpoint): void {
    const key = keyOf(endpoint)
    if (endpoint.pod === undefined) this.#endpoints.set(key, { ...UNLABELLED, addresses: endpoint.addresses })
    this.#local.set(key, endpoint)
    this.#tellEndpoint(key)
    this.#tellLocal(key)
  }

  /** A pod interface of this node went. Another one may have the same pod by now. */
  removeLocal(endpoint: PodEndpoint): void {
    const key = keyOf(endpoint)
    if (this.#local.get(key)?.id !== endpoint.id) return
    if (endpoint.pod === undefined) this.#endpoints.delete(key)
    this.#local.delete(key)
    this.#tellEndpoint(key)
    this.#tellLocal(key)
  }

  /** Whether every kind that the server has was seen whole, at the server or in the last run. */
  get known(): boolean {
    return [...this.#caches.values()].every(({ known, cause }) => known || cause instanceof NotFound)
  }

  /**
   * Resolves when the cluster has told of the pod, without which its policies are not known. Rejects with an error that says so
   * when it does not for some seconds.
   */
  async knows(endpoint: PodEndpoint): Promise<void> {
    const key = keyOf(endpoint)
    if (!this.#told || this.#endpoints.has(key)) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiting = this.#waiting.get(key) ?? new Set()
    this.#waiting.set(key, waiting.add(resolve))
    const cancel = this.#deps.clock.after(POD_PATIENCE_MS, () =>
      reject(new Error(`the API server has told nothing of Pod ${key} yet, so its policies are not known`)),
    )
    try {
      await promise
    } finally {
      cancel()
      waiting.delete(resolve)
      if (waiting.size === 0) this.#waiting.delete(key)
    }
  }

  close(): void {
    for (const cancel of this.#cancels) cancel()
  }

  #follow<K extends PolicyKind>(kind: K, caches: Pick<Caches, 'of'>): void {
    const cache = caches.of(kind)
    this.#caches.set(kind, cache as unknown as Cache<PolicyKind>)
    const take = (key: string, object: Resource<K> | undefined) => {
      this.#objects.change(kind, key, object)
      if (kind === 'Pod' && this.#local.has(key)) this.#tellLocal(key)
      if (this.#told) this.#report()
    }
    this.#cancels.push(
      cache.onChange(({ key, after }) => take(key, after)),
      cache.onState(() => this.#look()),
    )
  }

  #look(): void {
    if (this.#told || !this.known) return
    this.#told = true
    this.#report()
    this.#deps.felix.complete('policy')
  }

  #report(): void {
    this.#deps.report(this.#objects.refused)
  }

  #tellEndpoint(key: string): void {
    const said = this.#endpoints.get(key)
    const addresses = this.#local.get(key)?.addresses
    this.#deps.felix.setPolicy('endpoint', key, said && addresses !== undefined ? { ...said, addresses } : said)
  }

  #tellLocal(key: string): void {
    const here = this.#local.get(key)
    const pods = this.#caches.get('Pod') as unknown as Cache<'Pod'>
    const [namespace = '', name = ''] = key.split('/')
    const pod = pods.get(name, namespace)
    const profiles = here?.pod === undefined ? [DEFAULT_ALLOW] : pod === undefined ? [] : podProfiles(pod)
    const local = here && { interfaceName: here.interfaceName, profiles }
    this.#deps.felix.setLocalEndpoint(key, local)
  }
}

/** What no label says anything of: policies for all endpoints alone are about it. */
const UNLABELLED = { kind: 'pod', labels: {}, ports: [] } as const

/** The key of the Pod, or of an interface that is no pod of Kubernetes; no name has an empty namespace. */
function keyOf({ pod, id }: PodEndpoint): string {
  return pod === undefined ? `/${id}` : `${pod.namespace}/${pod.name}`
}
