// How a selected route is announced to a group of peers: whether they may have it (RFC 1997, RFC 4271 §9.2, RFC 4456 §6,
// RFC 5065, RFC 9234, RFC 9494 §4.3) and how its attributes change (RFC 4271 §5.1, RFC 4456 §8, RFC 2545, RFC 8950).
// Pure, on values. export-bytes.ts does the same on octets for plain sets; a property test compares the two.
import { addressBytes, familyOf, ipv4Number, isLinkLocal, isLinkLocalOctets } from '../../../lib/ip.ts'
import type { PeerConfig } from '../../config.ts'
import { type AddressFamily, BASE_FAMILY, FAMILY } from '../../family.ts'
import type { Policy, PolicySubject } from '../../policy.ts'
import { type AsPath, prepend, withoutConfed } from '../../wire/as-path.ts'
import type { Attributes } from '../../wire/attribute-values.ts'
import { passOn } from '../../wire/attributes.ts'
import type { CodecSession, PeerType } from '../../wire/codec-session.ts'
import { isTransitive } from '../../wire/communities.ts'
import { COMMUNITY, SEGMENT } from '../../wire/iana.ts'
import { octetsOf } from '../next-hop.ts'
import type { SpeakerNumbers } from '../speaker-numbers.ts'
import { DEFAULT_LOCAL_PREF, SET_FLAG } from '../store/attribute-facts.ts'
import type { RouteAttributes } from '../store/attribute-set.ts'
import type { ExportSource, RibPeer } from '../types.ts'
import type { SharedLink } from './shared-link.ts'

/** Everything about a peer that can change what it is sent: peers with equal targets share every message. */
export type ExportTarget = {
  family: AddressFamily
  peerType: PeerType
  localAs: number
  session: CodecSession
  addPath: boolean
  nextHop: 'auto' | 'self' | 'keep'
  own: { ipv4?: string; ipv6?: string; linkLocal?: string }
  /** CIDRs of the link shared with external peers, whose routers stay next hops; absent: none do. */
  connected?: readonly string[]
  role: PeerConfig['role']
  client: boolean
  removePrivateAs: boolean
  communities: readonly string[]
  longLived: boolean
  rules: PeerConfig['export'] | null
}

type Withheld =
  | 'no-advertise'
  | 'no-export'
  | 'no-export-subconfed'
  | 'not-reflected'
  | 'stale'
  | 'route-leak'
  | 'policy'
  | 'no-next-hop'

type Advertisement = { set: RouteAttributes } | { withheld: Withheld; detail: string }

const ALL_COMMUNITIES = ['extended', 'large', 'standard']

export function targetOf(peer: RibPeer, family: AddressFamily): ExportTarget {
  const { config, connected } = peer
  const local = peer.localAddress
  const external = peer.peerType === 'ebgp'
  const shares = external && (config.nextHop ?? 'auto') === 'auto' && connected !== undefined && connected.length > 0
  return {
    family,
    peerType: peer.peerType,
    localAs: peer.localAs,
    session: peer.send,
    addPath: peer.send.addPath[FAMILY[family].ip],
    nextHop: config.nextHop ?? 'auto',
    own: peer.nextHops ?? ownFrom(local),
    connected: shares ? [...connected].sort() : undefined,
    role: external ? config.role : undefined,
    client: config.reflectorClient ?? false,
    removePrivateAs: external && (config.removePrivateAs ?? false),
    communities: [...(config.sendCommunities ?? ALL_COMMUNITIES)].sort(),
    longLived: peer.longLived?.some(entry => entry.family === family) ?? false,
    rules: config.export ?? null,
  }
}

/** Why a route with these facts must not go to these peers, before any policy; undefined: it may. */
export function withheldFrom(flags: number, source: ExportSource, target: ExportTarget): Withheld | undefined {
  if ((flags & SET_FLAG.noAdvertise) !== 0) return 'no-advertise'
  if ((flags & SET_FLAG.noExport) !== 0 && target.peerType === 'ebgp') return 'no-export'
  if ((flags & SET_FLAG.noExportSubconfed) !== 0 && target.peerType !== 'ibgp') return 'no-export-subconfed'
  if ((flags & SET_FLAG.llgrStale) !== 0 && !target.longLived) return 'stale'
  const inside = !source.local && source.peerType === 'ibgp' && target.peerType === 'ibgp'
  if (inside && !source.client && !target.client) return 'not-reflected'
  return undefined
}

/** What peers of `target` are sent for a route that `withheldFrom` lets pass. `link`: their shared link, when they have one. */
export function advertise(
  set: RouteAttributes,
  source: ExportSource,
  target: ExportTarget,
  policy: Policy,
  speaker: SpeakerNumbers,
  prefix: Pick<PolicySubject, 'octets' | 'length'>,
  link?: SharedLink,
): Advertisement {
  const verdict = policy.evaluate({
    ...prefix,
    attributes: set.attributes,
    learned: !source.local,
    group: source.group,
    peerType: target.peerType,
    interface: source.interface,
  })
  if (verdict.action === 'reject') return { withheld: 'policy', detail: verdict.reason }
  const role = withRole(policy.apply(verdict, set.attributes), target)
  if ('withheld' in role) return role
  const hop = nextHopFor(set, source, target, link)
  if (hop === undefined)
    return {
      withheld: 'no-next-hop',
      detail: 'this session has no address of ours that fits, and the own one does not',
    }
  const attributes = { ...outgoing(role, source, target, speaker), nextHop: hop.nextHop }
  return { set: { attributes, mpNextHop: hop.mpNextHop } }
}

