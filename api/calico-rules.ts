// Rules of Calico's that tie several fields together and that neither a shape nor a rule in CEL says: calicoctl has them
// (libcalico-go/lib/validator/v3), and so have margay-api and margayctl. They are asked of objects that have their shape.
import { contains, familyOf, parseSocketAddress } from '../lib/ip.ts'
import type { Kind } from './kinds.ts'
import type { AnyObject } from './lifecycle.ts'
import { hasPorts, parsePorts } from './ports.ts'
import type { ShapeProblem } from './shapes/check.ts'

type Spec = Readonly<Record<string, unknown>>
type Check = (object: AnyObject & { spec: Spec }) => ShapeProblem[]

/** What such rules say against an object; none for the kinds of Kubernetes. */
export function calicoProblems(kind: Kind, object: AnyObject): ShapeProblem[] {
  const checks: readonly Check[] = CHECKS[kind] ?? []
  return [annotations, ...checks].flatMap(check => check(object as AnyObject & { spec: Spec }))
}

/** Problems where a condition holds. */
function when(holds: boolean, path: string, message: string): ShapeProblem[] {
  return holds ? [{ path, message }] : []
}

function listAt<T = Spec>(spec: Spec, field: string): readonly T[] {
  return (spec[field] as readonly T[] | undefined) ?? []
}

function partAt(spec: Spec, field: string): Spec {
  return (spec[field] as Spec | undefined) ?? {}
}

/** The limit of Kubernetes. */
const ANNOTATIONS_SIZE = 256 * 1024

const annotations: Check = ({ metadata: { annotations: texts = {} } }) => {
  const size = Object.entries(texts).reduce((sum, [key, text]) => sum + key.length + text.length, 0)
  return when(size > ANNOTATIONS_SIZE, 'metadata.annotations', `must be at most ${ANNOTATIONS_SIZE} characters in all`)
}

const LABEL = '[a-z0-9](?:[-a-z0-9]*[a-z0-9])?'
const GLOBAL_NAME = new RegExp(`^(?:${LABEL}\\.)?${LABEL}$`)
const NAME = new RegExp(`^(?:(?:${LABEL}\\.)?${LABEL}|(?:knp|ossg)\\.default\\.${LABEL}(?:\\.${LABEL})*)$`)

function named(expression: RegExp, message: string): Check {
  return ({ metadata: { name } }) => when(!expression.test(name), 'metadata.name', message)
}

/** With one dot, the first part is the tier: that is how a policy was named before it had a field for it. */
const policyName = named(NAME, 'must be a name without dots, TIER.NAME, knp.default.NAME or ossg.default.NAME')
const globalPolicyName = named(GLOBAL_NAME, 'must be a name without dots, or TIER.NAME')

/** The name of a tier stands in a label of its policies. */
const tierName: Check = ({ metadata: { name } }) =>
  when(name.length > 63 || name.includes('.'), 'metadata.name', 'must be at most 63 characters without dots')

const DIRECTIONS = [
  { field: 'ingress', far: 'source', near: 'destination' },
  { field: 'egress', far: 'destination', near: 'source' },
] as const

const rules: Check = ({ spec }) =>
  DIRECTIONS.flatMap(({ field, near }) =>
    listAt(spec, field).flatMap((rule, i) => [
      ...ruleProblems(rule, `spec.${field}[${i}]`),
      ...when(
        partAt(rule, near)['services'] !== undefined,
        `spec.${field}[${i}].${near}.services`,
        `is not allowed as the ${near} of ${field} rules`,
      ),
      ...when(
        field === 'egress' && rule['http'] !== undefined,
        `spec.${field}[${i}].http`,
        'is not allowed in egress rules',
      ),
    ]),
  )

