// Ethernet frames as octets, and raw sockets to send and receive with in a network namespace: what a program in a pod can
// do that has NET_RAW. Checksums are those of IPv4 headers alone; UDP over IPv4 may go without.
import {
  bindSocket,
  closeDescriptor,
  interfaceIndex,
  openSocket,
  receiveFrom,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  sendTo,
} from '../../kernel/libc.ts'
import { macBytes } from '../../kernel/netlink/mac.ts'
import { netnsPath, runInNetns } from '../../kernel/netns.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { addressBytes } from '../../lib/ip.ts'

const AF_PACKET = 17
const SOCK_DGRAM = 2
export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd, serviceVlan: 0x88a8 } as const
export const IP_PROTOCOL = { icmp: 1, ipip: 4, udp: 17, fragment: 44, icmpv6: 58, options: 60, raw: 255 } as const

const u16 = (value: number) => Uint8Array.of(value >> 8, value & 0xff)

type Ends = { from: string; to: string }

export function ethernet({ from, to }: Ends, type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([macBytes(to), macBytes(from), u16(type), payload])
}

/** `first fragment`: of a packet that goes on; only 8 octets of the payload are in it. `last fragment`: all others. */
export function ipv4(
  { from, to }: Ends,
  protocol: number,
  whole: Uint8Array,
  which: 'whole' | 'first fragment' | 'last fragment' = 'whole',
): Buffer {
  const payload = { whole, 'first fragment': whole.subarray(0, 8), 'last fragment': whole.subarray(8) }[which]
  const header = Buffer.alloc(20)
  header.set([0x45, 0, ...u16(20 + payload.length), 0, 0, 0, 0, 64, protocol])
  header.set(addressBytes(from), 12)
  header.set(addressBytes(to), 16)
  if (which === 'first fragment') header[6] = 0x20
  // in units of 8 octets
  if (which === 'last fragment') header[7] = 1
  header.writeUInt16BE(checksum(header), 10)
  return Buffer.concat([header, payload])
}

/** A datagram with loose source routing (RFC 791 §3.1): whoever has the address `to` shall send it on to `via`. */
export function sourceRouted({ from, to }: Ends, via: string, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(28)
  header.set([0x47, 0, ...u16(28 + payload.length), 0, 0, 0, 0, 64, IP_PROTOCOL.udp])
  header.set(addressBytes(from), 12)
  header.set(addressBytes(to), 16)
  header.set([131, 7, 4, ...addressBytes(via)], 20)
  header.writeUInt16BE(checksum(header), 10)
  return Buffer.concat([header, payload])
}

/** The Internet checksum (RFC 1071) of an even or odd number of octets, whose own field is 0. */
export function checksum(octets: Buffer): number {
  let sum = 0
  for (let i = 0; i < octets.length; i += 2) sum += (octets[i]! << 8) | (octets[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  return ~sum & 0xffff
}

export function ipv6({ from, to }: Ends, protocol: number, payload: Uint8Array): Buffer {
  const start = [0x60, 0, 0, 0, ...u16(payload.length), protocol, 255]
  return Buffer.concat([Uint8Array.from(start), addressBytes(from), addressBytes(to), payload])
}

/** The payload of an Ethernet frame behind a VLAN tag (IEEE 802.1Q). VLAN 0 is none: such a tag says a priority alone. */
export function tagged(vlan: number, type: number, payload: Uint8Array): Buffer {
  return Buffer.concat([u16(vlan), u16(type), payload])
}

/** An extension header of IPv6 without options (RFC 8200 §4.3), before the payload of this protocol. */
export function extension(protocol: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(protocol, 0, 1, 4, 0, 0, 0, 0), payload])
}

/** A fragment header of IPv6 (RFC 8200 §4.5) in front of a whole packet. */
export function onlyFragment(protocol: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(protocol, 0, 0, 0, 0, 0, 0, 7), payload])
}

export function udp(sport: number, dport: number, payload: Uint8Array = Buffer.from('x')): Buffer {
  return Buffer.concat([u16(sport), u16(dport), u16(8 + payload.length), u16(0), payload])
}

