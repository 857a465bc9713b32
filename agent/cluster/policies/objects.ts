// From objects of the API to the inputs of policy, one change at a time: an object that changes tells again what is made of it,
// and of what inherits its labels. Pure: the result depends on the objects that are there, never on their order.
import { NODE_ANNOTATION } from '../../../api/core.ts'
import { sameJson } from '../../../api/json.ts'
import type { Kind, Resource } from '../../../api/kinds.ts'
import { type Condition, formatRef } from '../../../api/status.ts'
import type { Policy, PolicyEndpoint, PolicyInputs } from '../../../felix/policy/model.ts'
import { parseAddress } from '../../../lib/ip.ts'
import { calicoPolicyOf } from './calico.ts'
import { clusterPolicy } from './cluster.ts'
import {
  accountProfile,
  type HostInterface,
  hostEndpoint,
  namespaceProfile,
  networkSetOf,
  podEndpoint,
  podProfiles,
} from './endpoints.ts'
import { type Converted, refOf } from './faults.ts'
import { kubernetesPolicy, stagedKubernetesPolicy } from './kubernetes.ts'
import { accountLabels, type Labels, namespaceLabels } from './labels.ts'
import { ALLOWING_PROFILE, DEFAULT_ALLOW, SILENT_PROFILE } from './profiles.ts'
import { serviceEndpoints, serviceOf } from './services.ts'
import { BUILT_IN_TIERS, tierOf } from './tiers.ts'

/** The kinds that policy is made of. */
export const POLICY_KINDS = [
  'Pod',
  'Namespace',
  'ServiceAccount',
  'EndpointSlice',
  'Node',
  'KubernetesNetworkPolicy',
  'ClusterNetworkPolicy',
  'StagedKubernetesNetworkPolicy',
  'NetworkPolicy',
  'GlobalNetworkPolicy',
  'StagedNetworkPolicy',
  'StagedGlobalNetworkPolicy',
  'Tier',
  'NetworkSet',
  'GlobalNetworkSet',
  'HostEndpoint',
] as const satisfies readonly Kind[]

export type PolicyKind = (typeof POLICY_KINDS)[number]

/** One input that came, changed or went: `value` is undefined when it went. */
export type InputChange = {
  [K in keyof PolicyInputs]: { kind: K; key: string; value: PolicyInputs[K] | undefined }
}[keyof PolicyInputs]

type Input = keyof PolicyInputs
type Tell = (change: InputChange) => void
/** What is in one namespace and inherits its labels. */
type Inside = {
  pods: Map<string, Resource<'Pod'>>
  sets: Map<string, Resource<'NetworkSet'>>
  labels: Recent<PolicyEndpoint['labels']>
  ports: Recent<PolicyEndpoint['ports']>
}

