// Pools, reservations and settings as values: what assignments depend on. Pure.
import type { Resource } from '../api/kinds.ts'
import type { IpPool } from '../api/pools.ts'

/** What the API server last said, as far as assignments depend on it. */
export type Inputs = {
  pools: readonly IpPool[]
  reserved: readonly string[]
  config: { strictAffinity: boolean; autoAllocateBlocks: boolean; maxBlocksPerHost: number; ipCooldownSeconds: number }
}

const DEFAULT_CONFIG = { strictAffinity: false, autoAllocateBlocks: true, maxBlocksPerHost: 0, ipCooldownSeconds: 0 }

/** The same of objects that were listed. */
export function inputsOf(
  pools: readonly IpPool[],
  reservations: readonly Resource<'IPReservation'>[],
  configurations: readonly Resource<'IPAMConfiguration'>[],
): Inputs {
  return {
    pools,
    reserved: reservations.flatMap(({ spec }) => spec.reservedCIDRs),
    config: configurations.find(({ metadata }) => metadata.name === 'default')?.spec ?? DEFAULT_CONFIG,
  }
}
