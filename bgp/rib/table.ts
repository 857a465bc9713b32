// One address family of the RIB: its prefixes, their paths (Adj-RIB-In), the selected one (Loc-RIB) and the export groups
// that are fed from it. Changes are queued and decided later in slices, so that a prefix which changes often is decided
// once.
import type { AddressFamily } from '../family.ts'
import type { Columns, Decision, StepName } from './decision.ts'
import type { Importer } from './in/importer.ts'
import type { ExportGroup, GroupTable } from './out/export-group.ts'
import type { RibPeerState } from './peer-state.ts'
import type { AttributeFacts } from './store/attribute-facts.ts'
import type { AttributeStore } from './store/attribute-store.ts'
import { IdQueue } from './store/id-queue.ts'
import { MARK, PATH, PathTable, PEER_MASK, STRIDE } from './store/path-table.ts'
import { Ipv4Prefixes, Ipv6Prefixes, type PrefixTable, widened } from './store/prefix-table.ts'

export type FamilyDeps = {
  store: AttributeStore
  facts: AttributeFacts
  importer: Importer
  decision: Decision
  peers: Columns['peers']
  /** A set was selected for a prefix (0: none) instead of another one. */
  selected(table: FamilyTable, prefix: number, now: number, before: number): void
  /** There is something to decide. */
  busy(): void
  wake(peer: number): void
}

export class FamilyTable implements GroupTable {
  readonly family: AddressFamily
  readonly prefixes: PrefixTable
  readonly paths = new PathTable()
  readonly store: AttributeStore
  readonly groups = new Map<string, ExportGroup>()
  best = new Uint32Array(1024)
  /** Accepted paths by peer index. */
  readonly accepted = new Uint32Array(1 << 16)
  readonly #deps: FamilyDeps
  readonly #queue = new IdQueue()
  #candidates = new Uint32Array(64)
  /** While set: prefixes without a network of our own wait here (RFC 4724 §4.1). */
  #deferred: number[] | undefined

  constructor(family: AddressFamily, deps: FamilyDeps) {
    this.family = family
    this.prefixes = family === 'ipv4-unicast' ? new Ipv4Prefixes() : new Ipv6Prefixes()
    this.store = deps.store
    this.#deps = deps
  }

  /** Prefixes that wait for a decision. */
  get waiting(): number {
    return this.#queue.size
  }

