// Routes to what other nodes and routers announced. Each announcement gives one route, or a condition that says why
// there is none. It is looked at again when it changes itself, or what it depends on: the pool or own block that holds
// it, the VTEP of its next hop, this node.
// Hazards: a learned route must never cover what is ours, and must never replace the subnet the node itself lives on.
import { broken, type Condition } from '../../api/status.ts'
import type { Capabilities } from '../../kernel/port/links.ts'
import { ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import { familyOf, linkLocal } from '../../lib/ip.ts'
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { ConnectedSubnet, LearnedRoute, Pool, ThisNode } from '../input.ts'
import type { ConditionCounts } from './conditions.ts'
import { can, chooseWay, type NoWay, poolEncapsulation, TUNNEL_TYPE, type Way } from './encapsulation.ts'
import { type Connected, changedSubnets, connectedIndex } from './other-uplinks.ts'
import { type OwnPrefixes, ownPrefixes } from './own-prefixes.ts'
import type { RouteClaims } from './route-claims.ts'
import { IPIP_DEVICE, VXLAN_DEVICE } from './tunnels.ts'
import { type Vtep, vxlanDeviceTo } from './vteps.ts'

/** What the route of an announcement depends on besides itself. */
type LearnedContext = {
  poolOf(prefix: Prefix): Pool | undefined
  /** Under which addresses a node announces what it has. */
  addressesOf(node: string): readonly string[]
  vtepOf(address: string): Vtep | undefined
  /** The rtm_protocol of these routes. */
  routeProtocol: number
}

/** What an announcement is measured against at this node. */
type Here = OwnPrefixes & {
  node: ThisNode
  own: Capabilities & { vxlanAddress: boolean }
}

/** A next hop as a number, and the announcements that have it. */
type Hop = { readonly prefix: Prefix | undefined; readonly states: Set<State> }

type State = {
  /** The announced CIDR, as told. */
  readonly key: string
  learned: LearnedRoute
  readonly prefix: Prefix | undefined
  hop: Hop
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
  /** Grows with each next hop that is new or gone. */
  hopChanges = 0
  #connected = connectedIndex([])
  #subnets: readonly ConnectedSubnet[] = []
  readonly #ownBlocks = new PrefixIndex<true>()
  /** Single addresses that lead to a pod of some other node, and may lie in own blocks: as CIDRs. */
  readonly #floating = new Set<string>()
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
    if (before !== undefined && before.learned.nextHop !== learned?.nextHop) this.#leaveHop(before)
    if (learned === undefined) {
      if (before !== undefined) this.#forget(before)
    } else if (before === undefined) this.#add(key, learned)
    else {
      before.hop = this.#hop(learned.nextHop)
      before.hop.states.add(before)
      before.learned = learned
      this.#findPool(before)
    }
  }

  #add(key: string, learned: LearnedRoute): void {
    const [prefix, hop] = [parsePrefix(key), this.#hop(learned.nextHop)]
    const state = { key, learned, prefix, hop, pool: undefined, lacksIpip: false, condition: undefined, isDirty: false }
    this.#states.set(key, state)
    if (prefix !== undefined) this.#byPrefix.set(prefix, state)
    hop.states.add(state)
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

  hops(): Iterable<readonly [nextHop: string, { readonly prefix: Prefix | undefined }]> {
    return this.#byHop
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
    state.pool = state.prefix === undefined ? undefined : this.#context.poolOf(state.prefix)
    const lacksIpip =
      state.pool !== undefined &&
      poolEncapsulation(state.pool) === 'ipip' &&
      !can(state.learned.encapsulations, TUNNEL_TYPE.ipip)
    this.#lackingIpip += Number(lacksIpip) - Number(state.lacksIpip)
    state.lacksIpip = lacksIpip
    this.#lookAgain(state)
  }

  #hop(nextHop: string): Hop {
    let hop = this.#byHop.get(nextHop)
    if (hop === undefined) {
      hop = { prefix: parsePrefix(nextHop), states: new Set() }
      this.#byHop.set(nextHop, hop)
      if (hop.prefix !== undefined) this.#hops.set(hop.prefix, hop)
      this.hopChanges++
    }
    return hop
  }

  #leaveHop(state: State): void {
    const { hop, learned } = state
    hop.states.delete(state)
    if (hop.states.size > 0) return
    this.#byHop.delete(learned.nextHop)
    if (hop.prefix !== undefined) this.#hops.delete(hop.prefix)
    this.hopChanges++
  }

  #result({ key: dst, learned, prefix, hop: { prefix: hop }, pool }: State, here: Here): Result {
    const { nextHop } = learned
    if (prefix === undefined || hop === undefined)
      return noRoute(dst, 'Malformed', `prefix or next hop ${nextHop} cannot be read`, 'correct the announcing router')
    const borrower = this.#lent.get(dst)
    if (borrower !== undefined && !this.#context.addressesOf(borrower).includes(nextHop))
      return noRoute(
        dst,
        'NotBorrower',
        `${nextHop} announces an address that this node lent to node ${borrower}; the route is not used`,
        'find out why that router announces it',
      )
    const isElsewhere = borrower !== undefined || this.#floating.has(dst)
    const block = isElsewhere ? undefined : this.#ownBlocks.match(prefix)
    if (here.addresses.match(prefix) ?? block ?? here.subnetNames.has(dst))
      return noRoute(
        dst,
        'OwnPrefix',
        `${nextHop} announces what belongs to this node; the route is not used`,
        'find out why that router announces it',
      )
    // only a pool can ask for the tunnel that this takes
    const overIpv4 = pool !== undefined && prefix.family === 'ipv6' && hop.family === 'ipv4'
    const isSelf = here.addresses.match(hop) === true || this.#connected.addresses.has(nextHop)
    if ((hop.family !== prefix.family && !overIpv4) || isSelf) {
      const what = isSelf ? 'this node itself' : 'an address of the other family'
      return noRoute(dst, 'BadNextHop', `next hop ${nextHop} is ${what}`, 'correct next-hop-self on the peer')
    }
    if (pool?.disableBgpExport === true)
      return noRoute(
        dst,
        'NotExported',
        `pool ${pool.cidr} is not exchanged over BGP (disableBGPExport)`,
        'stop announcing it there, or set disableBGPExport of the pool to false',
      )
    const ownLength = overIpv4 ? undefined : here.subnets.match(hop)
    const onLink = !overIpv4 && (learned.interface !== undefined || ownLength !== undefined)
    const near = overIpv4 || learned.interface !== undefined ? undefined : this.#connected.subnets.match(hop)
    const closest = near !== undefined && near.length > (ownLength ?? -1) ? near.interfaces[0] : undefined
    const beside = onLink && closest?.isUp === false ? undefined : closest
    const vtep = this.#context.vtepOf(nextHop)
    const announced = learned.encapsulations
    const isReached = vtep !== undefined && vxlanDeviceTo(vtep, here.node) !== undefined
    const farVtep = prefix.family === 'ipv4' ? vtep?.vtep !== undefined : isReached
    const way = chooseWay({
      ...{ family: prefix.family, pool, onLink, announced, own: here.own, farVtep },
      ...(beside !== undefined && { beside: beside.isUp ? 'up' : 'down' }),
    })
    if (way.way === 'none') return noWay(dst, learned, { pool, through: beside?.interfaceName }, way, vtep)
    const through = learned.interface ?? beside?.interfaceName ?? uplinkTo(nextHop, here.node)
    const route = this.#route(dst, way.way, { nextHop, through }, here.node, vtep)
    if (way.way !== 'vxlan' || way.instead === undefined) return { route }
    return { route, condition: standIn(learned, way.instead, vtep) }
  }

  #route(
    dst: string,
    way: 'direct' | 'ipip' | 'vxlan',
    { nextHop, through }: { nextHop: string; through: string },
    node: ThisNode,
    vtep: Vtep | undefined,
  ): NamedRoute {
    // one literal each, and the spread first: there may be hundreds of thousands
    const protocol = this.#context.routeProtocol
    if (way === 'direct') return { ...LEARNED, dst, protocol, gateway: nextHop, interfaceName: through }
    if (way === 'vxlan' && familyOf(dst) === 'ipv6')
      // a link-local gateway is on the link by itself
      return { ...LEARNED, dst, protocol, gateway: linkLocal(vtep!.mac), interfaceName: vxlanDeviceTo(vtep!, node) }
    const [gateway, interfaceName] = way === 'ipip' ? [nextHop, IPIP_DEVICE] : [vtep?.vtep, VXLAN_DEVICE]
    return { ...LEARNED, dst, protocol, gateway, interfaceName, onlink: true }
  }
}

