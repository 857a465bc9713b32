// All peers that are sent the same (advertisement.ts, `ExportTarget`) share one Adj-RIB-Out. Changed prefixes wait in a
// queue; when a member that has read everything asks for more, the next part of the queue becomes blocks of messages in a
// backlog, which every member reads at its own speed. A member that falls behind the bounded backlog keeps one octet per
// prefix that it has missed and is sent their state later: a slow peer costs memory by prefix, never by message.
import { IdQueue } from '../store/id-queue.ts'
import { MARK } from '../store/path-table.ts'
import { Backlog, concerns, type MessageBlock } from './backlog.ts'
import { Batch } from './batch.ts'
import type { Exporter } from './exporter.ts'
import type { GroupTable } from './group-table.ts'
import { Member } from './member.ts'
import { eachPackedPrefix } from './own-messages.ts'
import { SentRoutes } from './sent-routes.ts'
import type { Packed, UpdatePacker } from './update-packer.ts'

/** Prefixes that are made into messages in one step: many fill messages well, but a step must take only milliseconds. */
const CHUNK = 16384
/** The same for messages that only one member gets, as one block. */
const MEMBER_CHUNK = 4096
/** A block ends after the attribute set with which it passes this many octets, so that a reader gets about what it asks for. */
const BLOCK_OCTETS = 32768

export class ExportGroup {
  readonly key: string
  readonly exporter: Exporter
  readonly addPath: boolean
  readonly members = new Map<number, Member>()
  /** Those that have missed something. */
  readonly #behind = new Set<Member>()
  readonly #table: GroupTable
  readonly #packer: UpdatePacker
  readonly #queue = new IdQueue()
  /** By prefix id, with ADD-PATH by the slot of the path. */
  readonly #sent = new SentRoutes()
  readonly #batch = new Batch()
  readonly #backlog: Backlog
  readonly #wakePeer: (peer: number) => void

