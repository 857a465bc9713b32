// What is told of routes of other programs that take packets to pods.
import { broken, type Condition } from '../api/status.ts'
import type { Author, Kernel } from '../kernel/port/kernel.ts'
import type { Shadow } from '../kernel/reconcile/foreign-routes.ts'
import type { NamedRoute } from '../kernel/reconcile/objects.ts'
import { routeText } from '../kernel/reconcile/route-writes.ts'
import { familyOf } from '../lib/ip.ts'

/** A process as it was known when it was first told: it may have ended since. */
const authors = new WeakMap<Author, string | undefined>()

export function shadowConditions(shadows: Iterable<Shadow>, kernel: Pick<Kernel, 'authorText'>): Condition[] {
  return [...shadows].map(({ route, by, hides }) => {
    if (by !== undefined && !authors.has(by)) authors.set(by, kernel.authorText(by))
    const who = by && authors.get(by)
    const text = routeText(route, ` proto ${route.protocol}`)
    const made = who === undefined ? '' : `, which ${who} made,`
    const why =
      route.dst === hides.dst ? 'has a smaller metric than that of this node' : `is more specific than ${hides.dst}`
    const command = `ip ${familyOf(route.dst) === 'ipv6' ? '-6 ' : ''}route del ${deletable(route)}`
    return broken('ForeignRoutesPass', {
      object: { kind: 'Route', name: route.dst },
      reason: 'ForeignRoute',
      message: `the route ${text} of another program${made} ${why}: packets to pods there take it`,
      remedy: `if it is not meant so, remove it (${command}), and what makes it; else take its addresses out of the pool`,
    })
  })
}

/** As `ip route del` takes it: of a route by a next hop object the id alone, not what that has (fib_nh_match of net/ipv4/fib_semantics.c). */
function deletable(route: NamedRoute): string {
  const { nextHopId, protocol, gateway: _, interfaceName: __, nextHops: ___, ...rest } = route
  if (nextHopId === undefined) return routeText(route, ` proto ${protocol}`)
  return routeText({ ...rest, protocol }, ` nhid ${nextHopId} proto ${protocol}`)
}
