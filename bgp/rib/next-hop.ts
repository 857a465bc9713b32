// Next hops as import and export both need them: our own addresses on a session, and octets as text.
import { addressBytes, formatAddress, parseAddress } from '../../lib/ip.ts'
import type { RibPeer } from './types.ts'

/** Octets of our own addresses on the session with this peer. */
export function ownAddresses({ localAddress, nextHops }: RibPeer): Uint8Array[] {
  const own = [localAddress, nextHops?.ipv4, nextHops?.ipv6].filter(text => text !== undefined)
  return own.filter(text => parseAddress(text) !== undefined).map(addressBytes)
}

/** Whether a next hop of 4, 16 or 32 octets begins with one of these addresses (RFC 4271 §6.3). */
export function isOneOf(nextHop: Uint8Array, own: readonly Uint8Array[]): boolean {
  return own.some(
    head => (nextHop.length === 4) === (head.length === 4) && head.every((octet, i) => nextHop[i] === octet),
  )
}

/** Text of a next hop: of two IPv6 addresses the global one, when there is one. */
export function formatNextHop(octets: Uint8Array): string {
  if (octets.length !== 32) return formatAddress(octets)
  const global = octets.subarray(0, 16)
  return formatAddress(global.some(octet => octet !== 0) ? global : octets.subarray(16))
}

export function octetsOf(address: number): Uint8Array {
  return Uint8Array.of(address >>> 24, address >>> 16, address >>> 8, address)
}
