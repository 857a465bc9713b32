// What the sets of the kernel hold: the members of every source that some rule names, kept while items come, change and go.
// A set is there while a rule names its source; where it would be empty for reasons that seldom change, it is not there, and
// counts as empty: sets of CIDRs without a CIDR, and sets of a family of which no endpoint has an address. Rules depend on
// that, so a source whose sets came or went is told. Work is proportional to the members that change.
// Hazard: the kernel finds a set by walking all of its table, for each write that names one. So only some hundred sources have
// sets of their own; of the others all members of one kind and family stand in one set. Which these are follows from the digits
// of a source and how many there are, so that one more or less moves about one other, and no restart moves any.
// Over 400 lines: one class, whose kinds of members share how they come and go.
import { isDeepStrictEqual } from 'node:util'
import type { Labels } from '../../api/selector.ts'
import type { NftSet } from '../../kernel/port/nftables.ts'
import { type Family, familyOf, parseAddress } from '../../lib/ip.ts'
import { type Prefix, parsePrefix } from '../../lib/prefix-index.ts'
import { CidrUnion } from './cidr-union.ts'
import { ExpiredAnswers } from './expired-answers.ts'
import { type ElementChanges, HeldSet } from './held-set.ts'
import type {
  DomainAnswer,
  NamedPort,
  NetworkSet,
  PolicyEndpoint,
  PolicyInputs,
  SelectorText,
  ServiceEndpoints,
} from './model.ts'
import { addTo, removeFrom } from './multi-map.ts'
import { SelectorIndex } from './selector-index.ts'
import { SharedSets } from './shared-sets.ts'
import {
  canonical,
  contentsOf,
  digitsOf,
  type MemberSource,
  pairsOf,
  protocolWord,
  type SetPlace,
  setName,
  setOf,
  sharedSet,
  sourceKey,
  type TableName,
} from './sources.ts'

/**
 * Sets and elements by the name of the set. A set that goes is undefined, and its elements are not told. `sources`: the keys of those
 * that have members in another set than before, or in none.
 */
export type SetChanges = {
  sets: Map<string, NftSet | undefined>
  elements: Map<string, ElementChanges>
  sources: Set<string>
  /** By the key of the source: whether some member came, or went. */
  changed: Map<string, { added: boolean; removed: boolean }>
}

/** The sets that are there, by family. */
export type SetPlaces = Readonly<Record<Family, readonly SetPlace[]>>

type Node = PolicyInputs['node']

type Item = {
  addresses: readonly string[]
  ports: readonly NamedPort[]
  nets: readonly Prefix[]
  /** Of an answer: each address of the pod with each that it was told, of one family. */
  pairs: readonly string[]
  isLocal: boolean
}

type Source = {
  readonly key: string
  readonly source: MemberSource
  readonly digits: string
  readonly sets: Readonly<Record<Family, readonly HeldSet[]>>
  /** Of a selector that chose a network set. */
  union: CidrUnion | undefined
  isShared: boolean
  uses: number
}

type Choice = { bySelector: Map<SelectorText, Set<Source>>; index: SelectorIndex<Item> }

type Kind = 'endpoints' | 'networkSets' | 'nodes' | 'answers'

const FAMILIES = ['ipv4', 'ipv6'] as const
const NONE: readonly never[] = []
const NOTHING: Item = { addresses: NONE, ports: NONE, nets: NONE, pairs: NONE, isLocal: false }
/** How many sources have sets of their own, about, where there are more. */
const OWN_SETS = 256
const EVERY = 2 ** 32
/** The label that an answer has its name by. */
const NAME = 'name'

