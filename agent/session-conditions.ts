// What is wrong with a session that is there, for people: nothing watches its path, or it was ended for its many prefixes.
import { BGP_ANNOTATION } from '../api/core.ts'
import { broken, type Condition } from '../api/status.ts'
import type { PeerBfdStatus } from '../bgp/config.ts'

/** A session that is up while its BFD is not. */
export function notWatched(name: string, address: string, { hops, fault }: PeerBfdStatus): Condition {
  const [kind, port] = hops === 'single' ? ['for one link', 3784] : ['for several hops', 4784]
  return broken('PathsWatched', {
    object: { kind: 'BGPSession', name },
    reason: fault === undefined ? 'BfdDown' : 'BfdRefused',
    message: `the session is up and its BFD ${kind} is not${fault === undefined ? '' : `: ${fault}`}; a lost path is noticed by the hold timer alone`,
    remedy: `switch BFD ${kind} on at ${address}, and let UDP port ${port} through; or take ${BGP_ANNOTATION.bfd} away`,
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
