// The routes of one node, in exactly the shapes that people expect from `ip route`. Each group is a function of its
// own so that the loop may keep what did not change; `claim` settles who gets a destination that several want.
// Hazards: a learned route must never cover what is ours, and must never replace the subnet the node itself lives on.

import { GATEWAY } from '../../kernel/pod-interface.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { addressBits, cidr, type Family, formatCidr, parseCidr } from '../../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { DesiredRoute, Notice } from '../desired.ts'
import type { FelixInput, LearnedRoute, Pool } from '../input.ts'
import { type Answer, chooseWay, poolEncapsulation } from './encapsulation.ts'
import { IPIP_DEVICE, tunnelsNeeded, type Vtep, VXLAN_DEVICE } from './tunnels.ts'

type Routes = { routes: DesiredRoute[]; notices: Notice[] }

/** `blackhole BLOCK proto 80`: packets to a free address of an own block end here instead of following a default. */
export function blackholeRoutes(ownBlocks: readonly string[]): DesiredRoute[] {
  return ownBlocks.map(block => ({
    dst: formatCidr(cidr(block)),
    table: ROUTE_TABLE.main,
    type: 'blackhole',
    protocol: ROUTE_PROTOCOL.blocks,
    scope: ROUTE_SCOPE.universe,
  }))
}

/** Any metric but 0: a route to this address that somebody else made (a node behind such a gateway itself) wins. */
const GATEWAY_METRIC = 1024

/**
 * `169.254.1.1 dev UPLINK scope link`: proxy ARP on pod interfaces answers only for an address that the node has a route
 * to over another interface (arp_process in net/ipv4/arp.c), and a node may have no default route. The uplink itself never
 * answers: the route leads back to it. Not over `lo`, which would forward a packet to this address until its TTL ends.
 */
export function gatewayRoute(uplink: string): DesiredRoute[] {
  if (uplink === 'lo') return []
  return [
    {
      dst: hostCidr(GATEWAY.ipv4),
      table: ROUTE_TABLE.main,
      type: 'unicast',
      protocol: ROUTE_PROTOCOL.blocks,
      scope: ROUTE_SCOPE.link,
      interfaceName: uplink,
      metric: GATEWAY_METRIC,
    },
  ]
}

export type LearnedInput = Pick<FelixInput, 'node' | 'capabilities' | 'pools' | 'ownBlocks' | 'learned'>

/** Routes to what other nodes and routers announced, and a notice for each announcement that gets none. */
export function learnedRoutes(input: LearnedInput, vteps: ReadonlyMap<string, Vtep>): Routes {
  const { node, learned } = input
  const needed = tunnelsNeeded(input)
  const own = { ...input.capabilities, vxlanAddress: needed.vxlan && node.vxlanTunnelAddress !== undefined }
  const pools = new PrefixIndex<Pool>()
  for (const pool of input.pools.toSorted(byCidr)) pools.add(pool.cidr, pool)
  const mine = ownPrefixes(input)
  const subnets = new PrefixIndex<true>()
  const subnetNames = new Set<string>()
  for (const text of [node.ipv4, node.ipv6]) {
    const subnet = text === undefined ? undefined : parseCidr(text)
    if (subnet === undefined) continue
    subnets.add(formatCidr(subnet), true)
    subnetNames.add(formatCidr(subnet))
  }
  const notices = new NoticeList()
  const routes: DesiredRoute[] = []
  for (const route of learned) {
    const prefix = parsePrefix(route.prefix)
    const hop = parsePrefix(route.nextHop)
    const object = `route ${route.prefix}`
    if (prefix === undefined || hop === undefined) {
      notices.add(object, 'Malformed', `prefix or next hop ${route.nextHop} cannot be read; no route is programmed`)
      continue
    }
    if (mine.match(prefix) !== undefined || subnetNames.has(route.prefix)) {
      notices.add(object, 'OwnPrefix', `${route.nextHop} announces what belongs to this node; the route is not used`)
      continue
    }
    if (mine.match(hop) === 'address' || hop.family !== prefix.family) {
      const what = hop.family === prefix.family ? 'this node itself' : 'an address of the other family'
      notices.add(object, 'BadNextHop', `next hop ${route.nextHop} is ${what}; correct next-hop-self on the peer`)
      continue
    }
    const pool = pools.match(prefix)
    if (pool?.disableBgpExport === true) {
      notices.add(object, 'NotExported', `pool ${pool.cidr} is not exchanged over BGP (disableBGPExport)`)
      continue
    }
    const onLink = route.interface !== undefined || subnets.match(hop) !== undefined
    const vtep = vteps.get(route.nextHop)
    const farVtep = vtep !== undefined
    const question = { family: prefix.family, pool, onLink, announced: route.encapsulations, own, farVtep }
    const answer = chooseWay(question)
    explain(notices, route, pool, answer, vtep)
    const hopSpec = nextHop(answer, route, node.uplink, vtep)
    if (hopSpec !== undefined) routes.push({ dst: route.prefix, ...LEARNED, ...hopSpec })
  }
  return { routes, notices: notices.all() }
}

const LEARNED = {
  table: ROUTE_TABLE.main,
  type: 'unicast',
  protocol: ROUTE_PROTOCOL.bird,
  scope: ROUTE_SCOPE.universe,
} as const

