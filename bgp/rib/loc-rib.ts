// The Loc-RIB of one family (RFC 4271 §3.2) for those who watch it (RFC 9069): how large it is, and feeds of what is selected.
// A feed walks the table, then tells what changed since: it keeps the prefixes that changed and not their messages, so that
// one that is read slowly costs memory by prefix, and what changes often is told as it is when it is read.
import { Writer } from '../../lib/bytes.ts'
import type { AddressFamily } from '../family.ts'
import { type Feed, type Follower, morePrefixes } from './feed.ts'
import { Batch } from './out/batch.ts'
import { UpdatePacker } from './out/update-packer.ts'
import { withUnspecifiedNextHop } from './own-networks.ts'
import { emitSet, parseSet, SET_ROOM } from './store/attribute-set.ts'
import type { AttributeStore } from './store/attribute-store.ts'
import { IdQueue } from './store/id-queue.ts'
import type { PrefixTable } from './store/prefix-table.ts'

/** What is selected, written as UPDATEs with four-octet AS numbers and without path ids: the best path of each prefix. */
export type LocRibFeed = Feed<Uint8Array>

/** Prefixes looked at in one step. */
const SLICE = 4096

type LocRibTable = {
  readonly family: AddressFamily
  readonly prefixes: PrefixTable
  /** Selected set per prefix id. */
  readonly best: Uint32Array
  readonly store: AttributeStore
  /** Index of the peer a stored set came from; 0: a network of our own. */
  peerOf(set: number): number
  /** Frees the id of a prefix that nothing refers to any more. */
  releaseUnused(prefix: number): void
}

export class LocRib {
  /** Prefixes for which a route is selected. */
  size = 0
  readonly #feeds: TableFeed[] = []

  /** Another set was selected for a prefix; 0: none. */
  changed(prefix: number, before: number, now: number): void {
    if (before === 0) this.size++
    if (now === 0) this.size--
    for (let i = 0; i < this.#feeds.length; i++) this.#feeds[i]!.changed(prefix)
  }

  /** Whether a feed still needs the id of a prefix. */
  holds(prefix: number): boolean {
    for (let i = 0; i < this.#feeds.length; i++) if (this.#feeds[i]!.holds(prefix)) return true
    return false
  }

  follow(table: LocRibTable, follower: Follower): LocRibFeed {
    const feed = new TableFeed(table, follower)
    this.#feeds.push(feed)
    return {
      get complete() {
        return feed.complete
      },
      take: () => feed.take(),
      close: () => {
        const at = this.#feeds.indexOf(feed)
        if (at >= 0) this.#feeds.splice(at, 1)
        feed.drain()
      },
    }
  }
}

class TableFeed {
  readonly #table: LocRibTable
  readonly #follower: Follower
  /** What changed behind the walk. */
  readonly #queue = new IdQueue()
  /** The walk: the next prefix id, and the end of the table when it began. */
  #at = 0
  readonly #end: number
  #idle = false
  #overflowed = false
  readonly #batch = new Batch()
  readonly #scratch = new Uint8Array(SET_ROOM)
  readonly #short: UpdatePacker
  /** For sets that are too long for an ordinary message (RFC 8654). */
  readonly #long: UpdatePacker
  complete = false

  constructor(table: LocRibTable, follower: Follower) {
    const { prefixes, family } = table
    this.#table = table
    this.#follower = follower
    this.#end = prefixes.end
    this.#short = new UpdatePacker(prefixes, { family, addPath: false, extended: false })
    this.#long = new UpdatePacker(prefixes, { family, addPath: false, extended: true })
  }

  holds(prefix: number): boolean {
    return this.#queue.has(prefix)
  }

  changed(prefix: number): void {
    // the walk comes to it
    if (prefix >= this.#at && prefix < this.#end) return
    this.#queue.push(prefix)
    if (this.#queue.size > this.#follower.most && !this.#overflowed) {
      this.#overflowed = true
      this.#follower.overflowed(morePrefixes(this.#follower.most))
    }
    if (!this.#idle) return
    this.#idle = false
    this.#follower.wake()
  }

  take(): Uint8Array | undefined {
    if (this.complete && this.#queue.size === 0) {
      this.#idle = true
      return undefined
    }
    const { best } = this.#table
    const batch = this.#batch
    const gone: number[] = []
    batch.reset()
    if (this.complete)
      for (let n = Math.min(SLICE, this.#queue.size); n > 0; n--) {
        const prefix = this.#queue.shift()
        batch.announce(prefix, 0, best[prefix]!, 0)
        if (best[prefix] === 0) gone.push(prefix)
      }
    else
      for (const stop = Math.min(this.#end, this.#at + SLICE); this.#at < stop; this.#at++)
        if (best[this.#at] !== 0) batch.announce(this.#at, 0, best[this.#at]!, 0)
    this.#pack()
    if (!this.complete && this.#at >= this.#end) {
      this.complete = true
      this.#short.endOfRib()
    }
    const [{ bytes: long }, { bytes: short }] = [this.#long.take(), this.#short.take()]
    for (const prefix of gone) this.#table.releaseUnused(prefix)
    if (long.length === 0) return short
    // the long ones first: End-of-RIB is the last message of the walk
    const both = new Uint8Array(long.length + short.length)
    both.set(long)
    both.set(short, long.length)
    return both
  }

  /** Gives up what was not taken. */
  drain(): void {
    while (this.#queue.size > 0) this.#table.releaseUnused(this.#queue.shift())
  }

  #pack(): void {
    const { store } = this.#table
    let packer = this.#short
    this.#batch.each(0, store.capacity, {
      set: set => {
        packer = this.#short
        if (set === 0) {
          packer.withdraw()
          return
        }
        const [bytes, start, end] = this.#octetsOf(set)
        if (end - start > packer.room) packer = this.#long
        packer.announce(bytes, start, end)
      },
      prefix: (prefix, pathId) => packer.add(prefix, pathId),
    })
  }

  /** A set as a message has it. */
  #octetsOf(set: number): readonly [bytes: Uint8Array, start: number, end: number] {
    const { store, family } = this.#table
    if (this.#table.peerOf(set) !== 0) return [store.arena, store.offset(set), store.offset(set) + store.length(set)]
    const w = new Writer(this.#scratch)
    emitSet(w, withUnspecifiedNextHop(parseSet(store.view(set)), family), family)
    return [w.done().slice(), 0, w.length]
  }
}
