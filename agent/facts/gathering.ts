// How facts are gathered: each for itself, so that one that the kernel refuses, or that takes too long, is told as absent and keeps no
// other one back.
import type { Fact, FactSource as Source } from '../../api/explain.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'

export class Gathering {
  readonly #clock: Clock
  readonly #made: { fact: Fact<unknown>; atMs: number }[] = []
  readonly #late = Promise.withResolvers<'late'>()
  readonly #budgetMs: number
  readonly #cancel: Cancel
  #isOver = false

  /** What is not there `budgetMs` from now is absent. */
  constructor(clock: Clock, budgetMs: number) {
    this.#clock = clock
    this.#budgetMs = budgetMs
    this.#cancel = clock.after(budgetMs, () => {
      this.#isOver = true
      this.#late.resolve('late')
    })
  }

  /** Whether nobody waits for facts any more: who gathers in many steps stops then. */
  get isOver(): boolean {
    return this.#isOver
  }

  async fact<T>(of: Source, read: () => Promise<T> | T): Promise<Fact<T>> {
    const atMs = this.#clock.monotonicMs()
    const fact = { of, ageMs: 0, ...(await this.#valueOf(read)) }
    this.#made.push({ fact, atMs })
    return fact
  }

  /** The same fact in other words; the fact itself is theirs from then on. */
  inWords<A, B>(fact: Fact<A>, words: (value: A) => B): Fact<B> {
    return 'absent' in fact ? fact : Object.assign(fact as object as Fact<B>, { value: words(fact.value) })
  }

  /** All is gathered: how old each fact is by now. */
  finish(): void {
    this.#cancel()
    this.#isOver = true
    const nowMs = this.#clock.monotonicMs()
    for (const { fact, atMs } of this.#made) fact.ageMs = Math.round(nowMs - atMs)
  }

  async #valueOf<T>(read: () => Promise<T> | T): Promise<{ value: T } | { absent: string }> {
    try {
      const asked = Promise.resolve(read()).then(value => ({ value }))
      const found = await Promise.race([asked, this.#late.promise])
      return found === 'late' ? { absent: `it took longer than ${this.#budgetMs / 1000} s` } : found
    } catch (error) {
      if (error instanceof KernelError) return { absent: error.message }
      throw error
    }
  }
}
