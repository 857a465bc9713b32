// Routes of one network namespace, their identity and their changes. Part of the kernel port.
import { type Family, familyOf } from '../../lib/ip.ts'
import { ERRNO, type KernelError } from './error.ts'

/**
 * Some rtm_protocol values (linux/rtnetlink.h). `blocks` is the number that the field knows of Calico's Felix and
 * `margayBgp` is one that nobody has registered: a program tells its own routes by them, so no two may share one.
 */
export const ROUTE_PROTOCOL = { kernel: 2, boot: 3, static: 4, bird: 12, blocks: 80, margayBgp: 179 } as const
/** rtm_scope values (linux/rtnetlink.h). */
export const ROUTE_SCOPE = { universe: 0, site: 200, link: 253, host: 254 } as const
/** Routing tables by number (linux/rtnetlink.h). */
export const ROUTE_TABLE = { default: 253, main: 254, local: 255 } as const

export type RouteType =
  | 'unicast'
  | 'local'
  | 'broadcast'
  | 'anycast'
  | 'multicast'
  | 'blackhole'
  | 'unreachable'
  | 'prohibit'
  | 'throw'

const DROPPING: readonly RouteType[] = ['blackhole', 'unreachable', 'prohibit', 'throw']

/** Whether routes of a type lead to no device: they drop packets, or end the look-up in this table (`throw`). */
export function drops(type: RouteType): boolean {
  return DROPPING.includes(type)
}

/**
 * A route of one table. Its identity in the kernel is (table, dst, metric); see `routeKey`. A route that the kernel
 * tells has no `metric` when it has its family's default one, no `ifindex` when its type drops packets, scope 0 when
 * it is IPv6 (that family has no scopes), and neither gateway, ifindex nor onlink when it has several next hops.
 */
export type Route = {
  /** Canonical CIDR; the default route is `0.0.0.0/0` or `::/0`. */
  dst: string
  table: number
  type: RouteType
  protocol: number
  scope: number
  gateway?: string
  ifindex?: number
  /** The gateway is reachable on `ifindex` although no route says so (RTNH_F_ONLINK). */
  onlink?: boolean
  /**
   * Two or more, in place of `gateway`, `ifindex` and `onlink`: each flow takes one of them (RTA_MULTIPATH). Their order means
   * nothing. Those of an IPv6 route need gateways. The kernel keeps a next hop whose link is down, and uses it again when the
   * link is up.
   */
  nextHops?: readonly NextHop[]
  /**
   * The next hop object that it goes by, in place of the above. What that has is told too, of events only while
   * net.ipv4.nexthop_compat_mode is 1.
   */
  nextHopId?: number
  metric?: number
  source?: string
  mtu?: number
}

/** One of several next hops of a route. `weight`: its share of the flows in relation to the others, 1-256; absent: 1. */
export type NextHop = { gateway?: string; ifindex: number; onlink?: boolean; weight?: number }

/** Linux looks for all of these by itself but `dst`, a canonical CIDR: of that it tells the whole table, of which little is read. */
export type RouteFilter = {
  family?: Family
  table?: number
  protocol?: number
  type?: RouteType
  ifindex?: number
  dst?: string
}

/**
 * One element of a route batch: `replace` adds or overwrites whatever has the same key (NLM_F_CREATE | NLM_F_REPLACE);
 * `add` is refused with EEXIST when the key is taken; `delete` removes only a route that has every field that is given,
 * and succeeds when there is none. IPv4 cannot say "metric 0" there: without a metric it takes the smallest of any. Of several
 * next hops IPv6 cannot say which: it takes the whole route, whatever they are.
 */
export type RouteChange = { verb: 'replace' | 'add' | 'delete'; route: Route }

/** What a packet that is looked up has beside its destination. */
export type LookedUp = {
  /** Of this host, where the packet comes in by no interface. */
  source?: string | undefined
  /** The interface that it comes in by. */
  ifindex?: number | undefined
  mark?: number | undefined
  tos?: number | undefined
  /** Of IP. */
  protocol?: number | undefined
  sourcePort?: number | undefined
  destinationPort?: number | undefined
}

/** How `lookupRoute` ends where no packet would go; any other refusal says nothing of the way. */
export const NOWHERE: readonly number[] = [
  ...[ERRNO.EINVAL, ERRNO.EXDEV, ERRNO.EHOSTUNREACH, ERRNO.EACCES, ERRNO.ENETUNREACH, ERRNO.ENETDOWN],
]

export type RoutePort = {
  routes(filter?: RouteFilter): Promise<Route[]>
  /** Many changes in few system calls; the result at `i` is the refusal of change `i`, or undefined. */
  changeRoutes(changes: readonly RouteChange[]): Promise<(KernelError | undefined)[]>
  /**
   * The route that a packet to the address `dst` would take (RTM_GETROUTE with fib match), by the kernel's rules. Rejects where none
   * would: ENETUNREACH (no route), EINVAL (blackhole, or over IPv4 a source that cannot be), EHOSTUNREACH (unreachable), EACCES (prohibit).
   * Over IPv4 a packet that comes in by an interface is judged as one that does (ip_route_input_slow of net/ipv4/route.c): EINVAL also
   * where its filter of the reverse path drops it, before Linux 6.13 EXDEV; EHOSTUNREACH also where that interface does not forward.
   * So of these neither says by itself what is wrong. Over IPv6 none of this is judged here.
   */
  lookupRoute(dst: string, packet?: LookedUp): Promise<Route>
}

/** The indices of the interfaces that a route leads over. */
export function interfacesOf({ ifindex, nextHops }: Pick<Route, 'ifindex' | 'nextHops'>): readonly number[] {
  if (nextHops !== undefined) return nextHops.map(hop => hop.ifindex)
  return ifindex === undefined ? [] : [ifindex]
}

/** The metric of a route that names none: IPv6 has no metric 0 for users (IP6_RT_PRIO_USER in net/ipv6.h). */
export function defaultMetric(dst: string): number {
  return familyOf(dst) === 'ipv6' ? 1024 : 0
}

/** The identity of a route within its kernel: table, destination and metric. */
export function routeKey(route: Pick<Route, 'table' | 'dst' | 'metric'>): string {
  return `${route.table} ${route.dst} ${route.metric ?? defaultMetric(route.dst)}`
}
