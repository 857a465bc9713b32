// The Adj-RIB-In after policy of one family (RFC 7854 §5) for those who watch it: of each peer with a session the paths that
// import accepts, as they are used, in feeds like that of the Loc-RIB: a feed keeps which prefixes changed, and which set it told
// of each path. Stale paths of an earlier session are told once the peer is back, since they are used. A path that lost
// to a better one, or whose next hop cannot be reached, is accepted all the same.
import { type AddressFamily, FAMILY } from '../family.ts'
import { type Feed, type Follower, morePrefixes, type Replayed } from './feed.ts'
import { Batch } from './out/batch.ts'
import { SentRoutes } from './out/sent-routes.ts'
import { UpdatePacker } from './out/update-packer.ts'
import type { RibPeerState } from './peer-state.ts'
import type { AttributeStore } from './store/attribute-store.ts'
import { IdQueue } from './store/id-queue.ts'
import { MARK, type PathTable } from './store/path-table.ts'
import type { PrefixTable } from './store/prefix-table.ts'

/** Prefixes looked at in one step. */
const SLICE = 2048

type AcceptedTable = {
  readonly family: AddressFamily
  readonly prefixes: PrefixTable
  readonly paths: PathTable
  readonly store: AttributeStore
  /** Accepted paths by peer index. */
  readonly accepted: Uint32Array
  /** Frees the id of a prefix that nothing refers to any more. */
  releaseUnused(prefix: number): void
  /** A path's slot may be used again when nobody has it as a path id. */
  releasePathId(slot: number): void
}

export class AcceptedPaths {
  readonly #feeds: TableFeed[] = []