  /**
   * `backlogOctets`: octets of unread messages that are kept for slow members. `wake`: a member that had nothing to read has
   * something now.
   */
  constructor(
    key: string,
    exporter: Exporter,
    table: GroupTable,
    packer: UpdatePacker,
    { backlogOctets, wake }: { backlogOctets: number; wake: (peer: number) => void },
  ) {
    this.#wakePeer = wake
    this.key = key
    this.exporter = exporter
    this.addPath = exporter.target.addPath
    this.#table = table
    this.#packer = packer
    this.#backlog = new Backlog(backlogOctets, this.members, (member, unread) => {
      // from now on it needs the present state of what it missed, not only withdrawals
      member.withdrawOnly = false
      for (const block of unread) this.#eachIn(block, (prefix, pathId) => member.markMissed(prefix, pathId))
    })
  }

  /** Prefixes (with ADD-PATH: paths) that a member has been sent or is about to be. */
  announcedTo(peer: number): number {
    return this.#sent.countFor(peer)
  }

  /** Whether anything here still refers to a prefix id. */
  holds(prefix: number): boolean {
    if (this.#queue.has(prefix)) return true
    if (!this.addPath && this.#sent.set(prefix) !== 0) return true
    if (this.#behind.size > 0) for (const member of this.#behind) if (member.hasMissed(prefix)) return true
    return false
  }

  /** Whether a path's slot is still its path id in messages sent. */
  holdsPath(slot: number): boolean {
    return this.addPath && this.#sent.set(slot) !== 0
  }

  join(peer: number, address: string): Member {
    const first = this.members.size === 0
    const end = this.#table.prefixes.end
    // where nothing was sent yet, the queue has all, as for the first one: the whole table besides would be a second time
    const member = new Member(peer, address, this.#backlog.end, this.#sent.isEmpty ? 0 : end, this.#behind)
    this.members.set(peer, member)
    if (this.exporter.link?.join(address)) this.rebuild()
    if (first) {
      for (let id = 0; id < end; id++) if (this.#hasRoute(id)) this.#queue.push(id)
    }
    member.endOfRibAfter = this.#queue.taken + this.#queue.size
    return member
  }

  leave(member: Member): void {
    this.members.delete(member.peer)
    if (this.exporter.link?.leave(member.address) && this.members.size > 0) this.rebuild()
    this.#backlog.leave(member)
    const missed = new Set<number>()
    member.eachMissed(prefix => missed.add(prefix))
    member.takeMissed(missed.size)
    for (const prefix of missed) this.#table.releaseUnused(prefix)
  }

  /** Forgets what was sent, and what was to be. Only without members. */
  close(): void {
    const table = this.#table
    this.#sent.clear((at, set) => {
      table.store.release(set)
      if (this.addPath) table.releasePathId(at)
      else table.releaseUnused(at)
    })
    while (this.#queue.size > 0) table.releaseUnused(this.#queue.shift())
    this.exporter.reset()
  }

  /**
   * A prefix's selected route (with ADD-PATH: any of its paths) changed. Answers whether the group will look at it, and
   * then ask whether its id is still used.
   */
  changed(prefix: number): boolean {
    const quiet = this.#queue.size === 0
    // in a mesh most of what comes goes to nobody, and waking each member for it costs as much as their number
    if (quiet && this.#isNothing(prefix)) return false
    this.#queue.push(prefix)
    if (quiet) for (const member of this.members.values()) this.#wake(member)
    return true
  }

  /** Whether nothing was sent for a prefix and nothing is to be sent, where that is known without its rules. */
  #isNothing(prefix: number): boolean {
    if (this.addPath || this.#sent.set(prefix) !== 0) return false
    const set = this.#table.best[prefix]!
    return set === 0 || this.exporter.withholds(set)
  }

  /** No change waits to be made into messages. */
  get quiet(): boolean {
    return this.#queue.size === 0
  }

  /** Prefixes whose change waits to be made into messages, with those that the member furthest behind has missed. */
  get waiting(): number {
    let missed = 0
    for (const { missedCount } of this.#behind) missed = Math.max(missed, missedCount)
    return this.#queue.size + missed
  }

  /** Exports everything again, as after a change of reflector clients. Routes whose result is the same are not sent again. */
  rebuild(): void {
    this.exporter.reset()
    for (let id = 0; id < this.#table.prefixes.end; id++) if (this.#hasRoute(id)) this.changed(id)
  }

  /** Members that have not had End-of-RIB get it only after everything that is queued now. */
  postponeEndOfRib(): void {
    for (const member of this.members.values()) {
      if (member.endOfRibAfter < 0) continue
      member.endOfRibAfter = this.#queue.taken + this.#queue.size
      this.#wake(member)
    }
  }

  /** Sends everything to a member again. */
  resend(member: Member, { framed }: { framed: boolean }): void {
    member.framed = framed
    member.dumpAt = 0
    member.dumpEnd = this.#table.prefixes.end
    this.#wake(member)
  }

  /** Marks everything that a member was sent in its former group as missed, so that what this group does not send is withdrawn. */
  inherit(member: Member, from: ExportGroup, before: Member): void {
    member.endOfRibAfter = before.endOfRibAfter < 0 ? -1 : member.endOfRibAfter
    const { paths } = this.#table
    member.withdrawOnly = true
    for (let at = 0; at < from.#sent.end; at++) {
      if (from.#sent.setFor(member.peer, at) === 0) continue
      if (from.addPath) member.markMissed(paths.prefix(at), at + 1)
      else member.markMissed(at, 0)
    }
    // what it had not read, or had missed, may be about prefixes that were withdrawn since
    before.eachMissed((prefix, pathId) => member.markMissed(prefix, pathId))
    for (const block of from.#backlog.unread(before))
      from.#eachIn(block, (prefix, pathId) => member.markMissed(prefix, pathId))
  }

  /**
   * Appends about `maxBytes` for a member to `into`. Returns octets appended; fewer than asked: nothing left. It returns
   * `maxBytes` without appending that much when a step of work made messages for other members only, so that the caller
   * can let other work run. `deferred`: no End-of-RIB yet.
   */
  pull(member: Member, maxBytes: number, into: Uint8Array[], deferred: boolean): number {
    let octets = 0
    let empty = 0
    while (octets < maxBytes) {
      const block = this.#next(member, deferred)
      if (block === undefined) break
      if (block.bytes.length === 0) {
        if (++empty > 1) return maxBytes
        continue
      }
      into.push(block.bytes)
      member.messages += block.messages
      octets += block.bytes.length
    }
    if (octets < maxBytes) member.idle = true
    return octets
  }

  /** What a member reads next; undefined when it has everything. */
  #next(member: Member, deferred: boolean): Packed | undefined {
    const block = this.#backlog.read(member)
    if (block !== undefined) return block
    if (this.#queue.size > 0) {
      this.#build()
      return NOTHING
    }
    if (member.missedCount > 0) return this.#catchUp(member)
    if (member.dumpAt >= 0) return this.#dump(member)
    if (member.endOfRibAfter >= 0 && !deferred && this.#queue.taken >= member.endOfRibAfter) {
      member.endOfRibAfter = -1
      this.#packer.endOfRib()
      return this.#packer.take()
    }
    return undefined
  }

  /** Turns a part of the queue into blocks. */
  #build(): void {
    const batch = this.#batch
    batch.reset()
    const gone: number[] = []
    const gonePaths: number[] = []
    for (let n = Math.min(CHUNK, this.#queue.size); n > 0; n--) {
      const prefix = this.#queue.shift()
      if (this.addPath) this.#comparePaths(prefix, batch, gonePaths)
      else this.#compare(prefix, batch)
      if (this.#table.best[prefix] === 0) gone.push(prefix)
    }
    for (const [only, prefixes] of batch.only) {
      this.#packer.withdraw()
      for (const prefix of prefixes) this.#packer.add(prefix, 0)
      this.#append(0, only)
    }
    for (const except of batch.exceptions()) {
      this.#pack(batch, except, () => {
        if (this.#packer.length > BLOCK_OCTETS) this.#append(except, 0)
      })
      this.#append(except, 0)
    }
    // not before the messages are written: they need the ids
    for (const slot of gonePaths) this.#table.releasePathId(slot)
    for (const prefix of gone) this.#table.releaseUnused(prefix)
  }

  /** Compares what should be sent for a prefix with what was sent, and puts the change into `batch`. */
  #compare(prefix: number, batch: Batch): void {
    const { best, store } = this.#table
    const set = best[prefix]!
    const made = set === 0 ? 0 : this.exporter.export(set, prefix)
    const source = made === 0 ? 0 : this.#table.peerOf(set)
    const old = this.#sent.set(prefix)
    const oldSource = this.#sent.source(prefix)
    if (made === old && source === oldSource) {
      if (made !== 0) store.release(made)
      return
    }
    this.#sent.put(prefix, made, source)
    if (made !== 0) {
      const spared = this.members.has(source) ? source : 0
      batch.announce(prefix, 0, made, spared)
      if (old !== 0 && spared !== 0 && spared !== oldSource) batch.withdrawOnly(prefix, spared)
    } else batch.announce(prefix, 0, 0, this.members.has(oldSource) ? oldSource : 0)
    if (old !== 0) store.release(old)
  }

  #comparePaths(prefix: number, batch: Batch, gone: number[]): void {
    const { paths, store } = this.#table
    for (let slot = paths.first(prefix); slot >= 0; slot = paths.next(slot)) {
      const isGone = (paths.marks(slot) & MARK.gone) !== 0
      const set = isGone ? 0 : this.#table.reach.usable(slot)
      const made = set === 0 ? 0 : this.exporter.export(set, prefix)
      const old = this.#sent.set(slot)
      const source = paths.peer(slot)
      if (made === old) {
        if (made !== 0) store.release(made)
      } else {
        this.#sent.put(slot, made, source)
        batch.announce(prefix, slot + 1, made, this.members.has(source) ? source : 0)
        if (old !== 0) store.release(old)
      }
      if (isGone) gone.push(slot)
    }
  }

  /** Whether a prefix has something that may be sent. */
  #hasRoute(prefix: number): boolean {
    return this.#table.best[prefix] !== 0 || (this.addPath && this.#table.paths.first(prefix) >= 0)
  }

  /** Writes the part of a batch that `except` does not get. `between` is called between two sets. */
  #pack(batch: Batch, except: number, between?: () => void): void {
    const { store } = this.#table
    const packer = this.#packer
    batch.each(except, store.capacity, {
      set: set => {
        between?.()
        if (set === 0) packer.withdraw()
        else packer.announce(store.arena, store.offset(set), store.offset(set) + store.length(set))
      },
      prefix: (prefix, pathId) => packer.add(prefix, pathId),
    })
  }

  #append(except: number, only: number): void {
    const block = this.#backlog.append(this.#packer.take(), except, only)
    for (const member of this.members.values()) if (concerns(block, member)) this.#wake(member)
  }

  #eachIn(block: MessageBlock, visit: (prefix: number, pathId: number) => void): void {
    eachPackedPrefix(block.bytes, this.#table.prefixes, this.addPath, (prefix, pathId) => {
      this.#table.fit()
      visit(prefix, pathId)
    })
  }

  /** Messages with the present state of a part of the prefixes that a member missed. */
  #catchUp(member: Member): Packed {
    const batch = this.#batch
    const { paths } = this.#table
    batch.reset()
    const taken = member.takeMissed(MEMBER_CHUNK)
    if (!this.addPath) for (const prefix of taken) this.#state(member, prefix, prefix, 0, batch)
    else
      member.takeMissedPaths(taken, (prefix, pathId) => {
        const slot = pathId - 1
        const there = paths.prefix(slot) === prefix
        this.#state(member, prefix, there ? slot : -1, pathId, batch)
      })
    if (member.missedCount === 0) member.withdrawOnly = false
    this.#pack(batch, 0)
    const packed = this.#packer.take()
    for (const prefix of taken) this.#table.releaseUnused(prefix)
    return packed
  }

  /** What a member should have now for the place `at` of what was sent (-1: nothing). */
  #state(member: Member, prefix: number, at: number, pathId: number, batch: Batch): void {
    const set = at < 0 ? 0 : this.#sent.setFor(member.peer, at)
    if (set === 0 || !member.withdrawOnly) batch.announce(prefix, pathId, set, 0)
  }

  /** A part of the whole table for one member. */
  #dump(member: Member): Packed {
    const end = Math.min(member.dumpEnd, member.dumpAt + MEMBER_CHUNK)
    if (member.dumpAt === 0 && member.framed) this.#packer.refresh('begin')
    this.#packSent(member, member.dumpAt, end)
    member.dumpAt = end
    if (end >= member.dumpEnd) {
      if (member.framed) this.#packer.refresh('end')
      member.framed = false
      member.dumpAt = -1
    }
    return this.#packer.take()
  }

  /** Messages with what a member has been sent, or is about to be, of the prefixes with ids from `start` on, before `end`. */
  sentTo(member: Member, start: number, end: number): Uint8Array {
    this.#packSent(member, start, end)
    return this.#packer.take().bytes
  }

  #packSent(member: Member, start: number, end: number): void {
    const { paths } = this.#table
    const batch = this.#batch
    batch.reset()
    for (let prefix = start; prefix < end; prefix++) {
      if (!this.addPath) {
        const set = this.#sent.setFor(member.peer, prefix)
        if (set !== 0) batch.announce(prefix, 0, set, 0)
        continue
      }
      for (let slot = paths.first(prefix); slot >= 0; slot = paths.next(slot)) {
        const set = this.#sent.setFor(member.peer, slot)
        if (set !== 0) batch.announce(prefix, slot + 1, set, 0)
      }
    }
    this.#pack(batch, 0)
  }

  #wake(member: Member): void {
    if (!member.idle) return
    member.idle = false
    this.#wakePeer(member.peer)
  }
}

const NOTHING: Packed = { bytes: new Uint8Array(0), messages: 0 }
