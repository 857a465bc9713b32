// Fields that a manifest may have and that do nothing yet: kept, so that a manifest written for Calico applies unchanged,
// and told, so that nobody relies on them. A field that somebody sets for safety is not ignored: what it should guard stays
// closed. Conditions, warnings of the command line, docs/unsupported.md and what is closed read these rows; a test compares
// them with the readers of every field. A row goes when its capability comes.
import type * as z from 'zod'
import { type Kind, type KindRow, kinds, type Resource } from './kinds.ts'
import { isObject } from './merge-patch.ts'
import { shapeOf } from './schema-shape.ts'
import { SERVICE_RANGE_FIELDS, serviceRange } from './service-ranges.ts'
import type { Shape } from './shapes/shape.ts'
import { unreadGroup } from './unread.ts'

/**
 * `ignored`: the rest of the object works. `closed`: what the object asks for is not done while the field is set.
 * `unenforced`: the object is a rule that somebody relies on, and nobody keeps it.
 */
type Effect = 'ignored' | 'closed' | 'unenforced'

/** `field` is a path in the spec, its parts joined by dots and through lists, or `*` for all of it; `comesWith` the capability that will read it, or why it stays. */
export type Unsupported = { kind: Kind; field: string; effect: Effect; instead: string; comesWith: string }

/** Of policies: what no rule can be made of. */
function policyRows(): Unsupported[] {
  const http = (['NetworkPolicy', 'GlobalNetworkPolicy'] as const).flatMap(kind =>
    (['ingress', 'egress'] as const).map(direction => ({
      ...({ kind, field: `${direction}.http`, effect: 'closed' } as const),
      instead: 'the rule allows nothing, and one that would deny or pass denies everything',
      comesWith: 'nothing: this program does not read HTTP',
    })),
  )
  return http
}

