// What felix is told of the IPPools, and which blocks BGP announces with which communities. Pure. Pools that lie inside an older one have no
// blocks (api/pools.ts) and are left out; the allocator reports them.
import type { Resource } from '../../api/kinds.ts'
import { poolOf, poolsInEffect, usesOf } from '../../api/pools.ts'
import { PRIORITY_BASE } from '../../bgp/policy.ts'
import type { Pool } from '../../felix/input.ts'
import { contains } from '../../lib/ip.ts'

/** What felix is told, by the pool's name: of disabled pools too, which may still have pods and are still pools for NAT. */
export function felixPools(pools: readonly Resource<'IPPool'>[]): Map<string, Pool> {
  return new Map(
    poolsInEffect(pools).map(({ metadata: { name }, spec }) => [
      name,
      {
        ...{ cidr: spec.cidr, ipip: spec.ipipMode, vxlan: spec.vxlanMode, disableBgpExport: spec.disableBGPExport },
        natOutgoing: spec.natOutgoing,
        forServicesOnly: usesOf(spec).every(use => use === 'LoadBalancer'),
      },
    ]),
  )
}

/** A block to announce; `communities` as text, sorted. `localPref`: what internal peers prefer it by. */
export type Announced = { prefix: string; communities: readonly string[]; localPref: number }

/**
 * LOCAL_PREF of a route with the priority 1024, as Calico announces its blocks since 3.32: its nodes make the metric of the route
 * in their kernel of it, and take what has more for a pod that moves.
 */
const NORMAL_LOCAL_PREF = PRIORITY_BASE - 1024

/**
 * The blocks that are announced over BGP: all but those whose pool says `disableBGPExport`. Each has the communities of
 * all `prefixAdvertisements` that it lies in.
 */
export function announcedBlocks(
  cidrs: readonly string[],
  pools: readonly Resource<'IPPool'>[],
  { communities = [], prefixAdvertisements = [] }: Resource<'BGPConfiguration'>['spec'],
): Announced[] {
  const values = new Map(communities.map(({ name, value }) => [name, value]))
  const exported = cidrs.filter(cidr => poolOf(pools, cidr)?.spec.disableBGPExport !== true)
  return exported.map(prefix => {
    const matching = prefixAdvertisements.filter(({ cidr }) => contains(cidr, prefix))
    const asked = matching.flatMap(each => each.communities.map(text => values.get(text) ?? text))
    return { prefix, communities: [...new Set(asked)].sort(), localPref: NORMAL_LOCAL_PREF }
  })
}
