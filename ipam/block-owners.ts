// Who has something in a block, from the object alone. Pure.
import { wishesOf } from '../api/address-wishes.ts'
import type { Resource } from '../api/kinds.ts'
import { addressAt } from '../lib/ip.ts'

export type Owners = {
  /** The nodes that may use the block or an address of it. */
  nodes: readonly string[]
  /** Why it cannot be told whom an address belongs to; undefined when it can. */
  unclear?: string
}

const HOST = 'host:'

/**
 * A block of nobody with nothing in it has no nodes. One that belongs to something else than a node is unclear. An address that was lent
 * to a node, and that it asked to be freed, is that node's no more: its owner may be gone before it did so.
 */
export function ownersOf(block: Resource<'IPAMBlock'>): Owners {
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
