// A first-in-first-out queue of small numbers that holds each number at most once: ids that changed.
import { widened } from './prefix-table.ts'

export class IdQueue {
  #ring = new Uint32Array(1024)
  #queued = new Uint8Array(1024)
  #head = 0
  #count = 0
  #taken = 0

  get size(): number {
    return this.#count
  }

  /** Number of ids ever taken out. When it reaches `taken + size` of now, everything queued now is out. */
  get taken(): number {
    return this.#taken
  }

  has(id: number): boolean {
    return this.#queued[id] === 1
  }

  push(id: number): void {
    if (id >= this.#queued.length) {
      let capacity = this.#queued.length
      while (capacity <= id) capacity *= 2
      this.#queued = widened(this.#queued, new Uint8Array(capacity))
    }
    if (this.#queued[id] === 1) return
    this.#queued[id] = 1
    if (this.#count === this.#ring.length) this.#grow()
    this.#ring[(this.#head + this.#count++) & (this.#ring.length - 1)] = id
  }

  /** The oldest id. Only when `size` is not 0. */
  shift(): number {
    const id = this.#ring[this.#head]!
    this.#head = (this.#head + 1) & (this.#ring.length - 1)
    this.#count--
    this.#taken++
    this.#queued[id] = 0
    // gives the memory back after a large burst
    if (this.#count === 0 && this.#ring.length > 1 << 16) {
      this.#ring = new Uint32Array(1024)
      this.#head = 0
    }
    return id
  }

  #grow(): void {
    const ring = new Uint32Array(this.#ring.length * 2)
    ring.set(this.#ring.subarray(this.#head))
    ring.set(this.#ring.subarray(0, this.#head), this.#ring.length - this.#head)
    this.#ring = ring
    this.#head = 0
  }
}
