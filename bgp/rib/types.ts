// What the RIB is told about a session (`peerUp`), and the events and counts that it gives back. No sockets and no timers: to
// the RIB a session is only the result of its OPEN exchange.

import type { PeerConfig } from '../config.ts'
import type { AddressFamily } from '../family.ts'
import type { CodecSession, PeerType } from '../wire/codec-session.ts'

/** One established session. All of it is fixed until `peerDown`, except what `setPolicies` replaces. */
export type RibPeer = {
  /** Not a session but a file or a program: its routes are used and nothing is sent to it. */
  source?: true
  /** The name of the peer, the same for all its sessions; graceful restart keeps routes under it. */
  key: string
  config: PeerConfig
  peerType: PeerType
  /** The AS we speak as on this session (our member AS inside a confederation, its identifier outside). */
  localAs: number
  remoteAs: number
  /** The peer's BGP identifier as an unsigned 32-bit number. */
  routerId: number
  /** Canonical text, no zone. */
  localAddress: string
  remoteAddress: string
  /** Interface of a link-local session. */
  interface?: string
  /** Interface that is shared with this peer: what rules of a policy know for where its routes lead. Absent: none is. */
  leadsOut?: string
  /**
   * Our own addresses that this peer can use as next hops. Default: `localAddress` for its family. `linkLocal` is
   * appended to a global IPv6 next hop (RFC 2545 §3): give it only when the peer shares the link.
   */
  nextHops?: { ipv4?: string; ipv6?: string; linkLocal?: string }
  /** CIDRs of the link shared with this peer; a next hop inside one is passed on unchanged (RFC 4271 §5.1.3). */
  connected?: readonly string[]
  /** Families both sides announced. */
  families: readonly AddressFamily[]
  receive: CodecSession
  send: CodecSession
  /** The peer announced enhanced route refresh (RFC 7313) and so did we. */
  enhancedRefresh: boolean
  /** What the peer's graceful restart capability said (RFC 4724 §3); absent when either side has none. */
  gracefulRestart?: { restarting: boolean; families: readonly AddressFamily[]; forwarding: readonly AddressFamily[] }
  /** Families of the peer's long-lived graceful restart capability (RFC 9494 §3). */
  longLived?: readonly { family: AddressFamily; forwarding: boolean }[]
}

/** Where a route comes from, as far as its export depends on it. */
export type ExportSource = {
  /** A network of our own; the other fields then have no meaning. */
  local: boolean
  peerType: PeerType
  /** The peer is a client of ours (RFC 4456). */
  client: boolean
  group?: string
  /** As of `PeerConfig`. */
  behindUs?: boolean
  routerId: number
  /** The peer's address, 4 or 16 octets. */
  address?: Uint8Array
  interface?: string
}

/** What happens to a peer's routes when its session ends. */
export type PeerDown =
  | { retain: false }
  | {
      retain: true
      /** Families kept as stale; the others are dropped at once. */
      families: readonly AddressFamily[]
      /** Seconds (the peer's restart time) until stale routes are dropped or become long-lived stale. */
      staleSeconds: number
      /** Seconds of the long-lived period per family (RFC 9494); a family not named has none. */
      longLivedSeconds?: Partial<Record<AddressFamily, number>>
    }

export type RibEvent =
  /** Something in an UPDATE was wrong but cost less than the session (RFC 7606). */
  | { type: 'fault'; key: string; cost: 'discard' | 'withdraw'; attribute?: number; reason: string }
  /** A peer announced a prefix to which nothing can be sent, such as 127.0.0.0/8; it is left out. */
  | { type: 'no-destination'; key: string; prefix: string }
  | { type: 'prefix-warning'; key: string; family: AddressFamily; count: number; max: number }
  | { type: 'end-of-rib'; key: string; family: AddressFamily }
  /** Stale routes that were not announced again are gone: end of the restart time, End-of-RIB, or EoRR. */
  | { type: 'stale-removed'; key: string; family: AddressFamily; count: number }
  /** A route's attributes do not fit into a message to this peer, so it is not announced (RFC 8654 §4). */
  | { type: 'too-long'; key: string; prefix: string }

export type FamilyCounts = {
  /** Paths in Adj-RIB-In, of those that passed loop rules and import policy, and prefixes announced to the peer. */
  received: number
  accepted: number
  announced: number
  stale: number
}

export type PeerCounts = FamilyCounts & {
  /** Number of faults handled since the session came up (RFC 7606). */
  discarded: number
  treatedAsWithdrawn: number
  messagesOut: number
}