/** The interface of this node's address of the family of a next hop. */
function uplinkTo(nextHop: string, { uplink, ipv6Uplink = uplink }: ThisNode): string {
  return familyOf(nextHop) === 'ipv6' ? ipv6Uplink : uplink
}

type Result = { route?: NamedRoute; condition?: Condition }

const NOTHING: Result = {}

const LEARNED = {
  table: ROUTE_TABLE.main,
  type: 'unicast',
  scope: ROUTE_SCOPE.universe,
} as const

/** One for each far node, however many of its blocks are affected. */
function standIn({ nextHop }: LearnedRoute, lacking: 'here' | 'there', vtep: Vtep | undefined): Condition {
  const far = farName(nextHop, vtep)
  return broken('EncapsulationAsAsked', {
    object: { kind: 'Node', name: vtep?.node ?? nextHop },
    reason: lacking === 'here' ? 'IpipLackedHere' : 'IpipLackedThere',
    message: `VXLAN is used to and from ${far}: ${lacking === 'here' ? 'this node' : `node ${far}`} has no IP-in-IP`,
    remedy: 'load the ipip module there, or set vxlanMode instead of ipipMode on the pool',
  })
}

function noWay(
  dst: string,
  { nextHop }: LearnedRoute,
  { pool, through }: { pool: Pool | undefined; through: string | undefined },
  { reason, missing }: Extract<Way, { way: 'none' }>,
  vtep: Vtep | undefined,
): Result {
  const far = farName(nextHop, vtep)
  const asked = pool === undefined ? 'none' : poolEncapsulation(pool)
  const overIpv4 = familyOf(dst) === 'ipv6' && familyOf(nextHop) === 'ipv4'
  const texts: Record<NoWay, readonly [message: string, remedy: string]> = {
    NextHopNotOnLink:
      pool === undefined
        ? [
            `next hop ${nextHop} is in no subnet of this node, and ${dst} lies in no IPPool, which could ask for a tunnel`,
            'create the IPPool that it lies in, or peer with the router between',
          ]
        : overIpv4
          ? [
              `node ${far} announces it over IPv4 alone, and pool ${pool.cidr} asks for no VXLAN, which could carry IPv6 there`,
              'set vxlanMode of the pool, or give both nodes IPv6 addresses that reach each other',
            ]
          : [
              `next hop ${nextHop} is in no subnet of this node and no tunnel is asked for`,
              'set the pool to CrossSubnet, or peer with the router between',
            ],
    NextHopLinkDown: [
      `next hop ${nextHop} is on ${through}, which is down or has no carrier, and no tunnel is asked for`,
      `take ${through} up, and look at the cable and at the port of the switch`,
    ],
    NoIpv6Tunnel: ['IP-in-IP carries no IPv6', 'set ipipMode of the IPv6 pool to Never, and vxlanMode instead'],
    NoCommonEncapsulation: [
      `pool ${pool?.cidr} asks for ${asked}, and ${missing === 'here' ? 'this node' : `node ${far}`} lacks what is needed`,
      'load the module there (modprobe ipip or vxlan)',
    ],
    TunnelAddressMissing: ['this node has no VXLAN tunnel address yet', 'see that a pool has one to give'],
    VtepUnknown: [
      `no VXLAN tunnel end of node ${far} can be used: its Node object names none, or another Node claims the same`,
      'where AddressesUnique names the node, follow its remedy; else look who removed projectcalico.org/IPv4VXLANTunnelAddr or VXLANTunnelMACAddr from its Node object, and restart its agent',
    ],
  }
  const [message, remedy] = texts[reason]
  return noRoute(dst, reason, message, remedy)
}

function noRoute(dst: string, reason: string, message: string, remedy: string): Result {
  return { condition: broken('BlocksReachable', { object: { kind: 'Route', name: dst }, reason, message, remedy }) }
}

function farName(nextHop: string, vtep: Vtep | undefined): string {
  return vtep === undefined ? nextHop : `${vtep.node} (${nextHop})`
}
