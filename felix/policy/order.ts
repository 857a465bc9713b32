// The order in which tiers and policies are asked.
import type { Policy, Tier } from './model.ts'

/** Tiers that are no object are behind all others; then by `order`, then by name. */
export function compareTiers(
  [a, of]: readonly [name: string, tier: Tier | undefined],
  [b, other]: readonly [name: string, tier: Tier | undefined],
): number {
  const absent = Number(of === undefined) - Number(other === undefined)
  return absent || compareNumbers(of?.order ?? 0, other?.order ?? 0) || compareCodePoints(a, b)
}

/** Policies of one tier: by `order`, then by `sortName`. */
export function comparePolicies(a: Pick<Policy, 'order' | 'sortName'>, b: Pick<Policy, 'order' | 'sortName'>): number {
  return compareNumbers(a.order, b.order) || compareCodePoints(a.sortName, b.sortName)
}

/** Not their difference: between two that are Infinity that is no number. */
function compareNumbers(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1
}

/** As the octets of UTF-8 compare. JavaScript compares units of UTF-16, in which U+10000 is before U+FFFF. */
function compareCodePoints(a: string, b: string): number {
  if (a === b) return 0
  let at = 0
  while (a.charCodeAt(at) === b.charCodeAt(at)) at++
  return (a.codePointAt(at) ?? -1) < (b.codePointAt(at) ?? -1) ? -1 : 1
}
