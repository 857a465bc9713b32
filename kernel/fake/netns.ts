// What one network namespace of the fake holds and how it hangs together: links pull addresses, routes, neighbours and
// sysctls along when they go down or away, as Linux does it. Refusals are thrown as `KernelError`. What it does not
// have: IPv6 link-local addresses, duplicate address detection, multicast and broadcast routes.
import { contains, familyOf, isLinkLocal } from '../../lib/ip.ts'
import type { Address } from '../port/addresses.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type { KernelEvent } from '../port/kernel.ts'
import type { Link } from '../port/links.ts'
import type { FdbEntry, Neighbour } from '../port/neighbours.ts'
import { ledBy } from '../port/next-hops.ts'
import type { NflogOptions } from '../port/nflog.ts'
import type { NftNews } from '../port/nftables.ts'
import {
  drops,
  interfacesOf,
  type LookedUp,
  type NextHop,
  ROUTE_SCOPE,
  ROUTE_TABLE,
  type Route,
  type RouteChange,
  routeKey,
} from '../port/routes.ts'
import type { SettingNews, SysctlFamily } from '../port/sysctls.ts'
import type { TraceOptions } from '../port/trace.ts'
import { FakeConntrack } from './conntrack.ts'
import { FakeNextHops } from './next-hops.ts'
import { FakeNftables } from './nftables.ts'
import { addressRoutes, canonical, describes, isIpv4 } from './routes.ts'
import { FakeShaping } from './shaping.ts'

/** Settings whose changes are told. */
const TOLD: readonly string[] = ['forwarding', 'rp_filter', 'proxy_arp', 'proxy_ndp']

/** The far end of a veth. */
export type VethPeer = { netns: FakeNetns; index: number }

export class FakeNetns {
  readonly links = new Map<number, Link>()
  readonly peers = new Map<number, VethPeer>()
  readonly listeners = new Set<(event: KernelEvent) => void>()
  /** Who listens to changes of nftables, each with the kernel that it listens through. */
  readonly tableListeners = new Map<(news: NftNews) => void, unknown>()
  /** Readers of copies, by group. */
  readonly nflogReaders = new Map<number, NflogOptions>()
  readonly traceListeners = new Set<TraceOptions>()
  readonly sysctls = new Map<string, string>()
  /** Who hears of settings that others write, each with the kernel that it listens through. */
  readonly settingListeners = new Map<(news: SettingNews) => void, unknown>()
  readonly nftables = new FakeNftables()
  readonly conntrack = new FakeConntrack()
  readonly shaping = new FakeShaping(
    () => this.links.keys(),
    ifindex => this.tell({ type: 'shaping', ifindex }),
  )
  readonly nextHops = new FakeNextHops({
    links: this.links,
    reach: hop => this.#reach({ dst: '0.0.0.0/0', scope: 0 }, hop, refusal('add next hop object', hop.gateway ?? '')),
    leads: (id, ways) => this.#lead(id, ways),
    tell: event => this.tell(event),
  })
  addresses: Address[] = []
  routes = new Map<string, Route>()
  neighbours: Neighbour[] = []
  fdb: FdbEntry[] = []
  #nextIndex = 2

  /** Its number in every other namespace. */
  readonly number: number
  /** Whoever hears what happens in all namespaces but its own. */
  readonly #others: ReadonlySet<(netns: FakeNetns, event: KernelEvent) => void>

  constructor({
    loopbackUp: up = false,
    number = 0,
    others = new Set<(netns: FakeNetns, event: KernelEvent) => void>(),
  } = {}) {
    this.number = number
    this.#others = others
    this.links.set(1, { index: 1, name: 'lo', mac: '00:00:00:00:00:00', mtu: 65536, up, running: up })
  }

  find(of: string | number): Link | undefined {
    return typeof of === 'number' ? this.links.get(of) : [...this.links.values()].find(link => link.name === of)
  }

  need(of: string | number, operation: string): Link {
    const link = this.find(of)
    if (link === undefined) throw new KernelError(ERRNO.ENODEV, operation, `${of}`)
    return link
  }

  /** Puts a link in, under `preferred` as its index where that is free. */
  insert(link: Omit<Link, 'index'>, preferred = 0): Link {
    const index = preferred > 1 && !this.links.has(preferred) ? preferred : this.#nextIndex
    this.#nextIndex = Math.max(this.#nextIndex, index + 1)
    const inserted = { ...link, index }
    this.links.set(index, inserted)
    this.tell({ type: 'link', link: { ...inserted }, isNew: true })
    return inserted
  }

