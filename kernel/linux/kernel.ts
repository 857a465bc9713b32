// The kernel port over rtnetlink and /proc/sys. Another namespace is the same thing with every socket opened, and every
// sysctl file read or written, inside a synchronous excursion (kernel/netns.ts). Hazard: the kernel flushes IPv4 routes
// of a link that goes down without telling anybody (fib_sync_down_dev), so monitors do not hear of it.
// Over 400 lines: every promise of the port, a few lines each.
import { closeSync, readFileSync, writeFileSync } from 'node:fs'
import { familyOf } from '../../lib/ip.ts'
import type { Acknowledgement, Message, NlWriter } from '../netlink/message.ts'
import { openNflog } from '../netlink/nflog/reader.ts'
import { chainTexts } from '../netlink/nftables/command-text.ts'
import { openNftablesMonitor } from '../netlink/nftables/monitor.ts'
import { openTrace } from '../netlink/nftables/trace-listener.ts'
import { AF, NETLINK, NLM_F } from '../netlink/numbers.ts'
import { type Request, Requests } from '../netlink/requests.ts'
import { emitAddress, emitAddressDump, parseAddressMessage } from '../netlink/route/address.ts'
import { emitLinkHeader, emitNewLink, emitSetLink, parseLink } from '../netlink/route/link.ts'
import { openMonitor } from '../netlink/route/monitor.ts'
import {
  emitFdb,
  emitFdbDump,
  emitFdbLookup,
  emitNeighbour,
  emitNeighbourDump,
  emitNeighbourLookup,
  isFlooded,
  parseFdb,
  parseNeighbour,
} from '../netlink/route/neighbour.ts'
import { emitNextHopDump, emitNextHopObject, parseNextHopObject } from '../netlink/route/next-hop.ts'
import { IFLA, RTM } from '../netlink/route/numbers.ts'
import { emitRoute, emitRouteDump, emitRouteLookup, isAbout, parseRoute, parseWay } from '../netlink/route/route.ts'
import { emitRuleDump, parseRule } from '../netlink/route/rule.ts'
import {
  emitBucket,
  emitBucketDeletion,
  emitFilterDeletion,
  emitFilterDump,
  emitIngress,
  emitQdiscDump,
  emitRedirect,
  parseIngressFilter,
  parseQdisc,
} from '../netlink/route/shaping.ts'
import { fileError, listNetns, netnsPath, openNetns, runInNetns } from '../netns.ts'
import type { Address } from '../port/addresses.ts'
import type { Flow } from '../port/conntrack.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type { Author, Kernel, KernelEvent, KernelMonitor, MonitoredRoutes } from '../port/kernel.ts'
import type { Link, LinkChange, LinkSpec } from '../port/links.ts'
import type { FdbEntry, Neighbour } from '../port/neighbours.ts'
import { ledBy, type NextHopChange, type NextHopObject, waysOf } from '../port/next-hops.ts'
import type { NflogOptions } from '../port/nflog.ts'
import type {
  ForwardChain,
  NftablesPort,
  NftChain,
  NftChange,
  NftNews,
  NftRefusal,
  NftTableName,
} from '../port/nftables.ts'
import { interfacesOf, type LookedUp, type Route, type RouteChange, type RouteFilter } from '../port/routes.ts'
import type { RoutingRule } from '../port/rules.ts'
import type { Bucket, IngressFilter, Qdisc } from '../port/shaping.ts'
import { readOrAbsent, type SysctlFamily } from '../port/sysctls.ts'
import type { ChainText, LegacyDrop, TraceOptions } from '../port/trace.ts'
import { authorText } from './author.ts'
import { deleteFlows, walkFlows } from './conntrack.ts'
import { DumpWalks } from './dump-walk.ts'
import { readLegacyChains, readLegacyDrops, readLegacyHooks } from './legacy-chains.ts'
import { LinkRemoval } from './link-removal.ts'
import { reversePathDrops } from './net-counters.ts'
import { LinuxNftables } from './nftables.ts'
import { openPodMonitor } from './pod-monitor.ts'
import { openSettingWatch } from './setting-watch.ts'
import { SharedMonitor } from './shared-monitor.ts'

