// The changes that bring one table of nftables from what it holds to what it should hold, in an order that the kernel
// takes. What a rule looks up comes before it and goes after it; chains are there before rules and elements lead to them;
// base chains come last, so that a packet meets the rules of before or those of now, and first where that takes long. Pure.
import type { Delta } from '../../lib/delta.ts'
import type { NftChange, NftElements, NftRule, NftSet } from '../port/nftables.ts'
import { elementsIn, INLINE_SET, type NftChainProgram, type NftDatum, type NftState } from './nft-state.ts'
import type { Damage, Written } from './outcome.ts'

/**
 * One object that is written or refused by itself. The elements of a set are one (`nftElement`); of a map of verdicts each is,
 * since what is led to a chain that is refused must not keep others from theirs: its name is that of the map and its key.
 */
export type Part = { kind: 'nftTable' | 'nftSet' | 'nftChain' | 'nftElement'; name: string }
/**
 * One change, and what is so when it was done. `weight`: how many elements it has. `joined`: goes in the transaction of the step
 * before it.
 */
export type Step = { part: Part; change: NftChange; took: () => void; weight: number; joined?: true }
/**
 * `elements` may go in transactions of their own, in order; `rules` go in one, behind them. `anew`: all go in one. `first`: goes
 * alone, before all, where base chains that are not there come in several transactions: they with what they need, and nothing in
 * their maps.
 */
export type Plan = { first: Step[]; elements: Step[]; rules: Step[]; anew: boolean }

/** Elements of one transaction; the kernel holds a lock that all writers share while it works. */
export const ELEMENTS_AT_ONCE = 5_000

/** Rules of chains that others changed: so many are written in a fifth of a second. */
const MOST_OPEN = 5_000

type Pair = readonly [key: string, datum: NftDatum]

export const partKey = ({ kind, name }: Part) => `${kind} ${name}`
const stepsOf = ({ first, elements, rules }: Plan) => [...first, ...elements, ...rules]

/** What has to be added or changed. A table that is another one's is made anew with all that is wanted. */
export function additions(state: NftState): Plan {
  const { family, name } = state.table
  const anew = state.isThere && state.isForeign
  const fresh = anew || !state.isThere
  const part: Part = { kind: 'nftTable', name }
  const elements: Step[] = []
  if (anew)
    elements.push(
      step(part, { verb: 'delete', object: { kind: 'table', family, name } }, () => state.takeIn(undefined)),
    )
  if (fresh && state.wantsAnything)
    elements.push(
      // where it is there by now, what is in it is not known
      step(part, { verb: 'create', object: state.table }, () => {
        state.isThere = true
      }),
    )
  for (const [key, set] of missing(state.sets, fresh))
    elements.push(step({ kind: 'nftSet', name: key }, { verb: 'add', object: set }, () => state.sets.saw(key, set)))
  const verdicts: Step[] = []
  for (const key of fresh ? state.elements.keys() : state.dirty) {
    const set = state.sets.wanted().get(key)
    if (set === undefined) continue
    const steps = set.data === 'verdict' ? verdicts : elements
    for (const each of elementSteps(state, set, fresh)) steps.push(each)
  }
  const rules = chainSteps(state, missing(state.chains, fresh), fresh, verdicts)
  const isLarge = elements.reduce((sum, { weight }) => sum + weight, 0) > ELEMENTS_AT_ONCE
  const isOpen = rules.some(({ change }) => isHook(change))
  return anew || !isLarge || !isOpen ? { first: [], elements, rules, anew } : baseFirst(state, elements, rules)
}

/** Makes a table anew with its base chains, which lead nowhere then; refused where `now` is not so. */
export function closing(state: NftState, now: 'there' | 'gone'): Step[] {
  const base = baseParts(state)
  const isBase = (kind: Part['kind']) => (entry: readonly [string, unknown]) =>
    base.has(partKey({ kind, name: entry[0] }))
  const chains = [...state.chains.wanted()].filter(isBase('nftChain'))
  if (chains.length === 0) return []
  const sets = [...state.sets.wanted()].filter(isBase('nftSet'))
  const { family, name } = state.table
  const part: Part = { kind: 'nftTable', name }
  return [
    ...(now === 'there' ? [step(part, { verb: 'delete', object: { kind: 'table', family, name } })] : []),
    step(part, { verb: 'create', object: state.table }),
    ...sets.map(([name, object]) => step({ kind: 'nftSet', name }, { verb: 'add', object })),
    ...chainSteps(state, chains, true, []),
  ]
}

