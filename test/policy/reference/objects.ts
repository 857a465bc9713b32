// The objects that the reference evaluator judges by, as a cluster keeps them: plain JSON, and only the fields that mean
// something to policy. Lists and selectors may be null, as Go writes what is empty.

export type Labels = Readonly<Record<string, string>>

type Metadata = { name: string; namespace?: string; labels?: Labels; annotations?: Labels; deletionTimestamp?: string }
type Kind<A extends string, K extends string, Rest = object> = { apiVersion: A; kind: K; metadata: Metadata } & Rest
type Maybe<T> = T | null

export type LabelSelector = {
  matchLabels?: Maybe<Labels>
  matchExpressions?: Maybe<readonly { key: string; operator: string; values?: Maybe<readonly string[]> }[]>
}

type ContainerPort = { name?: string; containerPort: number; protocol?: string; hostPort?: number }
type Container = { name: string; ports?: readonly ContainerPort[] }

export type Pod = Kind<
  'v1',
  'Pod',
  {
    spec: {
      nodeName?: string
      hostNetwork?: boolean
      serviceAccountName?: string
      containers?: readonly Container[]
      initContainers?: readonly Container[]
    }
    status?: { phase?: string; podIP?: string; podIPs?: readonly { ip: string }[] }
  }
>
export type Namespace = Kind<'v1', 'Namespace'>
export type ServiceAccount = Kind<'v1', 'ServiceAccount'>
export type Node = Kind<'v1', 'Node', { status?: { addresses?: readonly { type: string; address: string }[] } }>
export type EndpointSlice = Kind<
  'discovery.k8s.io/v1',
  'EndpointSlice',
  {
    addressType: string
    endpoints: readonly { addresses: readonly string[]; conditions?: { ready?: boolean } }[]
    ports?: readonly { name?: string; protocol?: string; port?: number }[]
  }
>

export type PolicyPort = { protocol?: string; port?: number | string; endPort?: number }
export type PolicyPeer = {
  podSelector?: Maybe<LabelSelector>
  namespaceSelector?: Maybe<LabelSelector>
  ipBlock?: Maybe<{ cidr: string; except?: Maybe<readonly string[]> }>
}
type PolicyRule = { from?: Maybe<readonly PolicyPeer[]>; ports?: Maybe<readonly PolicyPort[]> }
type EgressRule = { to?: Maybe<readonly PolicyPeer[]>; ports?: Maybe<readonly PolicyPort[]> }
export type NetworkPolicySpec = {
  podSelector?: Maybe<LabelSelector>
  policyTypes?: Maybe<readonly string[]>
  ingress?: Maybe<readonly PolicyRule[]>
  egress?: Maybe<readonly EgressRule[]>
}
export type NetworkPolicy = Kind<'networking.k8s.io/v1', 'NetworkPolicy', { spec: NetworkPolicySpec }>

export type ClusterSubject = {
  namespaces?: LabelSelector
  pods?: { namespaceSelector?: LabelSelector; podSelector?: LabelSelector }
}
/** `new` stands for a field of a version of the API that is newer than Margay. */
export type ClusterPeer = ClusterSubject & {
  networks?: readonly string[]
  nodes?: LabelSelector
  domainNames?: readonly string[]
  new?: unknown
}
type ClusterPort = { destinationPort?: { number?: number; range?: { start: number; end: number }; new?: unknown } }
export type ClusterProtocol = {
  tcp?: ClusterPort
  udp?: ClusterPort
  sctp?: ClusterPort
  destinationNamedPort?: string
  new?: unknown
}
export type ClusterRule = {
  name?: string
  action: string
  from?: readonly ClusterPeer[]
  to?: readonly ClusterPeer[]
  protocols?: readonly ClusterProtocol[]
}
export type ClusterNetworkPolicy = Kind<
  'policy.networking.k8s.io/v1alpha2',
  'ClusterNetworkPolicy',
  {
    spec: {
      tier: string
      priority: number
      subject: ClusterSubject
      ingress?: readonly ClusterRule[]
      egress?: readonly ClusterRule[]
    }
  }
>

type Calico = 'projectcalico.org/v3' | 'crd.projectcalico.org/v1'
export type CalicoSide = {
  selector?: string
  notSelector?: string
  namespaceSelector?: string
  nets?: readonly string[]
  notNets?: readonly string[]
  ports?: readonly (number | string)[]
  notPorts?: readonly (number | string)[]
  serviceAccounts?: { names?: readonly string[]; selector?: string }
  services?: { name: string; namespace?: string }
}
export type IcmpMatch = { type?: number; code?: number }
export type CalicoRule = {
  action: string
  ipVersion?: number
  protocol?: number | string
  notProtocol?: number | string
  icmp?: IcmpMatch
  notICMP?: IcmpMatch
  source?: CalicoSide
  destination?: CalicoSide
  http?: unknown
}
export type CalicoPolicySpec = {
  tier?: string
  order?: number | null
  selector?: string
  serviceAccountSelector?: string
  types?: readonly string[]
  ingress?: readonly CalicoRule[]
  egress?: readonly CalicoRule[]
  /** These four are of GlobalNetworkPolicy. */
  namespaceSelector?: string
  applyOnForward?: boolean
  doNotTrack?: boolean
  preDNAT?: boolean
}
export type CalicoPolicy = Kind<Calico, 'NetworkPolicy' | 'GlobalNetworkPolicy', { spec: CalicoPolicySpec }>
export type StagedPolicy =
  | Kind<
      Calico,
      'StagedNetworkPolicy' | 'StagedGlobalNetworkPolicy',
      { spec: CalicoPolicySpec & { stagedAction?: string } }
    >
  | Kind<Calico, 'StagedKubernetesNetworkPolicy', { spec: NetworkPolicySpec & { stagedAction?: string } }>
export type Tier = Kind<Calico, 'Tier', { spec: { order?: number | null; defaultAction?: string } }>
export type LabelledNets = Kind<Calico, 'NetworkSet' | 'GlobalNetworkSet', { spec: { nets?: readonly string[] } }>
export type HostEndpoint = Kind<
  Calico,
  'HostEndpoint',
  {
    spec: {
      node: string
      interfaceName?: string
      expectedIPs?: readonly string[]
      profiles?: readonly string[]
      ports?: readonly { name: string; protocol: number | string; port: number }[]
    }
  }
>

export type WorldObject =
  | Pod
  | Namespace
  | ServiceAccount
  | Node
  | EndpointSlice
  | NetworkPolicy
  | ClusterNetworkPolicy
  | CalicoPolicy
  | StagedPolicy
  | Tier
  | LabelledNets
  | HostEndpoint

/** What a pod was told when it asked its resolver for a name; the time to live has not passed. */
export type DnsAnswer = { pod: string; name: string; addresses: readonly string[] }

/** All that policy depends on. Objects are in no order; each is there once. */
export type World = { objects: readonly WorldObject[]; answers?: readonly DnsAnswer[] }

/** The objects of one kind; NetworkPolicy is two kinds, so the version may be asked, too. */
export function ofKind<K extends WorldObject['kind'], A extends WorldObject['apiVersion'] = WorldObject['apiVersion']>(
  { objects }: World,
  kind: K,
  ...versions: A[]
): (WorldObject & { kind: K; apiVersion: A })[] {
  return objects.filter(
    (object): object is WorldObject & { kind: K; apiVersion: A } =>
      object.kind === kind && (versions.length === 0 || versions.some(version => version === object.apiVersion)),
  )
}