  /** Takes a link out with all that hangs on it; its peer is the caller's business. */
  remove(link: Link): void {
    if (link.up) this.setUp(link, false)
    this.nextHops.flush(link.index)
    for (const [key, route] of this.routes)
      if (interfacesOf(route).includes(link.index)) this.#takeHops(key, route, link)
    for (const address of this.addresses.filter(a => a.ifindex === link.index)) this.deleteAddress(address)
    this.#flushNeighbours(link)
    this.fdb = this.fdb.filter(entry => entry.ifindex !== link.index)
    for (const other of this.links.values()) if (other.master === link.index) delete other.master
    for (const key of this.sysctls.keys())
      if (key.split('\0').length > 3 && key.split('\0')[2] === link.name) this.sysctls.delete(key)
    this.links.delete(link.index)
    this.peers.delete(link.index)
    this.shaping.forget(link.index)
    this.tell({ type: 'link-gone', link: { ...link } })
  }

  rename(link: Link, name: string): void {
    for (const [key, value] of [...this.sysctls]) {
      const parts = key.split('\0')
      if (parts[2] !== link.name || parts.length < 4) continue
      this.sysctls.delete(key)
      this.sysctls.set(parts.with(2, name).join('\0'), value)
    }
    link.name = name
  }

  setUp(link: Link, up: boolean): void {
    if (link.up === up) return
    link.up = up
    this.#carry(link, true)
    const peer = this.peers.get(link.index)
    const other = peer?.netns.links.get(peer.index)
    if (peer !== undefined && other !== undefined) peer.netns.#carry(other)
    if (up) for (const address of this.addresses.filter(a => a.ifindex === link.index)) this.#connect(address)
    else this.#goDown(link)
  }

  addAddress(address: Address): void {
    const link = this.need(address.ifindex, 'add address')
    if (this.addresses.some(a => sameAddress(a, address)))
      throw new KernelError(ERRNO.EEXIST, 'add address', address.address)
    const { tentative: _, ...kept } = address
    this.addresses.push(kept)
    this.tell({ type: 'address', address: { ...kept } })
    if (link.up) this.#connect(kept)
  }

  deleteAddress(address: Address): void {
    const found = this.addresses.find(a => sameAddress(a, address))
    if (found === undefined) return
    this.addresses = this.addresses.filter(a => a !== found)
    for (const route of addressRoutes(found)) this.#dropRoute(route)
    const family = familyOf(found.address)
    // fib_sync_down_addr, and fib_disable_ip for the last IPv4 address: neither is told
    for (const [key, route] of this.routes) {
      const last = family === 'ipv4' && !this.addresses.some(a => a.ifindex === found.ifindex && isIpv4(a.address))
      const onLink = last && isIpv4(route.dst) && this.#isLast(route, found.ifindex)
      if (onLink || route.source === found.address) this.routes.delete(key)
    }
    this.tell({ type: 'address-gone', address: { ...found } })
  }

  changeRoute({ verb, route }: RouteChange): void {
    if (verb === 'delete') {
      const found = this.#named(route)
      if (found !== undefined) this.#dropRoute(found)
      return
    }
    const resolved = this.#resolve(route, `${verb} route`)
    const key = routeKey(resolved)
    if (verb === 'add' && this.routes.has(key)) throw new KernelError(ERRNO.EEXIST, 'add route', route.dst)
    this.#putRoute(resolved)
  }

  /**
   * The longest match of the local, then the main table; the smallest metric of equals. `ifindex`: no route over another
   * interface, as gateways are looked up.
   */
  lookup(dst: string, ifindex?: number): Route | undefined {
    const length = (route: Route) => Number(route.dst.split('/')[1])
    for (const table of [ROUTE_TABLE.local, ROUTE_TABLE.main, ROUTE_TABLE.default]) {
      const isOver = (route: Route) =>
        ifindex === undefined || interfacesOf(route).includes(ifindex) || route.type !== 'unicast'
      const found = [...this.routes.values()].filter(
        route => route.table === table && contains(route.dst, dst) && isOver(route),
      )
      found.sort((a, b) => length(b) - length(a) || (a.metric ?? 0) - (b.metric ?? 0))
      if (found[0] !== undefined && found[0].type !== 'throw') return found[0]
    }
    return undefined
  }

  /** As ip_route_input_slow and fib_validate_source judge an IPv4 packet that comes in by an interface. `lost`: as its destination is. */
  refusalOnArrival(route: Route | undefined, lost: number | undefined, packet: LookedUp): number | undefined {
    const { ifindex, source } = packet
    if (ifindex === undefined || route?.type === 'local') return lost
    const { name } = this.need(ifindex, 'look up route')
    const setting = (of: string, what: string) => Number(this.sysctls.get(['ipv4', 'conf', of, what].join('\0')) ?? '0')
    if (setting(name, 'forwarding') === 0) return ERRNO.EHOSTUNREACH
    if (lost !== undefined || source === undefined) return lost
    const filter = Math.max(setting('all', 'rp_filter'), setting(name, 'rp_filter'))
    const back = this.lookup(source)
    if (back?.type === 'local') return ERRNO.EINVAL
    const isDropped = back?.type !== 'unicast' || (filter === 1 && !interfacesOf(back).includes(ifindex))
    return filter > 0 && isDropped ? ERRNO.EINVAL : undefined
  }

