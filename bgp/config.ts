// The configuration of a speaker, its peers and its networks, and the status of a peer: types, and functions of one value.
import { familyOf } from '../lib/ip.ts'
import type { TcpAoKey } from '../lib/tcp-ao.ts'
import type { Authentication } from './bfd/authentication.ts'
import type { BfdState, Diagnostic } from './bfd/packet.ts'
import type { Hops } from './bfd/port.ts'
import type { DownCode } from './down-reasons.ts'
import { type AddressFamily, FAMILIES, unicastFamily } from './family.ts'
import type { BgpState } from './fsm/step.ts'
import type { PolicyRule } from './policy.ts'
import type { Community } from './wire/communities.ts'

/** Where a peer listens that names no port (RFC 4271 §8.2.1). */
export const BGP_PORT = 179
/** Most paths of a prefix that can be used together. */
export const MOST_PATHS = 64

export type SpeakerConfig = {
  /** 1-4294967295 (RFC 6793). */
  asn: number
  /** Dotted quad; unique within the AS (RFC 6286). */
  routerId: string
  /** Cluster id for reflection (RFC 4456), dotted quad; default: the router id. */
  clusterId?: string
  /** Confederation identifier and member ASes (RFC 5065). */
  confederation?: { identifier: number; members: readonly number[] }
  /** Compare MED between routes of different neighbour ASes. Default false (RFC 4271 §9.1.2.2 c). */
  alwaysCompareMed?: boolean
  /**
   * A route that these rules accept belongs to its peer: while it is there, no path that they reject is used for the same
   * prefix or a part of it, and none for a network of our own. They see what import accepted. Absent: nothing belongs to anybody.
   */
  owners?: readonly PolicyRule[]
  /** Absent: one path of each prefix is used. */
  multipath?: Multipath
  /** Which paths need a next hop that can be reached, where next hops are tracked (`NextHops`). Absent: all. */
  tracked?: TrackedPaths
}

/** The paths whose next hops count (RFC 4271 §9.1.2.1). */
export type TrackedPaths = {
  /** Only paths of peers in this group; those of others are used at no cost. Absent: of all peers. */
  group?: string
  /**
   * CIDRs: a path to a prefix inside one is used also while its next hop cannot be reached, after all paths that are equal to it but for the
   * interior cost. For packets that find a way of their own, such as a tunnel.
   */
  spared?: readonly string[]
}

/**
 * Which paths of a prefix are used beside the best one: those that are equal to it in all that RFC 4271 §9.1.2.2 compares before
 * its tie breaks (a-e). Peers are told of the best one alone, or by ADD-PATH of all.
 */
export type Multipath = {
  /** Most paths of a prefix that are used, 1 to `MOST_PATHS`. */
  paths: number
  /**
   * Paths of external peers alone; of internal ones alone; of either, those of the best one's kind; or both together: then step d
   * does not tell them apart.
   */
  of: 'ebgp' | 'ibgp' | 'either' | 'merge'
  /** 'length' (default): AS paths of one length are equal; 'same': only those with the same AS numbers. */
  asPath?: 'length' | 'same'
  /** Shares by the link bandwidth community (RFC 10005), where every path that is used has one. Absent: equal shares. */
  weights?: 'link-bandwidth'
}

/** Per-peer timers in seconds; 0 switches one off where RFC 4271 allows it. */
export type PeerTimers = {
  /** Proposed hold time: 0 or 3-65535. Default 90. */
  holdTimeSeconds?: number
  /** Default: a third of the negotiated hold time. */
  keepaliveSeconds?: number
  /** Default 5. */
  connectRetrySeconds?: number
  /** First IdleHoldTime after a fault; doubles per fault. Default 1. */
  idleHoldSeconds?: number
  /** The most that IdleHoldTime doubles to. Default 60. */
  mostIdleHoldSeconds?: number
  /** DelayOpenTime (RFC 4271 §8.1.1). Default 0: OPEN at once. */
  delayOpenSeconds?: number
  /** How long a connection may last without the peer's OPEN (RFC 4271 §8.2.2), 3-240. Default 240. */
  openHoldSeconds?: number
}

