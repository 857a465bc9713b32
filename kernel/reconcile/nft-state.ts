// What one table of nftables with parts that come and go should hold, and what it holds as far as is known. Pure.
import { isDeepStrictEqual } from 'node:util'
import { Delta } from '../../lib/delta.ts'
import type {
  NftChain,
  NftElement,
  NftElements,
  NftExpression,
  NftPartNames,
  NftRule,
  NftRuleset,
  NftSet,
  NftTable,
  NftVerdict,
} from '../port/nftables.ts'
import { typesOf } from '../port/nftables.ts'
import { chainEssence, type DifferingRules, firstOtherRule, setEssence, tableFlags } from './nft-match.ts'

/** A set that belongs to one rule of a chain, which looks it up by `id` under the name that `INLINE_SET` is. */
export type NftInlineSet = { id: number; type: string; flags?: NftSet['flags']; elements: readonly NftElement[] }

/** The name by which the kernel is asked for a name (nft's habit). */
export const INLINE_SET = '__set%d'

/** A chain with all its rules, in their order, and the sets of single rules. */
export type NftChainProgram = { chain: NftChain; rules: readonly NftRule[]; inline?: readonly NftInlineSet[] }

/** What a map has under a key; `member` in a set, which has nothing there. */
export type NftDatum = NftVerdict | readonly string[] | 'member'

export class NftState {
  readonly table: NftTable
  readonly sets = new Delta<NftSet>((a, b) => isDeepStrictEqual(setEssence(a), setEssence(b)))
  readonly chains = new Delta<NftChainProgram>(samePrograms)
  /** By set. A set that is not wanted has none that are wanted. */
  readonly elements = new Map<string, Delta<NftDatum>>()
  /** Sets whose elements differ. */
  readonly dirty = new Set<string>()
  isThere = false
  /** A dormant table does nothing. */
  hasOtherFlags = false

  constructor(table: NftTable) {
    this.table = table
  }

  elementsOf(set: string): Delta<NftDatum> {
    let elements = this.elements.get(set)
    if (elements === undefined) {
      elements = new Delta<NftDatum>((a, b) => isDeepStrictEqual(a, b))
      this.elements.set(set, elements)
    }
    return elements
  }

  /** Records elements of one set as there, or as gone. */
  saw(set: string, pairs: Iterable<readonly [string, NftDatum]>, is: 'there' | 'gone'): void {
    const elements = this.elementsOf(set)
    for (const [key, datum] of pairs) elements.saw(key, is === 'there' ? datum : undefined)
    this.note(set, elements)
  }

  note(set: string, elements: Delta<NftDatum>): void {
    if (elements.inSync) this.dirty.delete(set)
    else this.dirty.add(set)
    if (elements.wanted().size + elements.seen().size === 0) this.elements.delete(set)
  }

  /** Takes the table as the kernel has it; undefined when there is none. */
  takeIn(ruleset: NftRuleset | undefined): void {
    this.#takeTable(ruleset)
    const { sets = [], chains = [], rules = [], elements = [] } = ruleset ?? {}
    const inline = inlineSets(sets, elements)
    this.sets.resync(sets.filter(({ name }) => !inline.has(name)).map(set => [set.name, set]))
    const byChain = Map.groupBy(rules, ({ chain }) => chain)
    this.chains.resync(chains.map(chain => [chain.name, seenChain(chain, byChain.get(chain.name) ?? [], inline)]))
    const seen = Map.groupBy(
      elements.filter(({ set }) => !inline.has(set)),
      ({ set }) => set,
    )
    for (const set of new Set([...this.elements.keys(), ...seen.keys()])) {
      const delta = this.elementsOf(set)
      delta.resync((seen.get(set) ?? []).flatMap(each => each.elements.map(keyAndDatum)))
      this.note(set, delta)
    }
  }

  /** Takes those parts of the table as the kernel has them; undefined when there is no table. */
  takeInParts(only: NftPartNames, ruleset: NftRuleset | undefined): void {
    if (ruleset === undefined) {
      this.takeIn(undefined)
      return
    }
    this.#takeTable(ruleset)
    const { sets, chains, rules, elements, missing = [] } = ruleset
    const inline = inlineSets(sets, elements)
    const whole = new Set(sets.map(({ name }) => name))
    const single = new Set<string>()
    for (const [some, is] of [
      [elements, 'there'],
      [missing, 'gone'],
    ] as const)
      for (const { set, elements: list } of some)
        if (!whole.has(set)) {
          single.add(set)
          this.saw(set, list.map(keyAndDatum), is)
        }
    for (const name of new Set([...only.sets, ...only.elements.map(({ set }) => set)])) {
      if (single.has(name)) continue
      const set = inline.has(name) ? undefined : sets.find(each => each.name === name)
      this.sets.saw(name, set)
      const held = set === undefined ? [] : elements.filter(each => each.set === name)
      const delta = this.elementsOf(name)
      delta.resync(held.flatMap(each => each.elements.map(keyAndDatum)))
      this.note(name, delta)
    }
    const byChain = Map.groupBy(rules, ({ chain }) => chain)
    for (const name of only.chains) {
      const chain = chains.find(each => each.name === name)
      this.chains.saw(name, chain && seenChain(chain, byChain.get(name) ?? [], inline))
    }
  }

