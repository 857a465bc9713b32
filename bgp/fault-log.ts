// Logs what is wrong with peers' routes, at a limited rate: a hostile peer can send a million malformed attributes a second
// and must not fill a disk. The same text is logged once a minute.
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { RibEvent } from './rib/types.ts'

/** Lines per peer and window; more are counted, and the next window begins with their number. */
const LINES = 5
const WINDOW_MS = 60_000

type Window = { sinceMs: number; texts: Set<string>; silenced: number }

export class FaultLog {
  readonly #log: Log
  readonly #clock: Clock
  readonly #windows = new Map<string, Window>()

  constructor(log: Log, clock: Clock) {
    this.#log = log
    this.#clock = clock
  }

  /** Logs a fault, a prefix that is left out, a prefix count near its limit, or a route too long for a message; ignores other events. */
  note(event: RibEvent): void {
    if (event.type === 'end-of-rib' || event.type === 'stale-removed') return
    const nowMs = this.#clock.monotonicMs()
    let window = this.#windows.get(event.key)
    if (window === undefined || nowMs - window.sinceMs >= WINDOW_MS) {
      const silenced = window?.silenced ?? 0
      if (silenced > 0) this.#log.warn({ peer: event.key, silenced }, 'more of the same was not logged')
      window = { sinceMs: nowMs, texts: new Set(), silenced: 0 }
      this.#windows.set(event.key, window)
    }
    const { key: peer, type, ...rest } = event
    const text = JSON.stringify(rest)
    if (window.texts.size >= LINES || window.texts.has(text)) {
      window.silenced++
      return
    }
    window.texts.add(text)
    this.#log.warn({ peer, ...rest }, MESSAGE[type])
  }

  /** The peer was removed. */
  forget(key: string): void {
    this.#windows.delete(key)
  }
}

const MESSAGE = {
  fault: 'an UPDATE was wrong; the session goes on (RFC 7606)',
  'no-destination': 'nothing can be sent to this prefix; it is neither used nor passed on',
  'prefix-warning': 'the prefix limit comes near',
  'too-long': 'a route fits no message to this peer and is not announced to it',
} as const
