// Brings this namespace's kernel to what is wanted, one kind of object after the other: the pod filter, sysctls, links,
// addresses, neighbours and forwarding entries, then routes, so that a route's first packet finds all it needs. A tunnel that goes
// keeps what is on it until the routes have another way. What one kind refuses does not stop the next. Objects are removed only after their source is in sync (`Readiness`). An event
// about one interface makes only the objects on that interface be read again.
// Over 400 lines: each kind of object is wanted, told of and written here, in an order that is one promise.
import type { Author, Kernel, KernelEvent } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import type { Resilient } from '../kernel/port/next-hops.ts'
import type { NftNews } from '../kernel/port/nftables.ts'
import { ROUTE_TABLE } from '../kernel/port/routes.ts'
import { readOrAbsent, type SettingNews } from '../kernel/port/sysctls.ts'
import { addressTable } from '../kernel/reconcile/addresses.ts'
import { ForeignRoutes } from '../kernel/reconcile/foreign-routes.ts'
import { LinkView } from '../kernel/reconcile/link-view.ts'
import { LinkTable } from '../kernel/reconcile/links.ts'
import { fdbTable, namedNeighbour, neighbourTable } from '../kernel/reconcile/neighbours.ts'
import type { NftDifference } from '../kernel/reconcile/nft-differences.ts'
import { NftTables } from '../kernel/reconcile/nft-tables.ts'
import {
  addressKey,
  fdbKey,
  type NamedAddress,
  type NamedFdbEntry,
  type NamedNeighbour,
  type NamedSysctl,
  neighbourKey,
  nftTableKey,
  sysctlKey,
} from '../kernel/reconcile/objects.ts'
import { mergeOutcomes, noOutcome, type Outcome } from '../kernel/reconcile/outcome.ts'
import { type Marks, Ownership } from '../kernel/reconcile/ownership.ts'
import { RouteTable } from '../kernel/reconcile/routes.ts'
import { sysctlTable } from '../kernel/reconcile/sysctls.ts'
import type { KernelTable } from '../kernel/reconcile/table.ts'
import { familyOf } from '../lib/ip.ts'
import { allowsSource, isPeer } from './calc/pod-filter.ts'
import { changedObject } from './changed-object.ts'
import type { Desired, DesiredKind, Differences } from './desired.ts'
import type { PolicyEnforcer } from './enforcer.ts'

/**
 * What is known for good, so that what is not wanted may go. `datastore`: pools, blocks, nodes and settings; `endpoints`: the
 * journal's pods; `bgp`: the speaker has converged, or its time to do so ran out; `policy`: policies and Pods.
 */
export type Readiness = { datastore: boolean; endpoints: boolean; bgp: boolean; policy: boolean }

/** Unknown objects on a pod's interface are removed after this time, unless another process made them: ADD may have, before felix was told. */
export const STRAY_GRACE_MS = 10_000

const NOTHING = noOutcome()

/** A table of nftables that looks after its own parts: it and the others need nothing of each other. */
export type OwnTable = Pick<PolicyEnforcer, 'put' | 'remove' | 'invalidate' | 'observe' | 'lacking'>

type AppliedKind = Exclude<DesiredKind, 'condition'>

export class Applier {
  readonly #kernel: Kernel
  readonly #ownership: Ownership
  readonly #links: LinkView
  readonly #linkTable: LinkTable
  readonly #addresses: KernelTable<NamedAddress>
  readonly #sysctls: KernelTable<NamedSysctl>
  /** Settings of devices that are made in the same pass. */
  readonly #deviceSysctls: KernelTable<NamedSysctl>
  readonly #sysctlTables: readonly KernelTable<NamedSysctl>[]
  readonly #neighbours: KernelTable<NamedNeighbour>
  readonly #fdb: KernelTable<NamedFdbEntry>
  readonly #routes: RouteTable
  /** Of the local table. */
  readonly #localRoutes: RouteTable
  readonly foreignRoutes = new ForeignRoutes()
  readonly #nft: NftTables
  readonly #policy: PolicyEnforcer | undefined
  /** What is about packets of pods and is no policy. */
  readonly #beside: readonly OwnTable[]
  readonly #tables
  readonly #wants: { readonly [K in AppliedKind]: (key: string, value: Desired[K] | undefined) => void }
  readonly #destinations = new Set<string>()
  readonly #now: () => number
  readonly #strays = new Map<string, number>()
  /** Links that the next pass asks the kernel for. */
  readonly #toLookAt = new Set<string>()
  readonly #podFilterKey: string
  readonly #needFilter = new Map<string, NamedSysctl>()
  /** Whether packets of pods are filtered. */
  #filters = false
  #destinationsChanged = false

