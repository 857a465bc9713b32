// What a monitor (BMP, RFC 7854) is told of a speaker's sessions. A watcher is called while a session works, so it must not
// throw and must return quickly.
import type { AddressFamily } from '../family.ts'
import type { SessionEnd } from '../session-end.ts'

/** An established session. */
export type MonitoredSession = {
  /** The peer's name. */
  name: string
  asn: number
  /** Unsigned. */
  routerId: number
  families: readonly AddressFamily[]
  /** AS numbers in what the peer sends have four octets. */
  as4: boolean
  /** Milliseconds since the epoch. */
  sinceMs: number
  localAddress: string
  localPort: number
  remoteAddress: string
  remotePort: number
  /** Whole messages. */
  sentOpen: Uint8Array
  receivedOpen: Uint8Array
}

export type SessionWatcher = {
  up(session: MonitoredSession): void
  /** A whole UPDATE as it was received, that did not end the session; valid only during the call. */
  update(name: string, bytes: Uint8Array, start: number, end: number): void
  /** Whole messages, end to end, as they go to the peer: UPDATEs, BoRR and EoRR; not to be changed. Absent: they are not told. */
  sent?(name: string, bytes: Uint8Array): void
  /** The peer has sent its table again (RFC 7313 §4): routes that it left out are about to be removed. */
  refreshed(name: string, family: AddressFamily): void
  down(name: string, cause: SessionEnd): void
}
