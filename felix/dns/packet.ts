// What one IP packet carries over UDP or TCP, as the kernel copied it on its way to a pod. Pure, and for octets of anybody, as
// message.ts. Connection tracking has put fragments together before packets are copied, and a piece of a packet is nothing
// here. Hazards: a copy may end before the packet does; checksums may not be filled in yet, and the pod's kernel judges them;
// whom it is from was judged by the rule that copied it, and is no more than a name of the stream here.
import { formatAddress } from '../../lib/ip.ts'

/** `to`: whom the packet is for. `octets`: how many there are of `data` in the packet; the copy may have fewer. */
export type DnsPacket = { to: string; data: Uint8Array; octets: number } & (
  | { protocol: 'udp' }
  | { protocol: 'tcp'; stream: string; sequence: number; isSyn: boolean; isLast: boolean }
)

const PROTOCOL = { tcp: 6, udp: 17 } as const
const UDP_HEADER = 8
const TCP_HEADER = 20
const TCP_FLAG = { fin: 1, syn: 2, rst: 4 } as const
const IPV6_HEADER = 40
/** More than one of each that RFC 8200 §4.1 has. */
const MOST_EXTENSIONS = 8
/** Hop-by-hop options, routing, destination options (RFC 8200 §4). A fragment has another header, and is none that counts. */
const EXTENSIONS: readonly number[] = [0, 43, 60]

/** `octets`: of the packet, without the header; `data` is what was copied of them. */
type Carried = { from: string; to: string; protocol: number; data: Uint8Array; octets: number }

/** Undefined of what is no whole packet of UDP or TCP, and of one that was copied without all its headers. */
export function readPacket(octets: Uint8Array): DnsPacket | undefined {
  const version = (octets[0] ?? 0) >> 4
  const carried = version === 4 ? ofIpv4(octets) : version === 6 ? ofIpv6(octets) : undefined
  if (carried?.protocol === PROTOCOL.udp) return ofUdp(carried)
  return carried?.protocol === PROTOCOL.tcp ? ofTcp(carried) : undefined
}

function ofIpv4(octets: Uint8Array): Carried | undefined {
  const header = 4 * (octets[0]! & 15)
  if (header < 20 || octets.length < header) return undefined
  const isPiece = (u16(octets, 6) & 0x3fff) !== 0
  const end = u16(octets, 2)
  if (isPiece || end < header) return undefined
  return {
    from: formatAddress(octets.subarray(12, 16)),
    to: formatAddress(octets.subarray(16, 20)),
    protocol: octets[9]!,
    data: octets.subarray(header, end),
    octets: end - header,
  }
}

function ofIpv6(octets: Uint8Array): Carried | undefined {
  if (octets.length < IPV6_HEADER) return undefined
  const end = IPV6_HEADER + u16(octets, 4)
  let protocol = octets[6]!
  let at = IPV6_HEADER
  for (let i = 0; EXTENSIONS.includes(protocol); i++) {
    if (i === MOST_EXTENSIONS || at + 2 > octets.length) return undefined
    protocol = octets[at]!
    at += 8 * (octets[at + 1]! + 1)
  }
  if (at > end) return undefined
  return {
    from: formatAddress(octets.subarray(8, 24)),
    to: formatAddress(octets.subarray(24, 40)),
    ...{ protocol, data: octets.subarray(at, end), octets: end - at },
  }
}

function ofUdp({ to, data, octets }: Carried): DnsPacket | undefined {
  if (data.length < UDP_HEADER) return undefined
  const end = u16(data, 4)
  if (end < UDP_HEADER || end > octets) return undefined
  return { protocol: 'udp', to, data: data.subarray(UDP_HEADER, end), octets: end - UDP_HEADER }
}

function ofTcp({ from, to, data, octets }: Carried): DnsPacket | undefined {
  if (data.length < TCP_HEADER) return undefined
  const header = 4 * (data[12]! >> 4)
  if (header < TCP_HEADER || header > data.length) return undefined
  const flags = data[13]!
  return {
    ...{ protocol: 'tcp', to, data: data.subarray(header), octets: octets - header },
    stream: `${from} ${u16(data, 0)} ${to} ${u16(data, 2)}`,
    sequence: (u16(data, 4) * 0x10000 + u16(data, 6)) >>> 0,
    isSyn: (flags & TCP_FLAG.syn) !== 0,
    isLast: (flags & (TCP_FLAG.fin | TCP_FLAG.rst)) !== 0,
  }
}

function u16(octets: Uint8Array, at: number): number {
  return (octets[at]! << 8) | octets[at + 1]!
}
