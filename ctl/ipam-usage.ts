// How full pools and blocks are, and who holds an address, from the objects alone. Pure. Sizes of IPv6 pools go beyond
// 2^53, so they are counted as bigint and given as a number where one can hold them.
import type { Resource } from '../api/kinds.ts'
import { poolOf } from '../api/pools.ts'
import { ownerOf } from '../ipam/block-owners.ts'
import type { forecast } from '../ipam/forecast.ts'
import { isLoadBalancerBlock, LOAD_BALANCER_NODE } from '../ipam/load-balancer.ts'
import { reservedBy, reservedIn } from '../ipam/pick.ts'
import { addressAt, addressBits, addressBytes, cidr, contains, familyOf, indexOf } from '../lib/ip.ts'

type Pool = Resource<'IPPool'>
type BlockObject = Resource<'IPAMBlock'>

/**
 * Addresses: all of them, those that somebody holds, those of IPReservations, and those that are neither. One that was given before it
 * was reserved, or that was asked for by name, is both.
 */
export type Counts = { total: number | bigint; used: number; reserved: number | bigint; free: number | bigint }

/** `node` is absent when nobody owns the block, and Calico's `load-balancer` of one with addresses of Services. */
export type BlockUsage = Counts & { cidr: string; node?: string }

export type PoolUsage = Counts & { name: string; cidr: string; blocks: BlockUsage[] }

export type Usage = {
  pools: PoolUsage[]
  /** Blocks that lie in no pool: what is left when a pool is deleted. */
  outside: BlockUsage[]
}

/** Every pool with its blocks, in the order of their addresses. A block counts in the pool it belongs to. */
export function usage(pools: readonly Pool[], blocks: readonly BlockObject[], reserved: readonly string[]): Usage {
  const homes = new Map<string | undefined, BlockObject[]>()
  for (const block of [...blocks].sort((a, b) => byCidr(a.spec, b.spec))) {
    const home = poolOf(pools, block.spec.cidr)?.metadata.name
    homes.set(home, [...(homes.get(home) ?? []), block])
  }
  const blockUsage = (block: BlockObject): BlockUsage => ({
    ...{ cidr: block.spec.cidr, node: isLoadBalancerBlock(block) ? LOAD_BALANCER_NODE : ownerOf(block) },
    ...counts(block.spec.cidr, heldIn(block), reserved),
  })
  return {
    pools: [...pools]
      .sort((a, b) => byCidr(a.spec, b.spec))
      .map(({ metadata: { name }, spec }) => {
        const mine = homes.get(name) ?? []
        const counted = counts(spec.cidr, mine.flatMap(heldIn), reserved)
        return { name, cidr: spec.cidr, ...counted, blocks: mine.map(blockUsage) }
      }),
    outside: (homes.get(undefined) ?? []).map(blockUsage),
  }
}

/** A forecast with numbers where one can hold them. */
export function shownForecast({ pools, nodes }: ReturnType<typeof forecast>) {
  return {
    pools: pools.map(each => ({ ...each, left: small(each.left), blocks: small(each.blocks) })),
    nodes: nodes.map(each => ({ ...each, left: small(each.left) })),
  }
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

/** An address that another node than the owner of its block has. `owner` is absent when nobody owns the block. */
export type BorrowedAddress = { ip: string; node: string; block: string; owner?: string; type: string; to: string }

/**
 * The addresses of nodes that the block does not belong to, by what it says, in their order; and how many addresses name no node, so that
 * nobody can tell (Calico wrote none long ago). `type` and `to` as calicoctl: `pod` and its name, or the type alone, as of a tunnel.
 */
export function borrowedAddresses(blocks: readonly BlockObject[]): {
  borrowed: BorrowedAddress[]
  unclassified: number
} {
  const borrowed: BorrowedAddress[] = []
  let unclassified = 0
  // no node has those of Services
  const ofNodes = blocks.filter(block => !isLoadBalancerBlock(block))
  for (const block of ofNodes.sort((a, b) => byCidr(a.spec, b.spec))) {
    const { cidr, allocations, attributes, affinity } = block.spec
    const owner = ownerOf(block) ?? affinity
    for (const [ordinal, index] of allocations.entries()) {
      if (index === null) continue
      const { node, pod, namespace = '', type = '' } = attributes[index]?.secondary ?? {}
      if (node === undefined) unclassified++
      else if (node !== owner)
        borrowed.push({
          ...{ ip: addressAt(cidr, ordinal), node, block: cidr, ...(owner !== undefined && { owner }) },
          ...(pod === undefined ? { type, to: '' } : { type: 'pod', to: `${namespace}/${pod}` }),
        })
    }
  }
  return { borrowed, unclassified }
}

function slotOf({ spec }: BlockObject, address: string): number | null {
  return spec.allocations[indexOf(spec.cidr, address) ?? -1] ?? null
}

function heldIn({ spec }: BlockObject): string[] {
  return spec.allocations.flatMap((index, ordinal) => (index === null ? [] : [addressAt(spec.cidr, ordinal)]))
}

/** `held`: the addresses of the range that somebody has. */
function counts(text: string, held: readonly string[], reserved: readonly string[]): Counts {
  const { family, length } = cidr(text)
  const total = 1n << BigInt(addressBits(family) - length)
  const kept = reservedIn(reserved, text)
  const both = held.filter(reservedBy(reserved)).length
  const free = total - kept - BigInt(held.length - both)
  return { total: small(total), used: held.length, reserved: small(kept), free: small(free) }
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
