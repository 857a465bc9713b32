// Why a peer is not up: a code for programs, and a text with the numbers; what helps is in down-reasons.ts. Pure.
import { toHex } from '../lib/bytes.ts'
import type { BfdChange } from './bfd/config.ts'
import type { DownCode } from './down-reasons.ts'
import type { SessionEnd } from './session-end.ts'
import { CEASE, ERROR, OPEN_ERROR } from './wire/iana.ts'
import { insideHardReset, type Notification, notificationText } from './wire/notification.ts'

/** Octets of a NOTIFICATION's data that a reason shows. */
const MOST_SHOWN = 32

export type DownReason = { code: DownCode; detail: string }

/** What of the configuration a reason depends on. `lostPath`: what BFD said, where it is why we end the session. */
export type ReasonContext = { remote: string; signed: boolean; holdSeconds: number; lostPath?: string }

/** Why a session or a dial ended; undefined when we closed it ourselves. */
export function reasonOf(cause: SessionEnd, context: ReasonContext): DownReason | undefined {
  switch (cause.how) {
    case 'dial-failed':
      return dialReason(cause.code, cause.message, context)
    case 'connection-lost':
      if (cause.code === 'ECONNRESET') return { code: 'reset', detail: `${context.remote} reset the connection` }
      return { code: 'closed', detail: cause.message }
    case 'sent':
      if (context.lostPath !== undefined) return { code: 'bfd-down', detail: context.lostPath }
      return notified(cause.notification, `we ended the session: ${cause.detail}`)
    case 'received':
      return received(cause.notification)
    case 'closed':
      return undefined
  }
}

/** What a session that BFD ends is told to have ended for, and what to look at. */
export function lostPathDetail(remote: string, { diagnostic }: Pick<BfdChange, 'diagnostic'>): string {
  return diagnostic === 'detection-time-expired'
    ? `BFD hears nothing from ${remote} any more: look at the way there, at its link, and whether it is up`
    : `BFD of ${remote} hears nothing from us any more (${diagnostic}): look at the way there`
}

/** Whether a reason came from the protocol. A failed dial says less, so it does not replace such a reason at once. */
export function isWeighty({ code }: DownReason): boolean {
  return ![
    'never-tried',
    'no-route',
    'refused',
    'timeout',
    'reset',
    'closed',
    'signature-suspected',
    'damped',
  ].includes(code)
}

function dialReason(code: string | undefined, message: string, { remote, signed }: ReasonContext): DownReason {
  switch (code) {
    case 'ECONNREFUSED':
      return { code: 'refused', detail: `${remote} refuses the connection: no BGP listens there for us` }
    case 'ECONNRESET':
      return { code: 'reset', detail: `${remote} reset the connection attempt` }
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ENETDOWN':
    case 'EADDRNOTAVAIL':
    case 'ENODEV':
      return { code: 'no-route', detail: `no way to ${remote} (${message})` }
    case 'ETIMEDOUT':
      // with a wrong or missing key nothing answers: the kernel drops the segments
      return signed
        ? {
            code: 'signature-suspected',
            detail: `${remote} does not answer: compare the passwords or keys of both sides`,
          }
        : {
            code: 'timeout',
            detail: `${remote} does not answer: it is away, packets are lost or dropped on the way, or it alone has a password or keys`,
          }
    case 'ENOPROTOOPT':
      return { code: 'not-signed', detail: `the connection to ${remote} cannot be signed as asked (${message})` }
    case 'EMFILE':
    case 'ENFILE':
      return { code: 'no-route', detail: `no descriptor is left to connect to ${remote} (${message})` }
    default:
      return { code: 'no-route', detail: `cannot connect to ${remote}: ${message}` }
  }
}

function received(notification: Notification): DownReason {
  const inner = insideHardReset(notification) ?? notification
  const text = `the peer ended the session: ${notificationText(notification)}`
  return inner.code === ERROR.cease && !SHARED_CEASES.includes(inner.subcode)
    ? { code: 'peer-cease', detail: text }
    : notified(inner, `${text}${inner.data.length > 0 && inner.code !== ERROR.cease ? ` (${shown(inner.data)})` : ''}`)
}

function notified(notification: Notification, detail: string): DownReason {
  const { code, subcode } = insideHardReset(notification) ?? notification
  switch (code) {
    case ERROR.open: {
      const numbers = `code ${code}, subcode ${subcode}, data ${shown(notification.data) || 'none'}`
      return { code: subcode === OPEN_ERROR.peerAs ? 'wrong-as' : 'bad-open', detail: `${detail} (${numbers})` }
    }
    case ERROR.holdTimer:
      return { code: 'hold-timer', detail }
    case ERROR.cease:
      return { code: CEASE_REASONS[subcode] ?? 'admin-down', detail }
    default:
      return { code: 'protocol-error', detail }
  }
}

/** Data of a NOTIFICATION as hex, cut to a length that fits a line. */
function shown(data: Uint8Array): string {
  return `${toHex(data.subarray(0, MOST_SHOWN))}${data.length > MOST_SHOWN ? `… of ${data.length} octets` : ''}`
}

/** Ceases that say the same at both ends. */
const SHARED_CEASES: readonly number[] = [CEASE.collision, CEASE.bfdDown]

const CEASE_REASONS: Readonly<Record<number, DownCode>> = {
  [CEASE.maximumPrefixes]: 'prefix-limit',
  [CEASE.collision]: 'collision',
  [CEASE.bfdDown]: 'bfd-down',
}