/** Whether others (`broken`: keys of parts) left chains as they are for so long as it takes to write them. */
export function isOpenMeanwhile(
  { anew, rules }: Plan,
  broken: Pick<ReadonlySet<string>, 'has'>,
  { chains }: NftState,
): boolean {
  const left = rules.filter(({ part }) => broken.has(partKey(part)) && chains.seen().has(part.name))
  return !anew && left.length > MOST_OPEN
}

/** What a part that was right and is to be added was found as. Of elements it is known that they are others. */
export function damageOf({ kind, name }: Part, { chains, sets }: NftState): Damage {
  const isThere =
    kind === 'nftElement' ||
    (kind === 'nftChain' && chains.seen().has(name)) ||
    (kind === 'nftSet' && sets.seen().has(name))
  return isThere ? {} : { gone: true }
}

/** The parts of `additions`, by their keys, without the work of making the changes. */
export function partsToAdd(state: NftState): Map<string, Part> {
  const fresh = !state.isThere || state.isForeign
  const parts: Part[] = []
  if (fresh && state.wantsAnything) parts.push({ kind: 'nftTable', name: state.table.name })
  for (const [name] of missing(state.sets, fresh)) parts.push({ kind: 'nftSet', name })
  for (const name of fresh ? state.elements.keys() : state.dirty) {
    const set = state.sets.wanted().get(name)
    if (set === undefined) continue
    const keys = missing(state.elements.get(name)!, fresh)
    if (set.data === 'verdict') for (const [key] of keys) parts.push({ kind: 'nftElement', name: `${name} ${key}` })
    else if (keys.length > 0) parts.push({ kind: 'nftElement', name })
  }
  for (const [name] of missing(state.chains, fresh)) parts.push({ kind: 'nftChain', name })
  return new Map(parts.map(part => [partKey(part), part]))
}

/** While what is not there yet comes, packets meet base chains that lead nowhere, and not none. */
function baseFirst(state: NftState, elements: readonly Step[], rules: readonly Step[]): Plan {
  const base = baseParts(state)
  const isFirst = ({ part }: Step) => part.kind === 'nftTable' || base.has(partKey(part))
  const later = (steps: readonly Step[]) => steps.filter(each => !isFirst(each))
  const first = [...elements, ...rules].filter(isFirst)
  return { first, elements: later(elements), rules: later(rules), anew: false }
}

function isHook({ verb, object }: NftChange): boolean {
  return verb === 'add' && object.kind === 'chain' && 'base' in object && object.base !== undefined
}

/** The keys of the base chains that are wanted, and of the chains and sets that these need. */
function baseParts(state: NftState): Set<string> {
  const wanted = state.chains.wanted()
  const parts = [...wanted].flatMap(([name, { chain }]): Part[] =>
    chain.base === undefined ? [] : [{ kind: 'nftChain', name }],
  )
  const keys = new Set(parts.map(partKey))
  for (const { kind, name } of parts) {
    const rules = kind === 'nftChain' ? (wanted.get(name)?.rules ?? []) : []
    for (const needed of rules.flatMap(object => neededBy({ verb: 'add', object })))
      if (keys.size !== keys.add(partKey(needed)).size) parts.push(needed)
  }
  return keys
}

/** `verdicts` lead to chains: they stand between the rules of these and the base chains. */
function chainSteps(
  state: NftState,
  chains: readonly [string, NftChainProgram][],
  fresh: boolean,
  verdicts: readonly Step[],
): Step[] {
  let lastId = 0
  const nextId = () => ++lastId
  const isNew = (name: string) => fresh || !state.chains.seen().has(name)
  const kinds = [false, true].map(hooked => chains.filter(([, { chain }]) => (chain.base !== undefined) === hooked))
  const [inner, hooks] = kinds.map(some => ({
    frames: some
      .filter(([name]) => isNew(name))
      .map(([name, { chain }]) => step({ kind: 'nftChain', name }, { verb: 'add', object: chain })),
    rules: some.flatMap(([name, program]) => ruleSteps(state, { name, program, isNew: isNew(name) }, nextId)),
  }))
  return [...inner!.frames, ...inner!.rules, ...verdicts, ...hooks!.frames, ...hooks!.rules]
}