function nextHop(
  answer: Answer,
  route: LearnedRoute,
  uplink: string,
  vtep: Vtep | undefined,
): Pick<DesiredRoute, 'gateway' | 'interfaceName' | 'onlink'> | undefined {
  switch (answer.way) {
    case 'direct':
      return { gateway: route.nextHop, interfaceName: route.interface ?? uplink }
    case 'ipip':
      return { gateway: route.nextHop, interfaceName: IPIP_DEVICE, onlink: true }
    case 'vxlan':
      return { gateway: vtep?.vtep, interfaceName: VXLAN_DEVICE, onlink: true }
    case 'none':
      return undefined
  }
}

/** Says what a person should know of an answer: a stand-in once per far node, a missing route once per route. */
function explain(
  notices: NoticeList,
  route: LearnedRoute,
  pool: Pool | undefined,
  answer: Answer,
  vtep: Vtep | undefined,
): void {
  const far = vtep === undefined ? route.nextHop : `${vtep.node} (${route.nextHop})`
  if (answer.way === 'vxlan' && answer.instead !== undefined) {
    const [reason, who] =
      answer.instead === 'here' ? ['IpipLackedHere', 'this node'] : ['IpipLackedThere', `node ${far}`]
    const remedy = 'load the ipip module there, or set vxlanMode instead of ipipMode on the pool'
    const message = `VXLAN is used to and from ${far}: ${who} has no IP-in-IP; ${remedy}`
    notices.add(`node ${vtep?.node ?? route.nextHop}`, reason, message)
  }
  if (answer.way !== 'none') return
  const asked = pool === undefined ? 'none' : poolEncapsulation(pool)
  const lacking = answer.missing === 'here' ? 'this node lacks' : `node ${far} lacks`
  const message = {
    NextHopNotOnLink: `next hop ${route.nextHop} is not in this node's subnet and no tunnel is asked for; set the pool to CrossSubnet, or peer with the router between`,
    NoIpv6Tunnel: 'IPv6 blocks are not tunnelled; set ipipMode and vxlanMode of the IPv6 pool to Never',
    NoCommonEncapsulation: `pool ${pool?.cidr} asks for ${asked}, and ${lacking} what is needed; load the module (modprobe ipip or vxlan)`,
    TunnelAddressMissing: 'this node has no VXLAN tunnel address yet; a pool must have one to give',
    VtepUnknown: `node ${far} has published no VXLAN tunnel address; look at its Node annotations`,
  }[answer.reason]
  notices.add(`route ${route.prefix}`, answer.reason, `no route: ${message}`)
}

/** Prefixes that nobody else may announce to us; single addresses of this node are also no next hop for it. */
function ownPrefixes({ node, ownBlocks }: LearnedInput): PrefixIndex<'block' | 'address'> {
  const index = new PrefixIndex<'block' | 'address'>()
  const { ipv4, ipv6, ipipTunnelAddress, vxlanTunnelAddress } = node
  for (const address of [ipv4.split('/')[0], ipv6?.split('/')[0], ipipTunnelAddress, vxlanTunnelAddress, GATEWAY.ipv4])
    if (address !== undefined) index.add(address, 'address')
  for (const block of ownBlocks) index.add(block, 'block')
  return index
}

/**
 * One route for each destination: an earlier group beats a later one, and within a group (each sorted by
 * `byDestination`) the first, so that the order in which things were learned never decides.
 */
export function claim(...groups: readonly (readonly DesiredRoute[])[]): { routes: DesiredRoute[]; notices: Notice[] } {
  const taken = new Map<string, DesiredRoute>()
  const notices = new NoticeList()
  for (const group of groups) {
    for (const route of group) {
      const holder = taken.get(route.dst)
      if (holder === undefined) taken.set(route.dst, route)
      else if (
        holder.interfaceName !== route.interfaceName &&
        holder.type === 'unicast' &&
        holder.gateway === undefined
      ) {
        const message = `${holder.interfaceName} and ${route.interfaceName ?? route.type} both claim it; ${holder.interfaceName} has it`
        notices.add(`route ${route.dst}`, 'AddressConflict', message)
      }
    }
  }
  return { routes: [...taken.values()], notices: notices.all() }
}

/** A single address as a CIDR of full length; a CIDR stays as it is. */
export function hostCidr(address: string): string {
  if (address.includes('/')) return address
  const family: Family = address.includes(':') ? 'ipv6' : 'ipv4'
  return `${address}/${addressBits(family)}`
}

/** Notices without repetition. */
class NoticeList {
  readonly #byKey = new Map<string, Notice>()

  add(object: string, reason: string, message: string): void {
    const key = `${object} ${reason}`
    const before = this.#byKey.get(key)
    if (before === undefined || message < before.message) this.#byKey.set(key, { object, reason, message })
  }

  all(): Notice[] {
    return [...this.#byKey.values()]
  }
}

function byCidr(a: Pool, b: Pool): number {
  return a.cidr < b.cidr ? -1 : a.cidr > b.cidr ? 1 : Number(a.ipip < b.ipip)
}

/** The order that settles who has a destination: by its text, then by interface, then by gateway. */
export function byDestination(a: DesiredRoute, b: DesiredRoute): number {
  return (
    compare(a.dst, b.dst) ||
    compare(a.interfaceName ?? '', b.interfaceName ?? '') ||
    compare(a.gateway ?? '', b.gateway ?? '')
  )
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
