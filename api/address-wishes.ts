// What nodes ask of the owner of a block of which they need single addresses: one annotation of the IPAMBlock, with an entry for
// each node that asks. The owner alone writes the allocations; it does what an entry says and takes it out (`ipam/lending.ts`).
import * as z from 'zod'
import { parseAddress } from '../lib/ip.ts'
import type { Resource } from './kinds.ts'
import { entriesOf, withEntries } from './node-entries.ts'

/** Annotation of an IPAMBlock: JSON, node names and their `AddressWish`. */
export const ADDRESSES_WANTED_ANNOTATION = 'margay.io/AddressesWanted'

/** A node that asks for more at once is not believed: a pod asks for one address of a family. */
const MOST_WANTED = 64

const text = z.string().max(253)
const address = z.string().refine(value => parseAddress(value) !== undefined)
const attributes = z.object({ pod: text.optional(), namespace: text.optional(), containerID: text.optional() })
const borrower = z.object({ handle: text.min(1), attributes })
const addressWish = z.object({
  /** When it was asked; each write of an entry differs from the one before. */
  at: text,
  /** Each of these needs an address. */
  want: z.array(borrower).max(MOST_WANTED).default([]),
  /** Who has an address now that was lent to the node before: all of them, once the node has lost its journal. */
  hold: z.array(borrower.extend({ address })).default([]),
  /** Addresses that were lent to the node, and that it has no more. */
  free: z.array(address).default([]),
})

/** For whom an address is: `handle_id` and `secondary` of the allocation, but for what the owner writes itself. */
export type Borrower = z.infer<typeof borrower>

export type AddressWish = z.infer<typeof addressWish>

/** What each node asks of the owner of a block. What cannot be read is nobody's wish. */
export function wishesOf(item: Pick<Resource<'IPAMBlock'>, 'metadata'>): ReadonlyMap<string, AddressWish> {
  const wishes = new Map<string, AddressWish>()
  for (const [node, entry] of Object.entries(entriesOf(item, ADDRESSES_WANTED_ANNOTATION))) {
    const { data } = addressWish.safeParse(entry)
    if (data !== undefined) wishes.set(node, data)
  }
  return wishes
}

/** The block with another wish of one node, or without it. */
export function withWish(
  item: Resource<'IPAMBlock'>,
  node: string,
  wish: AddressWish | undefined,
): Resource<'IPAMBlock'> {
  const { [node]: _own, ...others } = entriesOf(item, ADDRESSES_WANTED_ANNOTATION)
  return withEntries(item, ADDRESSES_WANTED_ANNOTATION, wish === undefined ? others : { ...others, [node]: wish })
}

/** The block without wishes. */
export function withoutWishes(item: Resource<'IPAMBlock'>): Resource<'IPAMBlock'> {
  return withEntries(item, ADDRESSES_WANTED_ANNOTATION, {})
}
