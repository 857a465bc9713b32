// Where Services have addresses that nodes announce, as a BGPConfiguration names it: CIDRs or single addresses. Pure.
import { formatCidr, hostPrefix, parseAddress, parseCidr } from '../lib/ip.ts'

export const SERVICE_RANGE_FIELDS = ['serviceClusterIPs', 'serviceExternalIPs', 'serviceLoadBalancerIPs'] as const

/**
 * The range that an entry stands for, in canonical form, or why it is none. Everything is none: nodes would announce a default route, and
 * drop what pods send to the world.
 */
export function serviceRange({ cidr = '' }: { cidr?: string }): { range: string } | { fault: string } {
  const address = parseAddress(cidr)
  if (address !== undefined) return { range: hostPrefix(address) }
  const parsed = parseCidr(cidr)
  if (parsed === undefined) return { fault: 'it is neither a CIDR nor an address' }
  return parsed.length === 0
    ? { fault: 'it is everything, and nodes announce no default route' }
    : { range: formatCidr(parsed) }
}
