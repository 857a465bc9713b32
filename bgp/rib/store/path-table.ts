// Adj-RIB-In: every path of one family as six 32-bit words in one array, in a linked list per prefix. One path is one
// stretch of memory because the walk over a prefix's paths is what a full table spends its time on.
import { widened } from './prefix-table.ts'

/** Words per path, and what stands where. A path is named by its slot; its words start at `slot * STRIDE`. */
export const STRIDE = 6
export const PATH = {
  prefix: 0,
  /** Slot of the prefix's next path plus one; 0 ends the list. */
  next: 1,
  /** Index of the peer in the low 16 bits, `MARK`s above. */
  peer: 2,
  /** Path id as received (RFC 7911); 0 without ADD-PATH. */
  pathId: 3,
  /** Attribute set as received. */
  received: 4,
  /** Attribute set after import; 0 when the path may not be used. */
  accepted: 5,
} as const

export const MARK = {
  /** Kept over a restart of the peer and not announced again since (RFC 4724 §4.2). */
  stale: 1 << 16,
  /** Not announced again since the peer's BoRR (RFC 7313 §4). */
  unrefreshed: 1 << 17,
  /** Gone, but some ADD-PATH peer has yet to hear of it: the slot is its path id. */
  gone: 1 << 18,
  /** Long-lived stale (RFC 9494 §4.2). */
  longLived: 1 << 19,
} as const

export const PEER_MASK = 0xffff

export class PathTable {
  words = new Uint32Array(1024 * STRIDE)
  /** Per prefix id: slot of the first path plus one. */
  heads = new Uint32Array(1024)
  /** Slot of the first free path plus one; the others hang on its `next`. */
  #free = 0
  #freeCount = 0
  #next = 0

  /** One more than the largest slot in use or free. */
  get end(): number {
    return this.#next
  }

  /** Paths held. */
  get size(): number {
    return this.#next - this.#freeCount
  }

  /** The slot of a peer's path to a prefix, or -1. */
  find(prefix: number, peer: number, pathId: number): number {
    const { words } = this
    for (let link = this.heads[prefix]!; link !== 0; link = words[(link - 1) * STRIDE + PATH.next]!) {
      const at = (link - 1) * STRIDE
      const owner = words[at + PATH.peer]!
      if ((owner & PEER_MASK) === peer && words[at + PATH.pathId] === pathId && (owner & MARK.gone) === 0)
        return link - 1
    }
    return -1
  }

  /** A new path with no attributes, first in its prefix's list. */
  add(prefix: number, peer: number, pathId: number): number {
    const slot = this.#take()
    const at = slot * STRIDE
    const { words } = this
    words[at + PATH.prefix] = prefix
    words[at + PATH.next] = this.heads[prefix]!
    words[at + PATH.peer] = peer
    words[at + PATH.pathId] = pathId
    words[at + PATH.received] = 0
    words[at + PATH.accepted] = 0
    this.heads[prefix] = slot + 1
    return slot
  }

  /** Takes a path out of its list; its slot may become another path. */
  remove(slot: number): void {
    const { words } = this
    const next = words[slot * STRIDE + PATH.next]!
    const prefix = words[slot * STRIDE + PATH.prefix]!
    if (this.heads[prefix] === slot + 1) this.heads[prefix] = next
    else {
      let at = (this.heads[prefix]! - 1) * STRIDE
      while (words[at + PATH.next] !== slot + 1) at = (words[at + PATH.next]! - 1) * STRIDE
      words[at + PATH.next] = next
    }
    words[slot * STRIDE + PATH.peer] = NOBODY
    words[slot * STRIDE + PATH.next] = this.#free
    this.#free = slot + 1
    this.#freeCount++
  }

  /** Whether a slot below `end` holds a path. */
  holds(slot: number): boolean {
    return this.words[slot * STRIDE + PATH.peer] !== NOBODY
  }

  #take(): number {
    const slot = this.#free - 1
    if (slot >= 0) {
      this.#free = this.words[slot * STRIDE + PATH.next]!
      this.#freeCount--
      return slot
    }
    if (this.#next * STRIDE >= this.words.length)
      this.words = widened(this.words, new Uint32Array(this.words.length * 2))
    return this.#next++
  }

  /** Makes room for prefix ids below `capacity`. */
  fit(capacity: number): void {
    if (capacity > this.heads.length) this.heads = widened(this.heads, new Uint32Array(capacity))
  }
}

const NOBODY = 0xffffffff
