// The packets that a probe sends, and what they and their answers are known by wherever they are met: octets that the sender chose,
// which no translation of addresses or ports changes. Echo: RFC 792, RFC 4443 §4; TCP: RFC 9293 §3.1; checksums: RFC 1071.
// A TCP probe is one SYN that no socket stands behind: the kernel of whoever sent it answers a SYN-ACK with a reset, so the program
// that listens is never told of a connection.
import { addressBytes, type Family } from '../lib/ip.ts'
import { checksum } from './checksum.ts'

export type ProbeProtocol = 'icmp' | 'icmpv6' | 'tcp' | 'udp'

/** `marker`: 16 hex digits by chance. `length`: of the whole packet, which then may not be fragmented; of TCP it counts for nothing. */
export type Probe = {
  family: Family
  source: string
  destination: string
  protocol: ProbeProtocol
  sourcePort?: number
  destinationPort?: number
  length?: number
  marker: string
}

/** Octets at an offset from the header behind that of IP. */
export type ProbeMark = { offset: number; value: string }

export const PROBE_PROTOCOL: Readonly<Record<ProbeProtocol, number>> = { icmp: 1, icmpv6: 58, tcp: 6, udp: 17 }
/** Octets of the header of IP. */
export const IP_HEADER: Readonly<Record<Family, number>> = { ipv4: 20, ipv6: 40 }

const ECHO = { icmp: { request: 8, reply: 0 }, icmpv6: { request: 128, reply: 129 } } as const
/** Of echo requests, UDP and a SYN with the option of its segment size. */
const HEADER: Readonly<Record<ProbeProtocol, number>> = { icmp: 8, icmpv6: 8, udp: 8, tcp: 24 }
const MARKER_OCTETS = 8
const SYN = 0x02
/** In the SYN: what fits everywhere (RFC 9293 §3.7.1). */
const SEGMENT_SIZE = 536
const WINDOW = 1024
/** The range that programs use for ports of their own (RFC 6335 §6). */
const [FIRST_PORT, PORTS] = [49152, 16384]

/** The port that a probe is sent from: the one that was asked for, or one by chance. */
export function probePort({ sourcePort, marker }: Pick<Probe, 'sourcePort' | 'marker'>): number {
  return sourcePort ?? FIRST_PORT + (Number.parseInt(marker.slice(0, 4), 16) % PORTS)
}

/** What ICMP knows an echo by. */
export function probeId({ marker }: Pick<Probe, 'marker'>): number {
  return Number.parseInt(marker.slice(0, 4), 16)
}

/** What the probe's packets have, and what the answers to them have. Of the answers to UDP that is their ports. */
export function probeMarks(probe: Probe): { there: readonly ProbeMark[]; back: readonly ProbeMark[] } {
  const { protocol, marker, destinationPort = 0 } = probe
  switch (protocol) {
    case 'icmp':
    case 'icmpv6': {
      const { request, reply } = ECHO[protocol]
      const nonce = { offset: HEADER.icmp, value: marker }
      return {
        there: [{ offset: 0, value: hex(request, 1) }, nonce],
        back: [{ offset: 0, value: hex(reply, 1) }, nonce],
      }
    }
    case 'tcp':
      return {
        there: [{ offset: 4, value: hex(sequence(probe), 4) }],
        // a reset to a SYN acknowledges it too
        back: [{ offset: 8, value: hex((sequence(probe) + 1) >>> 0, 4) }],
      }
    case 'udp':
      return {
        there: [{ offset: HEADER.udp, value: marker }],
        back: [{ offset: 0, value: hex(destinationPort, 2) + hex(probePort(probe), 2) }],
      }
  }
}

/** Number `count` of the probe, from the header behind that of IP on; for UDP what is in it. */
export function probePacket(probe: Probe, count: number): Buffer {
  const { protocol, family, marker, length = 0 } = probe
  const nonce = Buffer.from(marker, 'hex')
  if (protocol === 'tcp') return syn(probe)
  const content = Math.max(MARKER_OCTETS, length - IP_HEADER[family] - HEADER[protocol])
  if (protocol === 'udp') return Buffer.concat([nonce], content)
  // type u8 | code u8 | checksum u16 | identifier u16 | sequence u16 | data; the kernel makes the checksum of ICMPv6
  const message = Buffer.concat([Buffer.alloc(HEADER.icmp), nonce], HEADER.icmp + content)
  message[0] = ECHO[protocol].request
  message.writeUInt16BE(probeId(probe), 4)
  message.writeUInt16BE(count & 0xffff, 6)
  if (protocol === 'icmp') message.writeUInt16BE(checksum(message), 2)
  return message
}

