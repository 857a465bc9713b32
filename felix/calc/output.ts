// The wanted objects of one kind, and which of them changed since the last step.
import { isDeepStrictEqual } from 'node:util'

/** Most steps are about one kind of the ten. */
const NONE: ReadonlyMap<string, never> = new Map<string, never>()

export class Output<V> {
  readonly #wanted = new Map<string, V>()
  /** What a key had after the last step, for keys that were touched since. */
  readonly #before = new Map<string, V | undefined>()

  want(key: string, value: V | undefined): void {
    if (!this.#before.has(key)) this.#before.set(key, this.#wanted.get(key))
    if (value === undefined) this.#wanted.delete(key)
    else this.#wanted.set(key, value)
  }

  /** All wanted objects by key. */
  wanted(): ReadonlyMap<string, V> {
    return this.#wanted
  }

  /** The keys whose value changed since the last call, each with its value now. */
  take(): ReadonlyMap<string, V | undefined> {
    if (this.#before.size === 0) return NONE
    const changed = new Map<string, V | undefined>()
    for (const [key, before] of this.#before) {
      const now = this.#wanted.get(key)
      if (before === undefined || now === undefined ? before !== now : !isDeepStrictEqual(before, now))
        changed.set(key, now)
    }
    this.#before.clear()
    return changed
  }
}
