// Routes of one table, told apart by destination and metric. Hazards: IPv4 routes vanish without a word with their link
// or last address; NLM_F_REPLACE overwrites whoever holds the key, so it is used only for routes that were read.
import { contains, familyOf } from '../../lib/ip.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type { Kernel, KernelEvent } from '../port/kernel.ts'
import { drops, ROUTE_PROTOCOL, ROUTE_SCOPE, type Route, type RouteChange } from '../port/routes.ts'
import type { LinkView } from './link-view.ts'
import { type NamedRoute, routeKeyOf } from './objects.ts'
import { failureOf, noInterface, type Outcome, type WriteFailure } from './outcome.ts'
import type { Ownership } from './ownership.ts'
import { KernelTable, type MayRemove, type TableDriver, type Write } from './table.ts'

export type RouteKernel = Pick<Kernel, 'routes' | 'changeRoutes' | 'lookupRoute'>

export class RouteTable {
  readonly #links: LinkView
  readonly #ownership: Ownership
  readonly #table: KernelTable<NamedRoute>
  /** The key that is wanted of each destination: a new metric is a new key, and the old one has to go. */
  readonly #keys = new Map<string, string>()

  /** `confirm`: read back what was written before it counts as done. */
  constructor(kernel: RouteKernel, links: LinkView, ownership: Ownership, options: { confirm: boolean }) {
    this.#links = links
    this.#ownership = ownership
    this.#table = new KernelTable(routeDriver(kernel, links, ownership), options)
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

  invalidateInterface(interfaceName: string): void {
    this.#table.invalidateInterface(interfaceName)
  }

  forgetInterface(interfaceName: string): void {
    this.#table.forgetInterface(interfaceName)
  }

  apply(mayRemove: MayRemove<NamedRoute>): Promise<Outcome> {
    return this.#table.apply(mayRemove)
  }

  /** Takes what the kernel tells of routes and addresses; returns whether that needs an `apply`. */
  observe(event: KernelEvent): boolean {
    if (event.type === 'address-gone') {
      // fib_sync_down_addr and fib_disable_ip: routes go with an address, and nobody is told
      const { ifindex, address } = event.address
      const name = this.#links.nameOf(ifindex)
      if (name !== undefined) this.#table.invalidateInterface(name)
      this.#table.invalidateWhere(seen => seen.source === address)
      return this.#table.isStale
    }
    if (event.type !== 'route' && event.type !== 'route-gone') return false
    if (event.route.table !== this.#ownership.marks.table) return false
    const { ifindex } = event.route
    const route = named(event.route, ifindex === undefined ? undefined : this.#links.nameOf(ifindex))
    return this.#table.observe(routeKeyOf(route), event.type === 'route' ? route : undefined)
  }
}

function routeDriver(kernel: RouteKernel, links: LinkView, ownership: Ownership): TableDriver<NamedRoute> {
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
    list: async () => keyed(await kernel.routes({ table })),
    async listInterface(name) {
      const link = await links.find(name)
      return link === undefined ? [] : keyed(await kernel.routes({ table, ifindex: link.index }))
    },
    look: objects => lookUpEach(kernel, links, table, objects),
    write: writes => writeRoutes(kernel, links, writes),
  }
}

/** Routes that need no gateway go first: they may be the way to one. Deletions are never in one batch with others. */
async function writeRoutes(
  kernel: RouteKernel,
  links: LinkView,
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
    const route = unnamed(value, link?.index)
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
function routeText({ dst, type, gateway, interfaceName, metric }: NamedRoute): string {
  const via = gateway === undefined ? '' : ` via ${gateway}`
  const dev = interfaceName === undefined ? '' : ` dev ${interfaceName}`
  return `${type === 'unicast' ? '' : `${type} `}${dst}${via}${dev}${metric === undefined ? '' : ` metric ${metric}`}`
}

/**
 * Asks for single routes. Where a match that drops packets hides the answer (the own block of a pod that went away), the
 * routes on its interface are read; where that does not tell, the whole table.
 */
async function lookUpEach(
  kernel: RouteKernel,
  links: LinkView,
  table: number,
  objects: readonly { key: string; like: NamedRoute }[],
): Promise<[string, NamedRoute | undefined][]> {
  const answers: [string, NamedRoute | undefined][] = []
  const read = new Map<number | undefined, Map<string, Route>>()
  for (const { key, like } of objects) {
    const { dst } = like
    const found = await lookUp(kernel, dst)
    if (found === 'none') answers.push([key, undefined])
    else if (found?.table === table && routeKeyOf(found) === key) answers.push([key, await withName(found, links)])
    else if (found?.table === table && found.dst !== dst && contains(found.dst, dst)) answers.push([key, undefined])
    else {
      const ifindex =
        found !== undefined || like.interfaceName === undefined ? undefined : links.byName(like.interfaceName)?.index
      const routes = read.get(ifindex) ?? (await readTable(kernel, table, ifindex))
      read.set(ifindex, routes)
      const route = routes.get(key)
      answers.push([key, route && (await withName(route, links))])
    }
  }
  return answers
}

async function readTable(kernel: RouteKernel, table: number, ifindex?: number): Promise<Map<string, Route>> {
  const all = new Map<string, Route>()
  for (const route of await kernel.routes(ifindex === undefined ? { table } : { table, ifindex }))
    if (!all.has(routeKeyOf(route))) all.set(routeKeyOf(route), route)
  return all
}

/** The route of the first address of `dst`; undefined when that drops packets, and so cannot be asked about. */
async function lookUp(kernel: RouteKernel, dst: string): Promise<Route | 'none' | undefined> {
  try {
    return await kernel.lookupRoute(dst.split('/')[0]!)
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    return error.errno === ERRNO.ENETUNREACH ? 'none' : undefined
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
