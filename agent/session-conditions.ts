// What is wrong with sessions, whatever they are with, as conditions. Pure.
import { BGP_ANNOTATION } from '../api/core.ts'
import { broken, type Condition } from '../api/status.ts'
import type { PeerBfdStatus, PeerStatus } from '../bgp/config.ts'

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

/** A session that was ended, as its peer announced more than it may. */
export function overLimit(name: string, detail: string): Condition {
  return broken('PrefixLimitsKept', {
    object: { kind: 'BGPSession', name },
    reason: 'TooManyPrefixes',
    message: `the peer announced too many prefixes and its session was ended: ${detail}`,
    remedy: 'let that router announce only what lies in the IPPools',
  })
}
