// What becomes of many ports or CIDRs in one rule: most of them are sources of members, so that equal lists have one set and many
// lists share one, which is a hash; a few, and ranges of many ports, are a rule for each. Pure.
import type { Family } from '../../lib/ip.ts'
import { parsePrefix } from '../../lib/prefix-index.ts'
import { CidrUnion } from './cidr-union.ts'
import type { PortRange } from './model.ts'
import type { MemberSource } from './sources.ts'

/** So many ports or CIDRs of one side are a rule for each; more are a set. */
export const WAYS = 8
/** Ranges of more ports than these are a rule for each beside the set of the others, */
const WIDE = 64
/** which is a hash and holds so many ports at most; what needs more is one set of ranges, the rule's own. */
const LISTED = 1024

/** `joined`: all ranges. `wide` are a rule for each and `listed` a set; where neither has any they are a set of the rule's own. */
type DividedPorts = { joined: readonly PortRange[]; wide: readonly PortRange[]; listed: readonly number[] }

/** The ranges may overlap, and stand in any order. */
export function dividePorts(ranges: readonly PortRange[]): DividedPorts {
  const joined = joinRanges(ranges)
  if (joined.length <= WAYS) return { joined, wide: joined, listed: [] }
  const size = ({ first, last }: PortRange) => last - first + 1
  const wide = joined.filter(range => size(range) > WIDE)
  const narrow = joined.filter(range => size(range) <= WIDE)
  const count = narrow.reduce((sum, range) => sum + size(range), 0)
  if (wide.length > WAYS || count > LISTED) return { joined, wide: [], listed: [] }
  const listed = narrow.flatMap(range => Array.from({ length: size(range) }, (_, i) => range.first + i))
  return { joined, wide, listed }
}

/** The same ports in order, none of them twice and no two ranges that touch. */
function joinRanges(ranges: readonly PortRange[]): PortRange[] {
  const joined: PortRange[] = []
  for (const { first, last } of ranges.toSorted((a, b) => a.first - b.first)) {
    const before = joined.at(-1)
    if (before !== undefined && first <= before.last + 1)
      joined[joined.length - 1] = { first: before.first, last: Math.max(before.last, last) }
    else joined.push({ first, last })
  }
  return joined
}

/** The source of the set of listed ports; none where there are none. */
export function byList({ listed }: Pick<DividedPorts, 'listed'>): MemberSource[] {
  return listed.length === 0 ? [] : [{ of: 'list', ports: listed }]
}

/** The CIDRs of one family, none of them in another one. */
export function disjoint(nets: readonly string[], family: Family): string[] {
  const union = new CidrUnion(() => {})
  for (const net of nets) {
    const prefix = parsePrefix(net)
    if (prefix !== undefined) union.add(prefix)
  }
  return [...union.of(family)]
}

/**
 * The sources of disjoint CIDRs of one family, one for each length; none where they are a few, which are a rule for each, or have
 * too many lengths.
 */
export function byLengths(cidrs: readonly string[], family: Family): Extract<MemberSource, { of: 'cidrs' }>[] {
  if (cidrs.length <= WAYS) return []
  const whole = family === 'ipv4' ? 32 : 128
  const lengths = Map.groupBy(cidrs, cidr => Number(cidr.split('/')[1] ?? whole))
  if (lengths.size > WAYS) return []
  return [...lengths].map(([bits, some]) => {
    return { of: 'cidrs', family, bits, addresses: some.map(cidr => cidr.split('/')[0]!).sort() }
  })
}

/** As `byLengths`, of CIDRs in any order. Of a few, as most rules have, no union is made. */
export function byNets(nets: readonly string[] | undefined, family: Family): MemberSource[] {
  return nets === undefined || nets.length <= WAYS ? [] : byLengths(disjoint(nets, family), family)
}
