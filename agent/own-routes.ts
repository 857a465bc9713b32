// Routes of BGP itself as ways to next hops: what they cost, and whether they need the next hop to which they lead, by themselves or by
// the routes that lead to their own. Of a loop that was found the kernel no longer has the route, so what peers announce decides how
// long it stays one.
import type { NextHopState, SelectedPath } from '../bgp/port.ts'
import type { Route } from '../kernel/port/routes.ts'
import { isFoundOnWay, keyOf, lengthOf } from './next-hop-routes.ts'

export type OwnRoutesDeps = {
  /** Of the routes that this speaker writes. */
  protocol: number
  /** The paths of what the speaker selected for a prefix. */
  selectedPaths(prefix: string): readonly Pick<SelectedPath, 'nextHop' | 'interface'>[] | undefined
  /** The next hops of all paths to a prefix that import accepted, used or not. */
  announced(prefix: string): readonly string[]
  /** A next hop that nobody asked for counts as reachable. Absent: it does not. */
  trusts?: true
}

/** A next hop as far as others may be reached over it. */
type Hop = {
  readonly nextHop: string
  readonly link: string | undefined
  state?: NextHopState
  /** The kernel's last answer. */
  route?: Route
  /** It is reached over this route, which needs it. */
  loop?: string
}

/** Of a next hop that nobody asked for. */
const TRUSTED: NextHopState = { reachable: true, cost: 0, over: '' }

export class OwnRoutes {
  readonly #deps: OwnRoutesDeps
  readonly #hops: ReadonlyMap<string, Hop>

  /** `hops`: all that are followed, by `keyOf`. */
  constructor(deps: OwnRoutesDeps, hops: ReadonlyMap<string, Hop>) {
    this.#deps = deps
    this.#hops = hops
  }

  /** The prefix of the route by which a next hop is reached over itself. */
  loopOf(hop: Hop, route: Route): string | undefined {
    if (route.protocol === this.#deps.protocol) {
      const isSelected = this.#deps.selectedPaths(route.dst) !== undefined
      return (isSelected ? this.#leadsBack(hop, route.dst) : this.#wouldNeed(hop, route.dst)) ? route.dst : undefined
    }
    const { loop } = hop
    // a longer route than the one that needed it has come
    if (loop === undefined || lengthOf(route.dst) > lengthOf(loop)) return undefined
    return this.#wouldNeed(hop, loop) ? loop : undefined
  }

  /** Whether a route that is not selected would need a next hop if it were, by what peers announce. */
  #wouldNeed(hop: Hop, prefix: string): boolean {
    return isFoundOnWay(prefix, (each, follow) =>
      this.#deps.announced(each).some(nextHop => {
        if (nextHop === hop.nextHop) return true
        const { loop, route } = this.#hops.get(nextHop) ?? {}
        const over = loop ?? (route?.protocol === this.#deps.protocol ? route.dst : undefined)
        if (over !== undefined) follow(over)
        return false
      }),
    )
  }

  /** Whether every path of a route of BGP needs a next hop, or each other, by itself or by the routes that lead to its own. */
  #leadsBack(hop: Hop, prefix: string): boolean {
    const isWayOut = isFoundOnWay(prefix, (each, follow) => {
      const selected = this.#deps.selectedPaths(each)
      if (selected === undefined) return true
      return selected.some(path => {
        const key = keyOf(path.nextHop, path.interface)
        if (key === keyOf(hop.nextHop, hop.link)) return false
        const route = this.#hops.get(key)?.route
        if (route?.protocol !== this.#deps.protocol) return true
        follow(route.dst)
        return false
      })
    })
    return !isWayOut
  }

  /** Cost of what leads to a next hop over a route of BGP: that of the route's own. Of an earlier run's route nothing is known yet. */
  costOver({ dst }: Route): number | undefined {
    const selected = this.#deps.selectedPaths(dst)
    if (selected === undefined) return 0
    const unasked = this.#deps.trusts ? TRUSTED : undefined
    let least: number | undefined
    for (const path of selected) {
      const state = this.#hops.get(keyOf(path.nextHop, path.interface))?.state ?? unasked
      if (state?.reachable === true && (least === undefined || state.cost < least)) least = state.cost
    }
    return least
  }
}
