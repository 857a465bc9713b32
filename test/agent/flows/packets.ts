// Packets as their first octets, for tests of flows.
import { addressBytes } from '../../../lib/ip.ts'

type Ends = { source: string; destination: string }

/** A TCP segment of IPv4, up to its ports. */
export function tcp4({ source, destination }: Ends, [sourcePort, destinationPort]: readonly [number, number]): Buffer {
  const octets = Buffer.alloc(24)
  octets[0] = 0x45
  octets[9] = 6
  octets.set(addressBytes(source), 12)
  octets.set(addressBytes(destination), 16)
  octets.writeUInt16BE(sourcePort, 20)
  octets.writeUInt16BE(destinationPort, 22)
  return octets
}

/** IPv6 with what follows its header. */
export function ipv6({ source, destination }: Ends, next: number, rest: readonly number[]): Buffer {
  const octets = Buffer.alloc(40)
  octets[0] = 0x60
  octets[6] = next
  octets.set(addressBytes(source), 8)
  octets.set(addressBytes(destination), 24)
  return Buffer.concat([octets, Buffer.from(rest)])
}
