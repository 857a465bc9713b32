// ICMP echo (RFC 792) from inside a network namespace, without the program ping. Needs CAP_NET_RAW in that namespace.
// Hazard: a raw socket gets every ICMP message of its namespace, so answers are told apart by identifier and data.
import { setTimeout as delay } from 'node:timers/promises'
import { addressBytes, formatAddress } from '../lib/ip.ts'
import { checksum } from './checksum.ts'
import { closeDescriptor, openSocket, receiveFrom, SOCKET_FAMILY, SOCKET_TYPE, sendTo } from './libc.ts'
import { runInNetns } from './netns.ts'
import { ERRNO, KernelError } from './port/error.ts'

const IPPROTO_ICMP = 1
const ECHO_REPLY = 0
const UNREACHABLE = 3
const ECHO = 8
const HEADER = 8
const SOCKADDR_IN = 16
const POLL_MS = 1
const UNREACHABLE_CODES: Readonly<Record<number, string>> = { 0: 'network', 1: 'host', 13: 'filtered: host' }

let sent = 0

/**
 * Sends one echo request from the namespace at `netns` (a path) to an IPv4 address and waits for its answer. `ms` is the
 * time between both, at most about a millisecond too long; `error` says why there is none within `limitMs`.
 */
export async function echo(
  netns: string,
  address: string,
  limitMs: number,
): Promise<{ ms: number } | { error: string }> {
  let fd: number | undefined
  try {
    fd = runInNetns(netns, () => openSocket(SOCKET_FAMILY.ipv4, SOCKET_TYPE.raw, IPPROTO_ICMP, 'icmp'))
    const request = echoRequest()
    const startMs = performance.now()
    sendTo(fd, request, socketAddress(address), address)
    for (;;) {
      const answer = receive(fd, request)
      const ms = performance.now() - startMs
      if (answer === 'reply') return { ms: Math.round(ms * 1000) / 1000 }
      if (answer !== undefined) return { error: answer }
      if (ms > limitMs) return { error: `no answer in ${limitMs} ms` }
      await delay(POLL_MS)
    }
  } catch (error) {
    if (error instanceof KernelError) return { error: error.message }
    throw error
  } finally {
    if (fd !== undefined) closeDescriptor(fd)
  }
}

/** type u8 | code u8 | checksum u16 | identifier u16 | sequence u16 | data */
function echoRequest(): Buffer {
  const message = Buffer.alloc(56)
  message[0] = ECHO
  message.writeUInt16BE(process.pid & 0xffff, 4)
  message.writeUInt16BE(++sent & 0xffff, 6)
  message.writeBigUInt64BE(process.hrtime.bigint(), HEADER)
  message.writeUInt16BE(checksum(message), 2)
  return message
}

/** 'reply', what else came for this request, or undefined when nothing is there yet. */
function receive(fd: number, request: Buffer): string | undefined {
  const packet = Buffer.alloc(2048)
  for (;;) {
    const from = Buffer.alloc(SOCKADDR_IN)
    const size = receiveOrNone(fd, packet, from)
    if (size === undefined) return undefined
    const message = packet.subarray((packet[0]! & 0xf) * 4, size)
    if (message[0] === ECHO_REPLY && message.subarray(4).equals(request.subarray(4))) return 'reply'
    // the IP header of what could not be delivered, and the first octets after it
    const inner = message.subarray(HEADER)
    const cause = inner.subarray(((inner[0] ?? 0) & 0xf) * 4).subarray(4, HEADER)
    if (message[0] === UNREACHABLE && cause.equals(request.subarray(4, HEADER)))
      return `${UNREACHABLE_CODES[message[1]!] ?? `code ${message[1]}:`} unreachable, says ${formatAddress(from.subarray(4, 8))}`
  }
}

function receiveOrNone(fd: number, data: Buffer, from: Buffer): number | undefined {
  try {
    return receiveFrom(fd, data, from, 'icmp')
  } catch (error) {
    if (error instanceof KernelError && (error.errno === ERRNO.EAGAIN || error.errno === ERRNO.EINTR)) return undefined
    throw error
  }
}

/** sockaddr_in: family u16 | port be16 | address | zero[8] */
function socketAddress(address: string): Buffer {
  const out = Buffer.alloc(SOCKADDR_IN)
  out.writeUInt16LE(SOCKET_FAMILY.ipv4, 0)
  out.set(addressBytes(address), 4)
  return out
}
