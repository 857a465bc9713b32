// Between the cluster, the speaker and felix: which sessions to hold, which blocks to announce, what was learned. Every
// method may be called at any time; what goes out depends on the current state alone. A speaker has one AS number,
// one port and one cluster id for its life: another one is a new speaker.
import { isDeepStrictEqual } from 'node:util'
import type { RouteAnswer } from '../api/answers.ts'
import { broken, type Condition } from '../api/status.ts'
import type { PeerConfig, PeerStatus } from '../bgp/config.ts'
import { unicastFamily } from '../bgp/family.ts'
import type { RouteSink, SelectedRoute, Transport } from '../bgp/port.ts'
import type { ExplainedPath } from '../bgp/rib/explain.ts'
import { Speaker } from '../bgp/speaker.ts'
import { parseCommunity } from '../bgp/wire/communities.ts'
import { TUNNEL_TYPE } from '../felix/calc/encapsulation.ts'
import type { LearnedRoute } from '../felix/input.ts'
import type { Capabilities } from '../kernel/port/links.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { familyOf, mappedIpv4 } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import { PrefixIndex, parsePrefix } from '../lib/prefix-index.ts'
import { BgpListener } from './bgp-listener.ts'
import { BlockSpread } from './block-spread.ts'
import type { PeerChange } from './cluster/peers.ts'
import type { Announced } from './cluster/pools.ts'
import type { PeerOrigin } from './cluster/sessions.ts'
import { OWN_OF_NODES, outsideImport, PEER_GROUP, type Trust } from './cluster/trust.ts'
import { whenConverged } from './convergence.ts'
import { routeAnswer } from './socket/route-answer.ts'
import type { SessionLog } from './status/session-log.ts'

export type RoutingDeps = {
  transport: Transport
  clock: Clock
  log: Log
  nodeName: string
  capabilities: Capabilities
  /** An earlier run left routes in the kernel, so peers may be keeping ours: graceful restart (RFC 4724 §4.1). */
  restarting: boolean
  /** A route was learned or changed; undefined: nobody announces the prefix any more. */
  learned: (prefix: string, route: LearnedRoute | undefined) => void
  /** The first tables of all peers are in, or will not come: other routes of an earlier run can be removed. */
  converged: () => void
  /** Resolves once what was learned so far is in the kernel, as far as that takes it. */
  settled: () => Promise<unknown>
  sessions: SessionLog
}

/**
 * `address` and `ipv6Address` are the node's own, where it has one of the family: source of sessions, next hop of its blocks.
 * `routerId`: the BGP identifier, a dotted quad. `clusterId`: of a route reflector.
 */
export type SpeakerIdentity = {
  asn: number
  port: number
  routerId: string
  address?: string
  ipv6Address?: string
  clusterId?: string
}

/** How long routes of a speaker with another AS number stay while the new one brings its sessions up. */
const HANDOVER_MS = 10_000
/** A fault may be cured at the other end alone, of which nothing tells this one: it must not wait long after many faults. */
const MOST_IDLE_HOLD_SECONDS = 5
/** How long one look at all refused paths of a peer counts: every change in the cluster asks for their conditions. */
const CLAIMS_MS = 10_000
/** The same while the number of a peer's many refused paths changes. */
const BUSY_CLAIMS_MS = 1000
/** Most prefixes that a condition names. */
const MOST_NAMED = 3

/** Of how many refused paths of a peer the owner is looked up, at the most. */
const MOST_LOOKED_AT = 200

/** What an outside peer announces that is not its own: of this node, and of other nodes with whose it is. */
type Claims = { ofThisNode: string[]; ofNodes: { prefix: string; owned: string }[] }
type ClaimsAt = { own: readonly string[]; received: number; accepted: number; claims: Claims; atMs: number }

