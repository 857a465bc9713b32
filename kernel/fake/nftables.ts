// nftables of one network namespace of the fake: a map of what was written, and the refusals that depend on what is
// there. It has no packets: no rule is ever run. What it does not refuse: loops of chains, words that are none of their
// type, ranges that overlap, hooks and expressions that a real kernel lacks.
import { ERRNO, KernelError } from '../port/error.ts'
import type {
  ForwardChain,
  NftablesInOneSocket,
  NftChain,
  NftChange,
  NftElement,
  NftElements,
  NftExpression,
  NftFlowtable,
  NftName,
  NftObject,
  NftReading,
  NftRefusal,
  NftRule,
  NftRuleCounter,
  NftRuleset,
  NftSet,
  NftTable,
  NftTableName,
} from '../port/nftables.ts'
import { nextGeneration, typesOf } from '../port/nftables.ts'
import { isWhole, singleElements } from './nft-parts.ts'

const IP_FAMILIES: readonly NftTable['family'][] = ['inet', 'ip', 'ip6']

type HeldTable = {
  table: NftTable
  chains: Map<string, { chain: NftChain; rules: NftRule[] }>
  sets: Map<string, { set: NftSet; elements: Map<string, NftElement> }>
  /** By kind and name. */
  objects: Map<string, NftObject>
  flowtables: Map<string, NftFlowtable>
}
/** `anonymous` numbers sets without a name of their own. */
type State = { tables: Map<string, HeldTable>; handle: number; anonymous: number }
/** The names of the anonymous sets of a transaction, by table and id. */
type Ids = Map<string, string>

class Refused extends Error {
  readonly errno: number
  constructor(errno: number) {
    super(`errno ${errno}`)
    this.errno = errno
  }
}

const keyOf = (words: readonly string[]) => words.join(' . ')
const tableKey = ({ family, name }: NftTableName) => `${family} ${name}`

export class FakeNftables implements NftablesInOneSocket {
  #state: State = { tables: new Map(), handle: 0, anonymous: 0 }
  #generation = 1

  async nftables(of: NftTableName, options?: NftReading): Promise<NftRuleset | undefined> {
    const held = this.#state.tables.get(tableKey(of))
    if (held === undefined) return undefined
    const only = options !== undefined && 'only' in options ? options.only : undefined
    const chains = [...held.chains.values()].filter(({ chain }) => only?.chains.includes(chain.name) ?? true)
    const rules = chains.flatMap(each => each.rules)
    const looksUp = (set: string) => rules.some(({ expressions }) => expressions.some(usesSet(set)))
    const isAsked = ({ set }: { set: NftSet }) =>
      only === undefined || isWhole(set, only) || (isAnonymous(set) && looksUp(set.name))
    const sets = [...held.sets.values()].filter(isAsked)
    const full = sets.filter(({ elements }) => elements.size > 0).map(elementsOf)
    const single = only && singleElements(only, held.sets)
    return structuredClone({
      generation: this.#generation,
      table: held.table,
      chains: chains.map(({ chain }) => chain),
      sets: sets.map(({ set }) => set),
      elements: options === undefined ? full : single === undefined ? [] : [...single.there, ...full],
      ...(single && { missing: single.missing }),
      objects: only === undefined ? [...held.objects.values()] : [],
      flowtables: only === undefined ? [...held.flowtables.values()] : [],
      rules,
    })
  }

  async nftGeneration(): Promise<number> {
    return this.#generation
  }

  async ruleCounters({ chain, ...of }: NftTableName & { chain?: string }): Promise<NftRuleCounter[]> {
    const { rules = [] } = (await this.nftables(of, { without: 'elements' })) ?? {}
    return rules
      .filter(rule => chain === undefined || rule.chain === chain)
      .flatMap(({ chain: name, handle = 0, comment, expressions }) => {
        const counters = expressions.filter(step => step.type === 'counter')
        if (counters.length === 0) return []
        const packets = counters.reduce((sum, each) => sum + (each.packets ?? 0n), 0n)
        const bytes = counters.reduce((sum, each) => sum + (each.bytes ?? 0n), 0n)
        return [{ chain: name, handle, ...(comment !== undefined && { comment }), packets, bytes }]
      })
  }

