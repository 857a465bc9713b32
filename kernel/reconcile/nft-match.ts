// Whether a table of nftables is as its program has it, and the changes that make it so. A table that differs in more
// than its rules is made anew within one transaction: packets meet the old one or the new one, and never none. Pure.
import { isDeepStrictEqual } from 'node:util'
import type { NftChain, NftChange, NftElements, NftExpression, NftRule, NftSet, NftTable } from '../port/nftables.ts'
import type { NftProgram } from './objects.ts'

/** `before` the elements of the table are added, and `after` that. `anew`: the table loses all elements it has. */
export type TableChanges = { anew: boolean; before: NftChange[]; after: NftChange[] }

/** What has to be done to a table, which is undefined where there is none; undefined when nothing has to be. */
export function tableChanges(program: NftProgram, seen: NftProgram | undefined): TableChanges | undefined {
  if (seen === program) return undefined
  const { family, name } = program.table
  const removed: NftChange = { verb: 'delete', object: { kind: 'table', family, name } }
  if (program.absent === true) return seen === undefined ? undefined : { anew: true, before: [removed], after: [] }
  if (seen === undefined) return { anew: false, before: frame(program), after: chainsAndRules(program) }
  if (!sameFrame(program, seen))
    return { anew: true, before: [removed, ...frame(program)], after: chainsAndRules(program) }
  const before = (program.contents ?? []).flatMap((wanted): NftChange[] => {
    if (isDeepStrictEqual(contentEssence(wanted), contentEssence(contentOf(seen, wanted)))) return []
    const { family, table, set } = wanted
    return [{ verb: 'flush', object: { kind: 'set', family, table, name: set } }, ...filled([wanted])]
  })
  const after = program.chains.flatMap(chain => {
    const wanted = rulesOf(program.rules, chain)
    const there = rulesOf(seen.rules, chain)
    if (firstOtherRule(wanted, there) === undefined) return []
    const { kind, family, table, name } = chain
    const emptied: NftChange = { verb: 'flush', object: { kind, family, table, name } }
    return [emptied, ...wanted.map((object): NftChange => ({ verb: 'add', object }))]
  })
  return before.length + after.length === 0 ? undefined : { anew: false, before, after }
}

function frame({ table, sets, contents = [] }: NftProgram): NftChange[] {
  return [...[table, ...sets].map((object): NftChange => ({ verb: 'add', object })), ...filled(contents)]
}

function filled(contents: readonly NftElements[]): NftChange[] {
  return contents.flatMap((object): NftChange[] => (object.elements.length === 0 ? [] : [{ verb: 'add', object }]))
}

/** A chain is empty while there are rules of others to come that jump to it, and base chains come last. */
function chainsAndRules({ chains, rules }: NftProgram): NftChange[] {
  const inOrder = chains.toSorted((a, b) => Number(a.base !== undefined) - Number(b.base !== undefined))
  return [...inOrder, ...rules].map((object): NftChange => ({ verb: 'add', object }))
}

/** A table with other flags may be one that does nothing (`dormant`). */
function sameFrame({ table, sets, chains }: NftProgram, seen: NftProgram): boolean {
  return (
    tableFlags(table) === tableFlags(seen.table) &&
    isDeepStrictEqual(byName(sets, setEssence), byName(seen.sets, setEssence)) &&
    isDeepStrictEqual(byName(chains, chainEssence), byName(seen.chains, chainEssence))
  )
}

export function tableFlags({ flags = 0 }: NftTable): number {
  return flags
}

function byName<T extends { name: string }>(objects: readonly T[], essenceOf: (object: T) => unknown) {
  return new Map(objects.map(object => [object.name, essenceOf(object)]))
}

/** The type of a set and whether it is one of intervals or of elements that end by themselves. */
export function setEssence({ type, data, flags = [], timeoutMs }: NftSet): unknown {
  return [type, data, [...flags].sort(), timeoutMs]
}

/** The elements in `seen` of the same set; undefined for none. */
export function contentOf({ contents = [] }: NftProgram, { set }: NftElements): NftElements | undefined {
  return contents.find(each => each.set === set)
}

/** The keys, and of a map what each leads to, in an order of their own. */
export function contentEssence(of: NftElements | undefined): unknown {
  const words = (of?.elements ?? []).map(({ key, data }) => [key.join(' . '), data] as const)
  return words.sort(([a], [b]) => (a < b ? -1 : 1))
}

/** Where packets enter it; undefined for one that only jumps lead to. */
export function chainEssence({ base }: NftChain): unknown {
  if (base === undefined) return undefined
  const { type, hook, priority, policy = 'accept', devices = [] } = base
  return [type, hook, priority, policy, devices]
}

export function rulesOf(rules: readonly NftRule[], { name }: NftChain): NftRule[] {
  return rules.filter(({ chain }) => chain === name)
}

/** What a rule does, without its number and without what its counters have counted. */
export function ruleEssence({ expressions, comment }: NftRule): unknown {
  return [comment, expressions.map(step => (step.type === 'counter' ? { type: 'counter' } : defined(step)))]
}

/** As two equal `ruleEssence`, without making them: a large table has tens of thousands of rules. */
function sameRules(a: NftRule, b: NftRule): boolean {
  if (a.comment !== b.comment || a.expressions.length !== b.expressions.length) return false
  return a.expressions.every((step, i) => {
    const other = b.expressions[i]!
    return step.type === 'counter' ? other.type === 'counter' : sameFields(step, other) && sameFields(other, step)
  })
}

/** `wanted` and `there` are the same before `at`. */
export type DifferingRules = { at: number; wanted: readonly NftRule[]; there: readonly NftRule[] }

/** Where two lists of rules differ first, an end that only one of them has included; undefined where all are the same. */
export function firstOtherRule(a: readonly NftRule[], b: readonly NftRule[]): number | undefined {
  const length = Math.max(a.length, b.length)
  for (let at = 0; at < length; at++) {
    const [own, other] = [a[at], b[at]]
    if (own === undefined || other === undefined || !sameRules(own, other)) return at
  }
  return undefined
}

/** Whether `b` has all that is defined in `a`. */
function sameFields(a: object, b: object): boolean {
  for (const key in a) {
    const [value, other] = [a[key as keyof object], b[key as keyof object]] as [unknown, unknown]
    if (value === other || value === undefined) continue
    if (typeof value !== 'object' || !isDeepStrictEqual(value, other)) return false
  }
  return true
}

function defined(step: NftExpression): unknown {
  return Object.fromEntries(Object.entries(step).filter(([, value]) => value !== undefined))
}
