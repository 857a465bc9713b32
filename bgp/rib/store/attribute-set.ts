// An attribute set as the RIB keeps it: the attributes of an UPDATE without its prefixes. Four-octet AS numbers, and a
// multiprotocol next hop as an MP_REACH_NLRI without NLRI that stands first, so that `parseAttributes` reads what
// `AttributeStore` holds. A set without a next hop is a network of our own: each session adds its own address.
import type { Writer } from '../../../lib/bytes.ts'
import { type AddressFamily, addPathSwitches, numbersOfFamily } from '../../family.ts'
import { firstAs, pathLength } from '../../wire/as-path.ts'
import type { Attributes } from '../../wire/attribute-values.ts'
import { emitAttributes, emitKnown, parseAttributes } from '../../wire/attributes.ts'
import type { CodecSession } from '../../wire/codec-session.ts'
import { isTransitive } from '../../wire/communities.ts'
import { COMMUNITY, ORIGIN } from '../../wire/iana.ts'
import { emitMpReach } from '../../wire/multiprotocol.ts'
import { DEFAULT_LOCAL_PREF, type Facts, SET_FLAG } from './attribute-facts.ts'

/** Attributes of one route; `mpNextHop` (4, 16 or 32 octets) instead of `attributes.nextHop`, never both. */
export type RouteAttributes = { attributes: Attributes; mpNextHop?: Uint8Array }

/** How stored sets are read and written. As from an internal peer, so that no stored attribute is refused. */
export const STORED: CodecSession = {
  as4: true,
  peerType: 'ibgp',
  addPath: addPathSwitches(() => false),
  extendedNextHop: true,
  extendedMessage: true,
}

/** Octets that hold any set: what an UPDATE can carry, with room for what policies add. */
export const SET_ROOM = 1 << 17

/** Reads a stored set; `session` differs from `STORED` only for sets as a peer sent them. */
export function parseSet(bytes: Uint8Array, session: CodecSession = STORED): RouteAttributes {
  const { attributes, mpReach } = parseAttributes(bytes, 0, bytes.length, { ...session, extendedNextHop: true })
  return mpReach === undefined ? { attributes } : { attributes, mpNextHop: mpReach.nextHop.slice() }
}

/** Writes a set; with `session` as a message to that peer carries it, else as it is stored. */
export function emitSet(
  w: Writer,
  { attributes, mpNextHop }: RouteAttributes,
  family: AddressFamily,
  session = STORED,
): void {
  if (mpNextHop !== undefined) emitReach(w, family, mpNextHop)
  emitAttributes(w, attributes, session)
}

const NO_NLRI = new Uint8Array(0)

/** An MP_REACH_NLRI with a next hop and no NLRI. */
export function emitReach(w: Writer, family: AddressFamily, nextHop: Uint8Array): void {
  const reach = { ...numbersOfFamily(family), nextHop, bytes: NO_NLRI, nlriStart: 0, nlriEnd: 0 }
  emitKnown(w, 'mpReach', () => emitMpReach(w, reach))
}

export function factsOf({ attributes, mpNextHop }: RouteAttributes): Facts {
  const { asPath = [], communities = [], clusterList = [], extendedCommunities = [] } = attributes
  let flags = mpNextHop === undefined ? 0 : SET_FLAG.multiprotocol
  for (const [community, flag] of COMMUNITY_FLAGS) if (communities.includes(community)) flags |= flag
  if (attributes.otc !== undefined) flags |= SET_FLAG.otc | SET_FLAG.unusual
  const odd = attributes.unknown ?? attributes.partial ?? attributes.tunnelEncap ?? attributes.largeCommunities
  const confed = asPath.length > 0 && firstAs(asPath) === undefined
  if (odd !== undefined || confed || !extendedCommunities.every(isTransitive)) flags |= SET_FLAG.unusual
  return {
    localPref: attributes.localPref ?? DEFAULT_LOCAL_PREF,
    pathLength: pathLength(asPath),
    origin: attributes.origin ?? ORIGIN.incomplete,
    med: attributes.med ?? 0,
    neighbourAs: firstAs(asPath) ?? 0,
    originator: attributes.originatorId ?? 0,
    clusterLength: clusterList.length,
    flags,
  }
}

const COMMUNITY_FLAGS: readonly (readonly [community: number, flag: number])[] = [
  [COMMUNITY.noExport, SET_FLAG.noExport],
  [COMMUNITY.noAdvertise, SET_FLAG.noAdvertise],
  [COMMUNITY.noExportSubconfed, SET_FLAG.noExportSubconfed],
  [COMMUNITY.llgrStale, SET_FLAG.llgrStale],
  [COMMUNITY.noLlgr, SET_FLAG.noLlgr],
]
