// What this node announces over BGP, and with what: its blocks and single addresses, and prefixes of Services. Pure.
import type { Resource } from '../../api/kinds.ts'
import { nodesExchange, poolOf } from '../../api/pools.ts'
import { PRIORITY_BASE } from '../../bgp/policy.ts'
import { contains, familyOf } from '../../lib/ip.ts'
import type { Standing } from './services.ts'
import { FOR_NODES } from './trust.ts'

/** A prefix to announce; `communities` as text, sorted. `localPref`: what internal peers prefer it by. */
export type Announced = { prefix: string; communities: readonly string[]; localPref: number }

/** Of blocks, where nobody says another one. */
const NORMAL_PRIORITY = 1024

/**
 * LOCAL_PREF of a route with a priority, as Calico announces its blocks since 3.32: its nodes make the metric of the route
 * in their kernel of it, and take what has more for a pod that moves. Of Services it is always the normal one: several nodes
 * announce one prefix, and those that hear of another priority later would get no packets until then, or all.
 */
function localPrefOf(priority: number): number {
  return PRIORITY_BASE - priority
}

/** GRACEFUL_SHUTDOWN (RFC 8326): whoever hears it takes another path where there is one. Inside an AS the least LOCAL_PREF says so. */
const LEAVING = { community: '65535:0', localPref: 0 } as const

export type ToAnnounce = {
  /** The CIDRs of this node's own blocks, and single addresses. */
  blocks: readonly string[]
  /** Prefixes of Services. */
  services: ReadonlyMap<string, Standing>
}

/**
 * The prefixes that are announced: blocks whose pool nodes exchange, and all of Services. Each has the communities of all
 * `prefixAdvertisements` that it lies in; a block whose pool says `disableBGPExport` besides the one by which it goes to nodes alone.
 * What is both is announced as a block, and then to peers outside whatever its pool says.
 */
export function advertised(
  { blocks, services }: ToAnnounce,
  pools: readonly Resource<'IPPool'>[],
  settings: Resource<'BGPConfiguration'>['spec'],
): Announced[] {
  const { communities = [], prefixAdvertisements = [] } = settings
  const { ipv4NormalRoutePriority: ipv4 = NORMAL_PRIORITY, ipv6NormalRoutePriority: ipv6 = NORMAL_PRIORITY } = settings
  const values = new Map(communities.map(({ name, value }) => [name, value]))
  const announced = (prefix: string, priority: number, marks: readonly string[]): Announced => {
    const matching = prefixAdvertisements.filter(({ cidr }) => contains(cidr, prefix))
    const asked = matching.flatMap(each => each.communities.map(text => values.get(text) ?? text))
    return { prefix, communities: sorted([...asked, ...marks]), localPref: localPrefOf(priority) }
  }
  const ofBlocks = new Map<string, Announced>()
  for (const cidr of blocks) {
    const pool = poolOf(pools, cidr)
    if (pool !== undefined && !nodesExchange(pool)) continue
    const marks = pool?.spec.disableBGPExport === true && !services.has(cidr) ? [FOR_NODES] : []
    ofBlocks.set(cidr, announced(cidr, { ipv4, ipv6 }[familyOf(cidr)], marks))
  }
  const ofServices = [...services].flatMap(([prefix, standing]) => {
    if (ofBlocks.has(prefix)) return []
    const stays = announced(prefix, NORMAL_PRIORITY, [])
    return [standing === 'stays' ? stays : leaving(stays)]
  })
  return [...ofBlocks.values(), ...ofServices]
}

/** What is announced, as what will be withdrawn soon. */
export function leaving({ prefix, communities }: Announced): Announced {
  return { prefix, communities: sorted([...communities, LEAVING.community]), localPref: LEAVING.localPref }
}

function sorted(communities: readonly string[]): string[] {
  return [...new Set(communities)].sort()
}
