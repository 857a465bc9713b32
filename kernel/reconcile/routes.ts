// Routes of one table, told apart by destination and metric. Hazards: IPv4 routes vanish without a word with their link
// or last address; NLM_F_REPLACE overwrites whoever holds the key, so it is used only for routes that were read.
import { contains, familyOf } from '../../lib/ip.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type { Author, Kernel, KernelEvent } from '../port/kernel.ts'
import { drops, ROUTE_PROTOCOL, ROUTE_SCOPE, type Route, type RouteChange, type RouteType } from '../port/routes.ts'
import type { ForeignRoutes } from './foreign-routes.ts'
import type { LinkView } from './link-view.ts'
import { type NamedRoute, routeKeyOf } from './objects.ts'
import { failureOf, noInterface, type Outcome, type WriteFailure } from './outcome.ts'
import type { Ownership } from './ownership.ts'
import { KernelTable, type MayRemove, type TableDriver, type Write } from './table.ts'

export type RouteKernel = Pick<Kernel, 'routes' | 'changeRoutes' | 'lookupRoute'>

/** How a look-up ends at a route that drops packets (net/ipv4/fib_semantics.c, fib_props; ip6_rt_type_to_error). */
const DROPPED_BY: ReadonlyMap<number, RouteType> = new Map([
  [ERRNO.EINVAL, 'blackhole'],
  [ERRNO.EHOSTUNREACH, 'unreachable'],
  [ERRNO.EACCES, 'prohibit'],
])

/** One reading of a table for a single destination costs a third of one of all. */
const MOST_READ_SINGLY = 3

export class RouteTable {
  readonly #links: LinkView
  readonly #ownership: Ownership
  readonly #table: KernelTable<NamedRoute>
  /** The key that is wanted of each destination: a new metric is a new key, and the old one has to go. */
  readonly #keys = new Map<string, string>()
  readonly #foreign: ForeignRoutes | undefined

  /** `confirm`: read back what was written before it counts as done. `foreign` takes in what others have among our destinations. */
  constructor(
    kernel: RouteKernel,
    links: LinkView,
    ownership: Ownership,
    { confirm, foreign }: { confirm: boolean; foreign?: ForeignRoutes },
  ) {
    this.#foreign = foreign
    this.#links = links
    this.#ownership = ownership
    this.#table = new KernelTable(routeDriver(kernel, links, ownership, foreign), { confirm })
  }

