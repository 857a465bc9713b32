// Raw sockets for ICMP echo (RFC 792, RFC 4443 §4) that carry data of one's own to many addresses: no wake-up and no promise for each
// packet. Who reads drains what waits. Hazard: every pod can send echoes here, so the kernel drops what does not carry the octets
// that are asked for before it takes room in the socket.

import { type Family, familyOf, formatAddress } from '../lib/ip.ts'
import { checksum } from './checksum.ts'
import {
  attachFilter,
  bindSocket,
  closeDescriptor,
  type FilterStep,
  MessageRoom,
  openSocket,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  sendTo,
  setSocketInt,
} from './libc.ts'
import { runInNetns } from './netns.ts'
import { ERRNO, KernelError } from './port/error.ts'
import { socketAddress } from './sockopt.ts'

/** IPPROTO_ICMP and IPPROTO_ICMPV6. */
const PROTOCOL = { ipv4: 1, ipv6: 58 } as const
const ECHO_TYPE = { ipv4: { request: 8, reply: 0 }, ipv6: { request: 128, reply: 129 } } as const
/** IP_MTU_DISCOVER and IPV6_MTU_DISCOVER (linux/in.h, linux/in6.h). */
const MTU_DISCOVER = { ipv4: { level: 0, option: 10 }, ipv6: { level: 41, option: 23 } } as const
const PMTUDISC_PROBE = 3
/** type u8 | code u8 | checksum u16 | identifier u16 | sequence u16 | data */
const HEADER = 8
/** Longer messages are cut off. */
const LONGEST = 256
/** In one `drain`. */
const PER_DRAIN = 1024

// linux/bpf_common.h
const LOAD_WORD = 0x40 // BPF_LD | BPF_W | BPF_IND
const LOAD_OCTET = 0x50 // BPF_LD | BPF_B | BPF_IND
const INDEX_IPV4_HEADER = 0xb1 // BPF_LDX | BPF_B | BPF_MSH
const INDEX_CONSTANT = 0x01 // BPF_LDX | BPF_IMM
const JUMP_EQUAL = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
const RETURN = 0x06 // BPF_RET | BPF_K

export type EchoSocketOptions = {
  /** A path or a descriptor; absent: that of this thread. */
  netns?: string | number
  /** The source of what is sent, and where answers go to. Absent: the kernel chooses, and all are received. */
  local?: string
  /** Which echoes are received, and octets that their data has at an offset; a multiple of four of them. */
  receives: 'request' | 'reply'
  holding: { offset: number; octets: Uint8Array }
  /** What is sent is cut neither here nor on the way, whatever MTU was learned (IP_PMTUDISC_PROBE). */
  whole?: true
}

export type EchoSocket = {
  /** Sends a request; `data` has an even length. False where this machine could not take it, which says nothing of the network. */
  send(to: string, identifier: number, data: Uint8Array): boolean
  /** Hands over what waits, at most a thousand. `data` is valid until the next one. */
  drain(deliver: (from: string, data: Uint8Array) => void): void
  close(): void
}

/** Needs CAP_NET_RAW in the namespace. Throws `KernelError`. */
export function openEchoSocket(family: Family, options: EchoSocketOptions): EchoSocket {
  const { netns, local, receives, holding, whole } = options
  const object = `ICMP echo of ${family}`
  const open = () => openSocket(SOCKET_FAMILY[family], SOCKET_TYPE.raw, PROTOCOL[family], object)
  const fd = netns === undefined ? open() : runInNetns(netns, open)
  try {
    attachFilter(fd, filter(family, ECHO_TYPE[family][receives], holding), object)
    if (whole === true) setSocketInt(fd, MTU_DISCOVER[family].level, MTU_DISCOVER[family].option, PMTUDISC_PROBE)
    if (local !== undefined) bindSocket(fd, socketAddress(local, 0), object)
  } catch (error) {
    closeDescriptor(fd)
    throw error
  }
  const room = new MessageRoom(LONGEST)
  return {
    send(to, identifier, data) {
      const message = Buffer.alloc(HEADER + data.length)
      message[0] = ECHO_TYPE[familyOf(to)].request
      message.writeUInt16BE(identifier & 0xffff, 4)
      message.set(data, HEADER)
      // the kernel makes that of ICMPv6 (RFC 3542 §3.1)
      if (family === 'ipv4') message.writeUInt16BE(checksum(message), 2)
      try {
        sendTo(fd, message, socketAddress(to, 0), to)
        return true
      } catch (error) {
        if (!(error instanceof KernelError)) throw error
        // where there is no way it is as lost as on the way
        return NO_WAY.includes(error.errno)
      }
    },
    drain(deliver) {
      for (let count = 0; count < PER_DRAIN; count++) {
        const size = room.receive(fd, object)
        if (size < 0) return
        // an IPv4 socket gets the header of IP too
        const start = family === 'ipv4' ? (room.data[0]! & 0xf) * 4 : 0
        const from = family === 'ipv4' ? room.from.subarray(4, 8) : room.from.subarray(8, 24)
        deliver(formatAddress(from), room.data.subarray(start + HEADER, size))
      }
    },
    close: () => closeDescriptor(fd),
  }
}

const NO_WAY: readonly number[] = [ERRNO.ENETUNREACH, ERRNO.EHOSTUNREACH, ERRNO.EINVAL]

function filter(family: Family, type: number, { offset, octets }: EchoSocketOptions['holding']): FilterStep[] {
  const words = Buffer.from(octets)
  const checks: { code: number; at: number; is: number }[] = [{ code: LOAD_OCTET, at: 0, is: type }]
  for (let i = 0; i < words.length; i += 4)
    checks.push({ code: LOAD_WORD, at: HEADER + offset + i, is: words.readUInt32BE(i) })
  const steps: FilterStep[] = [
    family === 'ipv4' ? { code: INDEX_IPV4_HEADER, k: 0 } : { code: INDEX_CONSTANT, k: 0 },
    // the last step drops: so many lie between it and the one after this jump
    ...checks.flatMap(({ code, at, is }, i) => [
      { code, k: at },
      { code: JUMP_EQUAL, k: is, ifFalse: 2 * (checks.length - 1 - i) + 1 },
    ]),
    { code: RETURN, k: 0xffff_ffff },
    { code: RETURN, k: 0 },
  ]
  return steps
}
