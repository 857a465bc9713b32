// What an announcement may not claim: the addresses of the Node and the subnets that they are in.
import { GATEWAY } from '../../kernel/pod-interface.ts'
import { formatCidr, parseCidr } from '../../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { ThisNode } from '../input.ts'

export type OwnPrefixes = {
  /** Nobody else may announce them, and they are no next hop for this node. */
  addresses: PrefixIndex<true>
  /** Each with its length. */
  subnets: PrefixIndex<number>
  subnetNames: ReadonlySet<string>
}

export function ownPrefixes(node: ThisNode): OwnPrefixes {
  const addresses = new PrefixIndex<true>()
  const subnets = new PrefixIndex<number>()
  const subnetNames = new Set<string>()
  const { ipv4, ipv6, ipipTunnelAddress, vxlanTunnelAddress, vxlanTunnelAddressV6 } = node
  for (const address of [
    ipv4?.split('/')[0],
    ipv6?.split('/')[0],
    ipipTunnelAddress,
    vxlanTunnelAddress,
    vxlanTunnelAddressV6,
    GATEWAY.ipv4,
  ]) {
    const prefix = address === undefined ? undefined : parsePrefix(address)
    if (prefix !== undefined) addresses.set(prefix, true)
  }
  for (const text of [ipv4, ipv6]) {
    const cidr = text === undefined ? undefined : parseCidr(text)
    const prefix = text === undefined ? undefined : parsePrefix(text)
    if (cidr === undefined || prefix === undefined) continue
    subnets.set(prefix, prefix.length)
    subnetNames.add(formatCidr(cidr))
  }
  return { addresses, subnets, subnetNames }
}