/** What an answer of TCP, from its header on, says; undefined where it is not for this probe. */
export function tcpAnswer(probe: Probe, segment: Buffer): 'answered' | 'refused' | undefined {
  if (segment.length < 20 || segment.readUInt32BE(8) !== (sequence(probe) + 1) >>> 0) return undefined
  if (segment.readUInt16BE(2) !== probePort(probe) || segment.readUInt16BE(0) !== probe.destinationPort)
    return undefined
  const flags = segment[13]!
  if (flags & 0x04) return 'refused'
  return (flags & 0x12) === 0x12 ? 'answered' : undefined
}

/** Whether a message of ICMP, from its header on, answers this echo. */
export function isEchoReply(probe: Probe, message: Buffer): boolean {
  if (probe.protocol !== 'icmp' && probe.protocol !== 'icmpv6') return false
  const end = HEADER.icmp + MARKER_OCTETS
  const isReply = message.length >= end && message[0] === ECHO[probe.protocol].reply
  return isReply && message.toString('hex', HEADER.icmp, end) === probe.marker
}

export type IcmpError = 'unreachable' | 'too big' | 'time exceeded'

const ERRORS: Readonly<Record<Family, Readonly<Record<number, IcmpError>>>> = {
  ipv4: { 3: 'unreachable', 11: 'time exceeded' },
  ipv6: { 1: 'unreachable', 2: 'too big', 3: 'time exceeded' },
}
/** IPv4: fragmentation needed, which is a kind of its own in IPv6. */
const NEEDS_FRAGMENTS = 4

/** Why a packet of this probe was not delivered, by a message of ICMP; undefined where it is about something else. */
export function icmpError(probe: Probe, message: Buffer): { error: IcmpError; code: number } | undefined {
  const { family, protocol } = probe
  const error = ERRORS[family][message[0] ?? -1]
  const inner = message.subarray(8)
  const isWhole = inner.length >= IP_HEADER[family] + 8
  if (error === undefined || !isWhole) return undefined
  const [next, length] = family === 'ipv4' ? [inner[9], (inner[0]! & 0xf) * 4] : [inner[6], IP_HEADER.ipv6]
  const about = inner.subarray(length)
  if (next !== PROBE_PROTOCOL[protocol] || about.length < 8 || !isAbout(probe, about)) return undefined
  const code = message[1]!
  return { error: family === 'ipv4' && error === 'unreachable' && code === NEEDS_FRAGMENTS ? 'too big' : error, code }
}

/** By the eight octets that every message about a packet holds. */
function isAbout(probe: Probe, header: Buffer): boolean {
  const { protocol } = probe
  if (protocol === 'icmp' || protocol === 'icmpv6')
    return header[0] === ECHO[protocol].request && header.readUInt16BE(4) === probeId(probe)
  if (header.readUInt16BE(0) !== probePort(probe)) return false
  return protocol === 'udp' || header.readUInt32BE(4) === sequence(probe)
}

function sequence({ marker }: Probe): number {
  return Number.parseInt(marker.slice(0, 8), 16)
}

/** ports u16 u16 | sequence u32 | acknowledgement u32 | length of it in words u4, flags | window u16 | checksum u16 | urgent u16 | options */
function syn(probe: Probe): Buffer {
  const { source, destination, destinationPort = 0 } = probe
  const segment = Buffer.alloc(HEADER.tcp)
  segment.writeUInt16BE(probePort(probe), 0)
  segment.writeUInt16BE(destinationPort, 2)
  segment.writeUInt32BE(sequence(probe), 4)
  segment[12] = (HEADER.tcp / 4) << 4
  segment[13] = SYN
  segment.writeUInt16BE(WINDOW, 14)
  segment.writeUInt32BE(0x02040000 | SEGMENT_SIZE, 20)
  // both ends, the length and the protocol are covered too (RFC 9293 §3.1, RFC 8200 §8.1)
  const covered = Buffer.concat([addressBytes(source), addressBytes(destination), segment])
  segment.writeUInt16BE(checksum(covered, HEADER.tcp + PROBE_PROTOCOL.tcp), 16)
  return segment
}

function hex(value: number, octets: number): string {
  return value.toString(16).padStart(2 * octets, '0')
}
