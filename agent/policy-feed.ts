// Passes on to felix what policies are made of, and whom they are about: the objects of the cluster, and which pods are here.
// A pod of this node counts under the addresses that it was given, whatever the API server knows of them yet.
// Hazard: before all kinds are known nothing may be enforced: a policy without its peers would be closed to all. What is behind
// Services is watched only where a policy names one, and such a rule is closed until it is known.
import { isDeepStrictEqual } from 'node:util'
import { POD_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { hasReceipts, type ReceiptKind, revisionOf } from '../api/policy-receipts.ts'
import type { Condition } from '../api/status.ts'
import type { PodEndpoint } from '../cni/endpoints.ts'
import type { PodAnnotations } from '../cni/pod-annotations.ts'
import type { PodName } from '../cni/request.ts'
import type { Caches } from '../datastore/cache.ts'
import type { Cache } from '../datastore/kind-cache.ts'
import { NotFound } from '../datastore/port.ts'
import type { Felix } from '../felix/loop.ts'
import type { Policy, PolicyEndpoint } from '../felix/policy/model.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { LocalPod } from './cluster/local-pods.ts'
import { podProfiles } from './cluster/policies/endpoints.ts'
import { notEnforced } from './cluster/policies/not-enforced.ts'
import { POLICY_KINDS, type PolicyKind, PolicyObjects, policyId } from './cluster/policies/objects.ts'
import { DEFAULT_ALLOW } from './cluster/policies/profiles.ts'
import { closedByService, namesDomains, namesService } from './cluster/policies/services.ts'
import { podQos } from './cluster/qos.ts'
import { podSources } from './cluster/sources.ts'
import type { DomainNames } from './domain-names.ts'
import type { FloatingAddresses } from './floating-addresses.ts'

export type PolicyFeedDeps = {
  caches: Pick<Caches, 'of'>
  /** Whose host endpoints are this node's. */
  nodeName: string
  felix: Pick<Felix, 'set' | 'setPolicy' | 'setPolicyRevision' | 'setLocalEndpoint' | 'setHostEndpoint' | 'complete'>
  /** Which pods of this node floating addresses can lead to. */
  floating: Pick<FloatingAddresses, 'setHere'>
  /** Which interfaces of pods are here, with their labels: some may be BGP peers of this node. */
  pods: { setPod(id: string, pod: LocalPod | undefined): void }
  /** Of which a policy may ask. */
  names: Pick<DomainNames, 'want' | 'gaps'>
  clock: Clock
  report: (conditions: readonly Condition[]) => void
}

/** A kubelet knows its pod from the API server, so this node hears of it in the same moment. */
const POD_PATIENCE_MS = 5000

/** Whom an interface is made for. */
type Asking = Pick<PodEndpoint, 'id' | 'pod'>

export class PolicyFeed {
  readonly #deps: PolicyFeedDeps
  readonly #objects: PolicyObjects
  readonly #caches = new Map<PolicyKind, Cache<PolicyKind>>()
  readonly #cancels: Cancel[] = []
  /** What the cluster says of endpoints. */
  readonly #endpoints = new Map<string, PolicyEndpoint>()
  /** The interfaces of each pod of this node by `namespace/name`, then by their ids. */
  readonly #local = new Map<string, Map<string, PodEndpoint>>()
  /** Under which keys the interfaces of a pod beside its first were told, by the key of the pod. */
  readonly #beside = new Map<string, readonly string[]>()
  /** Pods whose last interface here went: their addresses may be another pod's by now. */
  readonly #left = new Set<string>()
  /** The host endpoints of this node, by name. */
  readonly #hosts = new Set<string>()
  /** Who waits for the cluster to tell of a pod. */
  readonly #waiting = new Set<() => void>()
  /** What annotations of pods of this node ask in vain, by the key of the pod. */
  readonly #askedInVain = new Map<string, readonly Condition[]>()
  /** The interfaces of each pod that were told to have sources beside their addresses, by their ids. */
  readonly #withSources = new Map<string, readonly string[]>()
  /** The policies that name Services, by key. */
  readonly #byService = new Map<string, Policy>()
  /** The interfaces of each pod that were told with its labels, by their ids. */
  readonly #labelled = new Map<string, readonly string[]>()
  #servicesKnown = false
  #told = false

  /** Asks for the cache of each kind at once: what is asked for before the caches start has the last run's objects. */
  constructor(deps: PolicyFeedDeps) {
    this.#deps = deps
    const { felix } = deps
    this.#objects = new PolicyObjects(change => {
      if (change.kind === 'policy') this.#tellPolicy(change.key, change.value)
      else if (change.kind !== 'endpoint') felix.setPolicy(change.kind, change.key, change.value as never)
      else {
        if (change.value === undefined) this.#endpoints.delete(change.key)
        else this.#endpoints.set(change.key, change.value)
        this.#tell(change.key)
      }
    })
    for (const kind of POLICY_KINDS) if (kind !== 'EndpointSlice') this.#follow(kind)
  }

  /** A pod interface of this node came or changed. */
  setLocal(endpoint: PodEndpoint): void {
    const key = keyOf(endpoint)
    if (endpoint.pod === undefined) this.#endpoints.set(key, { ...UNLABELLED, addresses: endpoint.addresses })
    const interfaces = this.#local.get(key) ?? new Map<string, PodEndpoint>()
    this.#local.set(key, interfaces.set(endpoint.id, endpoint))
    this.#left.delete(key)
    this.#tell(key)
  }

  /** A pod interface of this node went. Another one may have the same pod by now. */
  removeLocal(endpoint: PodEndpoint): void {
    const key = keyOf(endpoint)
    const interfaces = this.#local.get(key)
    if (interfaces?.delete(endpoint.id) !== true) return
    if (endpoint.pod === undefined) this.#endpoints.delete(key)
    if (interfaces.size === 0) {
      this.#local.delete(key)
      if (isSame(endpoint, this.#podOf(key))) this.#left.add(key)
    }
    this.#tell(key)
  }

  /** Whether every kind that the server has was seen whole, at the server or in the last run. */
  get known(): boolean {
    return [...this.#caches.values()].every(isKnown)
  }

  /**
   * Resolves when the cluster has told of this very pod, with its namespace, and of all policies. Rejects with an error that
   * says what is missing when that takes more than some seconds.
   */
  async knows(endpoint: Asking): Promise<void> {
    if (this.#missing(endpoint) === undefined) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const look = () => {
      if (this.#missing(endpoint) === undefined) resolve()
    }
    this.#waiting.add(look)
    const cancel = this.#deps.clock.after(POD_PATIENCE_MS, () => {
      const missing = this.#missing(endpoint) ?? ''
      const message = `the API server has told nothing of ${missing} yet, so policies of the pod are not known`
      const silence = this.#silence()
      reject(new Error(silence === undefined ? message : `${message}: ${silence}`))
    })
    try {
      await promise
    } finally {
      cancel()
      this.#waiting.delete(look)
    }
  }

  /** What a Pod and its Namespace say. Waits and rejects as `knows`. */
  async annotations(pod: PodName): Promise<PodAnnotations> {
    await this.knows({ id: '', pod })
    const key = `${pod.namespace}/${pod.name}`
    const annotations = [this.#podOf(key), this.#namespaceOf(key)].map(each => each?.metadata.annotations ?? {})
    return { pod: annotations[0]!, namespace: annotations[1]! }
  }

  /** What is told of names of domains has changed. */
  namesChanged(): void {
    if (this.#told) this.#report()
  }

  /** Why a policy is enforced in another way than it says, by what it is known by; undefined where it is not. */
  faultOf(id: string): { reason: string; message: string } | undefined {
    if (!this.#servicesKnown && this.#byService.has(id))
      return {
        reason: 'ServicesUnknown',
        message: 'its rules that name Services are closed until EndpointSlices are known',
      }
    return this.#objects.faultOf(id)
  }

  close(): void {
    for (const cancel of this.#cancels) cancel()
  }

  #follow<K extends PolicyKind>(kind: K): void {
    const cache = this.#deps.caches.of(kind)
    this.#caches.set(kind, cache as unknown as Cache<PolicyKind>)
    const take = (key: string, object: Resource<K> | undefined) => {
      this.#objects.change(kind, key, object)
      if (hasReceipts(kind)) this.#tellRevision(kind, key, object as Resource<ReceiptKind> | undefined)
      if (kind === 'Pod' && this.#local.has(key)) this.#tell(key)
      if (kind === 'Namespace') this.#tellPodsOf(key)
      if (kind === 'HostEndpoint') this.#tellHost(key)
      if (this.#told) this.#report()
      for (const look of this.#waiting) look()
    }
    this.#cancels.push(
      cache.onChange(({ key, before, after }) => {
        const isAnother = kind === 'Pod' && before?.metadata.uid !== after?.metadata.uid && this.#left.delete(key)
        take(key, after)
        if (isAnother) this.#tell(key)
      }),
      cache.onState(() => this.#look()),
    )
    // one that is asked for late has the last run's objects already
    for (const object of cache.all()) take(keyOfObject(object), object)
  }

  #look(): void {
    this.#lookAtServices()
    if (this.#told) return
    this.#told = this.known
    this.#report()
    if (!this.#told) return
    this.#deps.felix.complete('policy')
    for (const look of this.#waiting) look()
  }

  #report(): void {
    const unknown = [...this.#caches].filter(([, cache]) => !isKnown(cache) && cache.cause !== undefined)
    const waits = unknown.slice(0, 1).map(([kind, { cause }]) => ({
      message: `${kind} is not known, so policies are enforced as an earlier run left them: ${cause?.message}`,
      remedy: `look at ApiServerConnected, and whether this node may list and watch ${kind}`,
    }))
    const gaps = [...waits, ...this.#deps.names.gaps]
    this.#deps.report([...this.#objects.refused, ...[...this.#askedInVain.values()].flat(), ...notEnforced(gaps)])
  }

  #tellHost(name: string): void {
    const { felix, nodeName } = this.#deps
    const host = this.#objects.hosts.get(name)
    if (host === undefined || host.node !== nodeName) {
      if (this.#hosts.delete(name)) felix.setHostEndpoint(name, undefined)
      return
    }
    this.#hosts.add(name)
    const { endpoint, interfaceName, profiles } = host
    felix.setHostEndpoint(name, {
      ...{ addresses: endpoint.addresses, profiles },
      ...(interfaceName !== undefined && { interfaceName }),
    })
  }

  #tellRevision(kind: ReceiptKind, key: string, object: Resource<ReceiptKind> | undefined): void {
    const id = policyId(kind, key)
    this.#deps.felix.setPolicyRevision(kind, id, object && revisionOf(id, object.spec))
  }

  #tellPolicy(key: string, policy: Policy | undefined): void {
    const byService = policy !== undefined && namesService(policy)
    if (byService) this.#byService.set(key, policy)
    else this.#byService.delete(key)
    const byDomain = policy !== undefined && namesDomains(policy)
    if (byDomain) this.#deps.names.want()
    // resolvers are behind Services too
    if ((byService || byDomain) && !this.#caches.has('EndpointSlice')) {
      this.#follow('EndpointSlice')
      this.#lookAtServices()
    }
    const told = byService && !this.#servicesKnown ? closedByService(policy) : policy
    this.#deps.felix.setPolicy('policy', key, told)
  }

  /** Once it is known what is behind Services, policies that name one say what they say. */
  #lookAtServices(): void {
    const slices = this.#caches.get('EndpointSlice')
    if (this.#servicesKnown || slices === undefined || !isKnown(slices)) return
    this.#servicesKnown = true
    for (const [key, policy] of this.#byService) this.#deps.felix.setPolicy('policy', key, policy)
  }

  /** What `knows` waits for. */
  #missing(endpoint: Asking): string | undefined {
    if (!this.#told) {
      const unknown = [...this.#caches].filter(([, cache]) => !isKnown(cache)).map(([kind]) => kind)
      return `the kinds ${unknown.join(', ')}`
    }
    if (endpoint.pod === undefined) return undefined
    const { namespace, name } = endpoint.pod
    const pod = this.#podOf(keyOf(endpoint))
    if (pod === undefined || !isSame(endpoint, pod)) return `Pod ${namespace}/${name}`
    // before it is known, nothing that asks for its labels is about the pod
    return this.#namespaceOf(keyOf(endpoint)) === undefined ? `Namespace ${namespace}` : undefined
  }

  /** Why the API server tells nothing more: what the watch of Pods, or another one, ended with. */
  #silence(): string | undefined {
    const watches = [this.#caches.get('Pod')!, ...this.#caches.values()]
    return watches.find(({ connected, cause }) => !connected && cause !== undefined)?.cause?.message
  }

  #podOf(key: string): Resource<'Pod'> | undefined {
    const [namespace = '', name = ''] = key.split('/')
    return (this.#caches.get('Pod') as unknown as Cache<'Pod'>).get(name, namespace)
  }

  #namespaceOf(key: string): Resource<'Namespace'> | undefined {
    return (this.#caches.get('Namespace') as unknown as Cache<'Namespace'>).get(key.split('/')[0]!)
  }

  /** What a Namespace says counts for its pods. */
  #tellPodsOf(namespace: string): void {
    for (const key of this.#local.keys()) if (key.startsWith(`${namespace}/`)) this.#tell(key)
  }

  /**
   * Tells of a pod, and of those of its interfaces that are here. Each interface is an endpoint: the first under the key of the
   * pod, the others under keys that have their id behind it. An interface of an older pod of that name is closed.
   */
  #tell(key: string): void {
    const { felix } = this.#deps
    const pod = this.#podOf(key)
    const profiles = key.startsWith('/') ? [DEFAULT_ALLOW] : pod === undefined ? [] : podProfiles(pod)
    const said = this.#endpoints.get(key)
    const here = [...(this.#local.get(key)?.values() ?? [])].filter(each => isSame(each, pod)).sort(byAge)
    const [first, ...others] = here
    const addresses = this.#left.has(key) ? [] : first?.addresses
    const asked = pod === undefined || here.length === 0 ? undefined : pod
    const { qos, bandwidth, told } = asked === undefined ? {} : podQos(asked)
    const sources = asked === undefined ? {} : podSources(asked, this.#namespaceOf(key))
    this.#tellSources(key, here, sources.cidrs)
    this.#tellAskedInVain(
      key,
      [told, sources.told].filter(each => each !== undefined),
    )
    this.#deps.floating.setHere(key, asked && first)
    this.#tellPods(
      key,
      asked === undefined || said === undefined || this.#left.has(key) ? [] : here,
      said?.labels ?? {},
    )
    const asks = { profiles, ...(qos && { qos }), ...(bandwidth && { bandwidth }) }
    felix.setPolicy('endpoint', key, said && addresses !== undefined ? { ...said, addresses } : said)
    felix.setLocalEndpoint(key, first && { interfaceName: first.interfaceName, ...asks })
    const beside = new Map(others.map(each => [`${key}/${each.id}`, each]))
    for (const [other, { addresses, interfaceName }] of beside) {
      felix.setPolicy('endpoint', other, said && { ...said, addresses })
      felix.setLocalEndpoint(other, { interfaceName, ...asks })
    }
    for (const gone of this.#beside.get(key) ?? []) {
      if (beside.has(gone)) continue
      felix.setPolicy('endpoint', gone, undefined)
      felix.setLocalEndpoint(gone, undefined)
    }
    if (beside.size === 0) this.#beside.delete(key)
    else this.#beside.set(key, [...beside.keys()])
  }

  /** Every interface of the pod may send under them. */
  #tellSources(key: string, here: readonly PodEndpoint[], cidrs: readonly string[] | undefined): void {
    const { felix } = this.#deps
    const [namespace = '', name = ''] = key.split('/')
    const ids = cidrs === undefined ? [] : here.map(({ id }) => id)
    for (const gone of this.#withSources.get(key) ?? []) if (!ids.includes(gone)) felix.set('sources', gone, undefined)
    for (const id of ids) felix.set('sources', id, cidrs && { pod: { namespace, name }, cidrs })
    if (ids.length === 0) this.#withSources.delete(key)
    else this.#withSources.set(key, ids)
  }

  #tellPods(key: string, here: readonly PodEndpoint[], labels: PolicyEndpoint['labels']): void {
    const { pods } = this.#deps
    const ids = here.map(({ id }) => id)
    for (const gone of this.#labelled.get(key) ?? []) if (!ids.includes(gone)) pods.setPod(gone, undefined)
    for (const { id, interfaceName, addresses } of here)
      pods.setPod(id, { endpoint: id, interfaceName, addresses, labels })
    if (ids.length === 0) this.#labelled.delete(key)
    else this.#labelled.set(key, ids)
  }

  #tellAskedInVain(key: string, told: readonly Condition[]): void {
    if (isDeepStrictEqual(this.#askedInVain.get(key) ?? [], told)) return
    if (told.length === 0) this.#askedInVain.delete(key)
    else this.#askedInVain.set(key, told)
    if (this.#told) this.#report()
  }
}

/** What the server does not have has nothing to be known. */
function isKnown({ known, cause }: Pick<Cache<PolicyKind>, 'known' | 'cause'>): boolean {
  return known || cause instanceof NotFound
}

/** Whether an interface was made for this Pod, as far as is known: another Pod can have had the name. */
function isSame({ pod: made }: Asking, pod: Resource<'Pod'> | undefined): boolean {
  if (made?.uid === undefined || pod?.metadata.uid === undefined) return true
  return [pod.metadata.uid, pod.metadata.annotations?.[POD_ANNOTATION.staticUid]].includes(made.uid)
}

function byAge(a: PodEndpoint, b: PodEndpoint): number {
  return a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1)
}

function keyOfObject({ metadata: { name, namespace = '' } }: Resource<PolicyKind>): string {
  return namespace === '' ? name : `${namespace}/${name}`
}

/** What no label says anything of: policies for all endpoints alone are about it. */
const UNLABELLED = { kind: 'pod', labels: {}, ports: [] } as const

/** The key of the Pod, or of an interface that is no pod of Kubernetes; no name has an empty namespace. */
function keyOf({ pod, id }: Asking): string {
  return pod === undefined ? `/${id}` : `${pod.namespace}/${pod.name}`
}
