// The wanted and the seen state of a reconciler, and the difference between them. Pure; works for values of any kind.

/** One step towards what is wanted: `value` absent means remove `key`. */
export type Change<V> = { key: string; value?: V; seen?: V }

/**
 * Two maps and the difference between them, kept as both change. The cost of `pending` is that of the difference,
 * not of the maps.
 */
export class Delta<V> {
  readonly #same: (a: V, b: V, key: string) => boolean
  readonly #wanted = new Map<string, V>()
  readonly #seen = new Map<string, V>()
  /** Keys to write, and to remove. */
  readonly #puts = new Set<string>()
  readonly #removals = new Set<string>()

  constructor(same: (a: V, b: V, key: string) => boolean) {
    this.#same = same
  }

  /** Wants `key` to be `value`, or to be gone. */
  want(key: string, value?: V): void {
    if (value === undefined) this.#wanted.delete(key)
    else this.#wanted.set(key, value)
    this.#check(key)
  }

  /** Records what is there under `key` now, or that nothing is. */
  saw(key: string, value?: V): void {
    if (value === undefined) this.#seen.delete(key)
    else this.#seen.set(key, value)
    this.#check(key)
  }

  /** Replaces everything that was seen by a new dump. */
  resync(entries: Iterable<readonly [string, V]>): void {
    this.#seen.clear()
    for (const [key, value] of entries) this.#seen.set(key, value)
    this.#puts.clear()
    this.#removals.clear()
    for (const key of this.#wanted.keys()) this.#check(key)
    for (const key of this.#seen.keys()) this.#check(key)
  }

  /** What counts as the same of this key may have changed. */
  checkAgain(key: string): void {
    this.#check(key)
  }

  /**
   * What is left to do, removals last: what replaces an object is there before that goes. It may be taken bit by bit while both
   * maps change: each key that was left at the beginning comes once at most, as it is then.
   */
  *pending(): Generator<Change<V>> {
    const removals = [...this.#removals]
    for (const key of [...this.#puts])
      if (this.#puts.has(key)) yield { key, value: this.#wanted.get(key)!, seen: this.#seen.get(key) }
      else if (this.#removals.has(key)) removals.push(key)
    for (const key of removals) if (this.#removals.has(key)) yield { key, seen: this.#seen.get(key) }
  }

  get inSync(): boolean {
    return this.#puts.size + this.#removals.size === 0
  }

  wanted(): ReadonlyMap<string, V> {
    return this.#wanted
  }

  seen(): ReadonlyMap<string, V> {
    return this.#seen
  }

  #check(key: string): void {
    const wanted = this.#wanted.get(key)
    const seen = this.#seen.get(key)
    const same = wanted === seen || (wanted !== undefined && seen !== undefined && this.#same(wanted, seen, key))
    set(this.#puts, key, !same && wanted !== undefined)
    set(this.#removals, key, !same && wanted === undefined)
  }
}

function set(keys: Set<string>, key: string, isIn: boolean): void {
  if (isIn) keys.add(key)
  else keys.delete(key)
}
