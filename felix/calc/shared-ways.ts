// The next hops of a kernel route whose packets several paths of BGP share: a path may lead over several links, and two paths over
// the same one. Pure.
import type { NamedNextHop } from '../../kernel/reconcile/objects.ts'

/** Largest weight of a next hop that every kernel takes: nh_check_attr_group of net/ipv4/nexthop.c. */
const MOST_WEIGHT = 255

/** Each path shares its weight (absent: 1) out to its ways by theirs. Weights are the smallest that say so, up to what the kernel takes. */
export function sharedWays(
  paths: readonly { weight?: number | undefined; ways: readonly NamedNextHop[] }[],
): NamedNextHop[] {
  const [first, ...others] = paths
  if (first !== undefined && others.length === 0 && first.ways.length < 2) return [...first.ways]
  const wholes = paths.map(({ ways }) => ways.reduce((sum, { weight = 1 }) => sum + weight, 0))
  const multiple = wholes.filter(whole => whole > 0).reduce((a, b) => (a * b) / commonDivisor(a, b), 1)
  const shares = new Map<string, { hop: NamedNextHop; share: number }>()
  for (const [i, { weight = 1, ways }] of paths.entries())
    for (const { weight: part = 1, ...hop } of ways) {
      const key = `${hop.gateway} ${hop.interfaceName}`
      const share = (shares.get(key)?.share ?? 0) + weight * part * (multiple / wholes[i]!)
      shares.set(key, { hop, share })
    }
  const all = [...shares.values()]
  const divisor = all.reduce((sum, { share }) => commonDivisor(sum, share), 0)
  const most = all.reduce((max, { share }) => Math.max(max, share / divisor), 0)
  const scale = most > MOST_WEIGHT ? MOST_WEIGHT / most : 1
  return all.map(({ hop, share }) => {
    const weight = Math.max(1, Math.round((share / divisor) * scale))
    return weight === 1 ? hop : { ...hop, weight }
  })
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b)
}
