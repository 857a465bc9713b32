// What this node announces over BGP, and with what: its blocks and single addresses, and prefixes of Services. Pure.
import type { Resource } from '../../api/kinds.ts'
import { poolOf } from '../../api/pools.ts'
import { PRIORITY_BASE } from '../../bgp/policy.ts'
import { contains } from '../../lib/ip.ts'
import type { Standing } from './services.ts'

/** A prefix to announce; `communities` as text, sorted. `localPref`: what internal peers prefer it by. */
export type Announced = { prefix: string; communities: readonly string[]; localPref: number }

/**
 * LOCAL_PREF of a route with the priority 1024, as Calico announces its blocks since 3.32: its nodes make the metric of the route
 * in their kernel of it, and take what has more for a pod that moves.
 */
const NORMAL_LOCAL_PREF = PRIORITY_BASE - 1024

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
  { communities = [], prefixAdvertisements = [] }: Resource<'BGPConfiguration'>['spec'],
): Announced[] {
  const values = new Map(communities.map(({ name, value }) => [name, value]))
  const announced = (prefix: string, standing: Standing): Announced => {
    const matching = prefixAdvertisements.filter(({ cidr }) => contains(cidr, prefix))
    const asked = matching.flatMap(each => each.communities.map(text => values.get(text) ?? text))
    if (standing === 'stays') return { prefix, communities: sorted(asked), localPref: NORMAL_LOCAL_PREF }
    return { prefix, communities: sorted([...asked, LEAVING.community]), localPref: LEAVING.localPref }
  }
  const exported = new Set(blocks.filter(cidr => poolOf(pools, cidr)?.spec.disableBGPExport !== true))
  return [
    ...[...exported].map(prefix => announced(prefix, 'stays')),
    ...[...services].flatMap(([prefix, standing]) => (exported.has(prefix) ? [] : [announced(prefix, standing)])),
  ]
}

function sorted(communities: readonly string[]): string[] {
  return [...new Set(communities)].sort()
}
