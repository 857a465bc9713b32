// The Adj-RIB-Out before policy of one family (RFC 8671 §5.2), for one monitor: export groups like those that peers read, but
// without their rules, and with the monitor as the reader of every member. They exist only while a monitor follows them.
// Before policy is what each peer would be sent if its `export` were `accept`, as it would be sent: the selected route of each
// prefix (with ADD-PATH every path that can be used), but not what the protocol keeps from this peer: its own routes (split
// horizon), what is not reflected (RFC 4456 §6), well-known communities (RFC 1997), Only-to-Customer (RFC 9234), stale paths
// (RFC 9494 §4.3), no next hop that fits, too many attributes for a message. The session's own changes are in it (AS path, next
// hop, LOCAL_PREF; the RFC leaves them open), so that it differs from what is sent by the rules alone, RFC 8212's refusal too.
import type { AddressFamily } from '../family.ts'
import { type Feed, type Follower, mergedFeeds, morePrefixes, type Replayed } from './feed.ts'
import { targetOf } from './out/advertisement.ts'
import type { ExportGroup } from './out/export-group.ts'
import type { ExportGroups } from './out/export-groups.ts'
import type { RibPeerState } from './peer-state.ts'
import type { RibPeer } from './types.ts'

/** Octets of one step, about. */
const SLICE_OCTETS = 64 * 1024

/** The tables of all families: of each peer whole messages, as wide and with path ids as its session has them. */
export type OfferedFeed = Feed<Replayed> & {
  /** Prefixes (with ADD-PATH: paths) that were told of a peer or are about to be, by family. */
  counts(key: string): ReadonlyMap<AddressFamily, number>
}

type OfferedDeps = {
  /** Those that the peers read. */
  groups: ExportGroups
  follower: Follower
  /** The peers with a session in this family. */
  peers: readonly Pick<RibPeerState, 'index' | 'peer'>[]
  /** Prefixes of which a group may have something to send. */
  present(group: Pick<ExportGroup, 'addPath'>): number
  /** No End-of-RIB yet. */
  deferred(): boolean
}

export class OfferedTable implements Feed<Replayed> {
  readonly #deps: OfferedDeps
  readonly #groups: ExportGroups
  readonly #keys = new Map<number, string>()
  /** Who may have something to read, in turns. */
  readonly #awake = new Set<number>()
  /** Whose first table has not been taken. */
  readonly #first = new Set<number>()
  #idle = false
  #overflowed = false

  constructor(deps: OfferedDeps) {
    this.#deps = deps
    this.#groups = deps.groups.forMonitor({
      target: (peer, family) => ({ ...targetOf(peer, family), rules: 'accept' }),
      wake: index => this.#wake(index),
      // the groups that peers read say it
      report: () => undefined,
    })
    for (const { index, peer } of deps.peers) {
      this.join(index, peer)
      this.#first.add(index)
    }
    deps.groups.addMonitor(this)
  }

  get complete(): boolean {
    return this.#first.size === 0
  }

  take(): Replayed | undefined {
    const [index] = this.#awake
    if (index === undefined) {
      this.#idle = true
      return undefined
    }
    this.#awake.delete(index)
    const { group, member } = this.#groups.membership(index)!
    const blocks: Uint8Array[] = []
    group.pull(member, SLICE_OCTETS, blocks, this.#deps.deferred())
    if (!member.idle) this.#awake.add(index)
    else this.#first.delete(index)
    return { key: this.#keys.get(index)!, bytes: Buffer.concat(blocks) }
  }

  /** Prefixes (with ADD-PATH: paths) that were told of a peer or are about to be. */
  count(index: number): number {
    return this.#groups.membership(index)?.group.announcedTo(index) ?? 0
  }

  close(): void {
    for (const index of [...this.#keys.keys()]) this.leave(index)
    this.#deps.groups.removeMonitor(this)
  }

  // Called by the groups that the peers read.

  get all(): readonly ExportGroup[] {
    return this.#groups.all
  }

  join(index: number, peer: RibPeer): void {
    this.#groups.join(index, peer)
    this.#keys.set(index, peer.key)
    this.#wake(index)
  }

  move(index: number, peer: RibPeer): void {
    this.#groups.move(index, peer)
    if (this.#keys.has(index)) this.#wake(index)
  }

  leave(index: number): void {
    this.#groups.leave(index)
    this.#keys.delete(index)
    this.#awake.delete(index)
    this.#first.delete(index)
  }

  decided(): void {
    const { follower, present } = this.#deps
    if (this.all.some(group => group.waiting - present(group) > follower.most))
      this.overflow(morePrefixes(follower.most))
  }

  overflow(waiting: string): void {
    if (this.#overflowed) return
    this.#overflowed = true
    this.#deps.follower.overflowed(waiting)
  }

  #wake(index: number): void {
    this.#awake.add(index)
    if (!this.#idle) return
    this.#idle = false
    this.#deps.follower.wake()
  }
}

/** `indexOf`: the index of a peer by its key. */
export function offeredFeed(
  tables: readonly { family: AddressFamily; feed: OfferedTable }[],
  indexOf: (key: string) => number | undefined,
): OfferedFeed {
  const merged = mergedFeeds(tables.map(({ feed }) => feed))
  return {
    get complete() {
      return merged.complete
    },
    take: merged.take,
    close: merged.close,
    counts(key) {
      const index = indexOf(key)
      return new Map(index === undefined ? [] : tables.map(({ family, feed }) => [family, feed.count(index)] as const))
    },
  }
}
