// Whose an address is that a machine has. Pure. What nobody has is no conflict: a bridge with an address of a pool is silent until a pod has that.
import { contains, familyOf } from '../../lib/ip.ts'

/** What the cluster says of addresses. */
export type AddressClaims = {
  /** The CIDRs that pods get their addresses of. */
  pools: readonly string[]
  /** Whether IPAM gives it to nobody. */
  isReserved(address: string): boolean
  /** Whether this machine may have it: an address of a node, also for a tunnel, or a floating one of a pod here. */
  isOfNode(address: string): boolean
  /** The ranges of this node in which a network has addresses for itself: of its bridge, or those of a LAN. */
  ownNetworks: readonly string[]
  /** Whether IPAM gave it to a pod of this node. */
  isHeldHere(address: string): boolean
  /** `namespace/name` of the Pod that has it. */
  podAt(address: string): string | undefined
  /** A block of another node that holds it. */
  blockWith(address: string): { cidr: string; node: string } | undefined
}

/** Who has an address that this machine must not have, for people; undefined where nobody has it, or it is this machine's by right. */
export function claimantOf(address: string, claims: AddressClaims): string | undefined {
  const isIn = (cidr: string) => familyOf(cidr) === familyOf(address) && contains(cidr, address)
  if (!claims.pools.some(isIn) || claims.ownNetworks.some(isIn)) return undefined
  if (claims.isOfNode(address)) return undefined
  const pod = claims.podAt(address)
  if (pod !== undefined) return `the address of Pod ${pod}`
  if (claims.isHeldHere(address)) return 'the address of a pod of this node'
  if (claims.isReserved(address)) return undefined
  const block = claims.blockWith(address)
  return block && `an address of ${block.cidr}, from which node ${block.node} gives its pods theirs`
}