export class Members {
  readonly #table: TableName
  readonly #items: Readonly<Record<Kind, Map<string, Item>>> = {
    endpoints: new Map(),
    networkSets: new Map(),
    nodes: new Map(),
    answers: new Map(),
  }
  /** The keys of the endpoints of this node. */
  readonly #local = new Set<string>()
  readonly #expired = new ExpiredAnswers()
  readonly #services = new Map<string, ServiceEndpoints>()
  readonly #sources = new Map<string, Source>()
  /** What chooses among endpoints and network sets, among nodes, and among answers by their names. */
  readonly #members = this.#choice()
  readonly #nodes = this.#choice()
  readonly #names = this.#choice()
  readonly #byService = new Map<string, Set<Source>>()
  /** How many addresses of endpoints there are. */
  readonly #addresses: Record<Family, number> = { ipv4: 0, ipv6: 0 }
  #families: Record<Family, boolean> = { ipv4: false, ipv6: false }
  /** Sources with a set that may have changed. */
  readonly #touched = new Set<Source>()
  readonly #shared: SharedSets
  readonly #ownSets: number
  /** How many sources some rule names. */
  #wanted = 0
  /** Of sources whose digits begin with less than this the sets are their own. */
  #ownBelow = EVERY

  /** `ownSets`: about how many sources have sets of their own at most. */
  constructor(table: TableName, ownSets = OWN_SETS) {
    this.#table = table
    this.#shared = new SharedSets(table)
    this.#ownSets = ownSets
  }

  setEndpoint(key: string, endpoint: PolicyEndpoint | undefined): void {
    const before = this.#items.endpoints.get(key)?.addresses ?? NONE
    const { addresses = NONE, ports = NONE } = endpoint ?? {}
    const item = { ...NOTHING, addresses: canonical(addresses), ports, isLocal: this.#local.has(key) }
    this.#count(before, -1)
    this.#count(item.addresses, 1)
    this.#set('endpoints', key, item, endpoint?.labels)
  }

  /** The labels of an endpoint; undefined where there is none of this key. */
  labelsOf(key: string): Labels | undefined {
    const item = this.#items.endpoints.get(key)
    return item && this.#members.index.labelsOf(item)
  }

  /** The addresses of an endpoint. */
  addressesOf(key: string): readonly string[] {
    return this.#items.endpoints.get(key)?.addresses ?? NONE
  }

  /** Whether an endpoint that is there, or will be, is one of this node. */
  setLocal(key: string, isLocal: boolean): void {
    if (isLocal) this.#local.add(key)
    else this.#local.delete(key)
    const item = this.#items.endpoints.get(key)
    if (item === undefined || item.isLocal === isLocal) return
    this.#contribute('endpoints', item, 'remove')
    item.isLocal = isLocal
    this.#contribute('endpoints', item, 'add')
  }

  setNetworkSet(key: string, set: NetworkSet | undefined): void {
    const nets = (set?.nets ?? NONE).map(parsePrefix).filter(net => net !== undefined)
    this.#set('networkSets', key, { ...NOTHING, nets }, set?.labels)
  }

  setNode(name: string, node: Node | undefined): void {
    const item = { ...NOTHING, addresses: canonical(node?.addresses ?? NONE) }
    this.#set('nodes', name, item, node?.labels)
  }

  setAnswer(key: string, answer: DomainAnswer | undefined): void {
    this.#expired.set(key, answer)
    const { from, addresses } = answer ?? { from: NONE, addresses: NONE }
    this.#set('answers', key, { ...NOTHING, pairs: pairsOf(from, addresses) }, answer && { [NAME]: answer.name })
  }

  setService(key: string, service: ServiceEndpoints | undefined): void {
    const before = this.#services.get(key)
    for (const source of this.#byService.get(key) ?? []) {
      this.#fillService(source, before, 'remove')
      this.#fillService(source, service, 'add')
    }
    if (service === undefined) this.#services.delete(key)
    else this.#services.set(key, service)
  }

  /** A rule names a source from now on, once for each call. */
  want(source: MemberSource): void {
    const key = sourceKey(source)
    const known = this.#sources.get(key)
    if (known === undefined) this.#make(key, source)
    if (known === undefined || known.uses++ === 0) this.#wanted++
  }

  /** Takes back one `want`. */
  release(source: MemberSource): void {
    const known = this.#sources.get(sourceKey(source))
    if (known === undefined || --known.uses > 0) return
    this.#wanted--
    // it goes with the next `take`: another rule may want it before
    this.#touched.add(known)
  }

  /** What changed since the last call. */
  take(): SetChanges {
    const changes: SetChanges = { sets: new Map(), elements: new Map(), sources: new Set(), changed: new Map() }
    const families = { ipv4: this.#addresses.ipv4 > 0, ipv6: this.#addresses.ipv6 > 0 }
    if (FAMILIES.some(family => families[family] !== this.#families[family]))
      for (const source of this.#sources.values()) this.#touched.add(source)
    this.#families = families
    this.#divide()
    for (const source of this.#touched) {
      if (source.uses === 0) this.#drop(source)
      for (const held of heldBy(source)) this.#tell(source, held, changes)
    }
    this.#touched.clear()
    this.#shared.take(changes)
    return changes
  }

  /**
   * Whether a source has an element: an address, also by a CIDR, or words as the kernel's sets have them. `when`: of a connection that
   * is established what a pod was told of a name counts that has expired since.
   */
  has(of: MemberSource, element: string, family: Family, when: 'now' | 'or before'): boolean {
    const source = this.#sources.get(sourceKey(of))
    if (source?.sets[family].some(held => held.has(element)) === true) return true
    if (of.of === 'domain') return when === 'or before' && this.#expired.has(of.pattern, element)
    const address = source?.union === undefined ? undefined : parsePrefix(element)
    return address !== undefined && source?.union?.covers(address) === true
  }

  /** The sets of a source that the last `take` left there. */
  setsOf(key: string): SetPlaces {
    const source = this.#sources.get(key)
    const places = (family: Family) => source?.sets[family].flatMap(held => this.#placeOf(source, held)) ?? NONE
    return { ipv4: places('ipv4'), ipv6: places('ipv6') }
  }

  #placeOf(source: Source, { content, family, toldIn }: HeldSet): SetPlace[] {
    if (toldIn === undefined) return []
    const { digits } = source
    if (toldIn === 'own' || content === 'nets') return [{ set: setName(source.source, digits, content, family) }]
    return [{ set: sharedSet(this.#table, content, family).name, digits }]
  }

  /** Says which sources share sets from now on. */
  #divide(): void {
    const ownBelow = this.#wanted <= this.#ownSets ? EVERY : Math.floor((EVERY * this.#ownSets) / this.#wanted)
    if (ownBelow === this.#ownBelow) return
    this.#ownBelow = ownBelow
    for (const source of this.#sources.values()) {
      const isShared = this.#shares(source.digits)
      if (isShared === source.isShared) continue
      source.isShared = isShared
      this.#touched.add(source)
    }
  }

  #shares(digits: string): boolean {
    return Number.parseInt(digits.slice(0, 8), 16) >= this.#ownBelow
  }

  /** Tells what changed of one set, or where its members stand now. */
  #tell(source: Source, held: HeldSet, { sets, elements, sources, changed }: SetChanges): void {
    const { digits } = source
    const { content, family, toldIn: before } = held
    const isConstant = source.source.of === 'list' || source.source.of === 'cidrs'
    const isAsked = content === 'nets' ? held.size > 0 : isConstant || this.#families[family]
    const isThere = source.uses > 0 && isAsked
    const now = !isThere ? undefined : source.isShared && content !== 'nets' ? 'shared' : 'own'
    const changes = held.take()
    const added = now !== undefined && (before === undefined || changes.added.length > 0)
    const removed = before !== undefined && (now === undefined || changes.removed.length > 0)
    if (added || removed) {
      const of = changed.get(source.key)
      changed.set(source.key, { added: added || of?.added === true, removed: removed || of?.removed === true })
    }
    const name = setName(source.source, digits, content, family)
    if (now === before) {
      if (now === undefined || changes.added.length + changes.removed.length === 0) return
      if (now === 'own') elements.set(name, changes)
      else this.#shared.change(held, digits, changes)
      return
    }
    if (before === 'own') sets.set(name, undefined)
    if (before === 'shared') this.#shared.leave(held, digits, held.told(changes))
    held.toldIn = now
    sources.add(source.key)
    if (now === 'shared') this.#shared.enter(held, digits)
    if (now !== 'own') return
    sets.set(name, setOf(this.#table, name, source.key, content, family))
    if (held.size > 0) elements.set(name, { added: [...held.elements()], removed: [] })
  }

  #choice(): Choice {
    const bySelector = new Map<SelectorText, Set<Source>>()
    const each = (selector: SelectorText, item: Item, change: 'add' | 'remove') => {
      for (const source of bySelector.get(selector) ?? NONE) this.#fill(source, item, change)
    }
    const index = new SelectorIndex<Item>({
      entered: (selector, item) => each(selector, item, 'add'),
      left: (selector, item) => each(selector, item, 'remove'),
    })
    return { bySelector, index }
  }

  #set(kind: Kind, key: string, now: Item, labels: Labels | undefined): void {
    const items = this.#items[kind]
    const item = items.get(key) ?? now
    if (item !== now && labels !== undefined && !isDeepStrictEqual(item, now)) {
      this.#contribute(kind, item, 'remove')
      Object.assign(item, now)
      this.#contribute(kind, item, 'add')
    }
    this.#choiceOf(kind).index.set(item, labels)
    if (labels === undefined) items.delete(key)
    else items.set(key, item)
  }

  #choiceOf(kind: Kind): Choice {
    return kind === 'nodes' ? this.#nodes : kind === 'answers' ? this.#names : this.#members
  }

  /** All that an item is to the sets, as it is now. */
  #contribute(kind: Kind, item: Item, change: 'add' | 'remove'): void {
    const { bySelector, index } = this.#choiceOf(kind)
    for (const selector of index.selectorsOf(item))
      for (const source of bySelector.get(selector) ?? NONE) this.#fill(source, item, change)
  }

  #count(addresses: readonly string[], by: 1 | -1): void {
    for (const address of addresses) this.#addresses[familyOf(address)] += by
  }

  #make(key: string, source: MemberSource): void {
    const setsOf = (family: Family) => contentsOf(source, family).map(content => new HeldSet(content, family))
    const sets = { ipv4: setsOf('ipv4'), ipv6: setsOf('ipv6') }
    const digits = digitsOf(key)
    const made: Source = { key, source, digits, sets, union: undefined, isShared: this.#shares(digits), uses: 1 }
    this.#sources.set(key, made)
    this.#touched.add(made)
    if (source.of === 'list') {
      for (const port of source.ports) sets.ipv4[0]!.add(`${port}`)
      return
    }
    if (source.of === 'cidrs') {
      for (const address of source.addresses) sets[source.family][0]!.add(address)
      return
    }
    if (source.of === 'service') {
      const service = `${source.namespace}/${source.name}`
      addTo(this.#byService, service, made)
      this.#fillService(made, this.#services.get(service), 'add')
      return
    }
    const selector = selectorOf(source)
    const { bySelector, index } = this.#choiceOf(CHOSEN[source.of])
    index.register(selector)
    addTo(bySelector, selector, made)
    for (const item of index.itemsOf(selector)) this.#fill(made, item, 'add')
  }

  #drop(of: Source): void {
    const { key, source } = of
    this.#sources.delete(key)
    if (source.of === 'list' || source.of === 'cidrs') return
    if (source.of === 'service') {
      removeFrom(this.#byService, `${source.namespace}/${source.name}`, of)
      return
    }
    const selector = selectorOf(source)
    const { bySelector, index } = this.#choiceOf(CHOSEN[source.of])
    index.unregister(selector)
    removeFrom(bySelector, selector, of)
  }

  /** Adds or removes what one item is to one source. */
  #fill(of: Source, item: Item, change: 'add' | 'remove'): void {
    const { source, sets } = of
    this.#touched.add(of)
    if (source.of === 'ports') {
      if (source.local === true && !item.isLocal) return
      for (const { name, protocol, port } of item.ports)
        if (source.names.includes(name) && (source.protocol ?? protocol) === protocol)
          for (const address of item.addresses)
            sets[familyOf(address)][0]![change](`${address} . ${protocolWord(protocol)} . ${port}`)
      return
    }
    for (const address of item.addresses) sets[familyOf(address)][0]![change](address)
    for (const pair of item.pairs) sets[familyOf(pair)][0]![change](pair)
    if (item.nets.length === 0 || source.of !== 'selector') return
    of.union ??= new CidrUnion((cidr, is) => sets[familyOf(cidr)][1]![is === 'in' ? 'add' : 'remove'](cidr))
    for (const net of item.nets) of.union[change](net)
  }

  #fillService(of: Source, service: ServiceEndpoints | undefined, change: 'add' | 'remove'): void {
    this.#touched.add(of)
    for (const { address: text, protocol, port } of service?.addresses ?? []) {
      const address = parseAddress(text)
      if (address === undefined) continue
      const element =
        of.source.of === 'service' && of.source.with === 'ports'
          ? `${address} . ${protocolWord(protocol)} . ${port}`
          : address
      of.sets[familyOf(address)][0]![change](element)
    }
  }
}

type Chosen = Exclude<MemberSource, { of: 'service' | 'list' | 'cidrs' }>

/** Among what a source chooses. */
const CHOSEN: Readonly<Record<Chosen['of'], Kind>> = {
  selector: 'endpoints',
  ports: 'endpoints',
  nodes: 'nodes',
  domain: 'answers',
}

function selectorOf(source: Chosen): SelectorText {
  if (source.of !== 'domain') return source.selector
  const { pattern } = source
  return pattern.startsWith('*.') ? `${NAME} ends with "${pattern.slice(1)}"` : `${NAME} == "${pattern}"`
}

function heldBy({ sets }: Source): readonly HeldSet[] {
  return [...sets.ipv4, ...sets.ipv6]
}