/** A Service of a policy without a namespace is named with its own. */
const servicesOfAll: Check = ({ spec }) =>
  DIRECTIONS.flatMap(({ field, far }) =>
    listAt(spec, field).flatMap((rule, i) => {
      const services = partAt(rule, far)['services'] as Spec | undefined
      const isUnplaced = services !== undefined && (services['namespace'] ?? '') === ''
      return when(isUnplaced, `spec.${field}[${i}].${far}.services.namespace`, 'is required: name a namespace')
    }),
  )

function ruleProblems(rule: Spec, path: string): ShapeProblem[] {
  return [
    ...portProblems(rule, path),
    ...netProblems(rule, path),
    ...httpProblems(partAt(rule, 'http'), `${path}.http`),
  ]
}

/** Numbers of ports need a protocol that has them; names bring their own. */
function portProblems(rule: Spec, path: string): ShapeProblem[] {
  const protocol = rule['protocol'] as string | number | undefined
  if (protocol !== undefined && hasPorts(protocol)) return []
  return ['source', 'destination'].flatMap(side =>
    ['ports', 'notPorts'].flatMap(field => {
      const given = listAt<string | number>(partAt(rule, side), field)
      const bare = protocol === undefined ? given.filter(port => !('name' in (parsePorts(port) ?? {}))) : given
      const message = 'need the protocol TCP, UDP or SCTP'
      return when(bare.length > 0, `${path}.${side}.${field}`, message)
    }),
  )
}

/** One rule is about one family. */
function netProblems(rule: Spec, path: string): ShapeProblem[] {
  const version = rule['ipVersion']
  const wanted = version === undefined ? undefined : version === 4 ? 'ipv4' : 'ipv6'
  const all = ['source', 'destination'].flatMap(side =>
    ['nets', 'notNets'].flatMap(field =>
      listAt<string>(partAt(rule, side), field).map((net, i) => {
        const isAll = field === 'notNets' && net.endsWith('/0')
        return { at: `${path}.${side}.${field}[${i}]`, family: familyOf(net.split('/')[0]!), isAll }
      }),
    ),
  )
  const first = wanted ?? all[0]?.family
  const why =
    wanted === undefined ? 'is of the other family than a network before it' : `is not of ipVersion ${version}`
  return all.flatMap(({ at, family, isAll }) => [
    ...when(family !== first, at, why),
    ...when(isAll, at, 'excludes every address: the rule would match nothing'),
  ])
}

function httpProblems(http: Spec, path: string): ShapeProblem[] {
  const methods = listAt<string>(http, 'methods')
  return [
    ...when(new Set(methods).size < methods.length, `${path}.methods`, 'must name each method once'),
    ...listAt(http, 'paths').flatMap(({ exact, prefix }, i) => {
      const given = [exact, prefix].filter(text => text !== undefined && text !== '')
      return when(given.length !== 1, `${path}.paths[${i}]`, 'must have one of exact and prefix')
    }),
  ]
}

/** A staged policy that deletes says nothing but what. */
const deletesOnly: Check = ({ spec }) => {
  if (spec['stagedAction'] !== 'Delete') return []
  const isSet = (value: unknown): boolean =>
    value !== undefined && value !== '' && value !== false && !(Array.isArray(value) && value.length === 0)
  const others = Object.keys(spec).filter(field => !['stagedAction', 'tier', 'podSelector'].includes(field))
  const selected = Object.values(partAt(spec, 'podSelector')).some(isSet) ? ['podSelector'] : []
  return [...others.filter(field => isSet(spec[field])), ...selected].map(field => ({
    path: `spec.${field}`,
    message: 'must be absent where stagedAction is Delete',
  }))
}

const withoutOwnNamespace: Check = ({ metadata: { labels = {} } }) =>
  when(
    'projectcalico.org/namespace' in labels,
    'metadata.labels[projectcalico.org/namespace]',
    "is Calico's own label: leave it out",
  )

const ROUTE_TABLES = 0xffff
const REGION = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/

