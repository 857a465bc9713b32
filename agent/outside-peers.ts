// Peers outside the cluster without a session: other nodes come and go, a router that is not there for minutes is a fault.
import { broken, type Condition } from '../api/status.ts'
import type { PeerStatus } from '../bgp/config.ts'

/** For so long a router may restart, as the alert `MargayBgpSessionDown` has it. */
const LONG_MS = 5 * 60_000

/** What is wrong with a peer that people know by `name`: down for long, or damped, which took several falls. */
export function peerDown(
  { address, sinceMs, reason }: Pick<PeerStatus, 'address' | 'sinceMs' | 'reason'>,
  name: string,
  nowMs: number,
): Condition | undefined {
  // up, or too many prefixes, which `PrefixLimitsKept` tells
  if (reason === undefined || reason.code === 'prefix-limit') return undefined
  if (reason.code === 'no-interface')
    return broken('PeersUp', {
      object: { kind: 'BGPSession', name },
      reason: 'NoInterface',
      message: `no session: ${reason.detail}`,
      remedy: reason.remedy,
    })
  const isDamped = reason.code === 'damped'
  if (!isDamped && nowMs - sinceMs < LONG_MS) return undefined
  const since = new Date(sinceMs).toISOString().replace(/\.\d+Z$/, 'Z')
  return broken('PeersUp', {
    object: { kind: 'BGPSession', name },
    reason: isDamped ? 'SessionDamped' : 'SessionDown',
    message: `no session with ${address} since ${since}: ${reason.code}: ${reason.detail}`,
    remedy: reason.remedy,
  })
}

/** More than one router is on the link of a peer that is named by its interface. */
export function severalRouters(
  { address, others }: Pick<PeerStatus, 'address' | 'others'>,
  name: string,
): Condition | undefined {
  if (others === undefined) return undefined
  return broken('PeersConfigured', {
    object: { kind: 'BGPSession', name },
    reason: 'SeveralRouters',
    message: `the session is with ${address}, and ${others.join(', ')} ${others.length === 1 ? 'is a router' : 'are routers'} on that link too; of these nothing is taken`,
    remedy:
      'name peers by interfaces of links to one router alone; several routers on one link have addresses for peerIP',
  })
}
