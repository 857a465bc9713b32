// The addresses of pools as ranges that do not overlap, as sets of nftables need them, although pools may lie in each other. Pure.
import { type Family, familyOf } from '../../lib/ip.ts'
import { type AddressRange, formatRange, rangeOf } from '../../lib/ip-range.ts'
import type { Pool } from '../input.ts'

/**
 * The addresses of a family in all pools of pods, and of those the ones that are masqueraded: sorted ranges that do not touch,
 * in nft's words. Of several pools an address belongs to the one with the longest prefix: of the pools in effect, which alone
 * come in, that is the oldest (`poolsInEffect` in api/pools.ts).
 */
export function poolRanges(all: Iterable<Pool>, family: Family): { pools: string[]; masqueraded: string[] } {
  const ours = [...all].filter(({ cidr }) => familyOf(cidr) === family)
  const parts = dividedByPool(ours).filter(({ pool }) => pool.forServicesOnly !== true)
  const words = (some: readonly AddressRange[]) => joined(some).map(range => formatRange(range, family))
  return { pools: words(parts), masqueraded: words(parts.filter(({ pool }) => pool.natOutgoing === true)) }
}

type Part = AddressRange & { pool: Pool }

/** The addresses of all pools in order, each once, with the innermost pool that holds them. CIDRs overlap only whole. */
function dividedByPool(pools: readonly Pool[]): Part[] {
  const sorted = pools
    .map((pool): Part => ({ ...rangeOf(pool.cidr), pool }))
    .sort((a, b) => Number(a.first - b.first) || Number(b.last - a.last))
  const parts: Part[] = []
  const around: Part[] = []
  let from = 0n
  const fill = (last: bigint, pool: Pool) => {
    if (last < from) return
    parts.push({ first: from, last, pool })
    from = last + 1n
  }
  const leaveBefore = (next: bigint | undefined) => {
    for (let inner = around.at(-1); inner !== undefined; inner = around.at(-1)) {
      if (next !== undefined && inner.last >= next) return fill(next - 1n, inner.pool)
      fill(inner.last, inner.pool)
      around.pop()
    }
  }
  for (const each of sorted) {
    leaveBefore(each.first)
    from = each.first
    around.push(each)
  }
  leaveBefore(undefined)
  return parts
}

/** Ranges that follow each other without a gap become one. */
function joined(sorted: readonly AddressRange[]): AddressRange[] {
  const out: { first: bigint; last: bigint }[] = []
  for (const { first, last } of sorted) {
    const before = out.at(-1)
    if (before !== undefined && before.last + 1n === first) before.last = last
    else out.push({ first, last })
  }
  return out
}
