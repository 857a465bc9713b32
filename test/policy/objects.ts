// Small constructors for the objects of a world. Names of what is in a namespace are `namespace/name`.
import type {
  CalicoPolicySpec,
  ClusterNetworkPolicy,
  EndpointSlice,
  Labels,
  NetworkPolicySpec,
  Pod,
  WorldObject,
} from './reference/objects.ts'

/** Without fields that are undefined, as an object of the API has none. */
export const bare = <T extends object>(value: T): T => JSON.parse(JSON.stringify(value)) as T

const V3 = 'projectcalico.org/v3'

function named(name: string): { namespace?: string; name: string } {
  const [first = '', second] = name.split('/')
  return second === undefined ? { name: first } : { namespace: first, name: second }
}

export function aNamespace(name: string, labels: Labels = {}): WorldObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }
}

export function aNode(name: string, addresses: readonly string[], labels: Labels = {}): WorldObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels },
    status: {
      addresses: [{ type: 'Hostname', address: name }, ...addresses.map(address => ({ type: 'InternalIP', address }))],
    },
  }
}

export function anAccount(name: string, labels: Labels = {}): WorldObject {
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { ...named(name), labels } }
}

type Port = { name?: string; containerPort: number; protocol?: string }
type PodFields = {
  labels?: Labels
  addresses: readonly string[]
  ports?: readonly Port[]
  node: string
  account?: string
  hostNetwork?: boolean
  phase?: string
}

export function aPod(
  name: string,
  { labels = {}, addresses, ports = [], node, account, hostNetwork, phase = 'Running' }: PodFields,
): Pod {
  return bare({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...named(name), labels },
    spec: { nodeName: node, serviceAccountName: account, hostNetwork, containers: [{ name: 'c', ports }] },
    status: { phase, podIPs: addresses.map(ip => ({ ip })) },
  })
}

/** The endpoints of a Service: addresses of one family, ready or not, at the same ports. */
export function aSlice(
  service: string,
  addresses: readonly string[],
  ports: NonNullable<EndpointSlice['ports']>,
  suffix = 'v4',
): WorldObject {
  const { namespace, name } = named(service)
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace, name: `${name}-${suffix}`, labels: { 'kubernetes.io/service-name': name } },
    addressType: addresses[0]?.includes(':') ? 'IPv6' : 'IPv4',
    endpoints: addresses.map((address, i) => ({ addresses: [address], conditions: { ready: i % 2 === 0 } })),
    ports,
  }
}

export function aNetworkPolicy(name: string, spec: NetworkPolicySpec): WorldObject {
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: named(name), spec }
}

export function aClusterPolicy(name: string, spec: ClusterNetworkPolicy['spec']): WorldObject {
  return { apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name }, spec }
}

/** A NetworkPolicy of Calico, or a GlobalNetworkPolicy when the name has no namespace. */
export function aCalicoPolicy(name: string, spec: CalicoPolicySpec): WorldObject {
  const metadata = named(name)
  const kind = metadata.namespace === undefined ? 'GlobalNetworkPolicy' : 'NetworkPolicy'
  return { apiVersion: V3, kind, metadata, spec }
}

export function aStagedPolicy(name: string, spec: CalicoPolicySpec): WorldObject {
  const metadata = named(name)
  const kind = metadata.namespace === undefined ? 'StagedGlobalNetworkPolicy' : 'StagedNetworkPolicy'
  return { apiVersion: V3, kind, metadata, spec }
}

export function aTier(name: string, order?: number, defaultAction?: 'Deny' | 'Pass'): WorldObject {
  return bare({ apiVersion: V3, kind: 'Tier', metadata: { name }, spec: { order, defaultAction } })
}

/** A NetworkSet, or a GlobalNetworkSet when the name has no namespace. */
export function aNetworkSet(name: string, labels: Labels, nets: readonly string[]): WorldObject {
  const metadata = { ...named(name), labels }
  return metadata.namespace === undefined
    ? { apiVersion: V3, kind: 'GlobalNetworkSet', metadata, spec: { nets } }
    : { apiVersion: V3, kind: 'NetworkSet', metadata, spec: { nets } }
}
