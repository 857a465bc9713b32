// What machines of a link ask each other for the MAC of an address: ARP (RFC 826) and neighbour discovery (RFC 4861 §4.3, §4.4),
// from behind the Ethernet header. Pure. ARP is asked as a probe (RFC 5227 §2.1.1): without a sender's address nobody takes anything
// into its own table, and machines that answer for others (proxy_arp of Linux) do not. A solicitation names its sender, since one
// without would end the duplicate address detection of a machine that just begins (RFC 4862 §5.4.3).

import { addressBytes, formatAddress } from '../lib/ip.ts'
import { checksum } from './checksum.ts'
import { formatMac, macBytes } from './netlink/mac.ts'

/** linux/if_ether.h. */
export const ETHER_TYPE = { arp: 0x0806, ipv6: 0x86dd } as const

const ARP_OCTETS = 28
const ARP_ETHERNET_IPV4 = Buffer.from([0, 1, 0x08, 0, 6, 4])
const [ARP_REQUEST, ARP_REPLY] = [1, 2]

const IPV6_HEADER = 40
const ICMPV6 = 58
const [SOLICITATION, ADVERTISEMENT] = [135, 136]
const ADVERTISEMENT_OCTETS = 24
const [SOURCE_MAC, TARGET_MAC] = [1, 2]
/** What no router passes on (RFC 4861 §6.1.1). */
const HOP_LIMIT = 255

/** Who says that it has an address. `mac` is absent where the answer leaves it to the frame. */
export type LinkAnswer = { address: string; mac?: string }

/** htype u16 | ptype u16 | hlen u8 | plen u8 | operation u16 | sender mac, ip | target mac, ip. */
export function emitArpProbe(mac: string, address: string): Buffer {
  const out = Buffer.alloc(ARP_OCTETS)
  ARP_ETHERNET_IPV4.copy(out)
  out.writeUInt16BE(ARP_REQUEST, 6)
  out.set(macBytes(mac), 8)
  out.set(addressBytes(address), 24)
  return out
}

/** Undefined for all but replies about IPv4 over Ethernet. */
export function parseArpReply(data: Uint8Array): Required<LinkAnswer> | undefined {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length)
  if (bytes.length < ARP_OCTETS || !bytes.subarray(0, 6).equals(ARP_ETHERNET_IPV4)) return undefined
  if (bytes.readUInt16BE(6) !== ARP_REPLY) return undefined
  return { address: formatAddress(bytes.subarray(14, 18)), mac: formatMac(bytes.subarray(8, 14)) }
}

/** An IPv6 packet from `source`, an address of the link, to the group of `address` (RFC 4291 §2.7.1): type u8 | code u8 | checksum u16 | reserved u32 | target | option. */
export function emitSolicitation({ mac, source, address }: { mac: string; source: string; address: string }): Buffer {
  const target = addressBytes(address)
  const out = Buffer.alloc(IPV6_HEADER + 32)
  out[0] = 0x60
  out.writeUInt16BE(out.length - IPV6_HEADER, 4)
  out[6] = ICMPV6
  out[7] = HOP_LIMIT
  out.set(addressBytes(source), 8)
  out.set(groupOf(target), 24)
  out[IPV6_HEADER] = SOLICITATION
  out.set(target, IPV6_HEADER + 8)
  out.set([SOURCE_MAC, 1, ...macBytes(mac)], IPV6_HEADER + 24)
  out.writeUInt16BE(icmpv6Checksum(out), IPV6_HEADER + 2)
  return out
}

/** The MAC of the frame in which a solicitation goes to the group of an address (RFC 2464 §7). */
export function groupMac(address: string): string {
  return formatMac(Uint8Array.of(0x33, 0x33, 0xff, ...addressBytes(address).subarray(13)))
}

/** Undefined for all but advertisements of this link that are as they were sent. */
export function parseAdvertisement(data: Uint8Array): LinkAnswer | undefined {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length)
  if (bytes.length < IPV6_HEADER || bytes[0]! >>> 4 !== 6 || bytes[6] !== ICMPV6 || bytes[7] !== HOP_LIMIT)
    return undefined
  const end = IPV6_HEADER + bytes.readUInt16BE(4)
  if (end < IPV6_HEADER + ADVERTISEMENT_OCTETS || end > bytes.length || bytes[IPV6_HEADER] !== ADVERTISEMENT)
    return undefined
  const packet = bytes.subarray(0, end)
  if (icmpv6Checksum(packet) !== 0) return undefined
  const address = formatAddress(packet.subarray(IPV6_HEADER + 8, IPV6_HEADER + ADVERTISEMENT_OCTETS))
  // type u8 | length u8 in eights of octets | content
  for (let at = IPV6_HEADER + ADVERTISEMENT_OCTETS; at + 8 <= end; ) {
    const octets = packet[at + 1]! * 8
    if (octets === 0) return undefined
    if (packet[at] === TARGET_MAC && octets === 8) return { address, mac: formatMac(packet.subarray(at + 2, at + 8)) }
    at += octets
  }
  return { address }
}

/** ff02::1:ffXX:XXXX */
function groupOf(target: Uint8Array): Uint8Array {
  return Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...target.subarray(13))
}

/** Of a whole packet, over its pseudo header (RFC 8200 §8.1): 0 for one that has the right one in it. */
function icmpv6Checksum(packet: Buffer): number {
  return checksum(packet.subarray(8), packet.length - IPV6_HEADER + ICMPV6)
}
