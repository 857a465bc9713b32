// The BGP speaker: peers, listeners and originated networks with one RIB. A process may have several; after `close` no timer
// and no socket is left.
// Over 400 lines: what an owner may ask of a speaker, a few lines each; the parts have files of their own.

import { isDeepStrictEqual } from 'node:util'
import { type Clock, systemClock } from '../lib/clock.ts'
import { isLinkLocal } from '../lib/ip.ts'
import { type Log, silentLog } from '../lib/log.ts'
import { type Arrival, Arrivals } from './arrivals.ts'
import { BfdPaths } from './bfd-paths.ts'
import type { SessionWatcher } from './bmp/session-watcher.ts'
import { resetReasons } from './change.ts'
import {
  type Multipath,
  type Network,
  nameOf,
  type PeerConfig,
  type PeerStatus,
  type RangeStatus,
  type SpeakerConfig,
  type TrackedPaths,
} from './config.ts'
import { DynamicNeighbours } from './dynamic-neighbours.ts'
import type { AddressFamily } from './family.ts'
import { FaultLog } from './fault-log.ts'
import type { Heard } from './hearing.ts'
import { LateAnswers } from './late-answers.ts'
import { type ListenerCounts, Listeners } from './listeners.ts'
import { OwnRestart } from './own-restart.ts'
import { type ClearKind, Peer, type PeerDeps } from './peer.ts'
import { Policy } from './policy.ts'
import type {
  BfdPort,
  BgpConnection,
  Discover,
  Listener,
  ListenOptions,
  NextHops,
  RouteSink,
  SocketOptions,
  Transport,
} from './port.ts'
import type { Explanation } from './rib/explain.ts'
import type { RibReader } from './rib/reader.ts'
import { Rib } from './rib/rib.ts'
import type { RibEvent } from './rib/types.ts'
import { openSource, type RouteSource, type RouteSourceConfig } from './route-source.ts'
import { SpeakerError } from './speaker-error.ts'
import { CEASE } from './wire/iana.ts'
import { cease } from './wire/notification.ts'
import { WorkQueue } from './work-queue.ts'

export type SpeakerDeps = {
  transport: Transport
  /** Absent: routes are only passed on to peers. */
  sink?: RouteSink
  /** Absent: all next hops can be reached, at no cost. */
  nextHops?: NextHops
  /** Needed to dial unnumbered peers; without it they must connect to us. */
  discover?: Discover
  /** Needed by peers with `bfd`. */
  bfd?: BfdPort
  clock?: Clock
  log?: Log
  /** [0, 1), for the jitter of timers (RFC 4271 §10). */
  random?: () => number
  /**
   * An earlier process ended without a Cease: this one does a graceful restart (RFC 4724 §4.1). It selects learned routes
   * only when the peers have sent theirs again, and announces own networks at once.
   */
  restarting?: boolean
  /**
   * Resolves once what the sink was told so far stands where it puts it. A peer that asks for our routes is answered after that,
   * or some seconds later: by the answer it knows that we have what it had announced before. Absent: it is answered at once.
   */
  settled?: () => Promise<unknown>
}

/** For a last NOTIFICATION to arrive, and for the peer to close. */
const CLOSE_MS = 100

export class Speaker {
  #config: SpeakerConfig
  readonly #deps: PeerDeps
  readonly #rib: Rib
  readonly #log: Log
  readonly #workQueue = new WorkQueue()
  readonly #peers = new Map<string, Peer>()
  /** Those with an address in their configuration, by it: a flood of connections must not cost a look at all peers each. */
  readonly #byAddress = new Map<string, Set<Peer>>()
  readonly #dynamic: DynamicNeighbours
  readonly #sources = new Set<string>()
  readonly #listeners: Listeners
  readonly #arrivals: Arrivals<Peer>
  readonly #restart: OwnRestart
  readonly #bfd: BfdPaths
  readonly #hasBfd: boolean
  readonly #watchers = new Set<(status: PeerStatus) => void>()
  readonly #forgottenWatchers = new Set<(name: string) => void>()
  readonly #faults: FaultLog
  readonly #faultWatchers = new Set<(event: RibEvent) => void>()
  readonly #sessionWatchers = new Set<SessionWatcher>()
  /** What waits until learned routes are selected. */
  readonly #afterRestart: (() => void)[] = []
  #draining = false
  #closed = false

