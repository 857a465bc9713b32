// Routes of other programs that packets take in place of ours: more specific ones, or ones of a smaller metric, inside what only we
// may give routes to. They are nobody's to remove here. Pure. Hazard: after lost events, and where IPv4 routes go with their
// link, this is as it was until the table is read again.
import { isDeepStrictEqual } from 'node:util'
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { Author } from '../port/kernel.ts'
import { defaultMetric } from '../port/routes.ts'
import { type NamedRoute, routeKeyOf } from './objects.ts'

export type ForeignRoute = { route: NamedRoute; by?: Author }
/** `hides`: the route of ours whose packets it takes. */
export type Shadow = ForeignRoute & { hides: NamedRoute }

/** Whoever writes more of them into a pool has taken it over: some are told. */
const MOST = 100

export class ForeignRoutes {
  readonly #wanted = new PrefixIndex<NamedRoute>()
  readonly #of = new Map<string, ForeignRoute>()
  /** Whether each of them took packets when it was looked for one that does not. */
  #isFull = false

  /** Takes in which route of ours to `dst` is wanted. */
  want(dst: string, route: NamedRoute | undefined): void {
    const prefix = parsePrefix(dst)
    if (prefix === undefined) return
    if (route === undefined) this.#wanted.delete(prefix)
    else this.#wanted.set(prefix, route)
    this.#isFull = false
  }

  /** Begins anew with what a reading of the whole table shows. What is as it was keeps who made it. */
  read(routes: Iterable<NamedRoute>): void {
    const before = new Map(this.#of)
    this.#of.clear()
    this.#isFull = false
    for (const route of routes) {
      const known = before.get(routeKeyOf(route))
      this.saw(route, isDeepStrictEqual(known?.route, route) ? known?.by : undefined)
    }
  }

  /** Returns whether this was not known. Whoever says again what is there did not make it. */
  saw(route: NamedRoute, by: Author | undefined): boolean {
    const key = routeKeyOf(route)
    const known = this.#of.get(key)
    if (known === undefined ? !this.#hasRoom(route) : isDeepStrictEqual(known.route, route)) return false
    this.#of.set(key, by === undefined ? { route } : { route, by })
    return true
  }

  /** Returns whether it was known. */
  gone(key: string): boolean {
    if (!this.#of.delete(key)) return false
    this.#isFull = false
    return true
  }

  /** Those that packets take in place of a wanted route. A block of this node that drops packets loses none. */
  *shadows(): Generator<Shadow> {
    for (const foreign of this.#of.values()) {
      const hides = this.#hiddenBy(foreign.route)
      if (hides !== undefined) yield { ...foreign, hides }
    }
  }

  /** Of very many, those that take no packets now make room for one that does. */
  #hasRoom(route: NamedRoute): boolean {
    if (this.#of.size < MOST) return true
    if (this.#isFull || this.#hiddenBy(route) === undefined) return false
    for (const [key, other] of this.#of) if (this.#hiddenBy(other.route) === undefined) return this.#of.delete(key)
    this.#isFull = true
    return false
  }

  /** The most specific wanted route, where it is one that loses packets to a foreign one. */
  #hiddenBy({ dst, metric }: NamedRoute): NamedRoute | undefined {
    const route = this.#wanted.match(parsePrefix(dst) as Prefix)
    if (route?.type !== 'unicast') return undefined
    const isFirst = route.dst !== dst || (metric ?? defaultMetric(dst)) < (route.metric ?? defaultMetric(dst))
    return isFirst ? route : undefined
  }
}
