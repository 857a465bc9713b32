// Single addresses of a block that its owner lends to other nodes. Pure. The owner alone writes them: it gives a slot to a node that
// asks in the block object, under the name of that node, and frees it when that node says so. A borrower has an address as
// long as the IPAMBlock at the server says that it is lent to it (`borrowing.ts`).
import type { AddressWish, Borrower } from '../api/address-wishes.ts'
import { addressAt, addressBits, familyOf, indexOf } from '../lib/ip.ts'
import { assign, type Block, freeAt, handOver, isLent, nextFree, type Slot } from './block.ts'

export type Lending = {
  /** The node that has the block. */
  owner: string
  /** Whether a free address may go to this pod of another node; undefined: none is lent. */
  usable: ((address: string, borrower: Borrower) => boolean) | undefined
  timestamp: string
}

export type Lent = {
  block: Block
  /** Slots that borrowers had until now. */
  freed: readonly { address: string; slot: Slot }[]
  /** Addresses that borrowers have now. */
  given: readonly { address: string; borrower: Borrower }[]
}

/** The block as it is once the wishes of other nodes are fulfilled, as far as they can be. The same one where nothing changes. */
export function lend(block: Block, wishes: ReadonlyMap<string, AddressWish>, lending: Lending): Lent {
  const freed: { address: string; slot: Slot }[] = []
  const given: { address: string; borrower: Borrower }[] = []
  let now = block
  for (const [node, { free, hold, want }] of wishes) {
    if (node === lending.owner) continue
    const ofNode = (address: string): readonly [ordinal: number, slot: Slot] | undefined => {
      const ordinal = indexOf(block.cidr, address)
      const slot = ordinal === undefined ? undefined : now.slots[ordinal]
      return slot && nodeOf(slot) === node ? [ordinal!, slot] : undefined
    }
    const holder = ({ handle, attributes }: Borrower) => ({
      handle,
      secondary: { ...attributes, node, timestamp: lending.timestamp },
    })
    for (const address of free) {
      const [ordinal, slot] = ofNode(address) ?? []
      if (ordinal === undefined) continue
      now = freeAt(now, ordinal)
      freed.push({ address, slot: slot! })
    }
    for (const { address, ...borrower } of hold) {
      const [ordinal, slot] = ofNode(address) ?? []
      if (ordinal !== undefined && slot!.handle !== borrower.handle) now = handOver(now, ordinal, holder(borrower))
    }
    for (const borrower of want) {
      const { usable } = lending
      // asked once more: it has its address
      if (now.slots.some(slot => slot?.handle === borrower.handle && nodeOf(slot) === node)) continue
      if (usable === undefined) continue
      const ordinal = nextFree(now, address => usable(address, borrower))
      if (ordinal === undefined) continue
      now = assign(now, holder(borrower), ordinal)
      given.push({ address: addressAt(block.cidr, ordinal), borrower })
    }
  }
  return { block: now, freed, given }
}

/**
 * The block with the slots lent that `server` says are, and no others, where a journal that is older knows something else: what is lent
 * is published as it changes. `isOwn`: pods here have it.
 */
export function withLent(
  block: Block,
  server: Block,
  { owner, isOwn }: { owner: string; isOwn(address: string): boolean },
): Block {
  let now = block
  for (const [ordinal, slot] of server.slots.entries()) {
    const here = now.slots[ordinal]
    const address = addressAt(block.cidr, ordinal)
    if (slot === null || !isLent(slot, owner)) {
      if (here && isLent(here, owner)) now = freeAt(now, ordinal)
    } else if (isOwn(address)) continue
    else if (here === null) now = assign(now, slot, ordinal)
    else if (here?.handle !== slot.handle || here.secondary['node'] !== slot.secondary['node'])
      now = handOver(now, ordinal, slot)
  }
  return now
}

/** The addresses of a block that `owner` lent, as CIDRs, and to whom. */
export function lentOf(block: Block, owner: string): ReadonlyMap<string, Slot> {
  return new Map(
    block.slots.flatMap((slot, ordinal) =>
      slot !== null && isLent(slot, owner) ? [[cidrOf(addressAt(block.cidr, ordinal)), slot] as const] : [],
    ),
  )
}

/** The addresses of a block that are lent to a node, as CIDRs. */
export function lentTo(block: Block, node: string): ReadonlyMap<string, Slot> {
  return new Map(
    block.slots.flatMap((slot, ordinal) =>
      slot !== null && nodeOf(slot) === node ? [[cidrOf(addressAt(block.cidr, ordinal)), slot] as const] : [],
    ),
  )
}

/** One address as a CIDR. */
function cidrOf(address: string): string {
  return `${address}/${addressBits(familyOf(address))}`
}

function nodeOf({ secondary }: Slot): string | undefined {
  return secondary['node']
}
