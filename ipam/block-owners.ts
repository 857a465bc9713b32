// Who has something in a block, from the object alone, and what is written into it where one of them may be gone. Pure.
import { wishesOf, withWish } from '../api/address-wishes.ts'
import { askBorrowers, keepBorrowersAsked } from '../api/borrower-questions.ts'
import type { Resource } from '../api/kinds.ts'
import { addressAt } from '../lib/ip.ts'
import { askOwner, parseBlock } from './block.ts'
import { addressOf } from './borrower-wish.ts'
import { lentTo } from './lending.ts'

type BlockObject = Resource<'IPAMBlock'>

export type Owners = {
  /** The nodes that may use the block or an address of it. */
  nodes: readonly string[]
  /** Why it cannot be told whom an address belongs to; undefined when it can. */
  unclear?: string
}

const HOST = 'host:'

/** The node of a block's affinity `host:<node>`. */
export function ownerOf({ spec: { affinity } }: Pick<BlockObject, 'spec'>): string | undefined {
  return affinity?.startsWith(HOST) ? affinity.slice(HOST.length) : undefined
}

/** The nodes to which addresses of a block are lent, but for those that have asked to have all of them freed. */
export function borrowersOf(block: BlockObject): string[] {
  const owner = ownerOf(block)
  return ownersOf(block).nodes.filter(node => node !== owner)
}

/** The block with the question whether they live to all who have something in it; `by` as for `askBorrowers`. */
export function askOwners(block: BlockObject, by: string): BlockObject {
  return askOwner(askBorrowers(block, borrowersOf(block), by), by)
}

/**
 * The block in which its owner is asked to free what it lent to a node that is gone, in the name of that one: all, or `addresses` alone.
 * `at`: when; no two are the same.
 */
export function returnLent(block: BlockObject, node: string, at: string, addresses?: readonly string[]): BlockObject {
  const free = addresses ?? [...lentTo(parseBlock(block), node).keys()].map(addressOf)
  const before = wishesOf(block).get(node)?.free ?? []
  const wish = { at, want: [], hold: [], free: [...new Set([...before, ...free])] }
  return withWish(
    keepBorrowersAsked(block, asked => asked !== node),
    node,
    wish,
  )
}

/**
 * A block of nobody with nothing in it has no nodes. One that belongs to something else than a node is unclear. An address that was lent
 * to a node, and that it asked to be freed, is that node's no more: its owner may be gone before it did so.
 */
export function ownersOf(block: BlockObject): Owners {
  const { spec } = block
  const wishes = wishesOf(block)
  const { affinity } = spec
  const nodes = new Set<string>()
  if (affinity?.startsWith(HOST)) nodes.add(affinity.slice(HOST.length))
  else if (affinity !== undefined && affinity !== '') return { nodes: [], unclear: `it belongs to ${affinity}` }
  const owner = [...nodes][0]
  for (const [ordinal, index] of spec.allocations.entries()) {
    if (index === null) continue
    const node = spec.attributes[index]?.secondary?.['node'] ?? owner
    if (node === undefined || node === '') return { nodes: [], unclear: `address ${ordinal} of it names no node` }
    const isReturned = node !== owner && wishes.get(node)?.free.includes(addressAt(spec.cidr, ordinal))
    if (!isReturned) nodes.add(node)
  }
  return { nodes: [...nodes] }
}
