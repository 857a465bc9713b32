// The kernel port in memory: a world of network namespaces under paths, one kernel per view of one. It holds to
// test/kernel/contract.ts like the real kernel does, so that other rooms can be tested without root.
// Over 400 lines: every promise of the port, a few lines each.
import { randomBytes } from 'node:crypto'
import { formatMac, macBytes } from '../netlink/mac.ts'
import { chainTexts } from '../netlink/nftables/command-text.ts'
import { isFlooded } from '../netlink/route/neighbour.ts'
import type { Address } from '../port/addresses.ts'
import type { Flow } from '../port/conntrack.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type { Author, Kernel, KernelEvent, KernelMonitor, MonitoredRoutes, PodNews } from '../port/kernel.ts'
import type { Link, LinkChange, LinkSpec } from '../port/links.ts'
import type { FdbEntry, Neighbour } from '../port/neighbours.ts'
import type { NextHopChange, NextHopObject } from '../port/next-hops.ts'
import type { NflogOptions, NflogPacket } from '../port/nflog.ts'
import type {
  ForwardChain,
  NftablesPort,
  NftChain,
  NftChange,
  NftNews,
  NftReading,
  NftRefusal,
  NftRuleset,
  NftTableName,
} from '../port/nftables.ts'
import { asPodEvent } from '../port/pods.ts'
import {
  interfacesOf,
  type LookedUp,
  ROUTE_TABLE,
  type Route,
  type RouteChange,
  type RouteFilter,
} from '../port/routes.ts'
import type { RoutingRule } from '../port/rules.ts'
import type { Bucket, IngressFilter, Qdisc } from '../port/shaping.ts'
import type { SettingNews, SettingWatch, SysctlFamily } from '../port/sysctls.ts'
import type { ChainText, LegacyDrop, TraceOptions, TraceStep } from '../port/trace.ts'
import type { FakeConntrack } from './conntrack.ts'
import { limited } from './limited.ts'
import { FakeNetns } from './netns.ts'
import { changedTables } from './nft-parts.ts'
import { isIpv4 } from './routes.ts'

const ALL_KINDS: readonly LinkSpec['kind'][] = ['veth', 'ipip', 'vxlan', 'bridge', 'dummy', 'ifb']
/** What lookups say of routes that drop (net/ipv4/fib_semantics.c, fib_props). */
const DROP_ERRNO: Partial<Record<Route['type'], number>> = {
  blackhole: ERRNO.EINVAL,
  unreachable: ERRNO.EHOSTUNREACH,
  prohibit: ERRNO.EACCES,
}

/**
 * Namespaces by path, and which link kinds this machine has, and whether it has nftables and next hop objects. The host's own namespace has no path, and
 * its `lo` is up, as every init leaves it.
 */
export class FakeWorld {
  readonly kinds: ReadonlySet<LinkSpec['kind']>
  readonly hasNftables: boolean
  readonly hasNextHops: boolean
  readonly mayHearPods: boolean
  /** Who listens to all namespaces. */
  readonly podListeners = new Set<(netns: FakeNetns, event: KernelEvent) => void>()
  readonly #host = new FakeNetns({ loopbackUp: true, others: this.podListeners })
  readonly #named = new Map<string, FakeNetns>()
  #numbers = 0

  constructor({
    kinds = ALL_KINDS,
    nftables = true,
    nextHops = true,
    hearsPods = true,
  }: { kinds?: readonly LinkSpec['kind'][]; nftables?: boolean; nextHops?: boolean; hearsPods?: boolean } = {}) {
    this.kinds = new Set(kinds)
    this.hasNftables = nftables
    this.hasNextHops = nextHops
    this.mayHearPods = hearsPods
  }

