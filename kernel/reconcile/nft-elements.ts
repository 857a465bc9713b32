// Elements of our tables of nftables: of which table and set they are, and what of a table that was read is what. Pure.
import type { NftRuleset } from '../port/nftables.ts'
import { type NamedNftElement, type NftProgram, nftElementKey, nftTableKey } from './objects.ts'
import type { ObjectName } from './outcome.ts'

/** Elements that are refused together, where they are of no interface. */
const ELEMENTS_OF_GROUP = 1_000

/** A table as it was read, with the elements that are part of it. */
export function seenProgram({ elements, ...ruleset }: NftRuleset, { contents = [] }: NftProgram): NftProgram {
  const names = new Set(contents.map(({ set }) => set))
  return { ...ruleset, contents: elements.filter(({ set }) => names.has(set)) }
}

/** `inet margay` of the name of a table or of an element. */
export function tableIn({ key }: ObjectName): string {
  return key.split(' ').slice(0, 2).join(' ')
}

export function elementName(element: NamedNftElement): ObjectName {
  const { interfaceName } = element
  return { kind: 'nftElement', key: nftElementKey(element), ...(interfaceName !== undefined && { interfaceName }) }
}

export function tableOf({ family, table }: NamedNftElement): string {
  return nftTableKey({ family, name: table })
}

export function elementsOf(ruleset: NftRuleset | undefined): NamedNftElement[] {
  if (ruleset === undefined) return []
  return ruleset.elements.flatMap(({ family, table, set, type, elements }) =>
    elements.map(({ key }) => {
      const [first] = key
      const named = type.startsWith('ifname') && first !== undefined
      return { family, table, set, words: key, ...(named && { interfaceName: first }) }
    }),
  )
}

/** The elements of one interface in one set, or all in it of no interface. */
export function groupOf(element: NamedNftElement): string {
  return `${tableOf(element)} ${element.set} ${element.interfaceName ?? ''}`
}

/** Elements by set and interface; those of no interface in groups of some size. */
export function grouped(elements: readonly NamedNftElement[]): NamedNftElement[][] {
  const groups = Map.groupBy(elements, groupOf)
  const out: NamedNftElement[][] = []
  for (const group of groups.values())
    for (let from = 0; from < group.length; from += ELEMENTS_OF_GROUP)
      out.push(group.slice(from, from + ELEMENTS_OF_GROUP))
  return out
}
