// What a node takes from BGP peers that are no nodes of the cluster, and what it tells them. Pure.
// In: prefixes inside the IPPools that are exchanged over BGP; never what belongs to this node, and so no default route and
// no connected network. Out: what this node originates; what other nodes told it only where this node is a route reflector
// or the BGPPeer asks for original next hops; never what another outside peer told it (no transit).
// Hazard: import must decide, not the kernel: what a node's kernel refuses would still be passed on to the other nodes.
import type { Resource } from '../../api/kinds.ts'
import { poolsInEffect } from '../../api/pools.ts'
import type { PrefixLimit } from '../../bgp/config.ts'
import type { PolicyRule } from '../../bgp/policy.ts'

/** The peers of a node by where they are; rules know them by it. */
export const PEER_GROUP = { cluster: 'cluster', outside: 'outside' } as const

/** What the import of outside peers depends on: CIDRs. */
export type Trust = {
  /** What nobody outside may announce: this node's blocks, the addresses of its pods, its subnets. */
  own: readonly string[]
  /** Where outside peers may announce something. */
  pools: readonly string[]
}

/** Enough for the blocks of the largest cluster; a whole table of the Internet is none of a node's business. */
export const OUTSIDE_LIMIT: PrefixLimit = { max: 50_000, restartSeconds: 300 }

const DEFAULT_ROUTES = ['0.0.0.0/0', '::/0'] as const

/** The CIDRs of the IPPools in which outside peers may announce something. */
export function trustedPools(pools: readonly Resource<'IPPool'>[]): string[] {
  return poolsInEffect(pools).flatMap(({ spec }) => (spec.disableBGPExport ? [] : [spec.cidr]))
}

export function outsideImport({ own, pools }: Trust): PolicyRule[] {
  const within = (cidr: string): PolicyRule['match'] => ({ operator: 'In', cidr })
  return [
    // a pool over everything asks for no default route
    ...DEFAULT_ROUTES.map(cidr => ({
      action: 'reject' as const,
      match: { operator: 'Equal' as const, cidr },
      note: 'a default route',
    })),
    ...own.map(cidr => ({ action: 'reject' as const, match: within(cidr), note: `${cidr} belongs to this node` })),
    ...pools.map(cidr => ({ action: 'accept' as const, match: within(cidr), note: `inside the IPPool ${cidr}` })),
    { action: 'reject', note: 'inside no IPPool that is exchanged over BGP' },
  ]
}

/** `forCluster`: also what other nodes announce. */
export function outsideExport({ forCluster }: { forCluster: boolean }): PolicyRule[] {
  return [
    ...(forCluster
      ? [{ action: 'accept' as const, group: PEER_GROUP.cluster, note: 'from a node of the cluster' }]
      : []),
    { action: 'reject', source: 'RemotePeers', note: 'learned from another peer, and this node gives no transit' },
    { action: 'accept', note: 'of this node' },
  ]
}
