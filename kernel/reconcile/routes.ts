// Routes of one table, told apart by destination and metric. Hazards: IPv4 routes vanish without a word with their link
// or last address; NLM_F_REPLACE overwrites whoever holds the key, so it is used only for routes that were read.
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Author, Kernel, KernelEvent } from '../port/kernel.ts'
import type { Resilient } from '../port/next-hops.ts'
import { interfacesOf, ROUTE_PROTOCOL, type Route } from '../port/routes.ts'
import type { ForeignRoutes } from './foreign-routes.ts'
import type { LinkView } from './link-view.ts'
import { NextHopGroups } from './next-hops.ts'
import { dstOf, type NamedRoute, type RouteWay, routeKeyOf } from './objects.ts'
import type { Outcome } from './outcome.ts'
import type { Ownership } from './ownership.ts'
import { lookUpEach, type RouteReads } from './route-lookups.ts'
import { RouteWays } from './route-ways.ts'
import { namedRoute, sameRoute, wayWords, writeRoutes } from './route-writes.ts'
import { KernelTable, type MayRemove, type TableDriver } from './table.ts'

/** Of a group that a million routes go by so many are looked at in one turn of the event loop: a few milliseconds. */
const PER_TURN = 1 << 12

type RouteKernel = RouteReads & Pick<Kernel, 'changeRoutes' | 'nextHopObjects' | 'changeNextHopObjects'>

export class RouteTable {
  readonly #links: LinkView
  readonly #ownership: Ownership
  readonly #table: KernelTable<RouteWay>
  readonly #ways = new RouteWays()
  /** Never those of wanted routes: what was seen may be the same in words and lead elsewhere, by the state of links. */
  readonly #seenWays = new RouteWays()
  /** The key that is wanted of a destination, where it has a metric: a new one is a new key, and the old one has to go. */
  readonly #keys = new Map<string, string>()
  readonly #foreign: ForeignRoutes | undefined
  readonly #groups: NextHopGroups