  constructor(
    kernel: Kernel,
    marks: Marks,
    nowMs: () => number,
    { policy, beside = [] }: { policy?: PolicyEnforcer | undefined; beside?: readonly OwnTable[] } = {},
  ) {
    this.#kernel = kernel
    this.#policy = policy
    this.#beside = beside
    const ownership = new Ownership(marks)
    const links = new LinkView(kernel)
    this.#podFilterKey = nftTableKey({ family: 'inet', name: marks.nftTable ?? '' })
    this.#ownership = ownership
    this.#links = links
    this.#now = nowMs
    this.#linkTable = new LinkTable(kernel, links, ownership)
    this.#addresses = addressTable(kernel, links, ownership)
    this.#sysctls = sysctlTable(kernel)
    this.#deviceSysctls = sysctlTable(kernel)
    this.#sysctlTables = [this.#sysctls, this.#deviceSysctls]
    this.#neighbours = neighbourTable(kernel, links, ownership)
    this.#fdb = fdbTable(kernel, links, ownership)
    this.#routes = new RouteTable(kernel, links, ownership, { confirm: true, foreign: this.foreignRoutes })
    const ofLocalTable = new Ownership({ table: ROUTE_TABLE.local, protocol: marks.protocol })
    this.#localRoutes = new RouteTable(kernel, links, ofLocalTable, { confirm: true })
    this.#nft = new NftTables(kernel)
    this.#tables = [
      this.#addresses,
      ...this.#sysctlTables,
      this.#neighbours,
      this.#fdb,
      this.#routes,
      this.#localRoutes,
    ]
    this.#wants = {
      link: (key, link) => this.#linkTable.want(key, link && { ...link, up: true }),
      address: (key, address) => this.#addresses.want(key, address),
      sysctl: (key, sysctl) => this.#wantSysctl(key, sysctl),
      nftTable: (key, program) => this.#nft.wantTable(key, program),
      nftElement: (key, element) => this.#nft.wantElement(key, element),
      neighbour: (key, neighbour) => this.#neighbours.want(key, neighbour),
      fdb: (key, entry) => this.#fdb.want(key, entry),
      route: (dst, route) => this.#routes.want(dst, route),
      localRoute: (dst, route) => this.#localRoutes.want(dst, route),
      destination: (cidr, wanted) => this.#wantDestination(cidr, wanted),
    }
  }

  /** It is time to look: the next pass reads everything. */
  invalidate(): void {
    this.#links.invalidate()
    for (const table of this.#tables) table.invalidate()
    this.#nft.invalidate()
    for (const table of this.#ownTables()) table.invalidate()
  }

  /** The kernel tells of few settings only: the next pass reads all of them. */
  invalidateSettings(): void {
    for (const table of this.#sysctlTables) table.invalidate()
  }

  /** Whether an interface is that of a pod. */
  ownsInterface(name: string): boolean {
    return this.#ownership.ownsInterface(name)
  }

  /** A pod's interface was made: the next pass asks for its link, in case an older one had the same name. */
  madeLink(name: string): void {
    this.#toLookAt.add(name)
  }

  /** A link as it was last seen. */
  linkOf(name: string): Link | undefined {
    return this.#links.byName(name)
  }

  nameOf(ifindex: number): string | undefined {
    return this.#links.nameOf(ifindex)
  }

  /** Takes differences in. Memory only; throws for a route that would not be known as ours. */
  want(differences: Differences): void {
    for (const kind of Object.keys(this.#wants) as AppliedKind[]) this.#wantEach(kind, differences[kind])
  }

  /** As `RouteTable.setResilient`. */
  setResilient(resilient: Resilient | undefined): boolean {
    return this.#routes.setResilient(resilient)
  }

  /** As `RouteTable.lacksResilient`. */
  get lacksResilient(): string | undefined {
    return this.#routes.lacksResilient
  }

  /** Takes the kernel as far as it goes towards what is wanted. Rejects only when nothing can be read. */
  async apply(ready: Readiness): Promise<Outcome> {
    if (this.#destinationsChanged) this.#routes.setDestinations(this.#destinations)
    this.#destinationsChanged = false
    for (const name of await this.#links.refresh()) this.#invalidateInterface(name)
    for (const name of this.#toLookAt) {
      // first: the link may be made again while the kernel is asked, and is asked for again then
      this.#toLookAt.delete(name)
      if (await this.#links.lookAgain(name)) this.#invalidateInterface(name)
    }

    const graced = new Set<string>()
    const outlived = (object: string) => {
      graced.add(object)
      return this.#outlivedGrace(object)
    }
    // a table without the elements of pods that are not known yet would drop their packets
    const filter = ready.endpoints ? await this.#nft.put() : NOTHING
    this.#setPodFilter(this.#nft.stands(this.#podFilterKey))
    // nor is there a table of policy without the pods that it would be closed for
    const policy = ready.endpoints && ready.policy ? this.#policy : undefined
    const judged = (await policy?.put()) ?? NOTHING
    const beside = ready.endpoints && ready.policy ? this.#beside : []
    // the settings of a pod's interface come before it goes up, everything else after
    const sysctls = await this.#sysctls.apply(() => true)
    // a tunnel may be needed for a learned block alone, so it stays until the speaker has spoken
    const tunnelsKnown = ready.datastore && ready.bgp
    const unfiltered = new Set(filter.refused.map(({ interfaceName }) => interfaceName))
    const links = await this.#linkTable.apply(name => !unfiltered.has(name))
    // a device that was made anew has nothing on it; its events may come after this pass
    for (const { key } of links.written) this.#invalidateInterface(key)
    // what went with the old device was not somebody else's doing, unless the device itself was
    const healed = new Set(links.healed.map(({ key }) => key))
    for (const name of this.#linkTable.made)
      if (!healed.has(name)) for (const table of this.#tables) table.forgetInterface(name)
    const mayLeave = (name: string) => tunnelsKnown && !this.#linkTable.isLeft(name)
    const outcome = mergeOutcomes([
      filter,
      judged,
      ...(await eachInTurn(beside, table => table.put())),
      sysctls,
      links,
      await this.#deviceSysctls.apply(() => true),
      await this.#addresses.apply(({ seen }) => mayLeave(seen.interfaceName)),
      await this.#neighbours.apply(({ key, seen, dropped, foreign }) =>
        this.#ownership.ownsInterface(seen.interfaceName)
          ? ready.endpoints && (dropped || foreign || outlived(`neighbour ${key}`))
          : mayLeave(seen.interfaceName),
      ),
      await this.#fdb.apply(({ seen }) => mayLeave(seen.interfaceName)),
      await this.#routes.apply(({ key, seen, dropped, foreign }) => {
        switch (this.#ownership.originOf(seen)) {
          case 'learned':
            return ready.datastore && ready.bgp
          case 'block':
            return ready.datastore
          case 'pod':
            return ready.endpoints && (dropped || foreign || outlived(`route ${key}`))
          case undefined:
            return false
        }
      }),
      // which pods are peers is known with their labels
      await this.#localRoutes.apply(({ dropped }) => dropped || (tunnelsKnown && ready.endpoints && ready.policy)),
      await this.#linkTable.remove(tunnelsKnown),
      await this.#nft.remove(element => {
        if (element.interfaceName === undefined) return ready.datastore
        // which pods are peers is told a moment after their labels
        if (isPeer(element) && !ready.bgp) return false
        // what a pod may send under is said by its Pod and by FelixConfiguration
        return ready.endpoints && (!allowsSource(element) || (ready.datastore && ready.policy))
      }),
      (await policy?.remove()) ?? NOTHING,
      ...(await eachInTurn(beside, table => table.remove())),
    ])
    for (const object of this.#strays.keys()) if (!graced.has(object)) this.#strays.delete(object)
    if (outcome.refused.length > 0) this.#links.invalidate()
    return outcome
  }

  /** Takes in what the kernel told; returns the name of what needs a pass, if any does. */
  observe(event: KernelEvent): string | undefined {
    const isOfHosts = this.#policy?.observeLinks(event) === true
    return this.#changed(event) || isOfHosts ? changedObject(event) : undefined
  }

  #changed(event: KernelEvent): boolean {
    if (event.type === 'shaping' || event.type === 'rule' || event.type === 'rule-gone') return false
    switch (event.type) {
      case 'overrun':
        // of nftables the kernel tells elsewhere
        this.#links.invalidate()
        for (const table of this.#tables) table.lostEvents()
        return true
      case 'link':
      case 'link-gone':
        return this.#linkChanged(event)
      case 'address':
      case 'address-gone':
        return this.#addressChanged(event)
      case 'route':
      case 'route-gone':
      case 'next-hop':
      case 'next-hop-gone':
        return this.#observeRoutes(event)
      case 'neighbour':
      case 'neighbour-gone': {
        const value = namedNeighbour(event.neighbour, this.#links)
        if (value === undefined) return false
        return this.#neighbours.observe(neighbourKey(value), event.type === 'neighbour' ? value : undefined, event.by)
      }
      case 'fdb':
      case 'fdb-gone': {
        const { ifindex, mac, dst } = event.entry
        const interfaceName = this.#links.nameOf(ifindex)
        if (interfaceName === undefined) return false
        const value = { interfaceName, mac, dst }
        return this.#fdb.observe(fdbKey(value), event.type === 'fdb' ? value : undefined, event.by)
      }
      case 'sysctl':
        return this.#settingChanged(event)
    }
  }

  /** Takes in a transaction of nftables, or that some were missed (undefined); returns the name of what needs a pass, if any does. */
  observeNftables(news: NftNews | undefined): string | undefined {
    const own = this.#ownTables().map(each => each.observe(news))
    if (!this.#nft.observe(news) && !own.includes(true)) return undefined
    return news === undefined ? 'nftables' : news.tables.map(nftTableKey).join(', ')
  }

  /** Whether packets of pods are filtered, as of the last pass. */
  get podsFiltered(): boolean {
    return this.#filters
  }

  /** What this kernel lacks for tables that are wanted, by the key of the table. */
  get lacking(): ReadonlyMap<string, string> {
    const own = this.#ownTables().map(({ lacking }) => lacking)
    return new Map([...this.#nft.lacking(), ...own.filter(lacking => lacking !== undefined)])
  }

  /** How many packets the pod filter has dropped, by the reason. */
  droppedPackets(): Promise<ReadonlyMap<string, number>> {
    return this.#nft.counted()
  }

  /** What the pod filter lacks in the kernel now, in itself or for one interface. Rejects with `KernelError`. */
  filterDifferences(interfaceName: string): Promise<NftDifference[]> {
    return this.#nft.differences(interfaceName)
  }

  /** Whether something unknown on a pod's interface still waits for its grace to end. */
  get waitsForGrace(): boolean {
    return this.#strays.size > 0
  }

  #ownTables(): readonly OwnTable[] {
    return this.#policy === undefined ? this.#beside : [this.#policy, ...this.#beside]
  }

  #wantSysctl(key: string, sysctl: NamedSysctl | undefined): void {
    if (sysctl?.needs === 'pod filter') this.#needFilter.set(key, sysctl)
    else this.#needFilter.delete(key)
    const ofDevice = sysctl?.needs === 'device'
    this.#deviceSysctls.want(key, ofDevice ? sysctl : undefined)
    this.#sysctls.want(key, ofDevice ? undefined : sysctl && this.#permitted(sysctl))
  }

  #permitted(sysctl: NamedSysctl): NamedSysctl {
    return sysctl.needs !== 'pod filter' || this.#filters ? sysctl : { ...sysctl, value: sysctl.withoutFilter ?? '0' }
  }

  #setPodFilter(stands: boolean): void {
    if (stands === this.#filters) return
    this.#filters = stands
    for (const [key, sysctl] of this.#needFilter) this.#sysctls.want(key, this.#permitted(sysctl))
  }

  #wantDestination(cidr: string, wanted: true | undefined): void {
    if (wanted === undefined) this.#destinations.delete(cidr)
    else this.#destinations.add(cidr)
    this.#destinationsChanged = true
  }

  #wantEach<K extends AppliedKind>(kind: K, changes: ReadonlyMap<string, Desired[K] | undefined>): void {
    for (const [key, value] of changes) this.#wants[kind](key, value)
  }

  #observeRoutes(event: KernelEvent): boolean {
    const isOfLocalTable = this.#localRoutes.observe(event)
    return this.#routes.observe(event) || isOfLocalTable
  }

  /** What a link takes along when it goes away or down is mostly not told. */
  #linkChanged(event: KernelEvent & { type: 'link' | 'link-gone' }): boolean {
    this.#linkTable.changedBy(event.link.name, event.by)
    if (event.type === 'link' && this.#links.isLate(event)) return false
    const before = event.type === 'link' ? this.#links.byName(event.link.name) : undefined
    const touched = this.#links.observe(event).filter(name => this.#concerns(name))
    for (const name of touched) this.#invalidateInterface(name, event.by)
    const { name, mtu, mac } = event.link
    const wanted = this.#linkTable.wanted().has(name)
    const routesChanged = this.#observeRoutes(event)
    const changed = touched.length > 0 || routesChanged || (wanted && (before?.mtu !== mtu || before?.mac !== mac))
    // what is told late is how the link was before the last write of ours
    if (changed && wanted) this.#toLookAt.add(name)
    return changed
  }

  /** The kernel removes routes with an address and sends no event for them (fib_sync_down_addr). */
  #addressChanged(event: KernelEvent & { type: 'address' | 'address-gone' }): boolean {
    const { ifindex, tentative: _, ...address } = event.address
    const interfaceName = this.#links.nameOf(ifindex)
    if (interfaceName === undefined) return false
    const value = { ...address, interfaceName }
    const key = addressKey(value)
    // an interface loses all its IPv6 addresses when IPv6 is switched off there, of which nothing else tells
    if (event.type === 'address-gone' && familyOf(address.address) === 'ipv6' && this.#concerns(interfaceName)) {
      this.#invalidateInterface(interfaceName, event.by)
      return true
    }
    // the echo of one's own write, or news about an IPv6 address such as the end of its duplicate detection
    if (event.type === 'address' && this.#addresses.wanted().has(key)) return false
    const changed = this.#addresses.observe(key, event.type === 'address' ? value : undefined, event.by)
    return this.#observeRoutes(event) || changed
  }

  /**
   * `ip_forward` is forwarding of all interfaces. What a device had when it was made is told while the settings of its pod are being
   * written, or later. What is not written yet is on its way; of the rest counts what there is now, and what is as wanted needs
   * nothing.
   */
  #settingChanged({ family, of, name, value, isNew }: KernelEvent & { type: 'sysctl' }): boolean {
    const whose = typeof of === 'number' ? this.#links.nameOf(of) : of
    if (whose === undefined) return false
    const paths = [['conf', whose, name], ...(whose === 'all' && name === 'forwarding' ? [['ip_forward']] : [])]
    let needsPass = false
    for (const path of paths)
      for (const table of this.#sysctlTables) {
        const key = sysctlKey({ family, path })
        const wanted = table.wanted().get(key)
        if (wanted === undefined || wanted.value === value || (isNew && !table.holds(key))) continue
        const now = readOrAbsent(this.#kernel, family, path) ?? value
        if (now !== wanted.value && now !== wanted.orValue)
          needsPass = table.observe(key, { ...wanted, value: now }) || needsPass
      }
    return needsPass
  }

  /** Takes in that another process wrote to a setting; returns the name of what needs a pass, if any does. */
  observeSetting({ family, path, by }: SettingNews): string | undefined {
    const key = sysctlKey({ family, path })
    let needsPass = false
    for (const table of this.#sysctlTables) {
      const wanted = table.wanted().get(key)
      const now = wanted && readOrAbsent(this.#kernel, family, path)
      if (wanted === undefined || now === undefined || now === wanted.value || now === wanted.orValue) continue
      needsPass = table.observe(key, { ...wanted, value: now }, by) || needsPass
    }
    return needsPass ? `setting ${key}` : undefined
  }

  #invalidateInterface(name: string, by?: Author): void {
    for (const table of this.#tables) table.invalidateInterface(name, by)
  }

  #concerns(interfaceName: string): boolean {
    return this.#linkTable.wanted().has(interfaceName) || this.#tables.some(table => table.concerns(interfaceName))
  }

  #outlivedGrace(key: string): boolean {
    const since = this.#strays.get(key) ?? this.#now()
    this.#strays.set(key, since)
    return this.#now() - since >= STRAY_GRACE_MS
  }
}

function eachInTurn(tables: readonly OwnTable[], act: (table: OwnTable) => Promise<Outcome>): Promise<Outcome[]> {
  return Array.fromAsync(tables, table => act(table))
}