  /** Wants exactly this route to `dst`, or none. Throws for a route that we would not know as ours. */
  want(dst: string, route?: NamedRoute): void {
    if (route !== undefined && route.dst !== dst) throw new Error(`a route to ${route.dst} is not one to ${dst}`)
    const old = this.#keys.get(dst)
    if (route !== undefined && !this.#ownership.ownsRoute(route))
      throw new Error(`a route to ${dst} of protocol ${route.protocol} would not be known as ours`)
    const key = route && routeKeyOf(route)
    if (key !== undefined) this.#table.want(key, route)
    if (old !== undefined && old !== key) this.#table.want(old)
    if (key === undefined) this.#keys.delete(dst)
    else this.#keys.set(dst, key)
    this.#foreign?.want(dst, route)
  }

  /** By key, as `routeKeyOf` makes it. */
  wanted(): ReadonlyMap<string, NamedRoute> {
    return this.#table.wanted()
  }

  /** Whether the next `apply` has to read the kernel. */
  get isStale(): boolean {
    return this.#table.isStale
  }

  concerns(interfaceName: string): boolean {
    return this.#table.concerns(interfaceName)
  }

  invalidate(): void {
    this.#table.invalidate()
  }

  /** As `Ownership.setDestinations`; what others have among them is read with the next `apply`. */
  setDestinations(cidrs: Iterable<string>): void {
    this.#ownership.setDestinations(cidrs)
    if (this.#foreign !== undefined) this.#table.invalidate()
  }

  /** As `KernelTable.lostEvents`. */
  lostEvents(): void {
    this.#table.lostEvents()
  }

  invalidateInterface(interfaceName: string, by?: Author): void {
    this.#table.invalidateInterface(interfaceName, by)
  }

  forgetInterface(interfaceName: string): void {
    this.#table.forgetInterface(interfaceName)
  }

  apply(mayRemove: MayRemove<NamedRoute>): Promise<Outcome> {
    return this.#table.apply(mayRemove)
  }

  /** Takes what the kernel tells of routes and addresses; returns whether that needs an `apply`. */
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
    if (event.type !== 'route' && event.type !== 'route-gone') return false
    if (event.route.table !== this.#ownership.marks.table) return false
    const { ifindex } = event.route
    const route = named(event.route, ifindex === undefined ? undefined : this.#links.nameOf(ifindex))
    const key = routeKeyOf(route)
    const isKept = event.type === 'route' && isForeign(route, this.#ownership)
    const isNews = isKept ? this.#foreign?.saw(route, by) : this.#foreign?.gone(key)
    return this.#table.observe(key, event.type === 'route' ? route : undefined, by) || isNews === true
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
  foreign: ForeignRoutes | undefined,
): TableDriver<NamedRoute> {
  const { table } = ownership.marks
  const keyed = async (routes: readonly Route[]): Promise<[string, NamedRoute][]> => {
    const out: [string, NamedRoute][] = []
    for (const route of routes) {
      const known = route.ifindex === undefined ? undefined : links.nameOf(route.ifindex)
      // tables are long: only a name that is not known is worth a turn of its own
      const value = known === undefined ? await withName(route, links) : named(route, known)
      out.push([routeKeyOf(route), value])
    }
    return out
  }
  // the routes of others may be a hundred thousand: the kernel leaves them out by itself
  const ours = async (wanted: ReadonlyMap<string, NamedRoute>): Promise<Route[]> => {
    const protocols = new Set([ownership.marks.protocol])
    for (const route of wanted.values()) protocols.add(route.protocol)
    const all: Route[] = []
    for (const protocol of protocols) for (const route of await kernel.routes({ table, protocol })) all.push(route)
    return all
  }
  return {
    kind: 'route',
    same: sameRoute,
    interfaceOf: ({ interfaceName }) => interfaceName,
    owns: route => ownership.ownsRoute(route),
    ownerOf: ({ protocol }) =>
      protocol === ROUTE_PROTOCOL.bird
        ? 'protocol 12: a BIRD, or an earlier version of Margay'
        : `protocol ${protocol}`,
    mayTake: (seen, wanted) => ownership.mayTakeRoute(seen, wanted),
    async list(wanted, which) {
      if (which === 'ours') return keyed(await ours(wanted))
      const all = await keyed(await kernel.routes({ table }))
      foreign?.read(all.map(([, route]) => route).filter(route => isForeign(route, ownership)))
      return all
    },
    async listInterface(name) {
      const link = await links.find(name)
      return link === undefined ? [] : keyed(await kernel.routes({ table, ifindex: link.index }))
    },
    look: objects => lookUpEach(kernel, links, table, objects),
    write: writes => writeRoutes(kernel, links, ownership, writes),
  }
}

/** Routes that need no gateway go first: they may be the way to one. Deletions are never in one batch with others. */
async function writeRoutes(
  kernel: RouteKernel,
  links: LinkView,
  ownership: Ownership,
  writes: readonly Write<NamedRoute>[],
): Promise<(WriteFailure | undefined)[]> {
  const failures: (WriteFailure | undefined)[] = writes.map(() => undefined)
  const direct: { i: number; change: RouteChange }[] = []
  const indirect: { i: number; change: RouteChange }[] = []
  for (const [i, { verb, value }] of writes.entries()) {
    const { interfaceName } = value
    const link =
      interfaceName === undefined ? undefined : (links.byName(interfaceName) ?? (await links.find(interfaceName)))
    if (interfaceName !== undefined && link === undefined) {
      // what was on an interface went away with it
      if (verb !== 'delete') failures[i] = noInterface(interfaceName)
      continue
    }
    const full = unnamed(value, link?.index)
    // one of several next hops, or of a next hop object, is not found by a next hop; the first of its protocol is meant
    const route = verb === 'delete' && !ownership.ownsRoute(value) ? withoutNextHop(full) : full
    const list = route.gateway === undefined ? direct : indirect
    list.push({ i, change: { verb, route } })
  }
  const sent = [...direct, ...indirect]
  if (sent.length === 0) return failures
  const refusals = await kernel.changeRoutes(sent.map(({ change }) => change))
  for (const [n, { i }] of sent.entries()) {
    const refusal = refusals[n]
    if (refusal !== undefined) failures[i] = failureOf(refusal, routeText(writes[i]!.value))
  }
  return failures
}

/** As `ip route` has it, with the interface's name: an index means nothing to a person. */
export function routeText({ dst, type, gateway, interfaceName, metric }: NamedRoute): string {
  const via = gateway === undefined ? '' : ` via ${gateway}`
  const dev = interfaceName === undefined ? '' : ` dev ${interfaceName}`
  return `${type === 'unicast' ? '' : `${type} `}${dst}${via}${dev}${metric === undefined ? '' : ` metric ${metric}`}`
}

/**
 * Asks for single routes. Where the answer is a route that drops packets (the own block of a pod that went away), which the kernel
 * does not show, those of its type are read; where that does not tell, the table is looked through for the destination, once for
 * many of them.
 */
async function lookUpEach(
  kernel: RouteKernel,
  links: LinkView,
  table: number,
  objects: readonly { key: string; like: NamedRoute }[],
): Promise<[string, NamedRoute | undefined][]> {
  const answers: [string, NamedRoute | undefined][] = []
  const read = new Map<RouteType, Route[]>()
  const dropping = async (type: RouteType): Promise<Route[]> => {
    const routes = read.get(type) ?? (await kernel.routes({ table, type }))
    read.set(type, routes)
    return routes
  }
  const hidden: { key: string; like: NamedRoute }[] = []
  for (const { key, like } of objects) {
    const { dst } = like
    const isIt = (route: Route) => routeKeyOf(route) === key
    const answer = await lookUp(kernel, dst)
    const found = answer?.is === 'dropped' ? bestOf(await dropping(answer.by), dst) : answer?.route
    if (answer?.is === 'none' || (found?.table === table && !isIt(found) && hides(found.dst, dst)))
      answers.push([key, undefined])
    else {
      const shown = found?.table === table && isIt(found) ? found : undefined
      const dropped = shown ?? (drops(like.type) ? (await dropping(like.type)).find(isIt) : undefined)
      if (dropped === undefined) hidden.push({ key, like })
      else answers.push([key, await withName(dropped, links)])
    }
  }
  const found = new Map<string, Route>()
  const dsts = new Set(hidden.map(({ like }) => like.dst))
  for (const route of await readTo(kernel, table, dsts)) {
    const key = routeKeyOf(route)
    if (!found.has(key)) found.set(key, route)
  }
  for (const { key } of hidden) {
    const route = found.get(key)
    answers.push([key, route && (await withName(route, links))])
  }
  return answers
}

/** All routes to these destinations and nothing shorter or longer. The kernel tells a whole table for one too. */
async function readTo(kernel: RouteKernel, table: number, wanted: ReadonlySet<string>): Promise<Route[]> {
  if (wanted.size > MOST_READ_SINGLY) return (await kernel.routes({ table })).filter(({ dst }) => wanted.has(dst))
  const all: Route[] = []
  for (const dst of wanted) for (const route of await kernel.routes({ table, dst })) all.push(route)
  return all
}

/** Whether nothing of a table leads to exactly `dst`, since the way to its first address is this shorter prefix. */
function hides(found: string, dst: string): boolean {
  return found !== dst && contains(found, dst)
}

/** The route that packets to the first address of `dst` take among these. */
function bestOf(routes: readonly Route[], dst: string): Route | undefined {
  const address = dst.split('/')[0]!
  const length = (route: Route) => Number(route.dst.split('/')[1])
  const [best] = routes
    .filter(route => familyOf(route.dst) === familyOf(dst) && contains(route.dst, address))
    .toSorted((a, b) => length(b) - length(a) || (a.metric ?? 0) - (b.metric ?? 0))
  return best
}

type LookUp =
  | { is: 'found'; route: Route }
  | { is: 'dropped'; by: RouteType; route?: undefined }
  | { is: 'none'; route?: undefined }

/** The way to the first address of `dst`; undefined where the kernel says something else of it. */
async function lookUp(kernel: RouteKernel, dst: string): Promise<LookUp | undefined> {
  try {
    return { is: 'found', route: await kernel.lookupRoute(dst.split('/')[0]!) }
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    const by = DROPPED_BY.get(error.errno)
    if (by !== undefined) return { is: 'dropped', by }
    return error.errno === ERRNO.ENETUNREACH ? { is: 'none' } : undefined
  }
}

async function withName(route: Route, links: LinkView): Promise<NamedRoute> {
  const { ifindex } = route
  return named(route, ifindex === undefined ? undefined : (links.nameOf(ifindex) ?? (await links.findName(ifindex))))
}

function named({ ifindex: _, ...route }: Route, interfaceName: string | undefined): NamedRoute {
  return interfaceName === undefined ? route : { ...route, interfaceName }
}

/** Field by field: of a hundred thousand routes a rest of an object takes longer than the kernel needs for them. */
function unnamed(named: NamedRoute, ifindex: number | undefined): { [K in keyof Required<Route>]: Route[K] } {
  const { dst, table, type, protocol, gateway, onlink, metric, source, mtu } = named
  return { dst, table, type, protocol, scope: scopeOf(named), gateway, onlink, metric, source, mtu, ifindex }
}

function withoutNextHop({ gateway: _, ifindex: __, onlink: ___, ...route }: Route): Route {
  return route
}

/** IPv6 has no scopes. */
function scopeOf({ dst, scope }: Pick<Route, 'dst' | 'scope'>): number {
  return familyOf(dst) === 'ipv6' ? ROUTE_SCOPE.universe : scope
}

/** Whether the kernel's route is the wanted one. A wanted route without an interface takes whichever the gateway is on. */
function sameRoute(wanted: NamedRoute, seen: NamedRoute): boolean {
  return (
    wanted.type === seen.type &&
    wanted.protocol === seen.protocol &&
    wanted.gateway === seen.gateway &&
    (wanted.onlink ?? false) === (seen.onlink ?? false) &&
    wanted.source === seen.source &&
    wanted.mtu === seen.mtu &&
    (wanted.scope === seen.scope || familyOf(seen.dst) === 'ipv6') &&
    (wanted.interfaceName === seen.interfaceName ||
      drops(seen.type) ||
      (wanted.interfaceName === undefined && seen.gateway !== undefined))
  )
}
