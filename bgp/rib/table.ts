// One address family of the RIB: its prefixes, their paths (Adj-RIB-In), the selected path (Loc-RIB) and the export groups.
// Changed prefixes are queued and decided later, so that a prefix which changes often is decided once.
// Over 400 lines: what is received, accepted and selected changes together, and counts and references to sets with it.
import { type AddressFamily, FAMILY } from '../family.ts'
import { AcceptedPaths } from './accepted.ts'
import type { Columns, Decision, StepName, UnusedReason } from './decision.ts'
import type { Importer } from './in/importer.ts'
import { LocRib } from './loc-rib.ts'
import type { Multipaths } from './multipaths.ts'
import type { NextHopStates } from './next-hops.ts'
import { ExportGroups, type ExportGroupsDeps } from './out/export-groups.ts'
import type { GroupTable } from './out/group-table.ts'
import type { Owners } from './owners.ts'
import { PathReach } from './path-reach.ts'
import { PathWalk } from './path-walk.ts'
import type { RibPeerState } from './peer-state.ts'
import type { AttributeFacts } from './store/attribute-facts.ts'
import type { AttributeStore } from './store/attribute-store.ts'
import { IdQueue } from './store/id-queue.ts'
import { MARK, MAX_PEER, PathTable } from './store/path-table.ts'
import { PREFIX_TABLES, type PrefixTable, widened } from './store/prefix-table.ts'
import { ownerPeer } from './store/set-owner.ts'
import type { TrackedRule } from './tracked-paths.ts'

/** To judge a path again takes as long as so many decisions. */
const JUDGEMENT = 4

type FamilyDeps = {
  groups: ExportGroupsDeps
  store: AttributeStore
  facts: AttributeFacts
  importer: Importer
  decision: Decision
  multipaths: Multipaths
  /** Absent: all next hops can be reached. */
  nextHops: NextHopStates | undefined
  peers: Columns['peers']
  tracked: Pick<TrackedRule, 'spares'>
  /** Absent: no prefix belongs to anybody. */
  owners: Owners | undefined
  peerState(index: number): RibPeerState
  /**
   * A set was selected for a prefix (0: none) instead of another one, or others are used with it: `group` is all that are used, 0
   * for the best alone.
   */
  selected(table: FamilyTable, prefix: number, now: number, group: number, before: number): void
  /** There is something to decide. */
  busy(): void
}

/** A decision told, without `best` where no path can be used: the step that left the best path alone, in which step others lost, which are used with which share, and why others are not. */
type Decided = {
  best?: number
  step?: StepName
  lost: ReadonlyMap<number, StepName>
  used: ReadonlyMap<number, number>
  unused: ReadonlyMap<number, UnusedReason>
}

export class FamilyTable implements GroupTable {
  readonly family: AddressFamily
  readonly prefixes: PrefixTable
  readonly paths = new PathTable()
  readonly store: AttributeStore
  readonly groups: ExportGroups
  readonly reach: PathReach
  readonly locRib = new LocRib()
  readonly acceptedPaths = new AcceptedPaths()
  best = new Uint32Array(1024)
  /** By prefix, as far as there were any: the group of paths that are used; 0: the best alone. */
  #groups = new Uint32Array(0)
  /** Accepted paths by peer index. */
  readonly accepted = new Uint32Array(MAX_PEER + 1)
  readonly #deps: FamilyDeps
  readonly #queue = new IdQueue()
  /** By the indices of peers whose paths are judged again. */
  readonly #again = new PathWalk(this.paths, slot => this.paths.peer(slot))
  #candidates = new Uint32Array(64)
  /** While set: prefixes without a network of our own wait here (RFC 4724 §4.1). */
  #deferred: IdQueue | undefined