  /** Nothing waits anywhere: whatever a peer that is gone has left behind is worked off. */
  get quiet(): boolean {
    if (this.#queue.size > 0 || this.#deferred !== undefined) return false
    for (const group of this.groups.values()) if (!group.quiet) return false
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
    const { paths, store } = this
    let slot = paths.find(prefix, from.index, pathId)
    const isNew = slot < 0
    if (isNew) {
      slot = paths.add(prefix, from.index, pathId)
      from.family(this.family).received++
    } else if (paths.words[slot * STRIDE + PATH.received] === set) {
      const marks = paths.words[slot * STRIDE + PATH.peer]! & ~PEER_MASK
      if (marks === 0) return false
      this.#clearMarks(slot, from)
      // a route that only waited for its peer was good all the time
      if ((marks & MARK.longLived) === 0) return false
    } else this.#clearMarks(slot, from)
    const at = slot * STRIDE
    const received = paths.words[at + PATH.received]!
    store.hold(set)
    paths.words[at + PATH.received] = set
    if (received !== 0) store.release(received)
    this.#accept(slot, this.#deps.importer.accept(set, from, prefix, this.prefixes, this.family))
    return isNew
  }

  /** A network of our own: accepted as it is. */
  originate(prefix: number, local: RibPeerState, set: number): void {
    const { paths, store } = this
    let slot = paths.find(prefix, local.index, 0)
    if (slot < 0) slot = paths.add(prefix, local.index, 0)
    const at = slot * STRIDE
    store.hold(set)
    const received = paths.words[at + PATH.received]!
    paths.words[at + PATH.received] = set
    if (received !== 0) store.release(received)
    store.hold(set)
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
    const at = slot * STRIDE
    const { words } = paths
    const prefix = words[at + PATH.prefix]!
    const counts = from.family(this.family)
    if (from.index !== 0) counts.received--
    if ((words[at + PATH.peer]! & MARK.stale) !== 0) counts.stale--
    const received = words[at + PATH.received]!
    const accepted = words[at + PATH.accepted]!
    words[at + PATH.received] = words[at + PATH.accepted] = 0
    if (this.#isPathId(slot)) words[at + PATH.peer] = (words[at + PATH.peer]! & PEER_MASK) | MARK.gone
    else paths.remove(slot)
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
      if (!paths.holds(slot)) continue
      const owner = paths.words[slot * STRIDE + PATH.peer]!
      if ((owner & PEER_MASK) === peer && (owner & MARK.gone) === 0) visit(slot, owner & ~PEER_MASK)
    }
  }

  mark(slot: number, marks: number): void {
    this.paths.words[slot * STRIDE + PATH.peer]! |= marks
  }

  /** Applies import again to a path and decides its prefix again, as after a change of policy or of the peer's identifier. */
  importAgain(slot: number, from: RibPeerState): void {
    const { words } = this.paths
    const at = slot * STRIDE
    this.#changed(words[at + PATH.prefix]!)
    const set = words[at + PATH.received]!
    const accepted = this.#deps.importer.accept(set, from, words[at + PATH.prefix]!, this.prefixes, this.family)
    if ((words[at + PATH.peer]! & MARK.longLived) === 0 || accepted === 0) this.#accept(slot, accepted)
    else {
      this.#accept(slot, this.#deps.importer.longLived(accepted, this.family))
      this.store.release(accepted)
    }
  }

  /** Makes a stale path long-lived stale; removes it when its route asks not to be kept (RFC 9494 §4.2). */
  makeLongLived(slot: number, from: RibPeerState): void {
    const accepted = this.paths.words[slot * STRIDE + PATH.accepted]!
    this.mark(slot, MARK.longLived)
    if (accepted === 0) return
    const stale = this.#deps.importer.longLived(accepted, this.family)
    if (stale === 0) this.remove(slot, from)
    else this.#accept(slot, stale)
  }

  /** Decides up to `limit` prefixes; how many. */
  work(limit: number): number {
    let done = 0
    for (; done < limit && this.#queue.size > 0; done++) {
      const prefix = this.#queue.shift()
      if (this.#deferred !== undefined && this.paths.find(prefix, 0, 0) < 0) this.#deferred.push(prefix)
      else this.#decide(prefix)
    }
    return done
  }

  defer(on: boolean): void {
    const waited = this.#deferred ?? []
    this.#deferred = on ? waited : undefined
    if (!on) for (const prefix of waited) this.#changed(prefix)
  }

  /** The accepted paths of a prefix into `into` (grown if needed): how many. */
  candidates(prefix: number): { paths: Uint32Array; count: number } {
    const { words, heads } = this.paths
    let count = 0
    for (let link = heads[prefix]!; link !== 0; link = words[(link - 1) * STRIDE + PATH.next]!) {
      if (words[(link - 1) * STRIDE + PATH.accepted] === 0) continue
      if (count === this.#candidates.length) this.#candidates = widened(this.#candidates, new Uint32Array(count * 2))
      this.#candidates[count++] = link - 1
    }
    return { paths: this.#candidates, count }
  }

  /** Decides among the candidates of a prefix without touching anything. */
  explain(prefix: number): { best: number; step: StepName; lost: Map<number, StepName> } | undefined {
    const { paths, count } = this.candidates(prefix)
    const lost = new Map<number, StepName>()
    if (count === 0) return undefined
    const step = this.#deps.decision.decide(paths, count, this.#columns(), (path, by) => lost.set(path, by))
    return { best: paths[0]!, step, lost }
  }

  peerOf(set: number): number {
    return this.store.owner(set) >>> 1
  }

  wake(peer: number): void {
    this.#deps.wake(peer)
  }

  releasePathId(slot: number): void {
    const { words } = this.paths
    if ((words[slot * STRIDE + PATH.peer]! & MARK.gone) === 0 || this.#isPathId(slot)) return
    const prefix = words[slot * STRIDE + PATH.prefix]!
    this.paths.remove(slot)
    this.releaseUnused(prefix)
  }

  releaseUnused(prefix: number): void {
    if (this.best[prefix] !== 0 || this.paths.heads[prefix] !== 0 || this.#queue.has(prefix)) return
    if (!this.prefixes.holds(prefix)) return
    for (const group of this.groups.values()) if (group.holds(prefix)) return
    this.prefixes.release(prefix)
  }

  #decide(prefix: number): void {
    const { words, heads } = this.paths
    const { store } = this
    const first = heads[prefix]!
    let now = 0
    if (first !== 0 && words[(first - 1) * STRIDE + PATH.next] === 0) now = words[(first - 1) * STRIDE + PATH.accepted]!
    else if (first !== 0) {
      const { paths, count } = this.candidates(prefix)
      if (count > 0) now = words[this.#deps.decision.best(paths, count, this.#columns()) * STRIDE + PATH.accepted]!
    }
    const before = this.best[prefix]!
    if (now !== before) {
      if (now !== 0) store.hold(now)
      this.best[prefix] = now
      this.#deps.selected(this, prefix, now, before)
    }
    for (const group of this.groups.values()) if (now !== before || group.addPath) group.changed(prefix)
    if (now !== before && before !== 0) store.release(before)
    if (now === 0) this.releaseUnused(prefix)
  }

  /** Takes over one reference to `accepted`. */
  #accept(slot: number, accepted: number): void {
    const { words } = this.paths
    const at = slot * STRIDE + PATH.accepted
    const before = words[at]!
    words[at] = accepted
    const peer = words[slot * STRIDE + PATH.peer]! & PEER_MASK
    if (accepted !== 0) this.accepted[peer]!++
    if (before !== 0) {
      this.accepted[peer]!--
      this.store.release(before)
    }
    if (before !== accepted) this.#changed(words[slot * STRIDE + PATH.prefix]!)
  }

  #clearMarks(slot: number, from: RibPeerState): void {
    const at = slot * STRIDE + PATH.peer
    if ((this.paths.words[at]! & MARK.stale) !== 0) from.family(this.family).stale--
    this.paths.words[at]! &= PEER_MASK
  }

  #isPathId(slot: number): boolean {
    for (const group of this.groups.values()) if (group.holdsPath(slot)) return true
    return false
  }

  #changed(prefix: number): void {
    const quiet = this.#queue.size === 0
    this.#queue.push(prefix)
    if (quiet) this.#deps.busy()
  }

  #columns(): Columns {
    return { words: this.paths.words, facts: this.#deps.facts, peers: this.#deps.peers }
  }
}
