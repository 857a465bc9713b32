// Whether next hops of BGP can be reached and at what cost, by the kernel's routes (RFC 4271 §9.1.2.1): each is looked up once, and again
// when a route that holds it, or a link or an address on its way, comes or goes. A next hop may be reached over a route of BGP, as
// loopbacks are; one that is reached over a route that needs it is refused, and stays so for as long as peers announce that
// route with it: the kernel no longer has the route then, and what it answers would let it come back, and go again.
import type { NextHopState, NextHops } from '../bgp/port.ts'
import type { NextHopWay } from '../felix/input.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent, KernelMonitor } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import { interfacesOf, ROUTE_PROTOCOL, type Route } from '../kernel/port/routes.ts'
import { LinkView } from '../kernel/reconcile/link-view.ts'
import { type Cancel, type Clock, systemClock } from '../lib/clock.ts'
import { hostPrefix, isLinkLocal, mappedIpv4 } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import { SoonestTimer } from '../lib/soonest-timer.ts'
import { Covering } from './covering.ts'
import { NextHopDamping } from './next-hop-damping.ts'
import { costOf, keyOf, wayOf, waysTo } from './next-hop-routes.ts'
import { OwnRoutes, type OwnRoutesDeps } from './own-routes.ts'
import { isUnanswered } from './unanswered.ts'

/** Changes of routes are gathered this long; a link that goes is not waited for. */
const GATHER_MS = 20
/** After the kernel could not be asked, and while a next hop is refused for a loop. */
const AGAIN_MS = 1000
/** Next hops that no path has any more and that are still followed: a path that goes and comes finds its next hop known. */
const MOST_IDLE = 256
/** So many next hops without a way are looked up for each link that gets its carrier; of more the routes over it are read. */
const MOST_ASKED = 256
/** Routes over routes of BGP, at most. */
const MOST_STEPS = 8

export type TrackerDeps = OwnRoutesDeps & {
  kernel: Kernel
  /** Whether the default route leads to next hops. */
  defaultRoute: boolean
  /** Packets to a next hop go another way now. Absent: nobody is told. */
  moved?(nextHop: string, link: string | undefined): void
  /** What leads to an address whatever the kernel's routes are, such as the tunnel to a node; undefined: nothing. Absent: nothing does. */
  known?(address: string): string | undefined
  /** Why no route may lead to an address but that to a subnet of this host; undefined: any may. Absent: any may to all. */
  barred?(address: string): string | undefined
  /**
   * How packets get to a next hop that can be reached, by its address; undefined: it is not followed any more, or `known`. While it
   * cannot be reached what was told stays. Absent: nobody is told.
   */
  leads?(address: string, way: NextHopWay | undefined): void
  log: Log
  clock?: Clock
}

/** A next hop that paths have, for people. */
export type NextHopStatus = {
  nextHop: string
  interface?: string
  /** Absent: it is being looked up. */
  state?: NextHopState
  /** How often it was lost, or came to cost more, since it is followed. */
  losses: number
  /** It is better by now than `state` says, and counts so once it stayed for a while. */
  damped: boolean
}

type Hop = {
  readonly nextHop: string
  readonly link: string | undefined
  /** The address that is looked up. */
  readonly address: string
  state?: NextHopState
  /** The kernel's last answer. */
  route?: Route
  /** It is reached over this route, which needs it. */
  loop?: string
  /** What was told of the way to it, as text. */
  told?: string
  readonly damping: NextHopDamping
}

export class NextHopTracker implements NextHops {
  readonly #deps: TrackerDeps
  readonly #clock: Clock
  readonly #links: LinkView
  readonly #monitor: KernelMonitor
  readonly #hops = new Map<string, Hop>()
  /** Keys of those that no path has, the one that is idle for longest first. */
  readonly #idle = new Set<string>()
  readonly #own: OwnRoutes
  readonly #covering = new Covering()
  /** Keys of those that are to be looked up. */
  #due = new Set<string>()
  /** Links that have a carrier since the last look. */
  #gained = new Set<number>()
  #listen: Parameters<NextHops['onChange']>[0] = () => undefined
  readonly #timer: SoonestTimer
  /** Until damped next hops count. */
  readonly #damped: SoonestTimer
  #recheck: Cancel | undefined
  #running = false
  #closed = false

