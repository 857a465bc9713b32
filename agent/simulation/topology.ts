// What is simulated: the objects of a cluster, and routers beside it. Types, and what follows from the objects alone.
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Kind, Resource } from '../../api/kinds.ts'
import { usesOf } from '../../api/pools.ts'
import { matchesSelector } from '../../api/selector.ts'
import { vtepMac } from '../../felix/calc/tunnels.ts'
import { ownerOf } from '../../ipam/block-owners.ts'
import { addressAt, addressBits, contains, familyOf } from '../../lib/ip.ts'
import type { SecretKey } from '../cluster/passwords.ts'
import type { Watched } from '../cluster-view.ts'

/** A neighbour of a router: one address, or with `range` all that connect from a CIDR. */
export type RouterNeighbor = {
  address?: string
  range?: string
  port?: number
  asNumber: number | 'external' | 'internal'
  passive?: boolean
  reflectorClient?: boolean
  nextHopSelf?: boolean
  /** The peer may be so many hops away; absent: on a link of the router. */
  multihop?: number
  /** The same as a BGPPeer's, by the name of its Secret. */
  password?: SecretKey
}

/** A router outside the cluster. It accepts and passes on all routes, but for what RFC 4271 and 4456 say. */
export type Router = {
  name: string
  asNumber: number
  routerId: string
  clusterId?: string
  listenPort?: number
  /** With their masks: machines with addresses in one subnet are on one link. */
  addresses: readonly string[]
  /** CIDRs that it originates. */
  networks: readonly string[]
  neighbors: readonly RouterNeighbor[]
}

export type Topology = {
  all<K extends Kind>(kind: K): readonly Resource<K>[]
  routers: readonly Router[]
}

/** What is gone: machines by name, whole links by their CIDR, and the ends of machines on links. */
export type Gone = {
  machines: ReadonlySet<string>
  links: ReadonlySet<string>
  ends: readonly { machine: string; link: string }[]
}

export const NOTHING_GONE: Gone = { machines: new Set(), links: new Set(), ends: [] }

/**
 * The blocks of each node: those that the IPAMBlocks say. A node of which there is none gets one of each IPPool for pods that selects
 * it, the first one that is free, in the order of the names.
 */
export function blocksOf({ all }: Pick<Topology, 'all'>): ReadonlyMap<string, readonly string[]> {
  const blocks = new Map<string, string[]>()
  const taken = new Set<string>()
  for (const block of all('IPAMBlock')) {
    taken.add(block.spec.cidr)
    const node = ownerOf(block)
    if (node !== undefined) blocks.set(node, [...(blocks.get(node) ?? []), block.spec.cidr])
  }
  const without = all('Node').filter(({ metadata }) => !blocks.has(metadata.name))
  without.sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  for (const pool of all('IPPool')) {
    const { cidr, disabled, nodeSelector, blockSize } = pool.spec
    if (disabled || !usesOf(pool.spec).includes('Workload')) continue
    let next = 0
    for (const { metadata } of without) {
      if (!matchesSelector(nodeSelector, metadata.labels ?? {})) continue
      let block: string | undefined
      do block = blockAt(cidr, blockSize, next++)
      while (block !== undefined && taken.has(block))
      if (block === undefined) break
      blocks.set(metadata.name, [...(blocks.get(metadata.name) ?? []), block])
    }
  }
  return blocks
}

/** Undefined behind the end of the pool. */
function blockAt(pool: string, length: number, n: number): string | undefined {
  const step = 1n << BigInt(addressBits(familyOf(pool)) - length)
  const address = addressAt(pool, BigInt(n) * step)
  return contains(pool, address) ? `${address}/${length}` : undefined
}

/**
 * The Nodes as their agents leave them: with the ends of VXLAN, where nobody wrote them down, since on paper each kernel has it. The address of
 * the tunnel is then the first one of a block, as IPAM may give it.
 */
export function asPublished(node: Resource<'Node'>, blocks: readonly string[]): Resource<'Node'> {
  const { annotations = {}, name } = node.metadata
  const first = (family: string): string | undefined => {
    const block = blocks.find(each => familyOf(each) === family)
    return block && addressAt(block, 0)
  }
  const published = {
    ...annotations,
    [NODE_ANNOTATION.vxlanTunnelAddress]: annotations[NODE_ANNOTATION.vxlanTunnelAddress] ?? first('ipv4'),
    [NODE_ANNOTATION.vxlanTunnelAddressV6]: annotations[NODE_ANNOTATION.vxlanTunnelAddressV6] ?? first('ipv6'),
    [NODE_ANNOTATION.vxlanTunnelMac]: annotations[NODE_ANNOTATION.vxlanTunnelMac] ?? vtepMac(name),
  }
  const kept = Object.entries(published).filter((each): each is [string, string] => each[1] !== undefined)
  return { ...node, metadata: { ...node.metadata, annotations: Object.fromEntries(kept) } }
}

/** The kinds that are read. */
export const SIMULATED_KINDS = [
  'Node',
  'IPPool',
  'BGPConfiguration',
  'BGPPeer',
  'BGPFilter',
  'FelixConfiguration',
  'IPAMBlock',
] as const satisfies readonly (Watched | 'IPAMBlock')[]
