// How full pools and blocks are, and who holds an address, from the objects alone. Pure. Sizes of IPv6 pools go beyond
// 2^53, so they are counted as bigint and given as a number where one can hold them.
import type { Resource } from '../api/kinds.ts'
import { poolOf } from '../api/pools.ts'
import { addressBits, addressBytes, cidr, contains, familyOf, indexOf } from '../lib/ip.ts'

type Pool = Resource<'IPPool'>
type BlockObject = Resource<'IPAMBlock'>

/** Addresses: all of them, those that somebody holds, the others. */
export type Counts = { total: number | bigint; used: number; free: number | bigint }

/** `node` is absent when nobody owns the block. */
export type BlockUsage = Counts & { cidr: string; node?: string }

export type PoolUsage = Counts & { name: string; cidr: string; blocks: BlockUsage[] }

export type Usage = {
  pools: PoolUsage[]
  /** Blocks that lie in no pool: what is left when a pool is deleted. */
  outside: BlockUsage[]
}

/** Every pool with its blocks, in the order of their addresses. A block counts in the pool it belongs to. */
export function usage(pools: readonly Pool[], blocks: readonly BlockObject[]): Usage {
  const homes = new Map<string | undefined, BlockUsage[]>()
  for (const block of [...blocks].sort((a, b) => byCidr(a.spec, b.spec))) {
    const home = poolOf(pools, block.spec.cidr)?.metadata.name
    homes.set(home, [...(homes.get(home) ?? []), blockUsage(block)])
  }
  return {
    pools: [...pools]
      .sort((a, b) => byCidr(a.spec, b.spec))
      .map(({ metadata: { name }, spec }) => {
        const mine = homes.get(name) ?? []
        const used = mine.reduce((sum, block) => sum + block.used, 0)
        return { name, cidr: spec.cidr, ...counts(spec.cidr, used), blocks: mine }
      }),
    outside: homes.get(undefined) ?? [],
  }
}

/** The node of a block's affinity `host:<node>`. */
export function ownerOf({ spec: { affinity } }: BlockObject): string | undefined {
  return affinity?.startsWith('host:') ? affinity.slice('host:'.length) : undefined
}

export type AddressUse = {
  address: string
  inUse: boolean
  pool?: string
  block?: string
  node?: string
  handle?: string
  /** What the holder wrote down: pod, namespace, type and so on. */
  attributes: Record<string, string>
}

/** Whose an address is. Of several blocks that hold it (which `ipam check` calls wrong), one that gave it away. */
export function addressUse(address: string, pools: readonly Pool[], blocks: readonly BlockObject[]): AddressUse {
  const around = blocks.filter(({ spec }) => contains(spec.cidr, address))
  const block = around.find(each => slotOf(each, address) !== null) ?? around[0]
  const slot = block === undefined ? null : slotOf(block, address)
  const held = slot === null ? undefined : block?.spec.attributes[slot]
  return {
    address,
    inUse: slot !== null,
    pool: poolOf(pools, address)?.metadata.name,
    block: block?.spec.cidr,
    node: held?.secondary?.['node'] ?? (block && ownerOf(block)),
    handle: held?.handle_id,
    attributes: held?.secondary ?? {},
  }
}

function slotOf({ spec }: BlockObject, address: string): number | null {
  return spec.allocations[indexOf(spec.cidr, address) ?? -1] ?? null
}

function blockUsage(block: BlockObject): BlockUsage {
  const { spec } = block
  const used = spec.allocations.filter(index => index !== null).length
  return { cidr: spec.cidr, node: ownerOf(block), ...counts(spec.cidr, used) }
}

function counts(text: string, used: number): Counts {
  const { family, length } = cidr(text)
  const total = 1n << BigInt(addressBits(family) - length)
  return { total: small(total), used, free: small(total - BigInt(used)) }
}

function small(value: bigint): number | bigint {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value
}

/** IPv4 before IPv6, then by address, then the wider first. */
function byCidr(a: { cidr: string }, b: { cidr: string }): number {
  return orderKey(a.cidr) < orderKey(b.cidr) ? -1 : 1
}

function orderKey(text: string): string {
  const { address, length } = cidr(text)
  return `${familyOf(address)} ${Buffer.from(addressBytes(address)).toString('hex')} ${String(length).padStart(3, '0')}`
}
