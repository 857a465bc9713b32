// Finds the neighbour on a point-to-point link for unnumbered BGP: router advertisements (RFC 4861 §4.2) are sent to all
// nodes of the link and listened for, as FRR does. Ours have a router lifetime of 0: nobody takes us for a gateway. Until somebody is
// seen, routers are asked for theirs (§4.1), which may be minutes away else.
import { formatAddress, isLinkLocalOctets } from '../lib/ip.ts'
import {
  closeDescriptor,
  interfaceIndex,
  openSocket,
  receiveFrom,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  sendTo,
  setSocketInt,
  setSocketOption,
} from './libc.ts'
import { ERRNO, KernelError } from './port/error.ts'
import { bindToDevice } from './sockopt.ts'

const IPPROTO_IPV6 = 41
const IPPROTO_ICMPV6 = 58
const IPV6_UNICAST_HOPS = 16
const IPV6_MULTICAST_HOPS = 18
const IPV6_MULTICAST_LOOP = 19
const ICMP6_FILTER = 1
const ROUTER_SOLICITATION = 133
const ROUTER_ADVERTISEMENT = 134
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
const ALL_ROUTERS = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2)
const SOCKADDR_IN6 = 28

/** How often the socket is read, and every how many readings we advertise ourselves. */
const POLL_MS = 250
const POLLS_PER_ADVERTISEMENT = 8
/** So much is read in one reading at the most: whoever floods the link must not keep all else from its turn. */
const MOST_PER_READING = 16
/** MAX_RTR_SOLICITATIONS (RFC 4861 §10), for each time that the interface comes back. */
const MOST_SOLICITATIONS = 3

/**
 * Calls `found` with the link-local address of the neighbour on an interface whenever it is first seen or changes; the
 * interface may come later; `hindered` is called with what is wrong with it, and with undefined once that is over. Needs CAP_NET_RAW.
 * The returned function ends it.
 */
export function discoverNeighbour(
  interfaceName: string,
  found: (address: string) => void,
  hindered: (why: string | undefined) => void = () => undefined,
): () => void {
  let fd: number | undefined
  let solicitations = 0
  let known: string | undefined
  let polls = 0
  const poll = () => {
    try {
      fd ??= openAdvertisementSocket(interfaceName)
      if (polls++ % POLLS_PER_ADVERTISEMENT === 0) {
        send(fd, { type: ROUTER_ADVERTISEMENT, octets: 16, to: ALL_NODES, interfaceName })
        if (known === undefined && solicitations++ < MOST_SOLICITATIONS)
          send(fd, { type: ROUTER_SOLICITATION, octets: 8, to: ALL_ROUTERS, interfaceName })
        hindered(undefined)
      }
      for (const address of received(fd)) {
        if (address === known) continue
        known = address
        found(address)
      }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      // the interface is away or down: a new socket, when it is back
      if (fd !== undefined) closeDescriptor(fd)
      fd = undefined
      polls = 0
      solicitations = 0
      known = undefined
      hindered(whyNot(error, interfaceName))
    }
  }
  const timer = setInterval(poll, POLL_MS).unref()
  poll()
  return () => {
    clearInterval(timer)
    if (fd !== undefined) closeDescriptor(fd)
  }
}

function openAdvertisementSocket(interfaceName: string): number {
  const fd = openSocket(SOCKET_FAMILY.ipv6, SOCKET_TYPE.raw, IPPROTO_ICMPV6, 'icmpv6')
  try {
    bindToDevice(fd, interfaceName)
    for (const [name, value] of [
      [IPV6_UNICAST_HOPS, 255],
      [IPV6_MULTICAST_HOPS, 255],
      [IPV6_MULTICAST_LOOP, 0],
    ] as const)
      setSocketInt(fd, IPPROTO_IPV6, name, value)
    // icmp6_filter: one bit per type, set where it is blocked
    const filter = Buffer.alloc(32, 0xff)
    filter.writeUInt32LE((0xffffffff & ~(1 << (ROUTER_ADVERTISEMENT & 31))) >>> 0, (ROUTER_ADVERTISEMENT >>> 5) * 4)
    setSocketOption(fd, IPPROTO_ICMPV6, ICMP6_FILTER, filter, 'ICMP6_FILTER')
    return fd
  } catch (error) {
    closeDescriptor(fd)
    throw error
  }
}

/**
 * An advertisement: type u8 | code u8 | checksum u16 (the kernel's) | hop limit u8 | flags u8 | lifetime u16 | reachable u32 | retrans u32.
 * A solicitation: type u8 | code u8 | checksum u16 | reserved u32. All but the type is 0.
 */
function send(
  fd: number,
  { type, octets, to: address, interfaceName }: { type: number; octets: number; to: Uint8Array; interfaceName: string },
): void {
  const message = Buffer.alloc(octets)
  message[0] = type
  const to = Buffer.alloc(SOCKADDR_IN6)
  to.writeUInt16LE(SOCKET_FAMILY.ipv6, 0)
  to.set(address, 8)
  to.writeUInt32LE(interfaceIndex(interfaceName), 24)
  sendTo(fd, message, to, `${formatAddress(address)}%${interfaceName}`)
}

const NO_WAY_OUT: ReadonlySet<number> = new Set([ERRNO.ENETUNREACH, ERRNO.ENETDOWN, ERRNO.EADDRNOTAVAIL])

/** For people. */
function whyNot(error: KernelError, interfaceName: string): string {
  if (error.errno === ERRNO.ENODEV) return `this machine has no interface ${interfaceName}`
  // which of them the kernel says depends on what else there is in the namespace
  if (NO_WAY_OUT.has(error.errno)) return `${interfaceName} is down, has no carrier, or no link-local address yet`
  if (error.errno === ERRNO.EPERM) return `routers on ${interfaceName} cannot be seen without CAP_NET_RAW`
  return `routers on ${interfaceName} cannot be seen: ${error.message}`
}

/** The senders of advertisements that wait. Only link-local senders count (RFC 4861 §6.1.2). */
function* received(fd: number): Generator<string> {
  const data = Buffer.alloc(1500)
  const from = Buffer.alloc(SOCKADDR_IN6)
  for (let i = 0; i < MOST_PER_READING; i++) {
    const size = receiveOrNone(fd, data, from)
    if (size === undefined) return
    const linkLocal = isLinkLocalOctets(from, 8)
    if (size >= 16 && data[0] === ROUTER_ADVERTISEMENT && linkLocal) yield formatAddress(from.subarray(8, 24))
  }
}

/** The octets of the next datagram; undefined when none waits. */
function receiveOrNone(fd: number, data: Buffer, from: Buffer): number | undefined {
  try {
    return receiveFrom(fd, data, from, 'icmpv6')
  } catch (error) {
    if (error instanceof KernelError && (error.errno === ERRNO.EAGAIN || error.errno === ERRNO.EINTR)) return undefined
    throw error
  }
}
