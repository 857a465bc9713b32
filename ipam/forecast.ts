// How many pods can still get an address, by the objects alone: of each node until it claims a block more, of each pool until it is
// full. The allocator's own rules (`pick.ts`), with all blocks of the cluster known. Pure. Counts of IPv6 go beyond 2^53: bigint.
// Hazards: blocks are published up to two minutes late, and which released addresses rest only their node knows; so this is a
// forecast, and the metrics of a node have its own numbers.
import type { Resource } from '../api/kinds.ts'
import { type IpPool, poolsInEffect, usesOf } from '../api/pools.ts'
import { matchesSelector } from '../api/selector.ts'
import { type Family, familyOf } from '../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../lib/prefix-index.ts'
import { blockSize } from './block.ts'
import { ownerOf } from './block-owners.ts'
import type { Inputs } from './inputs.ts'
import { lowWater, poolsFor, reservedOrdinals, type Unclaimed, unclaimedIn, usablePools } from './pick.ts'
import { isSubnet } from './subnet.ts'

/** A block: whose it is, since when, and the ordinals of its addresses that nobody has. */
export type ClaimedBlock = { cidr: string; node: string | undefined; since: string; unallocated: readonly number[] }

export type Claimant = { name: string; labels: Readonly<Record<string, string>> }

export type NodeForecast = {
  node: string
  family: Family
  /** Pods until the node claims a block more; undefined where it gets none. */
  untilBlock: number | undefined
  /** Pods that get an address here if no other node takes a block meanwhile. */
  left: bigint
}

export type PoolForecast = {
  pool: string
  /** Whether pods of some node may get an address of it: not of one that is disabled, deleted, or for tunnels alone. */
  gives: boolean
  /** Pods that can get an address of it. */
  left: bigint
  /** Blocks of it that nodes may still claim. */
  blocks: bigint
  /** The node that claims a block of it first; undefined where none will. */
  next: { node: string; pods: number } | undefined
}

/** How many addresses of a block are neither in use nor reserved. `unallocated`: ordinals. */
export function freeIn(cidr: string, unallocated: readonly number[], reserved: readonly string[]): number {
  const isReserved = reservedOrdinals(reserved, cidr)
  return isReserved === undefined ? unallocated.length : unallocated.filter(ordinal => !isReserved(ordinal)).length
}

/** What the forecast needs of a block. What is free in the subnet of another plugin's network is for its pods alone. */
export function claimedBlock({ metadata, spec }: Resource<'IPAMBlock'>): ClaimedBlock {
  const node = ownerOf({ spec })
  const isFree = isSubnet(spec) ? () => false : (index: number | null) => index === null
  const unallocated = spec.allocations.flatMap((index, ordinal) => (isFree(index) ? [ordinal] : []))
  return { cidr: spec.cidr, node, since: metadata.creationTimestamp ?? '', unallocated }
}