export class Routing {
  readonly #deps: RoutingDeps
  readonly #learned = new Map<string, LearnedRoute>()
  /** Prefixes of the last speaker that this one has not selected yet. */
  readonly #handedOver = new Set<string>()
  readonly #peers = new Map<string, { config: PeerConfig; origin: PeerOrigin | undefined }>()
  /** Those outside the cluster: a few of thousands, and looked at after each change. */
  readonly #outside = new Map<string, PeerConfig>()
  /** Outside peers that announced more prefixes than they may. */
  readonly #overLimit = new Map<string, string>()
  /** What outside peers announce of this node's, by peer. */
  readonly #claims = new Map<string, ClaimsAt>()
  #trust: Trust = { own: [], pools: [] }
  /** What stands in `#trust`. */
  #trusted = { own: new PrefixIndex<string>(), pools: new PrefixIndex<string>() }
  #announced: ReadonlyMap<string, Announced> = new Map()
  #identity: Omit<SpeakerIdentity, 'ipv6Address'> | undefined
  readonly #listeners: { ipv4?: BgpListener; ipv6?: BgpListener } = {}
  #speaker: Speaker | undefined
  #spread: BlockSpread | undefined
  #restarting: boolean
  #cancelConvergence: Cancel = () => undefined
  #cancelHandover: Cancel = () => undefined

  constructor(deps: RoutingDeps) {
    this.#deps = deps
    this.#restarting = deps.restarting
  }

