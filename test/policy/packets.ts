// Packets as octets, from the network header on: headers of IPv4 and IPv6 with that of their transport, as the first of a
// connection has them. Checksums are those of IPv4 headers alone.
import { addressBytes, familyOf } from '../../lib/ip.ts'
import { ipv4, ipv6 } from '../felix/frames.ts'

export type Headers = {
  from: string
  to: string
  protocol: number
  sourcePort?: number
  destinationPort?: number
  icmp?: { type: number; code: number }
}

/** Throws when the addresses are of two families. */
export function octetsOf(headers: Headers): Uint8Array {
  const { from, to, protocol } = headers
  if (addressBytes(from).length !== addressBytes(to).length) throw new Error(`of two families: ${from} and ${to}`)
  return (familyOf(from) === 'ipv4' ? ipv4 : ipv6)({ from, to }, protocol, transport(headers))
}

function transport({ protocol, sourcePort = 0, destinationPort = 0, icmp }: Headers): Uint8Array {
  const header = Buffer.alloc(LENGTHS[protocol] ?? 8)
  if (protocol === 1 || protocol === 58) {
    header[0] = icmp?.type ?? 8
    header[1] = icmp?.code ?? 0
    return header
  }
  if (LENGTHS[protocol] === undefined) return header
  header.writeUInt16BE(sourcePort, 0)
  header.writeUInt16BE(destinationPort, 2)
  // of TCP: a header of 20 octets, SYN, a window; of UDP: the length; of SCTP: a chunk INIT
  if (protocol === 6) header.set([0x50, 0x02, 0xff, 0xff], 12)
  if (protocol === 17 || protocol === 136) header.writeUInt16BE(header.length, 4)
  if (protocol === 132) header.set([1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0x10, 0, 0, 1, 0, 1], 12)
  return header
}

const LENGTHS: Readonly<Record<number, number>> = { 6: 20, 17: 8, 132: 32, 136: 8 }
