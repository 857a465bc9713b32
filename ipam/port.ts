// What the CNI verbs and the agent ask of IPAM.
import type { Family } from '../lib/ip.ts'

/** Who an address is for; kept in the block's attributes so that anybody can read whose it is. */
export type AllocationAttributes = {
  pod?: string
  namespace?: string
  node: string
  containerID?: string
  /** Tunnel addresses carry Calico's word for them, such as `ipipTunnelAddress`; those of other plugins one of `PLUGIN_TYPE`; that of probes `probeAddress`. */
  type?: string
  /** Of a pod of another plugin: the boot of the machine (random(4)), which its network does not outlive. */
  boot?: string
  /** Of a gateway, and of a pod on a LAN: the network that has its block for itself (`subnet.ts`). */
  network?: string
}

/** The type that an address has in the attributes of its block, where no interface of ours in the kernel says who has it. */
export const PLUGIN_TYPE = { pod: 'ipamPluginPod', gateway: 'ipamPluginGateway' } as const

/** What the handles of both begin with: no other handle has a slash. */
export const PLUGIN_HANDLE = 'ipam/'

export function gatewayHandle(network: string, blockCidr: string): string {
  return `${PLUGIN_HANDLE}${network}/${blockCidr}`
}

/** A network whose pods get addresses of blocks that nobody else gets any of (`subnet.ts`). */
export type SubnetRequest = {
  network: string
  /** Of how many blocks of a family: of the first one alone, where all pods must have one gateway. */
  blocks: 'one' | 'any'
  /** The LAN that its pods are on, of each family that they may have. Absent: each block is a subnet, with a gateway of its own. */
  lan?: Lans
}

/** A CIDR, and the address of its router where it has one, which is no address of a pool. */
export type Lan = { subnet: string; gateway?: string }
export type Lans = Readonly<Partial<Record<Family, Lan>>>

export type AssignRequest = {
  /** Idempotency key: a handle that holds addresses gets the same ones again. `<network>.<containerID>.<ifname>`. */
  handle: string
  attributes: AllocationAttributes
  /** One address of each, or none at all. */
  families: readonly Family[]
  /** Beside those: one address of each of which a pool serves the request, and of one at the least where `families` has none. */
  ifServed?: readonly Family[]
  /** Pool names or CIDRs to choose from, of a family; absent: every pool that selects this node. */
  pools?: Readonly<Partial<Record<Family, readonly string[]>>>
  /** Exact addresses that are asked for, one of each family at most: all are given, or the request is refused. */
  addresses?: readonly string[]
  subnet?: SubnetRequest
  use: 'Workload' | 'Tunnel'
  /** Of blocks that this node has, with room for sixteen addresses or more: no block is claimed and nothing borrowed for it. */
  from?: 'own blocks'
  /** Of a tunnel: pools with this encapsulation are used where there are some; of IPv6 no others. */
  tunnel?: 'ipip' | 'vxlan'
}

export type Assigned = { address: string; family: Family; block: string }

/** An expected refusal, with what a person can do about it. */
export type AssignRefusal = {
  refused: 'no-pool' | 'exhausted' | 'block-limit' | 'address-taken' | 'address-outside' | 'unreachable'
  message: string
  remedy: string
}

/** No address is free in the blocks of this node that other nodes know: one more is being claimed, or made known to them. */
export type AwaitsBlock = {
  /** Resolves when it is worth asking again, or with the reason why not; at `deadlineMs` of the monotonic clock at the latest. */
  awaits(deadlineMs: number): Promise<AssignRefusal | undefined>
}

/** How long an ADD waits for a new block before it is told to come again. */
export const BLOCK_PATIENCE_MS = 10_000

/** `pool` is the name of the pool that the block belongs to now; '' when no known one holds it. `subnetOf`: the network that has it for itself; `isOnLan`: whose pods are on a LAN, so that no other node sends here what is for them. */
export type OwnBlock = {
  cidr: string
  pool: string
  used: number
  size: number
  subnetOf?: string
  isOnLan?: true
}

/** The node's allocator: the only writer of its own blocks. Every answer is on disk before it is given. */
export type Allocator = {
  /**
   * `within` runs in the transaction that writes the assignment: what it puts into the node's database is on disk
   * together with the addresses, or neither is. It is synchronous, and not called when the request is refused.
   */
  assign(
    request: AssignRequest,
    within?: (assigned: readonly Assigned[]) => void,
  ): Promise<readonly Assigned[] | AssignRefusal>
  /** The same at once, for a caller that must not wait for the API server where it stands. */
  assignNow(
    request: AssignRequest,
    within?: (assigned: readonly Assigned[]) => void,
  ): readonly Assigned[] | AssignRefusal | AwaitsBlock
  /**
   * Whether what a handle holds is of pools that would serve the request today: neither disabled nor deleted, and for this node
   * and this use. Also where no pool would, or none was seen yet: nothing better can be had.
   */
  isServed(request: AssignRequest): boolean
  /**
   * Whether what a handle holds for a tunnel is of pools, also disabled ones, to whose addresses the tunnels of other nodes lead.
   * Also where no pool was seen yet.
   */
  isCarried(request: AssignRequest): boolean
  /** What handles hold is other handles' from now on: all at once, also on disk. Throws DatabaseError. */
  rename(handles: ReadonlyMap<string, string>): void
  /** Releases what the handle holds; an unknown handle is fine. Returns the addresses. */
  release(handle: string, within?: () => void): Promise<readonly string[]>
  /**
   * Holds addresses that a pod of this kernel has although no slot says so: in the blocks of this node, and in those that
   * it gets later. An address that another handle holds stays with that one until it is released, and is this holder's then.
   * Called again with another handle for the same addresses, it takes them over from the handle before.
   */
  hold(holder: Pick<AssignRequest, 'handle' | 'attributes'>, addresses: readonly string[]): void
  /** Releases in memory what the journal could not be told of, because its disk is full or failed. Nothing waits for it. */
  releaseUnwritten(handle: string): void
  /** What each handle holds, for GC and adoption. */
  held(): ReadonlyMap<string, readonly Assigned[]>
  /** Who a handle is: the attributes it was assigned with. */
  holder(handle: string): AllocationAttributes | undefined
  blocks(): readonly OwnBlock[]
  /** Addresses of blocks of other nodes that are this node's, as CIDRs: other nodes have routes to them here. */
  borrowed(): readonly string[]
  /** Addresses of blocks of this node that are another one's. */
  lent(): readonly string[]
  /** The same with the node that has each. */
  lentTo(): ReadonlyMap<string, string>
  /** Whether the journal has all blocks that the API server has for this node: a new one gets them from there. */
  readonly blocksKnown: boolean
  /**
   * Called after a block is claimed or given back, an address is lent or borrowed or back, and when all blocks of this node are known: felix and the speaker
   * announce and withdraw by it.
   */
  onBlocks(listen: (blocks: readonly OwnBlock[]) => void): () => void
}