  constructor(family: AddressFamily, deps: FamilyDeps) {
    this.family = family
    this.prefixes = new PREFIX_TABLES[FAMILY[family].ip]()
    this.store = deps.store
    const { peers, tracked, nextHops } = deps
    const isSpared = (slot: number) => tracked.spares(this.#textOf(slot))
    this.reach = new PathReach(this.paths, peers, { nextHops, isSpared })
    this.groups = new ExportGroups(this, deps.groups)
    this.#deps = deps
  }

  /** Whether prefixes wait for a decision, or paths for their judgement. */
  get waiting(): boolean {
    return this.#queue.size > 0 || this.#again.waiting || this.reach.waiting || this.#deps.owners?.waiting === true
  }

  /** Whether all queues are empty: then nothing in them can belong to a peer that is gone. */
  get quiet(): boolean {
    if (this.waiting || this.#deferred !== undefined) return false
    for (const group of this.groups.all) if (!group.quiet) return false
    return true
  }

  /** Makes room for what was added to `prefixes`. */
  fit(): void {
    const { capacity } = this.prefixes
    if (capacity <= this.best.length) return
    this.best = widened(this.best, new Uint32Array(capacity))
    this.paths.fit(capacity)
  }

  /** Gives a path the received set `set`; true when the path is new. */
  announce(prefix: number, from: RibPeerState, pathId: number, set: number): boolean {
    const { paths } = this
    let slot = paths.find(prefix, from.index, pathId)
    const isNew = slot < 0
    if (isNew) {
      slot = paths.add(prefix, from.index, pathId)
      from.family(this.family).received++
    } else if (paths.received(slot) === set) {
      const marks = paths.marks(slot)
      if (marks === 0) return false
      this.#clearMarks(slot, from)
      // same attributes again: only the marks are cleared, unless the path was used with long-lived stale attributes
      if ((marks & MARK.longLived) === 0) return false
    } else this.#clearMarks(slot, from)
    this.#receive(slot, set)
    this.#accept(slot, this.#import(slot, from))
    return isNew
  }

  /** A network of our own: accepted as it is. */
  originate(prefix: number, local: RibPeerState, set: number): void {
    const { paths, store } = this
    let slot = paths.find(prefix, local.index, 0)
    if (slot < 0) slot = paths.add(prefix, local.index, 0)
    this.#receive(slot, set)
    store.hold(set)
    this.#deps.owners?.note(slot, this.prefixes.text(prefix), true)
    this.#accept(slot, set)
  }

  /** Forgets a path; false when there was none. */
  withdraw(prefix: number, from: RibPeerState, pathId: number): boolean {
    const slot = this.paths.find(prefix, from.index, pathId)
    if (slot < 0) return false
    this.remove(slot, from)
    return true
  }

  remove(slot: number, from: RibPeerState): void {
    const { paths, store } = this
    const prefix = paths.prefix(slot)
    const counts = from.family(this.family)
    if (from.index !== 0) counts.received--
    if ((paths.marks(slot) & MARK.stale) !== 0) counts.stale--
    const received = paths.received(slot)
    const accepted = paths.accepted(slot)
    this.#deps.owners?.forget(slot)
    paths.setReceived(slot, 0)
    paths.setAccepted(slot, 0)
    if (this.#isPathId(slot)) {
      paths.clearMarks(slot)
      paths.addMarks(slot, MARK.gone)
    } else paths.remove(slot)
    if (received !== 0) store.release(received)
    if (accepted !== 0) {
      this.accepted[from.index]!--
      store.release(accepted)
    }
    this.#changed(prefix)
  }

  /** Calls `visit` for every path of a peer; `visit` may remove it. */
  eachOf(peer: number, visit: (slot: number, marks: number) => void): void {
    const { paths } = this
    for (let slot = 0; slot < paths.end; slot++) {
      if (!paths.holds(slot) || paths.peer(slot) !== peer) continue
      const marks = paths.marks(slot)
      if ((marks & MARK.gone) === 0) visit(slot, marks)
    }
  }

  /**
   * Judges all paths of a peer again in `work`, and decides their prefixes again, as after a change of policy or of the peer's
   * identifier. What is announced meanwhile is judged as it will be.
   */
  importAllAgain(peer: number): void {
    const { importer, busy } = this.#deps
    this.eachOf(peer, slot => importer.outdate(this.paths.received(slot)))
    this.#again.changed(peer)
    busy()
  }

  #importAgain(slot: number): void {
    const { paths } = this
    const { importer } = this.#deps
    const received = paths.received(slot)
    // withdrawn: its path id is still in use
    if (received === 0) return
    const from = this.#deps.peerState(paths.peer(slot))
    this.#changed(paths.prefix(slot))
    importer.examine(received, from, this.family)
    const accepted = this.#import(slot, from)
    if ((paths.marks(slot) & MARK.longLived) === 0 || accepted === 0) this.#accept(slot, accepted)
    else {
      this.#accept(slot, importer.longLived(accepted, this.family))
      this.store.release(accepted)
    }
  }

  /** Makes a stale path long-lived stale; removes it when its route asks not to be kept (RFC 9494 §4.2). */
  makeLongLived(slot: number, from: RibPeerState): void {
    const accepted = this.paths.accepted(slot)
    this.paths.addMarks(slot, MARK.longLived)
    if (accepted === 0) return
    const stale = this.#deps.importer.longLived(accepted, this.family)
    if (stale === 0) this.remove(slot, from)
    else this.#accept(slot, stale)
  }

  /** Decides up to `limit` prefixes. Returns how many. */
  work(limit: number): number {
    let done = 0
    for (const slot of this.#deps.owners?.takeOutdated(limit / JUDGEMENT) ?? []) {
      this.#importAgain(slot)
      done += JUDGEMENT
    }
    // a next hop that comes and goes without pause, or rules that do, must not keep what waits already from its decision
    const share = this.#queue.size > 0 ? 2 : 1
    done += this.#again.find((limit - done) / share, JUDGEMENT, slot => this.#importAgain(slot))
    done += this.reach.find((limit - done) / share, slot => this.#changed(this.paths.prefix(slot)))
    for (; done < limit && this.#queue.size > 0; done++) {
      const prefix = this.#queue.shift()
      if (this.#deferred !== undefined && this.paths.find(prefix, 0, 0) < 0) this.#deferred.push(prefix)
      else this.#decide(prefix)
    }
    this.groups.decided()
    this.acceptedPaths.decided()
    return done
  }

  /** Decides the prefixes again that have a path with this next hop. */
  nextHopChanged(hop: number): void {
    this.reach.changed(hop)
    this.#deps.busy()
  }

  defer(on: boolean): void {
    const waited = this.#deferred ?? new IdQueue()
    this.#deferred = on ? waited : undefined
    while (!on && waited.size > 0) this.#changed(waited.shift())
  }

  /** The usable paths of a prefix: the first `count` of `slots`, good until the next call. */
  candidates(prefix: number): { slots: Uint32Array; count: number } {
    const { paths } = this
    let count = 0
    for (let slot = paths.first(prefix); slot >= 0; slot = paths.next(slot)) {
      if (this.reach.usable(slot) === 0) continue
      if (count === this.#candidates.length) this.#candidates = widened(this.#candidates, new Uint32Array(count * 2))
      this.#candidates[count++] = slot
    }
    return { slots: this.#candidates, count }
  }

  /** Decides among the candidates of a prefix without touching anything. */
  explain(prefix: number): Decided {
    const { slots, count } = this.candidates(prefix)
    const lost = new Map<number, StepName>()
    const { paths } = this
    for (let slot = paths.first(prefix); slot >= 0; slot = paths.next(slot))
      if (paths.accepted(slot) !== 0 && this.reach.usable(slot) === 0) lost.set(slot, 'reachable')
    if (count === 0) return { lost, used: new Map(), unused: new Map() }
    const columns = this.#columns()
    const { decision, multipaths } = this.#deps
    const step = decision.decide(slots.slice(0, count), count, columns, (slot, by) => lost.set(slot, by))
    const { used, unused } = multipaths.explain(slots, count, columns)
    return { best: slots[0]!, step, lost, used, unused }
  }

  peerOf(set: number): number {
    return ownerPeer(this.store.owner(set))
  }

  releasePathId(slot: number): void {
    const { paths } = this
    if ((paths.marks(slot) & MARK.gone) === 0 || this.#isPathId(slot)) return
    const prefix = paths.prefix(slot)
    paths.remove(slot)
    this.releaseUnused(prefix)
  }

  releaseUnused(prefix: number): void {
    if (this.best[prefix] !== 0 || this.paths.first(prefix) >= 0 || this.#queue.has(prefix)) return
    if (!this.prefixes.holds(prefix) || this.locRib.holds(prefix) || this.acceptedPaths.holds(prefix)) return
    // by index: this is too large to be inlined, and an iterator for each prefix of a table is 100 MB of garbage
    const { all } = this.groups
    for (let i = 0; i < all.length; i++) if (all[i]!.holds(prefix)) return
    this.prefixes.release(prefix)
  }

  #decide(prefix: number): void {
    const { store, paths } = this
    const first = paths.first(prefix)
    const { multipaths, selected } = this.#deps
    let now = 0
    let group = 0
    if (first >= 0 && paths.next(first) < 0) now = this.reach.usable(first)
    else if (first >= 0) {
      const { slots, count } = this.candidates(prefix)
      if (count > 0) {
        group = multipaths.choose(slots, count, this.#columns())
        now = paths.accepted(slots[0]!)
      }
    }
    const before = this.best[prefix]!
    const groupBefore = this.#groups[prefix] ?? 0
    if (now !== before || group !== groupBefore) {
      if (now !== 0 && now !== before) store.hold(now)
      this.best[prefix] = now
      if (group !== groupBefore) this.#setGroup(prefix, group)
      if (now !== before) this.locRib.changed(prefix, before, now)
      selected(this, prefix, now, group, before)
    }
    this.acceptedPaths.changed(prefix)
    let told = false
    for (const each of this.groups.all) if ((now !== before || each.addPath) && each.changed(prefix)) told = true
    if (now !== before && before !== 0) store.release(before)
    if (groupBefore !== 0) multipaths.release(groupBefore)
    // an export group that was told looks itself, once it has made messages of it
    if (now === 0 && !told) this.releaseUnused(prefix)
  }

  #setGroup(prefix: number, group: number): void {
    if (prefix >= this.#groups.length) this.#groups = widened(this.#groups, new Uint32Array(this.prefixes.capacity))
    this.#groups[prefix] = group
  }

  /** Decides all prefixes again, as after a change of what decides. */
  decideAll(): void {
    for (let id = 0; id < this.prefixes.end; id++) if (this.paths.first(id) >= 0) this.#changed(id)
  }

  /** What keeps a path from being used that import accepts: whose prefix it is. */
  ownedBy(slot: number): string | undefined {
    const { owners, peerState } = this.#deps
    const owner = this.paths.accepted(slot) !== 0 ? undefined : owners?.ownerOf(this.#textOf(slot))
    if (owner === undefined) return undefined
    const { key } = peerState(this.paths.peer(owner)).peer
    return `${this.#textOf(owner)} belongs to ${key === '' ? 'this speaker' : key}`
  }

  #textOf(slot: number): string {
    return this.prefixes.text(this.paths.prefix(slot))
  }

  /** The set that a path is used with, with one more reference; 0: it is not used. */
  #import(slot: number, from: RibPeerState): number {
    const { paths, prefixes, family } = this
    const { importer, owners } = this.#deps
    const accepted = importer.accept(paths.received(slot), from, paths.prefix(slot), prefixes, family)
    if (owners === undefined) return accepted
    const owns = accepted !== 0 && importer.passes(accepted, from, owners.policy)
    const text = this.#textOf(slot)
    owners.note(slot, text, owns)
    if (owns || accepted === 0 || owners.ownerOf(text) === undefined) return accepted
    this.store.release(accepted)
    return 0
  }

  /** Replaces the received set of a path. */
  #receive(slot: number, set: number): void {
    const before = this.paths.received(slot)
    this.store.hold(set)
    this.paths.setReceived(slot, set)
    if (before !== 0) this.store.release(before)
  }

  /** Replaces the accepted set of a path; takes over one reference to `accepted`. */
  #accept(slot: number, accepted: number): void {
    const { paths } = this
    const before = paths.accepted(slot)
    paths.setAccepted(slot, accepted)
    // asked for at once: when the prefix is decided the answer may be there
    this.reach.ask(slot)
    const peer = paths.peer(slot)
    if (accepted !== 0) this.accepted[peer]!++
    if (before !== 0) {
      this.accepted[peer]!--
      this.store.release(before)
    }
    if (before !== accepted) this.#changed(paths.prefix(slot))
  }

  #clearMarks(slot: number, from: RibPeerState): void {
    if ((this.paths.marks(slot) & MARK.stale) !== 0) from.family(this.family).stale--
    this.paths.clearMarks(slot)
  }

  #isPathId(slot: number): boolean {
    for (const group of this.groups.all) if (group.holdsPath(slot)) return true
    return this.acceptedPaths.holdsPath(slot)
  }

  #changed(prefix: number): void {
    const quiet = this.#queue.size === 0
    this.#queue.push(prefix)
    if (quiet) this.#deps.busy()
  }

  #columns(): Columns {
    return { paths: this.paths, facts: this.#deps.facts, peers: this.#deps.peers }
  }
}
