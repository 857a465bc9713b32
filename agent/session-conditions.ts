// What is wrong with sessions, whatever they are with, as conditions. Pure.
import { BGP_ANNOTATION } from '../api/core.ts'
import { broken, type Condition } from '../api/status.ts'
import type { PeerBfdStatus, PeerStatus, RangeStatus } from '../bgp/config.ts'
import { bgpPeerOf } from './cluster/range-keys.ts'

/** BFD needs a second or two after a session came up. */
const WATCHED_AFTER_MS = 10_000

/** Of a session that is up while BFD, which is to watch it, is not; none at first. */
export function notWatched(
  name: string,
  { address, sinceMs, bfd }: Pick<PeerStatus, 'address' | 'sinceMs'> & { bfd: PeerBfdStatus },
  nowMs: number,
): [] | [Condition] {
  const { hops, fault } = bfd
  if (fault === undefined && nowMs - Math.max(sinceMs, bfd.sinceMs) < WATCHED_AFTER_MS) return []
  const [kind, port] = hops === 'single' ? ['for one link', 3784] : ['for several hops', 4784]
  const condition = broken('PathsWatched', {
    object: { kind: 'BGPSession', name },
    reason: fault === undefined ? 'BfdDown' : 'BfdRefused',
    message: `the session is up and its BFD ${kind} is not${fault === undefined ? '' : `: ${fault}`}; a lost path is noticed by the hold timer alone`,
    remedy: `switch BFD ${kind} on at ${address}, and let UDP port ${port} through; or take ${BGP_ANNOTATION.bfd} away`,
  })
  return [condition]
}

/** A range that turned somebody away, as it has as many neighbours as it may. */
export function rangeFull({ name, range, limit, neighbours, refused }: RangeStatus): Condition | undefined {
  if (refused === undefined) return undefined
  return broken('SessionsAccepted', {
    object: { kind: 'BGPPeer', name: bgpPeerOf(name) ?? name },
    reason: 'RangeFull',
    message: `${neighbours} of at most ${limit} neighbours of the range ${range} are there, and the connection of ${refused} was refused`,
    remedy: `write a larger limit=N behind the prefix in ${BGP_ANNOTATION.range}, or a prefix with less routers`,
  })
}

/** A session that was ended, as its peer announced more than it may. */
export function overLimit(name: string, detail: string): Condition {
  return broken('PrefixLimitsKept', {
    object: { kind: 'BGPSession', name },
    reason: 'TooManyPrefixes',
    message: `the peer announced too many prefixes and its session was ended: ${detail}`,
    remedy: 'let that router announce only what lies in the IPPools',
  })
}
