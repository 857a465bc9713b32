// What a node takes from BGP peers that are no nodes of the cluster, and what it tells them. Pure.
// First on the way in: what belongs to this node, and addresses of Services, are refused, whatever a filter says. Then the BGPFilters of the BGPPeer in their order,
// of which one that accepts may let in what lies outside the pools; then the default, as follows.
// In: prefixes inside the IPPools that are exchanged over BGP; never what belongs to this node, and so no default route and
// no connected network; never a block of another node or a part of one. A prefix that holds blocks is taken: blocks are longer.
// Out: what this node originates; what other nodes originate only where this node is a route reflector or the BGPPeer asks for
// original next hops, or a filter accepts it; never what an outside peer told this node or another one (no transit), whatever a filter
// says. The other nodes are told, and know it by a community.
// Hazard: import must decide, not the kernel: what a node's kernel refuses would still be passed on to the other nodes.
import type { Resource } from '../../api/kinds.ts'
import { poolsInEffect } from '../../api/pools.ts'
import type { PrefixLimit } from '../../bgp/config.ts'
import type { PolicyRule } from '../../bgp/policy.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'

/** The peers of a node by where they are; rules know them by it. */
export const PEER_GROUP = { cluster: 'cluster', outside: 'outside' } as const

/**
 * Marks a route that some node took from outside the cluster, so that it counts for no node's own. A large community (RFC 8092)
 * of a private AS number: no router outside has a meaning for it, and none hears it.
 */
const TAKEN_FROM_OUTSIDE = '4200000000:179:1'

/** The routes that belong to the node that announces them: its blocks. Nobody else may announce them or a part of them. */
export const OWN_OF_NODES: readonly PolicyRule[] = [
  { action: 'reject', communities: [TAKEN_FROM_OUTSIDE] },
  { action: 'accept', group: PEER_GROUP.cluster },
]

/** What the import of outside peers depends on: CIDRs. */
export type Trust = {
  /** What nobody outside may announce: this node's blocks, the addresses of its pods, its subnets. */
  own: readonly string[]
  /** Where outside peers may announce something. */
  pools: readonly string[]
  /** Where Services have addresses, and what of that belongs to pods all the same. */
  services: { ranges: readonly string[]; pods: readonly string[] }
}

/** Of a cluster of which nothing is known. */
export const NO_TRUST: Trust = { own: [], pools: [], services: { ranges: [], pods: [] } }

/**
 * Tells whether a prefix is of Services: a range, or a part of one that no IPPool gives pods. kube-proxy of each node answers for all
 * of them, so what others announce of them is no way for packets of this node.
 */
export function ofServices({ services }: Trust): (prefix: string) => boolean {
  if (services.ranges.length === 0) return () => false
  const [ranges, pods] = [indexOf(services.ranges), indexOf(services.pods)]
  return text => {
    const prefix = parsePrefix(text)!
    return ranges.get(prefix) === true || (ranges.match(prefix) === true && pods.match(prefix) === undefined)
  }
}

function indexOf(cidrs: readonly string[]): PrefixIndex<true> {
  const index = new PrefixIndex<true>()
  for (const each of cidrs) index.set(parsePrefix(each)!, true)
  return index
}

/** Enough for the blocks of the largest cluster; a whole table of the Internet is none of a node's business. */
export const OUTSIDE_LIMIT: PrefixLimit = { max: 50_000, restartSeconds: 300 }

const DEFAULT_ROUTES = ['0.0.0.0/0', '::/0'] as const

/** The CIDRs of the IPPools in which outside peers may announce something. */
export function trustedPools(pools: readonly Resource<'IPPool'>[]): string[] {
  return poolsInEffect(pools).flatMap(({ spec }) => (spec.disableBGPExport ? [] : [spec.cidr]))
}

const MARK = { do: 'add-community', value: TAKEN_FROM_OUTSIDE } as const

/** `filters`: the rules of the peer's BGPFilters. */
export function outsideImport({ own, pools, services }: Trust, filters: readonly PolicyRule[] = []): PolicyRule[] {
  const within = (cidr: string): PolicyRule['match'] => ({ operator: 'In', cidr })
  return [
    ...own.map(cidr => ({ action: 'reject' as const, match: within(cidr), note: `${cidr} belongs to this node` })),
    ...services.ranges.map(cidr => ({
      ...{ action: 'reject' as const, match: within(cidr) },
      note: `inside ${cidr}, where the cluster has its Services`,
    })),
    ...filters.map(rule =>
      rule.action === 'reject' ? rule : { ...rule, operations: [...(rule.operations ?? []), MARK] },
    ),
    // a pool over everything asks for no default route
    ...DEFAULT_ROUTES.map(cidr => ({
      action: 'reject' as const,
      match: { operator: 'Equal' as const, cidr },
      note: 'a default route',
    })),
    ...pools.map(cidr => ({
      action: 'accept' as const,
      match: within(cidr),
      operations: [MARK],
      note: `inside the IPPool ${cidr}`,
    })),
    { action: 'reject', note: 'inside no IPPool that is exchanged over BGP' },
  ]
}

/** `forCluster`: also what other nodes originate. `filters`: the rules of the peer's BGPFilters. */
export function outsideExport({
  forCluster,
  filters,
}: {
  forCluster: boolean
  filters: readonly PolicyRule[]
}): PolicyRule[] {
  return [
    { action: 'reject', communities: [TAKEN_FROM_OUTSIDE], note: 'taken from outside, and nodes give no transit' },
    ...filters,
    ...(forCluster
      ? [{ action: 'accept' as const, group: PEER_GROUP.cluster, note: 'from a node of the cluster' }]
      : []),
    { action: 'reject', source: 'RemotePeers', note: 'learned from another peer, and this node gives no transit' },
    { action: 'accept', note: 'of this node' },
  ]
}
