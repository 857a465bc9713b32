// MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760 §3, §4): afi u16 | safi u8 | [next hop length u8 | next hop | reserved
// u8 |] NLRI. The NLRI is located, not read. With a next hop of the wrong length the NLRI cannot be located: a reset (RFC
// 7606 §7.11). With an unusable next hop the routes are withdrawn.
import type { Writer } from '../../lib/bytes.ts'
import { isLinkLocalOctets } from '../../lib/ip.ts'
import { familyOfNumbers } from '../family.ts'
import { resetFault, type UpdateFault } from './errors.ts'
import { AFI, ATTRIBUTE, SAFI, UPDATE_ERROR } from './iana.ts'

/** Views into `bytes`, valid as long as those are. `fault` (a withdraw) is there when the next hop is unusable. */
export type MpReach = {
  afi: number
  safi: number
  /** 4 or 16 octets, or 32: a global and a link-local IPv6 address (RFC 2545). */
  nextHop: Uint8Array
  bytes: Uint8Array
  nlriStart: number
  nlriEnd: number
  fault?: UpdateFault
}

export type MpUnreach = { afi: number; safi: number; bytes: Uint8Array; nlriStart: number; nlriEnd: number }

/** The part of a session on which reading an MP_REACH_NLRI depends. */
type NextHopRules = { extendedNextHop: boolean }

/** The value of an MP_REACH_NLRI in `bytes[start..end)`. A returned fault is always a reset. */
export function parseMpReach(
  bytes: Uint8Array,
  start: number,
  end: number,
  rules: NextHopRules,
): MpReach | UpdateFault {
  if (end - start < 5) return broken('MP_REACH_NLRI is too short', bytes, start, end, ATTRIBUTE.mpReach)
  const afi = (bytes[start]! << 8) | bytes[start + 1]!
  const safi = bytes[start + 2]!
  const length = bytes[start + 3]!
  const nlriStart = start + 5 + length
  if (nlriStart > end || !nextHopLengthFits(afi, safi, length, rules.extendedNextHop))
    return broken(`a next hop of ${length} octets`, bytes, start, end, ATTRIBUTE.mpReach)
  const nextHop = bytes.subarray(start + 4, start + 4 + length)
  const reach: MpReach = { afi, safi, nextHop, bytes, nlriStart, nlriEnd: end }
  if (familyOfNumbers(afi, safi) !== undefined && !isUsableNextHop(nextHop))
    reach.fault = { cost: 'withdraw', attribute: ATTRIBUTE.mpReach, reason: 'the next hop is no host address' }
  return reach
}

/** The value of an MP_UNREACH_NLRI in `bytes[start..end)`. A returned fault is always a reset. */
export function parseMpUnreach(bytes: Uint8Array, start: number, end: number): MpUnreach | UpdateFault {
  if (end - start < 3) return broken('MP_UNREACH_NLRI is too short', bytes, start, end, ATTRIBUTE.mpUnreach)
  const afi = (bytes[start]! << 8) | bytes[start + 1]!
  return { afi, safi: bytes[start + 2]!, bytes, nlriStart: start + 3, nlriEnd: end }
}

/** An error in the NLRI of a multiprotocol attribute counts as an error of that attribute (RFC 4760 §7). */
export function mpNlriFault({ reason, error }: UpdateFault): UpdateFault {
  return resetFault(UPDATE_ERROR.optional, reason, error?.data)
}

/** Writes the value (no attribute header) of an MP_REACH_NLRI. */
export function emitMpReach(w: Writer, { afi, safi, nextHop, bytes, nlriStart, nlriEnd }: MpReach): void {
  w.u16(afi).u8(safi).u8(nextHop.length).put(nextHop).u8(0).put(bytes.subarray(nlriStart, nlriEnd))
}

/** Writes the value (no attribute header) of an MP_UNREACH_NLRI. */
export function emitMpUnreach(w: Writer, { afi, safi, bytes, nlriStart, nlriEnd }: MpUnreach): void {
  w.u16(afi).u8(safi).put(bytes.subarray(nlriStart, nlriEnd))
}

/**
 * Whether 4, 16 or 32 octets name a host that packets could be sent to (RFC 4271 §6.3): not this-network, loopback,
 * multicast or reserved. Of 32 octets, either address may be unspecified but not both.
 */
export function isUsableNextHop(octets: Uint8Array): boolean {
  if (octets.length === 4) return octets[0] !== 0 && octets[0] !== 127 && octets[0]! < 224
  if (octets.length === 32)
    return (
      isUsableNextHop(octets.subarray(0, 16)) || (isLinkLocalOctets(octets, 16) && !octets.subarray(0, 16).some(o => o))
    )
  let high = 0
  for (let i = 0; i < 15; i++) high |= octets[i]!
  return octets[0] !== 0xff && (high !== 0 || octets[15]! > 1)
}

function nextHopLengthFits(afi: number, safi: number, length: number, extendedNextHop: boolean): boolean {
  if (safi !== SAFI.unicast && safi !== SAFI.multicast) return true
  if (afi === AFI.ipv4) return length === 4 || (extendedNextHop && (length === 16 || length === 32))
  return afi !== AFI.ipv6 || length === 16 || length === 32
}

function broken(reason: string, bytes: Uint8Array, start: number, end: number, attribute: number): UpdateFault {
  return resetFault(UPDATE_ERROR.optional, reason, bytes.subarray(start, end), attribute)
}
