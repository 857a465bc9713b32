// Sends the packets of a probe out of a network namespace and hears what comes of them. Sockets are opened there in one synchronous
// excursion and used from outside. Needs CAP_NET_RAW in that namespace.
// Hazard: a raw socket gets a copy of everything of its protocol, on a node of every connection: a filter leaves the probe's own.
import { setTimeout as delay } from 'node:timers/promises'
import { formatAddress } from '../lib/ip.ts'
import {
  attachFilter,
  bindSocket,
  closeDescriptor,
  openSocket,
  receiveFrom,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  sendTo,
  setSocketInt,
} from './libc.ts'
import { runInNetns } from './netns.ts'
import { ERRNO, KernelError } from './port/error.ts'
import {
  icmpError,
  isEchoReply,
  PROBE_PROTOCOL,
  type Probe,
  probePacket,
  probePort,
  tcpAnswer,
} from './probe-packets.ts'
import { socketAddress } from './sockopt.ts'

/** linux/in.h, linux/in6.h. */
const [IPPROTO_IP, IPPROTO_IPV6] = [0, 41]
const [IP_MTU_DISCOVER, IPV6_MTU_DISCOVER] = [10, 23]
const PMTUDISC_PROBE = 3
const EMSGSIZE = 90
/** linux/bpf_common.h: the length of IPv4's header into X, a word behind it, a word, a comparison, the end. */
const BPF = { header: 0xb1, wordBehind: 0x40, word: 0x20, jumpIfEqual: 0x15, end: 0x06 } as const
const ACKNOWLEDGEMENT = 8
const POLL_MS = 2
/** Messages that are looked at in one poll: a pod can send more of them than are read, and nothing else would be done. */
const PER_POLL = 64
/** Longer answers are cut off. */
const LONGEST = 2048
/** ICMP and ICMPv6, destination unreachable: the port. */
const PORT_UNREACHABLE = { ipv4: 3, ipv6: 4 } as const
const UNREACHABLE_WORDS = {
  ipv4: {
    0: 'network unreachable',
    1: 'host unreachable',
    2: 'protocol unreachable',
    3: 'port unreachable',
    9: 'network prohibited',
    10: 'host prohibited',
    13: 'filtered',
  },
  ipv6: {
    0: 'no route',
    1: 'filtered',
    3: 'address unreachable',
    4: 'port unreachable',
    5: 'source refused',
    6: 'route rejected',
  },
} as const satisfies Record<string, Readonly<Record<number, string>>>

/** How a probe ended. `said`: by whom and why, in words. `saidBy`: the address of who sent the answer or the refusal. */
export type ProbeOutcome = {
  sent: number
  outcome: 'answered' | 'refused' | 'unreachable' | 'silent'
  said?: string
  saidBy?: string
}

/**
 * Sends up to `most` packets of a probe from the namespace at `netns` (a path; absent: that of this thread), each when the last one was not answered for
 * `waitMs`, and ends with the first answer. Whatever the kernel refuses is an outcome, also that the namespace is gone.
 */
export async function sendProbe(
  netns: string | undefined,
  probe: Probe,
  { most, waitMs }: { most: number; waitMs: number },
): Promise<ProbeOutcome> {
  let sent = 0
  let sockets: Sockets | undefined
  try {
    sockets = netns === undefined ? open(probe) : runInNetns(netns, () => open(probe))
    const to = socketAddress(probe.destination, probe.protocol === 'udp' ? (probe.destinationPort ?? 0) : 0)
    while (sent < most) {
      sendTo(sockets.own, probePacket(probe, sent + 1), to, probe.destination)
      sent++
      const untilMs = performance.now() + waitMs
      while (performance.now() < untilMs) {
        const answer = heard(sockets, probe)
        if (answer !== undefined) return { sent, ...answer }
        await delay(POLL_MS)
      }
    }
    return { sent, outcome: 'silent' }
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    const said = error.errno === EMSGSIZE ? `longer than the MTU of the sender's own interface` : error.message
    return { sent, outcome: 'unreachable', said }
  } finally {
    for (const fd of new Set(Object.values(sockets ?? {}))) closeDescriptor(fd)
  }
}

/** `own` sends, and hears answers; `errors` hears ICMP. */
type Sockets = { own: number; errors: number }