  /**
   * `confirm`: read back what was written before it counts as done. `foreign` takes in what others have among our destinations.
   * `resilient`: how groups of next hops keep their flows where they are; absent: flows may move when a group changes.
   */
  constructor(
    kernel: RouteKernel,
    links: LinkView,
    ownership: Ownership,
    { confirm, foreign, resilient }: { confirm: boolean; foreign?: ForeignRoutes; resilient?: Resilient | undefined },
  ) {
    this.#foreign = foreign
    this.#links = links
    this.#ownership = ownership
    const routes = { seen: () => this.#table.seen(), wanted: () => this.#table.wanted() }
    this.#groups = new NextHopGroups(kernel, links, ownership.marks, routes, resilient)
    this.#table = new KernelTable(routeDriver(kernel, links, ownership, this.#groups, this.#seenWays, foreign), {
      confirm,
    })
  }

  /** Wants exactly this route to `dst`, or none. Throws for a route that we would not know as ours. */
  want(dst: string, route?: NamedRoute): void {
    if (route !== undefined && route.dst !== dst) throw new Error(`a route to ${route.dst} is not one to ${dst}`)
    const old = this.#keys.get(dst) ?? dst
    if (route !== undefined && !this.#ownership.ownsRoute(route))
      throw new Error(`a route to ${dst} of protocol ${route.protocol} would not be known as ours`)
    const key = route && routeKeyOf(route)
    if (key !== undefined) this.#want(key, route)
    if (old !== key) this.#want(old)
    if (key === undefined || key === dst) this.#keys.delete(dst)
    else this.#keys.set(dst, key)
    this.#foreign?.want(dst, route)
  }

  #want(key: string, route?: NamedRoute): void {
    const before = this.#table.wanted().get(key)
    const nextHops = route?.nextHops && this.#groups.take(route.nextHops)
    const way = route && this.#ways.of(route, nextHops)
    if (way !== before) {
      const id = this.#table.seen().get(key)?.nextHopId
      if (id !== undefined) this.#groups.left(id, key)
      this.#table.want(key, way)
    }
    this.#groups.release(before?.nextHops)
  }

  /** As the option `resilient`, from the next `apply` on; returns whether one is needed. Routes go to new groups before the old ones go. */
  setResilient(resilient: Resilient | undefined): boolean {
    return this.#groups.setResilient(resilient)
  }

  /** What the kernel said of resilient groups, where they are asked for and it has none: flows may move then. */
  get lacksResilient(): string | undefined {
    return this.#groups.lacking
  }

  /** Whether the next `apply` has to read the kernel. */
  get isStale(): boolean {
    return this.#table.isStale || this.#groups.isStale
  }

  concerns(interfaceName: string): boolean {
    return this.#table.concerns(interfaceName)
  }

  invalidate(): void {
    this.#groups.invalidate()
    this.#table.invalidate()
  }

  /** As `Ownership.setDestinations`; what others have among them is read with the next `apply`. */
  setDestinations(cidrs: Iterable<string>): void {
    this.#ownership.setDestinations(cidrs)
    if (this.#foreign !== undefined) this.#table.invalidate()
  }

  /** As `KernelTable.lostEvents`. */
  lostEvents(): void {
    this.#groups.invalidate()
    this.#table.lostEvents()
  }

  invalidateInterface(interfaceName: string, by?: Author): void {
    this.#groups.invalidateInterface(interfaceName)
    this.#table.invalidateInterface(interfaceName, by)
  }

  forgetInterface(interfaceName: string): void {
    this.#groups.invalidateInterface(interfaceName)
    this.#table.forgetInterface(interfaceName)
  }

  async apply(mayRemove: MayRemove<RouteWay>): Promise<Outcome> {
    const { refused, changed, lost } = await this.#groups.apply()
    for (const [i, key] of changed.entries()) {
      this.#table.checkAgain(key)
      if (i % PER_TURN === PER_TURN - 1) await nextTurn()
    }
    // IPv4 routes went with their group without a word
    if (lost.size > 0) this.#table.invalidateWhere(({ nextHopId }) => nextHopId !== undefined && lost.has(nextHopId))
    const outcome = await this.#table.apply(mayRemove)
    await this.#groups.clean()
    for (const refusal of refused) outcome.refused.push(refusal)
    return outcome
  }

  /** Takes what the kernel tells of routes, addresses and links, the latter once the view has them; returns whether that needs an `apply`. */
  observe(event: KernelEvent): boolean {
    const { by } = event
    if (event.type === 'address-gone') {
      // fib_sync_down_addr and fib_disable_ip: routes go with an address, and nobody is told
      const { ifindex, address } = event.address
      const name = this.#links.nameOf(ifindex)
      if (name !== undefined) this.#table.invalidateInterface(name, by)
      this.#table.invalidateWhere(seen => seen.source === address, by)
      return this.#table.isStale
    }
    const groupsChanged = this.#groups.observe(event)
    if (event.type === 'link') return this.#table.linkChanged(event.link.name) || groupsChanged
    if (event.type !== 'route' && event.type !== 'route-gone') return groupsChanged
    if (event.route.table !== this.#ownership.marks.table) return false
    const route = shownRoute(event.route, this.#links, this.#groups)
    const key = routeKeyOf(route)
    const isKept = event.type === 'route' && isForeign(route, this.#ownership)
    const isNews = isKept ? this.#foreign?.saw(route, by) : this.#foreign?.gone(key)
    return (
      this.#table.observe(key, event.type === 'route' ? this.#seenWays.of(route) : undefined, by) || isNews === true
    )
  }
}

/** Whether a route is another program's, within what only we may give routes to. The kernel's own go with addresses. */
function isForeign(route: NamedRoute, ownership: Ownership): boolean {
  const { dst, protocol } = route
  if (protocol === ROUTE_PROTOCOL.kernel || ownership.originOf(route) !== undefined) return false
  return ownership.isDestination(dst)
}

function routeDriver(
  kernel: RouteKernel,
  links: LinkView,
  ownership: Ownership,
  groups: NextHopGroups,
  ways: RouteWays,
  foreign: ForeignRoutes | undefined,
): TableDriver<RouteWay> {
  const { table } = ownership.marks
  const named = (route: Route) => shownRoute(route, links, groups)
  const withNames = async (route: Route): Promise<NamedRoute> => {
    // tables are long: only a name that is not known is worth a turn of its own
    for (const ifindex of interfacesOf(route)) if (links.nameOf(ifindex) === undefined) await links.findName(ifindex)
    return named(route)
  }
  const keyed = async (routes: readonly Route[], each?: (route: NamedRoute) => void): Promise<[string, RouteWay][]> => {
    const out: [string, RouteWay][] = []
    for (const route of routes) {
      const { ifindex } = route
      const isKnown = ifindex !== undefined && links.nameOf(ifindex) !== undefined
      const shown = isKnown ? named(route) : await withNames(route)
      each?.(shown)
      out.push([routeKeyOf(shown), ways.of(shown)])
    }
    return out
  }
  // the routes of others may be a hundred thousand: the kernel leaves them out by itself
  const ours = async (wanted: ReadonlyMap<string, RouteWay>): Promise<Route[]> => {
    const protocols = new Set([ownership.marks.protocol])
    for (const route of wanted.values()) protocols.add(route.protocol)
    const all: Route[] = []
    for (const protocol of protocols) for (const route of await kernel.routes({ table, protocol })) all.push(route)
    return all
  }
  return {
    kind: 'route',
    same: (wanted, seen, key) => sameRoute(key, wanted, seen, links, groups),
    interfaceOf: ({ interfaceName }) => interfaceName,
    interfacesOf: ({ nextHops }) => nextHops?.map(hop => hop.interfaceName),
    owns: route => ownership.ownsRoute(route),
    // without pods there is one reason
    originOf: route => (ownership.marks.interfacePrefix === undefined ? undefined : ownership.originOf(route)),
    ownerOf: ({ protocol }) =>
      protocol === ROUTE_PROTOCOL.bird
        ? 'protocol 12: a BIRD, or an earlier version of Margay'
        : `protocol ${protocol}`,
    mayTake: (seen, wanted, key) => ownership.mayTakeRoute(seen, { ...wanted, dst: dstOf(key) }),
    wordsOf: wayWords,
    async list(wanted, which) {
      if (which === 'ours') return keyed(await ours(wanted))
      const others: NamedRoute[] = []
      const all = await keyed(await kernel.routes({ table }), route => {
        if (foreign !== undefined && isForeign(route, ownership)) others.push(route)
      })
      foreign?.read(others)
      return all
    },
    async listInterface(name) {
      const link = await links.find(name)
      return link === undefined ? [] : keyed(await kernel.routes({ table, ifindex: link.index }))
    },
    async look(objects) {
      const found = await lookUpEach(kernel, table, objects)
      return Promise.all(found.map(async ([key, route]) => [key, route && ways.of(await withNames(route))] as const))
    },
    write: writes => writeRoutes(kernel, links, groups, writes),
  }
}

/** A kernel's route, without the next hops of a group of ours: those may change, and the route stays as it is. */
function shownRoute(route: Route, links: LinkView, groups: NextHopGroups): NamedRoute {
  const { nextHopId } = route
  if (nextHopId === undefined || !groups.isOwn(nextHopId)) return namedRoute(route, ifindex => links.nameOf(ifindex))
  const { gateway: _, ifindex: __, onlink: ___, nextHops: ____, ...rest } = route
  return rest
}
