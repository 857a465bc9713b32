// What the fake tells of transactions, and how it reads single elements. It names an element by its words.
import type { NftChange, NftChangedTable, NftElement, NftElements, NftPartNames, NftSet } from '../port/nftables.ts'
import { typesOf } from '../port/nftables.ts'

const MOST_NAMES = 500

/** What a transaction says of each table that it is about. */
export function changedTables(changes: readonly NftChange[]): NftChangedTable[] {
  const byTable = Map.groupBy(changes, ({ object }) => {
    return `${object.family} ${object.kind === 'table' ? object.name : object.table}`
  })
  return [...byTable].map(([key, some]) => {
    const [family, name] = key.split(' ') as [NftChangedTable['family'], string]
    const [chains, sets] = [new Set<string>(), new Set<string>()]
    const elements = new Map<string, { set: string; key: string }>()
    const last = some.findLast(({ object }) => object.kind === 'table')
    if (last?.verb === 'delete') return { family, name, isGone: true }
    for (const { object, verb } of some)
      if (object.kind === 'chain' && (verb === 'delete' || verb === 'flush')) chains.add(object.name)
      else if (object.kind === 'rule') chains.add(object.chain)
      else if (object.kind === 'set') sets.add(object.name)
      else if (object.kind !== 'elements')
        return { family, name } // a chain that comes may be one with a new name
      else if (object.flags?.includes('interval')) sets.add(object.set)
      else
        for (const each of object.elements) {
          const words = each.key.join(' . ')
          elements.set(`${object.set} ${words}`, { set: object.set, key: words })
        }
    if (chains.size + sets.size > MOST_NAMES) return { family, name, isMost: true }
    const single = [...elements.values()].filter(({ set }) => !sets.has(set))
    return { family, name, parts: { chains: [...chains], sets: [...sets], elements: single } }
  })
}

/** Whether a set is asked for with all of its elements, or can be read only so. */
export function isWhole({ name, flags = [] }: NftSet, { sets, elements }: NftPartNames): boolean {
  return sets.includes(name) || (flags.includes('interval') && elements.some(each => each.set === name))
}

/** The elements that are asked for by themselves. */
export function singleElements(
  only: NftPartNames,
  held: ReadonlyMap<string, { set: NftSet; elements: ReadonlyMap<string, NftElement> }>,
): { there: NftElements[]; missing: NftElements[] } {
  const [there, missing]: NftElements[][] = [[], []]
  for (const { set: name, key } of only.elements) {
    const { set, elements } = held.get(name) ?? {}
    if (set === undefined || isWhole(set, only) || set.flags?.includes('anonymous')) continue
    const { family, table } = set
    const found = elements?.get(key)
    const element = found ?? { key: key.split(' . ') }
    const of = { kind: 'elements', family, table, set: name, ...typesOf(set), elements: [element] } as const
    if (found === undefined) missing!.push(of)
    else there!.push(of)
  }
  return { there: there!, missing: missing! }
}
