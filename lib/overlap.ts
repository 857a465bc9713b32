// Which CIDRs of a list share addresses with earlier ones, in n log n: two CIDRs are apart, or one holds the other, so sorted by
// their first address each comes right after those that hold it. Pure.
import { parsePrefix } from './prefix-index.ts'

/** Of the CIDRs that come earlier in the list: the first that holds this one, and the first that shares an address with it. */
export type Earlier = { holder: number | undefined; overlap: number | undefined }

type Nested = {
  index: number
  family: string
  bits: number | bigint
  length: number
  /** The earliest index of those that hold it and itself, and of those that lie in it and itself. */
  above: number
  below: number
}

/** One answer for each CIDR, as places in the list; equal CIDRs hold each other. Throws RangeError when one is no CIDR. */
export function earlierOverlaps(cidrs: readonly string[]): Earlier[] {
  const nested = cidrs.map(nestedOf)
  const open: Nested[] = []
  const close = (): void => {
    const inner = open.pop()
    const outer = open.at(-1)
    if (inner !== undefined && outer !== undefined) outer.below = Math.min(outer.below, inner.below)
  }
  for (const each of nested.toSorted(outerFirst)) {
    while (open.length > 0 && !holds(open.at(-1)!, each)) close()
    each.above = Math.min(each.index, open.at(-1)?.above ?? each.index)
    open.push(each)
  }
  while (open.length > 0) close()
  return nested.map(({ index, above, below }) => {
    const overlap = Math.min(above, below)
    return { holder: above < index ? above : undefined, overlap: overlap < index ? overlap : undefined }
  })
}

function nestedOf(cidr: string, index: number): Nested {
  const prefix = parsePrefix(cidr)
  if (prefix === undefined) throw new RangeError(`${cidr} is no CIDR`)
  const { family, bits, length } = prefix
  return { index, family, bits, length, above: index, below: index }
}

function outerFirst(a: Nested, b: Nested): number {
  if (a.family !== b.family) return a.family < b.family ? -1 : 1
  if (a.bits !== b.bits) return a.bits < b.bits ? -1 : 1
  return a.length - b.length || a.index - b.index
}

/** Whether `outer`, which comes before `inner` in the order of `outerFirst`, holds it. */
function holds(outer: Nested, inner: Nested): boolean {
  if (outer.family !== inner.family || outer.length > inner.length) return false
  const bits = outer.family === 'ipv4' ? 32 : 128
  return BigInt(inner.bits) >> BigInt(bits - outer.length) === BigInt(outer.bits) >> BigInt(bits - outer.length)
}
