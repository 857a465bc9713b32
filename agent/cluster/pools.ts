// What felix is told of the IPPools, and which blocks BGP announces. Pure. Pools that lie inside an older one have no
// blocks (api/pools.ts) and are left out; the allocator reports them.
import type { Resource } from '../../api/kinds.ts'
import { poolOf, poolsInEffect } from '../../api/pools.ts'
import type { Pool } from '../../felix/input.ts'

/** What felix is told, by the pool's name. */
export function felixPools(pools: readonly Resource<'IPPool'>[]): Map<string, Pool> {
  return new Map(
    poolsInEffect(pools).map(({ metadata: { name }, spec }) => [
      name,
      { cidr: spec.cidr, ipip: spec.ipipMode, vxlan: spec.vxlanMode, disableBgpExport: spec.disableBGPExport },
    ]),
  )
}

/** The blocks that are announced over BGP: all but those whose pool says `disableBGPExport`. */
export function announcedBlocks(cidrs: readonly string[], pools: readonly Resource<'IPPool'>[]): string[] {
  return cidrs.filter(cidr => poolOf(pools, cidr)?.spec.disableBGPExport !== true)
}
