// Differences that wait for the kernel. After a start and when BGP converges there are many at once, and a pod must not
// wait for all of them: what concerns pods is handed on at once, the entries and routes of the rest in slices. Each slice
// is twice as large as the one before, since every pass reads back what it wrote: many small passes would cost more.
import type { NamedFdbEntry, NamedNeighbour, NamedRoute } from '../kernel/reconcile/objects.ts'
import type { Differences } from './desired.ts'

type Changes<V> = ReadonlyMap<string, V | undefined>

export class Backlog {
  readonly #ownsInterface: (name: string) => boolean
  readonly #firstSlice: number
  #slice: number
  readonly #neighbours = new Map<string, NamedNeighbour | undefined>()
  readonly #fdb = new Map<string, NamedFdbEntry | undefined>()
  readonly #routes = new Map<string, NamedRoute | undefined>()

  /** `ownsInterface`: whether an interface is that of a pod. `slice`: how many entries and routes the first slice has. */
  constructor(ownsInterface: (name: string) => boolean, slice: number) {
    this.#ownsInterface = ownsInterface
    this.#firstSlice = slice
    this.#slice = slice
  }

  get isEmpty(): boolean {
    return this.#neighbours.size + this.#fdb.size + this.#routes.size === 0
  }

  /**
   * Takes `differences` in and hands on what is next: all of the kinds that are few, all that is wanted on pods'
   * interfaces, and of the rest a slice or everything. Entries come before the routes that need them.
   */
  next(differences: Differences, rest: 'slice' | 'all'): Differences {
    let room = rest === 'all' ? Number.POSITIVE_INFINITY : this.#slice
    const take = <V extends { interfaceName?: string }>(waiting: Map<string, V | undefined>, changes: Changes<V>) => {
      const taken = new Map<string, V | undefined>()
      for (const [key, value] of changes) {
        // moved to the end of the queue or handed on: what waited for this key is out of date
        waiting.delete(key)
        if (value?.interfaceName !== undefined && this.#ownsInterface(value.interfaceName)) taken.set(key, value)
        else waiting.set(key, value)
      }
      for (const [key, value] of waiting) {
        if (room <= 0) break
        room--
        waiting.delete(key)
        taken.set(key, value)
      }
      return taken
    }
    const neighbour = take(this.#neighbours, differences.neighbour)
    const fdb = take(this.#fdb, differences.fdb)
    const route = take(this.#routes, differences.route)
    this.#slice = this.isEmpty ? this.#firstSlice : this.#slice * 2
    return { ...differences, neighbour, fdb, route }
  }
}
