// NLRI: [path id u32 |] length u8 (bits) | just enough octets (RFC 4271 §4.3, RFC 7911 §3). A full table
// spends much time in the two walkers, so they allocate nothing per prefix. Hazard: bits after the length may have any
// value. The IPv4 walker clears them; the IPv6 one gives the place of the octets, and `readIpv6Prefix` clears them.
import type { Writer } from '../../lib/bytes.ts'
import { addressBytes, cidr, formatAddress, formatIpv4 } from '../../lib/ip.ts'
import { resetFault, type UpdateFault } from './errors.ts'
import { UPDATE_ERROR } from './iana.ts'

/** A prefix in canonical text; `pathId` (u32) exactly when ADD-PATH is on for its family. */
export type Nlri = { prefix: string; pathId?: number }

/** `pathId` is 0 when ADD-PATH is off. */
type Ipv4Visitor = (pathId: number, address: number, length: number) => void
/** The prefix is the `(length + 7) >> 3` octets of `bytes` from `at`. `pathId` is 0 when ADD-PATH is off. */
type Ipv6Visitor = (pathId: number, at: number, length: number) => void

/**
 * Walks IPv4 prefixes in `bytes[start..end)`: `address` is an unsigned number with host bits clear. A fault (always a
 * reset, RFC 7606 §5.3) stops the walk after the prefixes before it were visited; `checkNlri` looks first.
 */
export function eachIpv4Prefix(
  bytes: Uint8Array,
  start: number,
  end: number,
  addPath: boolean,
  visit: Ipv4Visitor,
): UpdateFault | undefined {
  let at = start
  while (at < end) {
    let pathId = 0
    if (addPath) {
      if (end - at < 5) return cutOff()
      pathId = ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
      at += 4
    }
    const length = bytes[at++]!
    if (length > 32) return tooLong(length, 32)
    const size = (length + 7) >> 3
    if (size > end - at) return cutOff()
    let address = 0
    if (size > 0) address = bytes[at]! << 24
    if (size > 1) address |= bytes[at + 1]! << 16
    if (size > 2) address |= bytes[at + 2]! << 8
    if (size > 3) address |= bytes[at + 3]!
    at += size
    // a shift by 32 is a shift by 0 in JavaScript, so the default route is a case of its own
    visit(pathId, length === 0 ? 0 : (address & (-1 << (32 - length))) >>> 0, length)
  }
  return undefined
}

/** As `eachIpv4Prefix`, for IPv6: gives the offset of the octets, with host bits as the peer sent them. */
export function eachIpv6Prefix(
  bytes: Uint8Array,
  start: number,
  end: number,
  addPath: boolean,
  visit: Ipv6Visitor,
): UpdateFault | undefined {
  let at = start
  while (at < end) {
    let pathId = 0
    if (addPath) {
      if (end - at < 5) return cutOff()
      pathId = ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
      at += 4
    }
    const length = bytes[at++]!
    if (length > 128) return tooLong(length, 128)
    const size = (length + 7) >> 3
    if (size > end - at) return cutOff()
    visit(pathId, at, length)
    at += size
  }
  return undefined
}

/** Whether `bytes[start..end)` is well-formed NLRI with prefixes of at most `bits` (32 or 128); visits nothing. */
export function checkNlri(
  bytes: Uint8Array,
  start: number,
  end: number,
  addPath: boolean,
  bits: 32 | 128,
): UpdateFault | undefined {
  const head = addPath ? 5 : 1
  let at = start
  while (at < end) {
    if (end - at < head) return cutOff()
    at += head
    const length = bytes[at - 1]!
    if (length > bits) return tooLong(length, bits)
    at += (length + 7) >> 3
    if (at > end) return cutOff()
  }
  return undefined
}

/** Copies the prefix that `eachIpv6Prefix` pointed at into the first 16 octets of `into`, host bits clear. */
export function readIpv6Prefix(bytes: Uint8Array, at: number, length: number, into: Uint8Array): void {
  const size = (length + 7) >> 3
  for (let i = 0; i < 16; i++) into[i] = i < size ? bytes[at + i]! : 0
  if (length % 8 > 0) into[size - 1]! &= 0xff00 >> (length % 8)
}

/** The prefixes of `bytes[start..end)` as values; for everything but the hot path. `bits` 32 is IPv4, 128 is IPv6. */
export function parseNlri(
  bytes: Uint8Array,
  start: number,
  end: number,
  addPath: boolean,
  bits: 32 | 128,
): Nlri[] | UpdateFault {
  const found: Nlri[] = []
  const add = (pathId: number, prefix: string) => found.push(addPath ? { prefix, pathId } : { prefix })
  if (bits === 32)
    return (
      eachIpv4Prefix(bytes, start, end, addPath, (id, address, length) =>
        add(id, `${formatIpv4(address)}/${length}`),
      ) ?? found
    )
  const octets = new Uint8Array(16)
  const visit: Ipv6Visitor = (id, at, length) => {
    readIpv6Prefix(bytes, at, length, octets)
    add(id, `${formatAddress(octets)}/${length}`)
  }
  return eachIpv6Prefix(bytes, start, end, addPath, visit) ?? found
}

/** Writes prefixes; a path id is written where a prefix has one. Throws on text that is not a CIDR. */
export function emitNlri(w: Writer, nlri: readonly Nlri[]): void {
  for (const { prefix, pathId } of nlri) {
    const { address, length } = cidr(prefix)
    if (pathId !== undefined) w.u32(pathId)
    w.u8(length).put(addressBytes(address).subarray(0, (length + 7) >> 3))
  }
}

function cutOff(): UpdateFault {
  return resetFault(UPDATE_ERROR.network, 'a prefix is cut off')
}

function tooLong(length: number, most: number): UpdateFault {
  return resetFault(UPDATE_ERROR.network, `a prefix of ${length} bits where ${most} are the most`)
}