export type PrefixLimit = {
  /** Most prefixes per family that this peer may announce. */
  max: number
  /** Percent of `max` at which a warning is recorded. Default 80. */
  warnPercent?: number
  /** Seconds until the session is tried again; absent: it stays down until an operator clears it. */
  restartSeconds?: number
}

export type GracefulRestartConfig = {
  /** Restart time announced, 0-4095 s. Default 120. */
  restartSeconds: number
  /** Long-lived stale time (RFC 9494), 0-16777215 s; absent: no LLGR. */
  longLivedSeconds?: number
  /** N bit (RFC 8538). Default true. */
  notification?: boolean
  /**
   * Routes that are still stale stay to the end of the first restart time when the peer restarts again before its End-of-RIB; RFC
   * 4724 §4.2 has them removed then. For peers that keep what they forward, whatever their programs do. Default false.
   */
  keepOverRestarts?: boolean
}

/**
 * BFD (RFC 5880) beside a BGP session: when the path to the peer is lost, the session ends at once. The session does not wait
 * for it. A neighbour on a link is watched over it (RFC 5881), any other one over routers (RFC 5883).
 */
export type BfdConfig = {
  /** How often packets go out while the path is good, and how often they are taken at most, 50-60000 ms. Default 300. */
  intervalMs?: number
  /** How many packets may be missed in a row, 1-255. Default 3. */
  multiplier?: number
  /** Over routers also where the peer is on a link, as its own BFD may be told. Default false. */
  multihop?: boolean
  authentication?: Authentication
}

export type Role = 'provider' | 'rs' | 'rs-client' | 'customer' | 'peer'

export type PeerConfig = {
  /** Unique within the speaker; names the peer in every status and log line. Default: the address. */
  name?: string
  /** IP address; or absent with `interface` (unnumbered) or `range` (dynamic neighbours). */
  address?: string
  /** Peers over the interface's link-local addresses. */
  interface?: string
  /** Accepts passive sessions from every address of this CIDR that is of no other peer and in no longer range. */
  range?: string
  /** Most dynamic neighbours of `range` at a time. Default 100. */
  rangeLimit?: number
  /** Default 179. */
  port?: number
  /** Peer's AS; 'external' and 'internal' accept any that differs from, or equals, ours. */
  asn: number | 'external' | 'internal'
  /** Use this AS towards the peer instead of the speaker's own. */
  localAs?: number
  source?: string
  passive?: boolean
  /** Takes no connection: those of the address are of another peer, with another port. Excludes `passive`. */
  dialOnly?: boolean
  disabled?: boolean
  /** Sent with an administrative shutdown or reset (RFC 9003); at most 255 octets of UTF-8. */
  shutdownMessage?: string
  /** TCP MD5 (RFC 2385). Excludes `tcpAo`. */
  password?: string
  /**
   * TCP-AO (RFC 5925), 1-16 keys, the one first that the peer is asked to sign with. Never less: where the kernel has none, there is
   * no session. A new key is added to the living connection at both ends, and an old one may go once the new one is first.
   */
  tcpAo?: readonly TcpAoKey[]
  /** TTL to send with on eBGP, 1-255; default 1 (iBGP: 255). Excludes `ttlSecurity`. */
  multihop?: number
  ttlSecurity?: number
  /** Absent: the hold timer alone notices that the path to the peer is lost. Needs `SpeakerDeps.bfd`. */
  bfd?: BfdConfig
  timers?: PeerTimers
  /** Default: the family of the address. */
  families?: readonly AddressFamily[]
  /** ADD-PATH (RFC 7911) per direction. */
  addPath?: { send?: boolean; receive?: boolean }
  /** RFC 8950: IPv4 routes over IPv6 next hops. */
  extendedNextHop?: boolean
  /**
   * Over IPv4: IPv6 routes whose next hop is this speaker have its IPv4 address inside of IPv6 as next hop (as in RFC 4798 §2), and not
   * an IPv6 address of the link. The peer must know a way to such an address.
   */
  mappedNextHop?: boolean
  gracefulRestart?: GracefulRestartConfig | false
  reflectorClient?: boolean
  nextHop?: 'auto' | 'self' | 'keep'
  /**
   * It is reached over this speaker alone: all others are told this speaker's own address as the next hop of its routes, whatever their
   * `nextHop` says. Default false.
   */
  behindUs?: boolean
  role?: Role
  strictRole?: boolean
  allowAsIn?: number
  removePrivateAs?: boolean
  sendCommunities?: readonly ('standard' | 'extended' | 'large')[]
  prefixLimit?: PrefixLimit
  /** Rules of other peers can ask for the group of the peer that a route was learned from. */
  group?: string
  /** Rules in order, or one verdict for all routes. Without it eBGP neither imports nor exports routes (RFC 8212). */
  import?: readonly PolicyRule[] | 'accept' | 'reject'
  export?: readonly PolicyRule[] | 'accept' | 'reject'
}

