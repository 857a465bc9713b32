// NOTIFICATION (RFC 4271 §4.5): code u8 | subcode u8 | data. Also what its data means: the shutdown text of RFC 9003,
// which is shown to people and therefore cleaned, and the Hard Reset of RFC 8538, which wraps another notification.
import type { Writer } from '../../lib/bytes.ts'
import { CEASE, ERROR, errorText, MESSAGE } from './iana.ts'
import { emitMessage } from './message.ts'

export type Notification = { code: number; subcode: number; data: Uint8Array }

/** The notification in `bytes[start..end)`. Total: an octet that is missing is read as 0. */
export function parseNotification(bytes: Uint8Array, start: number, end: number): Notification {
  const code = start < end ? bytes[start]! : 0
  const subcode = start + 1 < end ? bytes[start + 1]! : 0
  return { code, subcode, data: bytes.slice(Math.min(start + 2, end), end) }
}

/** Writes a whole NOTIFICATION; a `ProtocolError` is one. Data that would not fit 4096 octets is cut. */
export function emitNotification(w: Writer, { code, subcode, data }: Notification): void {
  emitMessage(w, MESSAGE.notification, () => {
    w.u8(code)
      .u8(subcode)
      .put(data.subarray(0, Math.min(data.length, 4096 - 21)))
  })
}

/** A Cease, with a text for the peer's operator where RFC 9003 allows one (shutdown and reset): at most 255 octets of UTF-8. */
export function cease(subcode: number, message?: string): Notification {
  if (message === undefined || message === '' || (subcode !== CEASE.shutdown && subcode !== CEASE.reset))
    return { code: ERROR.cease, subcode, data: new Uint8Array(0) }
  // encodeInto never cuts a character in two
  const data = new Uint8Array(256)
  const { written } = new TextEncoder().encodeInto(message, data.subarray(1))
  data[0] = written
  return { code: ERROR.cease, subcode, data: data.slice(0, written + 1) }
}

/** Wraps a notification into a Hard Reset: the peer must not keep our routes (RFC 8538 §3.1). */
export function hardReset({ code, subcode, data }: Notification): Notification {
  return { code: ERROR.cease, subcode: CEASE.hardReset, data: Uint8Array.of(code, subcode, ...data) }
}

/** The notification inside a Hard Reset; undefined when this is none. */
export function insideHardReset({ code, subcode, data }: Notification): Notification | undefined {
  return code === ERROR.cease && subcode === CEASE.hardReset ? parseNotification(data, 0, data.length) : undefined
}

/** The operator's text of a shutdown or reset (RFC 9003), control characters replaced; undefined when there is none. */
function shutdownText({ code, subcode, data }: Notification): string | undefined {
  if (code !== ERROR.cease || (subcode !== CEASE.shutdown && subcode !== CEASE.reset)) return undefined
  const length = data[0] ?? 0
  if (length === 0 || length > data.length - 1) return undefined
  // this ends up in terminals and logs: no escape sequences, no line breaks, no direction overrides
  return new TextDecoder().decode(data.subarray(1, 1 + length)).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd')
}

/** One line for people: `Cease/Administrative Shutdown: "moving racks"`. */
export function notificationText(notification: Notification): string {
  const inner = insideHardReset(notification)
  const said = shutdownText(notification)
  const text = errorText(notification.code, notification.subcode)
  if (inner !== undefined) return `${text} (${errorText(inner.code, inner.subcode)})`
  return said === undefined ? text : `${text}: "${said}"`
}
