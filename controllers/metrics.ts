// The metrics of margay-controllers, made afresh for each scrape. Names and labels are those of Calico's kube-controllers where
// it has one for the same thing. Hazard: a series for each pair of an IPPool and a node; see MOST in api/metrics.ts.
import { CONTROLLER_CONDITION_TYPES, type ControllerCondition } from '../api/controller-conditions.ts'
import { CONTROLLERS_METRICS, MOST, OTHER } from '../api/metrics.ts'
import type { IpPool } from '../api/pools.ts'
import type { PoolForecast } from '../ipam/forecast.ts'
import { addressBits, familyOf, parseCidr } from '../lib/ip.ts'
import { firstAndRest, MetricsText } from '../lib/metrics-text.ts'
import type { CensusRow } from './census.ts'

/** Of the last look at all blocks; nothing where another program leads, but for what this one freed. */
export type Numbers = {
  leads: boolean
  census: readonly CensusRow[]
  pools: readonly IpPool[]
  forecasts: readonly PoolForecast[]
  freed: { blocks: number; addresses: number }
  waiting: number
  unclear: number
}

/** The text that a scraper reads. Of addresses and blocks only the program that leads tells: a sum over both would be wrong. */
export function metricsText(version: string, numbers: Numbers, conditions: readonly ControllerCondition[]): string {
  const { leads, freed, waiting, unclear } = numbers
  const text = new MetricsText(CONTROLLERS_METRICS)
  text.set('margay_controllers_build_info', 1, { version })
  text.set('margay_controllers_leader', leads ? 1 : 0)
  for (const type of Object.keys(CONTROLLER_CONDITION_TYPES))
    text.set('margay_controllers_condition', conditions.some(each => each.type === type) ? 0 : 1, { type })
  text.set('ipam_allocations_gc_reclamations', freed.addresses)
  text.set('margay_ipam_blocks_gc_reclamations_total', freed.blocks)
  if (!leads) return text.toString()
  text.set('margay_ipam_blocks_gc_candidates', waiting)
  text.set('margay_ipam_blocks_unclear', unclear)
  for (const { pool, node, blocks, used, borrowed, candidates } of bounded(numbers.census)) {
    text.set('ipam_blocks', blocks, { ippool: pool, node })
    text.set('ipam_allocations_in_use', used, { ippool: pool, node })
    text.set('ipam_allocations_borrowed', borrowed, { ippool: pool, node })
    text.set('ipam_allocations_gc_candidates', candidates, { ippool: pool, node })
  }
  for (const { node, blocks, used } of bounded(perNode(numbers.census))) {
    text.set('ipam_blocks_per_node', blocks, { node })
    text.set('ipam_allocations_per_node', used, { node })
  }
  const sizes = numbers.pools.map(({ metadata, spec }) => ({ ippool: metadata.name, size: sizeOf(spec.cidr) }))
  const { first, rest } = firstAndRest(sizes, MOST.pools, ({ ippool }) => ippool)
  for (const { ippool, size } of first) text.set('ipam_ippool_size', size, { ippool })
  if (rest.length > 0)
    text.set(
      'ipam_ippool_size',
      rest.reduce((sum, { size }) => sum + size, 0),
      { ippool: OTHER },
    )
  const named = firstAndRest(numbers.forecasts, MOST.pools, ({ pool }) => pool)
  const others = named.rest.length === 0 ? [] : [{ pool: OTHER, ...total(named.rest) }]
  for (const { pool, left, blocks } of [...named.first, ...others]) {
    text.set('margay_ipam_pods_left', Number(left), { ippool: pool })
    text.set('margay_ipam_blocks_left', Number(blocks), { ippool: pool })
  }
  return text.toString()
}

function total(all: readonly PoolForecast[]): Pick<PoolForecast, 'left' | 'blocks'> {
  return all.reduce((sum, { left, blocks }) => ({ left: sum.left + left, blocks: sum.blocks + blocks }), {
    ...{ left: 0n, blocks: 0n },
  })
}

/** The rows in the order of their names; beyond the bound one sum for each pool of a few. */
function bounded(rows: readonly CensusRow[]): CensusRow[] {
  const { first, rest } = firstAndRest(rows, MOST.poolNodes, ({ pool, node }) => `${pool} ${node}`)
  return [...first, ...(rest.length > 0 ? [rest.reduce(added, { ...EMPTY, pool: OTHER, node: OTHER })] : [])]
}

function perNode(rows: readonly CensusRow[]): CensusRow[] {
  return [...Map.groupBy(rows, ({ node }) => node)].map(([node, all]) => all.reduce(added, { ...EMPTY, node }))
}

const EMPTY: CensusRow = { pool: '', node: '', blocks: 0, used: 0, borrowed: 0, candidates: 0 }

/** The names of the first with the numbers of both. */
function added(one: CensusRow, other: CensusRow): CensusRow {
  return {
    ...one,
    blocks: one.blocks + other.blocks,
    used: one.used + other.used,
    borrowed: one.borrowed + other.borrowed,
    candidates: one.candidates + other.candidates,
  }
}

function sizeOf(cidr: string): number {
  return 2 ** (addressBits(familyOf(cidr)) - parseCidr(cidr)!.length)
}
