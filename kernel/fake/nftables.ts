// nftables of one network namespace of the fake: a map of what was written, and the refusals that depend on what is
// there. It has no packets: no rule is ever run. What it does not refuse: loops of chains, words that are none of their
// type, ranges that overlap, hooks and expressions that a real kernel lacks.
import { ERRNO, KernelError } from '../port/error.ts'
import type {
  ForwardChain,
  NftablesPort,
  NftChain,
  NftChange,
  NftElement,
  NftElements,
  NftExpression,
  NftName,
  NftRefusal,
  NftRule,
  NftRuleset,
  NftSet,
  NftTable,
} from '../port/nftables.ts'
import { typesOf } from '../port/nftables.ts'

type HeldTable = {
  table: NftTable
  chains: Map<string, { chain: NftChain; rules: NftRule[] }>
  sets: Map<string, { set: NftSet; elements: Map<string, NftElement> }>
}
/** `anonymous`: the names of this transaction's sets that have none of their own, by their ids. */
type State = { tables: Map<string, HeldTable>; handle: number; anonymous: Map<number, string> }

class Refused extends Error {
  readonly errno: number
  constructor(errno: number) {
    super(`errno ${errno}`)
    this.errno = errno
  }
}

const keyOf = (words: readonly string[]) => words.join(' . ')
const tableKey = ({ family, name }: Pick<NftTable, 'family' | 'name'>) => `${family} ${name}`

export class FakeNftables implements Omit<NftablesPort, 'monitorNftables' | 'legacyForwardChains'> {
  #state: State = { tables: new Map(), handle: 0, anonymous: new Map() }
  #generation = 1

  async nftables(
    of: Pick<NftTable, 'family' | 'name'>,
    options?: { without: 'elements' },
  ): Promise<NftRuleset | undefined> {
    const held = this.#state.tables.get(tableKey(of))
    if (held === undefined) return undefined
    const sets = [...held.sets.values()]
    return structuredClone({
      generation: this.#generation,
      table: held.table,
      chains: [...held.chains.values()].map(({ chain }) => chain),
      sets: sets.map(({ set }) => set),
      elements: options === undefined ? sets.filter(({ elements }) => elements.size > 0).map(elementsOf) : [],
      rules: [...held.chains.values()].flatMap(({ rules }) => rules),
    })
  }

