// Who has an address: the pods with addresses of their own, the labelled CIDRs and the interfaces of hosts that rules
// choose by labels. A pod in the network of its host is none of them, it is that node.
import { contains, sameAddress, Unreadable } from './addresses.ts'
import { type LabelSelector, type Labels, type Node, ofKind, type Pod, type World } from './objects.ts'
import { matchesLabels } from './selectors.ts'

export type NamedPort = { name: string; protocol: number; port: number }

/** What a selector may choose. `own` are the labels as they stand at the object. */
export type Endpoint = {
  kind: 'Pod' | 'NetworkSet' | 'GlobalNetworkSet' | 'HostEndpoint'
  name: string
  namespace?: string
  own: Labels
  /** What the selectors of Calico see: without what somebody wrote there that only the cluster says. */
  labels: Labels
  namespaceLabels: Labels
  serviceAccount?: string
  serviceAccountLabels: Labels
  nets: readonly string[]
  ports: readonly NamedPort[]
}

const PROTOCOLS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132, udplite: 136 }

/** The number of a protocol that is given by number or name, in any case. Throws Unreadable. */
export function protocolOf(protocol: number | string): number {
  const number = PROTOCOLS[String(protocol).toLowerCase()] ?? (/^\d+$/.test(`${protocol}`) ? Number(protocol) : -1)
  if (number < 0 || number > 255) throw new Unreadable(`not a protocol: ${protocol}`)
  return number
}

const known = new WeakMap<World, Endpoint[]>()

export function endpointsOf(world: World): readonly Endpoint[] {
  let endpoints = known.get(world)
  if (endpoints === undefined) {
    endpoints = [...podEndpoints(world), ...sets(world), ...hostEndpoints(world)]
    known.set(world, endpoints)
  }
  return endpoints
}

/** Whether the endpoint has the address. */
export function has(endpoint: Endpoint, address: string): boolean {
  return endpoint.nets.some(net => contains(net, address))
}

export function addressesOf(pod: Pod): readonly string[] {
  const { phase = '', podIP, podIPs } = pod.status ?? {}
  const annotations = pod.metadata.annotations ?? {}
  const noted = annotations['cni.projectcalico.org/podIP']
  // the address of a pod that has ended may be another one's by now
  if (['Succeeded', 'Failed'].includes(phase) || (pod.metadata.deletionTimestamp !== undefined && noted === ''))
    return []
  if (podIPs !== undefined && podIPs.length > 0) return podIPs.map(({ ip }) => ip)
  if (podIP !== undefined && podIP !== '') return [podIP]
  return (annotations['cni.projectcalico.org/podIPs'] ?? noted ?? '')
    .split(',')
    .filter(text => text !== '')
    .map(text => text.split('/')[0]!)
}

/** Whether policy is asked at all for a pod: it has an interface and addresses of its own. */
export function isJudged(pod: Pod): boolean {
  return pod.spec.hostNetwork !== true
}

export function podOfAddress(world: World, address: string): Pod | undefined {
  return ofKind(world, 'Pod').find(pod => isJudged(pod) && addressesOf(pod).some(each => sameAddress(each, address)))
}

export function nodeAddresses(node: Node): string[] {
  const addresses = node.status?.addresses ?? []
  return addresses.filter(({ type }) => ['InternalIP', 'ExternalIP'].includes(type)).map(({ address }) => address)
}

export function namespaceLabels(world: World, name: string): Labels {
  return ofKind(world, 'Namespace').find(({ metadata }) => metadata.name === name)?.metadata.labels ?? {}
}

/** The namespaces that a label selector of Kubernetes chooses. */
export function isChosenNamespace(world: World, selector: LabelSelector, name: string): boolean {
  return matchesLabels(selector, namespaceLabels(world, name))
}

const CLUSTERS = ['projectcalico.org/namespace', 'projectcalico.org/serviceaccount', 'projectcalico.org/orchestrator']
const INHERITED = /^pc(ns|sa)\./
/** The name as a label of a namespace and of a service account. */
const NAME = 'projectcalico.org/name'

function prefixed(prefix: string, labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [`${prefix}${key}`, value]))
}

function complete(
  world: World,
  of: Pick<Endpoint, 'kind' | 'name' | 'namespace' | 'serviceAccount' | 'nets' | 'ports'> & {
    labels?: Labels
    /** A host has the labels of the namespace whose profile it names. */
    inherits?: string
  },
): Endpoint {
  const own = of.labels ?? {}
  const { kind, namespace, serviceAccount } = of
  const from = of.inherits ?? namespace
  const ofNamespace = from === undefined ? {} : { ...namespaceLabels(world, from), [NAME]: from }
  const account = ofKind(world, 'ServiceAccount').find(
    ({ metadata }) => metadata.name === serviceAccount && metadata.namespace === namespace,
  )
  const ofAccount = account === undefined ? {} : { ...account.metadata.labels, [NAME]: account.metadata.name }
  const labels: Record<string, string> = {}
  for (const [key, value] of Object.entries(own))
    if (!CLUSTERS.includes(key) && !INHERITED.test(key)) labels[key] = value
  if (namespace !== undefined) labels['projectcalico.org/namespace'] = namespace
  if (kind === 'Pod') labels['projectcalico.org/orchestrator'] = 'k8s'
  if (serviceAccount !== undefined && serviceAccount.length < 63)
    labels['projectcalico.org/serviceaccount'] = serviceAccount
  return {
    ...of,
    own,
    labels: { ...labels, ...prefixed('pcns.', ofNamespace), ...prefixed('pcsa.', ofAccount) },
    namespaceLabels: ofNamespace,
    serviceAccountLabels: ofAccount,
  }
}

function podEndpoints(world: World): Endpoint[] {
  return ofKind(world, 'Pod')
    .filter(isJudged)
    .map(pod =>
      complete(world, {
        kind: 'Pod',
        name: pod.metadata.name,
        namespace: pod.metadata.namespace,
        labels: pod.metadata.labels,
        serviceAccount: pod.spec.serviceAccountName,
        nets: addressesOf(pod),
        ports: [...(pod.spec.containers ?? []), ...(pod.spec.initContainers ?? [])]
          .flatMap(({ ports = [] }) => ports)
          .filter(({ name }) => name !== undefined && name !== '')
          .map(port => ({ name: port.name!, protocol: protocolOf(port.protocol ?? 'TCP'), port: port.containerPort })),
      }),
    )
}

function sets(world: World): Endpoint[] {
  return [...ofKind(world, 'NetworkSet'), ...ofKind(world, 'GlobalNetworkSet')].map(({ kind, metadata, spec }) =>
    complete(world, {
      kind,
      name: metadata.name,
      namespace: kind === 'NetworkSet' ? metadata.namespace : undefined,
      labels: metadata.labels,
      nets: spec.nets ?? [],
      ports: [],
    }),
  )
}

function hostEndpoints(world: World): Endpoint[] {
  return ofKind(world, 'HostEndpoint').map(({ metadata, spec }) =>
    complete(world, {
      kind: 'HostEndpoint',
      name: metadata.name,
      labels: metadata.labels,
      inherits: spec.profiles?.find(profile => profile.startsWith('kns.'))?.slice('kns.'.length),
      nets: spec.expectedIPs ?? [],
      ports: (spec.ports ?? []).map(port => ({ ...port, protocol: protocolOf(port.protocol) })),
    }),
  )
}
