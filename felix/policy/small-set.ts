// A set that mostly has few members. Below some size it is an array that is exactly as long, for a tenth of a Set's memory.

/** Above this many members a Set is faster. */
const FEW = 16

export class SmallSet<T> {
  #members: readonly T[] | Set<T> = []

  get size(): number {
    return this.#members instanceof Set ? this.#members.size : this.#members.length
  }

  add(value: T): void {
    if (this.#members instanceof Set) this.#members.add(value)
    else if (!this.#members.includes(value)) {
      // push() would reserve room for 17
      const more = this.#members.concat([value])
      this.#members = more.length > FEW ? new Set(more) : more
    }
  }

  delete(value: T): void {
    if (this.#members instanceof Set) this.#members.delete(value)
    else if (this.#members.includes(value)) this.#members = this.#members.toSpliced(this.#members.indexOf(value), 1)
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#members[Symbol.iterator]()
  }
}
