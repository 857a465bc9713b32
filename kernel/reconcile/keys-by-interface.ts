// Which keys are wanted or were seen on each interface: what happens to a link concerns those objects alone. Pure.

type Interfaces<V> = {
  interfaceOf(value: V): string | undefined
  interfacesOf?(value: V): readonly string[] | undefined
}

export class KeysByInterface<V> {
  readonly #names: Interfaces<V>
  readonly #keys = new Map<string, Set<string>>()

  constructor(names: Interfaces<V>) {
    this.#names = names
  }

  of(interfaceName: string): ReadonlySet<string> | undefined {
    return this.#keys.get(interfaceName)
  }

  isOn(value: V | undefined, interfaceName: string): boolean {
    if (value === undefined) return false
    return this.#several(value)?.includes(interfaceName) ?? this.#one(value) === interfaceName
  }

  clear(): void {
    this.#keys.clear()
  }

  add(key: string, value: V): void {
    this.#track(key, this.#one(value))
    for (const name of this.#several(value) ?? []) this.#track(key, name)
  }

  /** What was wanted and seen under a key is something else now. */
  changed(
    key: string,
    wantedBefore: V | undefined,
    seenBefore: V | undefined,
    wantedNow: V | undefined,
    seenNow: V | undefined,
  ): void {
    const [one, two] = [this.#one(wantedBefore), this.#one(seenBefore)]
    const [three, four] = [this.#one(wantedNow), this.#one(seenNow)]
    if (one !== three && one !== four) this.#untrack(key, one)
    if (two !== three && two !== four) this.#untrack(key, two)
    const before = this.#severalOf(wantedBefore, seenBefore)
    if (before !== undefined) for (const name of before) this.#untrack(key, name)
    // after what an object on several interfaces had is gone: the ones that stay come back here
    if (before !== undefined || (three !== one && three !== two)) this.#track(key, three)
    if (before !== undefined || (four !== one && four !== two)) this.#track(key, four)
    for (const name of this.#severalOf(wantedNow, seenNow) ?? []) this.#track(key, name)
  }

  #one(value: V | undefined): string | undefined {
    return value === undefined ? undefined : this.#names.interfaceOf(value)
  }

  #several(value: V | undefined): readonly string[] | undefined {
    return value === undefined ? undefined : this.#names.interfacesOf?.(value)
  }

  #severalOf(wanted: V | undefined, seen: V | undefined): readonly string[] | undefined {
    const [some, others] = [this.#several(wanted), this.#several(seen)]
    return some === undefined ? others : others === undefined ? some : [...some, ...others]
  }

  #track(key: string, interfaceName: string | undefined): void {
    if (interfaceName === undefined) return
    const keys = this.#keys.get(interfaceName)
    if (keys === undefined) this.#keys.set(interfaceName, new Set([key]))
    else keys.add(key)
  }

  #untrack(key: string, interfaceName: string | undefined): void {
    if (interfaceName === undefined) return
    const keys = this.#keys.get(interfaceName)
    keys?.delete(key)
    if (keys?.size === 0) this.#keys.delete(interfaceName)
  }
}
