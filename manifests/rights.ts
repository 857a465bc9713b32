// What each part asks of the API server: the least that its code needs. A test compares these rows with the calls in the
// source of each program.
import { type Kind, type KindRow, kinds } from '../api/kinds.ts'

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

/** Kinds that nobody enforces: agents count them, to say so. */
const COUNTED = {
  'networking.k8s.io': ['networkpolicies'],
  'policy.networking.k8s.io': ['adminnetworkpolicies', 'baselineadminnetworkpolicies', 'clusternetworkpolicies'],
} as const
const CALICO_COUNTED = [
  'globalnetworkpolicies',
  'hostendpoints',
  'networkpolicies',
  'stagedglobalnetworkpolicies',
  'stagedkubernetesnetworkpolicies',
  'stagednetworkpolicies',
] as const

const counted: readonly Right[] = [
  ...Object.entries(COUNTED),
  ...['projectcalico.org', 'crd.projectcalico.org'].map(group => [group, CALICO_COUNTED] as const),
].flatMap(([group, resources]) => resources.map(resource => ({ group, resource, verbs: ['list'] })))

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
    of('FelixConfiguration', READ),
    of('ClusterInformation', READ),
    of('CalicoNodeStatus', READ),
    of('CalicoNodeStatus', ['patch'], '/status'),
    ...counted,
    // Events about a Node are in the namespace default
    { group: '', resource: 'events', verbs: ['create', 'patch'], inNamespace: 'default' },
  ],
  controllers: [
    of('Node', ['get', ...READ]),
    of('IPPool', ['get', ...READ, 'create', 'patch']),
    of('IPAMBlock', ['get', 'list', 'update', 'delete']),
    of('ClusterInformation', ['get', 'create']),
    { group: 'projectcalico.org', resource: 'kubecontrollersconfigurations', verbs: [...READ, 'create'] },
    { group: 'coordination.k8s.io', resource: 'leases', verbs: ['get', 'create', 'update'], inNamespace: true },
  ],
  remove: [
    of('Node', ['get']),
    of('Node', ['patch'], '/status'),
    of('IPPool', ['get', 'list', 'patch']),
    of('IPAMBlock', ['list', 'delete']),
  ],
} as const satisfies Record<string, readonly Right[]>