  async forwardChains(): Promise<ForwardChain[]> {
    const found = [...this.#state.tables.values()].flatMap(({ chains }) => {
      const rules = [...chains.values()].flatMap(each => each.rules)
      const base = [...chains.values()].map(({ chain }) => chain).filter(({ base }) => base?.hook === 'forward')
      return base.map(chain => ({ chain, rules }))
    })
    return structuredClone(found)
  }

  async changeNftables(
    changes: readonly NftChange[],
    { generation }: { generation?: number } = {},
  ): Promise<NftRefusal[]> {
    if (generation !== undefined && generation !== this.#generation)
      return [{ error: new KernelError(ERRNO.ERESTART, 'nft', 'transaction') }]
    const next = { ...structuredClone(this.#state), anonymous: new Map() }
    const refusals: NftRefusal[] = []
    for (const [index, change] of structuredClone(changes).entries())
      try {
        apply(next, change)
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        const object = `${change.verb} ${change.object.kind}`
        refusals.push({ index, error: new KernelError(error.errno, 'nft', object) })
      }
    if (refusals.length > 0 || changes.length === 0) return refusals
    this.#state = next
    this.#generation++
    return []
  }
}

function elementsOf({ set, elements }: { set: NftSet; elements: Map<string, NftElement> }): NftElements {
  const { family, table, name } = set
  return { kind: 'elements', family, table, set: name, ...typesOf(set), elements: [...elements.values()] }
}

function apply(state: State, change: NftChange): void {
  const { object } = change
  if (object.kind === 'table') {
    applyTable(state, change.verb, object)
    return
  }
  const held = state.tables.get(`${object.family} ${object.table}`)
  if (held === undefined) throw new Refused(ERRNO.ENOENT)
  switch (object.kind) {
    case 'chain':
      applyChain(state, held, change.verb, object)
      break
    case 'set':
      applySet(state, held, change.verb, object)
      break
    case 'elements':
      applyElements(state, held, change.verb, object)
      break
    case 'rule':
      applyRule(state, held, change.verb, object as NftRule)
      break
  }
}

type NftVerb = NftChange['verb']
type Named<K extends NftName['kind']> = Extract<NftName, { kind: K }>

function applyTable(state: State, verb: NftVerb, object: Named<'table'>): void {
  const key = tableKey(object)
  const there = state.tables.has(key)
  if (verb === 'create' && there) throw new Refused(ERRNO.EEXIST)
  if (verb === 'delete' && !there) throw new Refused(ERRNO.ENOENT)
  if (verb === 'delete') state.tables.delete(key)
  else if (!there)
    state.tables.set(key, { table: { ...object, handle: ++state.handle }, chains: new Map(), sets: new Map() })
}

function applyChain(state: State, held: HeldTable, verb: NftVerb, object: Named<'chain'>): void {
  const found = held.chains.get(object.name)
  if (verb === 'create' && found !== undefined) throw new Refused(ERRNO.EEXIST)
  if (verb === 'add' || verb === 'create') {
    const chain: NftChain = { ...(object as NftChain) }
    if (chain.base !== undefined) chain.base = { policy: found?.chain.base?.policy ?? 'accept', ...chain.base }
    if (found === undefined) held.chains.set(object.name, { chain: { ...chain, handle: ++state.handle }, rules: [] })
    else if (found.chain.base !== undefined && chain.base !== undefined) found.chain.base = chain.base
    return
  }
  if (found === undefined) throw new Refused(ERRNO.ENOENT)
  if (verb === 'flush') {
    dropAnonymous(held, found.rules)
    found.rules = []
  } else if (isUsed(held, expression => verdictOf(expression) === object.name, object.name))
    throw new Refused(ERRNO.EBUSY)
  else held.chains.delete(object.name)
}

function applySet(state: State, held: HeldTable, verb: NftVerb, object: Named<'set'>): void {
  const found = held.sets.get(object.name)
  if (verb === 'create' && found !== undefined) throw new Refused(ERRNO.EEXIST)
  if (verb === 'add' || verb === 'create') {
    const { id, ...set } = object as NftSet
    const handle = ++state.handle
    const name = set.flags?.includes('anonymous') ? set.name.replace('%d', String(handle)) : set.name
    if (id !== undefined) state.anonymous.set(id, name)
    if (found === undefined) held.sets.set(name, { set: { ...set, name, handle }, elements: new Map() })
    return
  }
  if (found === undefined) throw new Refused(ERRNO.ENOENT)
  if (verb === 'flush') found.elements.clear()
  else if (isUsed(held, expression => expression.type === 'lookup' && expression.set === object.name))
    throw new Refused(ERRNO.EBUSY)
  else held.sets.delete(object.name)
}

function applyElements(state: State, held: HeldTable, verb: NftVerb, of: NftElements): void {
  const { set, setId, elements } = of
  const found = held.sets.get(nameOfSet(state, set, setId))
  if (found === undefined) throw new Refused(ERRNO.ENOENT)
  for (const element of elements) {
    const key = keyOf(element.key)
    const there = found.elements.get(key)
    if (verb === 'delete') {
      if (!found.elements.delete(key)) throw new Refused(ERRNO.ENOENT)
      continue
    }
    const { data } = element
    if (data !== undefined && 'chain' in data && !held.chains.has(data.chain)) throw new Refused(ERRNO.ENOENT)
    const same = there !== undefined && JSON.stringify(there.data) === JSON.stringify(data)
    if (there !== undefined && (verb === 'create' || !same)) throw new Refused(ERRNO.EEXIST)
    if (there === undefined) found.elements.set(key, element)
  }
}

function applyRule(state: State, held: HeldTable, verb: NftVerb, object: NftRule): void {
  const found = held.chains.get(object.chain)
  if (found === undefined) throw new Refused(ERRNO.ENOENT)
  const indexOf = (handle: number) => {
    const index = found.rules.findIndex(rule => rule.handle === handle)
    if (index < 0) throw new Refused(ERRNO.ENOENT)
    return index
  }
  if (verb === 'delete') {
    dropAnonymous(held, found.rules.splice(indexOf(object.handle!), 1))
    return
  }
  for (const expression of object.expressions) {
    const target = verdictOf(expression)
    if (target !== undefined && !held.chains.has(target)) throw new Refused(ERRNO.ENOENT)
    if (expression.type === 'lookup' && !held.sets.has(nameOfSet(state, expression.set, expression.setId)))
      throw new Refused(ERRNO.ENOENT)
  }
  const { position, ...rule } = object
  const expressions = rule.expressions.map(each => {
    if (each.type !== 'lookup') return each
    const { setId, ...lookup } = each
    return { ...lookup, set: nameOfSet(state, each.set, setId) }
  })
  const written = { ...rule, expressions, handle: ++state.handle }
  if (verb === 'replace') dropAnonymous(held, found.rules.splice(indexOf(object.handle!), 1, written))
  else if (position !== undefined) found.rules.splice(indexOf(position) + (verb === 'add' ? 1 : 0), 0, written)
  else if (verb === 'add') found.rules.push(written)
  else found.rules.unshift(written)
}

function nameOfSet({ anonymous }: State, name: string, id: number | undefined): string {
  return id === undefined ? name : (anonymous.get(id) ?? name)
}

/** A set without a name of its own goes with its rule. */
function dropAnonymous(held: HeldTable, rules: readonly NftRule[]): void {
  for (const each of rules.flatMap(({ expressions }) => expressions))
    if (each.type === 'lookup' && held.sets.get(each.set)?.set.flags?.includes('anonymous')) held.sets.delete(each.set)
}

function verdictOf(expression: NftExpression): string | undefined {
  return expression.type === 'immediate' && 'chain' in expression.data ? expression.data.chain : undefined
}

/** Whether a rule has such an expression, or an element of a map leads to the chain. */
function isUsed(held: HeldTable, by: (expression: NftExpression) => boolean, chain?: string): boolean {
  const inRules = [...held.chains.values()].some(({ rules, chain: { name } }) =>
    // a chain goes together with its own rules
    name === chain ? false : rules.some(rule => rule.expressions.some(by)),
  )
  const inMaps = [...held.sets.values()].some(({ elements }) =>
    [...elements.values()].some(({ data }) => data !== undefined && 'chain' in data && data.chain === chain),
  )
  return inRules || (chain !== undefined && inMaps)
}