  setNeighbour(neighbour: Neighbour): void {
    this.need(neighbour.ifindex, 'set neighbour')
    if (neighbour.mac === undefined && !neighbour.proxy)
      throw new KernelError(ERRNO.EINVAL, 'set neighbour', neighbour.address)
    this.neighbours = this.neighbours.filter(n => !sameNeighbour(n, neighbour))
    const { mac, proxy, ...rest } = neighbour
    const kept: Neighbour = proxy
      ? { ...rest, proxy }
      : { ...rest, mac, state: rest.permanent ? 'permanent' : 'reachable' }
    this.neighbours.push(kept)
    this.tell({ type: 'neighbour', neighbour: { ...kept } })
  }

  deleteNeighbour(neighbour: Neighbour): void {
    const gone = this.neighbours.filter(n => sameNeighbour(n, neighbour))
    this.neighbours = this.neighbours.filter(n => !sameNeighbour(n, neighbour))
    for (const n of gone) this.tell({ type: 'neighbour-gone', neighbour: { ...n } })
  }

  /** Forwarding of the namespace as a whole sets that of each interface, as in Linux. */
  writeSysctl(family: SysctlFamily, path: readonly string[], value: string): void {
    const whole = path.join('/') === 'ip_forward' || path.join('/') === 'conf/all/forwarding'
    if (!whole) this.#setSysctl(family, path, value)
    if (!whole) return
    if (family === 'ipv4') this.#setSysctl(family, ['ip_forward'], value)
    const names = ['all', 'default', ...[...this.links.values()].map(({ name }) => name)]
    for (const name of names) this.#setSysctl(family, ['conf', name, 'forwarding'], value)
  }

  tell(event: KernelEvent): void {
    for (const listener of this.listeners) listener(event)
    for (const listener of this.#others) listener(this, event)
  }

  /** Tells all, and the listeners of `kernel`, which did it, without the tables. */
  tellTransaction(news: NftNews, kernel: unknown): void {
    for (const [listener, through] of this.tableListeners) listener(through === kernel ? { ...news, tables: [] } : news)
  }

  #setSysctl(family: SysctlFamily, path: readonly string[], value: string): void {
    const key = [family, ...path].join('\0')
    const before = this.sysctls.get(key) ?? '0'
    this.sysctls.set(key, value)
    const [group, of, name] = path
    if (before === value || group !== 'conf' || of === undefined || name === undefined || !TOLD.includes(name)) return
    const whose = of === 'all' || of === 'default' ? of : this.need(of, 'write sysctl').index
    this.tell({ type: 'sysctl', family, of: whose, name, value })
  }

