// Between the cluster, the speaker and felix: which sessions to hold, which blocks to announce, what was learned. Every
// method may be called at any time; what goes out depends on the current state alone. A speaker has one AS number and one
// identifier for its life: another one is a new speaker. It knows a session by its key, which stays; people by its name, which
// says where the session comes from.
import { isDeepStrictEqual } from 'node:util'
import type { DrainAnswer, RouteAnswer } from '../api/answers.ts'
import type { Condition } from '../api/status.ts'
import type { Multipath, PeerBfdStatus, PeerConfig, PeerStatus } from '../bgp/config.ts'
import { unicastFamily } from '../bgp/family.ts'
import type { BfdPort, Discover, Transport } from '../bgp/port.ts'
import { Speaker } from '../bgp/speaker.ts'
import type { LearnedRoute, Peering, Pool } from '../felix/input.ts'
import type { Capabilities } from '../kernel/port/links.ts'
import type { Cancel } from '../lib/clock.ts'
import { familyOf, type SocketAddress } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { BfdOnDemand } from './bfd-on-demand.ts'
import { BgpListener } from './bgp-listener.ts'
import { BlockSpread } from './block-spread.ts'
import type { Announced } from './cluster/advertised.ts'
import { USUAL_MULTIPATH } from './cluster/multipath.ts'
import type { ReflectionAsked } from './cluster/reflection.ts'
import type { PeerChange } from './cluster/session-requests.ts'
import type { PeerOrigin, Session } from './cluster/sessions.ts'
import {
  NO_TRUST,
  OWN_OF_NODES,
  ofServices,
  outsideImport,
  PEER_GROUP,
  podImport,
  type Trust,
  withPods,
} from './cluster/trust.ts'
import { whenConverged } from './convergence.ts'
import { isAlone, whoHeard } from './drained.ts'
import { KnownSessions } from './known-sessions.ts'
import { LearnedRoutes, type LearnedRoutesDeps } from './learned-routes.ts'
import { openconfigNeighbors } from './openconfig.ts'
import { OutsideClaims } from './outside-claims.ts'
import { OutsideNextHops, type OutsideNextHopsDeps } from './outside-next-hops.ts'
import { peerDown, severalRouters } from './outside-peers.ts'
import { networkOf } from './own-networks.ts'
import { ReflectionWitness } from './reflection-witness.ts'
import { notWatched, overLimit, rangeFull } from './session-conditions.ts'
import { routeAnswer } from './socket/route-answer.ts'
import type { SessionLog } from './status/session-log.ts'

export type RoutingDeps = Omit<LearnedRoutesDeps, 'podOf'> &
  Pick<OutsideNextHopsDeps, 'nextHops'> & {
    transport: Transport
    /** Absent: no peer may be named by its interface. */
    discover?: Discover | undefined
    /** Absent: no peer may ask for BFD. */
    bfd?: BfdPort & Pick<BfdOnDemand, 'condition'>
    log: Log
    nodeName: string
    capabilities: Capabilities
    /** An earlier run left routes in the kernel, so peers may be keeping ours: graceful restart (RFC 4724 §4.1). */
    restarting: boolean
    /** The first tables of all peers are in, or will not come: other routes of an earlier run can be removed. */
    converged: () => void
    /** Resolves once what was learned so far is in the kernel, as far as that takes it. */
    settled: () => Promise<unknown>
    sessions: SessionLog
    /** What `reflection` says is another thing. Absent: nobody is told. */
    reflectionChanged?: () => void
  }

/**
 * What a session depends on besides its own configuration. `address` and `ipv6Address` are the node's own, where it has one of the family: source of sessions, next hop of its blocks.
 * `routerId`: the BGP identifier, a dotted quad. `clusterId`: of a route reflector. `listensEverywhere`: at each address of the machine, in
 * the families that the node has; else at the node's own alone.
 */
export type SpeakerIdentity = {
  asn: number
  port: number
  routerId: string
  address?: string
  ipv6Address?: string
  clusterId?: string
  listensEverywhere?: boolean
  /** The addresses under which pods that are peers find this node. */
  peering?: Omit<Peering, 'port'>
}

/** What a speaker has for its life. */
type Identity = Pick<SpeakerIdentity, 'asn' | 'routerId'>

/** A fault may be cured at the other end alone, of which nothing tells this one: it must not wait long after many faults. */
const MOST_IDLE_HOLD_SECONDS = 5

/** Where it listens: in each family at the node's address, and at that for its pods. */
const PLACES = ['ipv4', 'ipv6', 'podsIpv4', 'podsIpv6'] as const
type Place = (typeof PLACES)[number]

