// The settings of one BGP session of this node: with another node (by the mesh or by a selector), or with the address that
// a BGPPeer names. Pure. Names of sessions follow Calico (`Mesh_`, `Node_`, `Global_`).
import { durationSeconds } from '../../api/fields.ts'
import type { Resource } from '../../api/kinds.ts'
import { type BfdConfig, BGP_PORT, type PeerConfig } from '../../bgp/config.ts'
import { FAMILIES, unicastFamily } from '../../bgp/family.ts'
import type { PolicyRule } from '../../bgp/policy.ts'
import { familyOf } from '../../lib/ip.ts'
import type { FilterRules } from './filters.ts'
import type { PeerPlace, RangePlace } from './peer-places.ts'
import { limitInRange, OUTSIDE_LIMIT, outsideExport, PEER_GROUP, POD_LIMIT } from './trust.ts'

/** Where a session comes from: the mesh, a BGPPeer for some nodes or for all, or one for pods of the node. */
export type PeerOrigin = 'mesh' | 'node' | 'global' | 'workload'

/** The end of a session in a pod of this node: its interface here, and the id of its endpoint. */
export type PodEnd = { interfaceName: string; endpoint: string }

/** `importFilters`: of an outside peer the rules that come after what belongs to nodes, and before the default (trust.ts). */
export type Session = PeerConfig & {
  name: string
  port: number
  importFilters?: readonly PolicyRule[]
  pod?: PodEnd & { address: string }
}

type Addressed = Session & { address: string }

/** What a BGPPeer asks for, with the rules of its filters. */
export type Asked = Resource<'BGPPeer'> & { filters?: FilterRules; bfd?: BfdConfig }

/** This node as the end of a session. */
export type SessionEnd = {
  /** The AS number that peers see. */
  asn: number
  /** Of a route reflector (RFC 4456) that people made. */
  clusterId?: string
  /** It is an automatic reflector, for the nodes of the mesh alone; its cluster id is its BGP identifier. */
  reflects?: boolean
  /** The address of each family that the node has. */
  ipv4?: string
  ipv6?: string
}

/** The other end. */
export type FarEnd = {
  address: string
  asn: number | 'external'
  port: number
  clusterId?: string
  reflects?: boolean
}

/** Seconds that neighbours keep our routes while this node's agent is away; long enough for an upgrade's restart. */
const RESTART_SECONDS = 120
/** The most that the capability can say (RFC 4724 §3). */
const MOST_RESTART_SECONDS = 4095

/** Says the family of an address that is not known. */
const ANY_LINK_LOCAL = 'fe80::'

const NAME_PREFIX: Readonly<Record<PeerOrigin, string>> = {
  ...{ mesh: 'Mesh', node: 'Node', global: 'Global' },
  workload: 'Local_Workload',
}

/** The session of the mesh with another node of the cluster. Both ends work it out from the same objects, and one of them dials. */
export function meshSession(
  own: SessionEnd,
  far: FarEnd,
  {
    config,
    bfd,
  }: { config?: Pick<Resource<'BGPConfiguration'>['spec'], 'nodeMeshMaxRestartTime'>; bfd?: BfdConfig } = {},
): Addressed {
  const session = nodeSession('mesh', own, far, config?.nodeMeshMaxRestartTime)
  return { ...session, passive: waits(session), ...(bfd !== undefined && { bfd }) }
}

/** A session with another node that a BGPPeer selects. Both ends dial. */
export function selectedSession(origin: PeerOrigin, own: SessionEnd, far: FarEnd, object: Asked): Addressed {
  const { spec } = object
  const mine = { ...own, asn: spec.localASNumber ?? own.asn }
  const session = nodeSession(origin, mine, far, spec.maxRestartTime)
  return { ...session, ...options(object, mine.asn, far), ...filtered(object.filters) }
}

/**
 * The session with the address that a BGPPeer names. `isNode`: whether a node of the cluster has it. All others are outside the
 * cluster and get the import rules of `Routing`. `comesBack`: that node has the same session by the same object (`namedBack`).
 */
export function namedSession(
  origin: PeerOrigin,
  own: SessionEnd,
  { isNode, comesBack, ...far }: FarEnd & { isNode: boolean; comesBack: boolean },
  object: Asked,
): Addressed {
  const { spec } = object
  const mine = { ...own, asn: spec.localASNumber ?? own.asn }
  if (!isNode)
    return outside(
      { ...base(origin, mine, far, spec.maxRestartTime, false), ...options(object, mine.asn, far) },
      own,
      object.filters,
    )
  const session = nodeSession(origin, mine, far, spec.maxRestartTime)
  // Calico's rule: a node that all others name waits for those of them with smaller addresses
  const passive = origin === 'global' && comesBack && waits(session)
  return { ...session, passive, ...options(object, mine.asn, far), ...filtered(object.filters) }
}

