// Networks that this speaker originates. In the RIB they come from a peer with index 0, which has no session.
import { addressBytes, ipv4Number } from '../../lib/ip.ts'
import type { Network, SpeakerConfig } from '../config.ts'
import { type AddressFamily, BASE_FAMILY, FAMILY } from '../family.ts'
import type { Attributes } from '../wire/attribute-values.ts'
import { encapsulation } from '../wire/communities.ts'
import { ORIGIN } from '../wire/iana.ts'
import { type RouteAttributes, STORED } from './store/attribute-set.ts'
import type { RibPeer } from './types.ts'

/** This speaker as the source of its own networks. */
export function localPeer({ asn, routerId }: SpeakerConfig): RibPeer {
  return {
    key: '',
    config: { asn, import: 'accept' },
    peerType: 'ibgp',
    localAs: asn,
    remoteAs: asn,
    routerId: ipv4Number(routerId),
    localAddress: routerId,
    remoteAddress: routerId,
    families: [],
    receive: STORED,
    send: STORED,
    enhancedRefresh: false,
  }
}

/** The attributes of a network of our own. Without a configured next hop, each session uses its own address. */
export function originated({
  prefix,
  nextHop,
  communities = [],
  encapsulations = [],
  med,
  localPref,
}: Network): RouteAttributes {
  const hop = nextHop === undefined ? undefined : addressBytes(nextHop)
  const attributes: Attributes = { origin: ORIGIN.igp, asPath: [], med, localPref }
  const standard = communities.filter(value => typeof value === 'number')
  const large = communities.filter(value => typeof value === 'object')
  const extended = communities.filter(value => typeof value === 'bigint')
  if (standard.length > 0) attributes.communities = standard
  if (large.length > 0) attributes.largeCommunities = large
  const tunnels = encapsulations.map(encapsulation)
  if (extended.length + tunnels.length > 0) attributes.extendedCommunities = [...extended, ...tunnels]
  if (hop?.length === 4 && !prefix.includes(':')) attributes.nextHop = ipv4Number(nextHop!)
  return hop !== undefined && attributes.nextHop === undefined ? { attributes, mpNextHop: hop } : { attributes }
}

/** The attributes as those who watch read them: a network without a configured next hop has the unspecified address. */
export function withUnspecifiedNextHop(route: RouteAttributes, family: AddressFamily): RouteAttributes {
  const { attributes, mpNextHop } = route
  if (attributes.nextHop !== undefined || mpNextHop !== undefined) return route
  if (family === BASE_FAMILY) return { attributes: { ...attributes, nextHop: 0 } }
  return { attributes, mpNextHop: new Uint8Array(FAMILY[family].octets) }
}
