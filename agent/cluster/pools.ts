// What felix is told of the IPPools. Pure. Pools that lie inside an older one have no blocks (api/pools.ts) and are left out;
// the allocator reports them.
import type { Resource } from '../../api/kinds.ts'
import { nodesExchange, poolsInEffect, usesOf } from '../../api/pools.ts'
import type { Pool } from '../../felix/input.ts'

/** What felix is told, by the pool's name: of disabled pools too, which may still have pods and are still pools for NAT. */
export function felixPools(pools: readonly Resource<'IPPool'>[]): Map<string, Pool> {
  return new Map(
    poolsInEffect(pools).map(pool => {
      const { cidr, ipipMode: ipip, vxlanMode: vxlan, natOutgoing } = pool.spec
      const forServicesOnly = usesOf(pool.spec).every(use => use === 'LoadBalancer')
      return [pool.metadata.name, { cidr, ipip, vxlan, isExchanged: nodesExchange(pool), natOutgoing, forServicesOnly }]
    }),
  )
}
