// What felix is told of the IPPools. Pure. Pools that lie inside an older one have no blocks (api/pools.ts) and are left out;
// the allocator reports them.
import type { Resource } from '../../api/kinds.ts'
import { poolsInEffect, usesOf } from '../../api/pools.ts'
import type { Pool } from '../../felix/input.ts'

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
