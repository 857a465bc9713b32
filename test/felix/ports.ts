// Sockets in network namespaces that tell where a datagram came from, to see what became of its source on the way.
import { setTimeout as later } from 'node:timers/promises'
import {
  bindSocket,
  closeDescriptor,
  openSocket,
  receiveFrom,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  sendTo,
} from '../../kernel/libc.ts'
import { netnsPath, runInNetns } from '../../kernel/netns.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { addressBytes, familyOf, formatAddress } from '../../lib/ip.ts'
import { ANSWER_MS } from '../slowness.ts'
import { checksum, ipv4 } from './frames.ts'

const SOCK_DGRAM = 2
const TCP = 6

export type From = { address: string; port: number }

export type Port = Disposable & {
  /** `octets`: how many it carries. */
  send(to: string, port: number, octets?: number): void
  /** Where the next datagram came from; undefined when none came within `limitMs`. */
  heard(limitMs?: number): Promise<From | undefined>
}

/** A UDP socket of the family of `address`, at a port or any. */
export function openPort({ name }: { name: string }, address: string, port = 0): Port {
  const family = familyOf(address)
  return runInNetns(netnsPath(name), () => {
    const fd = openSocket(SOCKET_FAMILY[family], SOCK_DGRAM, 0, name)
    bindSocket(fd, sockaddr({ address, port }), `${address} ${port}`)
    return {
      send: (to, toPort, octets = 1) => sendTo(fd, Buffer.alloc(octets), sockaddr({ address: to, port: toPort }), to),
      heard: limitMs => next(fd, family === 'ipv4' ? 16 : 28, limitMs),
      [Symbol.dispose]: () => closeDescriptor(fd),
    }
  })
}

/** Hears the first packets of TCP connections over IPv4 that come to this namespace, by their sources. */
export function openTcpWatch({ name }: { name: string }): Pick<Port, 'heard'> & Disposable {
  return runInNetns(netnsPath(name), () => {
    const fd = openSocket(SOCKET_FAMILY.ipv4, SOCKET_TYPE.raw, TCP, name)
    return { heard: limitMs => next(fd, 16, limitMs), [Symbol.dispose]: () => closeDescriptor(fd) }
  })
}

/** The first packet of a TCP connection, with its IPv4 header. */
export function tcpSyn(from: string, to: string, sport: number, dport: number): Buffer {
  const segment = Buffer.alloc(20)
  segment.writeUInt16BE(sport, 0)
  segment.writeUInt16BE(dport, 2)
  segment.set([0x50, 0x02, 0x20, 0], 12)
  const pseudo = Buffer.concat([
    addressBytes(from),
    addressBytes(to),
    Uint8Array.of(0, TCP, 0, segment.length),
    segment,
  ])
  segment.writeUInt16BE(checksum(pseudo), 16)
  return ipv4({ from, to }, TCP, segment)
}

async function next(fd: number, length: number, limitMs = ANSWER_MS): Promise<From | undefined> {
  const endMs = performance.now() + limitMs
  for (;;) {
    const address = Buffer.alloc(length)
    try {
      receiveFrom(fd, Buffer.alloc(2048), address, 'port')
      const octets = length === 16 ? address.subarray(4, 8) : address.subarray(8, 24)
      return { address: formatAddress(octets), port: address.readUInt16BE(2) }
    } catch (error) {
      if (!(error instanceof KernelError && error.errno === ERRNO.EAGAIN)) throw error
    }
    if (performance.now() > endMs) return undefined
    await later(2)
  }
}

/** sockaddr_in: family u16 | port u16be | address 4 | 8; sockaddr_in6: family u16 | port u16be | flow 4 | address 16 | scope 4. */
function sockaddr({ address, port }: From): Buffer {
  const family = familyOf(address)
  const out = Buffer.alloc(family === 'ipv4' ? 16 : 28)
  out.writeUInt16LE(SOCKET_FAMILY[family], 0)
  out.writeUInt16BE(port, 2)
  out.set(addressBytes(address), family === 'ipv4' ? 4 : 8)
  return out
}