/** The BFD session that watches the path to a peer. */
export type PeerBfdStatus = {
  /** Over a link, or over routers. */
  hops: Hops
  /** Our address. */
  local: string
  state: BfdState
  /** Why it was lost last. */
  diagnostic: Diagnostic
  /** How often the path was lost: from Up to Down. */
  losses: number
  /** Milliseconds since the epoch of its last change of state. */
  sinceMs: number
  /** Why there is no session. */
  fault?: string
}

export type PeerStatus = {
  name: string
  address: string
  asn: number | undefined
  state: BgpState
  /** Milliseconds since the epoch of the last change of `state` into or out of Established. */
  sinceMs: number
  /** Why it is not Established; absent when it is. */
  reason?: {
    code: DownCode
    /** For people, with the numbers. */
    detail: string
    /** What helps. */
    remedy: string
  }
  /** Why it was not Established when it last was not; absent where it was never tried. */
  lastReason?: DownCode
  /** Times the session left Established. */
  flaps: number
  routerId?: string
  holdTimeSeconds?: number
  families: readonly AddressFamily[]
  prefixes: { received: number; accepted: number; announced: number }
  messages: { in: number; out: number; updatesIn: number; updatesOut: number }
  /** While Established: milliseconds since the epoch at which something of the peer was read last, and the last message was written. */
  lastReceivedMs?: number
  lastSentMs?: number
  /** Where BFD is asked for and both addresses are known. */
  bfd?: PeerBfdStatus
  /** Of an unnumbered peer: other routers that were seen on its interface in the last ten minutes. It has no session with them. */
  others?: readonly string[]
}

/** A range of dynamic neighbours. */
export type RangeStatus = {
  name: string
  range: string
  /** How many neighbours there may be, and are: with a session, or away for not long. */
  limit: number
  neighbours: number
  /** The address that was turned away last because there are as many as there may be; absent when there are less. */
  refused?: string
}

/** A prefix this speaker originates. */
export type Network = {
  prefix: string
  /** Next hop to announce; default: the local address of each session. */
  nextHop?: string
  communities?: readonly Community[]
  /** Tunnel types of RFC 9012 §4.1, announced as encapsulation extended communities. */
  encapsulations?: readonly number[]
  med?: number
  localPref?: number
}

/** The name a configuration gives its peer. */
export function nameOf(config: PeerConfig): string {
  return config.name ?? config.address ?? config.interface ?? config.range ?? 'peer'
}

/** The families of a peer: those named, else what its address says. */
export function familiesOf(config: PeerConfig): readonly AddressFamily[] {
  if (config.families !== undefined) return config.families
  if (config.extendedNextHop) return FAMILIES
  const address = config.address ?? config.range
  return [unicastFamily(address === undefined ? 'ipv6' : familyOf(address))]
}
