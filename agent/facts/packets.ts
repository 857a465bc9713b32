// A packet that is asked about, in the words of the kernel's look-ups and in those of policies. Pure.
import type { AskedPacket } from '../../api/explain.ts'
import type { JudgedPacket } from '../../felix/policy/verdict.ts'
import type { LookedUp } from '../../kernel/port/routes.ts'

const PROTOCOLS = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const
/** A port that a client may have, where the question names none. */
const SOME_PORT = 49_152
/** An echo request, as ping sends (RFC 792, RFC 4443 §4.1). */
const ECHO = { ipv4: { type: 8, code: 0 }, ipv6: { type: 128, code: 0 } } as const

function protocolNumber(protocol: AskedPacket['protocol']): number {
  return typeof protocol === 'number' ? protocol : PROTOCOLS[protocol]
}

/** Those that a look-up may name (rtm_getroute_parse_ip_proto of net/ipv4/fib_frontend.c): others are looked up as any. */
const LOOKED_UP: readonly number[] = Object.values(PROTOCOLS)

/** Without the interface that it comes in by. */
export function lookedUp(packet: AskedPacket): LookedUp {
  const protocol = protocolNumber(packet.protocol)
  return LOOKED_UP.includes(protocol)
    ? { source: packet.source, protocol, ...portsOf(packet) }
    : { source: packet.source }
}

/** The first packet of a connection. Of ICMP that is an echo request. */
export function judged(packet: AskedPacket): JudgedPacket {
  const { family, source, destination, protocol: asked } = packet
  const protocol = protocolNumber(asked)
  const { sourcePort, destinationPort } = portsOf(packet)
  return {
    ...{ source, destination, protocol },
    ...(sourcePort !== undefined && { ports: { source: sourcePort, destination: destinationPort! } }),
    ...((protocol === PROTOCOLS.icmp || protocol === PROTOCOLS.icmpv6) && { icmp: ECHO[family] }),
  }
}

function portsOf({ sourcePort, destinationPort }: AskedPacket): { sourcePort?: number; destinationPort?: number } {
  if (sourcePort === undefined && destinationPort === undefined) return {}
  return { sourcePort: sourcePort ?? SOME_PORT, destinationPort: destinationPort ?? SOME_PORT }
}
