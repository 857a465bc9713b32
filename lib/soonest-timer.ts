// A timer for work that is asked for from many sides, each of which can wait for some time.
import type { Cancel, Clock } from './clock.ts'

/** Fires once for all that was asked since it last fired, at the soonest time of all. */
export class SoonestTimer {
  readonly #clock: Clock
  readonly #fire: () => void
  #timer: { atMs: number; cancel: Cancel } | undefined

  constructor(clock: Clock, fire: () => void) {
    this.#clock = clock
    this.#fire = fire
  }

  /** It fires in `delayMs` at the latest. */
  within(delayMs: number): void {
    const atMs = this.#clock.monotonicMs() + delayMs
    if (this.#timer !== undefined) {
      if (this.#timer.atMs <= atMs) return
      this.#timer.cancel()
    }
    const cancel = this.#clock.after(delayMs, () => {
      this.#timer = undefined
      this.#fire()
    })
    this.#timer = { atMs, cancel }
  }

  /** Forgets what was asked. */
  cancel(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}
