// The way to the next hop of one path of an announcement, or the condition that says why there is none. Pure.
import { broken, type Condition, type ReasonOf } from '../../api/status.ts'
import type { Capabilities } from '../../kernel/port/links.ts'
import type { NamedNextHop } from '../../kernel/reconcile/objects.ts'
import { contains, familyOf, linkLocal } from '../../lib/ip.ts'
import type { Prefix } from '../../lib/prefix-index.ts'
import type { LearnedPath, NextHopWay, Pool, ThisNode } from '../input.ts'
import { chooseWay, type NoWay, poolEncapsulation, type Way } from './encapsulation.ts'
import type { Connected } from './other-uplinks.ts'
import type { OwnPrefixes } from './own-prefixes.ts'
import { IPIP_DEVICE, VXLAN_DEVICE } from './tunnels.ts'
import { type Vtep, vxlanDeviceTo } from './vteps.ts'

/** What an announcement is measured against at this node. */
export type Here = OwnPrefixes & {
  node: ThisNode
  own: Capabilities & { vxlanAddress: boolean }
}

/** What is announced, as the CIDR was told and as a number; `bgpPeer`: it is the way to a peer instead. */
type Announced = { dst: string; prefix: Prefix; pool: Pool | undefined; bgpPeer: string | undefined }

/** `hops`: one, or more where the way to the next hop has several. `condition` beside a way: it is not the one that was asked for. */
export type PathWay =
  | { way: 'direct' | 'ipip' | 'vxlan'; hops: readonly NamedNextHop[]; condition?: Condition }
  | { way: 'none'; condition: Condition }

/** `hop`: the next hop of the path as a number. `routed`: how the kernel's routes lead there. */
export function wayOf(
  path: LearnedPath,
  hop: Prefix,
  { dst, prefix, pool, bgpPeer }: Announced,
  {
    here,
    connected,
    vtep,
    routed,
  }: { here: Here; connected: Connected; vtep: Vtep | undefined; routed: NextHopWay | undefined },
): PathWay {
  const { nextHop } = path
  // a pod is reached by its own interface, whatever a pool asks for between nodes
  if (path.pod !== undefined && hop.family === prefix.family)
    return { way: 'direct', hops: [{ gateway: nextHop, interfaceName: path.pod, onlink: true }] }
  // only a pool can ask for the tunnel that this takes
  const overIpv4 = pool !== undefined && prefix.family === 'ipv6' && hop.family === 'ipv4'
  const isSelf = here.addresses.match(hop) === true || connected.addresses.has(nextHop)
  // a neighbour on a link without IPv4 addresses (RFC 8950), of which the interface is known; no tunnel ends there
  const overIpv6 = prefix.family === 'ipv4' && hop.family === 'ipv6' && path.interface !== undefined
  if ((hop.family !== prefix.family && !overIpv4 && !overIpv6) || isSelf) {
    const what = isSelf ? 'this node itself' : 'an address of the other family'
    if (bgpPeer !== undefined) return noWay(dst, 'BadNextHop', `${reachedBy(bgpPeer, nextHop)} ${what}`, NAME_A_ROUTER)
    return noWay(dst, 'BadNextHop', `next hop ${nextHop} is ${what}`, 'correct next-hop-self on the peer')
  }
  // the kernel takes no IPv6 next hop that is behind a gateway, itself included
  if (bgpPeer !== undefined && dst.startsWith(`${nextHop}/`))
    return noWay(dst, 'BadNextHop', `${reachedBy(bgpPeer, nextHop)} the peer itself`, NAME_A_ROUTER)
  const ownLength = overIpv4 ? undefined : here.subnets.match(hop)
  const onLink = !overIpv4 && (path.interface !== undefined || ownLength !== undefined)
  const near = overIpv4 || path.interface !== undefined ? undefined : connected.subnets.match(hop)
  const closest = near !== undefined && near.length > (ownLength ?? -1) ? near.interfaces[0] : undefined
  const beside = onLink && closest?.isUp === false ? undefined : closest
  const isAnnounced = bgpPeer === undefined && hop.family === prefix.family
  const detour = onLink || beside?.isUp || !isAnnounced ? undefined : leadingPast(beside?.interfaceName, routed)
  const announced = path.encapsulations
  const isReached = vtep !== undefined && vxlanDeviceTo(vtep, here.node) !== undefined
  const farVtep = prefix.family === 'ipv4' ? vtep?.vtep !== undefined : isReached
  const way = chooseWay({
    ...{ family: prefix.family, pool, onLink, routed: detour !== undefined, announced, farVtep },
    own: overIpv6 ? { ...here.own, ipip: false } : here.own,
    ...(beside !== undefined && { beside: beside.isUp ? 'up' : 'down' }),
  })
  if (way.way === 'none') return lacking(dst, path, { pool, bgpPeer, through: beside?.interfaceName }, way, vtep)
  if (way.way === 'direct' && detour !== undefined) {
    const { hops, over } = detour
    const isLoop = over !== undefined && prefix.length >= lengthOf(over) && contains(dst, nextHop)
    return isLoop ? loop(dst, nextHop, over) : { way: 'direct', hops }
  }
  const through = path.interface ?? beside?.interfaceName ?? uplinkTo(nextHop, here.node)
  const found = { way: way.way, hops: [hopOf(prefix, way.way, { nextHop, through }, here.node, vtep)] }
  if (way.way !== 'vxlan' || way.instead === undefined) return found
  return { ...found, condition: standIn(path, way.instead, vtep) }
}

