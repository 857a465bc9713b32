// What a node has to say to the owner of a block of which it has or needs addresses. Pure.
import type { AddressWish, Borrower } from '../api/address-wishes.ts'
import { isEmpty, type Slot } from './block.ts'
import type { OwnedBlock } from './journal.ts'

export type Wish = Omit<AddressWish, 'at'>

/**
 * `want`: who needs an address. `borrowed`: what the journal has of the block, and `lent` what its object says. `quiet`: addresses
 * to which nobody has a route here any more. `returned`: CIDRs of which the object says that they are free, and that it still lends.
 */
export function wishFor(
  want: readonly Borrower[],
  borrowed: readonly OwnedBlock[],
  lent: ReadonlyMap<string, Slot>,
  quiet: ReadonlySet<string>,
  returned: readonly string[],
): Wish {
  const rows = borrowed.filter(({ lostTo }) => lostTo === undefined)
  const hold = rows.flatMap(({ block: { cidr, slots } }) => {
    const [slot = null] = slots
    if (slot === null || lent.get(cidr)?.handle === slot.handle) return []
    return [{ address: addressOf(cidr), ...borrowerOf(slot) }]
  })
  const unused = rows.flatMap(({ block }) => (isEmpty(block) && quiet.has(block.cidr) ? [block.cidr] : []))
  const free = [...new Set([...unused, ...returned])].map(addressOf).toSorted()
  return { want: [...want], hold, free }
}

/** Whether an object has this wish already. */
export function isSameWish(wish: Wish, entry: AddressWish | undefined): boolean {
  const text = ({ want, hold, free }: Wish) =>
    JSON.stringify([want.map(({ handle }) => handle), hold.map(({ address, handle }) => [address, handle]), free])
  return text(wish) === text(entry ?? { want: [], hold: [], free: [] })
}

export function borrowerOf({ handle, secondary }: Slot): Borrower {
  const { pod, namespace, containerID } = secondary
  return { handle, attributes: { pod, namespace, containerID } }
}

/** The address of a CIDR of one. */
export function addressOf(cidr: string): string {
  return cidr.slice(0, cidr.indexOf('/'))
}