function open(probe: Probe): Sockets {
  const { family, protocol, source } = probe
  const domain = SOCKET_FAMILY[family]
  const icmp = family === 'ipv4' ? PROBE_PROTOCOL.icmp : PROBE_PROTOCOL.icmpv6
  const opened: number[] = []
  const raw = (number: number) => {
    const fd = openSocket(domain, SOCKET_TYPE.raw, number, `${protocol} probe`)
    opened.push(fd)
    return fd
  }
  try {
    const errors = raw(icmp)
    if (protocol === 'icmp' || protocol === 'icmpv6') {
      prepare(errors, probe, 0)
      return { own: errors, errors }
    }
    if (protocol === 'tcp') {
      const own = raw(PROBE_PROTOCOL.tcp)
      filter(own, probe)
      prepare(own, probe, 0)
      return { own, errors }
    }
    const own = openSocket(domain, SOCKET_TYPE.datagram, 0, `udp probe of ${source}`)
    opened.push(own)
    prepare(own, probe, probePort(probe))
    return { own, errors }
  } catch (error) {
    for (const fd of opened) closeDescriptor(fd)
    throw error
  }
}

function prepare(fd: number, { family, source, length }: Probe, port: number): void {
  bindSocket(fd, socketAddress(source, port), source)
  if (length === undefined) return
  if (family === 'ipv4') setSocketInt(fd, IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
  else setSocketInt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
}

/** A raw socket of IPv4 sees the header of IP, one of IPv6 does not. */
function filter(fd: number, probe: Probe): void {
  const acknowledgement = Number.parseInt(probe.marker.slice(0, 8), 16)
  const load =
    probe.family === 'ipv4'
      ? [
          { code: BPF.header, k: 0 },
          { code: BPF.wordBehind, k: ACKNOWLEDGEMENT },
        ]
      : [{ code: BPF.word, k: ACKNOWLEDGEMENT }]
  attachFilter(
    fd,
    [
      ...load,
      { code: BPF.jumpIfEqual, k: (acknowledgement + 1) >>> 0, ifFalse: 1 },
      { code: BPF.end, k: 0xffffffff },
      { code: BPF.end, k: 0 },
    ],
    'tcp probe',
  )
}

type Answer = Omit<ProbeOutcome, 'sent'>

function heard({ own, errors }: Sockets, probe: Probe): Answer | undefined {
  const isEcho = own === errors
  for (const got of waiting(errors)) {
    const message = probe.family === 'ipv4' ? behindIpv4(got.bytes) : got.bytes
    if (isEcho && isEchoReply(probe, message)) return { outcome: 'answered' }
    const told = errorOf(probe, message, got.from)
    if (told !== undefined) return told
  }
  if (isEcho) return undefined
  for (const got of waiting(own)) {
    if (probe.protocol === 'udp') {
      // anybody may write to the port
      if (got.from === probe.destination && got.port === probe.destinationPort) return { outcome: 'answered' }
      continue
    }
    const segment = probe.family === 'ipv4' ? behindIpv4(got.bytes) : got.bytes
    const outcome = tcpAnswer(probe, segment)
    if (outcome === 'refused') return { outcome, said: `connection refused, says ${got.from}`, saidBy: got.from }
    if (outcome !== undefined) return { outcome }
  }
  return undefined
}

function errorOf(probe: Probe, message: Buffer, from: string): Answer | undefined {
  const found = icmpError(probe, message)
  if (found === undefined) return undefined
  const { error, code } = found
  const { family, destination } = probe
  const words: Readonly<Record<number, string>> = UNREACHABLE_WORDS[family]
  const text =
    error === 'unreachable' ? (words[code] ?? `unreachable (code ${code})`) : error === 'too big' ? 'too big' : error
  const isRefused = error === 'unreachable' && code === PORT_UNREACHABLE[family] && from === destination
  return { outcome: isRefused ? 'refused' : 'unreachable', said: `${text}, says ${from}`, saidBy: from }
}

type Received = { bytes: Buffer; from: string; port: number }

/** What waits in a socket. */
function* waiting(fd: number): Generator<Received> {
  for (let count = 0; count < PER_POLL; count++) {
    const got = receive(fd)
    if (got === undefined) return
    yield got
  }
}

function receive(fd: number): Received | undefined {
  const bytes = Buffer.alloc(LONGEST)
  const from = Buffer.alloc(28)
  try {
    const size = receiveFrom(fd, bytes, from, 'probe')
    const isIpv4 = from.readUInt16LE(0) === SOCKET_FAMILY.ipv4
    const address = formatAddress(isIpv4 ? from.subarray(4, 8) : from.subarray(8, 24))
    return { bytes: bytes.subarray(0, size), from: address, port: from.readUInt16BE(2) }
  } catch (error) {
    if (error instanceof KernelError && (error.errno === ERRNO.EAGAIN || error.errno === ERRNO.EINTR)) return undefined
    throw error
  }
}

function behindIpv4(packet: Buffer): Buffer {
  return packet.subarray(((packet[0] ?? 0) & 0xf) * 4)
}
