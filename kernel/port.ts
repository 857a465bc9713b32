// What the rest of Margay may ask of Linux: the port that the real kernel (`kernel/linux.ts`) and the fake
// (`kernel/fake.ts`) both implement, held together by one contract suite. Values here are our own; netlink structs
// stop at this room's border. Every refused operation is a `KernelError` with errno and the kernel's own words.
import { type Family, familyOf } from '../lib/ip.ts'

/** Errnos that callers tell apart (asm-generic/errno-base.h, errno.h). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  ENXIO: 6,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  EHOSTUNREACH: 113,
  ECANCELED: 125,
} as const

/** The kernel said no. `errno` is positive; `detail` is the extended-ack text where the kernel gave one. */
export class KernelError extends Error {
  override readonly name = 'KernelError'
  readonly errno: number
  readonly operation: string
  readonly object: string
  readonly detail?: string
  constructor(errno: number, operation: string, object: string, detail?: string) {
    const code = Object.entries(ERRNO).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`
    super(`${operation} ${object}: ${code}${detail === undefined ? '' : ` (${detail})`}`)
    this.errno = errno
    this.operation = operation
    this.object = object
    this.detail = detail
  }
}

/** rtm_protocol values that Margay writes (linux/rtnetlink.h). */
export const ROUTE_PROTOCOL = { kernel: 2, boot: 3, static: 4, bird: 12, blocks: 80 } as const
/** rtm_scope values (linux/rtnetlink.h). */
export const ROUTE_SCOPE = { universe: 0, site: 200, link: 253, host: 254 } as const
/** Routing tables by number (linux/rtnetlink.h). */
export const ROUTE_TABLE = { default: 253, main: 254, local: 255 } as const

export type Link = {
  index: number
  name: string
  /** IFLA_INFO_KIND: `veth`, `ipip`, `vxlan`, `bridge`; absent for hardware and loopback. */
  kind?: string
  mac?: string
  mtu: number
  /** Administratively up (IFF_UP). */
  up: boolean
  /** Carrier (IFF_LOWER_UP). */
  running: boolean
  master?: number
  /** Index of the peer (veth) or the lower device (IFLA_LINK); in another namespace when `peerNetnsId` is there. */
  peer?: number
  peerNetnsId?: number
  vxlan?: { vni: number; port: number; local?: string; learning: boolean; lower?: number }
  ipip?: { local?: string; remote?: string }
}

export type LinkSpec =
  /** A pair; the peer is born inside `peer.netns` (a path) where given, so that it is never visible on the host. */
  | {
      kind: 'veth'
      name: string
      mac?: string
      mtu?: number
      peer: { name: string; netns?: string; mac?: string; mtu?: number }
    }
  | { kind: 'ipip'; name: string; local?: string; remote?: string; mtu?: number }
  | { kind: 'vxlan'; name: string; vni: number; port: number; local?: string; mac?: string; mtu?: number }
  | { kind: 'bridge'; name: string; mtu?: number }
  | { kind: 'dummy'; name: string; mtu?: number }

export type LinkChange = {
  up?: boolean
  mtu?: number
  mac?: string
  name?: string
  /** Index of a bridge; 0 takes the link out of its bridge. */
  master?: number
  /** Path of the network namespace to move the link to. */
  netns?: string
}

/** An address on a link. `noDad` skips duplicate address detection (IPv6): an address must work at once. */
export type Address = {
  ifindex: number
  address: string
  length: number
  scope: number
  tentative?: boolean
  noDad?: boolean
}

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

/**
 * A route of one table. Its identity in the kernel is (table, dst, metric); see `routeKey`. A route that the kernel
 * tells has no `metric` when it has its family's default one, no `ifindex` when its type drops packets, scope 0 when
 * it is IPv6 (that family has no scopes), and neither gateway nor ifindex when it has several next hops.
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
  metric?: number
  source?: string
  mtu?: number
}

export type RouteFilter = { family?: Family; table?: number; protocol?: number; ifindex?: number }

/**
 * One element of a route batch: `replace` adds or overwrites whatever has the same key (NLM_F_CREATE | NLM_F_REPLACE);
 * `add` is refused with EEXIST when the key is taken; `delete` removes only a route that has every field that is given,
 * and succeeds when there is none. IPv4 cannot say "metric 0" there: without a metric it takes the smallest of any.
 */
export type RouteChange = { verb: 'replace' | 'add' | 'delete'; route: Route }

/** A permanent neighbour entry; `proxy` makes the host answer for the address (NTF_PROXY) and needs no mac. */
export type Neighbour = {
  ifindex: number
  address: string
  mac?: string
  permanent: boolean
  proxy?: boolean
}

/** Where a vxlan device sends frames for a mac (bridge FDB, AF_BRIDGE, NTF_SELF). */
export type FdbEntry = { ifindex: number; mac: string; dst: string }

/** What the kernel tells by itself. `overrun`: events were lost, everything must be read again. */
export type KernelEvent =
  | { type: 'link' | 'link-gone'; link: Link }
  | { type: 'address' | 'address-gone'; address: Address }
  | { type: 'route' | 'route-gone'; route: Route }
  | { type: 'neighbour' | 'neighbour-gone'; neighbour: Neighbour }
  | { type: 'fdb' | 'fdb-gone'; entry: FdbEntry }
  | { type: 'overrun' }

/** An open subscription; `close` is final. */
export type KernelMonitor = { close(): void }

export type SysctlFamily = 'ipv4' | 'ipv6'

/**
 * One network namespace's kernel. All methods reject with `KernelError`; "already so" is success for `delete*` of
 * something absent, and for `setNeighbour`/`setFdb` of something present. Dumps are consistent: an interrupted one
 * (NLM_F_DUMP_INTR) is taken again before it is returned.
 */
export type Kernel = {
  links(): Promise<Link[]>
  /** By name or index. */
  link(of: string | number): Promise<Link | undefined>
  /** Creates a link, down; EEXIST when the name is taken, EOPNOTSUPP when this kernel lacks the kind. */
  createLink(spec: LinkSpec): Promise<Link>
  setLink(of: string | number, change: LinkChange): Promise<void>
  deleteLink(of: string | number): Promise<void>

  addresses(ifindex?: number): Promise<Address[]>
  addAddress(address: Address): Promise<void>
  deleteAddress(address: Address): Promise<void>

  routes(filter?: RouteFilter): Promise<Route[]>
  /** Many changes in few system calls; the result at `i` is the refusal of change `i`, or undefined. */
  changeRoutes(changes: readonly RouteChange[]): Promise<(KernelError | undefined)[]>
  /**
   * The route that a packet to the address `dst` would take (RTM_GETROUTE with fib match). Rejects where none would:
   * ENETUNREACH (no route), EINVAL (blackhole), EHOSTUNREACH (unreachable), EACCES (prohibit).
   */
  lookupRoute(dst: string): Promise<Route>

  neighbours(ifindex?: number): Promise<Neighbour[]>
  setNeighbour(neighbour: Neighbour): Promise<void>
  deleteNeighbour(neighbour: Neighbour): Promise<void>

  fdb(ifindex: number): Promise<FdbEntry[]>
  setFdb(entry: FdbEntry): Promise<void>
  deleteFdb(entry: FdbEntry): Promise<void>

  /** `net.<family>.<path>`: `conf.eth0.forwarding` is written as ['conf', 'eth0', 'forwarding'] (names hold dots). */
  readSysctl(family: SysctlFamily, path: readonly string[]): string
  writeSysctl(family: SysctlFamily, path: readonly string[], value: string): void

  /**
   * Calls `listen` for every change of links, addresses, routes, neighbours and forwarding entries from now
   * on, one's own included. The
   * kernel says nothing of IPv4 routes that it flushes because their link went down, or lost its last address.
   */
  monitor(listen: (event: KernelEvent) => void): KernelMonitor

  /**
   * The same port inside another network namespace (a path such as /run/netns/x or /proc/1/ns/net). ENOENT when there
   * is none. The caller closes it.
   */
  inside(netns: string): Kernel
  /** Closes the sockets; pending requests reject. */
  close(): void
  [Symbol.dispose](): void
}

/** The metric of a route that names none: IPv6 has no metric 0 for users (IP6_RT_PRIO_USER in net/ipv6.h). */
export function defaultMetric(dst: string): number {
  return familyOf(dst) === 'ipv6' ? 1024 : 0
}

/** The identity of a route within its kernel: table, destination and metric. */
export function routeKey(route: Pick<Route, 'table' | 'dst' | 'metric'>): string {
  return `${route.table} ${route.dst} ${route.metric ?? defaultMetric(route.dst)}`
}