/** Longest name of a link (IFNAMSIZ without the final zero). */
const NAME_LENGTH = 15
/** "There is none, or its link went away": for deletions, as good as done. */
const ABSENT: readonly number[] = [ERRNO.ENOENT, ERRNO.ESRCH, ERRNO.ENXIO, ERRNO.ENODEV, ERRNO.EADDRNOTAVAIL]
/** Requests that are done where there is nothing to remove. */
const REMOVALS: readonly number[] = [RTM.delAddr, RTM.delNeigh, RTM.delQdisc, RTM.delTfilter]
/** This kernel has one table for all packets of the family. */
const NO_RULES: readonly number[] = [ERRNO.EAFNOSUPPORT, ERRNO.EOPNOTSUPP]
/** Shows the settings of the network namespace of whoever reads it. */
const SYSCTL_FOLDER = '/proc/sys/net'
/** Room for the refusals of some 10,000 changes of one transaction. */
const NETFILTER_BUFFER = 8 << 20
/** As large as the kernel makes the messages of a dump; netfilter has no larger ones. */
const NETFILTER_MESSAGE = 1 << 15
/** Unlike that of a route, a replacement that may create would take the id of another program. */
const NEXT_HOP_FLAGS = { replace: NLM_F.replace, add: NLM_F.create | NLM_F.excl, delete: 0 } as const
/** Why a route by a next hop object cannot be deleted, with EINVAL: that is gone, and took it along (inet_rtm_delroute, inet6_rtm_delroute). */
const NO_OBJECT = 'Nexthop id does not exist'
const ROUTE_FLAGS = { replace: NLM_F.create | NLM_F.replace, add: NLM_F.create | NLM_F.excl, delete: 0 } as const

/**
 * The kernel of the network namespace that the calling thread is in. Idle, it does not keep the process alive; a
 * monitor does. `sysctlFolder`: another place of /proc/sys/net, which a container may not write. Throws `KernelError` when
 * there is no socket to be had.
 */
export function openKernel({ sysctlFolder = SYSCTL_FOLDER, ownRoutes }: KernelOptions = {}): Kernel {
  return new LinuxKernel({ sysctlFolder, ownRoutes })
}

type KernelOptions = MonitoredRoutes & { sysctlFolder?: string }

