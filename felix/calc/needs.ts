// Which tunnels a node should have: by what the pools ask, by what this kernel and this node have, and by what other nodes lack. Pure.
import type { Family } from '../../lib/ip.ts'
import type { Settings } from '../input.ts'
import type { TunnelsNeeded } from './mtu.ts'

/** `someLackIpip`: a node behind a block of an IP-in-IP pool has no IP-in-IP. `someLackIpv4`: a node takes VXLAN over IPv6 alone. */
export type Others = { someLackIpip: boolean; someLackIpv4: boolean }

export const ALL_ALIKE: Others = { someLackIpip: false, someLackIpv4: false }
/** Whatever other nodes may come to be. */
export const ANY: Others = { someLackIpip: true, someLackIpv4: true }

type Pools = { asksFor(kind: 'ipip' | 'vxlan', family: Family): boolean }

const KNOWN = new Map<string, TunnelsNeeded>()

/**
 * VXLAN over IPv4 is needed for an IP-in-IP pool too, as soon as one side lacks IP-in-IP; VXLAN over IPv6 where one side has no IPv4
 * address. Until this node is known it is taken for one that has it; nothing is made then.
 */
export function tunnelsNeeded(
  pools: Pools,
  { capabilities, node }: Pick<Settings, 'capabilities' | 'node'>,
  { someLackIpip, someLackIpv4 }: Others,
): TunnelsNeeded {
  const hasIpv4 = node === undefined || node.ipv4 !== undefined
  const asksIpip = hasIpv4 && pools.asksFor('ipip', 'ipv4')
  const standIn = asksIpip && (!capabilities.ipip || someLackIpip)
  const ipip = capabilities.ipip && asksIpip
  const vxlanIpv4 = capabilities.vxlan && hasIpv4 && (pools.asksFor('vxlan', 'ipv4') || standIn)
  const vxlanIpv6 = capabilities.vxlan && pools.asksFor('vxlan', 'ipv6')
  const vxlan = hasIpv4 && (vxlanIpv4 || vxlanIpv6)
  const vxlanOverIpv6 = vxlanIpv6 && node?.ipv6 !== undefined && (!hasIpv4 || someLackIpv4)
  return known({ ipip, vxlan, vxlanOverIpv6, vxlanIpv4, vxlanIpv6 })
}

/** The same needs are the same object, so that nobody compares them by value at each pass. */
function known(needed: TunnelsNeeded): TunnelsNeeded {
  const { ipip, vxlan, vxlanOverIpv6, vxlanIpv4, vxlanIpv6 } = needed
  const key = `${ipip} ${vxlan} ${vxlanOverIpv6} ${vxlanIpv4} ${vxlanIpv6}`
  const before = KNOWN.get(key) ?? needed
  KNOWN.set(key, before)
  return before
}

export const NO_TUNNELS = known({
  ...{ ipip: false, vxlan: false, vxlanOverIpv6: false, vxlanIpv4: false, vxlanIpv6: false },
})
