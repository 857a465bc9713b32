// The policy of this node, worked out from what changed in the cluster:
//
//   endpoint, networkSet, node, service, answer ──> members of sets ──────> elements
//   policy, tier, profile, local endpoint ──> lists ──┬─> sources of sets ──> sets
//                                                    ├─> chains <── which sets are there
//                                                    ├─> interface ──> chain
//                                resolvers ──────────┴─> copies of answers
//   host endpoint, host rules ──> lists of its slots ──> interface ──> chain
//
// Nothing here remembers how a state was reached. A full calculation is this one, fed from empty.
import { isDeepStrictEqual } from 'node:util'
import type { NftSet, NftVerdict } from '../../kernel/port/nftables.ts'
import type { NftChainProgram } from '../../kernel/reconcile/nft-state.ts'
import { ActivePolicies, type Direction, type EndpointLists, type PolicyList, policiesOf } from './active.ts'
import {
  addCopyChanges,
  answerCopies,
  type Copies,
  type CopyChanges,
  NO_COPIES,
  sourcesOfResolvers,
} from './answer-copies.ts'
import { chainsOfList, listOfChain, sourcesOfList } from './chains.ts'
import { POD_MAPS, toList } from './dispatch.ts'
import type { ElementChanges } from './held-set.ts'
import { HostGroup } from './host-group.ts'
import { HOST_MAPS, type HostRules } from './hosts.ts'
import { LOG_LIMIT } from './logged.ts'
import { Members } from './members.ts'
import type { DomainAnswer, LocalEndpoint, LocalHost, LogLimit, Policy, PolicyInputs, Resolvers } from './model.ts'
import { addTo, removeFrom } from './multi-map.ts'
import { NamePatterns } from './name-patterns.ts'
import { type MemberSource, sourceKey, type TableName } from './sources.ts'
import { type Closing, closingOf } from './verdict.ts'
import { Verdicts } from './verdicts.ts'

/**
 * What changed, by name. What is undefined goes. A set that goes takes its elements along. In sets of intervals what is
 * removed must be gone, in the same transaction, before what is added comes: they may overlap.
 */
export type PolicyDifferences = {
  sets: ReadonlyMap<string, NftSet | undefined>
  /** By set. */
  elements: ReadonlyMap<string, ElementChanges>
  chains: ReadonlyMap<string, NftChainProgram | undefined>
  /** By map (`POD_MAPS`, `HOST_MAPS`), then by interface. Those of a map that goes are not told. */
  interfaces: ReadonlyMap<string, ReadonlyMap<string, NftVerdict | undefined>>
  /** Endpoints of this node, by key, whose lists may deny now what they allowed before. */
  narrowed: ReadonlySet<string>
}

type Held = {
  list: PolicyList
  sources: readonly MemberSource[]
  chains: readonly string[]
  /** Worked out when it is first asked for. */
  closing?: ReadonlyMap<string, Closing>
}

/** An interface that a map of `POD_MAPS` leads to a list. */
export type LedInterface = { map: string; interfaceName: string }

/** An endpoint of this node whose packets are judged. Which packets are of a host endpoint `hostDenial` knows. */
export type JudgedEndpoint = { kind: 'pod'; interfaceName: string; addresses: readonly string[] } | { kind: 'host' }

const DIRECTIONS = ['ingress', 'egress'] as const

