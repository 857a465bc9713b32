// How sessions end, and which of the peer's routes stay.
import type { Negotiated } from './fsm/negotiate.ts'
import type { PeerDown } from './rib/types.ts'
import { CEASE, ERROR } from './wire/iana.ts'
import { insideHardReset, type Notification } from './wire/notification.ts'

/** Why a connection or a dial ended. */
export type SessionEnd =
  | { how: 'dial-failed' | 'connection-lost'; code?: string; message: string }
  | { how: 'sent'; notification: Notification; detail: string }
  | { how: 'received'; notification: Notification }
  | { how: 'closed' }

/** Which routes outlive a session (RFC 4724 §4.2, 8538 §3, 9494 §4.2). */
export function retention(end: SessionEnd, negotiated: Negotiated): PeerDown {
  const { gracefulRestart, longLived, notification } = negotiated
  if (gracefulRestart === undefined || gracefulRestart.families.length === 0) return { retain: false }
  if (end.how === 'sent' || end.how === 'received') {
    const { code, subcode } = end.notification
    const hard = insideHardReset(end.notification) !== undefined
    // over a path that is lost nothing is forwarded any more, whatever restarts
    const lostPath = code === ERROR.cease && subcode === CEASE.bfdDown
    if (hard || lostPath || !notification) return { retain: false }
  }
  const longLivedSeconds = Object.fromEntries((longLived ?? []).map(l => [l.family, l.staleSeconds]))
  if (gracefulRestart.restartSeconds === 0 && Object.keys(longLivedSeconds).length === 0) return { retain: false }
  const { families, restartSeconds: staleSeconds } = gracefulRestart
  return { retain: true, families, staleSeconds, longLivedSeconds }
}

/**
 * Whether an Established session ended for a fault: not on purpose, at either end, and not with a peer that restarts gracefully,
 * whose connection ends without a NOTIFICATION while its routes stay (RFC 4724 §4.2). What ended for too many prefixes here has a
 * pause of its own.
 */
export function isFault(end: SessionEnd, { gracefulRestart }: Pick<Negotiated, 'gracefulRestart'>): boolean {
  if (end.how === 'closed') return false
  if (end.how !== 'sent' && end.how !== 'received')
    return gracefulRestart === undefined || gracefulRestart.families.length === 0
  const { code, subcode } = insideHardReset(end.notification) ?? end.notification
  if (code !== ERROR.cease) return true
  return subcode === CEASE.bfdDown || (end.how === 'received' && FAULTS_OF_PEERS.includes(subcode))
}

/** Ceases by which nobody at the peer asked for the end. */
const FAULTS_OF_PEERS: readonly number[] = [CEASE.maximumPrefixes, CEASE.outOfResources]