/** RFC 9234 §5, egress. */
function withRole(
  attributes: Attributes,
  { role, localAs }: ExportTarget,
): Attributes | Exclude<Advertisement, { set: unknown }> {
  if (role === undefined) return attributes
  if (attributes.otc !== undefined && role !== 'provider' && role !== 'rs')
    return { withheld: 'route-leak', detail: `OTC ${attributes.otc} must go to customers only` }
  const marks = role === 'provider' || role === 'rs' || role === 'peer'
  return marks && attributes.otc === undefined ? { ...attributes, otc: localAs } : attributes
}

function outgoing(from: Attributes, source: ExportSource, target: ExportTarget, speaker: SpeakerNumbers): Attributes {
  const external = target.peerType === 'ebgp'
  const asPath = outgoingPath(from.asPath ?? [], target, speaker)
  const a: Attributes = { ...from, ...(speaker.draining && leastWanted(from)), asPath }
  if (a.unknown !== undefined) a.unknown = passOn(a.unknown)
  if (!target.communities.includes('standard')) a.communities = undefined
  if (!target.communities.includes('large')) a.largeCommunities = undefined
  const kept = target.communities.includes('extended') ? (a.extendedCommunities ?? []) : []
  const extended = external ? kept.filter(isTransitive) : kept
  a.extendedCommunities = extended.length > 0 ? extended : undefined
  if (external) {
    // RFC 4271 §5.1.4: a MED is for the neighbour AS only and does not go on to another AS
    if (!source.local) a.med = undefined
    a.localPref = undefined
  }
  // RFC 4456 §8: the attributes of reflection stay inside the AS; in a confederation that is the member AS
  if (target.peerType !== 'ibgp') a.originatorId = a.clusterList = undefined
  if (external) return a
  a.localPref ??= DEFAULT_LOCAL_PREF
  if (target.peerType === 'ibgp' && !source.local && source.peerType === 'ibgp') {
    a.originatorId ??= source.routerId
    a.clusterList = [speaker.clusterId, ...(a.clusterList ?? [])]
  }
  return a
}

/** RFC 8326 §4: every other path is better, inside the AS and, by the community, in others. */
function leastWanted({ communities = [] }: Attributes): Attributes {
  const isMarked = communities.includes(COMMUNITY.gracefulShutdown)
  return { communities: isMarked ? communities : [...communities, COMMUNITY.gracefulShutdown], localPref: 0 }
}

function outgoingPath(
  path: AsPath,
  { peerType, localAs, removePrivateAs }: ExportTarget,
  speaker: SpeakerNumbers,
): AsPath {
  if (peerType === 'ibgp') return path
  if (peerType === 'confed') return prepend(path, [speaker.asn], SEGMENT.confedSequence)
  const outside = withoutConfed(path)
  return prepend(removePrivateAs ? withoutPrivate(outside) : outside, [localAs])
}

function withoutPrivate(path: AsPath): AsPath {
  return path
    .map(({ type, asns }) => ({ type, asns: asns.filter(asn => !isPrivateAs(asn)) }))
    .filter(({ asns }) => asns.length > 0)
}

/** RFC 6996 §5. */
function isPrivateAs(asn: number): boolean {
  return (asn >= 64512 && asn <= 65534) || (asn >= 4200000000 && asn <= 4294967294)
}

type NextHop = Pick<RouteAttributes, 'mpNextHop'> & Pick<Attributes, 'nextHop'>

function nextHopFor(
  set: RouteAttributes,
  source: ExportSource,
  target: ExportTarget,
  link: SharedLink | undefined,
): NextHop | undefined {
  const { nextHop } = set.attributes
  const octets = set.mpNextHop ?? (nextHop === undefined ? undefined : octetsOf(nextHop))
  if (octets === undefined || target.nextHop === 'self' || source.behindUs === true) return selfFor(target)
  const chosen = target.nextHop === 'keep' || target.peerType !== 'ebgp' || source.local
  if (!chosen && link?.keeps(octets, 0, Math.min(16, octets.length), source.address) !== true) return selfFor(target)
  return keptFor(octets, target) ?? selfFor(target)
}

/** A next hop as it is passed on: without its link-local address, which is valid on its link only (RFC 2545 §3). */
function keptFor(octets: Uint8Array, { family, session }: ExportTarget): NextHop | undefined {
  if (octets.length === 4) return family === BASE_FAMILY ? { nextHop: toNumber(octets) } : undefined
  const global = octets.slice(0, 16)
  const usable = global.some(octet => octet !== 0) && !isLinkLocalOctets(global)
  if (!usable || (family === BASE_FAMILY && !session.extendedNextHop)) return undefined
  return { mpNextHop: global }
}

/** Our own address as the next hop, in a form that this session allows; undefined when there is none. */
export function selfFor({ family, own, session }: ExportTarget): NextHop | undefined {
  if (family === BASE_FAMILY && own.ipv4 !== undefined) return { nextHop: ipv4Number(own.ipv4) }
  if (family === BASE_FAMILY && !session.extendedNextHop) return undefined
  const first = own.ipv6 ?? own.linkLocal
  if (first === undefined) return undefined
  const second = own.linkLocal === undefined || own.linkLocal === first ? [] : addressBytes(own.linkLocal)
  return { mpNextHop: Uint8Array.from([...addressBytes(first), ...second]) }
}

function ownFrom(address: string): ExportTarget['own'] {
  if (familyOf(address) === 'ipv4') return { ipv4: address }
  return isLinkLocal(address) ? { linkLocal: address } : { ipv6: address }
}

function toNumber(octets: Uint8Array): number {
  return ((octets[0]! << 24) | (octets[1]! << 16) | (octets[2]! << 8) | octets[3]!) >>> 0
}