/** The session of a BGPPeer that names where its peers are. */
export function placeSession(origin: PeerOrigin, own: SessionEnd, place: PeerPlace, object: Asked): Session {
  return 'range' in place ? rangeSession(origin, own, place, object) : linkSession(origin, own, place, object)
}

/**
 * The session with whoever is on a link. IPv4 routes go over its IPv6 addresses (RFC 8950), so that the link needs none of IPv4. Without an
 * AS number any but this node's is taken.
 */
function linkSession(
  origin: PeerOrigin,
  own: SessionEnd,
  { interface: link }: Exclude<PeerPlace, RangePlace>,
  object: Asked,
): Session {
  const { spec } = object
  const mine = { ...own, asn: spec.localASNumber ?? own.asn }
  const far = { address: ANY_LINK_LOCAL, asn: spec.asNumber ?? ('external' as const), port: BGP_PORT }
  const { address: _, ...session } = base(origin, mine, far, spec.maxRestartTime, false)
  const name = `${NAME_PREFIX[origin]}_${link}`
  const onLink = { interface: link, source: undefined, families: FAMILIES, extendedNextHop: true }
  return outside({ ...session, ...options(object, mine.asn, far), ...onLink, name }, own, object.filters)
}

/** The sessions with whoever dials from a range, each with the same settings. Without an AS number any but this node's is taken. */
function rangeSession(origin: PeerOrigin, own: SessionEnd, { range, limit }: RangePlace, object: Asked): Session {
  const { spec } = object
  const mine = { ...own, asn: spec.localASNumber ?? own.asn }
  const far = { address: range.split('/')[0]!, asn: spec.asNumber ?? ('external' as const), port: BGP_PORT }
  const { address: _, ...session } = base(origin, mine, far, spec.maxRestartTime, false)
  const of = { range, rangeLimit: limit, source: undefined, name: nameOf(origin, { ...far, address: range }) }
  const neighbour = outside({ ...session, ...options(object, mine.asn, far), ...of }, own, object.filters)
  return { ...neighbour, prefixLimit: limitInRange(limit) }
}

/** What people call the session with one neighbour of a range. */
export function neighbourName(origin: PeerOrigin, address: string): string {
  return nameOf(origin, { address, port: BGP_PORT })
}

/**
 * The session with a pod of this node that a BGPPeer selects, which dials, as in Calico. Its routes are taken as those of peers outside
 * are, lead to the pod by its own interface, and to this node for everybody else.
 */
export function podSession(own: SessionEnd, pod: PodEnd, far: Pick<FarEnd, 'address' | 'asn'>, object: Asked): Session {
  const { spec } = object
  const mine = { ...own, asn: spec.localASNumber ?? own.asn }
  const end = { ...far, port: BGP_PORT }
  const session = { ...base('workload', mine, end, spec.maxRestartTime, false), ...options(object, mine.asn, end) }
  return {
    ...outside(session, own, object.filters),
    ...{ group: PEER_GROUP.workload, passive: true, source: undefined, behindUs: true, prefixLimit: POD_LIMIT },
    pod: { ...pod, address: far.address },
    export: outsideExport({ forCluster: false, filters: object.filters?.export ?? [] }),
  }
}

/** The same session at the node whose address the BGPPeer names. */
export function namedBack(own: SessionEnd, far: FarEnd, { metadata, spec, filters, bfd }: Asked): Addressed {
  const { localASNumber: asn = far.asn, ...others } = spec
  const session = nodeSession('node', own, { ...far, asn }, spec.maxRestartTime)
  return { ...session, ...options({ metadata, spec: others, bfd }, own.asn, { ...far, asn }), ...filtered(filters) }
}

function nodeSession(origin: PeerOrigin, own: SessionEnd, far: FarEnd, restartTime: string | undefined): Addressed {
  const session = base(origin, own, far, restartTime, true)
  // an automatic reflector hears from each of the others itself what that one reflects
  const isClient = own.reflects === true && far.reflects !== true && far.clusterId === undefined && far.asn === own.asn
  return { ...session, ...(isClient && { reflectorClient: true }), ...overIpv4(far.address) }
}

/** Calico's rule, on the text and not on the number: both ends must agree who dials in a mixed cluster. */
function waits({ address, source }: Addressed): boolean {
  return source !== undefined && address > source
}