type Wanted = { name: string; program: NftChainProgram; isNew: boolean }

function ruleSteps(state: NftState, { name, program, isNew }: Wanted, nextId: () => number): Step[] {
  const { kind, family, table } = program.chain
  const part: Part = { kind: 'nftChain', name }
  const ids = new Map<number, number>()
  const changes: NftChange[] = isNew ? [] : [{ verb: 'flush', object: { kind, family, table, name } }]
  for (const { id, type, flags = [], elements } of program.inline ?? []) {
    const setId = nextId()
    ids.set(id, setId)
    const types = { type, flags: [...new Set([...flags, 'anonymous', 'constant'] as const)] }
    const set: NftSet = { kind: 'set', family, table, name: INLINE_SET, ...types, id: setId }
    const content: NftElements = { kind: 'elements', family, table, set: INLINE_SET, setId, ...types, elements }
    changes.push({ verb: 'add', object: set }, { verb: 'add', object: content })
  }
  for (const rule of program.rules) changes.push({ verb: 'add', object: numbered(rule, ids) })
  // a new chain without rules is done with its frame, and an empty flush says so
  if (changes.length === 0) changes.push({ verb: 'flush', object: { kind, family, table, name } })
  const steps = changes.map(change => step(part, change))
  steps.push({ ...steps.pop()!, took: () => state.chains.saw(name, program) })
  return steps
}

function numbered(rule: NftRule, ids: ReadonlyMap<number, number>): NftRule {
  if (ids.size === 0) return rule
  const expressions = rule.expressions.map(each =>
    each.type === 'lookup' && each.setId !== undefined ? { ...each, setId: ids.get(each.setId) } : each,
  )
  return { ...rule, expressions } as NftRule
}

function elementSteps(state: NftState, set: NftSet, fresh: boolean): Step[] {
  const delta = state.elements.get(set.name)!
  const isMap = set.data === 'verdict'
  const added: Pair[] = fresh ? [...delta.wanted()] : []
  const replaced: Pair[] = []
  if (!fresh) {
    const gone: Pair[] = []
    for (const { key, value, seen } of delta.pending()) {
      if (value !== undefined) added.push([key, value])
      if (seen !== undefined) (value === undefined ? gone : replaced).push([key, seen])
    }
    // a range that goes may overlap one that comes: the kernel takes no two at a time
    if (set.flags?.includes('interval') && added.length > 0) for (const pair of gone) replaced.push(pair)
  }
  const steps = [...elementChanges('delete', replaced), ...elementChanges('add', added)]
  // between the two the set has neither, and what a rule denies by it would pass
  return replaced.length === 0 ? steps : steps.map((each, i) => (i === 0 ? each : { ...each, joined: true }))

  function elementChanges(verb: 'add' | 'delete', pairs: readonly Pair[]): Step[] {
    const is = verb === 'add' ? 'there' : 'gone'
    return pieces(pairs, isMap ? 1 : ELEMENTS_AT_ONCE).map(some => {
      const part: Part = { kind: 'nftElement', name: isMap ? `${set.name} ${some[0]![0]}` : set.name }
      return step(part, { verb, object: elementsIn(set, some) }, () => state.saw(set.name, some, is), some.length)
    })
  }
}