/** What leads to a next hop, but for what goes by an interface in its subnet that is down. */
function leadingPast(down: string | undefined, routed: NextHopWay | undefined): NextHopWay | undefined {
  return routed?.hops.some(({ interfaceName }) => interfaceName === down) ? undefined : routed
}

function lengthOf(cidr: string): number {
  return Number(cidr.split('/')[1])
}

/** What is learned over a route would take its place, and lead to itself. */
function loop(dst: string, nextHop: string, over: string): PathWay {
  return noWay(
    dst,
    'NextHopLoop',
    `next hop ${nextHop} is reached by the route to ${over}, in whose place this one would be`,
    'let the router not announce the address by which it is reached, or reject it in a BGPFilter',
  )
}

function hopOf(
  { family }: Prefix,
  way: 'direct' | 'ipip' | 'vxlan',
  { nextHop, through }: { nextHop: string; through: string },
  node: ThisNode,
  vtep: Vtep | undefined,
): NamedNextHop {
  if (way === 'direct') return { gateway: nextHop, interfaceName: through }
  // a link-local gateway is on the link by itself
  if (way === 'vxlan' && family === 'ipv6')
    return { gateway: linkLocal(vtep!.mac), interfaceName: vxlanDeviceTo(vtep!, node)! }
  if (way === 'ipip') return { gateway: nextHop, interfaceName: IPIP_DEVICE, onlink: true }
  return { gateway: vtep!.vtep!, interfaceName: VXLAN_DEVICE, onlink: true }
}

/** The interface of this node's address of the family of a next hop. */
function uplinkTo(nextHop: string, { uplink, ipv6Uplink = uplink }: ThisNode): string {
  return familyOf(nextHop) === 'ipv6' ? ipv6Uplink : uplink
}

/** One for each far node, however many of its blocks are affected. */
function standIn({ nextHop }: LearnedPath, lacking: 'here' | 'there', vtep: Vtep | undefined): Condition {
  const far = farName(nextHop, vtep)
  return broken('EncapsulationAsAsked', {
    object: { kind: 'Node', name: vtep?.node ?? nextHop },
    reason: lacking === 'here' ? 'IpipLackedHere' : 'IpipLackedThere',
    message: `VXLAN is used to and from ${far}: ${lacking === 'here' ? 'this node' : `node ${far}`} has no IP-in-IP`,
    remedy: 'load the ipip module there, or set vxlanMode instead of ipipMode on the pool',
  })
}

const NAME_A_ROUTER = 'name a router in a subnet of this node in reachableBy, or take that away'

function reachedBy(bgpPeer: string, gateway: string): string {
  return `BGPPeer ${bgpPeer} says that it is reached by ${gateway}, which is`
}

function lacking(
  dst: string,
  { nextHop }: LearnedPath,
  { pool, bgpPeer, through }: Pick<Announced, 'pool' | 'bgpPeer'> & { through: string | undefined },
  { reason, missing }: Extract<Way, { way: 'none' }>,
  vtep: Vtep | undefined,
): PathWay {
  const far = farName(nextHop, vtep)
  const asked = pool === undefined ? 'none' : poolEncapsulation(pool)
  const overIpv4 = familyOf(dst) === 'ipv6' && familyOf(nextHop) === 'ipv4'
  const texts: Record<NoWay, readonly [message: string, remedy: string]> = {
    NextHopNotOnLink:
      bgpPeer !== undefined
        ? [`${reachedBy(bgpPeer, nextHop)} in no subnet of this node`, NAME_A_ROUTER]
        : pool === undefined
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
  return noWay(dst, reason, message, remedy)
}

function noWay(dst: string, reason: ReasonOf<'BlocksReachable'>, message: string, remedy: string): PathWay {
  return { way: 'none', condition: unreachable(dst, reason, message, remedy) }
}

/** Why there is no route to what is announced. */
export function unreachable(
  dst: string,
  reason: ReasonOf<'BlocksReachable'>,
  message: string,
  remedy: string,
): Condition {
  return broken('BlocksReachable', { object: { kind: 'Route', name: dst }, reason, message, remedy })
}

function farName(nextHop: string, vtep: Vtep | undefined): string {
  return vtep === undefined ? nextHop : `${vtep.node} (${nextHop})`
}
