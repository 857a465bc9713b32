// The host endpoints of this node, from the lists that they ask to what stands in the kernel for them. Nothing stands there
// without one, but for what becomes of packets of pods to their host.
import { isDeepStrictEqual } from 'node:util'
import type { NftSet, NftVerdict } from '../../kernel/port/nftables.ts'
import type { NftChainProgram } from '../../kernel/reconcile/nft-state.ts'
import { type Direction, type HostLists, SLOT_NAMES, type Slot } from './active.ts'
import {
  HOST_MAPS,
  type HostRules,
  hostChains,
  hostMaps,
  type ListsOfAll,
  rulesThatOpen,
  sourcesOfHosts,
  toHostList,
} from './hosts.ts'
import type { SetsOf } from './matches.ts'
import { ALL_INTERFACES, type PolicyRule } from './model.ts'
import type { MemberSource, TableName } from './sources.ts'

/** What changed, by name. The elements of a map that goes are not told. */
export type HostDifferences = {
  sets: ReadonlyMap<string, NftSet | undefined>
  chains: ReadonlyMap<string, NftChainProgram | undefined>
  interfaces: ReadonlyMap<string, ReadonlyMap<string, NftVerdict | undefined>>
}

type Elements = ReadonlyMap<string, NftVerdict>

/** A host endpoint for all interfaces does not ask these: so it is in Calico, where nothing says which connections would break. */
const NOT_OF_ALL: readonly Slot[] = ['untrackedIngress', 'untrackedEgress']

export class HostGroup {
  readonly #table: TableName
  readonly #hosts = new Map<string, HostLists>()
  #rules: HostRules | undefined
  /** What passes whatever lists say. */
  #open: Readonly<Record<Direction, readonly PolicyRule[]>> = { ingress: [], egress: [] }
  #changed = false
  #maps: ReadonlyMap<string, Elements> = new Map()
  #chains: readonly string[] = []

  constructor(table: TableName) {
    this.#table = table
  }

  setRules(rules: HostRules): void {
    if (isDeepStrictEqual(rules, this.#rules)) return
    this.#rules = rules
    this.#open = { ingress: rulesThatOpen(rules, 'ingress'), egress: rulesThatOpen(rules, 'egress') }
    this.#changed = true
  }

  /** Takes in host endpoints that came, changed or went. */
  update(hosts: ReadonlyMap<string, HostLists | undefined>): void {
    for (const [key, lists] of hosts) {
      if (lists === undefined) this.#hosts.delete(key)
      else this.#hosts.set(key, lists)
      this.#changed = true
    }
  }

  /** Whether `render` has something to say whatever sets are there. */
  get changed(): boolean {
    return this.#changed
  }

  /** The keys of the host endpoints; none while nothing is enforced for them. */
  get keys(): readonly string[] {
    return this.#rules === undefined ? [] : [...this.#hosts.keys()]
  }

  /** What holds on all of them. */
  get rules(): HostRules | undefined {
    return this.#rules
  }

  /** The rules by which packets pass whatever lists say. */
  openAt(direction: Direction): readonly PolicyRule[] {
    return this.#open[direction]
  }

  /** The interfaces of host endpoints, and ALL_INTERFACES for all others where one is for them. */
  get interfaceNames(): string[] {
    return [...this.#hosts.values()].flatMap(({ interfaces }) => interfaces)
  }

  /** The keys of all lists that some interface asks. */
  get lists(): string[] {
    return [...this.#hosts.values()].flatMap(({ lists }) => Object.values(lists))
  }

  /** The key of the list that a packet of an interface is asked about in a slot; undefined: none, it goes on. */
  listAt(slot: Slot, interfaceName: string): string | undefined {
    const named = [...this.#hosts.values()].find(host => !isOfAll(host) && host.interfaces.includes(interfaceName))
    return named === undefined ? this.#ofAll()?.[slot] : named.lists[slot]
  }

  /** The host endpoints that ask policies without tracking and are for all interfaces, which does nothing. */
  get unasked(): readonly string[] {
    return [...this.#hosts]
      .filter(([, host]) => isOfAll(host) && NOT_OF_ALL.some(slot => host.lists[slot]))
      .map(([key]) => key)
  }

  /** What the chains look up. */
  get sources(): readonly MemberSource[] {
    return this.#rules === undefined || this.#hosts.size === 0 ? [] : sourcesOfHosts(this.#rules)
  }

  /** What changed since the last call. */
  render(setsOf: SetsOf): HostDifferences {
    this.#changed = false
    const all = this.#ofAll()
    const slots = this.#slots(all)
    const programs =
      this.#rules === undefined ? [] : hostChains(this.#table, { rules: this.#rules, slots, all }, setsOf)
    const chains = new Map<string, NftChainProgram | undefined>()
    for (const name of this.#chains) chains.set(name, undefined)
    for (const program of programs) chains.set(program.chain.name, program)
    this.#chains = programs.map(({ chain }) => chain.name)
    const maps = new Map(
      SLOT_NAMES.filter(slot => slots.has(slot)).map(slot => [HOST_MAPS[slot], this.#elements(slot)]),
    )
    const sets = new Map<string, NftSet | undefined>()
    for (const name of this.#maps.keys()) if (!maps.has(name)) sets.set(name, undefined)
    for (const set of hostMaps(this.#table, slots)) if (!this.#maps.has(set.name)) sets.set(set.name, set)
    const interfaces = new Map(
      [...maps].map(([name, now]) => [name, difference(this.#maps.get(name) ?? new Map(), now)]),
    )
    this.#maps = maps
    return { sets, chains, interfaces }
  }

  #ofAll(): ListsOfAll | undefined {
    const host = [...this.#hosts.values()].find(isOfAll)
    if (host === undefined) return undefined
    return Object.fromEntries(Object.entries(host.lists).filter(([slot]) => !NOT_OF_ALL.includes(slot as Slot)))
  }

  #slots(all: ListsOfAll | undefined): Set<Slot> {
    const slots = new Set<Slot>(this.#hosts.size > 0 && this.#rules !== undefined ? ['ingress', 'egress'] : [])
    if (slots.size === 0) return slots
    for (const lists of [
      all ?? {},
      ...[...this.#hosts.values()].filter(host => !isOfAll(host)).map(({ lists }) => lists),
    ])
      for (const slot of SLOT_NAMES) if (lists[slot] !== undefined) slots.add(slot)
    return slots
  }

  #elements(slot: Slot): Elements {
    const named = [...this.#hosts.values()].filter(host => !isOfAll(host))
    return new Map(
      named.flatMap(({ interfaces, lists }) => interfaces.map(name => [name, toHostList(slot, lists[slot])] as const)),
    )
  }
}

function isOfAll({ interfaces }: HostLists): boolean {
  return interfaces.includes(ALL_INTERFACES)
}

function difference(before: Elements, now: Elements): Map<string, NftVerdict | undefined> {
  const changed = new Map<string, NftVerdict | undefined>()
  for (const name of before.keys()) if (!now.has(name)) changed.set(name, undefined)
  for (const [name, verdict] of now) if (!isDeepStrictEqual(before.get(name), verdict)) changed.set(name, verdict)
  return changed
}