export const UNSUPPORTED: readonly Unsupported[] = [
  {
    ...{ kind: 'BlockAffinity', field: '*', effect: 'ignored' },
    instead: 'the affinity of the IPAMBlock alone says whose a block is',
    comesWith: 'nothing: a second record of the same fact could differ',
  },
  {
    ...{ kind: 'BGPConfiguration', field: 'nodeMeshPassword.secretKeyRef.optional', effect: 'ignored' },
    instead: 'without the password the mesh has no sessions',
    comesWith: 'nothing: a session that should have a password must not come up without it',
  },
  {
    ...{ kind: 'BGPPeer', field: 'password.secretKeyRef.optional', effect: 'ignored' },
    instead: 'without the password the peer has no session',
    comesWith: 'nothing: a session that should have a password must not come up without it',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'interfacePrefix', effect: 'ignored' },
    instead: "the pods' interfaces are called cali followed by 11 hex digits",
    comesWith: 'nothing yet',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'routeRefreshInterval', effect: 'ignored' },
    instead: 'changes are repaired as the kernel tells of them, and everything is read again every 90 s',
    comesWith: 'nothing: a longer interval would only repair later',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'removeExternalRoutes', effect: 'ignored' },
    instead: "unknown routes on the pods' interfaces are removed, all others are left alone",
    comesWith: 'nothing: a route that leads to a pod by another way breaks policy',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'prometheusMetricsCAFile', effect: 'closed' },
    instead: 'the metrics are not served at any port',
    comesWith: 'encrypted metrics',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'prometheusMetricsCertFile', effect: 'closed' },
    instead: 'the metrics are not served at any port',
    comesWith: 'encrypted metrics',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'prometheusMetricsKeyFile', effect: 'closed' },
    instead: 'the metrics are not served at any port',
    comesWith: 'encrypted metrics',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'prometheusMetricsClientAuth', effect: 'closed' },
    instead: 'the metrics are not served at any port',
    comesWith: 'encrypted metrics',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'prometheusGoMetricsEnabled', effect: 'ignored' },
    instead: 'there is no Go, and no metrics of it',
    comesWith: 'nothing: the program is not written in Go',
  },
  {
    ...{ kind: 'FelixConfiguration', field: 'prometheusWireGuardMetricsEnabled', effect: 'ignored' },
    instead: 'there are no metrics of WireGuard',
    comesWith: 'WireGuard',
  },
  {
    ...{ kind: 'ClusterInformation', field: 'calicoVersion', effect: 'ignored' },
    instead: 'it is told to people alone',
    comesWith: 'nothing: nothing depends on it',
  },
  {
    ...{ kind: 'WorkloadEndpoint', field: '*', effect: 'ignored' },
    instead:
      "it is stored and not read; a node knows its pods' interfaces from its own journal, and their labels from Pods",
    comesWith: 'nothing yet',
  },
  {
    ...{ kind: 'KubeControllersConfiguration', field: 'controllers.node.syncLabels', effect: 'ignored' },
    instead: 'the labels of the Kubernetes Node are read as they are: there is no second Node to copy them to',
    comesWith: 'nothing: there is one Node object',
  },
  {
    kind: 'KubeControllersConfiguration',
    field: 'controllers.node.hostEndpoint.templates.interfacePattern',
    effect: 'closed',
    instead: 'the template makes no HostEndpoint: no node says which interfaces it has',
    comesWith: 'nothing yet',
  },
  {
    ...{ kind: 'KubeControllersConfiguration', field: 'controllers.policy', effect: 'ignored' },
    instead: 'policies of Kubernetes are not copied to another datastore',
    comesWith: 'nothing: the Kubernetes API is the only datastore',
  },
  {
    ...{ kind: 'KubeControllersConfiguration', field: 'controllers.workloadEndpoint', effect: 'ignored' },
    instead: 'pods are not copied to another datastore',
    comesWith: 'nothing: the Kubernetes API is the only datastore',
  },
  {
    ...{ kind: 'KubeControllersConfiguration', field: 'controllers.serviceAccount', effect: 'ignored' },
    instead: 'service accounts are not copied to another datastore',
    comesWith: 'nothing: the Kubernetes API is the only datastore',
  },
  {
    ...{ kind: 'KubeControllersConfiguration', field: 'controllers.namespace', effect: 'ignored' },
    instead: 'namespaces are not copied to another datastore',
    comesWith: 'nothing: the Kubernetes API is the only datastore',
  },
  {
    ...{ kind: 'KubeControllersConfiguration', field: 'controllers.migration', effect: 'ignored' },
    instead: 'there are no old names of policies to change',
    comesWith: 'nothing: names are read in both forms',
  },
  {
    ...{ kind: 'KubeControllersConfiguration', field: 'healthChecks', effect: 'ignored' },
    instead: '/livez and /readyz are always answered',
    comesWith: 'nothing: an answer costs nothing',
  },
  {
    ...{ kind: 'KubeControllersConfiguration', field: 'etcdV3CompactionPeriod', effect: 'ignored' },
    instead: 'there is no etcd of its own to compact',
    comesWith: 'nothing: the Kubernetes API is the only datastore',
  },
  {
    ...{ kind: 'KubeControllersConfiguration', field: 'debugProfilePort', effect: 'ignored' },
    instead: 'no profiles are served',
    comesWith: "nothing: Node's inspector does it",
  },
  ...policyRows(),
  {
    ...{ kind: 'IPAMHandle', field: '*', effect: 'ignored' },
    instead: 'the handle of an address stands in its IPAMBlock',
    comesWith: 'nothing: a second record of the same fact could differ',
  },
]

/** Kinds whose fields a person sets, and which every node reads. */
export const NODE_CONFIGURATION_KINDS = [
  'IPPool',
  'IPReservation',
  'IPAMConfiguration',
  'BGPConfiguration',
  'BGPPeer',
  'FelixConfiguration',
] as const satisfies readonly Kind[]

/** All kinds whose fields a person sets: a field that is not in their schema is told too. */
const CONFIGURATION_KINDS: readonly Kind[] = [...NODE_CONFIGURATION_KINDS, 'KubeControllersConfiguration']

/**
 * What counts of an object that is for one node: those fields in place of the same ones of `default`. As in Calico; the others are told.
 */