/**
 * What a session over IPv4 between nodes carries besides: IPv6 blocks, for nodes without IPv6 addresses and those whose IPv6 addresses
 * do not reach each other. Their next hop is the IPv4 address, from which felix knows the tunnel. Where there is a session over IPv6
 * too, its routes are preferred. Both ends always offer it: an address that comes or goes resets no session.
 */
function overIpv4(address: string): Pick<PeerConfig, 'families' | 'mappedNextHop'> | undefined {
  return familyOf(address) === 'ipv4' ? { families: FAMILIES, mappedNextHop: true } : undefined
}

/** Between nodes everything passes that no filter stops. */
function filtered(filters: FilterRules | undefined): Pick<PeerConfig, 'import' | 'export'> | undefined {
  if (filters === undefined) return undefined
  const withDefault = (rules: readonly PolicyRule[]) =>
    rules.length === 0 ? 'accept' : [...rules, { action: 'accept' as const, note: 'no filter decides' }]
  return { import: withDefault(filters.import), export: withDefault(filters.export) }
}

function outside<S extends Session>(session: S, { clusterId }: SessionEnd, filters: FilterRules | undefined): S {
  return {
    ...session,
    group: PEER_GROUP.outside,
    import: 'reject',
    ...(filters !== undefined && filters.import.length > 0 && { importFilters: filters.import }),
    export: outsideExport({
      forCluster: clusterId !== undefined || session.nextHop === 'keep',
      filters: filters?.export ?? [],
    }),
    prefixLimit: OUTSIDE_LIMIT,
    // it gets the routes of the clients, and theirs alone; those of other outside peers are not reflected to it
    reflectorClient: false,
  }
}

type BgpPeer = Resource<'BGPPeer'>

function base(
  origin: PeerOrigin,
  own: SessionEnd,
  far: FarEnd,
  restartTime: string | undefined,
  isNode: boolean,
): Addressed {
  const { address, asn, port } = far
  const restartSeconds = restartTime === undefined ? RESTART_SECONDS : Math.ceil(durationSeconds(restartTime))
  return {
    name: nameOf(origin, far),
    address,
    asn,
    port,
    passive: false,
    // an address of the other family cannot be bound
    source: addressOf(own, address),
    // nodes and top-of-rack routers may be hops away; ttlSecurity narrows it where asked for
    multihop: 255,
    families: [unicastFamily(familyOf(address))],
    gracefulRestart: {
      ...{ restartSeconds: Math.min(restartSeconds, MOST_RESTART_SECONDS), notification: true },
      // a node's kernel goes on forwarding, also while its agent ends a second time before it has told all
      keepOverRestarts: isNode,
    },
    nextHop: 'auto',
    group: PEER_GROUP.cluster,
    import: 'accept',
    export: 'accept',
    // Calico's rule: every internal peer of a reflector is a client, but for the other reflectors of its cluster
    reflectorClient: own.clusterId !== undefined && asn === own.asn && far.clusterId !== own.clusterId,
  }
}

function nameOf(origin: PeerOrigin, { address, port }: Pick<FarEnd, 'address' | 'port'>): string {
  const name = `${NAME_PREFIX[origin]}_${address}`.replaceAll(/[.:/]/g, '_')
  return origin === 'mesh' || port === BGP_PORT ? name : `${name}_port_${port}`
}

function addressOf({ ipv4, ipv6 }: SessionEnd, far: string): string | undefined {
  return familyOf(far) === 'ipv4' ? ipv4 : ipv6
}

function options({ spec, bfd }: Asked, localAs: number, { asn }: FarEnd): Partial<PeerConfig> {
  const keepaliveSeconds = spec.keepaliveTime === undefined ? undefined : Math.ceil(durationSeconds(spec.keepaliveTime))
  return {
    ...(spec.localASNumber !== undefined && { localAs: spec.localASNumber }),
    ...(spec.numAllowedLocalASNumbers !== undefined && { allowAsIn: spec.numAllowedLocalASNumbers }),
    ...(spec.ttlSecurity !== undefined && { ttlSecurity: spec.ttlSecurity, multihop: undefined }),
    ...(spec.sourceAddress === 'None' && { source: undefined }),
    ...(bfd !== undefined && { bfd }),
    ...(keepaliveSeconds !== undefined && { timers: { keepaliveSeconds } }),
    nextHop: nextHopMode(spec, { external: asn !== localAs }),
  }
}

/** `keepOriginalNextHop` is about external peers alone, as Calico has it. */
function nextHopMode(spec: BgpPeer['spec'], { external }: { external: boolean }): 'auto' | 'self' | 'keep' {
  if ((spec.keepOriginalNextHop === true && external) || spec.nextHopMode === 'Keep') return 'keep'
  return spec.nextHopMode === 'Self' ? 'self' : 'auto'
}
