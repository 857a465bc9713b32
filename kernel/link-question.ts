// Asks the machines of a link who has an address, without the kernel's neighbour table, which may be wrong. Needs CAP_NET_RAW.
// Constants: linux/if_packet.h, linux/bpf_common.h.
import type { Cancel, Clock } from '../lib/clock.ts'
import { familyOf } from '../lib/ip.ts'
import {
  attachFilter,
  bindSocket,
  closeDescriptor,
  type FilterStep,
  openSocket,
  receiveFrom,
  SOCKET_TYPE,
  sendTo,
  watchReadable,
} from './libc.ts'
import {
  ETHER_TYPE,
  emitArpProbe,
  emitSolicitation,
  groupMac,
  parseAdvertisement,
  parseArpReply,
} from './neighbour-messages.ts'
import { formatMac, macBytes } from './netlink/mac.ts'
import { ERRNO, KernelError } from './port/error.ts'

const AF_PACKET = 17
const SOCKADDR_LL = 20
const BROADCAST = 'ff:ff:ff:ff:ff:ff'
/** Frames are lost. */
const TRIES = 3
/** In one turn of the event loop: whoever floods the link must not keep all else from its turn. */
const PER_TURN = 64
/** More machines than these do not share an address. */
const MOST_ANSWERS = 16
const LONGEST = 256

const [LOAD_BYTE, IF_EQUAL, RETURN] = [0x30, 0x15, 0x06]
/** ICMPv6 (58 at octet 6) of type 136 (octet 40), else nothing: all IPv6 packets of the link would come. */
const ADVERTISEMENTS: readonly FilterStep[] = [
  { code: LOAD_BYTE, k: 6 },
  { code: IF_EQUAL, ifFalse: 3, k: 58 },
  { code: LOAD_BYTE, k: 40 },
  { code: IF_EQUAL, ifFalse: 1, k: 136 },
  { code: RETURN, k: LONGEST },
  { code: RETURN, k: 0 },
]

export type LinkQuestion = {
  /** An Ethernet link of this machine, and its MAC. */
  ifindex: number
  mac: string
  address: string
  /** An address of this machine on the link, for a question about IPv6. */
  source?: string
  /** Asks the machine of this MAC alone, and ends with the first answer, be it one to somebody else's question. */
  to?: string
}

/**
 * The MACs of those that say within `limitMs` that they have an address, in the order in which they answered; none where nobody
 * does. Rejects with `KernelError`, of a link that is away or down too.
 */
export type AskLink = (question: LinkQuestion, wait: { clock: Clock; limitMs: number }) => Promise<string[]>

export const askLink: AskLink = async (question, { clock, limitMs }) => {
  const { address, to } = question
  const family = familyOf(address)
  const [etherType, parse] = family === 'ipv4' ? [ETHER_TYPE.arp, parseArpReply] : [ETHER_TYPE.ipv6, parseAdvertisement]
  const request = requestOf(question)
  const destination = linkAddress(
    question.ifindex,
    etherType,
    to ?? (family === 'ipv4' ? BROADCAST : groupMac(address)),
  )
  const object = `question for ${address}`
  // of no protocol until it is bound: it would hear all links
  const fd = openSocket(AF_PACKET, SOCKET_TYPE.datagram, 0, object)
  let unwatch: Cancel | undefined
  const timers: Cancel[] = []
  try {
    if (family === 'ipv6') attachFilter(fd, ADVERTISEMENTS, object)
    bindSocket(fd, linkAddress(question.ifindex, etherType), object)
    const found = new Set<string>()
    await new Promise<void>((resolve, reject) => {
      const orReject = (act: () => void) => () => {
        try {
          act()
        } catch (error) {
          reject(error)
        }
      }
      unwatch = watchReadable(
        fd,
        orReject(() => {
          for (const answer of received(fd, parse, object)) if (answer.address === address) found.add(answer.mac)
          if (found.size >= MOST_ANSWERS || (to !== undefined && found.size > 0)) resolve()
        }),
      )
      const send = orReject(() => sendTo(fd, request, destination, object))
      send()
      for (let i = 1; i < TRIES; i++) timers.push(clock.after((limitMs * i) / TRIES, send))
      timers.push(clock.after(limitMs, resolve))
    })
    return [...found]
  } finally {
    for (const cancel of timers) cancel()
    unwatch?.()
    closeDescriptor(fd)
  }
}

function requestOf({ mac, address, source }: LinkQuestion): Buffer {
  if (familyOf(address) === 'ipv4') return emitArpProbe(mac, address)
  if (source === undefined) throw new KernelError(ERRNO.EADDRNOTAVAIL, 'ask link', address)
  return emitSolicitation({ mac, address, source })
}

function* received(
  fd: number,
  parse: (data: Uint8Array) => { address: string; mac?: string } | undefined,
  object: string,
): Generator<{ address: string; mac: string }> {
  const data = Buffer.alloc(LONGEST)
  const from = Buffer.alloc(SOCKADDR_LL)
  for (let i = 0; i < PER_TURN; i++) {
    const size = receiveOrNone(fd, data, from, object)
    if (size === undefined) return
    const answer = parse(data.subarray(0, size))
    if (answer !== undefined) yield { mac: formatMac(from.subarray(12, 18)), ...answer }
  }
}

function receiveOrNone(fd: number, data: Buffer, from: Buffer, object: string): number | undefined {
  try {
    return receiveFrom(fd, data, from, object)
  } catch (error) {
    if (error instanceof KernelError && (error.errno === ERRNO.EAGAIN || error.errno === ERRNO.EINTR)) return undefined
    throw error
  }
}

/** sockaddr_ll: family u16 | protocol be16 | ifindex i32 | hatype u16 | pkttype u8 | halen u8 | mac[8] */
function linkAddress(ifindex: number, protocol: number, mac?: string): Buffer {
  const out = Buffer.alloc(SOCKADDR_LL)
  out.writeUInt16LE(AF_PACKET, 0)
  out.writeUInt16BE(protocol, 2)
  out.writeInt32LE(ifindex, 4)
  if (mac !== undefined) {
    out[11] = 6
    out.set(macBytes(mac), 12)
  }
  return out
}
