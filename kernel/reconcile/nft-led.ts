// What of a table of parts the packets of one interface pass, and what of that is not in the kernel as it is wanted: for ADD,
// which reads its rules back, and for CHECK. Pure.
import type { NftPartNames, NftRuleset, NftSet } from '../port/nftables.ts'
import { differenceAt, type NftDifference } from './nft-differences.ts'
import { differingRules, NftState } from './nft-state.ts'
import { nftTableKey } from './objects.ts'

/** A larger set is not read again: its name is asked for by many, and the kernel tells of each change to it. */
const MOST_ELEMENTS = 1000

/** What packets of one interface pass: what is wanted of it, and what has to be read for that. */
export type Led = { interfaceName: string; wanted: NftState; only: NftPartNames }

/** `rules` to which elements of the interface lead, with these; or `all`: base chains and the sets that are looked up there as well. */
export type LedPart = 'rules' | 'all'

/** Of sets of interfaces the elements of others do not count. */
export function ledFrom(state: NftState, interfaceName: string, part: LedPart): Led {
  const [allChains, allSets] = [state.chains.wanted(), state.sets.wanted()]
  const ofInterfaces = [...allSets.values()].filter(isOfInterfaces).map(({ name }) => name)
  const ownDatum = (set: string) => state.elements.get(set)?.wanted().get(interfaceName)
  const chains = new Set<string>()
  const sets = new Set(ofInterfaces.filter(set => part === 'all' || ownDatum(set) !== undefined))
  if (part === 'all') for (const [name, { chain }] of allChains) if (chain.base !== undefined) chains.add(name)
  for (const set of ofInterfaces) {
    const datum = ownDatum(set)
    if (typeof datum === 'object' && 'chain' in datum) chains.add(datum.chain)
  }
  // what is added while it is walked through is walked through as well
  for (const name of chains)
    for (const step of allChains.get(name)?.rules.flatMap(({ expressions }) => expressions) ?? []) {
      if (step.type === 'immediate' && 'chain' in step.data) chains.add(step.data.chain)
      if (step.type !== 'lookup' || !allSets.has(step.set) || ofInterfaces.includes(step.set)) continue
      if (part === 'all' && (state.elements.get(step.set)?.wanted().size ?? 0) <= MOST_ELEMENTS) sets.add(step.set)
    }
  const wanted = new NftState(state.table)
  for (const name of chains) wanted.chains.want(name, allChains.get(name))
  for (const name of sets) {
    wanted.sets.want(name, allSets.get(name))
    for (const [key, datum] of state.elements.get(name)?.wanted() ?? [])
      if (!ofInterfaces.includes(name) || key === interfaceName) wanted.elementsOf(name).want(key, datum)
  }
  return { interfaceName, wanted, only: { chains: [...chains], sets: [...sets], elements: [] } }
}

/** What the kernel has in the place of it. `ruleset`: what was to be read, or undefined where there is no table. */
export function ledDifferences({ interfaceName, wanted, only }: Led, ruleset: NftRuleset | undefined): NftDifference[] {
  const table = nftTableKey(wanted.table)
  if (ruleset === undefined) return [{ object: `table ${table}`, is: 'missing' }]
  wanted.takeInParts(only, ruleset)
  if (wanted.hasOtherFlags) return [{ object: `table ${table}`, is: 'changed' }]
  const found: NftDifference[] = []
  for (const { key, value, seen } of wanted.sets.pending())
    found.push({ object: `set ${table} ${key}`, is: differs(value, seen) })
  for (const [set, elements] of wanted.elements) {
    const of = wanted.sets.wanted().get(set)
    if (of === undefined || !wanted.sets.seen().has(set)) continue
    for (const { key, value, seen } of elements.pending())
      if (!isOfInterfaces(of) || key === interfaceName)
        found.push({ object: `element ${table} ${set} { ${key} }`, is: differs(value, seen) })
  }
  for (const { key, value, seen } of wanted.chains.pending()) {
    const other = value && seen && differingRules(value, seen)
    if (other === undefined) found.push({ object: `chain ${table} ${key}`, is: differs(value, seen) })
    else found.push(differenceAt(`${table} ${key}`, other))
  }
  return found
}

function isOfInterfaces({ type }: NftSet): boolean {
  return type === 'ifname'
}

function differs(wanted: unknown, seen: unknown): NftDifference['is'] {
  if (seen === undefined && wanted !== undefined) return 'missing'
  return wanted === undefined && seen !== undefined ? 'added' : 'changed'
}
