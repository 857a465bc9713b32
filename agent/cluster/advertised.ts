// What this node announces over BGP, and with what: its blocks and single addresses, and prefixes of Services. Pure.
import type { Resource } from '../../api/kinds.ts'
import { poolOf } from '../../api/pools.ts'
import { PRIORITY_BASE } from '../../bgp/policy.ts'
import { contains, familyOf } from '../../lib/ip.ts'
import type { Standing } from './services.ts'

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
 * The prefixes that are announced: of blocks all but those whose pool says `disableBGPExport`, and all of Services. Each has the
 * communities of all `prefixAdvertisements` that it lies in. What is both is announced as a block.
 */
export function advertised(
  { blocks, services }: ToAnnounce,
  pools: readonly Resource<'IPPool'>[],
  settings: Resource<'BGPConfiguration'>['spec'],
): Announced[] {
  const { communities = [], prefixAdvertisements = [] } = settings
  const { ipv4NormalRoutePriority: ipv4 = NORMAL_PRIORITY, ipv6NormalRoutePriority: ipv6 = NORMAL_PRIORITY } = settings
  const values = new Map(communities.map(({ name, value }) => [name, value]))
  const announced = (prefix: string, standing: Standing, priority = NORMAL_PRIORITY): Announced => {
    const matching = prefixAdvertisements.filter(({ cidr }) => contains(cidr, prefix))
    const asked = matching.flatMap(each => each.communities.map(text => values.get(text) ?? text))
    const stays = { prefix, communities: sorted(asked), localPref: localPrefOf(priority) }
    return standing === 'stays' ? stays : leaving(stays)
  }
  const exported = new Set(blocks.filter(cidr => poolOf(pools, cidr)?.spec.disableBGPExport !== true))
  return [
    ...[...exported].map(prefix => announced(prefix, 'stays', { ipv4, ipv6 }[familyOf(prefix)])),
    ...[...services].flatMap(([prefix, standing]) => (exported.has(prefix) ? [] : [announced(prefix, standing)])),
  ]
}

/** What is announced, as what will be withdrawn soon. */
export function leaving({ prefix, communities }: Announced): Announced {
  return { prefix, communities: sorted([...communities, LEAVING.community]), localPref: LEAVING.localPref }
}

function sorted(communities: readonly string[]): string[] {
  return [...new Set(communities)].sort()
}