export const OF_ONE_NODE: { readonly [K in Kind]?: { fields: readonly string[]; instead: string } } = {
  BGPConfiguration: {
    fields: ['listenPort', 'bindMode', 'communities', 'prefixAdvertisements', 'logSeverityScreen'],
    instead:
      'of a BGPConfiguration for one node only listenPort, bindMode, communities, prefixAdvertisements and logSeverityScreen count; the AS number of a node is in its Node (projectcalico.org/ASNumber), all else is for all nodes',
  },
  FelixConfiguration: {
    fields: [
      ...['ipipMTU', 'vxlanMTU', 'vxlanMTUV6', 'deviceRouteProtocol'],
      ...['natOutgoingExclusions', 'natPortRange', 'natOutgoingAddress'],
      ...['prometheusMetricsEnabled', 'prometheusMetricsHost', 'prometheusMetricsPort'],
      ...['prometheusMetricsCAFile', 'prometheusMetricsCertFile', 'prometheusMetricsKeyFile'],
      ...['prometheusMetricsClientAuth', 'logSeverityScreen'],
      ...['failsafeInboundHostPorts', 'failsafeOutboundHostPorts', 'defaultEndpointToHostAction'],
      'workloadSourceSpoofing',
    ],
    instead:
      'of a FelixConfiguration for one node only its MTUs, route protocol, NAT, metrics, log level, failsafe ports, what becomes of packets of pods to their host and workloadSourceSpoofing count (docs/unsupported.md); all else is for all nodes, and both ends of a tunnel need the same port and VNI',
  },
}

const ONE_NODE = 'node.'

/** The name of the configuration objects for one node. */
export function configurationOf(nodeName: string): string {
  return ONE_NODE + nodeName
}

/** The node that a configuration object is for, by its name `node.NAME`; undefined for every other name. */
export function nodeOfConfiguration(name: string): string | undefined {
  return name.startsWith(ONE_NODE) ? name.slice(ONE_NODE.length) : undefined
}

/** Kinds of which only the object named `default` is read, and what `OF_ONE_NODE` says. */
const SINGLE_KINDS: readonly Kind[] = [
  'BGPConfiguration',
  'FelixConfiguration',
  'IPAMConfiguration',
  'KubeControllersConfiguration',
]

/** Calico's kinds that an API server never holds, and what holds without them. A manifest with one is refused. */
export const UNSUPPORTED_KINDS: Readonly<Record<string, { instead: string; comesWith: string }>> = {
  Profile: {
    instead: 'Namespaces and ServiceAccounts are the profiles, with their labels',
    comesWith: 'nothing: Calico makes them of Kubernetes too',
  },
}

/** Whether whoever writes an object of a kind is warned of what has no effect: not for what programs alone write, or nobody relies on. */
export function isWarnedOf(kind: Kind): boolean {
  return CONFIGURATION_KINDS.includes(kind) || UNSUPPORTED.some(row => row.kind === kind && row.effect !== 'ignored')
}

/** A field that an object sets to something else than its default, and what happens instead. */
export type IneffectiveField = { field: string; effect: Effect; instead: string }

