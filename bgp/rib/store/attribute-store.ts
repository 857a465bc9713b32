// Attribute sets as small numbers: equal bytes of one owner have one id, with a count of references. All bytes are in one
// arena. A freed set leaves a gap; when the gaps are larger than the sets that are held, the arena is packed, so memory
// depends on the sets that are held now. Ids start at 1: zero means "no attributes" everywhere in the RIB.
import { hashBytes, newSeed, type Seed } from './hash.ts'
import { widened } from './prefix-table.ts'

/** A slot whose set was freed: a search goes on to the next slot. */
const GONE = -1
/** One slot in so many may be `GONE`. */
const GONE_SHARE = 8
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
  /** Slots that are `GONE`. */
  #gone = 0
  #free: number[] = []
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
    return this.#next - 1 - this.#free.length
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
      if (id === GONE || this.#hash[id] !== hash || this.#owner[id] !== owner || this.#length[id] !== length) continue
      if (!this.#same(this.#offset[id]!, bytes, start, length)) continue
      this.#refs[id]!++
      return id
    }
    return this.#add(bytes, start, length, hash, owner, slot)
  }

  hold(id: number): void {
    this.#refs[id]!++
  }

  /** Gives one reference back. */
  release(id: number): void {
    if (--this.#refs[id]! > 0) return
    this.#freed(id)
    this.#unlink(id)
    this.#live -= this.#length[id]!
    this.#free.push(id)
  }

  #same(at: number, bytes: Uint8Array, start: number, length: number): boolean {
    const arena = this.#arena
    for (let i = 0; i < length; i++) if (arena[at + i] !== bytes[start + i]) return false
    return true
  }

  #add(bytes: Uint8Array, start: number, length: number, hash: number, owner: number, slot: number): number {
    if (this.#used + length > this.#arena.length) this.#makeRoom(length)
    const id = this.#free.pop() ?? this.#next++
    if (id >= this.#refs.length) {
      this.#grow()
      slot = hash & this.#mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask
    }
    const arena = this.#arena
    const at = this.#used
    if (length > 128) arena.set(bytes.subarray(start, start + length), at)
    else for (let i = 0; i < length; i++) arena[at + i] = bytes[start + i]!
    this.#used += length
    this.#live += length
    this.#offset[id] = at
    this.#length[id] = length
    this.#hash[id] = hash
    this.#owner[id] = owner
    this.#refs[id] = 1
    this.#slots[slot] = id
    return id
  }

  #unlink(id: number): void {
    const slots = this.#slots
    const mask = this.#mask
    let at = this.#hash[id]! & mask
    while (slots[at] !== id) at = (at + 1) & mask
    slots[at] = GONE
    this.#gone++
    // before an empty slot no mark is needed: every search ends there anyway
    if (slots[(at + 1) & mask] === 0)
      for (; slots[at] === GONE; at = (at - 1) & mask) {
        slots[at] = 0
        this.#gone--
      }
    if (this.#gone * GONE_SHARE > slots.length) this.#rebuild(slots.length)
  }

  #grow(): void {
    const capacity = this.#refs.length * 2
    this.#offset = widened(this.#offset, new Uint32Array(capacity))
    this.#length = widened(this.#length, new Uint32Array(capacity))
    this.#hash = widened(this.#hash, new Int32Array(capacity))
    this.#owner = widened(this.#owner, new Uint32Array(capacity))
    this.#refs = widened(this.#refs, new Uint32Array(capacity))
    this.#rebuild(capacity * 2)
  }

  /** Enters every set held into so many slots. */
  #rebuild(slots: number): void {
    this.#slots = slots === this.#slots.length ? this.#slots.fill(0) : new Int32Array(slots)
    this.#mask = slots - 1
    this.#gone = 0
    for (let id = 1; id < this.#next; id++) {
      if (this.#refs[id] === 0) continue
      let slot = this.#hash[id]! & this.#mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask
      this.#slots[slot] = id
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