  /** Sets what is fixed for the life of a speaker. Another identity resets all sessions. */
  async identify({ ipv6Address, ...identity }: SpeakerIdentity): Promise<void> {
    if (!isDeepStrictEqual(identity, this.#identity)) await this.#startAnew(identity)
    // another IPv6 address, which comes and goes with the use of IPv6, leaves the other sessions alone
    await this.#listen('ipv6', ipv6Address)
  }

  async #startAnew(identity: Omit<SpeakerIdentity, 'ipv6Address'>): Promise<void> {
    const { log } = this.#deps
    const before = this.#identity
    const change = { old: before, new: identity }
    if (before !== undefined) log.warn(change, 'the identity of the BGP speaker changed: all sessions are reset')
    this.#identity = identity
    await this.#listen('ipv4', undefined)
    await this.#listen('ipv6', undefined)
    // peers that know the next speaker for the same one keep the routes of this node until it has told them again
    await this.#speaker?.close({ graceful: before?.asn === identity.asn && before.clusterId === identity.clusterId })
    this.#handOver()
    const speaker = this.#start(identity)
    this.#speaker = speaker
    for (const { config } of this.#peers.values()) speaker.setPeer(this.#inEffect(config))
    for (const block of this.#announced.values()) this.#announce(speaker, block)
    await this.#listen('ipv4', identity.address)
  }

  /** Listens at another address of a family, or at none. */
  async #listen(family: 'ipv4' | 'ipv6', address: string | undefined): Promise<void> {
    if (address === this.#listeners[family]?.address) return
    this.#listeners[family]?.close()
    delete this.#listeners[family]
    if (address === undefined || this.#speaker === undefined || this.#identity === undefined) return
    const { clock, log } = this.#deps
    const at = { address, port: this.#identity.port }
    const listener = new BgpListener(at, { speaker: this.#speaker, clock, log })
    this.#listeners[family] = listener
    await listener.open()
  }

  /** Sets and ends sessions. */
  change(changes: readonly PeerChange[]): void {
    const { log, sessions } = this.#deps
    for (const { name, peer, origin } of changes)
      if (peer === undefined) {
        this.#peers.delete(name)
        this.#outside.delete(name)
        this.#speaker?.removePeer(name)
        sessions.forget(name)
        this.#overLimit.delete(name)
        this.#claims.delete(name)
      } else {
        this.#peers.set(name, { config: peer, origin })
        if (peer.group === PEER_GROUP.outside) this.#outside.set(name, peer)
        else this.#outside.delete(name)
        const resets = this.#speaker?.setPeer(this.#inEffect(peer)) ?? []
        if (resets.length > 0) log.warn({ peer: name, resets }, 'a changed peer is reset')
      }
  }

  /** Sets what may come from peers outside the cluster; routes that are there are judged again. Before it, nothing may. */
  trust(trust: Trust): void {
    if (isDeepStrictEqual(trust, this.#trust)) return
    this.#trust = trust
    this.#trusted = { own: indexOf(trust.own), pools: indexOf(trust.pools) }
    for (const config of this.#outside.values()) this.#speaker?.setPeer(this.#inEffect(config))
  }

  /** Sets all blocks that are announced; one that is not among them any more is withdrawn. */
  announce(blocks: readonly Announced[]): void {
    const wanted = new Map(blocks.map(block => [block.prefix, block]))
    const before = this.#announced
    this.#announced = wanted
    if (this.#speaker === undefined) return
    for (const prefix of before.keys()) if (!wanted.has(prefix)) this.#speaker.withdraw(prefix)
    for (const [prefix, block] of wanted)
      if (!isDeepStrictEqual(block, before.get(prefix))) this.#announce(this.#speaker, block)
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
    return (this.#speaker?.peers() ?? []).map(peer => ({ ...peer, origin: this.#peers.get(peer.name)?.origin }))
  }

  /** Prefixes of one session by family. */
  prefixesOf(peer: string): ReturnType<Speaker['rib']['familyCounts']> {
    return this.#speaker?.rib.familyCounts(peer) ?? new Map()
  }

  learned(): LearnedRoute[] {
    return [...this.#learned.values()]
  }

  /** Every candidate for a canonical prefix, with the step that decided. */
  explain(prefix: string): RouteAnswer {
    return routeAnswer(prefix, this.#speaker?.explain(prefix))
  }

  /** What peers outside the cluster do that they must not, and addresses where none can connect. */
  refused(): Condition[] {
    const conditions: Condition[] = [...this.#overLimit].map(([name, detail]) => overLimit(name, detail))
    const closed = [this.#listeners.ipv4, this.#listeners.ipv6].map(listener => listener?.condition())
    conditions.push(...closed.filter(condition => condition !== undefined))
    for (const name of this.#outside.keys()) {
      const { ofThisNode, ofNodes } = this.#claimsOf(name)
      if (ofThisNode.length > 0) conditions.push(claimsOurs(name, ofThisNode))
      else if (ofNodes.length > 0) conditions.push(claimsTheirs(name, ofNodes))
    }
    return conditions
  }

  /** The paths are looked at when the number of received or accepted ones changed, or after some time. */
  #claimsOf(name: string): Claims {
    const rib = this.#speaker?.rib
    const { received = 0, accepted = 0 } = rib?.counts(name) ?? {}
    if (rib === undefined || received === accepted) {
      this.#claims.delete(name)
      return NO_CLAIMS
    }
    const { own } = this.#trust
    const nowMs = this.#deps.clock.monotonicMs()
    const last = this.#claims.get(name)
    const isNew = last?.own !== own || last.received !== received || last.accepted !== accepted
    const countsMs = !isNew ? CLAIMS_MS : received - accepted > MOST_LOOKED_AT ? BUSY_CLAIMS_MS : 0
    if (last !== undefined && nowMs - last.atMs < countsMs) return last.claims
    const claims: Claims = { ofThisNode: [], ofNodes: [] }
    let looked = 0
    for (const prefix of rib.unused(name)) {
      const asked = parsePrefix(prefix)!
      const isOwn = this.#trusted.own.match(asked) !== undefined
      if (!isOwn && this.#trusted.pools.match(asked) === undefined) continue
      if (looked++ >= MOST_LOOKED_AT) break
      const candidates = this.#speaker?.explain(prefix)?.candidates ?? []
      const path = candidates.find(({ peer }) => peer === name)
      // this node's own route that comes back is a loop, and no claim
      if (isOwn && path?.import.reason === 'policy') claims.ofThisNode.push(prefix)
      else if (path?.import.reason === 'owned' && !this.#comesBack(path, candidates))
        claims.ofNodes.push({ prefix, owned: path.import.detail })
    }
    this.#claims.set(name, { own, received, accepted, claims, atMs: nowMs })
    return claims
  }

  /** Whether a path is what the owner of its prefix announced, over a router outside: the AS where it began is the same. */
  #comesBack(path: ExplainedPath, candidates: readonly ExplainedPath[]): boolean {
    const origin = ({ attributes: { attributes } }: ExplainedPath) =>
      attributes.asPath?.at(-1)?.asns.at(-1) ?? this.#identity?.asn
    return candidates.some(other => other.import.accepted && origin(other) === origin(path))
  }

  /** Stops; peers with graceful restart keep this node's routes until it is back. */
  async close(): Promise<void> {
    this.#cancelConvergence()
    this.#cancelHandover()
    this.#listeners.ipv4?.close()
    this.#listeners.ipv6?.close()
    await this.#speaker?.close({ graceful: true })
  }

  #start({ asn, clusterId, routerId }: Omit<SpeakerIdentity, 'ipv6Address'>): Speaker {
    const { transport, clock, log, sessions, restarting: hadRoutes, converged } = this.#deps
    const restarting = this.#restarting
    this.#restarting = false // another AS number later is no restart: nobody keeps routes for that
    const config = { asn, routerId, owners: OWN_OF_NODES, ...(clusterId !== undefined && { clusterId }) }
    const { settled } = this.#deps
    const speaker = new Speaker(config, { transport, clock, log, restarting, settled, sink: this.#sink() })
    const spread = new BlockSpread(speaker, clock, name => this.#peers.get(name)?.origin === 'mesh')
    this.#spread = spread
    this.#cancelConvergence()
    // without routes of an earlier run nothing has to wait
    if (hadRoutes) this.#cancelConvergence = whenConverged(speaker, { clock, restarting }, converged)
    else converged()
    speaker.onChange(status => {
      sessions.note(status)
      spread.note(status)
      if (status.reason?.code === 'prefix-limit') this.#overLimit.set(status.name, status.reason.detail)
      else this.#overLimit.delete(status.name)
    })
    return speaker
  }

  #inEffect(config: PeerConfig): PeerConfig {
    const timers = { mostIdleHoldSeconds: MOST_IDLE_HOLD_SECONDS, ...config.timers }
    const outside = config.group === PEER_GROUP.outside && { import: outsideImport(this.#trust) }
    return { ...config, timers, ...outside }
  }

  /** A closed speaker withdraws nothing: what it had selected stays until the next one had time to select it again. */
  #handOver(): void {
    for (const prefix of this.#learned.keys()) this.#handedOver.add(prefix)
    this.#cancelHandover()
    if (this.#handedOver.size === 0) return
    this.#cancelHandover = this.#deps.clock.after(HANDOVER_MS, () => {
      for (const prefix of this.#handedOver) this.#forget(prefix)
      this.#handedOver.clear()
    })
  }

  #announce(speaker: Speaker, { prefix, communities: texts }: Announced): void {
    const { ipip, vxlan } = this.#deps.capabilities
    const encapsulations = [...(ipip ? [TUNNEL_TYPE.ipip] : []), ...(vxlan ? [TUNNEL_TYPE.vxlan] : [])]
    const communities = texts.map(parseCommunity).filter(community => community !== undefined)
    speaker.announce({ prefix, encapsulations, communities })
  }

  #sink(): RouteSink {
    return {
      selected: ({ prefix, nextHop, interface: name, encapsulations }: SelectedRoute) => {
        this.#handedOver.delete(prefix)
        const route = { prefix, nextHop: mappedIpv4(nextHop) ?? nextHop, interface: name, encapsulations }
        this.#learned.set(prefix, route)
        this.#deps.learned(prefix, route)
      },
      withdrawn: prefix => this.#forget(prefix),
    }
  }

  #forget(prefix: string): void {
    if (this.#learned.delete(prefix)) this.#deps.learned(prefix, undefined)
  }
}

function overLimit(name: string, detail: string): Condition {
  return broken('PrefixLimitsKept', {
    object: { kind: 'BGPSession', name },
    reason: 'TooManyPrefixes',
    message: `the peer announced too many prefixes and its session was ended: ${detail}`,
    remedy: 'let that router announce only what lies in the IPPools',
  })
}

function indexOf(cidrs: readonly string[]): PrefixIndex<string> {
  const index = new PrefixIndex<string>()
  for (const cidr of cidrs) index.set(parsePrefix(cidr)!, cidr)
  return index
}

const NO_CLAIMS: Claims = { ofThisNode: [], ofNodes: [] }

function claimsOurs(name: string, prefixes: readonly string[]): Condition {
  return broken('AddressesUnique', {
    object: { kind: 'BGPSession', name },
    reason: 'OwnPrefix',
    message: `a peer outside the cluster announces ${some(prefixes)}, which belongs to this node; it is neither used nor passed on`,
    remedy: 'find out why that router announces it',
  })
}

function claimsTheirs(name: string, claims: Claims['ofNodes']): Condition {
  const owned = some([...new Set(claims.map(claim => claim.owned))])
  return broken('AddressesUnique', {
    object: { kind: 'BGPSession', name },
    reason: 'PrefixOfNode',
    message: `a peer outside the cluster announces ${some(claims.map(({ prefix }) => prefix))}, but ${owned}; it is neither used nor passed on`,
    remedy: 'find out why that router announces it',
  })
}

function some(all: readonly string[]): string {
  const more = all.length > MOST_NAMED ? ` and ${all.length - MOST_NAMED} more` : ''
  return `${all.slice(0, MOST_NAMED).join(', ')}${more}`
}