  async baseChains(): Promise<NftChain[]> {
    const all = [...this.#state.tables.values()].flatMap(({ chains }) => [...chains.values()].map(({ chain }) => chain))
    return structuredClone(all.filter(({ base, family }) => base !== undefined && IP_FAMILIES.includes(family)))
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
    const next = structuredClone(this.#state)
    const refusals: NftRefusal[] = []
    const ids: Ids = new Map()
    for (const [index, change] of structuredClone(changes).entries())
      try {
        apply(next, change, ids)
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        const object = `${change.verb} ${change.object.kind}`
        refusals.push({ index, error: new KernelError(error.errno, 'nft', object) })
      }
    if (refusals.length > 0 || changes.length === 0) return refusals
    if (hasUnused(next)) return [{ error: new KernelError(ERRNO.EINVAL, 'nft', 'transaction') }]
    this.#state = next
    this.#generation = nextGeneration(this.#generation)
    return []
  }
}

function elementsOf({ set, elements }: { set: NftSet; elements: Map<string, NftElement> }): NftElements {
  const { family, table, name } = set
  return { kind: 'elements', family, table, set: name, ...typesOf(set), elements: [...elements.values()] }
}

function apply(state: State, change: NftChange, ids: Ids): void {
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
      applySet(state, held, change.verb, named(state, object, ids))
      break
    case 'elements':
      applyElements(held, change.verb, { ...object, set: setName(held, object, ids) })
      break
    case 'rule':
      applyRule(state, held, change.verb, withSets(held, object as NftRule, ids))
      break
    case 'object':
      applyObject(state, held, change.verb, object)
      break
    case 'flowtable':
      applyFlowtable(state, held, change.verb, object)
      break
    case 'devices': {
      const found = held.flowtables.get(object.flowtable)
      if (found === undefined || object.devices.some(device => !found.devices.includes(device)))
        throw new Refused(ERRNO.ENOENT)
      found.devices = found.devices.filter(device => !object.devices.includes(device))
    }
  }
}

const idKey = ({ family, table }: { family: string; table: string }, id: number) => `${family} ${table} ${id}`

/** The set with its final name: where it asks for a number (`__set%d`), the next one is put in. */
function named(state: State, { id, ...object }: Named<'set'> & { id?: number }, ids: Ids): Named<'set'> {
  if (!object.name.includes('%d')) return object
  const name = object.name.replace('%d', `${state.anonymous++}`)
  if (id !== undefined) ids.set(idKey(object, id), name)
  return { ...object, name }
}

/** The set that is meant: the one with this name, or else the one with this id in the transaction. */
function setName(
  held: HeldTable,
  { set, setId, ...of }: { family: string; table: string; set: string; setId?: number },
  ids: Ids,
): string {
  return held.sets.has(set) || setId === undefined ? set : (ids.get(idKey(of, setId)) ?? set)
}

/** The rule, or the name of one, with the names of the sets that it looks up; an anonymous one is for one rule only. */
function withSets(held: HeldTable, rule: NftRule, ids: Ids): NftRule {
  const expressions = rule.expressions?.map(step => {
    if (step.type !== 'lookup' && step.type !== 'dynset') return step
    const { setId, ...rest } = step
    const set = setName(held, { family: rule.family, table: rule.table, set: step.set, setId }, ids)
    if (isAnonymous(held.sets.get(set)?.set) && isUsed(held, usesSet(set))) throw new Refused(ERRNO.EBUSY)
    return { ...rest, set }
  })
  return { ...rule, expressions }
}

function isAnonymous(set: NftSet | undefined): boolean {
  return set?.flags?.includes('anonymous') === true
}

/** Whether there is an anonymous set that no rule looks up, which the kernel takes for a mistake. */
function hasUnused({ tables }: State): boolean {
  return [...tables.values()].some(held =>
    [...held.sets.values()].some(({ set }) => isAnonymous(set) && !isUsed(held, usesSet(set.name))),
  )
}

/** Takes away the anonymous sets of rules that are gone. */
function dropSetsOf(held: HeldTable, rules: readonly NftRule[]): void {
  for (const step of rules.flatMap(({ expressions }) => expressions))
    if (step.type === 'lookup' && isAnonymous(held.sets.get(step.set)?.set)) held.sets.delete(step.set)
}

const usesSet = (name: string) => (expression: NftExpression) =>
  (expression.type === 'lookup' || expression.type === 'dynset') && expression.set === name

type NftVerb = NftChange['verb']
type Named<K extends NftName['kind']> = Extract<NftName, { kind: K }>

function applyTable(state: State, verb: NftVerb, object: Named<'table'>): void {
  const key = tableKey(object)
  const there = state.tables.has(key)
  if (verb === 'create' && there) throw new Refused(ERRNO.EEXIST)
  if (verb === 'delete' && !there) throw new Refused(ERRNO.ENOENT)
  if (verb === 'delete') state.tables.delete(key)
  else if (!there)
    state.tables.set(key, {
      table: { ...object, handle: ++state.handle },
      chains: new Map(),
      sets: new Map(),
      objects: new Map(),
      flowtables: new Map(),
    })
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
  if (verb !== 'flush' && isUsed(held, expression => verdictOf(expression) === object.name, object.name))
    throw new Refused(ERRNO.EBUSY)
  dropSetsOf(held, found.rules)
  if (verb === 'flush') found.rules = []
  else held.chains.delete(object.name)
}

function applySet(state: State, held: HeldTable, verb: NftVerb, object: Named<'set'>): void {
  const found = held.sets.get(object.name)
  if (verb === 'create' && found !== undefined) throw new Refused(ERRNO.EEXIST)
  if (verb === 'add' || verb === 'create') {
    if (found === undefined)
      held.sets.set(object.name, { set: { ...(object as NftSet), handle: ++state.handle }, elements: new Map() })
    return
  }
  if (found === undefined) throw new Refused(ERRNO.ENOENT)
  if (verb === 'flush') found.elements.clear()
  else if (isUsed(held, usesSet(object.name))) throw new Refused(ERRNO.EBUSY)
  else held.sets.delete(object.name)
}

function applyElements(held: HeldTable, verb: NftVerb, { set, elements }: NftElements): void {
  const found = held.sets.get(set)
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
    dropSetsOf(held, found.rules.splice(indexOf(object.handle!), 1))
    return
  }
  for (const expression of object.expressions) {
    const target = verdictOf(expression)
    if (target !== undefined && !held.chains.has(target)) throw new Refused(ERRNO.ENOENT)
    if (!refersToExisting(held, expression)) throw new Refused(ERRNO.ENOENT)
  }
  const { position, ...rule } = object
  const written = { ...rule, handle: ++state.handle }
  if (verb === 'replace') dropSetsOf(held, found.rules.splice(indexOf(object.handle!), 1, written))
  else if (position !== undefined) found.rules.splice(indexOf(position) + (verb === 'add' ? 1 : 0), 0, written)
  else if (verb === 'add') found.rules.push(written)
  else found.rules.unshift(written)
}

