// Which routes were seen to go by a group of next hops.
import type { RouteWay } from './objects.ts'

export class RoutesByGroup {
  readonly #seen: () => ReadonlyMap<string, RouteWay>
  /** Of a group: one that went by it at the last look. */
  readonly #last = new Map<number, string>()

  constructor(seen: () => ReadonlyMap<string, RouteWay>) {
    this.#seen = seen
  }

  has(id: number | undefined): boolean {
    if (id === undefined) return false
    const seen = this.#seen()
    const last = this.#last.get(id)
    if (last !== undefined && seen.get(last)?.nextHopId === id) return true
    this.#last.delete(id)
    for (const [key, { nextHopId }] of seen)
      if (nextHopId === id) {
        this.#last.set(id, key)
        return true
      }
    return false
  }

  /** The keys of those by any of them. */
  keysOf(ids: ReadonlySet<number>): string[] {
    if (ids.size === 0) return []
    return [...this.#seen()].flatMap(([key, { nextHopId }]) =>
      nextHopId !== undefined && ids.has(nextHopId) ? [key] : [],
    )
  }
}
