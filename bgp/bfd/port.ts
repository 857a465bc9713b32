// What BFD needs from outside: UDP sockets that tell the TTL, the destination and the link of what arrives (RFC 5881 §4-5,
// RFC 5883 §5), which node:dgram cannot. The tests have a link in memory behind it.
import type { Family } from '../../lib/ip.ts'

/** Destination ports: 3784 for a neighbour on a link (RFC 5881 §4), 4784 for one behind routers (RFC 5883 §5). */
export const BFD_PORTS: Readonly<Record<Hops, number>> = { single: 3784, multi: 4784 }

/** Whether a session is over a link, or over any number of routers. */
export type Hops = 'single' | 'multi'

/** What arrived. The octets are valid during the call only. */
export type Datagram = {
  readonly bytes: Uint8Array
  readonly source: Uint8Array
  readonly destination: Uint8Array
  readonly interfaceIndex: number
  /** TTL or hop limit. */
  readonly ttl: number
}

export type BfdReceiver = {
  /** Delivers what waits, before it returns. */
  drain(): void
  close(): void
}

export type BfdSender = {
  /** Sends one packet now. Throws the kernel's error. */
  send(bytes: Uint8Array): void
  close(): void
}

/** Every function throws an error with the kernel's `code` (EADDRINUSE, …). */
export type BfdSockets = {
  /** Takes every datagram to `port` of one family. Nothing is delivered before this returns. */
  receiver(family: Family, port: number, deliver: (datagram: Datagram) => void): BfdReceiver
  /** A socket with a source port of 49152-65535 that sends with TTL 255, over `interface` alone where it is named. */
  sender(to: { local: string; peer: string; port: number; interface?: string }): BfdSender
  /** The name of a link of this host; undefined: it is gone. */
  interfaceName(index: number): string | undefined
}
