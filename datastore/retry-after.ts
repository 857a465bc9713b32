// Pauses that a server asks for (Retry-After, RFC 9110 §10.2.3): an API server that sheds load gives one with 429 and 503, a proxy
// before it too. Until then such a request is answered here, with what the server said; others are sent, since Kubernetes sheds
// by flows. Those who asked come back each at a time of its own: their pauses between attempts have jitter.
import type { Clock } from '../lib/clock.ts'
import type { Unreachable } from './port.ts'

/** A server that asks for more is asked after so long all the same: a wrong header must not part a node from its cluster. */
const MOST_PAUSE_MS = 600_000

export class RetryAfter {
  readonly #clock: Clock
  readonly #pauses = new Map<string, { untilMs: number; refusal: Unreachable }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Throws what the server said last to an attempt (`list pods`) while the pause that it asked for lasts. */
  check(attempt: string): void {
    const pause = this.#pauses.get(attempt)
    if (pause === undefined) return
    if (pause.untilMs > this.#clock.monotonicMs()) throw pause.refusal
    this.#pauses.delete(attempt)
  }

  /** The server refused an attempt. `header`: seconds, or a date; anything else asks for nothing. */
  refused(attempt: string, refusal: Unreachable, header: string | undefined): void {
    const pauseMs = Math.min(this.#msOf(header), MOST_PAUSE_MS)
    if (pauseMs > 0) this.#pauses.set(attempt, { untilMs: this.#clock.monotonicMs() + pauseMs, refusal })
  }

  #msOf(header = ''): number {
    if (/^\d+$/.test(header)) return Number(header) * 1000
    return Date.parse(header) - this.#clock.wallMs() || 0
  }
}