  /** A prefix was decided: its paths may be others. */
  changed(prefix: number): void {
    for (let i = 0; i < this.#feeds.length; i++) this.#feeds[i]!.changed(prefix)
  }

  /** Prefixes were decided. */
  decided(): void {
    for (const feed of this.#feeds) feed.decided()
  }

  /** Whether a feed still needs the id of a prefix. */
  holds(prefix: number): boolean {
    for (let i = 0; i < this.#feeds.length; i++) if (this.#feeds[i]!.holds(prefix)) return true
    return false
  }

  /** Whether a feed has told of the path in a slot. */
  holdsPath(slot: number): boolean {
    for (let i = 0; i < this.#feeds.length; i++) if (this.#feeds[i]!.holdsPath(slot)) return true
    return false
  }

  /** A session begins; its peer may have stale paths. */
  join(peer: RibPeerState): void {
    for (const feed of this.#feeds) feed.join(peer)
  }

  /** A session is over, before its paths are removed. */
  leave(index: number): void {
    for (const feed of this.#feeds) feed.leave(index)
  }

  /** `peers`: those with a session in this family. */
  follow(table: AcceptedTable, follower: Follower, peers: readonly RibPeerState[]): Feed<Replayed> {
    const feed = new TableFeed(table, follower, peers)
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
  readonly #table: AcceptedTable
  readonly #follower: Follower
  readonly #peers = new Map<number, RibPeerState>()
  readonly #queue = new IdQueue()
  /** By slot: the set that was told, and the peer. */
  readonly #told = new SentRoutes()
  /** Made and not taken. */
  #ready: Replayed[] = []
  /** By the index of a peer whose first table is not complete: how much must be taken from the queue. */
  readonly #first = new Map<number, number>()
  /** How much was there at the start. */
  readonly #start: number
  readonly #batch = new Batch()
  readonly #packers: Readonly<Record<'plain' | 'addPath', { short: UpdatePacker; long: UpdatePacker }>>
  #idle = false
  #overflowed = false

  constructor(table: AcceptedTable, follower: Follower, peers: readonly RibPeerState[]) {
    const { prefixes, family } = table
    const both = (addPath: boolean) => ({
      short: new UpdatePacker(prefixes, { family, addPath, extended: false }),
      // for sets that are too long for an ordinary message (RFC 8654)
      long: new UpdatePacker(prefixes, { family, addPath, extended: true }),
    })
    this.#table = table
    this.#follower = follower
    this.#packers = { plain: both(false), addPath: both(true) }
    for (const peer of peers) this.#peers.set(peer.index, peer)
    const { paths } = table
    for (let slot = 0; slot < paths.end; slot++)
      if (paths.holds(slot) && this.#wanted(slot) !== 0) this.#queue.push(paths.prefix(slot))
    this.#start = this.#queue.size
    for (const index of this.#peers.keys()) this.#first.set(index, this.#start)
  }

  get complete(): boolean {
    return this.#queue.taken >= this.#start && this.#ready.length === 0
  }

  holds(prefix: number): boolean {
    return this.#queue.has(prefix)
  }

  holdsPath(slot: number): boolean {
    return this.#told.set(slot) !== 0
  }

  changed(prefix: number): void {
    const { paths } = this.#table
    for (let slot = paths.first(prefix); slot >= 0; slot = paths.next(slot)) {
      if (this.#wanted(slot) === this.#told.set(slot)) continue
      this.#queue.push(prefix)
      this.#wake()
      return
    }
  }

  decided(): void {
    const { most } = this.#follower
    if (this.#overflowed || this.#queue.size <= most) return
    let accepted = 0
    for (const index of this.#peers.keys()) accepted += this.#table.accepted[index]!
    if (this.#queue.size - accepted <= most) return
    this.#overflowed = true
    this.#follower.overflowed(morePrefixes(most))
  }

  join(peer: RibPeerState): void {
    const { paths } = this.#table
    this.#peers.set(peer.index, peer)
    for (let slot = 0; slot < paths.end; slot++)
      if (paths.holds(slot) && paths.peer(slot) === peer.index && this.#wanted(slot) !== 0)
        this.#queue.push(paths.prefix(slot))
    this.#first.set(peer.index, this.#queue.taken + this.#queue.size)
    this.#wake()
  }

  leave(index: number): void {
    const peer = this.#peers.get(index)
    if (peer === undefined) return
    this.#peers.delete(index)
    this.#first.delete(index)
    this.#ready = this.#ready.filter(({ key }) => key !== peer.peer.key)
    for (let slot = 0; slot < this.#told.end; slot++)
      if (this.#told.set(slot) !== 0 && this.#told.source(slot) === index) this.#forget(slot)
  }

  take(): Replayed | undefined {
    if (this.#ready.length === 0) {
      this.#idle = this.#queue.size === 0 && this.#first.size === 0
      if (this.#idle) return undefined
      this.#build()
    }
    return this.#ready.shift() ?? NOTHING
  }

  /** Gives up what was not taken. */
  drain(): void {
    for (let slot = 0; slot < this.#told.end; slot++) if (this.#told.set(slot) !== 0) this.#forget(slot)
    while (this.#queue.size > 0) this.#table.releaseUnused(this.#queue.shift())
  }

  /** Makes messages of a part of the queue. */
  #build(): void {
    const { paths, store } = this.#table
    const batch = this.#batch
    batch.reset()
    const [replaced, gonePaths, gone]: number[][] = [[], [], []]
    for (let left = SLICE; left > 0 && this.#queue.size > 0; left--) {
      const prefix = this.#queue.shift()
      if (paths.first(prefix) < 0) gone!.push(prefix)
      for (let slot = paths.first(prefix); slot >= 0; slot = paths.next(slot), left--) {
        this.#compare(prefix, slot, replaced!)
        if ((paths.marks(slot) & MARK.gone) !== 0) gonePaths!.push(slot)
      }
    }
    for (const index of batch.exceptions()) this.#pack(this.#peers.get(index)!)
    for (const [index, after] of this.#first) if (this.#queue.taken >= after) this.#end(index)
    // not before the messages are written: they need the sets and the ids
    for (const set of replaced!) store.release(set)
    for (const slot of gonePaths!) this.#table.releasePathId(slot)
    for (const prefix of gone!) this.#table.releaseUnused(prefix)
  }

  /** Puts into the batch what its peer's collector has to be told of a path; what it had before goes to `replaced`. */
  #compare(prefix: number, slot: number, replaced: number[]): void {
    const { paths, store } = this.#table
    const [index, pathId] = [paths.peer(slot), paths.pathId(slot)]
    const set = this.#wanted(slot)
    const before = this.#told.set(slot)
    if (set === before) return
    if (set !== 0) store.hold(set)
    if (before !== 0) replaced.push(before)
    this.#told.put(slot, set, index)
    // the same path may be there again in another slot: what is told of that one replaces this
    const isGone = (paths.marks(slot) & MARK.gone) !== 0
    const again = isGone ? paths.find(prefix, index, pathId) : -1
    if (again < 0 || paths.accepted(again) === 0) this.#batch.announce(prefix, pathId, set, index)
  }

  /** The set that is to be told of a path; 0: nothing. One that is gone has none. */
  #wanted(slot: number): number {
    const { paths } = this.#table
    return this.#peers.has(paths.peer(slot)) ? paths.accepted(slot) : 0
  }

  #pack(peer: RibPeerState): void {
    const { store } = this.#table
    const { short, long } = this.#packersOf(peer)
    let packer = short
    this.#batch.each(peer.index, store.capacity, {
      set: set => {
        packer = store.length(set) > short.room ? long : short
        if (set === 0) packer.withdraw()
        else packer.announce(store.arena, store.offset(set), store.offset(set) + store.length(set))
      },
      prefix: (prefix, pathId) => packer.add(prefix, pathId),
    })
    const bytes = Buffer.concat([long.take().bytes, short.take().bytes])
    this.#ready.push({ key: peer.peer.key, bytes })
  }

  /** End-of-RIB: the first table of a peer is told. */
  #end(index: number): void {
    this.#first.delete(index)
    const peer = this.#peers.get(index)!
    const { short } = this.#packersOf(peer)
    short.endOfRib()
    this.#ready.push({ key: peer.peer.key, bytes: short.take().bytes })
  }

  #packersOf({ peer }: RibPeerState) {
    return this.#packers[peer.receive.addPath[FAMILY[this.#table.family].ip] ? 'addPath' : 'plain']
  }

  /** What was told of a path is over. */
  #forget(slot: number): void {
    this.#table.store.release(this.#told.set(slot))
    this.#told.put(slot, 0, this.#told.source(slot))
    this.#table.releasePathId(slot)
  }

  #wake(): void {
    if (!this.#idle) return
    this.#idle = false
    this.#follower.wake()
  }
}

const NOTHING: Replayed = { key: '', bytes: new Uint8Array(0) }