export class PolicyCalculator {
  readonly #table: TableName
  readonly #members: Members
  readonly #active = new ActivePolicies()
  #logLimit: LogLimit = LOG_LIMIT
  /** Every chain may be another one. */
  #restyled = false
  readonly #lists = new Map<string, Held>()
  /** The keys of the lists that have a policy, by its key. */
  readonly #listsByPolicy = new Map<string, Set<string>>()
  /** The keys of the lists that name a source, by its key. */
  readonly #listsBySource = new Map<string, Set<string>>()
  readonly #endpoints = new Map<string, EndpointLists>()
  readonly #byInterface = new Map<string, Set<string>>()
  /** What lists of what is sent ask for names, by their keys. */
  readonly #patterns = new Map<string, NamePatterns>()
  #resolvers: Resolvers = { services: [], addresses: [] }
  #copies: Copies = NO_COPIES
  /** The interfaces of pods that are asked for names, and the sources that the copies of their answers are found by. */
  #told: { interfaces: readonly string[]; sources: readonly MemberSource[] } = { interfaces: [], sources: [] }
  #mayTellOthers = false
  readonly #hosts: HostGroup
  #hostSources: readonly MemberSource[] = []
  /** What policies say of packets, as told so far. */
  readonly verdicts: Verdicts
  readonly #take: { readonly [K in keyof PolicyInputs]: (key: string, value: PolicyInputs[K] | undefined) => void } = {
    endpoint: (key, endpoint) => {
      this.#members.setEndpoint(key, endpoint)
      this.#active.setLabels(key, endpoint?.labels)
    },
    networkSet: (key, set) => this.#members.setNetworkSet(key, set),
    node: (name, node) => this.#members.setNode(name, node),
    service: (key, service) => this.#members.setService(key, service),
    tier: (name, tier) => this.#active.setTier(name, tier),
    policy: (key, policy) => this.#active.setPolicy(key, policy),
    profile: (name, profile) => this.#active.setProfile(name, profile),
  }

  /** `ownSets`: as that of `Members`. */
  constructor(table: TableName, ownSets?: number) {
    this.#table = table
    this.#members = new Members(table, ownSets)
    this.#hosts = new HostGroup(table)
    this.verdicts = new Verdicts({
      ...{ members: this.#members, hosts: this.#hosts },
      list: key => this.#lists.get(key)?.list,
      endpoint: key => this.#endpoints.get(key),
      endpointOn: name => this.#endpointOn(name),
    })
  }

  /** Takes one item in, or away. The same again is no news. */
  set<K extends keyof PolicyInputs>(kind: K, key: string, value: PolicyInputs[K] | undefined): void {
    this.#take[kind](key, value)
  }

  /** What holds on all host endpoints; without it there are none. */
  setHostRules(rules: HostRules): void {
    this.#hosts.setRules(rules)
  }

  /** An endpoint of this node, under its key in the cluster. Until the cluster tells its labels a pod is closed. */
  setLocal(key: string, local: LocalEndpoint | LocalHost | undefined): void {
    this.#members.setLocal(key, local !== undefined)
    this.#active.setLocal(key, local, this.#members.labelsOf(key))
  }

  /** What a pod of this node was told of a name; `key` is whatever tells it from other answers. */
  setAnswer(key: string, answer: DomainAnswer | undefined): void {
    this.#members.setAnswer(key, answer)
  }

  /** How many packets of a rule with the action log are copied. Returns whether that is news. */
  setLogLimit(limit: LogLimit = LOG_LIMIT): boolean {
    if (isDeepStrictEqual(limit, this.#logLimit)) return false
    this.#logLimit = limit
    this.#restyled = true
    return true
  }

  /** Whose answers are copied for the reader of answers, once some pod here is asked for names. */
  setResolvers(resolvers: Resolvers): void {
    this.#resolvers = resolvers
    this.#mayTellOthers = true
  }

  /** The names that policies ask for of the pod of an interface, as of the last step; undefined of none. */
  namesAsked(interfaceName: string): NamePatterns | undefined {
    return this.#patterns.get(this.#endpointOn(interfaceName)?.egress ?? '')
  }

  /** The policy of a name in the text of a rule (`rule-text.ts`). */
  policyNamed(name: string): Policy | undefined {
    return this.#active.policyNamed(name)
  }

  /** The keys of host endpoints for all interfaces that policies without tracking select, which does nothing. */
  get hostsWithoutUntracked(): readonly string[] {
    return this.#hosts.unasked
  }

  /** Works out what follows from everything told so far. Returns what changed since the last step. */
  step(): PolicyDifferences {
    const { lists, endpoints, hosts } = this.#active.take()
    // what a pod that is new here had before was another pod's; at the start all have been here
    const before = this.#endpoints.size === 0 ? endpoints : this.#endpoints
    const known = new Set([...endpoints.keys()].filter(key => before.has(key)))
    const interfaces = this.#connect(endpoints)
    this.#hosts.update(hosts)
    const dirty = new Set(lists.keys())
    // what is wanted again is not given up in between
    const released = [...dirty].flatMap(key => this.#lists.get(key)?.sources ?? [])
    const held = new Set([...dirty].filter(key => this.#lists.has(key)))
    const chains = new Map<string, NftChainProgram | undefined>()
    for (const [key, list] of lists) this.#hold(key, list, chains)
    const areHostsOther = this.#hosts.changed
    const ofHosts = areHostsOther ? this.#holdHosts() : []
    for (const source of [...released, ...ofHosts]) this.#members.release(source)
    const mayTellOthers = this.#mayTellOthers || lists.size + endpoints.size > 0
    this.#mayTellOthers = false
    if (mayTellOthers) this.#findTold()
    const { sets, elements, sources, changed } = this.#members.take()
    const narrowed = this.#narrowed(held, changed, known)
    const isLess = this.#hostSources.some(source => changed.get(sourceKey(source))?.removed === true)
    if (areHostsOther || isLess || this.#hosts.lists.some(key => held.has(key)))
      for (const key of this.#hosts.keys) narrowed.add(key)
    for (const source of sources) for (const key of this.#listsBySource.get(source) ?? []) dirty.add(key)
    for (const key of this.#restyled ? [...dirty, ...this.#lists.keys()] : dirty) this.#write(key, chains)
    this.#restyled = false
    const all = { sets: new Map(sets), elements: new Map(elements), chains }
    if (mayTellOthers || sources.size > 0) this.#copy(all)
    if (this.#hosts.changed || this.#hostSources.some(source => sources.has(sourceKey(source)))) {
      const host = this.#hosts.render(source => this.#members.setsOf(source))
      for (const [name, set] of host.sets) all.sets.set(name, set)
      for (const [name, program] of host.chains) chains.set(name, program)
      for (const [map, verdicts] of host.interfaces) interfaces.set(map, new Map(verdicts))
    }
    return { ...all, interfaces, narrowed }
  }

  /** Finds the pods that are asked for names, and wants the sets that the copies of their answers need. */
  #findTold(): void {
    const isAsked = (name: string) => this.namesAsked(name) !== undefined
    const interfaces = this.#patterns.size === 0 ? [] : [...this.#byInterface.keys()].filter(isAsked).sort()
    const sources = interfaces.length === 0 ? [] : sourcesOfResolvers(this.#resolvers)
    for (const source of sources) this.#members.want(source)
    for (const source of this.#told.sources) this.#members.release(source)
    this.#told = { interfaces, sources }
  }

  #copy(changes: CopyChanges): void {
    const setsOf = (key: string) => this.#members.setsOf(key)
    const copies = answerCopies(this.#table, this.#told.interfaces, this.#resolvers, setsOf)
    addCopyChanges(this.#copies, copies, changes)
    this.#copies = copies
  }

  /** The keys of the policies that some endpoint of this node asks, as of the last step. */
  get asked(): Iterable<string> {
    return this.#listsByPolicy.keys()
  }

  /** Those of them that are not enforced while a part of the table is not as it should be. */
  askedThrough({ kind, name }: { kind: 'nftChain' | 'nftSet' | 'nftElement'; name: string }): Iterable<string> {
    const lists = this.#listsThrough(kind, name)
    if (lists === undefined) return this.asked
    return new Set([...lists].flatMap(key => policiesOf(this.#lists.get(key)?.list)))
  }

  /** The endpoints of this node that have lists, by key. */
  judged(): string[] {
    return [...this.#endpoints.keys(), ...this.#hosts.keys]
  }

  /** Undefined: there is none of this key on this node, or it is closed. */
  judgedEndpoint(key: string): JudgedEndpoint | undefined {
    if (this.#hosts.keys.includes(key)) return { kind: 'host' }
    const lists = this.#endpoints.get(key)
    return lists && { kind: 'pod', interfaceName: lists.interfaceName, addresses: this.#members.addressesOf(key) }
  }

  /** The interfaces of which `hostDenial` knows something to ask, and ALL_INTERFACES for all others where it does. */
  judgedInterfaces(): string[] {
    return this.#hosts.interfaceNames
  }

  #narrowed(lists: Set<string>, changed: ReadonlyMap<string, Closing>, known: ReadonlySet<string>): Set<string> {
    for (const [source, { added, removed }] of changed)
      for (const key of this.#listsBySource.get(source) ?? []) {
        const held = this.#lists.get(key)!
        held.closing ??= closingOf(held.list)
        const closing = held.closing.get(source)
        if ((added && closing?.added === true) || (removed && closing?.removed === true)) lists.add(key)
      }
    const narrowed = new Set([...known].filter(key => this.#endpoints.has(key)))
    if (lists.size === 0) return narrowed
    for (const [key, has] of this.#endpoints)
      if (DIRECTIONS.some(direction => lists.has(has[direction]))) narrowed.add(key)
    return narrowed
  }

  /** The list takes this content, or goes with its chains. */
  #hold(key: string, list: PolicyList | undefined, chains: Map<string, NftChainProgram | undefined>): void {
    const before = this.#lists.get(key)
    for (const source of before?.sources ?? []) removeFrom(this.#listsBySource, sourceKey(source), key)
    this.#patterns.delete(key)
    for (const policy of policiesOf(before?.list)) removeFrom(this.#listsByPolicy, policy, key)
    for (const policy of policiesOf(list)) addTo(this.#listsByPolicy, policy, key)
    if (list === undefined) {
      this.#lists.delete(key)
      for (const name of before?.chains ?? []) chains.set(name, undefined)
      return
    }
    const sources = sourcesOfList(list)
    this.#lists.set(key, { list, sources, chains: before?.chains ?? [] })
    const patterns = sources.flatMap(source => (source.of === 'domain' ? [source.pattern] : []))
    if (list.direction === 'egress' && patterns.length > 0) this.#patterns.set(key, new NamePatterns(patterns))
    for (const source of sources) {
      this.#members.want(source)
      addTo(this.#listsBySource, sourceKey(source), key)
    }
  }

  /** Takes in what the chains of hosts look up now. Returns what they did before. */
  #holdHosts(): readonly MemberSource[] {
    const before = this.#hostSources
    this.#hostSources = this.#hosts.sources
    for (const source of this.#hostSources) this.#members.want(source)
    return before
  }

  #write(key: string, chains: Map<string, NftChainProgram | undefined>): void {
    const held = this.#lists.get(key)
    if (held === undefined) return
    const programs = chainsOfList(held.list, source => this.#members.setsOf(source), this.#table, this.#logLimit)
    for (const name of held.chains) chains.set(name, undefined)
    for (const program of programs) chains.set(program.chain.name, program)
    this.#lists.set(key, { ...held, chains: programs.map(({ chain }) => chain.name) })
  }

  /** An interface that two endpoints claim leads nowhere: it is closed until one of them goes. */
  #connect(
    endpoints: ReadonlyMap<string, EndpointLists | undefined>,
  ): Map<string, Map<string, NftVerdict | undefined>> {
    const touched = new Set<string>()
    for (const [key, now] of endpoints) {
      const before = this.#endpoints.get(key)
      if (before !== undefined) {
        removeFrom(this.#byInterface, before.interfaceName, key)
        touched.add(before.interfaceName)
      }
      if (now === undefined) {
        this.#endpoints.delete(key)
        continue
      }
      this.#endpoints.set(key, now)
      addTo(this.#byInterface, now.interfaceName, key)
      touched.add(now.interfaceName)
    }
    const interfaces = new Map<string, Map<string, NftVerdict | undefined>>()
    if (touched.size === 0) return interfaces
    for (const direction of DIRECTIONS)
      interfaces.set(POD_MAPS[direction], new Map([...touched].map(name => [name, this.#verdict(name, direction)])))
    return interfaces
  }

  /** What a map of `POD_MAPS` has for an interface, as of the last step. */
  verdictAt(map: string, interfaceName: string): NftVerdict | undefined {
    const direction = DIRECTIONS.find(each => POD_MAPS[each] === map)
    return direction && this.#verdict(interfaceName, direction)
  }

  /** By which element of which map interfaces are led to a list that needs this part of the table. */
  ledThrough({ kind, name }: { kind: 'nftChain' | 'nftSet' | 'nftElement'; name: string }): LedInterface[] {
    const lists = new Set(this.#listsThrough(kind, name) ?? [])
    if (lists.size === 0) return []
    return [...this.#endpoints.values()].flatMap(endpoint =>
      DIRECTIONS.filter(direction => lists.has(endpoint[direction])).map(direction => {
        return { map: POD_MAPS[direction], interfaceName: endpoint.interfaceName }
      }),
    )
  }

  /** The lists that lead through a part; undefined for one that all of them need. */
  #listsThrough(kind: 'nftChain' | 'nftSet' | 'nftElement', name: string): Iterable<string> | undefined {
    if (kind === 'nftChain') {
      const key = listOfChain(name)
      return key === undefined ? undefined : [key]
    }
    const [set = '', interfaceName] = name.split(' ')
    if (Object.values(HOST_MAPS).includes(set)) return undefined
    if (interfaceName !== undefined)
      return [...(this.#byInterface.get(interfaceName) ?? [])].flatMap(key => {
        const lists = this.#endpoints.get(key)!
        return DIRECTIONS.map(direction => lists[direction])
      })
    if (Object.values(POD_MAPS).includes(set)) return undefined
    const uses = ({ sources }: Held) =>
      sources.some(source =>
        Object.values(this.#members.setsOf(sourceKey(source))).some(places => places.some(each => each.set === set)),
      )
    return [...this.#lists].filter(([, held]) => uses(held)).map(([key]) => key)
  }

  #verdict(interfaceName: string, direction: Direction): NftVerdict | undefined {
    const lists = this.#endpointOn(interfaceName)
    return lists && toList(direction, lists[direction])
  }

  #endpointOn(interfaceName: string): EndpointLists | undefined {
    const [key, ...others] = this.#byInterface.get(interfaceName) ?? []
    return key === undefined || others.length > 0 ? undefined : this.#endpoints.get(key)
  }
}
