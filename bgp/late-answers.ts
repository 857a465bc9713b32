// Answers to peers that ask for our routes, given once what was learned before stands where it belongs: who announced something
// and asks then knows by the answer that we have it (hearing.ts).
import type { Clock } from '../lib/clock.ts'

/** The longest that an answer waits for something that is not where it belongs. */
const SETTLE_MS = 5000

export type LateAnswersDeps = {
  clock: Clock
  /** Calls `then` once everything that was received is decided. */
  decided: (then: () => void) => void
  /** Resolves once what was decided stands where the speaker's routes go. Absent: answers are given at once. */
  settled: (() => Promise<unknown>) | undefined
}

export class LateAnswers {
  readonly #deps: LateAnswersDeps
  /** The last of each key: who asks often is answered once. */
  readonly #waiting = new Map<string, () => void>()
  #isLooking = false

  constructor(deps: LateAnswersDeps) {
    this.#deps = deps
  }

  give(key: string, answer: () => void): void {
    if (this.#deps.settled === undefined) answer()
    else {
      this.#waiting.set(key, answer)
      if (!this.#isLooking) this.#look()
    }
  }

  /** One look for all that wait; those that come meanwhile wait for the next one. */
  #look(): void {
    const { clock, decided, settled } = this.#deps
    this.#isLooking = true
    decided(async () => {
      const due = [...this.#waiting.values()]
      this.#waiting.clear()
      const late = Promise.withResolvers<void>()
      const cancel = clock.after(SETTLE_MS, late.resolve)
      // what is refused is told elsewhere, and another request would not cure it
      await Promise.race([settled?.().catch(() => undefined), late.promise])
      cancel()
      for (const answer of due) answer()
      this.#isLooking = false
      if (this.#waiting.size > 0) this.#look()
    })
  }
}