function refersToExisting({ sets, objects, flowtables }: HeldTable, expression: NftExpression): boolean {
  switch (expression.type) {
    case 'lookup':
    case 'dynset':
      return sets.has(expression.set)
    case 'objref':
      return objects.has(objectKey(expression.of, expression.name))
    case 'flow_offload':
      return flowtables.has(expression.flowtable)
    default:
      return true
  }
}

const objectKey = (kind: string, name: string) => `${kind} ${name}`

function applyObject(state: State, held: HeldTable, verb: NftVerb, object: Named<'object'>): void {
  const key = objectKey(object.state.type, object.name)
  const there = held.objects.has(key)
  if (verb === 'create' && there) throw new Refused(ERRNO.EEXIST)
  if (verb !== 'delete') {
    if (!there) held.objects.set(key, { ...(object as NftObject), handle: ++state.handle })
    return
  }
  if (!there) throw new Refused(ERRNO.ENOENT)
  const refersToIt = (step: NftExpression) => step.type === 'objref' && objectKey(step.of, step.name) === key
  if (isUsed(held, refersToIt)) throw new Refused(ERRNO.EBUSY)
  held.objects.delete(key)
}

function applyFlowtable(state: State, held: HeldTable, verb: NftVerb, object: Named<'flowtable'>): void {
  const found = held.flowtables.get(object.name)
  if (verb === 'create' && found !== undefined) throw new Refused(ERRNO.EEXIST)
  if (verb !== 'delete') {
    const wanted = object as NftFlowtable
    if (found === undefined) held.flowtables.set(object.name, { ...wanted, handle: ++state.handle })
    else found.devices = [...new Set([...found.devices, ...wanted.devices])]
    return
  }
  if (found === undefined) throw new Refused(ERRNO.ENOENT)
  if (isUsed(held, step => step.type === 'flow_offload' && step.flowtable === object.name))
    throw new Refused(ERRNO.EBUSY)
  held.flowtables.delete(object.name)
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
