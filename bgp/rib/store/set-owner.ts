// Owners of stored attribute sets. Equal octets of two owners are two sets, because what is derived from a set depends on
// where it came from. A peer is two owners, since the octets of an AS path depend on the width of its AS numbers; each
// export group is one. An owner is a number below 2^32.

/** Group numbers start here: peers have smaller indices. */
const FIRST_GROUP = 0x20000

/** The owner of sets as the peer with this index sent them, with AS numbers of four octets or two. */
export function peerOwner(index: number, { as4 }: { as4: boolean }): number {
  return index * 2 + (as4 ? 1 : 0)
}

/** The owner of the sets that the `n`th export group sends. */
export function groupOwner(n: number): number {
  return (FIRST_GROUP + n) * 2
}

/** Index of the peer that is this owner. */
export function ownerPeer(owner: number): number {
  return owner >>> 1
}

/** Whether the AS numbers in the sets of a peer that is this owner have four octets. */
export function ownerHasAs4(owner: number): boolean {
  return (owner & 1) === 1
}
