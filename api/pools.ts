// Which IPPool a block or an address belongs to: one rule for the allocator, felix, BGP and the command line. It is read
// from the pools as they are now and never remembered: a pool that is made again under another name has its blocks.
import { contains } from '../lib/ip.ts'
import { earlierOverlaps } from '../lib/overlap.ts'
import { DEFAULT_USES } from './calico.ts'
import type { Resource } from './kinds.ts'

export type IpPool = Resource<'IPPool'>

/** Stands in a pool while blocks may lie in it: a deleted pool stays until the last one was given back. */
export const POOL_FINALIZER = 'margay/blocks'

/** The pool that a CIDR or an address belongs to: of those that hold it the oldest, as `inAgeOrder` has them. */
export function poolOf(pools: readonly IpPool[], inner: string): IpPool | undefined {
  return inAgeOrder(pools).find(({ spec }) => contains(spec.cidr, inner))
}

/**
 * The pools that something can belong to: not those that lie inside an older one. Of these the one with the longest
 * prefix that holds a block is also the oldest, so a longest-prefix match finds what `poolOf` finds.
 */
export function poolsInEffect(pools: readonly IpPool[]): IpPool[] {
  const ordered = inAgeOrder(pools)
  const overlaps = earlierOverlaps(ordered.map(({ spec }) => spec.cidr))
  return ordered.filter((_, i) => overlaps[i]?.holder === undefined)
}

/**
 * Whether nodes tell each other of the pool's blocks. `disableBGPExport` is about routers outside: ways through tunnels are between
 * nodes alone (in Calico Felix makes them of IPAM, those of IP-in-IP from 3.33 on, and BGP does not carry them). Without a tunnel it
 * keeps the blocks from the nodes too, as Calico's BIRD does.
 */
export function nodesExchange({ spec }: IpPool): boolean {
  return !spec.disableBGPExport || spec.vxlanMode !== 'Never' || spec.ipipMode !== 'Never'
}

/** What a pool's addresses are for; an empty list says nothing, as no list does. */
export function usesOf({ allowedUses }: IpPool['spec']): IpPool['spec']['allowedUses'] {
  return allowedUses.length === 0 ? DEFAULT_USES : allowedUses
}

/** The oldest first; two of the same age in the order of their names. */
export function inAgeOrder(pools: readonly IpPool[]): IpPool[] {
  const aged = pools.map(pool => ({ pool, age: age(pool) }))
  return aged.sort((a, b) => (a.age < b.age ? -1 : 1)).map(({ pool }) => pool)
}

function age({ metadata }: IpPool): string {
  return `${metadata.creationTimestamp ?? '9999'} ${metadata.name}`
}
