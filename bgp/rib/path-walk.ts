// A walk over the paths of one address family for those with a number that changed (a next hop, a peer), in parts: one walk for
// all numbers that changed before it began. What changes during a walk is for the next one.
import type { PathTable } from './store/path-table.ts'

/** So many paths are looked at in the time of a decision. */
const LOOKS = 16

export class PathWalk {
  readonly #paths: PathTable
  readonly #numberOf: (slot: number) => number
  /** Numbers that the walk looks for from slot `#at` on. */
  #sought = new Set<number>()
  #at = 0
  /** Those that the next walk looks for. */
  #next = new Set<number>()

  constructor(paths: PathTable, numberOf: (slot: number) => number) {
    this.#paths = paths
    this.#numberOf = numberOf
  }

  /** Whether numbers changed whose paths are not all found. */
  get waiting(): boolean {
    return this.#sought.size + this.#next.size > 0
  }

  changed(number: number): void {
    this.#next.add(number)
  }

  /**
   * Walks for the time of `limit` decisions, and calls `found` with each path that has a number which changed, which takes the time
   * of `each` decisions. Returns the time that it took.
   */
  find(limit: number, each: number, found: (slot: number) => void): number {
    if (this.#sought.size === 0) {
      if (this.#next.size === 0) return 0
      this.#sought = this.#next
      this.#next = new Set()
      this.#at = 0
    }
    const paths = this.#paths
    const most = Math.max(1, limit) * LOOKS
    let looks = 0
    let slot = this.#at
    for (; slot < paths.end && looks < most; slot++, looks++)
      if (paths.holds(slot) && this.#sought.has(this.#numberOf(slot))) {
        found(slot)
        looks += each * LOOKS
      }
    this.#at = slot
    if (slot >= paths.end) this.#sought = new Set()
    return Math.ceil(looks / LOOKS)
  }
}
