// How many blocks and addresses there are, by the IPPool and by the node that owns the block: what one look at all blocks
// counted. Pure.
import type { Resource } from '../api/kinds.ts'
import { type IpPool, poolsInEffect } from '../api/pools.ts'
import { type ClaimedBlock, claimedBlock } from '../ipam/forecast.ts'
import { PrefixIndex, parsePrefix } from '../lib/prefix-index.ts'

export type CensusRow = {
  /** The name of the IPPool; Calico's word where no pool holds the block. */
  pool: string
  /** The owner; `none` for a block of nobody. */
  node: string
  blocks: number
  /** Addresses in use. */
  used: number
  /** Of these, by another node than the owner. */
  borrowed: number
  /** Addresses in use in blocks whose nodes are gone. */
  candidates: number
}

const NO_POOL = 'no_ippool'
const NO_NODE = 'none'

export class Census {
  readonly #pools = new PrefixIndex<string>()
  readonly #rows = new Map<string, CensusRow>()
  /** Every block that was counted. */
  readonly blocks: ClaimedBlock[] = []

  constructor(pools: readonly IpPool[]) {
    for (const { metadata, spec } of poolsInEffect(pools)) this.#pools.set(parsePrefix(spec.cidr)!, metadata.name)
  }

  get rows(): readonly CensusRow[] {
    return [...this.#rows.values()]
  }

  /** Counts a block of `owner`, undefined for nobody; `gone`: none of its nodes has a Node object. */
  add(block: Resource<'IPAMBlock'>, owner: string | undefined, gone: boolean): void {
    const { spec } = block
    this.blocks.push(claimedBlock(block))
    const pool = this.#pools.match(parsePrefix(spec.cidr)!) ?? NO_POOL
    const node = owner ?? NO_NODE
    const key = `${pool} ${node}`
    const row = this.#rows.get(key) ?? { pool, node, blocks: 0, used: 0, borrowed: 0, candidates: 0 }
    this.#rows.set(key, row)
    row.blocks++
    for (const index of spec.allocations) {
      if (index === null) continue
      row.used++
      if (gone) row.candidates++
      if ((spec.attributes[index]?.secondary?.['node'] ?? owner) !== owner) row.borrowed++
    }
  }
}