  /** Carrier: a veth has it while both ends are up, everything else while it is up. */
  #carry(link: Link, isTold = false): void {
    const peer = this.peers.get(link.index)
    const other = peer?.netns.links.get(peer.index)
    const running = link.up && (link.kind !== 'veth' || other?.up === true)
    if (!isTold && running === link.running) return
    link.running = running
    if (!running) this.nextHops.flush(link.index)
    this.tell({ type: 'link', link: { ...link } })
  }

  #goDown(link: Link): void {
    for (const address of this.addresses.filter(a => a.ifindex === link.index && !isIpv4(a.address)))
      this.deleteAddress(address)
    for (const [key, route] of this.routes) {
      if (!this.#isLast(route, link.index)) continue
      if (!isIpv4(route.dst)) this.#dropRoute(route)
      // the addresses stay, and so do their routes in the local table; the rest goes without a word
      else if (route.type !== 'local') this.routes.delete(key)
    }
    this.#flushNeighbours(link)
  }

  /** Whether a route leads over this interface, and over no other one that is up. */
  #isLast(route: Route, ifindex: number): boolean {
    const interfaces = route.nextHopId === undefined ? interfacesOf(route) : []
    return interfaces.includes(ifindex) && !interfaces.some(each => each !== ifindex && this.links.get(each)?.up)
  }

  #lead(id: number, ways: readonly NextHop[] | undefined): void {
    for (const [key, route] of [...this.routes]) {
      if (route.nextHopId !== id) continue
      if (ways !== undefined) this.#putRoute(ledBy(route, ways))
      else if (isIpv4(route.dst)) this.routes.delete(key)
      else this.#dropRoute(route)
    }
  }

  /** What a link that goes away leaves of a route with several next hops: of IPv4 nothing, and nobody is told (fib_sync_down_dev). */
  #takeHops(key: string, route: Route, link: Link): void {
    const { nextHops, ...rest } = route
    const [first, ...others] = isIpv4(route.dst) ? [] : (nextHops ?? []).filter(hop => hop.ifindex !== link.index)
    if (first === undefined) this.routes.delete(key)
    else if (others.length > 0) this.routes.set(key, { ...rest, nextHops: [first, ...others] })
    else this.routes.set(key, { ...rest, gateway: first.gateway!, ifindex: first.ifindex })
  }

  #flushNeighbours(link: Link): void {
    for (const neighbour of this.neighbours.filter(n => n.ifindex === link.index)) this.deleteNeighbour(neighbour)
  }

  #connect(address: Address): void {
    for (const route of addressRoutes(address)) if (!this.routes.has(routeKey(route))) this.#putRoute(route)
  }

  /** The route that a deletion means; in IPv4 one that names no metric means any, the smallest first. */
  #named(route: Route): Route | undefined {
    const exact = this.routes.get(routeKey(route))
    if (exact !== undefined && describes(route, exact)) return exact
    if (!isIpv4(route.dst) || (route.metric ?? 0) !== 0) return undefined
    const isMeant = (r: Route) => r.dst === route.dst && r.table === route.table && describes(route, r)
    const found = [...this.routes.values()].filter(isMeant)
    return found.sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0))[0]
  }

  #putRoute(route: Route): void {
    this.routes.set(routeKey(route), route)
    this.tell({ type: 'route', route: { ...route } })
  }

  #dropRoute(route: Route): void {
    const key = routeKey(route)
    const found = this.routes.get(key)
    if (found === undefined || !describes(route, found)) return
    this.routes.delete(key)
    this.tell({ type: 'route-gone', route: { ...found } })
  }

  /** The route as the kernel would tell it, if its next hop holds. */
  #resolve(route: Route, operation: string): Route {
    const refuse = refusal(operation, route.dst)
    const out = canonical(route)
    if (drops(route.type)) return out
    if (out.nextHopId !== undefined) {
      const ways = this.nextHops.waysOf(out.nextHopId)
      if (ways === undefined) throw refuse(ERRNO.EINVAL, 'no such next hop object')
      return ledBy(out, ways)
    }
    if (out.nextHops !== undefined) {
      // rt6_qualify_for_ecmp
      if (!isIpv4(route.dst) && out.nextHops.some(({ gateway }) => gateway === undefined))
        throw refuse(ERRNO.EINVAL, 'several next hops need gateways')
      for (const hop of out.nextHops) this.#reach(route, hop, refuse)
      return out
    }
    const ifindex = this.#reach(route, route, refuse)
    return ifindex === undefined ? out : { ...out, ifindex }
  }

  /** The interface of a next hop that holds; undefined where none is named and none needed. */
  #reach(
    { dst, scope }: Pick<Route, 'dst' | 'scope'>,
    { gateway, ifindex, onlink }: Partial<NextHop>,
    refuse: (errno: number, detail: string) => KernelError,
  ): number | undefined {
    if (ifindex !== undefined) {
      const link = this.links.get(ifindex)
      if (link === undefined) throw refuse(ERRNO.ENODEV, 'no such link')
      if (!link.up) throw refuse(ERRNO.ENETDOWN, 'link is down')
    } else if (gateway === undefined || onlink) throw refuse(ERRNO.ENODEV, 'no link named')
    if (gateway === undefined || onlink || isLinkLocal(gateway)) return ifindex
    if (isIpv4(dst) && scope !== ROUTE_SCOPE.universe) throw refuse(ERRNO.EINVAL, 'scope and gateway')
    const via = this.lookup(gateway, ifindex)
    if (via?.type === 'local') throw refuse(ERRNO.EINVAL, 'the gateway is an address of this host')
    const reached = via !== undefined && via.type === 'unicast' && via.gateway === undefined
    if (!reached) throw refuse(isIpv4(dst) ? ERRNO.ENETUNREACH : ERRNO.EHOSTUNREACH, 'no route to the gateway')
    return via.ifindex
  }
}

function refusal(operation: string, object: string) {
  return (errno: number, detail: string) => new KernelError(errno, operation, object, detail)
}

function sameAddress(a: Address, b: Address): boolean {
  return a.ifindex === b.ifindex && a.address === b.address && a.length === b.length
}

function sameNeighbour(a: Neighbour, b: Neighbour): boolean {
  return a.ifindex === b.ifindex && a.address === b.address && (a.proxy ?? false) === (b.proxy ?? false)
}
