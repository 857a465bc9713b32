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
