// What the first octets of an IP packet say of its flow: addresses, protocol, ports. Whoever sent it wrote them: nothing is
// believed to be there, and what is cut off is left out. RFC 791, RFC 8200 (extension headers: of a fragment that is not the
// first one there are no ports), RFC 4443.
import type { Buffer } from 'node:buffer'
import { type Family, formatAddress } from '../../lib/ip.ts'

export type PacketFlow = {
  source: string
  destination: string
  /** RFC 790, 0 to 255. */
  protocol: number
  sourcePort?: number
  destinationPort?: number
  icmp?: { type: number; code: number }
}

/** Octets that are enough: the longest header of IPv4, or that of IPv6 with some extensions, and ports. */
export const COPIED_OCTETS = 128
/** TCP, UDP, DCCP, SCTP, UDP-Lite. */
const WITH_PORTS: readonly number[] = [6, 17, 33, 132, 136]
const ICMP: Readonly<Record<Family, number>> = { ipv4: 1, ipv6: 58 }
/** Hop-by-hop options, routing, destination options, mobility. Their length is in units of 8 octets, without the first. */
const EXTENSIONS: readonly number[] = [0, 43, 60, 135]
const FRAGMENT = 44
const MOST_EXTENSIONS = 8

/** Undefined where there are no whole addresses. */
export function packetFlow(family: Family, octets: Buffer): PacketFlow | undefined {
  return family === 'ipv4' ? ofIpv4(octets) : ofIpv6(octets)
}

function ofIpv4(octets: Buffer): PacketFlow | undefined {
  if (octets.length < 20 || octets[0]! >> 4 !== 4) return undefined
  const length = 4 * (octets[0]! & 0x0f)
  const isFirst = (octets.readUInt16BE(6) & 0x1fff) === 0
  const flow = {
    source: formatAddress(octets.subarray(12, 16)),
    destination: formatAddress(octets.subarray(16, 20)),
    protocol: octets[9]!,
  }
  return length >= 20 && isFirst ? { ...flow, ...transport('ipv4', flow.protocol, octets, length) } : flow
}

function ofIpv6(octets: Buffer): PacketFlow | undefined {
  if (octets.length < 40 || octets[0]! >> 4 !== 6) return undefined
  let protocol = octets[6]!
  let at = 40
  let isFirst = true
  for (let i = 0; i < MOST_EXTENSIONS && at + 8 <= octets.length; i++) {
    if (protocol === FRAGMENT) {
      isFirst = (octets.readUInt16BE(at + 2) & 0xfff8) === 0
      protocol = octets[at]!
      at += 8
    } else if (EXTENSIONS.includes(protocol) && isFirst) {
      protocol = octets[at]!
      at += 8 * (octets[at + 1]! + 1)
    } else break
  }
  const flow = {
    source: formatAddress(octets.subarray(8, 24)),
    destination: formatAddress(octets.subarray(24, 40)),
    protocol,
  }
  return isFirst ? { ...flow, ...transport('ipv6', protocol, octets, at) } : flow
}

function transport(family: Family, protocol: number, octets: Buffer, at: number): Partial<PacketFlow> {
  if (WITH_PORTS.includes(protocol) && at + 4 <= octets.length)
    return { sourcePort: octets.readUInt16BE(at), destinationPort: octets.readUInt16BE(at + 2) }
  if (protocol === ICMP[family] && at + 2 <= octets.length)
    return { icmp: { type: octets[at]!, code: octets[at + 1]! } }
  return {}
}