  constructor(deps: TrackerDeps) {
    this.#deps = deps
    this.#own = new OwnRoutes(deps, this.#hops)
    this.#clock = deps.clock ?? systemClock
    this.#timer = new SoonestTimer(this.#clock, () => void this.#run())
    this.#damped = new SoonestTimer(this.#clock, () => {
      const keys = [...this.#hops].filter(([, { damping }]) => damping.damped).map(([key]) => key)
      this.#ask(keys, 0)
    })
    this.#links = new LinkView(deps.kernel)
    this.#monitor = deps.kernel.monitor(event => this.#observe(event))
  }

  want(nextHop: string, link: string | undefined): NextHopState | undefined {
    const key = keyOf(nextHop, link)
    const known = this.#hops.get(key)
    this.#idle.delete(key)
    if (known !== undefined) return known.state
    const hop: Hop = { nextHop, link, address: mappedIpv4(nextHop) ?? nextHop, damping: new NextHopDamping() }
    this.#hops.set(key, hop)
    if (link === undefined) this.#covering.add(hop.address, key)
    this.#ask([key], 0)
    return undefined
  }

  release(nextHop: string, link: string | undefined): void {
    this.#idle.add(keyOf(nextHop, link))
    if (this.#idle.size <= MOST_IDLE) return
    const [oldest] = this.#idle as Iterable<string> as [string]
    const { address } = this.#hops.get(oldest)!
    this.#idle.delete(oldest)
    this.#hops.delete(oldest)
    this.#covering.delete(address, oldest)
    // an IPv4 address may be followed inside of IPv6 too
    if (this.#covering.within(hostPrefix(address)) === undefined) this.#deps.leads?.(address, undefined)
  }

  onChange(listen: Parameters<NextHops['onChange']>[0]): void {
    this.#listen = listen
  }

  /** The speaker selected another route for a prefix, or none: next hops may be reached over it. */
  selected(prefix: string): void {
    this.#askWithin(prefix)
  }

  /** What `known` says of an address may be something else now. */
  recheck(address: string): void {
    this.#ask(this.#covering.within(hostPrefix(address)) ?? [], 0)
  }

  /** Every next hop that a path has. */
  status(): NextHopStatus[] {
    return [...this.#hops]
      .filter(([key]) => !this.#idle.has(key))
      .map(([, { nextHop, link, state, damping }]) => ({
        nextHop,
        ...(link !== undefined && { interface: link }),
        ...(state !== undefined && { state }),
        losses: damping.losses,
        damped: damping.damped,
      }))
  }

  /** The kernel has other routes of this speaker to some prefixes, or to nobody knows which: it does not tell of them itself. */
  written(prefixes: readonly string[] | 'unknown'): void {
    if (prefixes === 'unknown') this.#ask(this.#hops.keys(), GATHER_MS)
    else for (const prefix of prefixes) this.selected(prefix)
  }

  close(): void {
    this.#closed = true
    this.#timer.cancel()
    this.#damped.cancel()
    this.#recheck?.()
    this.#monitor.close()
  }

  #observe(event: KernelEvent): void {
    if (event.type === 'overrun') this.#links.invalidate()
    const before = event.type === 'link' ? this.#links.byName(this.#links.nameOf(event.link.index) ?? '') : undefined
    const names = this.#links.observe(event)
    switch (event.type) {
      case 'overrun':
        this.#ask(this.#hops.keys(), 0)
        break
      case 'route':
      case 'route-gone':
        this.#askWithin(event.route.dst)
        break
      case 'link':
      case 'link-gone':
        this.#linkChanged(event, before, [event.link.name, ...names])
        break
      // what they bring or take of routes to others is told as routes, but for those that go with them
      case 'address':
      case 'address-gone':
        this.#askWithin(hostPrefix(event.address.address))
        this.#ask(this.#over(event.address.ifindex), GATHER_MS)
    }
  }

  /** `names`: that it has or had. */
  #linkChanged(
    { type, link: { index, name, up, running } }: Extract<KernelEvent, { type: 'link' | 'link-gone' }>,
    before: Link | undefined,
    names: readonly string[],
  ): void {
    const isLost = type === 'link-gone' || !up || !running
    const delayMs = isLost ? 0 : GATHER_MS
    const isNamed = ({ link }: Hop) => link !== undefined && names.includes(link)
    this.#ask(this.#where(isNamed), delayMs)
    if (type === 'link' && before?.name === name && before.up === up && before.running === running) return
    this.#ask(this.#over(index), delayMs)
    if (isLost) return
    this.#gained.add(index)
    this.#schedule(delayMs)
  }

  /** The next hops to which the kernel's route leads over a link. */
  #over(index: number): Iterable<string> {
    return this.#where(({ route }) => route !== undefined && interfacesOf(route).includes(index))
  }

  *#where(concerned: (hop: Hop) => boolean): Generator<string> {
    for (const [key, hop] of this.#hops) if (concerned(hop)) yield key
  }

  #askWithin(prefix: string): void {
    const keys = this.#covering.within(prefix)
    if (keys !== undefined) this.#ask(keys, GATHER_MS)
  }

  /**
   * The next hops without a way to which one may lead over links that have a carrier now: the kernel tells nothing of routes that
   * waited for it (ignore_routes_with_linkdown). Of many the routes over the links say which.
   */
  async *#behind(gained: ReadonlySet<number>): AsyncGenerator<string> {
    if (gained.size === 0) return
    const lost = [...this.#where(({ link, state }) => link === undefined && state?.reachable !== true)]
    if (lost.length <= MOST_ASKED) yield* lost
    else
      for (const ifindex of gained)
        for (const { dst } of await this.#deps.kernel.routes({ ifindex })) yield* this.#covering.within(dst) ?? []
  }

  #ask(keys: Iterable<string>, delayMs: number): void {
    for (const key of keys) {
      this.#due.add(key)
      this.#schedule(delayMs)
    }
  }

  #schedule(delayMs: number): void {
    if (!this.#closed && !this.#running && this.#due.size + this.#gained.size > 0) this.#timer.within(delayMs)
  }

  async #run(): Promise<void> {
    this.#running = true
    const [due, gained] = [this.#due, this.#gained]
    this.#due = new Set()
    this.#gained = new Set()
    let failed: KernelError | undefined
    const asked: Hop[] = []
    try {
      await this.#links.refresh()
      for await (const key of this.#behind(gained)) due.add(key)
      gained.clear()
      for (const key of due) {
        const hop = this.#hops.get(key)
        if (hop === undefined) continue
        await this.#lookUp(hop)
        asked.push(hop)
        due.delete(key)
      }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      failed = error
      this.#links.invalidate()
      for (const key of due) this.#due.add(key)
      for (const index of gained) this.#gained.add(index)
      this.#deps.log.error({ err: error }, 'next hops cannot be looked up; trying again')
    }
    this.#running = false
    if (this.#closed) return
    this.#judge(asked)
    this.#askLooped()
    this.#schedule(failed === undefined ? GATHER_MS : AGAIN_MS)
  }

  /** Of the end of a route that needs its own next hop nothing tells. */
  #askLooped(): void {
    const looped = [...this.#hops].filter(([, { loop }]) => loop !== undefined).map(([key]) => key)
    if (looped.length === 0 || this.#recheck !== undefined) return
    this.#recheck = this.#clock.after(AGAIN_MS, () => {
      this.#recheck = undefined
      this.#ask(looped, 0)
    })
  }

  /** Asks the kernel. Throws where it does not answer. */
  async #lookUp(hop: Hop): Promise<void> {
    const before = hop.route
    delete hop.route
    if (hop.link !== undefined || isLinkLocal(hop.address)) return
    try {
      hop.route = await this.#deps.kernel.lookupRoute(hop.address)
      for (const index of interfacesOf(hop.route)) await this.#links.findName(index)
    } catch (error) {
      if (isUnanswered(error)) throw error
    }
    if (wayOf(hop.route) !== wayOf(before)) this.#deps.moved?.(hop.nextHop, hop.link)
  }

  /** Works out what the answers mean, also for those that are reached over routes by other next hops. */
  #judge(asked: readonly Hop[]): void {
    const { protocol } = this.#deps
    const over = [...this.#hops.values()].filter(({ route }) => route?.protocol === protocol)
    const found = new Map<Hop, NextHopState>()
    let hops = new Set([...asked, ...over])
    for (let step = 0; step < MOST_STEPS && hops.size > 0; step++) {
      const changed = [...hops].filter(hop => {
        const state = this.#stateOf(hop)
        found.set(hop, state)
        return this.#set(hop, state)
      })
      hops = new Set(changed.length === 0 ? [] : over)
    }
    for (const [hop, { reachable }] of found) if (reachable) this.#tellWay(hop)
  }

  #tellWay(hop: Hop): void {
    const { protocol, known, leads } = this.#deps
    const { address } = hop
    const by = known?.(address) === undefined ? hop.route : undefined
    const way = by && {
      hops: waysTo(address, by, index => this.#links.nameOf(index)),
      ...(by.protocol === protocol ? { overOurs: by.dst } : { over: by.dst }),
    }
    const told = way && JSON.stringify(way)
    if (told === hop.told) return
    hop.told = told
    leads?.(address, way)
  }

  /** True where it is another one than before. */
  #set(hop: Hop, found: NextHopState): boolean {
    const before = hop.state
    const { state, waitMs } =
      before === undefined ? { state: found } : hop.damping.take(before, found, this.#clock.monotonicMs())
    hop.state = state
    if (waitMs !== undefined) this.#damped.within(waitMs)
    if (before !== undefined && textOf(before) === textOf(state)) return false
    if (!this.#idle.has(keyOf(hop.nextHop, hop.link))) this.#listen(hop.nextHop, hop.link, state)
    return true
  }

  #stateOf(hop: Hop): NextHopState {
    const { address, link, route } = hop
    if (link !== undefined) {
      const found = this.#links.byName(link)
      if (found?.up !== true || !found.running) return unreachable(`${link} is down`)
      return { reachable: true, cost: 0, over: link }
    }
    if (isLinkLocal(address)) return unreachable('it is a link-local address without an interface')
    if (route?.type === 'local') return unreachable('it is an address of this host')
    const known = this.#deps.known?.(address)
    if (known !== undefined) return { reachable: true, cost: 0, over: known }
    if (route === undefined) return unreachable('no route leads there')
    if (route.type !== 'unicast') return unreachable(`the route to ${route.dst} is of type ${route.type}`)
    if (route.dst.endsWith('/0') && !this.#deps.defaultRoute) return unreachable('only the default route leads there')
    const ofSubnet = route.protocol === ROUTE_PROTOCOL.kernel && route.gateway === undefined
    const barred = ofSubnet ? undefined : this.#deps.barred?.(address)
    if (barred !== undefined) return unreachable(barred)
    // with net.ipv4.nexthop_compat_mode 0
    if (route.nextHopId !== undefined && interfacesOf(route).length === 0)
      return unreachable(`the route to ${route.dst} goes by a next hop object whose ways the kernel does not tell`)
    const names = interfacesOf(route).map(index => this.#links.nameOf(index))
    const alive = names.some(name => name !== undefined && this.#links.byName(name)?.running)
    if (!alive) return unreachable(`${names.join(', ')} on the way there is without carrier`)
    const loop = this.#own.loopOf(hop, route)
    if (loop === undefined) delete hop.loop
    else {
      hop.loop = loop
      return unreachable(`next-hop-loop: it is reached over ${loop}, which needs it`)
    }
    const cost = route.protocol === this.#deps.protocol ? this.#own.costOver(route) : costOf(route)
    return cost === undefined
      ? unreachable(`the next hop of ${route.dst} cannot be reached`)
      : { reachable: true, cost, over: route.dst }
  }
}

function unreachable(why: string): NextHopState {
  return { reachable: false, why }
}

function textOf(state: NextHopState): string {
  return state.reachable ? `${state.cost} ${state.over}` : state.why
}