/** What is there and nobody wants, in the order in which it can go: elements, chains, sets. */
export function removals(state: NftState): Step[] {
  const { family, name: table } = state.table
  const steps: Step[] = []
  for (const name of state.dirty) {
    const set = state.sets.seen().get(name)
    // with its set every element goes, but chains that a map leads to go before the map
    if (set === undefined || (set.data !== 'verdict' && !state.sets.wanted().has(name))) continue
    const gone: Pair[] = []
    for (const { key, value, seen } of state.elements.get(name)!.pending())
      if (value === undefined && seen !== undefined) gone.push([key, seen])
    for (const some of pieces(gone, ELEMENTS_AT_ONCE)) {
      const change: NftChange = { verb: 'delete', object: elementsIn(set, some) }
      steps.push(step({ kind: 'nftElement', name }, change, () => state.saw(name, some, 'gone'), some.length))
    }
  }
  const chains = [...state.chains.pending()].filter(({ value }) => value === undefined).map(({ key }) => key)
  for (const name of chains) {
    const object = { kind: 'chain', family, table, name } as const
    steps.push(step({ kind: 'nftChain', name }, { verb: 'flush', object }))
  }
  for (const name of chains) {
    const change: NftChange = { verb: 'delete', object: { kind: 'chain', family, table, name } }
    steps.push(step({ kind: 'nftChain', name }, change, () => state.chains.saw(name)))
  }
  for (const { key: name, value } of state.sets.pending()) {
    if (value !== undefined) continue
    const change: NftChange = { verb: 'delete', object: { kind: 'set', family, table, name } }
    const took = () => {
      state.sets.saw(name)
      state.saw(name, [...(state.elements.get(name)?.seen() ?? [])], 'gone')
    }
    steps.push(step({ kind: 'nftSet', name }, change, took))
  }
  return steps
}

/** A plan without the parts of `refused`, and without what needs one that is not there and would be refused with it. */
export function without(plan: Plan, refused: Iterable<string>, state: NftState): Plan {
  const out = new Set(refused)
  if (out.size === 0) return plan
  const isThere = ({ kind, name }: Part) => (kind === 'nftChain' ? state.chains : state.sets).seen().has(name)
  const lacks = (part: Part) => out.has(partKey(part)) && !isThere(part)
  for (let before = -1; before !== out.size; ) {
    before = out.size
    for (const { part, change } of stepsOf(plan)) if (neededBy(change).some(lacks)) out.add(partKey(part))
  }
  const left = (steps: readonly Step[]) => steps.filter(({ part }) => !out.has(partKey(part)))
  return { ...plan, first: left(plan.first), elements: left(plan.elements), rules: left(plan.rules) }
}

/** The sets and chains that a change refers to. */
function neededBy({ verb, object }: NftChange): Part[] {
  if (verb !== 'add') return []
  const chain = (name: string): Part => ({ kind: 'nftChain', name })
  const set = (name: string): Part => ({ kind: 'nftSet', name })
  if (object.kind === 'elements') {
    const targets = object.elements.flatMap(({ data }) => (data !== undefined && 'chain' in data ? [data.chain] : []))
    return [set(object.set), ...targets.map(chain)]
  }
  if (object.kind !== 'rule') return []
  return object.expressions.flatMap(each => {
    if (each.type === 'lookup') return [set(each.set)]
    return each.type === 'immediate' && 'chain' in each.data ? [chain(each.data.chain)] : []
  })
}

function step(part: Part, change: NftChange, took: () => void = () => {}, weight = 0): Step {
  return { part, change, took, weight }
}

/** What is wanted and is not there, or is another one there; all that is wanted when nothing counts as there. */
function missing<V>(delta: Delta<V>, fresh: boolean): [string, V][] {
  if (fresh) return [...delta.wanted()]
  return [...delta.pending()].flatMap(({ key, value }): [string, V][] => (value === undefined ? [] : [[key, value]]))
}

function pieces<T>(all: readonly T[], most: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / most) }, (_, i) => all.slice(i * most, (i + 1) * most))
}

/** What steps are about, by the key of the part; of elements how many come and go. */
export function writtenBy(steps: readonly Step[]): Map<string, { part: Part } & Pick<Written, 'members'>> {
  const all = new Map<string, { part: Part } & Pick<Written, 'members'>>()
  for (const { part, change } of steps) {
    const { came, went } = all.get(partKey(part))?.members ?? { came: 0, went: 0 }
    const count = change.object.kind === 'elements' ? change.object.elements.length : 0
    const members = change.verb === 'delete' ? { came, went: went + count } : { came: came + count, went }
    all.set(partKey(part), { part, ...(members.came + members.went > 0 && { members }) })
  }
  return all
}
