// What several nodes over one store must agree in.
import type { Store } from '../../datastore/port.ts'
import { affinityOf, isPublished, parseBlock } from '../../ipam/block.ts'
import { Journal } from '../../ipam/journal.ts'
import { lentTo } from '../../ipam/lending.ts'
import { overlaps } from '../../lib/ip.ts'
import type { TestNode } from './world.ts'

/** Two nodes with the same block or address, in words; undefined: there are none. */
export function twoOwners(nodes: readonly TestNode[]): string | undefined {
  const owners = new Map<string, string>()
  const addresses = new Map<string, string>()
  const note = (known: Map<string, string>, what: string, name: string) => {
    const other = known.get(what)
    known.set(what, name)
    return other === undefined ? undefined : `${other} and ${name} have ${what}`
  }
  for (const { name, allocator } of nodes) {
    for (const { cidr } of allocator.blocks()) {
      const clash = note(owners, cidr, name)
      if (clash !== undefined) return clash
    }
    const lent = allocator.lent()
    for (const held of allocator.held().values())
      for (const { address, block } of held) {
        // the node that it is lent to has it
        if (lent.includes(`${address}/${block.includes(':') ? 128 : 32}`)) continue
        const clash = note(addresses, address, name)
        if (clash !== undefined) return clash
      }
  }
  const blocks = [...owners.keys()]
  for (const [i, a] of blocks.entries()) {
    const b = blocks.slice(i + 1).find(other => overlaps(a, other))
    if (b !== undefined) return `${owners.get(a)} has ${a}, and ${owners.get(b)} ${b}`
  }
  return undefined
}

/** Where journals and store differ although everything was published, in words; undefined: nowhere. */
export async function disagreement(
  store: Pick<Store, 'list'>,
  nodes: readonly TestNode[],
): Promise<string | undefined> {
  const objects = await store.list('IPAMBlock')
  for (const { name, allocator, db } of nodes) {
    const published = objects.filter(({ spec }) => spec.affinity === affinityOf(name))
    const written = new Journal(db)
    const borrowed = written.blocks().filter(({ lender }) => lender !== undefined)
    for (const { block, lender } of borrowed) {
      const object = objects.find(({ spec }) => spec.cidr === lender)
      const slot = object && lentTo(parseBlock(object), name).get(block.cidr)
      if (slot?.handle !== block.slots[0]?.handle)
        return `${name}: ${block.cidr} is borrowed, and ${lender} says ${slot?.handle}`
    }
    const journal = written.blocks().filter(({ lender }) => lender === undefined)
    for (const object of objects) {
      const lent = object.spec.affinity === affinityOf(name) ? [] : [...lentTo(parseBlock(object), name).keys()]
      const unknown = lent.find(cidr => !borrowed.some(({ block }) => block.cidr === cidr))
      if (unknown !== undefined) return `${name}: ${unknown} is lent to it, and its journal does not know`
    }
    for (const { block } of journal) {
      const object = published.find(({ spec }) => spec.cidr === block.cidr)
      if (object === undefined || !isPublished(block, object, written))
        return `${name}: journal and store differ in ${block.cidr}`
    }
    if (published.length !== journal.length || allocator.blocks().length !== journal.length)
      return `${name}: ${published.length} blocks in the store, ${journal.length} in the journal`
  }
  return undefined
}
