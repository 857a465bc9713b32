// What is wrong with the cluster's addresses, from the objects alone: the structure of each block, its name (which is
// the lock on it), ranges that overlap, blocks without a pool or a node. Pure.
import type { Resource } from '../api/kinds.ts'
import { blockName } from '../api/names.ts'
import { poolOf } from '../api/pools.ts'
import type { ObjectRef } from '../api/status.ts'
import { blockFaults } from '../ipam/block.ts'
import { ownerOf } from '../ipam/block-owners.ts'
import { overlappingPools } from '../ipam/pick.ts'
import { overlaps } from '../lib/ip.ts'

type BlockObject = Resource<'IPAMBlock'>

export type Fault = { object: ObjectRef; fault: string; remedy: string }

export type Addressing = {
  pools: readonly Resource<'IPPool'>[]
  blocks: readonly BlockObject[]
  /** Names of all nodes. */
  nodes: readonly string[]
  /** Milliseconds since 1970. */
  nowMs: number
}

/** Every fault; empty when all is sound. */
export function ipamFaults({ pools, blocks, nodes, nowMs }: Addressing): Fault[] {
  const clashes = overlappingPools(pools).map(({ refused, because }) => ({
    object: { kind: 'IPPool', name: refused } as const,
    fault: `overlaps the older IPPool ${because} and is not used`,
    remedy: 'delete one of them',
  }))
  return [
    ...clashes,
    ...blocks.flatMap((block, i) => {
      const object = { kind: 'IPAMBlock', name: block.metadata.name } as const
      return [
        ...structure(block, nowMs),
        ...twins(block, blocks.slice(0, i)),
        ...homeless(block, pools),
        ...orphaned(block, nodes),
      ].map(found => ({ object, ...found }))
    }),
  ]
}

type Found = Omit<Fault, 'object'>

function structure(block: BlockObject, nowMs: number): Found[] {
  const { metadata, spec } = block
  const remedy = "correct it with 'margayctl replace -f FILE'"
  const faults = sized(block, nowMs).map(fault => ({ fault, remedy }))
  const name = blockName(spec.cidr)
  if (metadata.name === name) return faults
  const fault = `holds ${spec.cidr}, so its name must be ${name}: the name keeps two nodes from one block`
  return [...faults, { fault, remedy: `release its addresses and delete it` }]
}

function sized(block: BlockObject, nowMs: number): string[] {
  try {
    return blockFaults(block, nowMs)
  } catch (error) {
    if (error instanceof RangeError) return [error.message]
    throw error
  }
}

function twins({ spec }: BlockObject, others: readonly BlockObject[]): Found[] {
  return others
    .filter(other => overlaps(other.spec.cidr, spec.cidr))
    .map(other => ({
      fault: `overlaps IPAMBlock ${other.metadata.name}: two pods may get one address`,
      remedy: 'move the pods of one of them and delete it',
    }))
}

function homeless({ spec }: BlockObject, pools: Addressing['pools']): Found[] {
  if (poolOf(pools, spec.cidr) !== undefined) return []
  return [{ fault: `${spec.cidr} lies in no IPPool`, remedy: 'create its pool again, or restart the pods in it' }]
}

function orphaned(block: BlockObject, nodes: Addressing['nodes']): Found[] {
  const owner = ownerOf(block)
  if (owner === undefined || nodes.includes(owner)) return []
  const remedy = `margay-controllers frees it in its time; at once: 'margayctl ipam release --node ${owner}'`
  return [{ fault: `belongs to node ${owner}, which is not there`, remedy }]
}
