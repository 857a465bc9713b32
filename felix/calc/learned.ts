// Routes to what other nodes and routers announced. Each announcement gives one route, or a condition that says why
// there is none. It is looked at again when it changes itself, or what it depends on: the pool or own block that holds
// it, the VTEP of its next hop, this node.
// Hazards: a learned route must never cover what is ours, and must never replace the subnet the node itself lives on.
import type { Condition, ReasonOf } from '../../api/status.ts'
import { ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedNextHop, NamedRoute } from '../../kernel/reconcile/objects.ts'
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { ConnectedSubnet, LearnedPath, LearnedRoute, NextHopWay, Pool, ThisNode } from '../input.ts'
import type { ConditionCounts } from './conditions.ts'
import { can, poolEncapsulation, TUNNEL_TYPE } from './encapsulation.ts'
import { type Here, type PathWay, unreachable, wayOf } from './learned-way.ts'
import type { KnownAddress } from './node-addresses.ts'
import { type Connected, changedSubnets, connectedIndex } from './other-uplinks.ts'
import { ownPrefixes } from './own-prefixes.ts'
import type { RouteClaims } from './route-claims.ts'
import { sharedWays } from './shared-ways.ts'
import type { Vtep } from './vteps.ts'

/** What the route of an announcement depends on besides itself. */
type LearnedContext = {
  poolOf(prefix: Prefix): Pool | undefined
  /** Under which addresses a node announces what it has. */
  addressesOf(node: string): readonly string[]
  vtepOf(address: string): Vtep | undefined
  /** The rtm_protocol of these routes. */
  routeProtocol: number
}

/** A next hop as a number, and the announcements that have it. */
type Hop = { readonly nextHop: string; readonly prefix: Prefix | undefined; readonly states: Set<State> }

type State = {
  /** The announced CIDR, as told. */
  readonly key: string
  learned: LearnedRoute
  readonly prefix: Prefix | undefined
  /** Those of its paths, the best first. */
  hops: readonly Hop[]
  pool: Pool | undefined
  lacksIpip: boolean
  condition: Condition | undefined
  /** It waits in the list of those to look at again. */
  isDirty: boolean
}

export class LearnedGroup {
  readonly #context: LearnedContext
  readonly #claims: RouteClaims
  readonly #conditions: ConditionCounts
  readonly #states = new Map<string, State>()
  readonly #byPrefix = new PrefixIndex<State>()
  readonly #byHop = new Map<string, Hop>()
  readonly #hops = new PrefixIndex<Hop>()
  /** How the kernel's routes lead to next hops, by their addresses. */
  readonly #routed = new Map<string, NextHopWay>()
  /** Grows with each next hop, or interface of one, that is new or gone. */
  hopChanges = 0
  #connected = connectedIndex([])
  #subnets: readonly ConnectedSubnet[] = []
  readonly #ownBlocks = new PrefixIndex<true>()
  /** Single addresses that lead to a pod of some other node, and may lie in own blocks: as CIDRs. */
  readonly #floating = new Set<string>()
  /** How many paths name each interface. */
  readonly #links = new Map<string, number>()
  /** Single addresses of own blocks that another node has, as CIDRs, and that node. */
  readonly #lent = new Map<string, string>()
  #dirty: State[] = []
  #here: Here | undefined
  #lackingIpip = 0

  constructor(context: LearnedContext, claims: RouteClaims, conditions: ConditionCounts) {
    this.#context = context
    this.#claims = claims
    this.#conditions = conditions
  }

  update(key: string, learned: LearnedRoute | undefined): void {
    const before = this.#states.get(key)
    const left = before?.hops ?? []
    // what comes first, so that nothing changes by what stays
    this.#countLinks(learned, 1)
    this.#countLinks(before?.learned, -1)
    if (learned === undefined) {
      if (before !== undefined) this.#forget(before)
    } else if (before === undefined) this.#add(key, learned)
    else {
      before.hops = pathsOf(learned).map(path => this.#hop(path.nextHop, before))
      before.learned = learned
      this.#findPool(before)
    }
    for (const hop of left) if (learned === undefined || !before?.hops.includes(hop)) this.#leaveHop(hop, before!)
  }

  #add(key: string, learned: LearnedRoute): void {
    const prefix = parsePrefix(key)
    const unjudged = { pool: undefined, lacksIpip: false, condition: undefined, isDirty: false }
    const state: State = { key, learned, prefix, hops: [], ...unjudged }
    state.hops = pathsOf(learned).map(path => this.#hop(path.nextHop, state))
    this.#states.set(key, state)
    if (prefix !== undefined) this.#byPrefix.set(prefix, state)
    this.#findPool(state)
  }

  #forget(state: State): void {
    this.#lackingIpip -= Number(state.lacksIpip)
    this.#conditions.replace(state.condition, undefined)
    this.#claims.set('learned', state.key, undefined)
    if (state.prefix !== undefined) this.#byPrefix.delete(state.prefix)
    this.#states.delete(state.key)
    state.isDirty = false
  }

