// Asks the kernel for single routes of a table, which it can only be asked for by the way of a packet: cheaper than to read the
// whole table while few are asked for.
import { contains, familyOf } from '../../lib/ip.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type { Kernel } from '../port/kernel.ts'
import { drops, type Route, type RouteType } from '../port/routes.ts'
import { dstOf, type RouteWay, routeKeyOf } from './objects.ts'

export type RouteReads = Pick<Kernel, 'routes' | 'lookupRoute'>

/** How a look-up ends at a route that drops packets (net/ipv4/fib_semantics.c, fib_props; ip6_rt_type_to_error). */
const DROPPED_BY: ReadonlyMap<number, RouteType> = new Map([
  [ERRNO.EINVAL, 'blackhole'],
  [ERRNO.EHOSTUNREACH, 'unreachable'],
  [ERRNO.EACCES, 'prohibit'],
])

/** One reading of a table for a single destination costs a third of one of all. */
const MOST_READ_SINGLY = 3

/**
 * Asks for single routes. Where the answer is a route that drops packets (the own block of a pod that went away), which the kernel
 * does not show, those of its type are read; where that does not tell, the table is looked through for the destination, once for
 * many of them.
 */
export async function lookUpEach(
  kernel: RouteReads,
  table: number,
  objects: readonly { key: string; like: RouteWay }[],
): Promise<[string, Route | undefined][]> {
  const answers: [string, Route | undefined][] = []
  const read = new Map<RouteType, Route[]>()
  const dropping = async (type: RouteType): Promise<Route[]> => {
    const routes = read.get(type) ?? (await kernel.routes({ table, type }))
    read.set(type, routes)
    return routes
  }
  const hidden: string[] = []
  for (const { key, like } of objects) {
    const dst = dstOf(key)
    const isIt = (route: Route) => routeKeyOf(route) === key
    const answer = await lookUp(kernel, dst)
    const found = answer?.is === 'dropped' ? bestOf(await dropping(answer.by), dst) : answer?.route
    if (answer?.is === 'none' || (found?.table === table && !isIt(found) && hides(found.dst, dst)))
      answers.push([key, undefined])
    else {
      const shown = found?.table === table && isIt(found) ? found : undefined
      const dropped = shown ?? (drops(like.type) ? (await dropping(like.type)).find(isIt) : undefined)
      if (dropped === undefined) hidden.push(key)
      else answers.push([key, dropped])
    }
  }
  const found = new Map<string, Route>()
  const dsts = new Set(hidden.map(dstOf))
  for (const route of await readTo(kernel, table, dsts)) {
    const key = routeKeyOf(route)
    if (!found.has(key)) found.set(key, route)
  }
  for (const key of hidden) answers.push([key, found.get(key)])
  return answers
}

/** All routes to these destinations and nothing shorter or longer. The kernel tells a whole table for one too. */
async function readTo(kernel: RouteReads, table: number, wanted: ReadonlySet<string>): Promise<Route[]> {
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
async function lookUp(kernel: RouteReads, dst: string): Promise<LookUp | undefined> {
  try {
    return { is: 'found', route: await kernel.lookupRoute(dst.split('/')[0]!) }
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    const by = DROPPED_BY.get(error.errno)
    if (by !== undefined) return { is: 'dropped', by }
    return error.errno === ERRNO.ENETUNREACH ? { is: 'none' } : undefined
  }
}
