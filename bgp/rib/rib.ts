// The routing information base of one speaker: Adj-RIB-In, Loc-RIB and Adj-RIB-Out of RFC 4271 §3.2 behind one class.
// It has no socket and no thread of its own: `receive` takes bytes, `work` decides in slices, `pull` gives bytes.
// Inside, everything is a number: attribute sets and prefixes have ids, and their data is in typed arrays.
// Over 400 lines: what a speaker asks of its RIB, a few lines each; the parts have files of their own.
import type { Clock } from '../../lib/clock.ts'
import { addressBytes, cidr, ipv4Number } from '../../lib/ip.ts'
import type { Log } from '../../lib/log.ts'
import type { Multipath, Network, PeerConfig, SpeakerConfig, TrackedPaths } from '../config.ts'
import { type AddressFamily, perFamily, unicastFamily } from '../family.ts'
import { Policy } from '../policy.ts'
import type { NextHops, RouteSink } from '../port.ts'
import { SpeakerError } from '../speaker-error.ts'
import type { ProtocolError } from '../wire/errors.ts'
import { AdjRibIn } from './adj-rib-in.ts'
import { countsIn } from './counts.ts'
import { Decision } from './decision.ts'
import { type DumpedPath, dumpPaths, dumpPrefixes } from './dump.ts'
import { type Explanation, explainPrefix } from './explain.ts'
import { type Feed, type Follower, mergedFeeds, type Replayed } from './feed.ts'
import { HopFacts } from './hop-facts.ts'
import { Importer } from './in/importer.ts'
import type { LocRibFeed } from './loc-rib.ts'
import { Multipaths } from './multipaths.ts'
import { NextHopStates } from './next-hops.ts'
import { type OfferedFeed, OfferedTable, offeredFeed } from './offered.ts'
import { targetOf } from './out/advertisement.ts'
import { localPeer, originated } from './own-networks.ts'
import { Owners } from './owners.ts'
import { RibPeerState } from './peer-state.ts'
import { Peers } from './peers.ts'
import type { RibReader } from './reader.ts'
import { replayPaths, replaySent, withdrawUnrefreshed } from './replay.ts'
import { Restart } from './restart.ts'
import { SelectedRoutes } from './selected-route.ts'
import { type SpeakerNumbers, speakerNumbers } from './speaker-numbers.ts'
import { AttributeFacts } from './store/attribute-facts.ts'
import { AttributeStore } from './store/attribute-store.ts'
import { PathGroups } from './store/path-groups.ts'
import { MARK } from './store/path-table.ts'
import { ownerPeer } from './store/set-owner.ts'
import { FamilyTable } from './table.ts'
import type { FamilyCounts, PeerCounts, PeerDown, RibEvent, RibPeer } from './types.ts'

type RibDeps = {
  /** Absent: decisions only go to peers (a route reflector), which saves making a text per prefix. */
  sink?: RouteSink
  /** Absent: all next hops can be reached, at no cost. */
  nextHops?: NextHops
  clock: Clock
  log: Log
  /** Octets of messages kept per export group for members that read more slowly than others. Default 4 MiB. */
  backlogOctets?: number
}

const BACKLOG_OCTETS = 4 << 20
/** Prefixes per `work`: a few milliseconds. */
const SLICE = 8192

/**
 * How a speaker drives it:
 * - `onWork(listen)`: called when decisions wait; the owner then calls `work()` from a fresh event-loop turn (setImmediate)
 *   until it returns false. One call is bounded (a few milliseconds by default), so keepalives stay on time.
 * - `onPending(listen)`: called with a peer's key when `pull` has something for it and it had nothing before (it returned
 *   undefined). The owner pulls and writes until undefined or until the connection is full.
 * - After `peerUp` the owner may pull at once: the first table and its End-of-RIB come that way.
 */
export class Rib implements RibReader {
  readonly #speaker: SpeakerNumbers
  readonly #deps: RibDeps
  readonly #store: AttributeStore
  readonly #facts = new AttributeFacts()
  readonly #hops: HopFacts
  readonly #multipaths: Multipaths
  readonly #importer: Importer
  readonly #tables: Record<AddressFamily, FamilyTable>
  readonly #inOrder: readonly FamilyTable[]
  readonly #adjRibIn: AdjRibIn
  readonly #restart: Restart
  readonly #peers: Peers
  /** Our own networks come from this peer, which has no session. */
  readonly #local: RibPeerState
  #deferred = false
  /** Deferral has ended and the decisions that waited are still being made. */
  #endingDeferral = false
  readonly #selectedRoutes: SelectedRoutes
  #work: () => void = () => undefined
  #pending: (key: string) => void = () => undefined
  #event: (event: RibEvent) => void = () => undefined

