// What of the tables of `nft-tables.ts` is written or refused together, and the changes that this takes. Pure.
import type { NftChange, NftElements } from '../port/nftables.ts'
import { elementName, grouped } from './nft-elements.ts'
import type { TableChanges } from './nft-match.ts'
import type { NamedNftElement } from './objects.ts'
import type { ObjectName } from './outcome.ts'

/**
 * What is written or refused together: a table without the elements that come and go, or some of these, before which ranges go
 * in whose place they come (`replaced`).
 */
export type Part = {
  key: string
  table: string
  changes: TableChanges
  elements: readonly NamedNftElement[]
  replaced: readonly NamedNftElement[]
}

/** The changes of all parts in their order. Those of one step may not be in two transactions. */
export function stepsOf(
  parts: readonly Part[],
  asElements: (elements: readonly NamedNftElement[]) => NftElements,
): { part: Part; changes: NftChange[] }[] {
  const steps: { part: Part; changes: NftChange[] }[] = []
  for (const part of parts) for (const change of part.changes.before) steps.push({ part, changes: [change] })
  for (const part of parts)
    if (part.elements.length > 0)
      steps.push({
        part,
        changes: [
          ...grouped(part.replaced).map((each): NftChange => ({ verb: 'delete', object: asElements(each) })),
          { verb: 'add', object: asElements(part.elements) },
        ],
      })
  for (const part of parts) for (const change of part.changes.after) steps.push({ part, changes: [change] })
  return steps
}

export function namesOf({ key, table, elements }: Part): ObjectName[] {
  return key === table ? [{ kind: 'nftTable', key }] : elements.map(elementName)
}
