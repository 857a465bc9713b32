// UDP sockets that tell of each datagram its TTL, its destination and the link it came over, which node:dgram cannot, and
// such that send with a TTL of 255, as GTSM asks (RFC 5082 §3). Constants: linux/in.h, linux/in6.h, asm-generic/socket.h.
import { randomInt } from 'node:crypto'
import { type Family, familyOf } from '../lib/ip.ts'
import {
  bindSocket,
  closeDescriptor,
  MessageRoom,
  openSocket,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  sendTo,
  setSocketInt,
  watchReadable,
} from './libc.ts'
import { ERRNO, KernelError } from './port/error.ts'
import { bindToDevice, setTtl, socketAddress } from './sockopt.ts'

const SOL_SOCKET = 1
const SO_RCVBUF = 8
const SO_RCVBUFFORCE = 33
const IPPROTO_IP = 0
const IPPROTO_IPV6 = 41
const IP_TOS = 1
const IP_TTL = 2
const IP_PKTINFO = 8
const IP_RECVTTL = 12
const IPV6_V6ONLY = 26
const IPV6_RECVPKTINFO = 49
const IPV6_PKTINFO = 50
const IPV6_RECVHOPLIMIT = 51
const IPV6_HOPLIMIT = 52
const IPV6_TCLASS = 67
/** Internetwork control (RFC 2474 §4.2.2): what routing protocols send with. */
const CONTROL_CLASS = 0xc0

/** Longer datagrams are cut off. */
const LONGEST = 256
/** In one turn of the event loop: then timers have theirs. */
const PER_TURN = 256
/** In one `drain`. */
const PER_DRAIN = 8192
/** Datagrams of a second in which the thread stands still. */
const BUFFER = 4 << 20
const [FIRST_PORT, LAST_PORT] = [49152, 65535]
const PORT_TRIES = 64

/** What arrived. All octets are valid until the next datagram. */
export type Received = {
  readonly bytes: Uint8Array
  readonly source: Uint8Array
  readonly destination: Uint8Array
  readonly interfaceIndex: number
  readonly ttl: number
}

/**
 * Listens on a port of one family, on every address, and calls `deliver` for each datagram, first when something arrives.
 * `drain` delivers what waits, before it returns. Throws `KernelError`: EADDRINUSE where somebody else listens.
 */
export function openReceiver(
  family: Family,
  port: number,
  deliver: (datagram: Received) => void,
): { drain(): void; close(): void } {
  const object = `UDP port ${port} of ${family}`
  const fd = openSocket(SOCKET_FAMILY[family], SOCKET_TYPE.datagram, 0, object)
  try {
    if (family === 'ipv4') {
      setSocketInt(fd, IPPROTO_IP, IP_RECVTTL, 1)
      setSocketInt(fd, IPPROTO_IP, IP_PKTINFO, 1)
    } else {
      setSocketInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)
      setSocketInt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)
      setSocketInt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    }
    widen(fd)
    bindSocket(fd, socketAddress(family === 'ipv4' ? '0.0.0.0' : '::', port), object)
  } catch (error) {
    closeDescriptor(fd)
    throw error
  }
  const room = new MessageRoom(LONGEST)
  let open = true
  const read = (most: number) => {
    for (let count = 0; open && count < most; count++) {
      const size = room.receive(fd, object)
      if (size < 0) return
      const datagram = family === 'ipv4' ? readIpv4(room, size) : readIpv6(room, size)
      if (datagram !== undefined) deliver(datagram)
    }
  }
  const unwatch = watchReadable(fd, () => read(PER_TURN))
  return {
    drain: () => read(PER_DRAIN),
    close() {
      open = false
      unwatch()
      closeDescriptor(fd)
    },
  }
}

/** More room than the machine's limit, where this process may ask for it. */
function widen(fd: number): void {
  try {
    setSocketInt(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
  } catch (error) {
    if (!(error instanceof KernelError) || error.errno !== ERRNO.EPERM) throw error
    setSocketInt(fd, SOL_SOCKET, SO_RCVBUF, BUFFER)
  }
}

/** Undefined where the kernel had no memory for what was asked beside the datagram. */
function readIpv4(room: MessageRoom, size: number): Received | undefined {
  const ttl = room.control(IPPROTO_IP, IP_TTL)
  // in_pktinfo: interface i32 | local address | destination
  const info = room.control(IPPROTO_IP, IP_PKTINFO)
  if (ttl === undefined || info === undefined) return undefined
  return {
    bytes: room.data.subarray(0, size),
    source: room.from.subarray(4, 8),
    destination: info.subarray(8, 12),
    interfaceIndex: info.readInt32LE(0),
    ttl: ttl.readInt32LE(0),
  }
}

function readIpv6(room: MessageRoom, size: number): Received | undefined {
  const ttl = room.control(IPPROTO_IPV6, IPV6_HOPLIMIT)
  // in6_pktinfo: destination | interface u32
  const info = room.control(IPPROTO_IPV6, IPV6_PKTINFO)
  if (ttl === undefined || info === undefined) return undefined
  return {
    bytes: room.data.subarray(0, size),
    source: room.from.subarray(8, 24),
    destination: info.subarray(0, 16),
    interfaceIndex: info.readUInt32LE(16),
    ttl: ttl.readInt32LE(0),
  }
}

/**
 * A socket with `local` as its address, a free source port of 49152-65535 and a TTL of 255, which sends to one port of
 * `peer`, over `interface` alone where it is named. Opening and sending throw `KernelError`.
 */
export function openSender(to: { local: string; peer: string; port: number; interface?: string }): {
  send(bytes: Uint8Array): void
  close(): void
} {
  const { local, peer, port, interface: link } = to
  const family = familyOf(local)
  const object = `${local} to ${peer} port ${port}`
  const destination = socketAddress(peer, port, link)
  const fd = openSocket(SOCKET_FAMILY[family], SOCKET_TYPE.datagram, 0, object)
  try {
    if (family === 'ipv6') setSocketInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)
    setTtl(fd, family, 255)
    if (family === 'ipv4') setSocketInt(fd, IPPROTO_IP, IP_TOS, CONTROL_CLASS)
    else setSocketInt(fd, IPPROTO_IPV6, IPV6_TCLASS, CONTROL_CLASS)
    if (link !== undefined) bindToDevice(fd, link)
    bindToFreePort(fd, local, link, object)
  } catch (error) {
    closeDescriptor(fd)
    throw error
  }
  return {
    send: bytes => sendTo(fd, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), destination, object),
    close: () => closeDescriptor(fd),
  }
}

/** The range that the kernel chooses from by itself is another one. */
function bindToFreePort(fd: number, local: string, link: string | undefined, object: string): void {
  for (let tries = 1; ; tries++) {
    try {
      bindSocket(fd, socketAddress(local, randomInt(FIRST_PORT, LAST_PORT + 1), link), object)
      return
    } catch (error) {
      if (!(error instanceof KernelError) || error.errno !== ERRNO.EADDRINUSE || tries === PORT_TRIES) throw error
    }
  }
}
