// The address families that this speaker carries (RFC 4760): one row per AFI/SAFI pair holds everything in which the
// families differ, so that no other file chooses between two of them. A new family is one row here, and a prefix table
// in rib/store when its prefixes are no IP prefixes.
import type { Family } from '../lib/ip.ts'
import type { AfiSafi } from './wire/capabilities.ts'
import type { UpdateFault } from './wire/errors.ts'
import { AFI, SAFI } from './wire/iana.ts'
import { checkNlri, type Nlri, parseNlri } from './wire/nlri.ts'

export type AddressFamily = 'ipv4-unicast' | 'ipv6-unicast'

export type FamilyRow = {
  readonly name: AddressFamily
  readonly afi: number
  readonly safi: number
  /** The kind of addresses that its prefixes are made of; also the name of its ADD-PATH switch in a `CodecSession`. */
  readonly ip: Family
  /** Length of a whole address in bits, and in octets. */
  readonly bits: 32 | 128
  readonly octets: 4 | 16
  /** Whether `bytes[start..end)` is well-formed NLRI of this family. The fault is a reset (RFC 7606 §5.3). */
  check(bytes: Uint8Array, start: number, end: number, addPath: boolean): UpdateFault | undefined
  /** The prefixes in `bytes[start..end)` as values; not for the hot path. */
  parse(bytes: Uint8Array, start: number, end: number, addPath: boolean): Nlri[] | UpdateFault
}

const row = (name: AddressFamily, ip: Family, afi: number, bits: 32 | 128): FamilyRow => ({
  name,
  afi,
  safi: SAFI.unicast,
  ip,
  bits,
  octets: bits === 32 ? 4 : 16,
  check: (bytes, start, end, addPath) => checkNlri(bytes, start, end, addPath, bits),
  parse: (bytes, start, end, addPath) => parseNlri(bytes, start, end, addPath, bits),
})

/** Every carried family, by name. */
export const FAMILY: Readonly<Record<AddressFamily, FamilyRow>> = {
  'ipv4-unicast': row('ipv4-unicast', 'ipv4', AFI.ipv4, 32),
  'ipv6-unicast': row('ipv6-unicast', 'ipv6', AFI.ipv6, 128),
}

/** The names of all carried families, in the order of their numbers. */
export const FAMILIES = Object.keys(FAMILY) as readonly AddressFamily[]

/**
 * The family of the withdrawn and NLRI fields of an UPDATE and of NEXT_HOP (RFC 4271 §4.3), which is also all that a peer
 * without the multiprotocol capability speaks (RFC 4760 §8). Other families need multiprotocol attributes.
 */
export const BASE_FAMILY: AddressFamily = 'ipv4-unicast'

/** AFI and SAFI of a family. */
export function numbersOfFamily(family: AddressFamily): AfiSafi {
  const { afi, safi } = FAMILY[family]
  return { afi, safi }
}

/** The family with these numbers; undefined when the speaker does not carry it. */
export function familyOfNumbers(afi: number, safi: number): FamilyRow | undefined {
  return rows.find(each => each.afi === afi && each.safi === safi)
}

/** The family of unicast routes to addresses of this kind. */
export function unicastFamily(ip: Family): AddressFamily {
  return rows.find(each => each.ip === ip)!.name
}

/** The ADD-PATH switches of a `CodecSession`. */
export function addPathSwitches(on: (family: AddressFamily) => boolean): Record<Family, boolean> {
  return { ipv4: on('ipv4-unicast'), ipv6: on('ipv6-unicast') }
}

/** One value per family. */
export function perFamily<T>(make: (family: AddressFamily) => T): Record<AddressFamily, T> {
  return { 'ipv4-unicast': make('ipv4-unicast'), 'ipv6-unicast': make('ipv6-unicast') }
}

const rows: readonly FamilyRow[] = Object.values(FAMILY)
