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
    const before = this.#namesOf(wantedBefore, seenBefore)
    const now = this.#namesOf(wantedNow, seenNow)
    // a key that stays is left alone: a set that loses and gets it again grows to twice its size
    for (const name of before) if (!now.includes(name)) this.#untrack(key, name)
    for (const name of now) if (!before.includes(name)) this.#track(key, name)
  }

  #namesOf(wanted: V | undefined, seen: V | undefined): (string | undefined)[] {
    const names = [this.#one(wanted), this.#one(seen)]
    for (const value of [wanted, seen]) for (const name of this.#several(value) ?? []) names.push(name)
    return names
  }

  #one(value: V | undefined): string | undefined {
    return value === undefined ? undefined : this.#names.interfaceOf(value)
  }

  #several(value: V | undefined): readonly string[] | undefined {
    return value === undefined ? undefined : this.#names.interfacesOf?.(value)
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
