// What a node takes from BGP peers that are no nodes of the cluster, and what it tells them. Pure.
// First on the way in: what belongs to this node, and addresses of Services, are refused, whatever a filter says. Then the BGPFilters of the BGPPeer in their order,
// of which one that accepts may let in what lies outside the pools; then the default, as follows.
// In: prefixes inside the IPPools without disableBGPExport; never what belongs to this node, and so no default route and
// no connected network; never a block of another node or a part of one. A prefix that holds blocks is taken: blocks are longer.
// Out: what this node originates; what other nodes originate only where this node is a route reflector or the BGPPeer asks for
// original next hops, or a filter accepts it; never what an outside peer told this node or another one (no transit), nor blocks of a
// pool with disableBGPExport, whatever a filter says. The other nodes are told, and know it by a community.
// Of pods of this node (localWorkloadSelector) the same is taken, and nothing that holds the address of a node; their routes lead to
// this node, so that outside peers are told of those inside the IPPools as Calico's are, of others by a filter alone.
// Hazard: import must decide, not the kernel: what a node's kernel refuses would still be passed on to the other nodes.
import type { Resource } from '../../api/kinds.ts'
import { poolsInEffect } from '../../api/pools.ts'
import type { PrefixLimit } from '../../bgp/config.ts'
import type { PolicyRule } from '../../bgp/policy.ts'
import { hostPrefix } from '../../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'

/** The peers of a node by where they are; rules know them by it. `workload`: pods of the node itself. */
export const PEER_GROUP = { cluster: 'cluster', outside: 'outside', workload: 'workload' } as const

/**
 * Marks a route that some node took from outside the cluster, so that it counts for no node's own. A large community (RFC 8092)
 * of a private AS number: no router outside has a meaning for it, and none hears it.
 */
const TAKEN_FROM_OUTSIDE = '4200000000:179:1'

/** Marks a route that a pod announced to its node, and that leads there. */
const OF_POD = '4200000000:179:2'

/** Marks a block of a pool with `disableBGPExport`, which nodes tell each other alone. */
export const FOR_NODES = '4200000000:179:3'

/** The routes that belong to the node that announces them: its blocks. Nobody else may announce them or a part of them. */
export const OWN_OF_NODES: readonly PolicyRule[] = [
  { action: 'reject', communities: [TAKEN_FROM_OUTSIDE] },
  { action: 'reject', communities: [OF_POD] },
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
  /** The addresses of all nodes, where some pod is a peer of this one. */
  nodes: readonly string[]
}

/** Of a cluster of which nothing is known. */
export const NO_TRUST: Trust = { own: [], pools: [], services: { ranges: [], pods: [] }, nodes: [] }

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

/** What one pod may announce: it has few networks behind it. */
export const POD_LIMIT: PrefixLimit = { max: 1000, restartSeconds: 300 }

/** Enough for the blocks of the largest cluster; a whole table of the Internet is none of a node's business. */
export const OUTSIDE_LIMIT: PrefixLimit = { max: 50_000, restartSeconds: 300 }

/** What all neighbours of a range may announce together: whoever has all its addresses must not fill the memory. */
const MOST_OF_RANGE = 500_000

/** What each may announce where a range has at most so many `neighbours`. */
export function limitInRange(neighbours: number): PrefixLimit {
  return { ...OUTSIDE_LIMIT, max: Math.min(OUTSIDE_LIMIT.max, Math.floor(MOST_OF_RANGE / neighbours)) }
}

const DEFAULT_ROUTES = ['0.0.0.0/0', '::/0'] as const

/** The CIDRs of the IPPools in which outside peers may announce something. */
export function trustedPools(pools: readonly Resource<'IPPool'>[]): string[] {
  return poolsInEffect(pools).flatMap(({ spec }) => (spec.disableBGPExport ? [] : [spec.cidr]))
}

/** `filters`: the rules of the peer's BGPFilters. */
export function outsideImport(trust: Trust, filters: readonly PolicyRule[] = []): PolicyRule[] {
  return foreignImport(trust, filters, TAKEN_FROM_OUTSIDE)
}

/** The same of a pod. A prefix around the address of a node would take the place of the way to it; a default route is nobody's. */
export function podImport(trust: Trust, filters: readonly PolicyRule[] = []): PolicyRule[] {
  const ofNodes = trust.nodes.map(address => ({
    action: 'reject' as const,
    match: { operator: 'In' as const, cidr: hostPrefix(address), lengths: { min: 1 } },
    note: `it holds ${address}, which is a node's`,
  }))
  return [...ofNodes, ...foreignImport(trust, filters, OF_POD)]
}

function foreignImport({ own, pools, services }: Trust, filters: readonly PolicyRule[], value: string): PolicyRule[] {
  const mark = { do: 'add-community', value } as const
  const within = (cidr: string): PolicyRule['match'] => ({ operator: 'In', cidr })
  return [
    ...own.map(cidr => ({ action: 'reject' as const, match: within(cidr), note: `${cidr} belongs to this node` })),
    ...services.ranges.map(cidr => ({
      ...{ action: 'reject' as const, match: within(cidr) },
      note: `inside ${cidr}, where the cluster has its Services`,
    })),
    ...filters.map(rule =>
      rule.action === 'reject' ? rule : { ...rule, operations: [...(rule.operations ?? []), mark] },
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
      operations: [mark],
      note: `inside the IPPool ${cidr}`,
    })),
    { action: 'reject', note: 'inside no IPPool that is exchanged with peers outside' },
  ]
}

const OF_CLUSTER: PolicyRule = { action: 'accept', group: PEER_GROUP.cluster, note: 'from a node of the cluster' }
const NO_TRANSIT: PolicyRule = {
  ...{ action: 'reject', source: 'RemotePeers' },
  note: 'learned from another peer, and this node gives no transit',
}

/** Lets routes of pods inside the pools pass to a peer for which `outsideExport` made the rules: behind its filters. */
export function withPods(rules: readonly PolicyRule[], pools: readonly string[]): PolicyRule[] {
  const at = rules.findIndex(rule => rule === OF_CLUSTER || rule === NO_TRANSIT)
  const isForCluster = rules[at] === OF_CLUSTER
  const ofPods = { action: 'accept', communities: [OF_POD], note: 'of a pod, inside an IPPool' } as const
  const accepted = pools.map(
    (cidr): PolicyRule => ({
      ...ofPods,
      ...(isForCluster ? {} : { group: PEER_GROUP.workload }),
      match: { operator: 'In', cidr },
    }),
  )
  const others: PolicyRule[] = isForCluster
    ? [{ action: 'reject', communities: [OF_POD], note: 'of a pod, and inside no IPPool' }]
    : []
  return [...rules.slice(0, at), ...accepted, ...others, ...rules.slice(at)]
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
    { action: 'reject', communities: [FOR_NODES], note: 'its IPPool has disableBGPExport' },
    ...filters,
    ...(forCluster ? [OF_CLUSTER] : []),
    NO_TRANSIT,
    { action: 'accept', note: 'of this node' },
  ]
}