  #takeTable(ruleset: NftRuleset | undefined): void {
    this.isThere = ruleset !== undefined
    this.hasOtherFlags = ruleset !== undefined && tableFlags(ruleset.table) !== tableFlags(this.table)
  }

  /** Something that stands there cannot be changed into what is wanted under its name: the table has to be made anew. */
  get isForeign(): boolean {
    if (this.hasOtherFlags) return true
    for (const { value, seen } of this.sets.pending()) if (value !== undefined && seen !== undefined) return true
    for (const { value, seen } of this.chains.pending())
      if (value !== undefined && seen !== undefined)
        if (!isDeepStrictEqual(chainEssence(value.chain), chainEssence(seen.chain))) return true
    return false
  }

  get wantsAnything(): boolean {
    return this.sets.wanted().size + this.chains.wanted().size > 0
  }
}

/** The sets of single rules, by the kernel's name. */
function inlineSets(sets: readonly NftSet[], elements: readonly NftElements[]): Map<string, NftInlineSet> {
  const bySet = Map.groupBy(elements, ({ set }) => set)
  const anonymous = sets.filter(({ flags }) => flags?.includes('anonymous'))
  return new Map(
    anonymous.map(({ name, type, flags }, id) => {
      return [name, { id, type, flags, elements: (bySet.get(name) ?? []).flatMap(each => each.elements) }]
    }),
  )
}

/** A chain as it was read, whose rules name their own sets as wanted rules do. */
function seenChain(
  chain: NftChain,
  rules: readonly NftRule[],
  inline: ReadonlyMap<string, NftInlineSet>,
): NftChainProgram {
  if (inline.size === 0) return { chain, rules }
  const used: NftInlineSet[] = []
  const renamed = (step: NftExpression): NftExpression => {
    const set = step.type === 'lookup' ? inline.get(step.set) : undefined
    if (step.type !== 'lookup' || set === undefined) return step
    used.push(set)
    return { ...step, set: INLINE_SET, setId: set.id }
  }
  return { chain, rules: rules.map(rule => ({ ...rule, expressions: rule.expressions.map(renamed) })), inline: used }
}

/** Whether two chains do the same: sets of single rules count by what they hold, where they are looked up. */
function samePrograms(a: NftChainProgram, b: NftChainProgram): boolean {
  if (!isDeepStrictEqual(chainEssence(a.chain), chainEssence(b.chain)) || a.rules.length !== b.rules.length)
    return false
  return differingRules(a, b) === undefined
}

/** The rules of two chains, and where they differ first; undefined where all are the same. */
export function differingRules(a: NftChainProgram, b: NftChainProgram): DifferingRules | undefined {
  const [wanted, there] = [resolved(a), resolved(b)]
  const at = firstOtherRule(wanted, there)
  return at === undefined ? undefined : { at, wanted, there }
}

function resolved({ rules, inline = [] }: NftChainProgram): readonly NftRule[] {
  if (inline.length === 0) return rules
  const contents = new Map(inline.map(set => [set.id, inlineEssence(set)]))
  const named = (step: NftExpression): NftExpression => {
    if (step.type !== 'lookup' || step.setId === undefined) return step
    const { setId, ...rest } = step
    return { ...rest, set: contents.get(setId) ?? '' }
  }
  return rules.map(rule => ({ ...rule, expressions: rule.expressions.map(named) }))
}

function inlineEssence({ type, flags = [], elements }: NftInlineSet): string {
  const keys = elements.map(({ key, data }) => [key, data])
  return JSON.stringify([type, flags.includes('interval'), keys.map(each => JSON.stringify(each)).sort()])
}

function keyAndDatum({ key, data }: NftElement): [string, NftDatum] {
  return [key.join(' . '), data ?? 'member']
}

/** Elements of a set by their keys in one text. */
export function elementsIn(set: NftSet, pairs: readonly (readonly [string, NftDatum])[]): NftElements {
  const { family, table, name } = set
  return {
    kind: 'elements',
    ...{ family, table, set: name },
    ...typesOf(set),
    elements: pairs.map(([key, datum]) => ({ key: key.split(' . '), ...(datum !== 'member' && { data: datum }) })),
  }
}
