// Felix's routes in the main table. Ours by mark: protocol bird (12), protocol 80, and the workload protocol on a
// pod's interface. A route of somebody else under a wanted key is overwritten when the destination is ours to route
// (a pod, a block, anything in a pool), and left alone when it is not: a router on the LAN that announces a default
// route must not take the place of the one the administrator configured.
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route, routeKey } from '../../kernel/port/routes.ts'
import { contains, familyOf } from '../../lib/ip.ts'
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { DesiredRoute } from '../desired.ts'
import { type LinkView, NoInterface } from './link-view.ts'
import { ForeignOwner, type Refusal, refusal, type Surface } from './reconciler.ts'
import { WORKLOAD_PREFIX } from './surfaces.ts'

/** Above this many suspects one dump is cheaper than a question for each. */
const FEW = 64

/** Who owns a route: what decides when it may be removed. */
export type RouteClass = 'learned' | 'block' | 'workload' | 'foreign'

export function routeClass({ protocol, ifindex, gateway }: Route, links: LinkView): RouteClass {
  if (protocol === ROUTE_PROTOCOL.bird) return 'learned'
  if (protocol === ROUTE_PROTOCOL.blocks) return 'block'
  const name = ifindex === undefined ? undefined : links.nameOf(ifindex)
  const onPod = name?.startsWith(WORKLOAD_PREFIX) === true && gateway === undefined
  // the kernel's own routes (fe80::/64, multicast) come and go with the link
  return onPod && protocol !== ROUTE_PROTOCOL.kernel ? 'workload' : 'foreign'
}

/** Turns wanted routes into kernel routes; remembers the answers, since most routes are the same every time. */
export class RouteResolver {
  readonly #links: LinkView
  readonly #known = new WeakMap<DesiredRoute, { key: string; route: Route }>()

  constructor(links: LinkView) {
    this.#links = links
  }

  resolve(routes: Iterable<DesiredRoute>): { wanted: Map<string, Route>; waiting: Refusal[] } {
    const wanted = new Map<string, Route>()
    const waiting: Refusal[] = []
    for (const desired of routes) {
      const name = desired.interfaceName
      const index = name === undefined ? undefined : this.#links.byName(name)?.index
      if (name !== undefined && index === undefined) {
        waiting.push(refusal({ kind: 'route', key: desired.dst, interfaceName: name }, new NoInterface(name)))
        continue
      }
      let known = this.#known.get(desired)
      if (known === undefined || known.route.ifindex !== index) {
        const route = kernelRoute(desired, index)
        known = { key: routeKey(route), route }
        this.#known.set(desired, known)
      }
      wanted.set(known.key, known.route)
    }
    return { wanted, waiting }
  }
}

/** The route as the kernel shows it afterwards: IPv6 has no scopes. */
function kernelRoute({ interfaceName: _, ...route }: DesiredRoute, ifindex: number | undefined): Route {
  return { ...route, ifindex, scope: familyOf(route.dst) === 'ipv6' ? ROUTE_SCOPE.universe : route.scope }
}

