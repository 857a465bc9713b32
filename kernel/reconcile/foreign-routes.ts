// Routes of other programs that packets take in place of ours: more specific ones, or ones of a smaller metric, inside what only we
// may give routes to. They are nobody's to remove here. Pure. Hazard: after lost events, and where IPv4 routes go with their
// link, this is as it was until the table is read again.
import { addressBits, familyOf, maskAddress } from '../../lib/ip.ts'
import type { Author } from '../port/kernel.ts'
import { defaultMetric } from '../port/routes.ts'
import { type NamedRoute, routeKeyOf } from './objects.ts'

export type ForeignRoute = { route: NamedRoute; by?: Author }
/** `hides`: the route of ours whose packets it takes. */
export type Shadow = ForeignRoute & { hides: NamedRoute }

/** Whoever writes more of them into a pool has taken it over: some are told. */
const MOST = 100

export class ForeignRoutes {
  readonly #of = new Map<string, ForeignRoute>()

  /** Begins anew with what a reading of the whole table shows. */
  read(routes: Iterable<NamedRoute>): void {
    const before = new Map(this.#of)
    this.#of.clear()
    for (const route of routes) this.saw(route, before.get(routeKeyOf(route))?.by)
  }

  /** Returns whether this was not known. */
  saw(route: NamedRoute, by: Author | undefined): boolean {
    const key = routeKeyOf(route)
    if (this.#of.size >= MOST && !this.#of.has(key)) return false
    this.#of.set(key, by === undefined ? { route } : { route, by })
    return true
  }

  /** Returns whether it was known. */
  gone(key: string): boolean {
    return this.#of.delete(key)
  }

  /** Those that packets take in place of a wanted route. A block of this node that drops packets loses none. */
  *shadows(wanted: ReadonlyMap<string, NamedRoute>): Generator<Shadow> {
    for (const foreign of this.#of.values()) {
      const hides = hiddenBy(foreign.route, wanted)
      if (hides?.type === 'unicast') yield { ...foreign, hides }
    }
  }
}

/** The most specific wanted route whose packets a foreign one takes. */
function hiddenBy({ dst, metric }: NamedRoute, wanted: ReadonlyMap<string, NamedRoute>): NamedRoute | undefined {
  const [address = '', bits] = dst.split('/')
  for (let length = Number(bits ?? addressBits(familyOf(dst))); length > 0; length--) {
    const cidr = `${maskAddress(address, length)}/${length}`
    const route = wanted.get(cidr)
    if (route === undefined) continue
    if (cidr !== dst || (metric ?? defaultMetric(dst)) < (route.metric ?? defaultMetric(dst))) return route
  }
  return undefined
}