  constructor(config: SpeakerConfig, deps: SpeakerDeps) {
    const { clock = systemClock, log = silentLog, random = Math.random } = deps
    this.#config = config
    this.#log = log
    this.#faults = new FaultLog(log, clock)
    this.#listeners = new Listeners(deps.transport, clock)
    this.#arrivals = new Arrivals(this.#workQueue, arrival => this.#take(arrival))
    this.#dynamic = new DynamicNeighbours({
      clock,
      add: config => this.#add(config),
      drop: (peer, subcode) => this.#drop(peer, subcode),
      hasStaleRoutes: peer => (this.#rib.counts(peer.name)?.stale ?? 0) > 0,
    })
    this.#rib = new Rib(config, { sink: deps.sink, nextHops: deps.nextHops, clock, log })
    this.#bfd = new BfdPaths(deps.bfd, clock)
    this.#hasBfd = deps.bfd !== undefined
    this.#restart = new OwnRestart(clock, { active: deps.restarting === true, over: () => this.#restartOver() })
    if (this.#restart.active) this.#rib.defer(true)
    const answers = new LateAnswers({ clock, decided: then => this.#selected(then), settled: deps.settled })
    this.#deps = {
      speaker: config,
      rib: this.#rib,
      clock,
      log,
      random,
      transport: deps.transport,
      workQueue: this.#workQueue,
      discover: deps.discover,
      bfd: this.#bfd,
      restarting: () => this.#restart.active,
      watchers: this.#sessionWatchers,
      changed: peer => this.#changed(peer),
      restartDone: peer => this.#restart.done(peer.name),
      lost: peer => this.#restart.sessionLost(peer.name),
      unreachable: peer => this.#restart.unreachable(peer.name),
      moved: (peer, before) => this.#moved(peer, before),
      answer: (key, answer) => answers.give(key, answer),
    }
    const work = () => this.#rib.work()
    this.#rib.onWork(() => this.#workQueue.enqueue(work))
    this.#rib.onPending(key => this.#peers.get(key)?.pending())
    this.#rib.onEvent(event => this.#ribEvent(event))
  }

  get config(): SpeakerConfig {
    return this.#config
  }

  /** Whether all that was received or announced so far is decided, and has gone out as far as peers read it. */
  get idle(): boolean {
    return this.#workQueue.idle
  }

  /** Connections that no peer or range wanted, since the start. */
  get listenerCounts(): Readonly<ListenerCounts> {
    return this.#listeners.counts
  }

  /** What `setPeer` with this configuration would reset and why; empty when no session ends. */
  plan(config: PeerConfig): string[] {
    const name = nameOf(config)
    const old = this.#peers.get(name)?.config ?? this.#dynamic.range(name)
    return old === undefined ? [] : resetReasons(old, config)
  }

  /**
   * Adds or changes a peer, known by its name. Answers what was reset and why: empty unless the change forces it. A peer
   * with a `range` is a pattern for the neighbours that connect from it, and one with an address takes the place of such a neighbour. Throws, changing nothing, for a rule that names
   * no community (`bad-rule`) or no CIDR (`bad-address`), and for BFD where the speaker was given none (`no-bfd`).
   */
  setPeer(config: PeerConfig): string[] {
    if (this.#closed) throw new SpeakerError('closed', 'the speaker is closed')
    const name = nameOf(config)
    if (this.#sources.has(name)) throw new SpeakerError('name-taken', `a source of routes is called ${name}`)
    if (config.bfd !== undefined && !this.#hasBfd)
      throw new SpeakerError('no-bfd', `peer ${name} asks for BFD: give the speaker a BfdPort, or remove bfd`)
    // throws for rules that name no community or no CIDR, before anything has changed
    for (const rules of [config.import, config.export]) new Policy(rules, { external: true })
    const reasons = this.plan(config)
    for (const because of reasons) this.#log.warn({ peer: name, because }, 'the session will be reset')
    // a peer is no range any more, or a range no peer
    if (isRange(config) ? this.#peers.has(name) : this.#dynamic.range(name) !== undefined) this.removePeer(name)
    if (isRange(config)) this.#setRange(name, config)
    else {
      if (config.address !== undefined && !config.dialOnly) this.#dynamic.displace(config.address)
      const peer = this.#peers.get(name)
      const old = peer?.config
      if (peer === undefined) this.#add(config)
      else {
        this.#unplace(peer)
        peer.configure(config)
        this.#place(peer)
      }
      if (old !== undefined) this.#forgetOptions(old, config)
      // another one may have the address that this one had
      if (old?.address !== undefined && old.address !== config.address) this.#protect(old.address)
    }
    if (isRange(config)) this.#requireOfRange(config)
    else this.#protect(config.address)
    return reasons
  }

  /** Ends and forgets a peer, or a range with all its neighbours: Cease/Peer De-configured. */
  removePeer(name: string): void {
    const range = this.#dynamic.range(name)
    this.#dynamic.delete(name)
    if (range !== undefined) this.#restart.done(name)
    const peer = this.#peers.get(name)
    if (peer !== undefined) this.#drop(peer)
    const config = range ?? peer?.config
    if (config === undefined) return
    this.#forgetOptions(config)
    if (config.range === undefined) this.#forgetAddress(config.address ?? peer?.address)
  }

  /** Another cluster id; undefined: the router id. No session ends: what is reflected goes out anew, and what came is judged again. */
  setClusterId(clusterId: string | undefined): void {
    const { clusterId: before, ...config } = this.#config
    if (clusterId === before) return
    this.#config = clusterId === undefined ? config : { ...config, clusterId }
    this.#rib.setClusterId(clusterId ?? config.routerId)
  }

  /** Other rules for the use of several paths; undefined: one of each prefix. No session ends. */
  setMultipath(multipath: Multipath | undefined): void {
    const { multipath: before, ...config } = this.#config
    if (isDeepStrictEqual(multipath, before)) return
    this.#config = multipath === undefined ? config : { ...config, multipath }
    this.#rib.setMultipath(multipath)
  }

  /**
   * Other paths need a next hop that can be reached; undefined: all. Throws for what is no CIDR, changing nothing. No session ends: what is
   * selected is decided again.
   */
  setTracked(tracked: TrackedPaths | undefined): void {
    const { tracked: before, ...config } = this.#config
    if (isDeepStrictEqual(tracked, before)) return
    this.#rib.setTracked(tracked)
    this.#config = tracked === undefined ? config : { ...config, tracked }
  }

  /**
   * Whether this speaker will go soon (RFC 8326 §4.2): all it announces carries GRACEFUL_SHUTDOWN, and LOCAL_PREF 0 inside the AS, so that
   * others take other paths while this one still carries packets. No session ends.
   */
  setDraining(draining: boolean): void {
    if (draining === this.#draining) return
    this.#draining = draining
    this.#rib.setDraining(draining)
  }

  peers(): PeerStatus[] {
    return [...this.#peers.values()].map(peer => peer.status())
  }

  /** Undefined where no peer is called so. */
  peer(name: string): PeerStatus | undefined {
    return this.#peers.get(name)?.status()
  }

  /** The ranges with the numbers of their neighbours, which are among `peers`. */
  ranges(): RangeStatus[] {
    return this.#dynamic.status()
  }

  /**
   * Sets which addresses ranges may take connections from; by default all. A neighbour whose address is none of them ends. Asked at each
   * connection: call this again when it answers otherwise.
   */
  admit(admits: (address: string) => boolean): void {
    this.#dynamic.admit(admits)
  }

  /** The configurations in force, ranges included. */
  configured(): PeerConfig[] {
    const fixed = [...this.#peers.values()].filter(peer => !this.#dynamic.has(peer)).map(peer => peer.config)
    return [...fixed, ...this.#dynamic.configs()]
  }

  /** Originates a prefix; replaces an earlier announcement of it. Throws on text that is not a CIDR. */
  announce(network: Network): void {
    this.#rib.announce(network)
  }

  withdraw(prefix: string): void {
    this.#rib.withdraw(prefix)
  }

  /** Opens a source of routes that is no session. Throws when a peer or another source has its name. */
  openSource(config: RouteSourceConfig): RouteSource {
    const { name } = config
    if (this.#closed) throw new SpeakerError('closed', 'the speaker is closed')
    if (this.#peers.has(name) || this.#sources.has(name))
      throw new SpeakerError('name-taken', `${name} is taken: name the source otherwise`)
    const source = openSource(this.#rib, this.#config.asn, config)
    this.#sources.add(name)
    return {
      ...source,
      close: () => {
        this.#sources.delete(name)
        source.close()
      },
    }
  }

  /**
   * Resolves once a peer has worked through all that was announced so far, or with the reason why it does not say so; never
   * where the speaker is closed meanwhile. The peer sends its routes again for it.
   */
  heard(name: string, family: AddressFamily): Promise<Heard> {
    if (this.#closed) return Promise.resolve('gone')
    return new Promise(resolve =>
      this.#decided(() => {
        const peer = this.#peers.get(name)
        if (peer === undefined) resolve('gone')
        else peer.hear(family, resolve)
      }),
    )
  }

  /** Every candidate for a prefix with the step that decided; undefined when no route is known. */
  explain(prefix: string): Explanation | undefined {
    return this.#rib.explain(prefix)
  }

  get rib(): RibReader {
    return this.#rib
  }

  /** Listens for peers. Rejects with Node's code (EADDRINUSE, EACCES, …). */
  async listen(options: ListenOptions): Promise<Listener> {
    const listener = await this.#listeners.listen(options, connection => this.#accept(connection))
    this.#protect()
    return listener
  }

  /**
   * 'hard' ends the session with Cease/Administrative Reset and begins again; 'soft-in' asks for a route refresh and
   * evaluates import policy again; 'soft-out' announces everything again. Throws when there is no such peer.
   */
  clear(name: string, kind: ClearKind): void {
    const peer = this.#peers.get(name)
    if (peer === undefined) throw new SpeakerError('no-peer', `no peer is called ${name}`)
    peer.clear(kind)
  }

  /** Calls `listen` with every change of a peer's state or reason, until the returned function is called. */
  onChange(listen: (status: PeerStatus) => void): () => void {
    this.#watchers.add(listen)
    return () => this.#watchers.delete(listen)
  }

  /** Calls `listen` with the name of each dynamic neighbour that is removed, with its range or as it was away. */
  onForgotten(listen: (name: string) => void): () => void {
    this.#forgottenWatchers.add(listen)
    return () => this.#forgottenWatchers.delete(listen)
  }

  /** Tells `watcher` of all established sessions at once, then of their events until the returned function is called. */
  watchSessions(watcher: SessionWatcher): () => void {
    for (const { monitored } of this.#peers.values()) if (monitored !== undefined) watcher.up(monitored)
    this.#sessionWatchers.add(watcher)
    return () => this.#sessionWatchers.delete(watcher)
  }

  /** Calls `listen` with events of the RIB: RFC 7606 faults, prefix warnings, End-of-RIB, removed stale routes. */
  onRibEvent(listen: (event: RibEvent) => void): () => void {
    this.#faultWatchers.add(listen)
    return () => this.#faultWatchers.delete(listen)
  }

  /**
   * Calls `listen` once when this speaker's own graceful restart is over and no table is missing any more, also of peers that
   * could not be reached, or the restart time is over; at once when there is no restart.
   */
  onRestartComplete(listen: () => void): void {
    this.#restart.onComplete(listen)
  }

  /** Whether this speaker's own graceful restart is still going on. */
  get restarting(): boolean {
    return this.#restart.active
  }

  /**
   * Ends everything. By default peers hear Cease/Administrative Shutdown; with `graceful` the connections of those that
   * negotiated graceful restart just end, so that they keep our routes for the next process. Resolves after `CLOSE_MS` at the
   * latest, whatever the peers do: a peer that does not read or close by then loses its connection.
   */
  async close({ graceful = false }: { graceful?: boolean } = {}): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#restart.close()
    let allKeep = true
    for (const peer of this.#peers.values()) {
      const keeps = graceful && peer.config.gracefulRestart !== undefined && peer.config.gracefulRestart !== false
      allKeep &&= keeps
      peer.stop(keeps ? undefined : CEASE.shutdown, { code: 'shutting-down', detail: 'this speaker is stopping' })
    }
    this.#dynamic.close()
    this.#bfd.close()
    this.#workQueue.close()
    this.#arrivals.close()
    this.#rib.close()
    const listeners = this.#listeners.close()
    // without a NOTIFICATION on its way there is nothing to wait for
    await this.#deps.transport.finish?.(allKeep ? 0 : CLOSE_MS)
    await listeners
  }

  /** As `#decided`, and not while the own graceful restart lets nothing of what was received be selected. */
  #selected(then: () => void): void {
    if (this.#restart.active) this.#afterRestart.push(() => this.#decided(then))
    else this.#decided(then)
  }

  /** Calls `then` once everything that was received or announced so far is decided. */
  #decided(then: () => void): void {
    this.#workQueue.enqueue(() => {
      if (this.#rib.work()) return true
      then()
      return false
    })
  }

  #add(config: PeerConfig): Peer {
    const peer = new Peer(config, this.#deps)
    this.#peers.set(peer.name, peer)
    this.#place(peer)
    this.#waitFor(config)
    peer.start()
    return peer
  }

  /** Which neighbours a range has is known when they dial: it counts as one peer that does not. */
  #waitFor(config: PeerConfig): void {
    if (!config.gracefulRestart || config.disabled) return
    const all = [...this.#peers.values()].map(each => each.config)
    const isPassive = config.passive === true || config.range !== undefined
    this.#restart.waitFor(nameOf(config), [...all, ...this.#dynamic.configs()], { isPassive })
  }

  #drop(peer: Peer, subcode: number = CEASE.deconfigured): void {
    this.#peers.delete(peer.name)
    this.#unplace(peer)
    this.#faults.forget(peer.name)
    peer.stop(subcode, { code: 'admin-down', detail: 'no longer configured' })
    this.#rib.peerDown(peer.name, { retain: false })
    this.#restart.done(peer.name)
    if (this.#dynamic.forget(peer)) for (const listen of this.#forgottenWatchers) listen(peer.name)
  }

  #place(peer: Peer): void {
    const { address } = peer.config
    if (address !== undefined) this.#byAddress.set(address, (this.#byAddress.get(address) ?? new Set()).add(peer))
  }

  #unplace(peer: Peer): void {
    const { address = '' } = peer.config
    const theirs = this.#byAddress.get(address)
    if (theirs?.delete(peer) && theirs.size === 0) this.#byAddress.delete(address)
  }

  #setRange(name: string, config: PeerConfig & { range: string }): void {
    const old = this.#dynamic.range(name)
    this.#dynamic.set(name, config)
    if (old !== undefined) this.#forgetOptions(old, config)
    if (old === undefined || old.disabled) this.#waitFor(config)
    if (config.disabled) this.#restart.done(name)
  }

  #accept(connection: BgpConnection): void {
    // what nobody wants must not wait: there may be any number of it
    const peer = this.#peerFor(connection) ?? this.#dynamic.newcomer(connection.remoteAddress)
    if (peer !== undefined)
      this.#arrivals.add(peer, { connection, checked: this.#listeners.askedOf(connection.remoteAddress) })
    else this.#refuse(connection)
  }

  #take({ connection, checked }: Arrival): void {
    // asked again: it may be another one's by now, or nobody's
    const peer = this.#peerFor(connection) ?? this.#dynamic.newcomer(connection.remoteAddress)
    const refusal = peer?.accept(connection, checked)
    if (peer === undefined) this.#refuse(connection)
    else if (refusal !== undefined) this.#listeners.reject(connection, refusal)
  }

  #refuse(connection: BgpConnection): void {
    this.#listeners.counts.unknown++
    this.#listeners.reject(connection, cease(CEASE.rejected))
  }

  /** A dynamic neighbour has a connection only where no other peer has. */
  #peerFor(connection: BgpConnection): Peer | undefined {
    const { remoteAddress, interface: link } = connection
    // only a link-local address comes with the interface that it was seen on, and may be of a peer that has none in its configuration
    const near = isLinkLocal(remoteAddress)
    let neighbour: Peer | undefined
    for (const peer of near ? this.#peers.values() : (this.#byAddress.get(remoteAddress) ?? [])) {
      const { interface: wanted, address, dialOnly } = peer.config
      if (dialOnly) continue
      if (near && wanted !== undefined && wanted !== link) continue
      if (address !== remoteAddress && !(address === undefined && wanted !== undefined && near)) continue
      if (!this.#dynamic.has(peer)) return peer
      neighbour = peer
    }
    return neighbour
  }

  /** Tells the listeners what connections from each peer must carry, or those with one address. */
  #protect(only?: string): void {
    for (const peer of this.#peers.values()) {
      const { address } = peer
      if (address === undefined || peer.config.dialOnly || (only ?? address) !== address) continue
      // what its range asks for counts, and the kernel has memory for so many keys alone (net.core.optmem_max)
      if (!this.#dynamic.has(peer)) this.#require(address, peer.socketOptions())
    }
    if (only === undefined) for (const range of this.#dynamic.configs()) this.#requireOfRange(range)
  }

  #requireOfRange({ range, password, tcpAo, ttlSecurity }: PeerConfig & { range: string }): void {
    this.#require(range, { password, tcpAo, ttlSecurity })
  }

  #require(from: string, options: SocketOptions): void {
    try {
      this.#listeners.setPeerOptions(from, options)
    } catch (error) {
      this.#log.warn({ from, error }, 'no connection from there is taken: what it must carry cannot be asked for')
    }
  }

  #moved(peer: Peer, before: string | undefined): void {
    this.#forgetAddress(before)
    this.#protect(peer.address)
  }

  /** A peer has this address no more; another one may. */
  #forgetAddress(address: string | undefined): void {
    if (address === undefined) return
    this.#listeners.setPeerOptions(address, undefined)
    this.#protect(address)
  }