  /** Another pool may hold the announcements inside this CIDR. */
  poolChanged(cidr: Prefix): void {
    for (const state of this.#byPrefix.within(cidr)) this.#findPool(state)
  }

  /** The next hop with this address has another VTEP, or none. */
  vtepChanged(address: string): void {
    for (const state of this.#byHop.get(address)?.states ?? []) this.#lookAgain(state)
  }

  /** The kernel's routes lead to a next hop in another way; undefined: nothing is known of it any more. Costs what has it, and is on no link. */
  leads(nextHop: string, way: NextHopWay | undefined): void {
    if (way === undefined) this.#routed.delete(nextHop)
    else this.#routed.set(nextHop, way)
    const hop = this.#byHop.get(nextHop)
    if (hop === undefined) return
    this.hopChanges++
    if (!this.#isOnLink(hop)) for (const state of hop.states) this.#lookAgain(state)
  }

  #isOnLink({ prefix }: Hop): boolean {
    if (prefix === undefined || this.#here?.subnets.match(prefix) !== undefined) return true
    return this.#connected.subnets.match(prefix)?.interfaces[0]?.isUp === true
  }

  ownBlockChanged(block: Prefix, owned: boolean): void {
    if (owned) this.#ownBlocks.set(block, true)
    else this.#ownBlocks.delete(block)
    for (const state of this.#byPrefix.within(block)) this.#lookAgain(state)
  }

  /** This floating address, a CIDR, leads to a pod of another node, although it may lie in an own block; or no more. */
  floatingChanged(dst: string, isElsewhere: boolean): void {
    if (isElsewhere === this.#floating.has(dst)) return
    if (isElsewhere) this.#floating.add(dst)
    else this.#floating.delete(dst)
    this.#lookAtPrefix(dst)
  }

  /** This address of an own block, a CIDR, is lent to a node; undefined: to none any more. */
  lentChanged(dst: string, borrower: string | undefined): void {
    if (borrower === undefined) this.#lent.delete(dst)
    else this.#lent.set(dst, borrower)
    this.#lookAtPrefix(dst)
  }

  /** A node may have other addresses. */
  nodeChanged(node: string): void {
    for (const [dst, borrower] of this.#lent) if (borrower === node) this.#lookAtPrefix(dst)
  }

  #lookAtPrefix(dst: string): void {
    const state = this.#states.get(dst)
    if (state !== undefined) this.#lookAgain(state)
  }

  /** Whether some announcement of an IP-in-IP pool comes from a node that lacks IP-in-IP. */
  get someLackIpip(): boolean {
    return this.#lackingIpip > 0
  }

  /** This node is another one, or can do other things; undefined while no announcement may be used. */
  hereChanged(node: ThisNode | undefined, own: Here['own']): void {
    this.#here = node === undefined ? undefined : { node, own, ...ownPrefixes(node) }
    for (const state of this.#states.values()) this.#lookAgain(state)
  }

  /** The interfaces of this node are in other subnets, or up where they were down. Costs what has its next hop there. */
  connectedChanged(connected: readonly ConnectedSubnet[]): void {
    // the subnet of the Node address goes by its uplink, up or down
    const always = this.#here?.subnets ?? new PrefixIndex()
    for (const subnet of changedSubnets(this.#subnets, connected, always))
      for (const { states } of this.#hops.within(subnet)) for (const state of states) this.#lookAgain(state)
    this.#subnets = connected
    this.#connected = connectedIndex(connected)
  }

  get connected(): Connected {
    return this.#connected
  }

  /** The interfaces on which next hops were heard, and those by which routes lead to next hops, whatever subnets they have. */
  get links(): Iterable<string> {
    const used = [...this.#routed].filter(([nextHop]) => this.#byHop.has(nextHop))
    return new Set([
      ...this.#links.keys(),
      ...used.flatMap(([, { hops }]) => hops.map(({ interfaceName }) => interfaceName)),
    ])
  }

  /** The next hops in a subnet. */
  hopsWithin(subnet: Prefix): KnownAddress[] {
    return this.#hops.within(subnet).map(({ nextHop }) => ({ address: nextHop, prefix: parsePrefix(nextHop)! }))
  }

  /** Works out what changed since the last call. */
  recalculate(): void {
    for (const state of this.#dirty) {
      if (!state.isDirty) continue // withdrawn since
      state.isDirty = false
      const { route, condition } = this.#here === undefined ? NOTHING : this.#result(state, this.#here)
      this.#claims.set('learned', state.key, route)
      this.#conditions.replace(state.condition, condition)
      state.condition = condition
    }
    this.#dirty = []
  }

  #lookAgain(state: State): void {
    if (state.isDirty) return
    state.isDirty = true
    this.#dirty.push(state)
  }

  #findPool(state: State): void {
    // no pool has a say in the way to a peer
    const isAnnounced = state.prefix !== undefined && state.learned.bgpPeer === undefined
    state.pool = isAnnounced ? this.#context.poolOf(state.prefix!) : undefined
    const lacksIpip =
      state.pool !== undefined &&
      poolEncapsulation(state.pool) === 'ipip' &&
      pathsOf(state.learned).some(path => path.pod === undefined && !can(path.encapsulations, TUNNEL_TYPE.ipip))
    this.#lackingIpip += Number(lacksIpip) - Number(state.lacksIpip)
    state.lacksIpip = lacksIpip
    this.#lookAgain(state)
  }

  #countLinks(learned: LearnedRoute | undefined, change: 1 | -1): void {
    for (const { interface: link } of learned === undefined ? [] : pathsOf(learned)) {
      if (link === undefined) continue
      const before = this.#links.get(link) ?? 0
      const now = before + change
      if (now === 0) this.#links.delete(link)
      else this.#links.set(link, now)
      if (before === 0 || now === 0) this.hopChanges++
    }
  }

  #hop(nextHop: string, state: State): Hop {
    let hop = this.#byHop.get(nextHop)
    if (hop === undefined) {
      hop = { nextHop, prefix: parsePrefix(nextHop), states: new Set() }
      this.#byHop.set(nextHop, hop)
      if (hop.prefix !== undefined) this.#hops.set(hop.prefix, hop)
      this.hopChanges++
    }
    hop.states.add(state)
    return hop
  }

  #leaveHop(hop: Hop, state: State): void {
    hop.states.delete(state)
    if (hop.states.size > 0) return
    this.#byHop.delete(hop.nextHop)
    if (hop.prefix !== undefined) this.#hops.delete(hop.prefix)
    this.hopChanges++
  }

  #result(state: State, here: Here): Result {
    const { key: dst, learned, prefix, pool } = state
    const { nextHop } = learned
    const hop = state.hops[0]!.prefix
    if (prefix === undefined || hop === undefined)
      return noRoute(dst, 'Malformed', `prefix or next hop ${nextHop} cannot be read`, 'correct the announcing router')
    const borrower = this.#lent.get(dst)
    if (borrower !== undefined && !pathsOf(learned).some(path => this.#isOf(borrower, path)))
      return noRoute(
        dst,
        'NotBorrower',
        `${nextHop} announces an address that this node lent to node ${borrower}; the route is not used`,
        'find out why that router announces it',
      )
    const isElsewhere = borrower !== undefined || this.#floating.has(dst)
    const block = isElsewhere ? undefined : this.#ownBlocks.match(prefix)
    const isOwn = here.addresses.match(prefix) ?? block ?? here.subnetNames.has(dst)
    if (isOwn && learned.bgpPeer !== undefined)
      return noRoute(
        dst,
        'OwnPrefix',
        `BGPPeer ${learned.bgpPeer} says how it is reached, and it belongs to this node`,
        `correct peerIP of the BGPPeer`,
      )
    if (isOwn)
      return noRoute(
        dst,
        'OwnPrefix',
        `${nextHop} announces what belongs to this node; the route is not used`,
        'find out why that router announces it',
      )
    if (pool?.isExchanged === false)
      return noRoute(
        dst,
        'NotExported',
        `nodes do not exchange pool ${pool.cidr} over BGP (disableBGPExport, and no tunnel)`,
        'stop announcing it there, or set disableBGPExport of the pool to false, or its ipipMode or vxlanMode',
      )
    if (learned.paths !== undefined) return this.#shared(state, learned.paths, prefix, borrower, here)
    const way = this.#wayOf(learned, hop, { dst, prefix, pool, bgpPeer: learned.bgpPeer }, here)
    if (way.way === 'none') return way
    return { route: this.#routeBy(dst, sharedWays([{ ways: way.hops }])), condition: way.condition }
  }

  /** Of several paths, those that go as the first one that goes: flows that change from one to the other take no other kind of way. */
  #shared(
    { key: dst, hops, pool }: State,
    paths: readonly LearnedPath[],
    prefix: Prefix,
    borrower: string | undefined,
    here: Here,
  ): Result {
    let kind: PathWay['way'] | undefined
    let condition: Condition | undefined
    const used: { weight?: number | undefined; ways: readonly NamedNextHop[] }[] = []
    const overItself: typeof used = []
    for (const [i, path] of paths.entries()) {
      const hop = hops[i]!.prefix
      if (hop === undefined || (borrower !== undefined && !this.#isOf(borrower, path))) continue
      const found = this.#wayOf(path, hop, { dst, prefix, pool, bgpPeer: undefined }, here)
      // why the best one does not go, until one goes
      if (used.length === 0) condition = found.way === 'none' ? (condition ?? found.condition) : found.condition
      if (found.way === 'none' || (kind !== undefined && found.way !== kind)) continue
      // its ways are those of the others; one of those that went would stay for it, with fewer flows each time
      const routed = this.#routed.get(path.nextHop)
      if (routed?.overOurs === dst && found.hops === routed.hops) {
        overItself.push({ ways: found.hops })
        continue
      }
      kind = found.way
      // one node may announce under several addresses
      if (kind !== 'direct' && used.some(({ ways }) => sameEnd(ways, found.hops))) continue
      used.push({ weight: path.weight, ways: found.hops })
    }
    // a loop, which whoever follows the next hops is about to find
    const ways = sharedWays(used.length > 0 ? used : overItself)
    return ways.length === 0 ? { condition } : { route: this.#routeBy(dst, ways), condition }
  }

  #routeBy(dst: string, nextHops: readonly NamedNextHop[]): NamedRoute {
    const [first, second] = nextHops
    return second === undefined ? { ...this.#common(dst), ...first } : { ...this.#common(dst), nextHops }
  }

  #wayOf(path: LearnedPath, hop: Prefix, announced: Parameters<typeof wayOf>[2], here: Here): PathWay {
    const vtep = this.#context.vtepOf(path.nextHop)
    const routed = this.#routed.get(path.nextHop)
    return wayOf(path, hop, announced, { here, connected: this.#connected, vtep, routed })
  }

  #isOf(node: string, { nextHop }: LearnedPath): boolean {
    return this.#context.addressesOf(node).includes(nextHop)
  }

  #common(dst: string): typeof LEARNED & Pick<NamedRoute, 'dst' | 'protocol'> {
    return { ...LEARNED, dst, protocol: this.#context.routeProtocol }
  }
}

type Result = { route?: NamedRoute; condition?: Condition | undefined }

const NOTHING: Result = {}

const LEARNED = {
  table: ROUTE_TABLE.main,
  type: 'unicast',
  scope: ROUTE_SCOPE.universe,
} as const

function noRoute(dst: string, reason: ReasonOf<'BlocksReachable'>, message: string, remedy: string): Result {
  return { condition: unreachable(dst, reason, message, remedy) }
}

/** Of tunnels. */
function sameEnd([a]: readonly NamedNextHop[], [b]: readonly NamedNextHop[]): boolean {
  return a?.gateway === b?.gateway && a?.interfaceName === b?.interfaceName
}

/** All paths of an announcement, its best first. */
function pathsOf(learned: LearnedRoute): readonly LearnedPath[] {
  return learned.paths ?? [learned]
}
