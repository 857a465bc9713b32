// Next hops as import and export both need them: our own addresses on a session, the link that is shared with a peer, and
// octets as text.
import { addressBytes, cidr, formatAddress, isLinkLocalOctets, parseAddress } from '../../lib/ip.ts'
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

/** A CIDR as octets. */
export type LinkNetwork = { readonly octets: Uint8Array; readonly bits: number }

/** RFC 4291 §2.5.5.2. */
const IPV4_INSIDE: LinkNetwork = { octets: addressBytes('::ffff:0.0.0.0'), bits: 96 }

/** `connected`: CIDRs of a link. */
export function linkNetworks(connected: readonly string[]): LinkNetwork[] {
  return connected.map(text => {
    const { address, length } = cidr(text)
    return { octets: addressBytes(address), bits: length }
  })
}

/** Whether the address in `bytes[at..at+length)`, 4 or 16 octets, lies in a network. */
export function holdsAddress({ octets, bits }: LinkNetwork, bytes: Uint8Array, at: number, length: number): boolean {
  if (octets.length !== length) return false
  const whole = bits >>> 3
  for (let i = 0; i < whole; i++) if (octets[i] !== bytes[at + i]) return false
  return bits % 8 === 0 || ((octets[whole]! ^ bytes[at + whole]!) & (0xff00 >> (bits % 8)) & 0xff) === 0
}

/**
 * The networks in which the next hops of a peer must lie: those of the link that is shared with an external peer one hop
 * away, and the peer itself (RFC 4271 §5.1.3, §6.3). Undefined: any next hop will do.
 */
export function nextHopNetworks({ peerType, config, connected, remoteAddress }: RibPeer): LinkNetwork[] | undefined {
  const { multihop = 1, ttlSecurity = 1 } = config
  if (peerType !== 'ebgp' || multihop > 1 || ttlSecurity > 1 || connected === undefined) return undefined
  return linkNetworks([...connected, `${remoteAddress}/${addressBytes(remoteAddress).length * 8}`])
}

/**
 * Whether a next hop of 4, 16 or 32 octets is on the link; an IPv4 one inside of IPv6 counts as that. Of a family that the link has no
 * network of, nothing is known.
 */
export function isOnLink(nextHop: Uint8Array, networks: readonly LinkNetwork[] | undefined): boolean {
  if (networks === undefined) return true
  if (nextHop.length === 16 && holdsAddress(IPV4_INSIDE, nextHop, 0, 16))
    return isOnLink(nextHop.subarray(12), networks)
  const length = Math.min(16, nextHop.length)
  if (nextHop.length !== 4 && (isLinkLocalOctets(nextHop) || (nextHop.length === 32 && isLinkLocalOctets(nextHop, 16))))
    return true
  const sameFamily = networks.filter(({ octets, bits }) => octets.length === length && bits < length * 8)
  return sameFamily.length === 0 || networks.some(network => holdsAddress(network, nextHop, 0, length))
}

/** The address that packets go to: of two IPv6 addresses the global one, when there is one. */
export function usedNextHop(octets: Uint8Array): Uint8Array {
  if (octets.length !== 32) return octets
  const global = octets.subarray(0, 16)
  return global.some(octet => octet !== 0) ? global : octets.subarray(16)
}

/** Its text. */
export function formatNextHop(octets: Uint8Array): string {
  return formatAddress(usedNextHop(octets))
}

export function octetsOf(address: number): Uint8Array {
  return Uint8Array.of(address >>> 24, address >>> 16, address >>> 8, address)
}
