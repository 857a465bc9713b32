// The current paths of all peers, and what they have been sent, written as UPDATEs: the first tables that a monitor gets (RFC 7854 §5, RFC 8671). Paths with the
// same set in neighbouring slots share a message. Stale paths are left out: their session is over, and a peer that came
// back sends its routes again.

import { FAMILY } from '../family.ts'
import type { Replayed } from './feed.ts'
import { UpdatePacker } from './out/update-packer.ts'
import type { RibPeerState } from './peer-state.ts'
import { MARK } from './store/path-table.ts'
import type { FamilyTable } from './table.ts'

/** Octets and paths after which a step ends. */
const SLICE_OCTETS = 64 * 1024
const SLICE_PATHS = 8192
/** Prefixes of what a peer has been sent in one step. */
const SLICE_SENT = 4096

/** Walks a table in steps of a few milliseconds; a step that found nothing gives undefined. See `Rib.replay`. */
export function* replayPaths(
  table: FamilyTable,
  peers: readonly (RibPeerState | undefined)[],
): Generator<Replayed | undefined> {
  const { paths } = table
  const run = new Run(table)
  for (let slot = 0, left = SLICE_PATHS; slot < paths.end; slot++, left--) {
    if (left === 0 || run.length > SLICE_OCTETS) {
      yield run.take()
      left = SLICE_PATHS
    }
    const from = sender(table, slot, peers)
    if (from === undefined) continue
    if (run.from === undefined || run.from === from) run.add(from, slot)
    else {
      yield run.take()
      // look at this slot again: during the yield it may have become another path, or free
      slot--
    }
  }
  yield run.take()
}

/**
 * Walks what the peers with a session have been sent, or are about to be. What a peer reads after that is newer, or comes before the
 * newer: whoever is told both ends with what the peer has.
 */
export function* replaySent(table: FamilyTable, peers: readonly RibPeerState[]): Generator<Replayed> {
  for (const peer of peers)
    for (let at = 0; at < table.prefixes.end; at += SLICE_SENT) {
      const membership = peer.up ? table.groups.membership(peer.index) : undefined
      if (membership === undefined) break
      const end = Math.min(at + SLICE_SENT, table.prefixes.end)
      yield { key: peer.peer.key, bytes: membership.group.sentTo(membership.member, at, end) }
    }
}

/** The UPDATEs that withdraw what a peer has not sent again since its BoRR. */
export function withdrawUnrefreshed(table: FamilyTable, peer: RibPeerState): Uint8Array {
  const { paths, prefixes, family } = table
  const packer = new UpdatePacker(prefixes, { family, addPath: addPathOf(table, peer), extended: false })
  packer.withdraw()
  table.eachOf(peer.index, (slot, marks) => {
    if ((marks & MARK.unrefreshed) !== 0) packer.add(paths.prefix(slot), paths.pathId(slot))
  })
  return packer.take().bytes
}

/** The peer that sent a path in its present session; undefined for every other path. */
function sender(
  { paths }: FamilyTable,
  slot: number,
  peers: readonly (RibPeerState | undefined)[],
): RibPeerState | undefined {
  if (!paths.holds(slot) || paths.received(slot) === 0) return undefined
  if ((paths.marks(slot) & (MARK.stale | MARK.gone)) !== 0) return undefined
  const from = peers[paths.peer(slot)]!
  return from.up && from.peer.source !== true ? from : undefined
}

function addPathOf({ family }: FamilyTable, { peer }: RibPeerState): boolean {
  return peer.receive.addPath[FAMILY[family].ip]
}

/** The messages of one peer that are being written. A set that is too long for an ordinary message goes into an extended one. */
class Run {
  from: RibPeerState | undefined
  readonly #table: FamilyTable
  readonly #packers: Readonly<Record<'plain' | 'addPath', { short: UpdatePacker; long: UpdatePacker }>>
  #now: { short: UpdatePacker; long: UpdatePacker }
  #set = 0

  constructor(table: FamilyTable) {
    const { prefixes, family } = table
    const both = (addPath: boolean) => ({
      short: new UpdatePacker(prefixes, { family, addPath, extended: false }),
      long: new UpdatePacker(prefixes, { family, addPath, extended: true }),
    })
    this.#table = table
    this.#packers = { plain: both(false), addPath: both(true) }
    this.#now = this.#packers.plain
  }

  get length(): number {
    return this.#now.short.length + this.#now.long.length
  }

  add(from: RibPeerState, slot: number): void {
    const { paths, store } = this.#table
    this.from = from
    this.#now = addPathOf(this.#table, from) ? this.#packers.addPath : this.#packers.plain
    const set = paths.received(slot)
    const [start, length] = [store.offset(set), store.length(set)]
    const packer = length > this.#now.short.room ? this.#now.long : this.#now.short
    if (set !== this.#set) packer.announce(store.arena, start, start + length)
    this.#set = set
    packer.add(paths.prefix(slot), paths.pathId(slot))
  }

  take(): Replayed | undefined {
    const { from } = this
    if (from === undefined) return undefined
    this.from = undefined
    this.#set = 0
    return { key: from.peer.key, bytes: Buffer.concat([this.#now.short.take().bytes, this.#now.long.take().bytes]) }
  }
}
