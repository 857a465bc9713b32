// What a node has for pods of one family: the pools that serve them, its blocks in these, and the addresses that are free. Pure.
import type { IpPool } from '../api/pools.ts'
import { contains, type Family, familyOf } from '../lib/ip.ts'
import { freeIn } from './forecast.ts'
import type { Inputs } from './inputs.ts'
import type { OwnedBlock } from './journal.ts'
import { poolsFor, reservedBy, type Selects } from './pick.ts'
import { subnetOf } from './subnet.ts'

export type Room = {
  family: Family
  pools: readonly IpPool[]
  /** All blocks of this family, and those of them that lie in `pools` and that no network has for itself. */
  owned: readonly OwnedBlock[]
  serving: readonly OwnedBlock[]
  /** Free addresses of `serving` that a pod may have now. */
  free: number
}

/** `own`: the blocks that this node has. `restingIn`: how many addresses of a block no pod may have yet. */
export function roomFor(
  family: Family,
  inputs: Inputs,
  own: readonly OwnedBlock[],
  selects: Selects,
  restingIn: (cidr: string) => number,
): Room {
  const found = poolsFor(inputs.pools, { use: 'Workload', family }, selects)
  const pools = 'refused' in found ? [] : found
  const owned = own.filter(({ block }) => familyOf(block.cidr) === family)
  const serving = owned.filter(
    ({ block }) => pools.some(({ spec }) => contains(spec.cidr, block.cidr)) && subnetOf(block) === undefined,
  )
  const free = serving.reduce(
    (sum, { block }) => sum + freeIn(block.cidr, block.free, inputs.reserved) - restingIn(block.cidr),
    0,
  )
  return { family, pools, owned, serving, free }
}

/** Whether an address is not reserved. */
export function reservedAside(inputs: Inputs): (address: string) => boolean {
  const reserved = reservedBy(inputs.reserved)
  return address => !reserved(address)
}
