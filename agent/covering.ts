// Which of some addresses lie in a prefix, at the cost of one look-up by text: of a million routes that come in, nearly none holds any.
import { prefixesOf } from '../lib/ip.ts'

export class Covering {
  /** By every prefix that holds an address: the keys of those addresses. */
  readonly #keys = new Map<string, Set<string>>()

  add(address: string, key: string): void {
    for (const prefix of prefixesOf(address)) {
      const there = this.#keys.get(prefix)
      if (there === undefined) this.#keys.set(prefix, new Set([key]))
      else there.add(key)
    }
  }

  delete(address: string, key: string): void {
    for (const prefix of prefixesOf(address)) {
      const there = this.#keys.get(prefix)
      there?.delete(key)
      if (there?.size === 0) this.#keys.delete(prefix)
    }
  }

  /** The keys of the addresses in a canonical prefix; undefined: there are none. */
  within(prefix: string): ReadonlySet<string> | undefined {
    return this.#keys.get(prefix)
  }
}
