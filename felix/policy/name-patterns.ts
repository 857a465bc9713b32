// Patterns of names of domains, `example.com` and `*.example.com`, which is every name of one label or more before it. Pure.

export class NamePatterns {
  readonly #names = new Set<string>()
  /** What a name must end with, without the first dot. */
  readonly #ends = new Set<string>()

  /** `patterns` are in lower case, without a dot at the end. */
  constructor(patterns: Iterable<string>) {
    for (const pattern of patterns) {
      if (pattern.startsWith('*.')) this.#ends.add(pattern.slice(2))
      else this.#names.add(pattern)
    }
  }

  /** Whether a name is of one of the patterns. It takes as long as the name has labels, however many patterns there are. */
  match(name: string): boolean {
    if (this.#names.has(name)) return true
    if (this.#ends.size === 0) return false
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1))
      if (this.#ends.has(name.slice(dot + 1))) return true
    return false
  }
}