export class PolicyObjects {
  readonly #tell: Tell
  /** What was told last, by kind and key: what did not change is not told again. */
  readonly #told: { readonly [K in Input]: Map<string, PolicyInputs[K]> } = {
    ...{ endpoint: new Map(), networkSet: new Map(), tier: new Map(), policy: new Map() },
    ...{ profile: new Map(), service: new Map(), node: new Map() },
  }
  /** The labels that a profile gives, by its name. */
  readonly #given = new Map<string, Labels>()
  readonly #inside = new Map<string, Inside>()
  readonly #hostObjects = new Map<string, Resource<'HostEndpoint'>>()
  /** The slices of a Service by the key of the Service, and the Service of a slice. */
  readonly #slices = new Map<string, Map<string, Resource<'EndpointSlice'>>>()
  readonly #serviceOf = new Map<string, string>()
  readonly #hosts = new Map<string, HostInterface>()
  readonly #refused = new Map<string, readonly Condition[]>()

  /** `tell` is called for each input that changes, and now for those that every cluster has. */
  constructor(tell: Tell) {
    this.#tell = tell
    for (const tier of BUILT_IN_TIERS) this.#say('tier', tier.name, tier)
    this.#say('profile', DEFAULT_ALLOW, ALLOWING_PROFILE)
  }

  /** What makes no sense in the objects that are there, by object. */
  get refused(): readonly Condition[] {
    return [...this.#refused.values()].flat()
  }

  /** What makes no sense in one object, by what it is known by. */
  faultOf(id: string): Condition | undefined {
    return this.#refused.get(id)?.[0]
  }

  /** The interfaces of hosts that are endpoints, of all nodes, by the name of the HostEndpoint. */
  get hosts(): ReadonlyMap<string, HostInterface> {
    return this.#hosts
  }

  /** An object that came, changed or went (undefined). `key` is its name, in a namespace `namespace/name`. */
  change<K extends PolicyKind>(kind: K, key: string, object: Resource<K> | undefined): void {
    const change: (key: string, object: Resource<K> | undefined) => void = this.#changes[kind]
    change(key, object)
  }

  readonly #changes: { readonly [K in PolicyKind]: (key: string, object: Resource<K> | undefined) => void } = {
    Pod: (key, pod) => {
      this.#keep('pods', key, pod)
      this.#makePod(key, pod)
    },
    Namespace: (name, namespace) => {
      const profile = namespaceProfile(name)
      this.#say('profile', profile, namespace && ALLOWING_PROFILE)
      if (!this.#give(profile, namespace && namespaceLabels(name, namespace.metadata.labels))) return
      const { pods = [], sets = [] } = this.#inside.get(name) ?? {}
      for (const [key, pod] of pods) this.#makePod(key, pod)
      for (const [key, set] of sets) this.#makeSet(key, set)
    },
    ServiceAccount: (key, account) => {
      const [namespace = '', name = ''] = key.split('/')
      const profile = accountProfile(namespace, name)
      this.#say('profile', profile, account && SILENT_PROFILE)
      if (!this.#give(profile, account && accountLabels(name, account.metadata.labels))) return
      for (const [of, pod] of this.#inside.get(namespace)?.pods ?? [])
        if (pod.spec.serviceAccountName === name) this.#makePod(of, pod)
    },
    EndpointSlice: (key, slice) => {
      const before = this.#serviceOf.get(key)
      const after = slice && serviceOf(slice)
      if (before !== undefined) this.#slices.get(before)?.delete(key)
      if (slice === undefined || after === undefined) this.#serviceOf.delete(key)
      else {
        this.#serviceOf.set(key, after)
        const slices = this.#slices.get(after) ?? new Map<string, Resource<'EndpointSlice'>>()
        this.#slices.set(after, slices.set(key, slice))
      }
      for (const service of new Set([before, after])) if (service !== undefined) this.#sayService(service)
    },
    Node: (name, node) => this.#say('node', name, node && nodeInput(node)),
    Tier: (name, tier) => {
      const builtIn = BUILT_IN_TIERS.find(each => each.name === name)
      const { value, refused } = tier === undefined ? { value: builtIn, refused: [] } : tierOf(tier)
      this.#refuse(`Tier ${name}`, refused)
      this.#say('tier', name, value)
    },
    NetworkSet: (key, set) => {
      this.#keep('sets', key, set)
      this.#makeSet(key, set)
    },
    GlobalNetworkSet: (key, set) => {
      const { value, refused = [] } = set === undefined ? {} : networkSetOf('GlobalNetworkSet', set, [])
      this.#refuse(`GlobalNetworkSet ${key}`, refused)
      this.#say('networkSet', key, value)
    },
    HostEndpoint: (name, host) => {
      if (host === undefined) this.#hostObjects.delete(name)
      else this.#hostObjects.set(name, host)
      this.#makeHost(name, host)
    },
    KubernetesNetworkPolicy: (key, policy) =>
      this.#changePolicy('KubernetesNetworkPolicy', key, policy && kubernetesPolicy(policy)),
    StagedKubernetesNetworkPolicy: (key, policy) =>
      this.#changePolicy('StagedKubernetesNetworkPolicy', key, policy && stagedKubernetesPolicy(policy)),
    ClusterNetworkPolicy: (key, policy) =>
      this.#changePolicy('ClusterNetworkPolicy', key, policy && clusterPolicy(policy)),
    NetworkPolicy: (key, policy) =>
      this.#changePolicy('NetworkPolicy', key, policy && calicoPolicyOf('NetworkPolicy', policy)),
    GlobalNetworkPolicy: (key, policy) =>
      this.#changePolicy('GlobalNetworkPolicy', key, policy && calicoPolicyOf('GlobalNetworkPolicy', policy)),
    StagedNetworkPolicy: (key, policy) =>
      this.#changePolicy('StagedNetworkPolicy', key, policy && calicoPolicyOf('StagedNetworkPolicy', policy)),
    StagedGlobalNetworkPolicy: (key, policy) =>
      this.#changePolicy(
        'StagedGlobalNetworkPolicy',
        key,
        policy && calicoPolicyOf('StagedGlobalNetworkPolicy', policy),
      ),
  }

  #changePolicy(kind: PolicyKind, key: string, converted: Converted<Policy> | undefined): void {
    const id = policyId(kind, key)
    this.#refuse(id, converted?.refused ?? [])
    this.#say('policy', id, converted?.value)
  }

  #sayService(service: string): void {
    const slices = this.#slices.get(service)
    if (slices?.size === 0) this.#slices.delete(service)
    this.#say('service', service, slices && slices.size > 0 ? serviceEndpoints([...slices.values()]) : undefined)
  }

  /** Notes what is in a namespace, or that it is there no more. */
  #keep<K extends 'pods' | 'sets'>(field: K, key: string, object: Resource<'Pod' | 'NetworkSet'> | undefined): void {
    const namespace = key.slice(0, key.indexOf('/'))
    const inside = this.#inside.get(namespace) ?? {
      ...{ pods: new Map(), sets: new Map(), labels: new Recent(), ports: new Recent() },
    }
    const kept = inside[field] as Map<string, Resource<'Pod' | 'NetworkSet'>>
    if (object === undefined) kept.delete(key)
    else kept.set(key, object)
    if (inside.pods.size + inside.sets.size === 0) this.#inside.delete(namespace)
    else this.#inside.set(namespace, inside)
  }

  /** The labels that a profile gives. Returns whether they changed; hosts that name it are made again. */
  #give(profile: string, labels: Labels | undefined): boolean {
    if (sameJson(this.#given.get(profile), labels)) return false
    if (labels === undefined) this.#given.delete(profile)
    else this.#given.set(profile, labels)
    for (const [name, { profiles }] of [...this.#hosts])
      if (profiles.includes(profile)) this.#makeHost(name, this.#hostObjects.get(name))
    return true
  }

  #inherited(profiles: readonly string[]): (Labels | undefined)[] {
    return profiles.map(profile => this.#given.get(profile))
  }

  /** Pods of one template are the same but for their addresses: they share what they can. */
  #makePod(key: string, pod: Resource<'Pod'> | undefined): void {
    const endpoint = pod && podEndpoint(pod, this.#inherited(podProfiles(pod)))
    const inside = endpoint && this.#inside.get(pod?.metadata.namespace ?? '')
    const shared =
      endpoint && inside
        ? { ...endpoint, labels: inside.labels.same(endpoint.labels), ports: inside.ports.same(endpoint.ports) }
        : endpoint
    this.#say('endpoint', key, shared)
  }

  #makeSet(key: string, set: Resource<'NetworkSet'> | undefined): void {
    const inherited = this.#inherited([namespaceProfile(set?.metadata.namespace ?? '')])
    const { value, refused = [] } = set === undefined ? {} : networkSetOf('NetworkSet', set, inherited)
    this.#refuse(`NetworkSet ${key}`, refused)
    this.#say('networkSet', key, value)
  }

  #makeHost(name: string, host: Resource<'HostEndpoint'> | undefined): void {
    const { value: bare, refused = [] } = host === undefined ? {} : hostEndpoint(host, [])
    this.#refuse(`HostEndpoint ${name}`, refused)
    const { value } = host === undefined ? {} : hostEndpoint(host, this.#inherited(bare?.profiles ?? []))
    if (value === undefined) this.#hosts.delete(name)
    else this.#hosts.set(name, value)
    this.#say('endpoint', name, value?.endpoint)
  }

  #refuse(id: string, refused: readonly Condition[]): void {
    if (refused.length === 0) this.#refused.delete(id)
    else this.#refused.set(id, refused)
  }

  #say<K extends Input>(kind: K, key: string, value: PolicyInputs[K] | undefined): void {
    const told: Map<string, PolicyInputs[K]> = this.#told[kind]
    if (sameJson(told.get(key), value)) return
    if (value === undefined) told.delete(key)
    else told.set(key, value)
    this.#tell({ kind, key, value } as InputChange)
  }
}

