// Mutual exclusion by key for asynchronous work within one process.

/** Runs bodies with the same key one after another, in the order of the calls; different keys do not wait. */
export class KeyedMutex {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Settles as `body` does; a body that throws does not stop the ones behind it. */
  run<T>(key: string, body: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve()
    const mine = before.then(body, body)
    const leave = (): void => {
      if (this.#last.get(key) === mine) this.#last.delete(key)
    }
    this.#last.set(key, mine)
    mine.then(leave, leave)
    return mine
  }

  /** Resolves when nothing runs or waits. */
  async idle(): Promise<void> {
    while (this.#last.size > 0) await Promise.allSettled(this.#last.values())
  }
}