/** `isOurs` says whether a destination is ours to route whoever else has a route to it. */
export function routeSurface(kernel: Kernel, links: LinkView, isOurs: (prefix: Prefix) => boolean): Surface<Route> {
  const mayTake = (wanted: Route, seen: Route | undefined): boolean => {
    if (seen === undefined || routeClass(seen, links) !== 'foreign' || wanted.protocol !== ROUTE_PROTOCOL.bird)
      return true
    const prefix = parsePrefix(wanted.dst)
    return prefix !== undefined && isOurs(prefix)
  }
  return {
    kind: 'route',
    nameOf: (key, route) => ({
      kind: 'route',
      key: key.split(' ')[1]!,
      interfaceName: route?.ifindex === undefined ? undefined : links.nameOf(route.ifindex),
    }),
    same: sameRoute,
    async read(wanted) {
      const seen = new Map<string, Route>()
      for (const route of await kernel.routes({ table: ROUTE_TABLE.main })) {
        const key = routeKey(route)
        const ours = wanted.has(key) || routeClass(route, links) !== 'foreign'
        // of several under one key the first is the one in use
        if (ours && !seen.has(key)) seen.set(key, route)
      }
      return seen
    },
    readSome(keys) {
      return keys.length > FEW ? undefined : readFew(kernel, keys)
    },
    async write(changes) {
      const results: (Error | undefined)[] = []
      const sent = changes.flatMap(({ value, seen }, i) => {
        const route = value ?? seen
        if (route === undefined) return []
        if (value !== undefined && !mayTake(value, seen)) {
          results[i] = new ForeignOwner(
            `a route of another owner (protocol ${seen?.protocol}) is there; remove one of the two`,
          )
          return []
        }
        return [{ i, verb: value === undefined ? ('delete' as const) : ('replace' as const), route }]
      })
      // replacing before removing: a block that was split or joined is never without a route
      sent.sort((a, b) => Number(a.verb === 'delete') - Number(b.verb === 'delete'))
      const refusals = await kernel.changeRoutes(sent.map(({ verb, route }) => ({ verb, route })))
      for (const [n, { i }] of sent.entries()) results[i] = refusals[n]
      return changes.map((_, i) => results[i])
    },
  }
}

/** Asks for single routes; only where a longer prefix hides the answer is the whole table read. */
async function readFew(kernel: Kernel, keys: readonly string[]): Promise<[string, Route | undefined][]> {
  const answers: [string, Route | undefined][] = []
  let all: Map<string, Route> | undefined
  for (const key of keys) {
    const dst = key.split(' ')[1]!
    const found = await lookup(kernel, dst)
    if (found === 'none') answers.push([key, undefined])
    else if (found !== undefined && routeKey(found) === key) answers.push([key, found])
    else if (found?.table === ROUTE_TABLE.main && found.dst !== dst && contains(found.dst, dst))
      answers.push([key, undefined])
    else {
      all ??= await readTable(kernel)
      answers.push([key, all.get(key)])
    }
  }
  return answers
}

async function readTable(kernel: Kernel): Promise<Map<string, Route>> {
  const all = new Map<string, Route>()
  for (const route of await kernel.routes({ table: ROUTE_TABLE.main }))
    if (!all.has(routeKey(route))) all.set(routeKey(route), route)
  return all
}

/** The route of the first address of `dst`; undefined when that drops packets, and so cannot be asked about. */
async function lookup(kernel: Kernel, dst: string): Promise<Route | 'none' | undefined> {
  try {
    return await kernel.lookupRoute(dst.split('/')[0]!)
  } catch (error) {
    if (error instanceof KernelError) return error.errno === ERRNO.ENETUNREACH ? 'none' : undefined
    throw error
  }
}

function sameRoute(a: Route, b: Route): boolean {
  return (
    a.type === b.type &&
    a.protocol === b.protocol &&
    a.scope === b.scope &&
    a.gateway === b.gateway &&
    (a.onlink ?? false) === (b.onlink ?? false) &&
    a.source === b.source &&
    a.mtu === b.mtu &&
    a.ifindex === b.ifindex
  )
}

/** A question for `routeSurface`: is a destination inside a pool, or one of these. */
export function ownDestinations(
  poolCidrs: Iterable<string>,
  routes: Iterable<DesiredRoute>,
): (prefix: Prefix) => boolean {
  const index = new PrefixIndex<true>()
  const add = (text: string) => {
    const prefix = parsePrefix(text)
    if (prefix !== undefined) index.set(prefix, true)
  }
  for (const cidr of poolCidrs) add(cidr)
  for (const { dst, protocol } of routes) if (protocol !== ROUTE_PROTOCOL.bird) add(dst)
  return prefix => index.match(prefix) === true
}