  #forgetOptions(old: PeerConfig, next?: PeerConfig): void {
    const key = old.address ?? old.range
    if (key === undefined || key === (next?.address ?? next?.range)) return
    this.#listeners.setPeerOptions(key, undefined)
    // another range may have the prefix by now
    for (const range of this.#dynamic.configs()) if (range.range === key) this.#requireOfRange(range)
  }

  #changed(peer: Peer): void {
    if (this.#closed && peer.state === 'Established') return
    if (peer.negotiated !== undefined) this.#restart.sessionUp(peer.name, peer.negotiated)
    if (this.#watchers.size === 0) return
    const status = peer.status()
    for (const listen of this.#watchers) listen(status)
  }

  #ribEvent(event: RibEvent): void {
    if (event.type === 'end-of-rib') {
      const { families: all = [], gracefulRestart } = this.#peers.get(event.key)?.negotiated ?? {}
      // who names none keeps no routes over restarts of its own, and helps with those of others (RFC 4724 §3)
      const kept = gracefulRestart?.families ?? []
      this.#restart.endOfRib(event.key, event.family, kept.length > 0 ? kept : all)
    }
    this.#faults.note(event)
    for (const listen of this.#faultWatchers) listen(event)
  }

  #restartOver(): void {
    this.#log.info('graceful restart is over')
    this.#rib.defer(false)
    for (const then of this.#afterRestart.splice(0)) then()
  }
}

function isRange(config: PeerConfig): config is PeerConfig & { range: string } {
  return config.range !== undefined
}