  /** A kernel of the host's namespace. */
  kernel({ ownRoutes }: MonitoredRoutes = {}): Kernel {
    return new FakeKernel(this, this.#host, ownRoutes)
  }

  addNetns(path: string): void {
    if (this.#named.has(path)) throw new KernelError(ERRNO.EEXIST, 'add netns', path)
    this.#named.set(path, new FakeNetns({ number: this.#numbers++, others: this.podListeners }))
  }

  /** Ends a namespace: its virtual links end with it, and so do the far ends of its veths. */
  removeNetns(path: string): void {
    const netns = this.#named.get(path)
    this.#named.delete(path)
    if (netns !== undefined) for (const link of [...netns.links.values()]) dropLink(netns, link)
  }

  namespaces(): string[] {
    return [...this.#named.keys()].sort()
  }

  netns(path: string): FakeNetns {
    const found = this.#named.get(path)
    if (found === undefined) throw new KernelError(ERRNO.ENOENT, 'open netns', path)
    return found
  }

  /** The tracked connections of the host. */
  get tracked(): FakeConntrack {
    return this.#host.conntrack
  }

  /** Makes every monitor of the host (or of the namespace at `path`) hear that it lost events. */
  overrun(path?: string): void {
    const netns = path === undefined ? this.#host : this.netns(path)
    netns.tell({ type: 'overrun' })
  }

  /** Tells steps to whoever listens on the host, as traced packets do; nobody may. `lost`: some were dropped behind them. */
  trace(steps: readonly TraceStep[], { lost = false }: { lost?: boolean } = {}): void {
    for (const listener of this.#host.traceListeners)
      setImmediate(() => {
        if (steps.length > 0 && this.#host.traceListeners.has(listener)) listener.received(steps)
        if (lost && this.#host.traceListeners.has(listener)) listener.lost()
      })
  }

  /** Hands copies to whoever reads the group on the host, as rules that log do; nobody may. `lost`: dropped before them. */
  log(group: number, packets: readonly NflogPacket[], { lost = 0 }: { lost?: number } = {}): void {
    const reader = this.#host.nflogReaders.get(group)
    setImmediate(() => {
      if (reader === undefined || this.#host.nflogReaders.get(group) !== reader) return
      if (lost > 0) reader.lost(lost)
      if (packets.length > 0) reader.received(structuredClone(packets).map(copied))
    })
  }
}

/** A clone of a Buffer is a Uint8Array. */
function copied(packet: NflogPacket): NflogPacket {
  return { ...packet, payload: Buffer.from(packet.payload) }
}

class FakeKernel implements Kernel {
  readonly #world: FakeWorld
  readonly #netns: FakeNetns
  readonly #monitors = new Set<KernelMonitor>()
  readonly #ownRoutes: MonitoredRoutes['ownRoutes']
  /** A change is under way whose routes are not told. */
  #isUntold = false
  #closed = false

  constructor(world: FakeWorld, netns: FakeNetns, ownRoutes?: MonitoredRoutes['ownRoutes']) {
    this.#world = world
    this.#netns = netns
    this.#ownRoutes = ownRoutes
  }

  async links(): Promise<Link[]> {
    return structuredClone([...this.#open().links.values()])
  }

  async link(of: string | number): Promise<Link | undefined> {
    return structuredClone(this.#open().find(of))
  }

  async createLink(spec: LinkSpec): Promise<Link> {
    const netns = this.#open()
    const refuse = (errno: number, detail?: string) => new KernelError(errno, 'create link', spec.name, detail)
    const far = spec.kind === 'veth' && spec.peer.netns !== undefined ? this.#world.netns(spec.peer.netns) : netns
    if (!this.#world.kinds.has(spec.kind)) throw refuse(ERRNO.EOPNOTSUPP, 'Unknown device type')
    if (netns.find(spec.name) !== undefined) throw refuse(ERRNO.EEXIST)
    if (spec.kind !== 'veth') {
      if ([...netns.links.values()].some(link => collides(link, spec))) throw refuse(ERRNO.EEXIST)
      return structuredClone(netns.insert(newLink(spec)))
    }
    if (far.find(spec.peer.name) !== undefined || (far === netns && spec.peer.name === spec.name))
      throw refuse(ERRNO.EEXIST)
    const { kind, peer } = spec
    const theirs = far.insert({ ...newLink({ kind, name: peer.name, mtu: peer.mtu }), mac: peer.mac ?? randomMac() })
    const ours = netns.insert({ ...newLink(spec), mac: spec.mac ?? randomMac() })
    netns.peers.set(ours.index, { netns: far, index: theirs.index })
    far.peers.set(theirs.index, { netns, index: ours.index })
    tie(netns, ours)
    tie(far, theirs)
    return structuredClone(ours)
  }

  async setLink(of: string | number, change: LinkChange): Promise<void> {
    const netns = this.#open()
    const link = netns.need(of, 'set link')
    if (change.name !== undefined && change.name !== link.name && netns.find(change.name) !== undefined)
      throw new KernelError(ERRNO.EEXIST, 'set link', link.name)
    if (change.master !== undefined && change.master !== 0) {
      const master = netns.need(change.master, 'set link')
      if (master.kind !== 'bridge') throw new KernelError(ERRNO.EOPNOTSUPP, 'set link', link.name)
    }
    const far = change.netns === undefined ? netns : this.#world.netns(change.netns)
    const here = far === netns ? link : move(netns, far, link)
    if (change.alias !== undefined) here.alias = change.alias
    if (change.mtu !== undefined) here.mtu = change.mtu
    if (change.mac !== undefined) here.mac = formatMac(macBytes(change.mac))
    if (change.name !== undefined) far.rename(here, change.name)
    if (change.master === 0) delete here.master
    else if (change.master !== undefined) here.master = change.master
    if (change.up !== undefined && change.up !== here.up) far.setUp(here, change.up)
    // netdev_state_change: of its other name the kernel tells nothing while a link is down
    else if (here.up || Object.keys(change).some(field => field !== 'alias'))
      far.tell({ type: 'link', link: { ...here } })
  }

  async deleteLink(of: string | number): Promise<void> {
    const netns = this.#open()
    const link = netns.find(of)
    if (link?.name === 'lo') throw new KernelError(ERRNO.EOPNOTSUPP, 'delete link', 'lo')
    if (link !== undefined) dropLink(netns, link)
  }

  async addresses(ifindex?: number): Promise<Address[]> {
    const all = this.#open().addresses
    return structuredClone(all.filter(address => ifindex === undefined || address.ifindex === ifindex))
  }

  async addAddress(address: Address): Promise<void> {
    this.#open().addAddress(address)
  }

  async deleteAddress(address: Address): Promise<void> {
    this.#open().deleteAddress(address)
  }

  async routes({ family, table, protocol, type, ifindex, dst }: RouteFilter = {}): Promise<Route[]> {
    const all = [...this.#open().routes.values()].filter(
      route =>
        (family === undefined || (family === 'ipv6') === route.dst.includes(':')) &&
        (table === undefined || route.table === table) &&
        (protocol === undefined || route.protocol === protocol) &&
        (type === undefined || route.type === type) &&
        (dst === undefined || route.dst === dst) &&
        (ifindex === undefined || interfacesOf(route).includes(ifindex)),
    )
    return structuredClone(all)
  }

  async changeRoutes(changes: readonly RouteChange[]): Promise<(KernelError | undefined)[]> {
    const netns = this.#open()
    return this.#changeEach(changes, change => netns.changeRoute(change))
  }

  /** The refusal of each change. What it does to routes is told as this kernel's own. */
  #changeEach<C>(changes: readonly C[], change: (one: C) => void): (KernelError | undefined)[] {
    this.#isUntold = this.#ownRoutes === 'untold'
    try {
      return changes.map(one => {
        try {
          change(one)
          return undefined
        } catch (error) {
          if (error instanceof KernelError) return error
          throw error
        }
      })
    } finally {
      this.#isUntold = false
    }
  }

  /** Here no rules choose tables by sources. */
  async lookupRoute(dst: string, packet: LookedUp = {}): Promise<Route> {
    const netns = this.#open()
    const route = netns.lookup(dst)
    const lost = route === undefined ? ERRNO.ENETUNREACH : DROP_ERRNO[route.type]
    const errno = isIpv4(dst) ? netns.refusalOnArrival(route, lost, packet) : lost
    if (route === undefined || errno !== undefined) throw new KernelError(errno!, 'look up route', dst)
    return structuredClone(route)
  }

  async nextHopObjects(): Promise<NextHopObject[] | undefined> {
    return this.#world.hasNextHops ? this.#open().nextHops.list() : undefined
  }

  async changeNextHopObjects(changes: readonly NextHopChange[]): Promise<(KernelError | undefined)[]> {
    const { nextHops } = this.#open()
    return this.#changeEach(changes, change => nextHops.change(change))
  }

  /** Those that every kernel begins with; nobody writes others here. */
  async rules(): Promise<RoutingRule[]> {
    this.#open()
    const { local, main, default: last } = ROUTE_TABLE
    return (['ipv4', 'ipv6'] as const).flatMap(family => [
      { family, priority: 0, action: 'lookup', table: local },
      { family, priority: 32766, action: 'lookup', table: main },
      ...(family === 'ipv4' ? [{ family, priority: 32767, action: 'lookup', table: last } as const] : []),
    ])
  }

  async neighbours(ifindex?: number): Promise<Neighbour[]> {
    const all = this.#open().neighbours
    return structuredClone(all.filter(neighbour => ifindex === undefined || neighbour.ifindex === ifindex))
  }

  async neighbour(ifindex: number, address: string): Promise<Neighbour | undefined> {
    const all = this.#open().neighbours
    return structuredClone(all.find(each => each.ifindex === ifindex && each.address === address && !each.proxy))
  }

  async setNeighbour(neighbour: Neighbour): Promise<void> {
    this.#open().setNeighbour(neighbour)
  }

  async deleteNeighbour(neighbour: Neighbour): Promise<void> {
    this.#open().deleteNeighbour(neighbour)
  }

  async fdb(ifindex: number): Promise<FdbEntry[]> {
    return structuredClone(this.#open().fdb.filter(entry => entry.ifindex === ifindex))
  }

  async fdbEntry(ifindex: number, mac: string): Promise<FdbEntry | undefined> {
    return structuredClone(this.#open().fdb.find(entry => entry.ifindex === ifindex && entry.mac === mac))
  }

  async setFdb(entry: FdbEntry): Promise<void> {
    const netns = this.#open()
    if (netns.need(entry.ifindex, 'set fdb').kind !== 'vxlan')
      throw new KernelError(ERRNO.EOPNOTSUPP, 'set fdb', entry.mac)
    const flooded = isFlooded(entry.mac)
    const replaces = (e: FdbEntry) =>
      e.ifindex === entry.ifindex && e.mac === entry.mac && (!flooded || e.dst === entry.dst)
    netns.fdb = [...netns.fdb.filter(e => !replaces(e)), { ...entry }]
    netns.tell({ type: 'fdb', entry: { ...entry } })
  }

  async deleteFdb({ ifindex, mac, dst }: FdbEntry): Promise<void> {
    const netns = this.#open()
    const kept = netns.fdb.filter(e => e.ifindex !== ifindex || e.mac !== mac || e.dst !== dst)
    if (kept.length < netns.fdb.length) netns.tell({ type: 'fdb-gone', entry: { ifindex, mac, dst } })
    netns.fdb = kept
  }

  watchSettings(listen: (news: SettingNews | undefined) => void): SettingWatch {
    const { settingListeners } = this.#open()
    let closed = false
    const listener = (news: SettingNews) => {
      if (!closed) listen(news)
    }
    settingListeners.set(listener, this)
    const watch = {
      renew() {},
      drain() {},
      close: () => {
        closed = true
        settingListeners.delete(listener)
        this.#monitors.delete(watch)
      },
    }
    this.#monitors.add(watch)
    return watch
  }

  readSysctl(family: SysctlFamily | 'netfilter', path: readonly string[]): string {
    return this.#sysctl('read sysctl', family, path, key => this.#netns.sysctls.get(key) ?? '0')
  }

  writeSysctl(family: SysctlFamily, path: readonly string[], value: string): void {
    this.#sysctl('write sysctl', family, path, () => this.#netns.writeSysctl(family, path, value.trim()))
    for (const [listener, through] of this.#netns.settingListeners)
      if (through !== this) setImmediate(() => listener({ family, path }))
  }

  async qdiscs(): Promise<Qdisc[]> {
    return this.#open().shaping.qdiscs()
  }

  async setBucket(ifindex: number, handle: number, bucket: Bucket): Promise<void> {
    await this.#open().shaping.setBucket(ifindex, handle, bucket)
  }

  async deleteBucket(ifindex: number, handle: number): Promise<void> {
    await this.#open().shaping.deleteBucket(ifindex, handle)
  }

  async addIngress(ifindex: number): Promise<void> {
    await this.#open().shaping.addIngress(ifindex)
  }

  async deleteIngress(ifindex: number): Promise<void> {
    await this.#open().shaping.deleteIngress(ifindex)
  }

  async ingressFilters(ifindex: number): Promise<IngressFilter[]> {
    return this.#open().shaping.ingressFilters(ifindex)
  }

  async addRedirect(ifindex: number, filter: Required<IngressFilter>): Promise<void> {
    await this.#open().shaping.addRedirect(ifindex, filter)
  }

  async deleteIngressFilter(ifindex: number, preference: number): Promise<void> {
    await this.#open().shaping.deleteIngressFilter(ifindex, preference)
  }

  async nftables(of: NftTableName, options?: NftReading): Promise<NftRuleset | undefined> {
    return this.#openNftables().nftables.nftables(of, options)
  }

  async nftGeneration(): Promise<number> {
    return this.#openNftables().nftables.nftGeneration()
  }

  /** The fake has no legacy tables. */
  async legacyBaseChains(): Promise<NftChain[]> {
    return []
  }

  async legacyForwardChains(): Promise<ForwardChain[]> {
    return []
  }

  ruleCounters: NftablesPort['ruleCounters'] = async of => this.#openNftables().nftables.ruleCounters(of)

  async baseChains(): Promise<NftChain[]> {
    return this.#openNftables().nftables.baseChains()
  }

  async forwardChains(): Promise<ForwardChain[]> {
    return this.#openNftables().nftables.forwardChains()
  }

  async changeNftables(changes: readonly NftChange[], options?: { generation?: number }): Promise<NftRefusal[]> {
    const netns = this.#openNftables()
    const refused = await netns.nftables.changeNftables(changes, options)
    if (refused.length > 0 || changes.length === 0) return refused
    netns.tellTransaction({ generation: await netns.nftables.nftGeneration(), tables: changedTables(changes) }, this)
    return refused
  }

  async flowsOf(addresses: ReadonlySet<string> | 'all', each: (flow: Flow) => void): Promise<void> {
    await this.#open().conntrack.flowsOf(addresses, each)
  }

  async deleteFlows(flows: readonly Flow[]): Promise<(KernelError | undefined)[]> {
    return this.#open().conntrack.deleteFlows(flows)
  }

  monitorNftables(listen: (news?: NftNews) => void): KernelMonitor {
    const { tableListeners } = this.#open()
    const later = (news: NftNews) =>
      setImmediate(() => {
        if (tableListeners.has(later)) listen(structuredClone(news))
      })
    tableListeners.set(later, this)
    const monitor = {
      close: () => {
        tableListeners.delete(later)
        this.#monitors.delete(monitor)
      },
    }
    this.#monitors.add(monitor)
    return monitor
  }

  async chainTexts(of: NftTableName, chains: readonly string[]): Promise<ChainText[]> {
    const found = await this.nftables(of, { only: { chains, sets: [], elements: [] } })
    return found === undefined ? [] : chainTexts(found)
  }

  /** The fake has no legacy tables, */
  async legacyDrops(): Promise<LegacyDrop[]> {
    this.#open()
    return []
  }

  /** and no packets. */
  reversePathDrops(): number {
    this.#open()
    return 0
  }

  traceNftables(options: TraceOptions): KernelMonitor {
    const { traceListeners } = this.#openNftables()
    const listener = { ...options }
    traceListeners.add(listener)
    const monitor = {
      close: () => {
        traceListeners.delete(listener)
        this.#monitors.delete(monitor)
      },
    }
    this.#monitors.add(monitor)
    return monitor
  }

  nflog(options: NflogOptions): KernelMonitor {
    const { group } = options
    const { nflogReaders } = this.#openNftables()
    if (nflogReaders.has(group)) throw new KernelError(ERRNO.EPERM, 'read', `NFLOG group ${group}`)
    nflogReaders.set(group, options)
    const monitor = {
      close: () => {
        if (nflogReaders.get(group) === options) nflogReaders.delete(group)
        this.#monitors.delete(monitor)
      },
    }
    this.#monitors.add(monitor)
    return monitor
  }

  monitorPods(listen: (news: PodNews | undefined) => void): KernelMonitor {
    const here = this.#open()
    const { podListeners, mayHearPods } = this.#world
    if (!mayHearPods) throw new KernelError(ERRNO.EPERM, 'listen to', 'all namespaces')
    let closed = false
    const later = (netns: FakeNetns, event: KernelEvent) => {
      const told = asPodEvent(event)
      if (netns === here || (told === undefined && event.type !== 'overrun')) return
      const news = told && { namespace: netns.number, event: structuredClone(told) }
      setImmediate(() => {
        if (!closed) listen(news)
      })
    }
    podListeners.add(later)
    const monitor = {
      close: () => {
        closed = true
        podListeners.delete(later)
        this.#monitors.delete(monitor)
      },
    }
    this.#monitors.add(monitor)
    return monitor
  }

  monitor(listen: (event: KernelEvent) => void): KernelMonitor {
    const { listeners } = this.#open()
    let closed = false
    // events of the real kernel arrive after the call that caused them, in order
    const later = (event: KernelEvent) => {
      if (this.#isUntold && (event.type === 'route' || event.type === 'route-gone')) return
      setImmediate(() => {
        if (!closed) listen(structuredClone(event))
      })
    }
    listeners.add(later)
    const monitor = {
      close: () => {
        closed = true
        listeners.delete(later)
        this.#monitors.delete(monitor)
      },
    }
    this.#monitors.add(monitor)
    return monitor
  }

  inside(netns: string, limit?: { mostObjects: number }): Kernel {
    const kernel = new FakeKernel(this.#world, this.#world.netns(netns), this.#ownRoutes)
    return limit === undefined ? kernel : limited(kernel, limit.mostObjects)
  }

  authorText(author: Author): string | undefined {
    return 'pid' in author ? `${author.name} (process ${author.pid})` : `process ${author.port}`
  }

  namespaces(): string[] {
    return this.#world.namespaces()
  }

  close(): void {
    this.#closed = true
    for (const monitor of [...this.#monitors]) monitor.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #open(): FakeNetns {
    if (this.#closed) throw new KernelError(ERRNO.ECANCELED, 'use', 'kernel', 'closed')
    return this.#netns
  }

  #openNftables(): FakeNetns {
    if (!this.#world.hasNftables) throw new KernelError(ERRNO.EPROTONOSUPPORT, 'open', 'netlink')
    return this.#open()
  }

  #sysctl<T>(
    operation: string,
    family: SysctlFamily | 'netfilter',
    path: readonly string[],
    act: (key: string) => T,
  ): T {
    const name = path.length > 2 && (path[0] === 'conf' || path[0] === 'neigh') ? path[1]! : 'all'
    const netns = this.#open()
    if (name !== 'all' && name !== 'default' && netns.find(name) === undefined)
      throw new KernelError(ERRNO.ENOENT, operation, path.join('/'))
    return act([family, ...path].join('\0'))
  }
}

function newLink(spec: Pick<LinkSpec, 'kind' | 'name' | 'mtu'> & Partial<LinkSpec>): Omit<Link, 'index'> {
  const { kind, name } = spec
  const link: Omit<Link, 'index'> = { name, kind, mtu: spec.mtu ?? 1500, up: false, running: false }
  if (spec.kind === 'ipip') {
    const { local, remote } = spec
    return { ...link, mtu: spec.mtu ?? 1480, ipip: { local, remote } }
  }
  if (spec.kind !== 'vxlan') return { ...link, mac: randomMac() }
  const { vni = 0, port = 0, local, mac = randomMac() } = spec
  return { ...link, mac, vxlan: { vni, port, local, learning: false } }
}

/** Tunnels of one namespace that the kernel could not tell apart. */
function collides(link: Link, spec: LinkSpec): boolean {
  if (spec.kind === 'vxlan') return link.vxlan?.vni === spec.vni && link.vxlan.port === spec.port
  if (spec.kind === 'ipip')
    return link.ipip !== undefined && link.ipip.local === spec.local && link.ipip.remote === spec.remote
  return false
}

/** Notes on a veth where its far end is. */
function tie(netns: FakeNetns, link: Link): void {
  const peer = netns.peers.get(link.index)
  if (peer === undefined) return
  link.peer = peer.index
  if (peer.netns === netns) delete link.peerNetnsId
  else link.peerNetnsId = peer.netns.number
}

function dropLink(netns: FakeNetns, link: Link): void {
  const peer = netns.peers.get(link.index)
  const other = peer?.netns.links.get(peer.index)
  netns.remove(link)
  if (peer !== undefined && other !== undefined) peer.netns.remove(other)
}

function move(from: FakeNetns, to: FakeNetns, link: Link): Link {
  if (to.find(link.name) !== undefined) throw new KernelError(ERRNO.EEXIST, 'set link', link.name)
  const peer = from.peers.get(link.index)
  from.remove(link)
  const moved = to.insert({ ...link, up: false, running: false }, link.index)
  const other = peer?.netns.links.get(peer.index)
  if (peer === undefined || other === undefined) return moved
  to.peers.set(moved.index, peer)
  peer.netns.peers.set(peer.index, { netns: to, index: moved.index })
  tie(to, moved)
  tie(peer.netns, other)
  return moved
}

function randomMac(): string {
  const [first = 0, ...rest] = randomBytes(6)
  return formatMac(Uint8Array.of((first & 0xfc) | 2, ...rest))
}
