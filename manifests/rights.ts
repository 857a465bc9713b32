// What each part asks of the API server: the least that its code needs. A test compares these rows with the calls in the
// source of each program.
import { type ApiGroup, GROUP_VERSIONS } from '../api/api-group.ts'
import { type Kind, type KindRow, kinds } from '../api/kinds.ts'
import { RECEIPT_KINDS } from '../api/policy-receipts.ts'
import { servedAs } from '../api/served.ts'

export type Right = {
  group: string
  resource: string
  verbs: readonly string[]
  /** In the namespace of the installation alone (true), or in that of this name. */
  inNamespace?: true | 'default'
}

const of = (kind: Kind, verbs: readonly string[], part = ''): Right => {
  const { group, plural }: KindRow = kinds[kind]
  return { group, resource: plural + part, verbs }
}

const READ = ['list', 'watch'] as const

/** Kinds that nobody enforces, an older form of what is: agents count them, to say so. */
export const COUNTED = {
  'policy.networking.k8s.io': ['adminnetworkpolicies', 'baselineadminnetworkpolicies'],
} as const

const counted: readonly Right[] = Object.entries(COUNTED).flatMap(([group, resources]) =>
  resources.map(resource => ({ group, resource, verbs: ['list'] })),
)

/** What policies are made of, beside Nodes and Namespaces. */
const POLICY = [
  ...(['Pod', 'ServiceAccount', 'EndpointSlice', 'KubernetesNetworkPolicy', 'ClusterNetworkPolicy'] as const),
  ...(['NetworkPolicy', 'GlobalNetworkPolicy', 'Tier', 'NetworkSet', 'GlobalNetworkSet', 'HostEndpoint'] as const),
  ...(['StagedNetworkPolicy', 'StagedGlobalNetworkPolicy', 'StagedKubernetesNetworkPolicy'] as const),
]

export const RIGHTS = {
  node: [
    of('Node', READ),
    of('Node', ['patch'], '/status'),
    of('Namespace', ['get', ...READ]),
    of('IPPool', ['get', ...READ, 'patch']),
    of('IPAMBlock', ['get', ...READ, 'create', 'update', 'delete']),
    of('IPReservation', READ),
    of('IPAMConfiguration', READ),
    of('BGPConfiguration', READ),
    of('BGPPeer', READ),
    of('BGPFilter', READ),
    of('Service', READ),
    of('FelixConfiguration', READ),
    of('ClusterInformation', READ),
    of('CalicoNodeStatus', READ),
    of('CalicoNodeStatus', ['patch'], '/status'),
    ...POLICY.map(kind => of(kind, READ)),
    of('PolicyReceipt', ['create', 'patch']),
    ...counted,
    // Events about a Node are in the namespace default
    { group: '', resource: 'events', verbs: ['create'], inNamespace: 'default' },
  ],
  controllers: [
    of('Node', ['get', ...READ]),
    of('IPPool', ['get', ...READ, 'create', 'patch']),
    of('IPPool', ['patch'], '/status'),
    of('IPAMBlock', ['get', ...READ, 'create', 'update', 'delete']),
    of('IPReservation', ['list']),
    of('IPAMConfiguration', ['list']),
    of('ClusterInformation', ['get', ...READ, 'create', 'patch']),
    of('BGPConfiguration', READ),
    of('KubeControllersConfiguration', [...READ, 'create']),
    of('HostEndpoint', [...READ, 'create', 'update', 'delete']),
    of('Service', ['get', ...READ]),
    of('Service', ['patch'], '/status'),
    of('Namespace', ['list']),
    // Events about a Service are in its namespace
    { group: '', resource: 'events', verbs: ['create'] },
    ...RECEIPT_KINDS.map(kind => of(kind, READ)),
    of('PolicyReceipt', [...READ, 'delete']),
    of('PolicyStatus', [...READ, 'create', 'update', 'delete']),
    of('ClusterNetworkPolicy', ['patch'], '/status'),
    { group: 'coordination.k8s.io', resource: 'leases', verbs: ['get', 'create', 'update'], inNamespace: true },
  ],
  /** In either group: the same manifest removes every installation. */
  remove: [
    of('Node', ['get']),
    of('Node', ['patch'], '/status'),
    of('IPPool', ['get', 'list', 'patch']),
    of('IPAMBlock', ['list', 'delete']),
  ],
} as const satisfies Record<string, readonly Right[]>

/** The rights of a part in a cluster that has Calico's resources in this group. */
export function rightsIn(apiGroup: ApiGroup, rights: readonly Right[]): Right[] {
  return rights.map(right => {
    if (right.group !== GROUP_VERSIONS.v3.group) return right
    const [resource, part] = right.resource.split('/')
    const kind = (Object.keys(kinds) as Kind[]).find(
      each => kinds[each].group === right.group && kinds[each].plural === resource,
    )
    const served = kind && servedAs(kind, apiGroup)
    if (served === undefined) throw new Error(`${right.resource} is no kind of ${apiGroup}`)
    return { ...right, group: served.group, resource: served.plural + (part === undefined ? '' : `/${part}`) }
  })
}

/** Of both groups, without those twice that are no matter of a group. */
export function inBothGroups(rights: readonly Right[]): Right[] {
  return [...rights, ...rightsIn('v1', rights).filter(right => right.group === GROUP_VERSIONS.v1.group)]
}
