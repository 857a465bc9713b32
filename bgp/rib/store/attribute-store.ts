// Attribute sets as small numbers: equal bytes of one owner have one id, with a count of references. All bytes are in one
// arena. A freed set leaves a gap; when the gaps are larger than the sets that are held, the arena is packed, so memory
// depends on the sets that are held now. Ids start at 1: zero means "no attributes" everywhere in the RIB. The ids of freed
// sets stay in the slots, where each is a cache miss away, until ids run out: then all are taken out in one pass.
import { hashBytes, newSeed, type Seed } from './hash.ts'
import { widened } from './prefix-table.ts'

/** When ids run out and fewer than one in so many are of freed sets, there are twice as many from then on. */
const FREED_SHARE = 8
/** With gaps of fewer octets the arena is never packed. */
const PACK_FLOOR = 1 << 20

export class AttributeStore {
  #arena = new Uint8Array(1 << 16)
  #used = 0
  #live = 0
  #offset = new Uint32Array(1024)
  #length = new Uint32Array(1024)
  #hash = new Int32Array(1024)
  #owner = new Uint32Array(1024)
  #refs = new Uint32Array(1024)
  #slots = new Int32Array(2048)
  #mask = 2047
  #size = 0
  /** First id in no slot; `#offset` leads to the other ones. 0: none. */
  #free = 0
  #next = 1
  readonly #seed: Seed = newSeed()
  readonly #freed: (id: number) => void

  /** `freed` is called with every id whose last reference was released; its bytes can still be read then. */
  constructor(freed: (id: number) => void) {
    this.#freed = freed
  }

  /** Where `offset(id)` points into. Replaced when the arena grows or is packed: read it again after every `intern`. */
  get arena(): Uint8Array {
    return this.#arena
  }

  /** Ids that arrays beside this store must have room for. */
  get capacity(): number {
    return this.#refs.length
  }

  /** Sets held. */
  get size(): number {
    return this.#size
  }

  /** Octets of the arena: held, and reserved. */
  get octets(): { live: number; reserved: number } {
    return { live: this.#live, reserved: this.#arena.length }
  }

  offset(id: number): number {
    return this.#offset[id]!
  }

  length(id: number): number {
    return this.#length[id]!
  }

  owner(id: number): number {
    return this.#owner[id]!
  }

  /** The octets of a set, as a view that is good until the next `intern`. */
  view(id: number): Uint8Array {
    const at = this.#offset[id]!
    return this.#arena.subarray(at, at + this.#length[id]!)
  }

  /** The id of `bytes[start..end)` for `owner`, with one more reference, which the caller releases. */
  intern(bytes: Uint8Array, start: number, end: number, owner: number): number {
    const hash = hashBytes(bytes, start, end, owner, this.#seed)
    const length = end - start
    const slots = this.#slots
    const mask = this.#mask
    let slot = hash & mask
    for (let id = slots[slot]!; id !== 0; slot = (slot + 1) & mask, id = slots[slot]!) {
      if (this.#hash[id] !== hash || this.#owner[id] !== owner || this.#length[id] !== length) continue
      if (!this.#same(this.#offset[id]!, bytes, start, length)) continue
      if (this.#refs[id]!++ === 0) this.#count(1, length)
      return id
    }
    return this.#add(bytes, start, length, hash, owner)
  }

  hold(id: number): void {
    this.#refs[id]!++
  }

  /** Gives one reference back. */
  release(id: number): void {
    if (--this.#refs[id]! > 0) return
    this.#freed(id)
    this.#count(-1, this.#length[id]!)
  }

  #count(sets: 1 | -1, octets: number): void {
    this.#size += sets
    this.#live += sets * octets
  }

  #same(at: number, bytes: Uint8Array, start: number, length: number): boolean {
    const arena = this.#arena
    for (let i = 0; i < length; i++) if (arena[at + i] !== bytes[start + i]) return false
    return true
  }

  #add(bytes: Uint8Array, start: number, length: number, hash: number, owner: number): number {
    if (this.#used + length > this.#arena.length) this.#makeRoom(length)
    const id = this.#take()
    const arena = this.#arena
    const at = this.#used
    if (length > 128) arena.set(bytes.subarray(start, start + length), at)
    else for (let i = 0; i < length; i++) arena[at + i] = bytes[start + i]!
    this.#used += length
    this.#offset[id] = at
    this.#length[id] = length
    this.#hash[id] = hash
    this.#owner[id] = owner
    this.#refs[id] = 1
    this.#count(1, length)
    this.#enter(id)
    return id
  }

  #take(): number {
    if (this.#free === 0 && this.#next === this.#refs.length) {
      const { length } = this.#refs
      if ((length - this.#size) * FREED_SHARE < length) this.#grow(length * 2)
      else this.#rebuild()
    }
    if (this.#free === 0) return this.#next++
    const id = this.#free
    this.#free = this.#offset[id]!
    return id
  }

  #enter(id: number): void {
    const slots = this.#slots
    const mask = this.#mask
    let slot = this.#hash[id]! & mask
    while (slots[slot] !== 0) slot = (slot + 1) & mask
    slots[slot] = id
  }

  #grow(capacity: number): void {
    this.#offset = widened(this.#offset, new Uint32Array(capacity))
    this.#length = widened(this.#length, new Uint32Array(capacity))
    this.#hash = widened(this.#hash, new Int32Array(capacity))
    this.#owner = widened(this.#owner, new Uint32Array(capacity))
    this.#refs = widened(this.#refs, new Uint32Array(capacity))
    this.#slots = new Int32Array(capacity * 2)
    this.#mask = capacity * 2 - 1
    this.#rebuild()
  }

  /** Leaves only the sets held in the slots: the other ids are free. */
  #rebuild(): void {
    this.#slots.fill(0)
    this.#free = 0
    for (let id = this.#next - 1; id > 0; id--) {
      if (this.#refs[id] !== 0) this.#enter(id)
      else {
        this.#offset[id] = this.#free
        this.#free = id
      }
    }
  }

  /** Packs into an arena that fits what lives plus `length` and half as much again. */
  #makeRoom(length: number): void {
    const gaps = this.#used - this.#live
    const need = this.#live + length
    const pack = gaps > PACK_FLOOR && gaps > this.#live
    const size = pack ? Math.max(1 << 16, need + (need >>> 1)) : Math.max(this.#arena.length, need + gaps) * 2
    const to = new Uint8Array(size)
    if (!pack) {
      to.set(this.#arena.subarray(0, this.#used))
      this.#arena = to
      return
    }
    // the octets of freed sets are lost
    this.#rebuild()
    let at = 0
    for (let id = 1; id < this.#next; id++) {
      if (this.#refs[id] === 0) continue
      to.set(this.view(id), at)
      this.#offset[id] = at
      at += this.#length[id]!
    }
    this.#arena = to
    this.#used = at
  }
}