const felix: Check = ({ spec }) => {
  const ranges = listAt<{ min: number; max: number }>(spec, 'routeTableRanges')
  const tables = ranges.reduce((sum, { min, max }) => sum + max - min + 1, 0)
  const region = (spec['openstackRegion'] ?? '') as string
  const isRegion = region === '' || (region.length <= 63 - 'openstack-region-'.length && REGION.test(region))
  return [
    ...when(tables > ROUTE_TABLES, 'spec.routeTableRanges', `must have at most ${ROUTE_TABLES} tables in all`),
    ...when(!isRegion, 'spec.openstackRegion', 'must be at most 46 lower-case letters, digits and -'),
    ...listAt<string | number>(spec, 'kubeNodePortRanges').flatMap((range, i) =>
      when('name' in (parsePorts(range) ?? {}), `spec.kubeNodePortRanges[${i}]`, 'must be numbers'),
    ),
  ]
}

const peer: Check = ({ spec }) => {
  const by = (spec['reachableBy'] ?? '') as string
  const { address } = parseSocketAddress((spec['peerIP'] ?? '') as string, 179) ?? {}
  const differs = by !== '' && address !== undefined && familyOf(by) !== familyOf(address)
  return when(differs, 'spec.reachableBy', 'must be of the family of peerIP')
}

const workload: Check = ({ spec }) => {
  const networks = listAt<string>(spec, 'ipNetworks')
  return [
    ...networks.flatMap((net, i) => {
      const bits = familyOf(net.split('/')[0]!) === 'ipv4' ? '32' : '128'
      return when((net.split('/')[1] ?? bits) !== bits, `spec.ipNetworks[${i}]`, 'must be one address')
    }),
    ...listAt<{ internalIP: string; externalIP: string }>(spec, 'ipNATs').flatMap(({ internalIP, externalIP }, i) => [
      ...when(
        familyOf(internalIP) !== familyOf(externalIP),
        `spec.ipNATs[${i}].externalIP`,
        'must be of the family of internalIP',
      ),
      ...when(
        !networks.some(net => contains(net, internalIP)),
        `spec.ipNATs[${i}].internalIP`,
        'must lie in one of ipNetworks',
      ),
    ]),
    ...listAt(spec, 'ports').flatMap((port, i) => [
      ...when(
        (port['name'] ?? '') === '' && (port['hostPort'] ?? 0) === 0,
        `spec.ports[${i}].name`,
        'is required where there is no hostPort',
      ),
      ...protocolOfPort(port, `spec.ports[${i}]`),
    ]),
  ]
}

function protocolOfPort(port: Spec, path: string): ShapeProblem[] {
  const hasNone = !hasPorts(port['protocol'] as string | number)
  return when(hasNone, `${path}.protocol`, 'must be TCP, UDP or SCTP')
}

const hostPorts: Check = ({ spec }) =>
  listAt(spec, 'ports').flatMap((port, i) => [
    ...when(port['name'] === '', `spec.ports[${i}].name`, 'is required'),
    ...protocolOfPort(port, `spec.ports[${i}]`),
  ])

/** An affinity is marked as deleted by who deletes it, never by a person. */
const notDeleted: Check = ({ spec }) => when(spec['deleted'] === true, 'spec.deleted', 'must not be set')

const CHECKS: { readonly [K in Kind]?: readonly Check[] } = {
  NetworkPolicy: [policyName, rules],
  GlobalNetworkPolicy: [globalPolicyName, rules, servicesOfAll],
  StagedNetworkPolicy: [policyName, rules, deletesOnly],
  StagedGlobalNetworkPolicy: [globalPolicyName, rules, servicesOfAll, deletesOnly],
  StagedKubernetesNetworkPolicy: [deletesOnly],
  Tier: [tierName],
  NetworkSet: [withoutOwnNamespace],
  GlobalNetworkSet: [withoutOwnNamespace],
  HostEndpoint: [hostPorts],
  FelixConfiguration: [felix],
  BGPPeer: [peer],
  WorkloadEndpoint: [workload],
  BlockAffinity: [notDeleted],
}