export class Routing {
  readonly #deps: RoutingDeps
  readonly #learned: LearnedRoutes
  /** By key, as all others here. */
  readonly #peers = new KnownSessions()
  #admits: (address: string) => boolean = () => false
  /** Sessions that are up while BFD is not. */
  readonly #notWatched = new Map<string, PeerStatus & { bfd: PeerBfdStatus }>()
  /** Outside peers that announced more prefixes than they may. */
  readonly #overLimit = new Map<string, string>()
  readonly #claims: OutsideClaims
  readonly #witness: ReflectionWitness
  #trust = NO_TRUST
  #drains = false
  readonly nextHops: OutsideNextHops
  #announced: ReadonlyMap<string, Announced> = new Map()
  #identity: Identity | undefined
  #multipath: Multipath | undefined = USUAL_MULTIPATH
  readonly #listeners: { [P in Place]?: { at: SocketAddress; listener: BgpListener } } = {}
  #speaker: Speaker | undefined
  #spread: BlockSpread | undefined
  #restarting: boolean
  #cancelConvergence: Cancel = () => undefined

  constructor(deps: RoutingDeps) {
    this.#deps = deps
    this.#restarting = deps.restarting
    this.#claims = new OutsideClaims(deps.clock)
    const { clock, reflectionChanged: changed = () => undefined } = deps
    this.#witness = new ReflectionWitness({ clock, changed, sessionOf: key => this.#peers.get(key) })
    this.#learned = new LearnedRoutes({ ...deps, podOf: key => this.#peers.get(key)?.session.pod })
    this.nextHops = new OutsideNextHops({ ...deps, learned: this.#learned })
  }

  /**
   * Sets who the speaker is and where it listens. Another AS number or identifier resets all sessions; another cluster id, port, place to listen
   * or IPv6 address, which comes and goes with the use of IPv6, none.
   */
  async identify(identified: SpeakerIdentity): Promise<void> {
    const { asn, routerId, clusterId, port, address, ipv6Address, listensEverywhere, peering = {} } = identified
    const identity = { asn, routerId }
    if (isDeepStrictEqual(identity, this.#identity)) this.#speaker?.setClusterId(clusterId)
    else await this.#startAnew(identity, clusterId)
    const at = (own: string | undefined, any: string) =>
      own === undefined ? undefined : { address: listensEverywhere ? any : own, port }
    await this.#listen('ipv4', at(address, '0.0.0.0'))
    await this.#listen('ipv6', at(ipv6Address, '::'))
    // whoever listens everywhere listens there too
    const forPods = (own: string | undefined) =>
      own === undefined || listensEverywhere ? undefined : { address: own, port }
    await this.#listen('podsIpv4', forPods(peering.ipv4))
    await this.#listen('podsIpv6', forPods(peering.ipv6))
  }

  async #startAnew(identity: Identity, clusterId: string | undefined): Promise<void> {
    const { log } = this.#deps
    const before = this.#identity
    const change = { old: before, new: identity }
    if (before !== undefined) log.warn(change, 'the identity of the BGP speaker changed: all sessions are reset')
    this.#identity = identity
    for (const place of PLACES) await this.#listen(place, undefined)
    // peers that know the next speaker for the same one keep the routes of this node until it has told them again
    await this.#speaker?.close({ graceful: before?.asn === identity.asn })
    this.#learned.handOver()
    for (const key of this.#peers.neighbours()) this.#forget(key)
    const speaker = this.#start({ ...identity, ...(clusterId !== undefined && { clusterId }) })
    this.#speaker = speaker
    speaker.setDraining(this.#drains)
    speaker.admit(this.#admits)
    for (const [key, { session }] of this.#peers.entries()) speaker.setPeer(this.#inEffect(key, session))
    for (const block of this.#announced.values()) speaker.announce(networkOf(block, this.#deps.capabilities))
  }

  /** Listens elsewhere, or nowhere. */
  async #listen(place: Place, at: SocketAddress | undefined): Promise<void> {
    if (isDeepStrictEqual(at, this.#listeners[place]?.at)) return
    this.#listeners[place]?.listener.close()
    delete this.#listeners[place]
    if (at === undefined || this.#speaker === undefined) return
    const { clock, log } = this.#deps
    const notOurs = place === 'podsIpv4' || place === 'podsIpv6'
    const listener = new BgpListener({ ...at, ...(notOurs && { notOurs }) }, { speaker: this.#speaker, clock, log })
    this.#listeners[place] = { at, listener }
    await listener.open()
  }

  /** Sets and ends sessions. */
  change(changes: readonly PeerChange[]): void {
    const { log } = this.#deps
    for (const { key, peer: session, origin } of changes) {
      if (session === undefined) {
        this.#speaker?.removePeer(key)
        this.#forget(key)
      } else {
        this.#peers.set(key, { session, origin })
        const resets = this.#speaker?.setPeer(this.#inEffect(key, session)) ?? []
        if (resets.length > 0) log.warn({ peer: session.name, resets }, 'a changed peer is reset')
      }
    }
  }

  #forget(key: string): void {
    this.#peers.delete(key)
    this.#deps.sessions.forget(key)
    this.#overLimit.delete(key)
    this.#notWatched.delete(key)
    this.#claims.forget(key)
  }

  /** Sets which addresses may be neighbours of ranges. Before it, none may; sessions of others end. */
  admit(admits: (address: string) => boolean): void {
    this.#admits = admits
    this.#speaker?.admit(admits)
  }

  /** Sets what may come from peers outside the cluster; routes that are there are judged again. Before it, nothing may. */
  trust(trust: Trust): void {
    if (isDeepStrictEqual(trust, this.#trust)) return
    const others = !isDeepStrictEqual(trust.services, this.#trust.services)
    this.#trust = trust
    this.#claims.trust(trust)
    if (others) this.#learned.keepBack(ofServices(trust))
    for (const key of this.#peers.outside()) this.#speaker?.setPeer(this.#inEffect(key, this.#peers.get(key)!.session))
  }

  /** Whether peers are asked to take other paths than those by this node (RFC 8326). No session ends. */
  drain(drains: boolean): void {
    this.#drains = drains
    this.#speaker?.setDraining(drains)
  }

  /** Which equal paths are used together; undefined: one of each prefix. No session ends. */
  share(multipath: Multipath | undefined): void {
    this.#multipath = multipath
    this.#speaker?.setMultipath(multipath)
  }

  /** Sets the pools, some of which need no next hop that the kernel can reach. */
  setPools(pools: Iterable<Pool>): void {
    this.nextHops.setPools(pools)
    this.#speaker?.setTracked(this.nextHops.rule)
  }

  /** What is asked of this node about automatic reflectors, once sessions are as the objects say. */
  witness(asked: ReflectionAsked | undefined): void {
    this.#witness.ask(asked)
  }

  get reflection(): ReflectionWitness['said'] {
    return this.#witness.said
  }

  /** Which peers have worked through what `drain` made of the announcements, and what nobody else announces. */
  async drained(): Promise<DrainAnswer> {
    const speaker = this.#speaker
    if (speaker === undefined) return { drains: this.#drains, peers: [], alone: [...this.#announced.keys()] }
    const told = await whoHeard(speaker, this.#deps.clock)
    const peers = speaker.peers().map(({ name: key, address }) => ({
      ...{ name: this.#peers.nameOf(key), address },
      told: told.get(key) ?? ('no' as const),
    }))
    return { drains: this.#drains, peers, alone: [...this.#announced.keys()].filter(each => isAlone(speaker, each)) }
  }

  /** Sets all blocks that are announced; one that is not among them any more is withdrawn. */
  announce(blocks: readonly Announced[]): void {
    const wanted = new Map(blocks.map(block => [block.prefix, block]))
    const before = this.#announced
    this.#announced = wanted
    if (this.#speaker === undefined) return
    for (const prefix of before.keys()) if (!wanted.has(prefix)) this.#speaker.withdraw(prefix)
    for (const [prefix, block] of wanted)
      if (!isDeepStrictEqual(block, before.get(prefix)))
        this.#speaker.announce(networkOf(block, this.#deps.capabilities))
  }

  /**
   * Resolves once other nodes have a route to a block of this node, as far as they can be asked; at once where it is not announced.
   */
  async reached(prefix: string): Promise<void> {
    if (this.#announced.has(prefix)) await this.#spread?.reached(unicastFamily(familyOf(prefix)))
  }

  /** Resolves once other nodes have no route any more to what is not announced by now, as far as they can be asked. */
  async withdrawn(family: 'ipv4' | 'ipv6'): Promise<void> {
    await this.#spread?.reached(unicastFamily(family))
  }

  /** Every session, with where it comes from. */
  peers(): (PeerStatus & { origin?: PeerOrigin })[] {
    const statuses = this.#speaker?.peers() ?? []
    return statuses.map(({ name: key, ...status }) => ({
      ...{ ...status, name: this.#peers.nameOf(key) },
      origin: this.#peers.get(key)?.origin,
    }))
  }

  /** Prefixes of one session by family. */
  prefixesOf(peer: string): ReturnType<Speaker['rib']['familyCounts']> {
    return this.#speaker?.rib.familyCounts(this.#peers.keyOf(peer) ?? '') ?? new Map()
  }

  /** Whether all that was received or announced so far is decided, and has gone out as far as peers read it. */
  get idle(): boolean {
    return this.#speaker?.idle ?? true
  }

  learned(): LearnedRoute[] {
    return this.#learned.all()
  }

  learnedFor: LearnedRoutes['for'] = address => this.#learned.for(address)

  /** Every candidate for a canonical prefix, with the step that decided. */
  explain(prefix: string): RouteAnswer {
    return routeAnswer(prefix, this.#speaker?.explain(prefix), key => this.#peers.nameOf(key))
  }

  openconfig(): ReturnType<typeof openconfigNeighbors> {
    return openconfigNeighbors(this.#speaker, key => this.#peers.nameOf(key))
  }

  /** What peers outside the cluster do that they must not, those that are not there, and addresses where none can connect. */
  refused(): Condition[] {
    const nowMs = this.#deps.clock.wallMs()
    const all = [
      ...[...this.#overLimit].map(([key, detail]) => overLimit(this.#peers.nameOf(key), detail)),
      ...PLACES.map(place => this.#listeners[place]?.listener.condition()),
      this.#deps.bfd?.condition(),
      ...this.nextHops.conditions(),
      ...[...this.#notWatched].flatMap(([key, status]) => notWatched(this.#peers.nameOf(key), status, nowMs)),
      ...(this.#speaker?.ranges() ?? []).map(rangeFull),
      ...[...this.#peers.outside(), ...this.#peers.neighbours()].flatMap(key => this.#ofOutside(key)),
    ]
    return all.filter(condition => condition !== undefined)
  }

  #ofOutside(key: string): (Condition | undefined)[] {
    const name = this.#peers.nameOf(key)
    const status = this.#speaker?.peer(key)
    return [
      this.#claims.condition(this.#speaker, key, { name, session: this.#peers.get(key)?.session }),
      status && peerDown(status, name, this.#deps.clock.wallMs()),
      status && severalRouters(status, name),
    ]
  }

  /** Stops; peers with graceful restart keep this node's routes until it is back. */
  async close(): Promise<void> {
    this.#cancelConvergence()
    this.#learned.close()
    this.nextHops.close()
    this.#witness.close()
    for (const place of PLACES) this.#listeners[place]?.listener.close()
    await this.#speaker?.close({ graceful: true })
  }

  #start(identity: Identity & { clusterId?: string }): Speaker {
    const { transport, clock, log, sessions, restarting: hadRoutes, converged } = this.#deps
    const restarting = this.#restarting
    this.#restarting = false // another AS number later is no restart: nobody keeps routes for that
    const config = { ...identity, owners: OWN_OF_NODES, multipath: this.#multipath, tracked: this.nextHops.rule }
    const { bfd, discover } = this.#deps
    const settled = () => this.#deps.settled().then(() => this.#witness.behind())
    const { sink, nextHops } = this.nextHops.follow(prefix => speaker.explain(prefix))
    const speaker = new Speaker(config, {
      ...{ transport, clock, log, restarting, settled, bfd, discover, sink, nextHops },
    })
    const spread = new BlockSpread(speaker, clock, name => this.#peers.get(name)?.origin === 'mesh')
    this.#spread = spread
    this.#witness.follow(speaker)
    this.#cancelConvergence()
    // without routes of an earlier run nothing has to wait
    if (hadRoutes) this.#cancelConvergence = whenConverged(speaker, { clock, restarting }, converged)
    else converged()
    speaker.onForgotten(key => this.#forget(key))
    speaker.onChange(status => {
      this.#peers.met(status.name)
      sessions.note({ ...status, name: this.#peers.nameOf(status.name) }, status.name)
      spread.note(status)
      const { name, state, bfd } = status
      if (state === 'Established' && bfd !== undefined && bfd.state !== 'Up')
        this.#notWatched.set(name, { ...status, bfd })
      else this.#notWatched.delete(name)
      if (status.reason?.code === 'prefix-limit') this.#overLimit.set(status.name, status.reason.detail)
      else this.#overLimit.delete(status.name)
    })
    return speaker
  }

  #inEffect(key: string, session: Session): PeerConfig {
    const timers = { mostIdleHoldSeconds: MOST_IDLE_HOLD_SECONDS, ...session.timers }
    const { importFilters, pod: _, ...config } = session
    if (session.group === PEER_GROUP.cluster) return { ...config, name: key, timers }
    const imported = session.group === PEER_GROUP.workload ? podImport : outsideImport
    const rules = typeof session.export === 'object' ? withPods(session.export, this.#trust.pools) : session.export
    return { ...config, name: key, timers, import: imported(this.#trust, importFilters), export: rules }
  }
}
