// Which way packets to a learned block leave this node: the pool's mode, where the next hop lies, what the far node
// announced (RFC 9012 tunnel types) and what this kernel has. IP-in-IP that one side lacks becomes VXLAN between
// those two; a VXLAN pool never becomes IP-in-IP, because the usual reason to ask for VXLAN is a network that drops
// IP protocol 4. Where a tunnel was asked for and is not possible, a block gets no route: packets never leave without it.
import type { Family } from '../../lib/ip.ts'
import type { Encapsulation, Pool } from '../input.ts'

/** RFC 9012 §4.1, IANA "BGP Tunnel Encapsulation Attribute Tunnel Types". */
export const TUNNEL_TYPE = { vxlan: 8, ipip: 7 } as const

export type WayInput = {
  family: Family
  /** The pool that holds the block; absent for a route of the world outside. */
  pool?: Pick<Pool, 'ipip' | 'vxlan'>
  /** The next hop is of this family, and lies inside this node's own subnet or is a link-local neighbour. */
  onLink: boolean
  /** The next hop lies in a subnet of an interface of this node, longer than that of the Node address, which is up or down. */
  beside?: 'up' | 'down'
  /** It is on no link, and a route of this node leads there. */
  routed: boolean
  /** Tunnel types the far node announced; none means that it can do what the pool asks for. */
  announced: readonly number[]
  /** What this node can use now: the kernel has the kind and, for IPv4 in VXLAN, this node's VTEP has its address. */
  own: { ipip: boolean; vxlan: boolean; vxlanAddress: boolean }
  /** The far node's VTEP is known: its MAC and, for IPv4, its address. */
  farVtep: boolean
}

export type Way =
  | { way: 'direct' }
  | { way: 'ipip' }
  /** `instead` names the side that lacks IP-in-IP where VXLAN stands in for it. */
  | { way: 'vxlan'; instead?: 'here' | 'there' }
  | { way: 'none'; reason: NoWay; missing?: 'here' | 'there' }

/** Why a block gets no route: machine words, part of what conditions show. */
export type NoWay =
  | 'NextHopNotOnLink'
  | 'NextHopLinkDown'
  | 'NoIpv6Tunnel'
  | 'NoCommonEncapsulation'
  | 'TunnelAddressMissing'
  | 'VtepUnknown'

/** The tunnel kind a pool asks for; a pool that asks for both gets IP-in-IP. */
export function poolEncapsulation(pool: Pick<Pool, 'ipip' | 'vxlan'>): Encapsulation {
  if (pool.ipip !== 'Never') return 'ipip'
  return pool.vxlan !== 'Never' ? 'vxlan' : 'none'
}

/** Total: every combination has one way. */
export function chooseWay(q: WayInput): Way {
  const kind = q.pool === undefined ? 'none' : poolEncapsulation(q.pool)
  const mode = kind === 'none' ? 'Never' : q.pool?.[kind]
  if (mode === 'Never') return directWay(q)
  if (mode === 'CrossSubnet' && q.onLink) return { way: 'direct' }
  if (q.family === 'ipv6' && kind === 'ipip') return { way: 'none', reason: 'NoIpv6Tunnel' }

  const ipipMissing = missing(q.own.ipip, can(q.announced, TUNNEL_TYPE.ipip))
  if (kind === 'ipip' && ipipMissing === undefined) return { way: 'ipip' }

  const vxlanMissing = missing(q.own.vxlan, can(q.announced, TUNNEL_TYPE.vxlan))
  if (vxlanMissing !== undefined) return { way: 'none', reason: 'NoCommonEncapsulation', missing: vxlanMissing }
  if (q.family === 'ipv4' && !q.own.vxlanAddress) return { way: 'none', reason: 'TunnelAddressMissing' }
  if (!q.farVtep) return { way: 'none', reason: 'VtepUnknown' }
  return kind === 'ipip' ? { way: 'vxlan', instead: ipipMissing } : { way: 'vxlan' }
}

/** By any interface: without a tunnel there is no other way, and no other end that has to judge alike. */
function directWay({ onLink, beside, routed }: WayInput): Way {
  if (onLink || beside === 'up' || routed) return { way: 'direct' }
  return { way: 'none', reason: beside === 'down' ? 'NextHopLinkDown' : 'NextHopNotOnLink' }
}

/** Whether a far node that announced these tunnel types can take packets of one. */
export function can(announced: readonly number[], type: number): boolean {
  return announced.length === 0 || announced.includes(type)
}

function missing(here: boolean, there: boolean): 'here' | 'there' | undefined {
  if (!here) return 'here'
  return there ? undefined : 'there'
}