class LinuxKernel implements Kernel {
  readonly #netnsFd: number | undefined
  readonly #sysctlFolder: string
  readonly #requests: Requests
  readonly #removal: LinkRemoval
  readonly #monitors = new Set<KernelMonitor>()
  readonly #ownRoutes: MonitoredRoutes['ownRoutes']
  readonly #monitor = new SharedMonitor(listen => {
    const routesNotOf = this.#ownRoutes === 'untold' ? this.#requests.port : undefined
    return this.#within(() => openMonitor(listen, { routesNotOf }))
  })
  #nftables: { requests: Requests; port: LinuxNftables } | undefined
  readonly #walks = new DumpWalks(act => this.#within(act))
  #closed = false

  constructor(
    options: MonitoredRoutes & { sysctlFolder: string; netnsFd?: number; limit?: { mostObjects: number } | undefined },
  ) {
    const { sysctlFolder, netnsFd, limit, ownRoutes } = options
    this.#ownRoutes = ownRoutes
    this.#netnsFd = netnsFd
    this.#sysctlFolder = sysctlFolder
    this.#requests = this.#within(() => new Requests(limit))
    this.#removal = new LinkRemoval(act => this.#within(act))
  }

  async links(): Promise<Link[]> {
    return this.#dump('list', 'links', { type: RTM.getLink, body: w => emitLinkHeader(w) }, parseLink)
  }

  async link(of: string | number): Promise<Link | undefined> {
    if (typeof of === 'string' && (of === '' || of.length > NAME_LENGTH)) return undefined
    const body = (w: NlWriter) => {
      emitLinkHeader(w, typeof of === 'number' ? of : 0)
      if (typeof of === 'string') w.attrText(IFLA.ifname, of)
    }
    return this.#get('read link', `${of}`, { type: RTM.getLink, body }, parseLink)
  }

  async createLink(spec: LinkSpec): Promise<Link> {
    const flags = NLM_F.create | NLM_F.excl
    await this.#withNetns(spec.kind === 'veth' ? spec.peer.netns : undefined, fd =>
      this.#one('create link', `${spec.name} (${spec.kind})`, RTM.newLink, flags, w => emitNewLink(w, spec, fd)),
    )
    const link = await this.link(spec.name)
    if (link === undefined) throw new KernelError(ERRNO.ENODEV, 'create link', spec.name, 'deleted by somebody else')
    return link
  }

  async setLink(of: string | number, change: LinkChange): Promise<void> {
    const index = typeof of === 'number' ? of : (await this.link(of))?.index
    if (index === undefined) throw new KernelError(ERRNO.ENODEV, 'set link', `${of}`)
    await this.#withNetns(change.netns, fd =>
      this.#one('set link', `${of} ${JSON.stringify(change)}`, RTM.setLink, 0, w => emitSetLink(w, index, change, fd)),
    )
  }

  async deleteLink(of: string | number): Promise<void> {
    const index = typeof of === 'number' ? of : (await this.link(of))?.index
    if (index === undefined) return
    const answer = await this.#removal.remove(index)
    if (!ABSENT.includes(answer.errno)) check(answer, 'delete link', `${of}`)
  }

  async addresses(ifindex = 0): Promise<Address[]> {
    const request: Request = { type: RTM.getAddr, body: w => emitAddressDump(w, ifindex) }
    const all = await this.#dump('list', 'addresses', request, parseAddressMessage)
    return ifindex === 0 ? all : all.filter(address => address.ifindex === ifindex)
  }

  async addAddress(address: Address): Promise<void> {
    const flags = NLM_F.create | NLM_F.excl
    await this.#one('add address', addressText(address), RTM.newAddr, flags, w => emitAddress(w, address))
  }

  async deleteAddress(address: Address): Promise<void> {
    await this.#one('delete address', addressText(address), RTM.delAddr, 0, w => emitAddress(w, address))
  }

  async routes(filter: RouteFilter = {}): Promise<Route[]> {
    const { dst } = filter
    const family = filter.family ?? (dst === undefined ? undefined : familyOf(dst))
    const families = family === undefined ? (['ipv4', 'ipv6'] as const) : [family]
    const isWanted = dst === undefined ? () => true : isAbout(dst)
    const parse = (message: Message) => (isWanted(message) ? parseRoute(message) : undefined)
    const all: Route[] = []
    for (const family of families) {
      const wire = family === 'ipv4' ? AF.inet : AF.inet6
      const request: Request = { type: RTM.getRoute, body: w => emitRouteDump(w, wire, filter) }
      // the kernel's own filter is an optimisation that not every attribute of every version gets
      for (const route of await this.#withWays(await this.#dump('list', `${family} routes`, request, parse)))
        if (matches(route, filter)) all.push(route)
    }
    return all
  }

  /** Routes by next hop objects with what these have, which the kernel leaves out where nexthop_compat_mode is 0. */
  async #withWays(routes: Route[]): Promise<Route[]> {
    const lacks = (route: Route) => route.nextHopId !== undefined && interfacesOf(route).length === 0
    if (!routes.some(lacks)) return routes
    const objects = new Map((await this.nextHopObjects())?.map(object => [object.id, object]))
    return routes.map(route => (lacks(route) ? ledBy(route, waysOf(route.nextHopId!, objects)) : route))
  }

  async changeRoutes(changes: readonly RouteChange[]): Promise<(KernelError | undefined)[]> {
    const requests = changes.map(({ verb, route }) => ({
      type: verb === 'delete' ? RTM.delRoute : RTM.newRoute,
      flags: ROUTE_FLAGS[verb],
      body: (w: NlWriter) => emitRoute(w, route, { forDelete: verb === 'delete' }),
    }))
    const answers = await this.#requests.change(requests)
    return answers.map(({ errno, detail }, i) => {
      const { verb, route } = changes[i]!
      if (errno === 0 || (verb === 'delete' && (ABSENT.includes(errno) || detail === NO_OBJECT))) return undefined
      return new KernelError(errno, `${verb} route`, routeText(route), detail)
    })
  }

  async lookupRoute(dst: string, packet: LookedUp = {}): Promise<Route> {
    const body = (w: NlWriter) => emitRouteLookup(w, dst, packet)
    const { answer, reply } = await this.#requests.read({ type: RTM.getRoute, body })
    check(answer, 'look up route', dst)
    const route = reply && parseWay(reply)
    if (route !== undefined) return (await this.#withWays([route]))[0]!
    throw new KernelError(ERRNO.ENETUNREACH, 'look up route', dst)
  }

  async nextHopObjects(): Promise<NextHopObject[] | undefined> {
    const request: Request = { type: RTM.getNexthop, body: emitNextHopDump }
    const { answer, objects } = await this.#requests.dump(request, parseNextHopObject)
    if (answer.errno === ERRNO.EOPNOTSUPP) return undefined
    check(answer, 'list', 'next hop objects')
    return objects
  }

  async changeNextHopObjects(changes: readonly NextHopChange[]): Promise<(KernelError | undefined)[]> {
    const requests = changes.map(({ verb, object }) => ({
      type: verb === 'delete' ? RTM.delNexthop : RTM.newNexthop,
      flags: NEXT_HOP_FLAGS[verb],
      body: (w: NlWriter) => emitNextHopObject(w, object, { forDelete: verb === 'delete' }),
    }))
    const answers = await this.#requests.change(requests)
    return answers.map(({ errno, detail }, i) => {
      const { verb, object } = changes[i]!
      if (errno === 0 || (verb === 'delete' && ABSENT.includes(errno))) return undefined
      return new KernelError(errno, `${verb} next hop object`, `${object.id}`, detail)
    })
  }

  async rules(): Promise<RoutingRule[]> {
    const all: RoutingRule[] = []
    for (const family of [AF.inet, AF.inet6]) {
      const request: Request = { type: RTM.getRule, body: w => emitRuleDump(w, family) }
      const { answer, objects } = await this.#requests.dump(request, parseRule)
      if (NO_RULES.includes(answer.errno)) continue
      check(answer, 'list', 'rules')
      for (const rule of objects) all.push(rule)
    }
    return all
  }

  async neighbours(ifindex = 0): Promise<Neighbour[]> {
    const all: Neighbour[] = []
    for (const proxy of [false, true]) {
      const request: Request = { type: RTM.getNeigh, body: w => emitNeighbourDump(w, ifindex, { proxy }) }
      for (const neighbour of await this.#dump('list', 'neighbours', request, parseNeighbour)) all.push(neighbour)
    }
    return ifindex === 0 ? all : all.filter(neighbour => neighbour.ifindex === ifindex)
  }

  async neighbour(ifindex: number, address: string): Promise<Neighbour | undefined> {
    const body = (w: NlWriter) => emitNeighbourLookup(w, ifindex, address)
    return this.#get('read neighbour', `${address} on ${ifindex}`, { type: RTM.getNeigh, body }, parseNeighbour)
  }

  async setNeighbour(neighbour: Neighbour): Promise<void> {
    const flags = NLM_F.create | NLM_F.replace
    const object = `${neighbour.address} on ${neighbour.ifindex}`
    await this.#one('set neighbour', object, RTM.newNeigh, flags, w => emitNeighbour(w, neighbour))
  }

  async deleteNeighbour(neighbour: Neighbour): Promise<void> {
    const object = `${neighbour.address} on ${neighbour.ifindex}`
    await this.#one('delete neighbour', object, RTM.delNeigh, 0, w => emitNeighbour(w, neighbour))
  }

  async fdb(ifindex: number): Promise<FdbEntry[]> {
    const request: Request = { type: RTM.getNeigh, body: w => emitFdbDump(w, ifindex) }
    return (await this.#dump('list', 'fdb', request, parseFdb)).filter(entry => entry.ifindex === ifindex)
  }

  async fdbEntry(ifindex: number, mac: string): Promise<FdbEntry | undefined> {
    const body = (w: NlWriter) => emitFdbLookup(w, ifindex, mac)
    return this.#get('read fdb', `${mac} on ${ifindex}`, { type: RTM.getNeigh, body }, parseFdb)
  }

  async setFdb(entry: FdbEntry): Promise<void> {
    // a flooded MAC has many destinations: replacing is refused, and a second identical one is not added
    const flags = NLM_F.create | (isFlooded(entry.mac) ? NLM_F.append : NLM_F.replace)
    await this.#one('set fdb', fdbText(entry), RTM.newNeigh, flags, w => emitFdb(w, entry))
  }

  async deleteFdb(entry: FdbEntry): Promise<void> {
    await this.#one('delete fdb', fdbText(entry), RTM.delNeigh, 0, w => emitFdb(w, entry))
  }

  async qdiscs(): Promise<Qdisc[]> {
    return this.#dump('list', 'qdiscs', { type: RTM.getQdisc, body: emitQdiscDump }, parseQdisc)
  }

  async setBucket(ifindex: number, handle: number, bucket: Bucket): Promise<void> {
    const object = `tbf on ${ifindex}`
    await this.#one('set qdisc', object, RTM.newQdisc, NLM_F.create, w => emitBucket(w, ifindex, handle, bucket))
  }

  async deleteBucket(ifindex: number, handle: number): Promise<void> {
    await this.#one('delete qdisc', `tbf on ${ifindex}`, RTM.delQdisc, 0, w => emitBucketDeletion(w, ifindex, handle))
  }

  async addIngress(ifindex: number): Promise<void> {
    const flags = NLM_F.create | NLM_F.excl
    await this.#one('add qdisc', `ingress on ${ifindex}`, RTM.newQdisc, flags, w => emitIngress(w, ifindex))
  }

  async deleteIngress(ifindex: number): Promise<void> {
    await this.#one('delete qdisc', `ingress on ${ifindex}`, RTM.delQdisc, 0, w => emitIngress(w, ifindex))
  }

  async ingressFilters(ifindex: number): Promise<IngressFilter[]> {
    const request: Request = { type: RTM.getTfilter, body: w => emitFilterDump(w, ifindex) }
    const parts = await this.#dump('list', `filters of ${ifindex}`, request, parseIngressFilter)
    const byPreference = new Map<number, IngressFilter>()
    for (const part of parts) byPreference.set(part.preference, { ...byPreference.get(part.preference), ...part })
    return [...byPreference.values()]
  }

  async addRedirect(ifindex: number, filter: Required<IngressFilter>): Promise<void> {
    const flags = NLM_F.create | NLM_F.excl
    const object = `${filter.preference} on ${ifindex}`
    await this.#one('add filter', object, RTM.newTfilter, flags, w => emitRedirect(w, ifindex, filter))
  }

  async deleteIngressFilter(ifindex: number, preference: number): Promise<void> {
    const object = `${preference} on ${ifindex}`
    await this.#one('delete filter', object, RTM.delTfilter, 0, w => emitFilterDeletion(w, ifindex, preference))
  }

  readSysctl(family: SysctlFamily | 'netfilter', path: readonly string[]): string {
    const file = sysctlFile(family, path)
    return this.#file('read sysctl', file, () => readFileSync(this.#sysctlPath(file), 'utf8').trim())
  }

  writeSysctl(family: SysctlFamily, path: readonly string[], value: string): void {
    const file = sysctlFile(family, path)
    this.#file('write sysctl', `${file} = ${value}`, () => writeFileSync(this.#sysctlPath(file), value))
  }

  watchSettings: Kernel['watchSettings'] = listen => {
    const watch = this.#within(() => openSettingWatch(this.#sysctlFolder, listen, act => this.#within(act)))
    const { close } = this.#track(watch)
    return { ...watch, close }
  }

  nftables: NftablesPort['nftables'] = (of, options, isQuiet) => this.#netfilter().port.nftables(of, options, isQuiet)

  async nftGeneration(): Promise<number> {
    return this.#netfilter().port.nftGeneration()
  }

  ruleCounters: NftablesPort['ruleCounters'] = of => this.#netfilter().port.ruleCounters(of)

  baseChains(): Promise<NftChain[]> {
    return this.#netfilter().port.baseChains()
  }

  forwardChains(): Promise<ForwardChain[]> {
    return this.#netfilter().port.forwardChains()
  }

  async legacyForwardChains(): Promise<ForwardChain[]> {
    return this.#within(readLegacyChains)
  }

  async legacyBaseChains(): Promise<NftChain[]> {
    return this.#within(readLegacyHooks)
  }

  changeNftables(changes: readonly NftChange[], options?: { generation?: number }): Promise<NftRefusal[]> {
    return this.#netfilter().port.changeNftables(changes, options)
  }

  async flowsOf(addresses: ReadonlySet<string> | 'all', each: (flow: Flow) => void): Promise<void> {
    const tracked = Number(readOrAbsent(this, 'netfilter', ['nf_conntrack_count']) ?? Number.POSITIVE_INFINITY)
    await walkFlows(addresses, each, { walks: this.#walks, tracked })
  }

  async deleteFlows(flows: readonly Flow[]): Promise<(KernelError | undefined)[]> {
    return deleteFlows(this.#netfilter().requests, flows)
  }

  monitorNftables(listen: (news?: NftNews) => void): KernelMonitor {
    try {
      const { port } = this.#netfilter().requests
      return this.#track(this.#within(() => openNftablesMonitor(listen, port)))
    } catch (error) {
      // this kernel has none, or does not let this user listen
      if (error instanceof KernelError && error.errno !== ERRNO.ECANCELED) return { close: () => {} }
      throw error
    }
  }

  async chainTexts(of: NftTableName, names: readonly string[]): Promise<ChainText[]> {
    // what another program changes meanwhile is told as it was or as it is
    const found = await this.nftables(of, { only: { chains: names, sets: [], elements: [] } }, () => true)
    return found === undefined ? [] : chainTexts(found)
  }

  async legacyDrops(): Promise<LegacyDrop[]> {
    return this.#within(readLegacyDrops)
  }

  reversePathDrops(): number {
    return this.#within(reversePathDrops)
  }

  traceNftables(options: TraceOptions): KernelMonitor {
    return this.#track(this.#within(() => openTrace(options)))
  }

  nflog(options: NflogOptions): KernelMonitor {
    return this.#track(this.#within(() => openNflog(options)))
  }

  monitorPods: Kernel['monitorPods'] = listen => this.#track(this.#within(() => openPodMonitor(listen)))

  monitor(listen: (event: KernelEvent) => void): KernelMonitor {
    return this.#track(this.#monitor.listen(listen))
  }

  inside(netns: string, limit?: { mostObjects: number }): Kernel {
    const fd = openNetns(netns)
    try {
      return new LinuxKernel({ sysctlFolder: this.#sysctlFolder, netnsFd: fd, limit, ownRoutes: this.#ownRoutes })
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  authorText(author: Author): string | undefined {
    return this.#within(() => authorText(author))
  }

  namespaces(): string[] {
    return listNetns().map(netnsPath)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const monitor of [...this.#monitors]) monitor.close()
    this.#requests.close()
    this.#removal.close()
    this.#walks.close()
    this.#nftables?.requests.close()
    if (this.#netnsFd !== undefined) closeSync(this.#netnsFd)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** Opened by the first who asks: most kernels are never asked about nftables. */
  #netfilter(): { requests: Requests; port: LinuxNftables } {
    if (this.#nftables === undefined) {
      const options = { family: NETLINK.netfilter, receiveBuffer: NETFILTER_BUFFER, messageSize: NETFILTER_MESSAGE }
      const requests = this.#within(() => new Requests(options))
      this.#nftables = { requests, port: new LinuxNftables(requests, this.#walks) }
    }
    return this.#nftables
  }

  /** Closes a monitor with this kernel. */
  #track(monitor: KernelMonitor): KernelMonitor {
    const tracked = {
      close: () => {
        this.#monitors.delete(tracked)
        monitor.close()
      },
    }
    this.#monitors.add(tracked)
    return tracked
  }

  #within<T>(act: () => T): T {
    if (this.#closed) throw new KernelError(ERRNO.ECANCELED, 'use', 'kernel', 'closed')
    return this.#netnsFd === undefined ? act() : runInNetns(this.#netnsFd, act)
  }

  #sysctlPath(file: string): string {
    return this.#sysctlFolder + file.slice(SYSCTL_FOLDER.length)
  }

  #file<T>(operation: string, object: string, act: () => T): T {
    try {
      return this.#within(act)
    } catch (error) {
      throw fileError(error, operation, object)
    }
  }

  async #one(operation: string, object: string, type: number, flags: number, body: Request['body']): Promise<void> {
    const [answer] = await this.#requests.change([{ type, flags, body }])
    const removes = REMOVALS.includes(type)
    if (removes && ABSENT.includes(answer!.errno)) return
    // "Invalid handle": there is none of it
    if (type === RTM.delQdisc && answer!.errno === ERRNO.EINVAL) return
    check(answer!, operation, object)
  }

  /** One object; undefined when it, or the link that it is on, is not there. */
  async #get<T>(
    operation: string,
    object: string,
    request: Request,
    parse: (message: Message) => T | undefined,
  ): Promise<T | undefined> {
    const { answer, reply } = await this.#requests.read(request)
    if (ABSENT.includes(answer.errno)) return undefined
    check(answer, operation, object)
    return reply && parse(reply)
  }

  async #dump<T>(
    operation: string,
    object: string,
    request: Request,
    parse: (message: Message) => T | undefined,
  ): Promise<T[]> {
    const { answer, objects } = await this.#requests.dump(request, parse)
    // a filtered dump of a table or a link that is not there is refused; an unfiltered one would be empty
    if (!ABSENT.includes(answer.errno)) check(answer, operation, object)
    return objects
  }

  /** Keeps the namespace at `path` open until `act` is through: the kernel reads the descriptor when it is sent. */
  async #withNetns(path: string | undefined, act: (fd?: number) => Promise<void>): Promise<void> {
    if (path === undefined) return act()
    const fd = openNetns(path)
    try {
      await act(fd)
    } finally {
      closeSync(fd)
    }
  }
}

function check({ errno, detail }: Acknowledgement, operation: string, object: string): void {
  if (errno !== 0) throw new KernelError(errno, operation, object, detail)
}

function matches(route: Route, { table, protocol, type, ifindex }: RouteFilter): boolean {
  return (
    (type === undefined || route.type === type) &&
    (table === undefined || route.table === table) &&
    (protocol === undefined || route.protocol === protocol) &&
    (ifindex === undefined || interfacesOf(route).includes(ifindex))
  )
}

function sysctlFile(family: SysctlFamily | 'netfilter', path: readonly string[]): string {
  const file = [SYSCTL_FOLDER, family, ...path].join('/')
  // a link's name cannot leave the folder: the kernel allows neither a slash nor dots alone in one
  if (path.some(part => part === '' || part === '.' || part === '..' || part.includes('/')))
    throw new KernelError(ERRNO.EINVAL, 'name sysctl', file)
  return file
}

function addressText({ address, length, ifindex }: Address): string {
  return `${address}/${length} on ${ifindex}`
}

function fdbText({ mac, dst, ifindex }: FdbEntry): string {
  return `${mac} to ${dst} on ${ifindex}`
}

/** A route as `ip route` would say it, as far as it names the object. */
function routeText({ dst, type, gateway, ifindex, nextHops, table, metric }: Route): string {
  const parts = [type === 'unicast' ? dst : `${type} ${dst}`]
  for (const hop of nextHops ?? [{ gateway, ifindex }]) {
    if (nextHops !== undefined) parts.push('nexthop')
    if (hop.gateway !== undefined) parts.push(`via ${hop.gateway}`)
    if (hop.ifindex !== undefined) parts.push(`dev ${hop.ifindex}`)
  }
  if (metric !== undefined) parts.push(`metric ${metric}`)
  return `${parts.join(' ')} table ${table}`
}