/** A block of a node that is not in `nodes` gives nobody an address. */
export function forecast(
  { pools, reserved, config }: Inputs,
  claimed: readonly ClaimedBlock[],
  nodes: readonly Claimant[],
): { nodes: NodeForecast[]; pools: PoolForecast[] } {
  const blocks = claimed
    .toSorted((a, b) => (a.since < b.since ? -1 : a.since > b.since ? 1 : 0))
    .map(block => ({ ...block, free: freeIn(block.cidr, block.unallocated, reserved) }))
  const usable = new Set(usablePools(pools).filter(({ spec }) => usesOf(spec).includes('Workload')))
  const index = new PrefixIndex<IpPool>()
  for (const pool of poolsInEffect(pools)) index.set(parsePrefix(pool.spec.cidr)!, pool)
  const homes = new Map(blocks.map(block => [block, index.match(parsePrefix(block.cidr)!)]))
  const inPool = Map.groupBy(blocks, block => homes.get(block))
  // one of no pool may be larger than a pool
  const takenOf = (pool: IpPool) =>
    [...(inPool.get(pool) ?? []), ...(inPool.get(undefined) ?? [])].map(({ cidr }) => cidr)
  const unclaimed = new Map([...usable].map(pool => [pool, unclaimedIn(pool, takenOf(pool), reserved)]))
  const owned = Map.groupBy(blocks, ({ node }) => node)
  const claims = (node: string, family: Family): number => {
    if (!config.autoAllocateBlocks) return 0
    if (config.maxBlocksPerHost === 0) return Number.POSITIVE_INFINITY
    const mine = owned.get(node)?.filter(({ cidr }) => familyOf(cidr) === family).length ?? 0
    return Math.max(0, config.maxBlocksPerHost - mine)
  }
  const served = servedBy(pools)
  const chosen = chosenBy(pools, nodes)
  const ofNodes = nodes.flatMap(({ name }) =>
    FAMILIES.flatMap(family => {
      const serving = served(chosen.get(name)!, family)
      if (serving.length === 0) return []
      const own = owned.get(name)?.filter(block => serving.some(pool => pool === homes.get(block))) ?? []
      const free = sum(own.map(block => block.free))
      const more = claimable(
        serving.map(pool => [pool, unclaimed.get(pool)!]),
        claims(name, family),
      )
      const last = own.at(-1)
      const untilBlock = last === undefined ? 0 : Math.max(0, free - lowWater(last.cidr))
      return [
        { node: name, family, serving, left: BigInt(free) + more, untilBlock: more > 0n ? untilBlock : undefined },
      ]
    }),
  )
  const ofPools = pools.map((pool): PoolForecast => {
    const { name } = pool.metadata
    const room = unclaimed.get(pool)
    if (room === undefined) return { pool: name, gives: false, left: 0n, blocks: 0n, next: undefined }
    const family = familyOf(pool.spec.cidr)
    const names = new Set(nodes.filter(node => mayServe(pool, chosen.get(node.name)!)).map(node => node.name))
    const inBlocks = inPool.get(pool)?.filter(block => names.has(block.node ?? '')) ?? []
    const most = sum([...names].map(node => claims(node, family)))
    const asked = ofNodes.filter(each => each.serving.includes(pool) && each.untilBlock !== undefined)
    const first = asked.reduce<(typeof asked)[number] | undefined>(
      (least, each) => (least === undefined || each.untilBlock! < least.untilBlock! ? each : least),
      undefined,
    )
    const blocksLeft = atMost(most, room.blocks)
    return {
      pool: name,
      gives: names.size > 0,
      left: BigInt(sum(inBlocks.map(({ free }) => free))) + claimable([[pool, room]], most),
      blocks: blocksLeft,
      next: blocksLeft > 0n && first !== undefined ? { node: first.node, pods: first.untilBlock! } : undefined,
    }
  })
  return { nodes: ofNodes.map(({ serving: _, ...node }) => node), pools: ofPools }
}

const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']

/** Addresses of so many blocks more, of the first pools first. */
function claimable(pools: readonly (readonly [IpPool, Unclaimed])[], claims: number): bigint {
  let [left, addresses] = [claims, 0n]
  for (const [{ spec }, room] of pools) {
    const blocks = atMost(left, room.blocks)
    const most = blocks * BigInt(blockSize(`${spec.cidr.split('/')[0]}/${spec.blockSize}`))
    addresses += most < room.addresses ? most : room.addresses
    left -= Number(blocks)
  }
  return addresses
}

function atMost(limit: number, blocks: bigint): bigint {
  return limit === Number.POSITIVE_INFINITY || BigInt(limit) > blocks ? blocks : BigInt(limit)
}

/** Which selectors of pools choose each node. */
function chosenBy(pools: readonly IpPool[], nodes: readonly Claimant[]): ReadonlyMap<string, ReadonlySet<string>> {
  const selectors = [...new Set(pools.map(({ spec }) => spec.nodeSelector))]
  const choose = (labels: Claimant['labels']) => new Set(selectors.filter(each => matchesSelector(each, labels)))
  return new Map(nodes.map(({ name, labels }) => [name, choose(labels)]))
}

/** The pools that serve pods of any namespace on a node that these selectors choose: many nodes have the same ones. */
function servedBy(pools: readonly IpPool[]): (chosen: ReadonlySet<string>, family: Family) => readonly IpPool[] {
  const known = new Map<string, readonly IpPool[]>()
  return (chosen, family) => {
    const key = JSON.stringify([family, ...chosen])
    const before = known.get(key)
    if (before !== undefined) return before
    const found = poolsFor(pools, { use: 'Workload', family }, { node: selector => chosen.has(selector) })
    const serving = 'refused' in found ? [] : found
    known.set(key, serving)
    return serving
  }
}

/** Whether some pod on a node may get an address of a pool: one that asks for a pool by name gets it on every node. */
function mayServe({ spec }: IpPool, chosen: ReadonlySet<string>): boolean {
  return spec.assignmentMode !== 'Automatic' || chosen.has(spec.nodeSelector)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0)
}
