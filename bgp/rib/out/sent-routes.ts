// Adj-RIB-Out of one export group (RFC 4271 §3.2): the set that was sent for each prefix id, or with ADD-PATH for each
// path's slot, and the peer whose route it is. That peer itself is not sent it.
import { widened } from '../store/prefix-table.ts'

export class SentRoutes {
  #sets = new Uint32Array(1024)
  #sources = new Uint16Array(1024)
  #count = 0
  /** Places by source. */
  #bySource = new Uint32Array(64)

  /** One more than the largest place that may hold a set. */
  get end(): number {
    return this.#sets.length
  }

  get isEmpty(): boolean {
    return this.#count === 0
  }

  /** The set sent for a place, any number; 0: none. */
  set(at: number): number {
    return this.#sets[at] ?? 0
  }

  /** Index of the peer whose route was sent. */
  source(at: number): number {
    return this.#sources[at] ?? 0
  }

  /** The set that `peer` was sent for a place; 0: none, or the route is its own. */
  setFor(peer: number, at: number): number {
    const set = this.#sets[at] ?? 0
    return set === 0 || this.#sources[at] === peer ? 0 : set
  }

  /** Places with a set that is not the peer's own route. */
  countFor(peer: number): number {
    return this.#count - (this.#bySource[peer] ?? 0)
  }

  /** Replaces what was sent for a place. */
  put(at: number, set: number, source: number): void {
    this.#fit(at)
    const had = this.#sets[at]!
    const from = this.#sources[at]!
    this.#sets[at] = set
    this.#sources[at] = source
    if (had !== 0 && set !== 0 && from === source) return
    if (had !== 0) this.#add(from, -1)
    if (set !== 0) this.#add(source, 1)
  }

  /** Forgets everything; `visit` is told each set once it is forgotten. */
  clear(visit: (at: number, set: number) => void): void {
    const sets = this.#sets
    this.#sets = new Uint32Array(0)
    this.#count = 0
    this.#bySource.fill(0)
    for (let at = 0; at < sets.length; at++) if (sets[at] !== 0) visit(at, sets[at]!)
  }

  #add(peer: number, by: number): void {
    this.#count += by
    if (peer >= this.#bySource.length) this.#bySource = widened(this.#bySource, new Uint32Array(peer * 2))
    this.#bySource[peer]! += by
  }

  #fit(at: number): void {
    if (at < this.#sets.length) return
    let capacity = Math.max(1024, this.#sets.length)
    while (capacity <= at) capacity *= 2
    this.#sets = widened(this.#sets, new Uint32Array(capacity))
    this.#sources = widened(this.#sources, new Uint16Array(capacity))
  }
}