  constructor(config: SpeakerConfig, deps: RibDeps) {
    this.#speaker = speakerNumbers(config)
    this.#deps = deps
    this.#store = new AttributeStore(set => this.#forget(set))
    const peerOf = (set: number) => this.#peers.byIndex[ownerPeer(this.#store.owner(set))]!.peer
    this.#hops = new HopFacts(this.#store, set => peerOf(set).interface)
    const pathGroups = new PathGroups(this.#store, group => this.#selectedRoutes.forgetGroup(group))
    this.#selectedRoutes = new SelectedRoutes(this.#store, pathGroups, peerOf)
    this.#importer = new Importer(this.#store, this.#facts, this.#speaker)
    this.#local = new RibPeerState(0, localPeer(config), this.#speaker)
    this.#local.source.local = true
    this.#peers = new Peers(this.#local, this.#speaker, {
      quiet: () => this.#allTables().every(({ quiet }) => quiet),
      overflow: waiting => {
        for (const { groups } of this.#allTables()) groups.overflow(waiting)
      },
    })
    const nextHops =
      deps.nextHops &&
      new NextHopStates({
        port: deps.nextHops,
        hops: this.#hops,
        restarting: () => this.#deferred,
        changed: hop => {
          for (const each of this.#allTables()) each.nextHopChanged(hop)
        },
      })
    const decision = new Decision({
      alwaysCompareMed: config.alwaysCompareMed ?? false,
      ...(nextHops !== undefined && { cost: set => nextHops.cost(set) }),
    })
    this.#multipaths = new Multipaths(config.multipath, { decision, hops: this.#hops, groups: pathGroups })
    const report = (event: RibEvent) => this.#event(event)
    let groupNumber = 0
    const groups = {
      facts: this.#facts,
      speaker: this.#speaker,
      backlogOctets: deps.backlogOctets ?? BACKLOG_OCTETS,
      nextNumber: () => groupNumber++,
      sourceOf: (peer: number) => this.#peers.byIndex[peer]!.source,
      report,
      wake: (peer: number) => this.#pending(this.#peers.byIndex[peer]!.peer.key),
      target: targetOf,
    }
    const table = (family: AddressFamily) =>
      new FamilyTable(family, {
        store: this.#store,
        facts: this.#facts,
        importer: this.#importer,
        decision,
        multipaths: this.#multipaths,
        nextHops,
        groups,
        peers: this.#peers.facts,
        tracked: this.#speaker.tracked,
        owners: config.owners && new Owners(config.owners),
        peerState: index => this.#peers.byIndex[index]!,
        selected: (where, prefix, now, group, before) => this.#selected(where, prefix, now, group, before),
        busy: () => this.#work(),
      })
    this.#tables = perFamily(table)
    this.#inOrder = Object.values(this.#tables)
    this.#restart = new Restart({
      clock: deps.clock,
      tables: this.#tables,
      report,
      swept: peer => this.#peers.retire(peer),
    })
    this.#adjRibIn = new AdjRibIn({
      store: this.#store,
      importer: this.#importer,
      tables: this.#tables,
      report,
      endOfRib: (from, family) => {
        this.#restart.sweep(from, family, MARK.stale)
        report({ type: 'end-of-rib', key: from.peer.key, family })
      },
    })
  }

  onWork(listen: () => void): void {
    this.#work = listen
  }

  onPending(listen: (key: string) => void): void {
    this.#pending = listen
  }

  onEvent(listen: (event: RibEvent) => void): void {
    this.#event = listen
  }

  /** A session reached Established. Routes retained under its key stay stale until announced again or swept. */
  peerUp(peer: RibPeer): void {
    if (this.#peers.get(peer.key)?.up === true) this.peerDown(peer.key, { retain: false })
    const before = this.#peers.get(peer.key)?.peer.interface
    const state = this.#peers.add(peer)
    // another link is another next hop
    if (peer.interface !== before)
      for (const table of this.#allTables())
        table.eachOf(state.index, slot => this.#hops.forget(table.paths.accepted(slot)))
    state.up = true
    state.discarded = state.treatedAsWithdrawn = 0
    this.#restart.up(state)
    for (const table of this.#allTables())
      if (state.family(table.family).received > 0) table.importAllAgain(state.index)
    if (peer.source === true) return
    for (const family of peer.families) {
      this.#tables[family].groups.join(state.index, peer)
      this.#tables[family].acceptedPaths.join(state)
    }
  }

  /** The session ended. Unknown keys are ignored. */
  peerDown(key: string, how: PeerDown): void {
    const state = this.#peers.get(key)
    if (state === undefined) return
    state.up = false
    for (const table of this.#allTables()) {
      table.groups.leave(state.index)
      table.acceptedPaths.leave(state.index)
    }
    this.#restart.down(state, how)
    this.#peers.retire(state)
  }

  /**
   * One UPDATE body. An error means: end the session with it (also Cease/Maximum Number of Prefixes Reached). All other
   * faults are handled inside and reported as events. `bytes` may be reused after the call.
   */
  receive(key: string, bytes: Uint8Array, start: number, end: number): ProtocolError | undefined {
    const state = this.#peers.get(key)
    if (state?.up !== true) throw new SpeakerError('closed', `no session with ${key}`)
    return this.#adjRibIn.receive(state, bytes, start, end)
  }

  /**
   * An incoming ROUTE-REFRESH (RFC 2918) or its RFC 7313 subtypes. 'request' sends the family again through `pull`
   * (between BoRR and EoRR when the peer knows them); 'begin' and 'end' are the peer's BoRR and EoRR.
   */
  refresh(key: string, family: AddressFamily, kind: 'request' | 'begin' | 'end'): void {
    const state = this.#peers.get(key)
    if (state === undefined) return
    if (kind === 'begin') this.#restart.beginRefresh(state, family)
    else if (kind === 'end') this.#restart.sweep(state, family, MARK.unrefreshed)
    else {
      const membership = this.#tables[family].groups.membership(state.index)
      membership?.group.resend(membership.member, { framed: state.peer.enhancedRefresh })
    }
  }

  /** Decides up to `limit` prefixes; true while more are waiting. */
  work(limit = SLICE): boolean {
    const tables = this.#allTables()
    let left = limit
    for (const table of tables) left -= table.work(left)
    if (tables.some(({ waiting }) => waiting)) return true
    if (this.#endingDeferral) {
      this.#endingDeferral = false
      for (const table of tables) for (const group of table.groups.all) group.postponeEndOfRib()
    }
    return false
  }

  /**
   * Bytes for a peer, at most about `maxBytes` (one block more at most): each element holds one or more whole messages
   * and may be shared with other peers, so it must not be changed. An empty list: there is more, ask again after the other
   * peers. Undefined: the peer has everything.
   */
  pull(key: string, maxBytes: number): Uint8Array[] | undefined {
    const state = this.#peers.get(key)
    if (state === undefined) return undefined
    const blocks: Uint8Array[] = []
    let left = maxBytes
    for (const { groups } of this.#allTables()) {
      const membership = groups.membership(state.index)
      if (membership === undefined || left <= 0) continue
      left -= membership.group.pull(membership.member, left, blocks, this.#isDeferred)
    }
    return blocks.length === 0 && left > 0 ? undefined : blocks
  }

  /** Originates a prefix, replacing an earlier announcement of it. Throws on text that is not a CIDR. */
  announce(network: Network): void {
    const { table, octets, length } = this.#locate(network.prefix)
    const prefix = table.prefixes.add(octets, 0, length)
    table.fit()
    const set = this.#importer.store(originated(network), this.#local.canonical, table.family)
    table.originate(prefix, this.#local, set)
    this.#store.release(set)
  }

  withdraw(prefix: string): void {
    const { table, octets, length } = this.#locate(prefix)
    const id = table.prefixes.find(octets, 0, length)
    if (id >= 0) table.withdraw(id, this.#local, 0)
  }

  /**
   * Replaces policies and limits of a peer and evaluates its routes again in `work`, without a reset (soft reconfiguration).
   * Throws, changing nothing, when a rule has an invalid community or CIDR.
   */
  setPolicies(key: string, config: PeerConfig): void {
    const state = this.#peers.get(key)
    if (state === undefined) return
    const { reflectorClient: client, group } = state.peer.config
    // throws for invalid rules, before anything has changed
    for (const rules of [config.import, config.export]) new Policy(rules, { external: true })
    state.set({ ...state.peer, config }, this.#speaker)
    this.#peers.track(state)
    this.soft(key, 'in')
    for (const table of this.#allTables()) table.groups.move(state.index, state.peer)
    // whose routes go where depends on who is a client, and on groups
    if (client !== config.reflectorClient || group !== config.group) this.#rebuildGroups()
  }

  /** Another cluster id, a dotted quad: what came is judged again, and what is reflected goes out anew. */
  setClusterId(clusterId: string): void {
    this.#speaker.clusterId = ipv4Number(clusterId)
    for (const state of this.#peers.values()) {
      state.set(state.peer, this.#speaker)
      this.soft(state.peer.key, 'in')
    }
    this.#rebuildGroups()
  }

  /** Other rules for the use of several paths; undefined: one of each prefix. What is selected is decided again. */
  setMultipath(rule: Multipath | undefined): void {
    this.#multipaths.rule = rule
    for (const table of this.#allTables()) table.decideAll()
  }

  /** Other paths need a next hop that can be reached; undefined: all. Throws for what is no CIDR, changing nothing. What is selected is decided again. */
  setTracked(tracked: TrackedPaths | undefined): void {
    this.#speaker.tracked.set(tracked)
    for (const state of this.#peers.values()) this.#peers.track(state)
    for (const table of this.#allTables()) table.decideAll()
  }

  /** Whether what is announced asks for other paths (RFC 8326); it goes out anew. */
  setDraining(draining: boolean): void {
    this.#speaker.draining = draining
    this.#rebuildGroups()
  }

  /** Evaluates import policy again, in `work` ('in'), or sends everything again ('out'): an operator's soft clear. */
  soft(key: string, direction: 'in' | 'out'): void {
    const state = this.#peers.get(key)
    if (state === undefined) return
    for (const table of this.#allTables()) {
      const membership = table.groups.membership(state.index)
      if (direction === 'out') membership?.group.resend(membership.member, { framed: false })
      else table.importAllAgain(state.index)
    }
  }

  /**
   * While true (our own graceful restart, RFC 4724 §4.1) only prefixes that we originate are decided and announced and no
   * End-of-RIB is sent; switching it off decides the rest.
   */
  defer(on: boolean): void {
    this.#endingDeferral = this.#deferred && !on
    this.#deferred = on
    for (const table of this.#allTables()) table.defer(on)
    this.#work()
  }

  /** Every candidate of a prefix, accepted or not, and the step of the decision process it lost in. */
  explain(prefix: string): Explanation | undefined {
    const { table, octets, length } = this.#locate(prefix)
    const id = table.prefixes.find(octets, 0, length)
    return id < 0 ? undefined : explainPrefix(table, id, this.#peers.byIndex, this.#importer)
  }

  /** See `RibReader`. */
  *unused(key: string): Generator<string> {
    const state = this.#peers.get(key)
    if (state === undefined) return
    for (const { paths, prefixes } of this.#allTables())
      for (let slot = 0; slot < paths.end; slot++)
        if (
          paths.holds(slot) &&
          paths.peer(slot) === state.index &&
          paths.received(slot) !== 0 &&
          paths.accepted(slot) === 0
        )
          yield prefixes.text(paths.prefix(slot))
  }

  /**
   * Every path of a family as received and, in `accepted`, as used; in no order. Peers are named by key, our own networks
   * have the empty key. The table may change between two steps: a path is given as it is when the walk reaches it.
   */
  dump(family: AddressFamily): Generator<DumpedPath> {
    return dumpPaths(this.#tables[family], this.#peers.byIndex, this.#importer)
  }

  /** As `dump`, prefix by prefix: all paths of one prefix at a time, at least one. */
  dumpPrefixes(family: AddressFamily): Generator<DumpedPath[]> {
    return dumpPrefixes(this.#tables[family], this.#peers.byIndex, this.#importer)
  }

  /**
   * The current paths of all peers with a session, written as UPDATEs, in steps of a few milliseconds; the table may change
   * between two steps. The width of AS numbers and the use of path ids are those of each session.
   */
  replay(family: AddressFamily): Generator<Replayed | undefined> {
    return replayPaths(this.#tables[family], this.#peers.byIndex)
  }

  /** See `RibReader`. */
  replaySent(family: AddressFamily): Generator<Replayed> {
    return replaySent(this.#tables[family], [...this.#peers.values()])
  }

  /** The UPDATEs that withdraw what a peer has not sent again since its BoRR. To be called before its EoRR is handled. */
  unrefreshed(key: string, family: AddressFamily): Uint8Array {
    const state = this.#peers.get(key)
    return state === undefined ? new Uint8Array(0) : withdrawUnrefreshed(this.#tables[family], state)
  }

  selectedCount(family: AddressFamily): number {
    return this.#tables[family].locRib.size
  }

  /** See `RibReader`. */
  followSelected(follower: Follower): LocRibFeed {
    return mergedFeeds(this.#allTables().map(table => table.locRib.follow(table, follower)))
  }

  /** See `RibReader`. */
  followAccepted(follower: Follower): Feed<Replayed> {
    const states = [...this.#peers.values()]
    return mergedFeeds(
      this.#allTables().map(table => {
        const there = states.filter(({ index }) => table.groups.membership(index) !== undefined)
        return table.acceptedPaths.follow(table, follower, there)
      }),
    )
  }

  /** See `RibReader`. */
  followOffered(follower: Follower): OfferedFeed {
    const states = [...this.#peers.values()]
    return offeredFeed(
      this.#allTables().map(({ family, groups, locRib, paths }) => {
        const feed = new OfferedTable({
          ...{ groups, follower },
          peers: states.filter(({ index }) => groups.membership(index) !== undefined),
          // with ADD-PATH a prefix is looked at for each of its paths, used or not
          present: ({ addPath }) => (addPath ? paths.size : locRib.size),
          deferred: () => this.#isDeferred,
        })
        return { family, feed }
      }),
      key => this.#peers.get(key)?.index,
    )
  }

  /** Every peer that has a session, or stale routes of an earlier one, or is a source. */
  peers(): RibPeer[] {
    return [...this.#peers.values()].map(({ peer }) => peer)
  }

  counts(key: string): PeerCounts | undefined {
    const state = this.#peers.get(key)
    if (state === undefined) return undefined
    const sum = { received: 0, accepted: 0, announced: 0, stale: 0, messagesOut: 0 }
    for (const table of this.#allTables()) {
      const counts = countsIn(table, state)
      for (const each of Object.keys(sum) as (keyof typeof sum)[]) sum[each] += counts[each]
    }
    const { discarded, treatedAsWithdrawn } = state
    return { ...sum, discarded, treatedAsWithdrawn }
  }

  familyCounts(key: string): ReadonlyMap<AddressFamily, FamilyCounts> {
    const state = this.#peers.get(key)
    return new Map(state && this.#allTables().map(table => [table.family, countsIn(table, state)] as const))
  }

  /** Sizes for benchmarks and metrics: sets and prefixes held, and octets of the arena. */
  sizes(): { sets: number; arenaOctets: number; prefixes: number; paths: number } {
    const tables = this.#allTables()
    return {
      sets: this.#store.size,
      arenaOctets: this.#store.octets.reserved,
      prefixes: tables.reduce((sum, { prefixes }) => sum + prefixes.size, 0),
      paths: tables.reduce((sum, { paths }) => sum + paths.size, 0),
    }
  }

  /** Cancels every timer; no listener is called any more. */
  close(): void {
    for (const state of this.#peers.values()) this.#restart.close(state)
    this.#work = this.#pending = this.#event = () => undefined
  }

  /** Nobody gets an End-of-RIB yet. */
  get #isDeferred(): boolean {
    return this.#deferred || this.#endingDeferral
  }

  #allTables(): readonly FamilyTable[] {
    return this.#inOrder
  }

  /** The table of a prefix and its octets. Throws on text that is not a CIDR. */
  #locate(prefix: string): { table: FamilyTable; octets: Uint8Array; length: number } {
    const { family, address, length } = cidr(prefix)
    return { table: this.#tables[unicastFamily(family)], octets: addressBytes(address), length }
  }

  #rebuildGroups(): void {
    for (const table of this.#allTables()) for (const group of table.groups.all) group.rebuild()
  }

  #selected(table: FamilyTable, prefix: number, now: number, group: number, before: number): void {
    const { sink } = this.#deps
    if (sink === undefined) return
    const text = table.prefixes.text(prefix)
    if (now !== 0 && table.peerOf(now) !== 0) sink.selected(this.#selectedRoutes.routeOf(text, now, group))
    else if (before !== 0 && table.peerOf(before) !== 0) sink.withdrawn(text)
  }

  #forget(set: number): void {
    this.#importer.forget(set)
    this.#selectedRoutes.forget(set)
    this.#hops.forget(set)
    for (const { groups } of this.#allTables()) groups.forget(set)
  }
}
