// How many passes touched the kernel, how long they took, and in how many of them it refused something: for metrics.
import type { Clock } from '../lib/clock.ts'

export class PassNumbers {
  readonly #clock: Clock
  #count = 0
  #ms = 0
  #failures = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get now(): { count: number; seconds: number; failures: number } {
    return { count: this.#count, seconds: this.#ms / 1000, failures: this.#failures }
  }

  /** Does one pass, and counts it when it is over, also when it rejects. */
  async measure<T extends { refused: readonly unknown[] }>(pass: () => Promise<T>): Promise<T> {
    const beganMs = this.#clock.monotonicMs()
    let failed = true
    try {
      const outcome = await pass()
      failed = outcome.refused.length > 0
      return outcome
    } finally {
      this.#count++
      this.#ms += this.#clock.monotonicMs() - beganMs
      if (failed) this.#failures++
    }
  }
}
