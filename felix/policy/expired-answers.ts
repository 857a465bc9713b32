// What pods were told of names and does not count any more: connections that began while it did go on, so whoever asks about
// those asks here too. Kept by pairs of a pod's address with one that it was told, since there are many of each.
import type { DomainAnswer } from './model.ts'
import { addTo, removeFrom } from './multi-map.ts'
import { NamePatterns } from './name-patterns.ts'
import { pairsOf } from './sources.ts'

export class ExpiredAnswers {
  /** The names under which the pods were told. */
  readonly #names = new Map<string, Set<string>>()
  readonly #known = new Map<string, { name: string; pairs: readonly string[] }>()

  set(key: string, answer: DomainAnswer | undefined): void {
    const before = this.#known.get(key)
    for (const pair of before?.pairs ?? []) removeFrom(this.#names, pair, before!.name)
    this.#known.delete(key)
    if (answer === undefined || answer.expired.length === 0) return
    const { from, name, expired } = answer
    const pairs = pairsOf(from, expired)
    this.#known.set(key, { name, pairs })
    for (const pair of pairs) addTo(this.#names, pair, name)
  }

  /** Whether a pod (`SADDR . DADDR`) was told the address for a name of this pattern. */
  has(pattern: string, pair: string): boolean {
    const names = this.#names.get(pair)
    if (names === undefined) return false
    const patterns = new NamePatterns([pattern])
    return [...names].some(name => patterns.match(name))
  }
}
