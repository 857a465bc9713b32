// What the lab shows: for every pair of pods whether a ping comes back, how long it took, and which way the packet
// goes, as the kernel of the sending node itself says.
import { echo } from '../kernel/echo.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import type { Route } from '../kernel/port/routes.ts'
import type { NodePlan, PodPlan } from './plan.ts'

export type Path = 'local' | 'direct' | 'ipip' | 'vxlan' | 'none'

/** `addresses`: all that its ADD gave, `address` first. */
export type PodAt = { pod: PodPlan; node: NodePlan; address: string; addresses: readonly string[] }

/** A pod to ping from and to. `netns` and `nodeNetns` are paths. */
export type PingPoint = { name: string; address: string; netns: string; nodeNetns: string }

/** `ms` is absent when no answer came; `error` then says why. */
export type PairRow = { from: string; to: string; path: Path; ms?: number; error?: string }

/** How the node of a pod sends to `address`: read from its routing table, by the device of the route it would use. */
export async function pathTo(kernel: Pick<Kernel, 'lookupRoute' | 'link'>, address: string): Promise<Path> {
  let route: Route
  try {
    route = await kernel.lookupRoute(address)
  } catch {
    return 'none' // unreachable or blackholed: the lookup itself is refused
  }
  const link = route.ifindex === undefined ? undefined : await kernel.link(route.ifindex)
  return pathOf(route, link)
}

/** A default route is no path: the router knows no pod. */
function pathOf(route: Route, link: Link | undefined): Path {
  if (route.type !== 'unicast' || link === undefined || route.dst.endsWith('/0')) return 'none'
  if (link.kind === 'ipip' || link.kind === 'vxlan') return link.kind
  return route.gateway === undefined ? 'local' : 'direct'
}

/** Every ordered pair of different pods. */
function pairsOf(pods: readonly PingPoint[]): (readonly [PingPoint, PingPoint])[] {
  return pods.flatMap(from => pods.filter(to => to !== from).map(to => [from, to] as const))
}

/** Pings every pair, a few at a time, and gives each row as it is known. */
export async function measurePairs(
  host: Kernel,
  pods: readonly PingPoint[],
  options: { limitSeconds: number; row: (row: PairRow) => void },
): Promise<PairRow[]> {
  const pairs = pairsOf(pods)
  const rows: PairRow[] = []
  let next = 0
  const work = async () => {
    for (let i = next++; i < pairs.length; i = next++) {
      const [from, to] = pairs[i]!
      using kernel = host.inside(from.nodeNetns)
      const [path, answer] = await Promise.all([
        pathTo(kernel, to.address),
        // a pod's very first packet must arrive, so there is no second try
        echo(from.netns, to.address, options.limitSeconds * 1000),
      ])
      rows[i] = { from: from.name, to: to.name, path, ...answer }
      options.row(rows[i]!)
    }
  }
  await Promise.all(Array.from({ length: 4 }, work))
  return rows
}
