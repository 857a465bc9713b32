// What the rest of Margay may ask of Linux: the port that the real kernel (`kernel/linux/`) and the fake
// (`kernel/fake/`) both implement, held together by one contract suite. Values here are our own; netlink structs
// stop at this room's border. Every refused operation is a `KernelError` with errno and the kernel's own words.
import type { Address, AddressPort } from './addresses.ts'
import type { ConntrackPort } from './conntrack.ts'
import type { Link, LinkPort } from './links.ts'
import type { FdbEntry, Neighbour, NeighbourPort } from './neighbours.ts'
import type { NextHopObject, NextHopPort } from './next-hops.ts'
import type { NflogPort } from './nflog.ts'
import type { NftablesPort } from './nftables.ts'
import type { Route, RoutePort } from './routes.ts'
import type { RoutingRule, RulePort } from './rules.ts'
import type { ShapingPort } from './shaping.ts'
import type { SettingWatchPort, SysctlFamily, SysctlPort } from './sysctls.ts'
import type { TracePort } from './trace.ts'

/**
 * Who changed something, where the kernel tells: the port of a netlink socket, which is mostly the process id as its process sees
 * it, or the process. It tells nobody of what it does by itself, nor of what was done by ioctl or by writing a file.
 */
export type Author = { port: number } | { pid: number; name: string }

/** What the kernel tells by itself, and who had it done; of this process nobody is named. */
export type KernelEvent = { by?: Author } & Change

/** `overrun`: events were lost, everything must be read again. */
type Change =
  /** `isNew`: it has just come, so that what is known of its index by another way is newer. */
  | { type: 'link'; link: Link; isNew?: true }
  | { type: 'link-gone'; link: Link }
  | { type: 'address' | 'address-gone'; address: Address }
  | { type: 'route' | 'route-gone'; route: Route }
  | { type: 'next-hop' | 'next-hop-gone'; object: NextHopObject }
  | { type: 'rule' | 'rule-gone'; rule: RoutingRule }
  | { type: 'neighbour' | 'neighbour-gone'; neighbour: Neighbour }
  | { type: 'fdb' | 'fdb-gone'; entry: FdbEntry }
  /** A queueing discipline or a filter of a link came, changed or went. The kernel tells of none that goes with its link. */
  | { type: 'shaping'; ifindex: number }
  /**
   * Only of `forwarding`, `rp_filter`, `proxy_arp` and `proxy_ndp`, of an interface (by index) or of `all` or `default`. The
   * kernel says nothing of other settings, nor of writes that change nothing.
   */
  | {
      type: 'sysctl'
      family: SysctlFamily
      of: number | 'all' | 'default'
      name: string
      value: string
      /** It has just come with its interface, or with a family of that. */
      isNew?: true
    }
  | { type: 'overrun' }

/**
 * What a monitor of pods tells. `neighbour`: a permanent one, or one without a MAC, which is going. Of routes it is told that they go,
 * and only of those to a single address and of default routes; not of IPv4 routes that the kernel flushes with a link or an address.
 */
export type PodEvent = { by?: Author } & (
  | { type: 'link' | 'link-gone'; link: Link }
  | { type: 'address' | 'address-gone'; address: Address }
  | { type: 'route-gone'; route: Route }
  | { type: 'neighbour' | 'neighbour-gone'; neighbour: Neighbour }
)

/** `namespace`: its number here, which is `Link.peerNetnsId` of whatever leads into it. A number is given again after its namespace is gone. */
export type PodNews = { namespace: number; event: PodEvent }

/**
 * Which routes monitors of a kernel tell. `untold`: none that this kernel itself made or removed, nor those that its changes of next
 * hop objects concern: who writes a million routes would read each of them again. Absent: all.
 */
export type MonitoredRoutes = { ownRoutes?: 'untold' | undefined }

/** An open subscription; `close` is final. */
export type KernelMonitor = { close(): void }

/**
 * One network namespace's kernel. All methods reject with `KernelError`; "already so" is success for `delete*` of
 * something absent, and for `setNeighbour`/`setFdb` of something present. Dumps are consistent: an interrupted one
 * (NLM_F_DUMP_INTR) is taken again before it is returned.
 */
export type Kernel = LinkPort &
  AddressPort &
  RoutePort &
  NextHopPort &
  RulePort &
  NeighbourPort &
  ShapingPort &
  SysctlPort &
  SettingWatchPort &
  NftablesPort &
  NflogPort &
  TracePort &
  ConntrackPort & {
    /**
     * Calls `listen` for every change of links, addresses, routes, next hop objects, rules, neighbours, forwarding entries and some settings from
     * now on, one's own included, but for routes where the kernel was opened so (`MonitoredRoutes`). The
     * kernel says nothing of IPv4 routes that it flushes because their link went down, or lost its last address.
     */
    monitor(listen: (event: KernelEvent) => void): KernelMonitor

    /**
     * Calls `listen` from now on for what happens in every other namespace that has a number here, one's own doing included; with
     * undefined when some of it was lost. One subscription, with nothing of its own inside a pod, which would keep a namespace alive
     * that its runtime has ended. Throws `KernelError`: EPERM without CAP_NET_BROADCAST.
     */
    monitorPods(listen: (news: PodNews | undefined) => void): KernelMonitor

    /**
     * The same port inside another network namespace (a path such as /run/netns/x or /proc/1/ns/net). ENOENT when there
     * is none. The caller closes it. Whoever has the namespace decides how much is in it: with `mostObjects`, a list of
     * more than so many rejects with E2BIG, and what is asked later may be refused too.
     */
    inside(netns: string, limit?: { mostObjects: number }): Kernel
    /** Who that is, for people: `systemd-network (process 312)`, or less where less is known; undefined where nothing is. */
    authorText(author: Author): string | undefined
    /** The paths of the named network namespaces of this machine (`ip netns`), sorted. */
    namespaces(): string[]
    /** Closes the sockets; pending requests reject. */
    close(): void
    [Symbol.dispose](): void
  }
