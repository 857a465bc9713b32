// Networks that this speaker originates: it is a peer of its own, with index 0 and no session.
import { addressBytes, ipv4Number } from '../../lib/ip.ts'
import type { Network, SpeakerConfig } from '../config.ts'
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

/** A network of our own as attributes; without a next hop of its own, each session's address stands in. */
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
