// Delays between retries.

/** Delays in milliseconds: the first, the ceiling, and a source of numbers in [0, 1) for the jitter. */
export type BackoffOptions = { firstMs: number; maxMs: number; random?: () => number }

/** Exponential delays with full jitter over their upper half, so that many clients do not retry at the same moment. */
export class Backoff {
  #failures = 0
  readonly #options: Required<BackoffOptions>

  constructor({ firstMs, maxMs, random = Math.random }: BackoffOptions) {
    this.#options = { firstMs, maxMs, random }
  }

  /** The next delay: between half of `firstMs * 2^n` and all of it, never above `maxMs`. */
  next(): number {
    const { firstMs, maxMs, random } = this.#options
    const ceiling = Math.min(maxMs, firstMs * 2 ** Math.min(this.#failures++, 30))
    return ceiling / 2 + (ceiling / 2) * random()
  }

  /** To be called after a success: the next delay is the first one again. */
  reset(): void {
    this.#failures = 0
  }
}
