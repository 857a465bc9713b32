// Checks that a route's attributes must pass before it may be used: loops (RFC 4271 §9.1.2, RFC 4456 §8, RFC 5065 §4), the
// first AS, roles (RFC 9234 §5) and the next hop; and what RFC 8326 changes. Pure. Import policy comes after it (importer.ts), because a policy may
// need the prefix.
import { formatAddress, formatIpv4, ipv4Number } from '../../../lib/ip.ts'
import { countAs, firstAs, formatAsPath } from '../../wire/as-path.ts'
import { COMMUNITY } from '../../wire/iana.ts'
import { isUsableNextHop } from '../../wire/multiprotocol.ts'
import {
  formatNextHop,
  isOneOf,
  isOnLink,
  type LinkNetwork,
  nextHopNetworks,
  octetsOf,
  ownAddresses,
} from '../next-hop.ts'
import type { SpeakerNumbers } from '../speaker-numbers.ts'
import type { RouteAttributes } from '../store/attribute-set.ts'
import type { RibPeer } from '../types.ts'
import type { PlainRules } from './read-facts.ts'

export type RejectReason =
  | 'first-as'
  | 'as-loop'
  | 'originator-loop'
  | 'cluster-loop'
  | 'route-leak'
  | 'own-next-hop'
  | 'bad-next-hop'
  | 'policy'
  | 'owned'

type Admission = { set: RouteAttributes } | { rejected: RejectReason; detail: string }

/** Our AS numbers on this session: one of them in a path means a loop. */
function ownAses({ asn, confederation }: SpeakerNumbers, { localAs }: RibPeer): number[] {
  return [...new Set([localAs, asn, ...(confederation === undefined ? [] : [confederation.identifier])])]
}

/** Whether a path must begin with the peer's AS. A route server does not add its own (RFC 7947 §2.2.2.1). */
function mustBeginWithPeer({ peerType, config }: RibPeer): boolean {
  return peerType === 'ebgp' && config.role !== 'rs-client'
}

/** The set as the decision process may use it, or why it may not be used. */
export function admit(set: RouteAttributes, peer: RibPeer, speaker: SpeakerNumbers): Admission {
  const { attributes, mpNextHop } = set
  const { asPath = [], originatorId, clusterList = [] } = attributes
  const reject = (rejected: RejectReason, detail: string): Admission => ({ rejected, detail })
  if (mustBeginWithPeer(peer) && firstAs(asPath) !== peer.remoteAs)
    return reject('first-as', `the path ${formatAsPath(asPath)} does not begin with AS ${peer.remoteAs}`)
  const most = peer.config.allowAsIn ?? 0
  for (const asn of ownAses(speaker, peer))
    if (countAs(asPath, asn) > most) return reject('as-loop', `AS ${asn} is in the path ${formatAsPath(asPath)}`)
  if (originatorId === speaker.routerId)
    return reject('originator-loop', `ORIGINATOR_ID ${formatIpv4(originatorId)} is ours`)
  if (clusterList.includes(speaker.clusterId))
    return reject('cluster-loop', `cluster ${formatIpv4(speaker.clusterId)} is in CLUSTER_LIST`)
  const nextHop = mpNextHop ?? octetsOf(attributes.nextHop ?? 0)
  if (!isUsableNextHop(nextHop)) return reject('bad-next-hop', `next hop ${formatNextHop(nextHop)} is no host address`)
  if (isOneOf(nextHop, ownAddresses(peer)))
    return reject('own-next-hop', `next hop ${formatNextHop(nextHop)} is our own address`)
  if (!isOnLink(nextHop, nextHopNetworks(peer)))
    return reject('bad-next-hop', `next hop ${formatNextHop(nextHop)} is on no subnet that this peer shares with us`)
  return checkRole(wantedLeast(set, peer), peer)
}

/**
 * RFC 8326 §4.1: what another AS will soon take away is used where there is nothing else. Before any policy, which may say otherwise.
 * LOCAL_PREF inside the AS says it already.
 */
function wantedLeast(set: RouteAttributes, { peerType }: RibPeer): RouteAttributes {
  const isMarked = peerType === 'ebgp' && set.attributes.communities?.includes(COMMUNITY.gracefulShutdown) === true
  return isMarked ? { ...set, attributes: { ...set.attributes, localPref: 0 } } : set
}

/** RFC 9234 §5: what the Only-to-Customer attribute says about a route from a peer of a role. */
function checkRole(set: RouteAttributes, { peerType, config: { role }, remoteAs }: RibPeer): Admission {
  const { otc } = set.attributes
  if (role === undefined || peerType !== 'ebgp') return { set }
  if (role === 'provider' || role === 'rs') {
    if (otc === undefined) return { set }
    return { rejected: 'route-leak', detail: `a ${role === 'rs' ? 'client' : 'customer'} sent OTC ${otc}` }
  }
  if (otc === undefined) return { set: { ...set, attributes: { ...set.attributes, otc: remoteAs } } }
  if (role === 'peer' && otc !== remoteAs)
    return { rejected: 'route-leak', detail: `peer AS ${remoteAs} sent OTC ${otc}` }
  return { set }
}

/** The rules under which a plain set needs no `admit`; undefined when every set from this peer needs it. */
export function plainRulesFor(peer: RibPeer, speaker: SpeakerNumbers): PlainRules | undefined {
  if (!peer.receive.as4 || peer.peerType === 'confed' || peer.config.role !== undefined) return undefined
  const own = peer.nextHops?.ipv4 ?? peer.localAddress
  return {
    external: peer.peerType === 'ebgp',
    ownAses: ownAses(speaker, peer),
    firstAs: mustBeginWithPeer(peer) ? peer.remoteAs : 0,
    routerId: speaker.routerId,
    clusterId: speaker.clusterId,
    ownNextHop: own.includes(':') ? 0 : ipv4Number(own),
    ...linkRules(nextHopNetworks(peer)),
    multiprotocol: false,
  }
}

/** The first IPv4 network of the link as numbers; what lies in another one is not plain. */
function linkRules(networks: readonly LinkNetwork[] | undefined): Pick<PlainRules, 'linkNetwork' | 'linkMask'> {
  const first = networks?.find(({ octets, bits }) => octets.length === 4 && bits > 0 && bits < 32)
  if (first === undefined) return { linkNetwork: 0, linkMask: 0 }
  const linkMask = (-1 << (32 - first.bits)) >>> 0
  return { linkNetwork: (ipv4Number(formatAddress(first.octets)) & linkMask) >>> 0, linkMask }
}
