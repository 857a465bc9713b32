// From objects of the API to the inputs of policy, one change at a time: an object that changes tells again what is made of it,
// and of what inherits its labels. Pure: the result depends on the objects that are there, never on their order.
import { NODE_ANNOTATION } from '../../../api/core.ts'
import { sameJson } from '../../../api/json.ts'
import type { Resource } from '../../../api/kinds.ts'
import { type Condition, formatRef } from '../../../api/status.ts'
import type { Policy, PolicyInputs } from '../../../felix/policy/model.ts'
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
  ...(['Pod', 'Namespace', 'ServiceAccount', 'EndpointSlice', 'Node'] as const),
  ...(['KubernetesNetworkPolicy', 'ClusterNetworkPolicy', 'StagedKubernetesNetworkPolicy'] as const),
  ...(['NetworkPolicy', 'GlobalNetworkPolicy', 'StagedNetworkPolicy', 'StagedGlobalNetworkPolicy'] as const),
  ...(['Tier', 'NetworkSet', 'GlobalNetworkSet', 'HostEndpoint'] as const),
]

export type PolicyKind = (typeof POLICY_KINDS)[number]

/** One input that came, changed or went: `value` is undefined when it went. */
export type InputChange = {
  [K in keyof PolicyInputs]: { kind: K; key: string; value: PolicyInputs[K] | undefined }
}[keyof PolicyInputs]

type Input = keyof PolicyInputs
type Tell = (change: InputChange) => void
/** What has labels of its profiles, and how it is made of them. */
type Heir = { profiles: readonly string[]; make: (inherited: readonly (Labels | undefined)[]) => void }

export class PolicyObjects {
  readonly #tell: Tell
  /** What was told last, by kind and key: what did not change is not told again. */
  readonly #told = new Map<string, PolicyInputs[Input]>()
  /** The labels that a profile gives, by its name. */
  readonly #given = new Map<string, Labels>()
  readonly #heirs = new Map<string, Heir>()
  readonly #heirsOf = new Map<string, Set<string>>()
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
      const heir = pod && {
        profiles: podProfiles(pod),
        make: (inherited: readonly (Labels | undefined)[]) => this.#say('endpoint', key, podEndpoint(pod, inherited)),
      }
      this.#inherit('endpoint', key, heir)
    },
    Namespace: (name, namespace) => {
      const profile = namespaceProfile(name)
      this.#say('profile', profile, namespace && ALLOWING_PROFILE)
      this.#give(profile, namespace && namespaceLabels(name, namespace.metadata.labels))
    },
    ServiceAccount: (key, account) => {
      const [namespace = '', name = ''] = key.split('/')
      const profile = accountProfile(namespace, name)
      this.#say('profile', profile, account && SILENT_PROFILE)
      this.#give(profile, account && accountLabels(name, account.metadata.labels))
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
    NetworkSet: (key, set) => this.#changeSet('NetworkSet', key, set),
    GlobalNetworkSet: (key, set) => this.#changeSet('GlobalNetworkSet', key, set),
    HostEndpoint: (name, host) => {
      this.#hosts.delete(name)
      const read = host && hostEndpoint(host, [])
      this.#refuse(`HostEndpoint ${name}`, read?.refused ?? [])
      const heir = host &&
        read?.value && {
          profiles: read.value.profiles,
          make: (inherited: readonly (Labels | undefined)[]) => {
            const { value } = hostEndpoint(host, inherited)
            if (value !== undefined) this.#hosts.set(name, value)
            this.#say('endpoint', name, value?.endpoint)
          },
        }
      this.#inherit('endpoint', name, heir)
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
    const [first = '', second] = key.split('/')
    const metadata = second === undefined ? { name: first } : { namespace: first, name: second }
    const id = formatRef(refOf(kind, { metadata }))
    this.#refuse(id, converted?.refused ?? [])
    this.#say('policy', id, converted?.value)
  }

  #changeSet<K extends 'NetworkSet' | 'GlobalNetworkSet'>(kind: K, key: string, set: Resource<K> | undefined): void {
    const { namespace = '' } = set?.metadata ?? {}
    this.#refuse(`${kind} ${key}`, set === undefined ? [] : networkSetOf(kind, set, []).refused)
    const heir = set && {
      profiles: kind === 'NetworkSet' ? [namespaceProfile(namespace)] : [],
      make: (inherited: readonly (Labels | undefined)[]) =>
        this.#say('networkSet', key, networkSetOf(kind, set, inherited).value),
    }
    this.#inherit('networkSet', key, heir)
  }

  #sayService(service: string): void {
    const slices = this.#slices.get(service)
    if (slices?.size === 0) this.#slices.delete(service)
    this.#say('service', service, slices && slices.size > 0 ? serviceEndpoints([...slices.values()]) : undefined)
  }

  /** Something that inherits came, changed or went. */
  #inherit(kind: 'endpoint' | 'networkSet', key: string, heir: Heir | undefined): void {
    const id = `${kind} ${key}`
    for (const profile of this.#heirs.get(id)?.profiles ?? []) {
      const heirs = this.#heirsOf.get(profile)
      heirs?.delete(id)
      if (heirs?.size === 0) this.#heirsOf.delete(profile)
    }
    if (heir === undefined) {
      this.#heirs.delete(id)
      this.#say(kind, key, undefined)
      return
    }
    this.#heirs.set(id, heir)
    for (const profile of heir.profiles) this.#heirsOf.set(profile, (this.#heirsOf.get(profile) ?? new Set()).add(id))
    this.#make(heir)
  }

  /** The labels that a profile gives changed. */
  #give(profile: string, labels: Labels | undefined): void {
    if (sameJson(this.#given.get(profile), labels)) return
    if (labels === undefined) this.#given.delete(profile)
    else this.#given.set(profile, labels)
    for (const id of this.#heirsOf.get(profile) ?? []) this.#make(this.#heirs.get(id)!)
  }

  #make({ profiles, make }: Heir): void {
    make(profiles.map(profile => this.#given.get(profile)))
  }

  #refuse(id: string, refused: readonly Condition[]): void {
    if (refused.length === 0) this.#refused.delete(id)
    else this.#refused.set(id, refused)
  }

  #say<K extends Input>(kind: K, key: string, value: PolicyInputs[K] | undefined): void {
    const id = `${kind} ${key}`
    if (sameJson(this.#told.get(id), value)) return
    if (value === undefined) this.#told.delete(id)
    else this.#told.set(id, value)
    this.#tell({ kind, key, value } as InputChange)
  }
}

const ADDRESS_TYPES: readonly string[] = ['InternalIP', 'ExternalIP']

/** The addresses that Kubernetes and the agents say of a Node, without masks. */
function nodeInput({ metadata: { labels = {}, annotations = {} }, status }: Resource<'Node'>): PolicyInputs['node'] {
  const told = (status?.addresses ?? []).filter(({ type }) => ADDRESS_TYPES.includes(type)).map(each => each.address)
  const noted = [NODE_ANNOTATION.ipv4Address, NODE_ANNOTATION.ipv6Address].map(name => annotations[name] ?? '')
  const addresses = [...told, ...noted].map(text => parseAddress(text.split('/')[0] ?? ''))
  return { labels, addresses: [...new Set(addresses.filter(address => address !== undefined))].sort() }
}
