// What the refusals of a transaction mean for the parts of a table that it was about. Pure.
import type { NftRefusal } from '../port/nftables.ts'
import { partKey, type Step } from './nft-plan.ts'
import { failureOf, type WriteFailure } from './outcome.ts'

/** A refusal of the whole transaction is one of each of its parts. */
export function failures(steps: readonly Step[], refusals: readonly NftRefusal[]): Map<string, WriteFailure> {
  const failed = new Map<string, WriteFailure>()
  for (const { index, error } of refusals)
    for (const { part } of index === undefined ? steps : [steps[index]!])
      if (!failed.has(partKey(part))) failed.set(partKey(part), failureOf(error))
  return failed
}

/** Whether the same was refused before. */
export function isWithin(
  failed: ReadonlyMap<string, WriteFailure>,
  before: ReadonlyMap<string, WriteFailure>,
): boolean {
  return failed.entries().every(([key, { errno }]) => before.has(key) && before.get(key)?.errno === errno)
}
