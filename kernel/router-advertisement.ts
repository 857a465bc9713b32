// Finds the neighbour on a point-to-point link for unnumbered BGP: router advertisements (RFC 4861 §4.2) are sent to all
// nodes of the link and listened for, as FRR does. Ours have a router lifetime of 0: nobody takes us for a gateway.
import koffi from 'koffi'
import { formatAddress } from '../lib/ip.ts'
import { KernelError } from './port/error.ts'
import { bindToDevice } from './sockopt.ts'

const AF_INET6 = 10
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000
const IPPROTO_IPV6 = 41
const IPPROTO_ICMPV6 = 58
const IPV6_UNICAST_HOPS = 16
const IPV6_MULTICAST_HOPS = 18
const IPV6_MULTICAST_LOOP = 19
const ICMP6_FILTER = 1
const ROUTER_ADVERTISEMENT = 134
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
const SOCKADDR_IN6 = 28

const libc = koffi.load('libc.so.6')
const nativeSocket = libc.func('int socket(int domain, int type, int protocol)')
const nativeSetsockopt = libc.func('int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)')
const nativeSendto = libc.func(
  'intptr_t sendto(int fd, const uint8_t *data, size_t size, int flags, const uint8_t *address, uint32_t length)',
)
const nativeRecvfrom = libc.func(
  'intptr_t recvfrom(int fd, _Out_ uint8_t *data, size_t size, int flags, _Out_ uint8_t *address, _Inout_ uint32_t *length)',
)
const nativeClose = libc.func('int close(int fd)')
const nativeIndex = libc.func('uint32_t if_nametoindex(const char *name)')

/** How often the socket is read, and every how many readings we advertise ourselves. */
const POLL_MS = 250
const POLLS_PER_ADVERTISEMENT = 8

/**
 * Calls `found` with the link-local address of the neighbour on an interface whenever it is first seen or changes; the
 * interface may come later. Needs CAP_NET_RAW. The returned function ends it.
 */
export function discoverNeighbour(interfaceName: string, found: (address: string) => void): () => void {
  let fd: number | undefined
  let known: string | undefined
  let polls = 0
  const poll = () => {
    try {
      fd ??= openSocket(interfaceName)
      if (polls++ % POLLS_PER_ADVERTISEMENT === 0) advertise(fd, interfaceName)
      for (let address = receive(fd); address !== undefined; address = receive(fd)) {
        if (address === known) continue
        known = address
        found(address)
      }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      // the interface is away or down: a new socket, when it is back
      if (fd !== undefined) nativeClose(fd)
      fd = undefined
    }
  }
  const timer = setInterval(poll, POLL_MS).unref()
  poll()
  return () => {
    clearInterval(timer)
    if (fd !== undefined) nativeClose(fd)
  }
}

function openSocket(interfaceName: string): number {
  const fd: number = nativeSocket(AF_INET6, SOCK_RAW_NONBLOCK_CLOEXEC, IPPROTO_ICMPV6)
  check(fd, 'socket', 'icmpv6')
  try {
    bindToDevice(fd, interfaceName)
    for (const [name, value] of [
      [IPV6_UNICAST_HOPS, 255],
      [IPV6_MULTICAST_HOPS, 255],
      [IPV6_MULTICAST_LOOP, 0],
    ] as const)
      option(fd, IPPROTO_IPV6, name, int(value))
    // icmp6_filter: one bit per type, set where it is blocked
    const filter = Buffer.alloc(32, 0xff)
    filter.writeUInt32LE((0xffffffff & ~(1 << (ROUTER_ADVERTISEMENT & 31))) >>> 0, (ROUTER_ADVERTISEMENT >>> 5) * 4)
    option(fd, IPPROTO_ICMPV6, ICMP6_FILTER, filter)
    return fd
  } catch (error) {
    nativeClose(fd)
    throw error
  }
}

/** type u8 | code u8 | checksum u16 (the kernel's) | hop limit u8 | flags u8 | lifetime u16 | reachable u32 | retrans u32 */
function advertise(fd: number, interfaceName: string): void {
  const message = Buffer.alloc(16)
  message[0] = ROUTER_ADVERTISEMENT
  const index: number = nativeIndex(interfaceName)
  if (index === 0) throw new KernelError(koffi.errno(), 'if_nametoindex', interfaceName)
  const to = Buffer.alloc(SOCKADDR_IN6)
  to.writeUInt16LE(AF_INET6, 0)
  to.set(ALL_NODES, 8)
  to.writeUInt32LE(index, 24)
  check(nativeSendto(fd, message, message.length, 0, to, to.length), 'sendto', `ff02::1%${interfaceName}`)
}

/** The sender of the next advertisement; undefined when none waits. Only link-local senders count (RFC 4861 §6.1.2). */
function receive(fd: number): string | undefined {
  const data = Buffer.alloc(1500)
  for (;;) {
    const from = Buffer.alloc(SOCKADDR_IN6)
    const size: number = nativeRecvfrom(fd, data, data.length, 0, from, [SOCKADDR_IN6])
    if (size < 0) {
      const errno = koffi.errno()
      if (errno === 11 || errno === 4) return undefined
      throw new KernelError(errno, 'recvfrom', 'icmpv6')
    }
    const linkLocal = from[8] === 0xfe && (from[9]! & 0xc0) === 0x80
    if (size >= 16 && data[0] === ROUTER_ADVERTISEMENT && linkLocal) return formatAddress(from.subarray(8, 24))
  }
}

function option(fd: number, level: number, name: number, value: Buffer): void {
  check(nativeSetsockopt(fd, level, name, value, value.length), 'setsockopt', `level ${level} option ${name}`)
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}

function check(result: number, operation: string, object: string): void {
  if (result < 0) throw new KernelError(koffi.errno(), operation, object)
}
