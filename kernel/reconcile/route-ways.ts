// What routes are beside their destinations, one object for all that are alike: a table of a million routes has few of them, and
// one for each route would be most of what the table takes. Pure.
import type { NextHops } from './next-hop-lists.ts'
import type { NamedRoute, RouteWay } from './objects.ts'

/** So many are remembered of those over the same array of next hops, or over none. Of more, routes that are alike may have two. */
const MOST = 1024

/** All but next hops: what shares their array is told apart by the array. */
const FIELDS = {
  ...{ table: true, type: true, protocol: true, scope: true, gateway: true, interfaceName: true, onlink: true },
  ...{ nextHopId: true, metric: true, source: true, mtu: true },
} satisfies Record<keyof Omit<RouteWay, 'nextHops'>, true>
const NAMES = Object.keys(FIELDS) as (keyof typeof FIELDS)[]

export class RouteWays {
  readonly #alone = new Map<string, RouteWay>()
  readonly #over = new WeakMap<NextHops, Map<string, RouteWay>>()
  #last: RouteWay | undefined

  /** `nextHops`: the array in place of the route's own. Routes that are alike, over the very same array, have the same answer. */
  of(route: NamedRoute, nextHops = route.nextHops): RouteWay {
    const last = this.#last
    if (last?.nextHops === nextHops && last !== undefined && NAMES.every(name => last[name] === route[name]))
      return last
    const text = NAMES.map(name => route[name]).join(' ')
    const known = this.#known(nextHops)
    let way = known.get(text)
    if (way === undefined) {
      const { dst: _, ...rest } = route
      way = nextHops === undefined ? rest : { ...rest, nextHops }
      if (known.size >= MOST) known.clear()
      known.set(text, way)
    }
    this.#last = way
    return way
  }

  #known(nextHops: NextHops | undefined): Map<string, RouteWay> {
    if (nextHops === undefined) return this.#alone
    const known = this.#over.get(nextHops) ?? new Map<string, RouteWay>()
    this.#over.set(nextHops, known)
    return known
  }
}
