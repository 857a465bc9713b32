// What of our tables of nftables is not in the kernel as it should be, in the words of nft: for CHECK, which changes
// nothing. Pure.
import { isDeepStrictEqual } from 'node:util'
import type { NftRule } from '../port/nftables.ts'
import {
  chainEssence,
  contentEssence,
  contentOf,
  type DifferingRules,
  firstOtherRule,
  rulesOf,
  setEssence,
  tableFlags,
} from './nft-match.ts'
import { type NamedNftElement, type NftProgram, nftElementKey, nftTableKey } from './objects.ts'
import type { Damage } from './outcome.ts'

/** `object` is what nft calls it: `rule inet margay prerouting "redirect"`. `added`: nobody wants it there. */
export type NftDifference = { object: string; is: 'missing' | 'changed' | 'added' }

/** The first difference between a table, without the elements of others, and what is in the kernel; undefined when there is none. */
export function tableDifference(program: NftProgram, seen: NftProgram | undefined): NftDifference | undefined {
  const name = nftTableKey(program.table)
  if (program.absent === true) return seen && { object: `table ${name}`, is: 'added' }
  if (seen === undefined) return { object: `table ${name}`, is: 'missing' }
  if (tableFlags(program.table) !== tableFlags(seen.table)) return { object: `table ${name}`, is: 'changed' }
  return (
    namedDifference(`set ${name}`, program.sets, seen.sets, setEssence) ??
    contentDifference(name, program, seen) ??
    namedDifference(`chain ${name}`, program.chains, seen.chains, chainEssence) ??
    ruleDifference(name, program, seen)
  )
}

/** What a table that was as wanted was found as. */
export function tableDamage(program: NftProgram, seen: NftProgram | undefined): Damage {
  const difference = tableDifference(program, seen)
  if (difference === undefined || seen === undefined) return { gone: true }
  return { found: `${difference.object} ${difference.is}` }
}

/** The elements of one interface that are missing, and those that nobody wants there. */
export function elementDifferences(
  wanted: readonly NamedNftElement[],
  seen: readonly NamedNftElement[],
): NftDifference[] {
  const [there, right] = [new Set(seen.map(nftElementKey)), new Set(wanted.map(nftElementKey))]
  return [
    ...wanted.filter(each => !there.has(nftElementKey(each))).map(each => difference(each, 'missing')),
    ...seen.filter(each => !right.has(nftElementKey(each))).map(each => difference(each, 'added')),
  ]
}

function difference({ family, table, set, words }: NamedNftElement, is: NftDifference['is']): NftDifference {
  return { object: `element ${family} ${table} ${set} { ${words.join(' . ')} }`, is }
}

function namedDifference<T extends { name: string }>(
  what: string,
  wanted: readonly T[],
  seen: readonly T[],
  essenceOf: (object: T) => unknown,
): NftDifference | undefined {
  for (const each of wanted) {
    const there = seen.find(({ name }) => name === each.name)
    if (there === undefined) return { object: `${what} ${each.name}`, is: 'missing' }
    if (!isDeepStrictEqual(essenceOf(there), essenceOf(each))) return { object: `${what} ${each.name}`, is: 'changed' }
  }
  const added = seen.find(({ name }) => !wanted.some(each => each.name === name))
  return added && { object: `${what} ${added.name}`, is: 'added' }
}

function contentDifference(table: string, { contents = [] }: NftProgram, seen: NftProgram): NftDifference | undefined {
  const other = contents.find(
    wanted => !isDeepStrictEqual(contentEssence(wanted), contentEssence(contentOf(seen, wanted))),
  )
  return other && { object: `elements of set ${table} ${other.set}`, is: 'changed' }
}

/** The order of the rules of a chain counts: one that stands at another place is a difference too. */
function ruleDifference(table: string, program: NftProgram, seen: NftProgram): NftDifference | undefined {
  for (const chain of program.chains) {
    const [wanted, there] = [rulesOf(program.rules, chain), rulesOf(seen.rules, chain)]
    const at = firstOtherRule(wanted, there)
    if (at !== undefined) return differenceAt(`${table} ${chain.name}`, { at, wanted, there })
  }
  return undefined
}

/** How the rules of a chain differ: whether there are too few or too many, and the first one that is another. */
export function differenceAt(chain: string, { at, wanted, there }: DifferingRules): NftDifference {
  const is = there.length < wanted.length ? 'missing' : there.length > wanted.length ? 'added' : 'changed'
  return { object: `rule ${at + 1} of ${chain}${describe(is === 'added' ? there[at] : wanted[at])}`, is }
}

/** Its comment, or where it leads to. */
function describe(rule: NftRule | undefined): string {
  if (rule?.comment !== undefined) return ` "${rule.comment}"`
  const jumps = rule?.expressions.flatMap(step =>
    step.type === 'immediate' && 'data' in step && 'chain' in step.data ? [step.data.chain] : [],
  )
  return jumps?.[0] === undefined ? '' : ` (jump ${jumps[0]})`
}