/** What a policy is known by: its object, as `formatRef` has it. `key`: its name, in a namespace `namespace/name`. */
export function policyId(kind: PolicyKind, key: string): string {
  const [first = '', second] = key.split('/')
  return formatRef(
    refOf(kind, { metadata: second === undefined ? { name: first } : { namespace: first, name: second } }),
  )
}

/** The last few values: one that says the same as a new one is used for it, so that many copies are few. */
class Recent<T> {
  readonly #values: T[] = []
  #at = 0

  same(value: T): T {
    const known = this.#values.find(each => sameJson(each, value))
    if (known !== undefined) return known
    this.#values[this.#at] = value
    this.#at = (this.#at + 1) % RECENT
    return value
  }
}

const RECENT = 4

const ADDRESS_TYPES: readonly string[] = ['InternalIP', 'ExternalIP']

/** The addresses that Kubernetes and the agents say of a Node, without masks. */
function nodeInput({ metadata: { labels = {}, annotations = {} }, status }: Resource<'Node'>): PolicyInputs['node'] {
  const told = (status?.addresses ?? []).filter(({ type }) => ADDRESS_TYPES.includes(type)).map(each => each.address)
  const noted = [NODE_ANNOTATION.ipv4Address, NODE_ANNOTATION.ipv6Address].map(name => annotations[name] ?? '')
  const addresses = [...told, ...noted].map(text => parseAddress(text.split('/')[0] ?? ''))
  return { labels, addresses: [...new Set(addresses.filter(address => address !== undefined))].sort() }
}
