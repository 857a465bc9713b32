// What a monitor (BMP, RFC 7854) sees of a speaker's sessions: values and one port. A watcher is called in the middle of
// a session's work, so it must neither throw nor take long.
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
  /** An UPDATE that cost no session, a whole message as it was received, valid only during the call. */
  update(name: string, bytes: Uint8Array, start: number, end: number): void
  /** The peer sent its table again and this is the end (RFC 7313 §4): what it left out is about to go. */
  refreshed(name: string, family: AddressFamily): void
  down(name: string, cause: SessionEnd): void
}