/** A message of ICMP or ICMPv6 of some type, with the 4 octets after its checksum and a body. */
export function icmp(type: number, body: Uint8Array = Buffer.alloc(16)): Buffer {
  return Buffer.concat([Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0), body])
}

/** ARP for Ethernet and IPv4 (RFC 826). */
export function arp(operation: 'request' | 'reply', senderMac: string, { from, to }: Ends): Buffer {
  const start = [...u16(1), ...u16(ETHERTYPE.ipv4), 6, 4, ...u16(operation === 'request' ? 1 : 2)]
  return Buffer.concat([
    Uint8Array.from(start),
    macBytes(senderMac),
    addressBytes(from),
    Buffer.alloc(6),
    addressBytes(to),
  ])
}

/** A frame inside VXLAN (RFC 7348), from its header on. */
export function vxlan(vni: number, frame: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(8, 0, 0, 0, vni >> 16, (vni >> 8) & 0xff, vni & 0xff, 0), frame])
}

/** Sends one frame over an interface of a namespace. */
export function sendFrame(space: { name: string }, interfaceName: string, frame: Buffer): void {
  sendFrames(space, [[interfaceName, frame]])
}

/** Sends frames over interfaces of a namespace, one after another. */
export function sendFrames(
  { name }: { name: string },
  frames: Iterable<readonly [interfaceName: string, frame: Buffer]>,
): void {
  runInNetns(netnsPath(name), () => {
    const fd = openSocket(AF_PACKET, SOCKET_TYPE.raw, 0, 'frames')
    try {
      for (const [interfaceName, frame] of frames) {
        // sockaddr_ll: family u16 | protocol u16 | ifindex i32 | hatype u16 | pkttype u8 | halen u8 | address 8
        const address = Buffer.alloc(20)
        address.writeUInt16LE(AF_PACKET, 0)
        address.set(frame.subarray(12, 14), 2)
        address.writeInt32LE(interfaceIndex(interfaceName), 4)
        sendTo(fd, frame, address, interfaceName)
      }
    } finally {
      closeDescriptor(fd)
    }
  })
}

/** Sends one IPv4 packet from a namespace, as its routes say. */
export function sendPacket({ name }: { name: string }, packet: Buffer): void {
  runInNetns(netnsPath(name), () => {
    const fd = openSocket(SOCKET_FAMILY.ipv4, SOCKET_TYPE.raw, IP_PROTOCOL.raw, 'packets')
    try {
      const address = Buffer.alloc(16)
      address.writeUInt16LE(SOCKET_FAMILY.ipv4, 0)
      address.set(packet.subarray(16, 20), 4)
      sendTo(fd, packet, address, name)
    } finally {
      closeDescriptor(fd)
    }
  })
}

type Listener = Disposable & { heard(): number }

/** A raw socket for the packets of an IPv4 protocol that this namespace takes for its own. */
export function listenRaw({ name }: { name: string }, protocol: number): Listener {
  return runInNetns(netnsPath(name), () => listener(openSocket(SOCKET_FAMILY.ipv4, SOCKET_TYPE.raw, protocol, 'raw')))
}

/** A UDP socket in a namespace. `heard` counts the datagrams since it was last asked. */
export function listenUdp({ name }: { name: string }, address: string, port: number): Listener {
  return runInNetns(netnsPath(name), () => {
    const fd = openSocket(SOCKET_FAMILY.ipv4, SOCK_DGRAM, IP_PROTOCOL.udp, 'listener')
    // sockaddr_in: family u16 | port u16be | address 4 | 8
    const local = Buffer.alloc(16)
    local.writeUInt16LE(SOCKET_FAMILY.ipv4, 0)
    local.writeUInt16BE(port, 2)
    local.set(addressBytes(address), 4)
    bindSocket(fd, local, `${address}:${port}`)
    return listener(fd)
  })
}

function listener(fd: number): Listener {
  return { heard: () => count(fd), [Symbol.dispose]: () => closeDescriptor(fd) }
}

function count(fd: number): number {
  for (let heard = 0; ; heard++)
    try {
      receiveFrom(fd, Buffer.alloc(2048), Buffer.alloc(16), 'listener')
    } catch (error) {
      if (error instanceof KernelError && error.errno === ERRNO.EAGAIN) return heard
      throw error
    }
}
