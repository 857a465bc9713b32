// IPPools that overlap the subnet of this node: pods get the addresses of machines there, and what those are sent goes to pods. A pool for
// containers on that LAN (docs/cni.md) is meant so, and gives addresses only where it is named; so does one of which the machines'
// part is reserved. Pure.
import { type IpPool, poolsInEffect, usesOf } from '../../api/pools.ts'
import { broken, type Condition } from '../../api/status.ts'
import { reservedIn } from '../../ipam/pick.ts'
import { addressBits, cidr, formatCidr, overlaps } from '../../lib/ip.ts'

export type PoolSubnets = {
  pools: readonly IpPool[]
  /** CIDRs that IPAM gives to nobody. */
  reserved: readonly string[]
  /** The subnets of this node's addresses, as CIDRs; host bits are of no account. */
  subnets: readonly string[]
}

export function poolSubnetConditions({ pools, reserved, subnets }: PoolSubnets): Condition[] {
  return poolsInEffect(pools)
    .filter(isForAnyPod)
    .flatMap(({ metadata: { name }, spec }) => {
      const found = subnets.find(subnet => isGivenOut(spec.cidr, subnet, reserved))
      if (found === undefined) return []
      const subnet = formatCidr(cidr(found))
      return [
        broken('PoolsDisjoint', {
          object: { kind: 'IPPool', name },
          reason: 'NodeSubnet',
          message: `IPPool ${name} (${spec.cidr}) overlaps ${subnet}, the subnet of this node: pods get addresses that machines there may have`,
          remedy: `reserve what machines have of it in an IPReservation (all of it: reservedCIDRs: [${subnet}]), or make a pool elsewhere and disable this one`,
        }),
      ]
    })
}

function isForAnyPod({ spec }: IpPool): boolean {
  return !spec.disabled && spec.assignmentMode === 'Automatic' && usesOf(spec).includes('Workload')
}

/** Whether a pod may get an address of a subnet. */
function isGivenOut(pool: string, subnet: string, reserved: readonly string[]): boolean {
  if (!overlaps(pool, subnet)) return false
  // one of two CIDRs that overlap holds the other one
  const { family, address, length } = [cidr(pool), cidr(subnet)].sort((a, b) => b.length - a.length)[0]!
  return reservedIn(reserved, formatCidr({ address, length })) < 1n << BigInt(addressBits(family) - length)
}