/** The fields of a validated object that are set and have no effect. A field with its default value is not set. */
export function ineffectiveFields(kind: Kind, object: { metadata: { name: string } }): IneffectiveField[] {
  const spec = ('spec' in object ? object.spec : undefined) as Record<string, unknown> | undefined
  if (spec === undefined || spec === null) return []
  const known = specFields(kind)
  const rows = UNSUPPORTED.filter(row => row.kind === kind)
  const whole = rows.find(({ field }) => field === '*')
  if (whole !== undefined) return [{ field: 'spec', effect: whole.effect, instead: whole.instead }]
  const isSet = (field: string) => {
    const path = field.split('.')
    return !isDefault(kind, path, valueAt(spec, path))
  }
  if (SINGLE_KINDS.includes(kind) && object.metadata.name !== 'default') {
    const ofNode = nodeOfConfiguration(object.metadata.name) === undefined ? undefined : OF_ONE_NODE[kind]
    const instead = ofNode?.instead ?? `only the ${kind} named default is read, for all nodes`
    const counts = (field: string) => ofNode?.fields.includes(field) === true
    const idle = Object.keys(spec).filter(field => isSet(field) && !counts(field))
    return [
      ...rows
        .filter(({ field }) => counts(field) && isSet(field))
        .map(row => ({ field: row.field, effect: row.effect, instead: row.instead })),
      ...idle.map(field => ({ field, effect: 'ignored' as const, instead })),
    ]
  }
  const set = rows.filter(({ field }) => isSet(field))
  const strange = CONFIGURATION_KINDS.includes(kind)
    ? Object.keys(spec).filter(field => !known.has(field) && isSet(field))
    : []
  return [
    ...set.map(({ field, effect, instead }) => ({ field, effect, instead })),
    ...strange.map(field => ({ field, ...unread(kind, field) })),
    ...(kind === 'BGPConfiguration' ? idleRanges(spec as Resource<'BGPConfiguration'>['spec']) : []),
  ]
}

/** Entries of ranges of Services that are none. */
function idleRanges(spec: Resource<'BGPConfiguration'>['spec']): IneffectiveField[] {
  return SERVICE_RANGE_FIELDS.flatMap(name =>
    (spec[name] ?? []).flatMap((entry, i) => {
      const read = serviceRange(entry)
      return 'fault' in read ? [{ field: `${name}[${i}]`, effect: 'ignored' as const, instead: read.fault }] : []
    }),
  )
}

const SAYS = { ignored: 'has no effect', closed: 'is not supported', unenforced: 'is not enforced' } as const

/** What a person is told of such a field. */
export function formatIneffective({ field, effect, instead }: IneffectiveField): string {
  return `${field} ${SAYS[effect]}: ${instead}`
}

/** Of a field without reader and without a row: one of a BGPPeer may be a limit on what the peer can do. */
function unread(kind: Kind, field: string): { effect: Effect; instead: string } {
  const isCalicos = shapeAt(kind, [field]) !== undefined
  const group = isCalicos ? unreadGroup(kind, field) : undefined
  if (group !== undefined) return { effect: group.guards ? 'unenforced' : 'ignored', instead: group.instead }
  const instead = isCalicos ? 'nothing in this version acts on it' : 'this version does not know the field'
  return kind === 'BGPPeer'
    ? { effect: 'closed', instead: `${instead}, and the peer gets no session` }
    : { effect: 'ignored', instead }
}

/** The names of the fields of a kind's spec. */
function specFields(kind: Kind): Set<string> {
  return new Set(Object.keys(shapeOf(schemaAt(kinds[kind].schema, ['spec'])) ?? {}))
}

function schemaAt(schema: z.core.$ZodType, path: readonly string[]): z.core.$ZodType | undefined {
  return path.reduce<z.core.$ZodType | undefined>((at, name) => shapeOf(at)?.[name], schema)
}

/** Of a list the first of its values that there is. */
function valueAt(value: unknown, path: readonly string[]): unknown {
  const [name, ...rest] = path
  if (name === undefined) return value
  const of = Array.isArray(value) ? value : [value]
  return of.map(each => (isObject(each) ? valueAt(each[name], rest) : undefined)).find(each => each !== undefined)
}

function shapeAt(kind: Kind, path: readonly string[]): Shape | undefined {
  const { shape }: KindRow = kinds[kind]
  return path.reduce<Shape | undefined>((at, name) => at?.properties?.[name], shape?.().spec)
}

/** Whether a value is that of an object without the field: ours, or that which the CRD fills in. */
function isDefault(kind: Kind, path: readonly string[], value: unknown): boolean {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return true
  // of a policy what is off is not set
  if (value === false && !CONFIGURATION_KINDS.includes(kind)) return true
  const { def } = (schemaAt(kinds[kind].schema, ['spec', ...path]) as z.core.$ZodTypes | undefined)?._zod ?? {}
  return (def?.type === 'default' && def.defaultValue === value) || shapeAt(kind, path)?.default === value
}
