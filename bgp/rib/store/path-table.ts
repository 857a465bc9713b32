// Every path of one family (Adj-RIB-In, RFC 4271 §3.2) as six 32-bit words in one array, in a linked list per prefix. One
// path is one piece of memory, because a full table spends most of its time walking over the paths of a prefix. A path is
// named by its slot; only this file knows the layout of its words.
import { widened } from './prefix-table.ts'

/** Words per path, and what stands in each. */
const STRIDE = 6
const PREFIX = 0
/** Slot of the prefix's next path plus one; 0 ends the list. */
const NEXT = 1
/** Index of the peer in the low 16 bits, `MARK`s above. */
const OWNER = 2
const PATH_ID = 3
const RECEIVED = 4
const ACCEPTED = 5

/** Marks of a path. */
export const MARK = {
  /** Kept over a restart of the peer and not announced again since (RFC 4724 §4.2). */
  stale: 1 << 16,
  /** Not announced again since the peer's BoRR (RFC 7313 §4). */
  unrefreshed: 1 << 17,
  /** Withdrawn, but some ADD-PATH peer has yet to be told: the slot is still its path id. */
  gone: 1 << 18,
  /** Long-lived stale (RFC 9494 §4.2). */
  longLived: 1 << 19,
} as const

/** Largest index of a peer. */
export const MAX_PEER = 0xffff
/** Owner of a slot that holds no path. */
const NOBODY = 0xffffffff

export class PathTable {
  #words = new Uint32Array(1024 * STRIDE)
  /** Per prefix id: slot of the first path plus one. */
  #heads = new Uint32Array(1024)
  /** Slot of the first free path plus one; its `NEXT` leads to the other free ones. */
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

  /** Slot of a prefix's first path, or -1. Walk on with `next`. */
  first(prefix: number): number {
    return this.#heads[prefix]! - 1
  }

  /** Slot of the path after this one in its prefix's list, or -1. */
  next(slot: number): number {
    return this.#words[slot * STRIDE + NEXT]! - 1
  }

  prefix(slot: number): number {
    return this.#words[slot * STRIDE + PREFIX]!
  }

  /** Index of the peer that a path came from. */
  peer(slot: number): number {
    return this.#words[slot * STRIDE + OWNER]! & MAX_PEER
  }

  /** `MARK`s of a path. */
  marks(slot: number): number {
    return this.#words[slot * STRIDE + OWNER]! & ~MAX_PEER
  }

  /** Path id as received (RFC 7911); 0 without ADD-PATH. */
  pathId(slot: number): number {
    return this.#words[slot * STRIDE + PATH_ID]!
  }

  /** Attribute set as received; 0 when the path is gone. */
  received(slot: number): number {
    return this.#words[slot * STRIDE + RECEIVED]!
  }

  /** Attribute set after import; 0 when the path may not be used. */
  accepted(slot: number): number {
    return this.#words[slot * STRIDE + ACCEPTED]!
  }

  setReceived(slot: number, set: number): void {
    this.#words[slot * STRIDE + RECEIVED] = set
  }

  setAccepted(slot: number, set: number): void {
    this.#words[slot * STRIDE + ACCEPTED] = set
  }

  addMarks(slot: number, marks: number): void {
    this.#words[slot * STRIDE + OWNER]! |= marks
  }

  clearMarks(slot: number): void {
    this.#words[slot * STRIDE + OWNER]! &= MAX_PEER
  }

  /** The slot of a peer's path to a prefix, or -1. */
  find(prefix: number, peer: number, pathId: number): number {
    const words = this.#words
    for (let link = this.#heads[prefix]!; link !== 0; link = words[(link - 1) * STRIDE + NEXT]!) {
      const at = (link - 1) * STRIDE
      const owner = words[at + OWNER]!
      if ((owner & MAX_PEER) === peer && words[at + PATH_ID] === pathId && (owner & MARK.gone) === 0) return link - 1
    }
    return -1
  }

  /** A new path with no attributes, first in its prefix's list. */
  add(prefix: number, peer: number, pathId: number): number {
    const slot = this.#take()
    const at = slot * STRIDE
    const words = this.#words
    words[at + PREFIX] = prefix
    words[at + NEXT] = this.#heads[prefix]!
    words[at + OWNER] = peer
    words[at + PATH_ID] = pathId
    words[at + RECEIVED] = 0
    words[at + ACCEPTED] = 0
    this.#heads[prefix] = slot + 1
    return slot
  }

  /** Takes a path out of its list; its slot may become another path. */
  remove(slot: number): void {
    const words = this.#words
    const next = words[slot * STRIDE + NEXT]!
    const prefix = words[slot * STRIDE + PREFIX]!
    if (this.#heads[prefix] === slot + 1) this.#heads[prefix] = next
    else {
      let at = (this.#heads[prefix]! - 1) * STRIDE
      while (words[at + NEXT] !== slot + 1) at = (words[at + NEXT]! - 1) * STRIDE
      words[at + NEXT] = next
    }
    words[slot * STRIDE + OWNER] = NOBODY
    words[slot * STRIDE + NEXT] = this.#free
    this.#free = slot + 1
    this.#freeCount++
  }

  /** Whether a slot below `end` holds a path. */
  holds(slot: number): boolean {
    return this.#words[slot * STRIDE + OWNER] !== NOBODY
  }

  /** Makes room for prefix ids below `capacity`. */
  fit(capacity: number): void {
    if (capacity > this.#heads.length) this.#heads = widened(this.#heads, new Uint32Array(capacity))
  }

  #take(): number {
    const slot = this.#free - 1
    if (slot >= 0) {
      this.#free = this.#words[slot * STRIDE + NEXT]!
      this.#freeCount--
      return slot
    }
    if (this.#next * STRIDE >= this.#words.length)
      this.#words = widened(this.#words, new Uint32Array(this.#words.length * 2))
    return this.#next++
  }
}
