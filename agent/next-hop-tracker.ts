// Whether next hops of BGP can be reached and at what cost, by the kernel's routes (RFC 4271 §9.1.2.1): each is looked up once, and again
// when a route that holds it, or a link or an address on its way, comes or goes. A next hop may be reached over a route of BGP, as
// loopbacks are; one that is reached over a route that needs it is refused, and stays so for as long as peers announce that
// route with it: the kernel no longer has the route then, and what it answers would let it come back, and go again.
import type { NextHopState, NextHops, SelectedPath } from '../bgp/port.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent, KernelMonitor } from '../kernel/port/kernel.ts'
import { interfacesOf, type Route } from '../kernel/port/routes.ts'
import { LinkView } from '../kernel/reconcile/link-view.ts'
import { type Cancel, type Clock, systemClock } from '../lib/clock.ts'
import { hostPrefix, isLinkLocal, mappedIpv4 } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import { SoonestTimer } from '../lib/soonest-timer.ts'
import { Covering } from './covering.ts'
import { NextHopDamping } from './next-hop-damping.ts'
import { costOf, isFoundOnWay, lengthOf, wayOf } from './next-hop-routes.ts'
import { isUnanswered } from './unanswered.ts'

/** Changes of routes are gathered this long; a link that goes is not waited for. */
const GATHER_MS = 20
/** After the kernel could not be asked, and while a next hop is refused for a loop. */
const AGAIN_MS = 1000
/** Next hops that no path has any more and that are still followed: a path that goes and comes finds its next hop known. */
const MOST_IDLE = 256
/** Routes over routes of BGP, at most. */
const MOST_STEPS = 8

export type TrackerDeps = {
  kernel: Kernel
  /** Of the routes that this speaker writes. */
  protocol: number
  /** Whether the default route leads to next hops. */
  defaultRoute: boolean
  /** The paths of what the speaker selected for a prefix. */
  selectedPaths(prefix: string): readonly Pick<SelectedPath, 'nextHop' | 'interface'>[] | undefined
  /** The next hops of all paths to a prefix that import accepted, used or not. */
  announced(prefix: string): readonly string[]
  /** Packets to a next hop go another way now. Absent: nobody is told. */
  moved?(nextHop: string, link: string | undefined): void
  /** What leads to an address whatever the kernel's routes are, such as the tunnel to a node; undefined: nothing. Absent: nothing does. */
  known?(address: string): string | undefined
  /** A next hop counts as reachable until it was looked up, and so does one that nobody asked for. Absent: it does not. */
  trusts?: true
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
  readonly damping: NextHopDamping
}

/** Of a next hop that was not looked up yet. */
const TRUSTED: NextHopState = { reachable: true, cost: 0, over: '' }

export class NextHopTracker implements NextHops {
  readonly #deps: TrackerDeps
  readonly #clock: Clock
  readonly #links: LinkView
  readonly #monitor: KernelMonitor
  readonly #hops = new Map<string, Hop>()
  /** Keys of those that no path has, the one that is idle for longest first. */
  readonly #idle = new Set<string>()
  readonly #covering = new Covering()
  /** Keys of those that are to be looked up. */
  #due = new Set<string>()
  #listen: Parameters<NextHops['onChange']>[0] = () => undefined
  readonly #timer: SoonestTimer
  /** Until damped next hops count. */
  readonly #damped: SoonestTimer
  #recheck: Cancel | undefined
  #running = false
  #closed = false

  constructor(deps: TrackerDeps) {
    this.#deps = deps
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
    if (known !== undefined) return known.state ?? this.#unknown
    const hop: Hop = { nextHop, link, address: mappedIpv4(nextHop) ?? nextHop, damping: new NextHopDamping() }
    this.#hops.set(key, hop)
    if (link === undefined) this.#covering.add(hop.address, key)
    this.#ask([key], 0)
    return this.#unknown
  }

  release(nextHop: string, link: string | undefined): void {
    this.#idle.add(keyOf(nextHop, link))
    if (this.#idle.size <= MOST_IDLE) return
    const [oldest] = this.#idle as Iterable<string> as [string]
    const { address } = this.#hops.get(oldest)!
    this.#idle.delete(oldest)
    this.#hops.delete(oldest)
    this.#covering.delete(address, oldest)
  }

  onChange(listen: Parameters<NextHops['onChange']>[0]): void {
    this.#listen = listen
  }

  /** The speaker selected another route for a prefix, or none: next hops may be reached over it. */
  selected(prefix: string): void {
    const keys = this.#covering.within(prefix)
    if (keys !== undefined) this.#ask(keys, GATHER_MS)
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

  get #unknown(): NextHopState | undefined {
    return this.#deps.trusts === true ? TRUSTED : undefined
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
    const names = this.#links.observe(event)
    switch (event.type) {
      case 'overrun':
        this.#ask(this.#hops.keys(), 0)
        break
      case 'route':
      case 'route-gone': {
        const keys = this.#covering.within(event.route.dst)
        if (keys !== undefined) this.#ask(keys, GATHER_MS)
        break
      }
      case 'link':
      case 'link-gone': {
        const lost = event.type === 'link-gone' || !event.link.up || !event.link.running
        this.#ask(this.#on(event.link.index, [event.link.name, ...names]), lost ? 0 : GATHER_MS)
        break
      }
      case 'address':
      case 'address-gone':
        this.#ask(this.#on(event.address.ifindex), GATHER_MS)
    }
  }

  /** The next hops behind a link, by a name that it has or had, and those that are behind none. */
  *#on(index: number, names: readonly string[] = []): Generator<string> {
    for (const [key, { route, link, state }] of this.#hops)
      if (
        state?.reachable !== true ||
        (link === undefined ? route !== undefined && interfacesOf(route).includes(index) : names.includes(link))
      )
        yield key
  }

  #ask(keys: Iterable<string>, delayMs: number): void {
    for (const key of keys) {
      this.#due.add(key)
      this.#schedule(delayMs)
    }
  }

  #schedule(delayMs: number): void {
    if (!this.#closed && !this.#running && this.#due.size > 0) this.#timer.within(delayMs)
  }

  async #run(): Promise<void> {
    this.#running = true
    const due = this.#due
    this.#due = new Set()
    let failed: KernelError | undefined
    const asked: Hop[] = []
    try {
      await this.#links.refresh()
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
    let hops = new Set([...asked, ...over])
    for (let step = 0; step < MOST_STEPS && hops.size > 0; step++) {
      const changed = [...hops].filter(hop => this.#set(hop, this.#stateOf(hop)))
      hops = new Set(changed.length === 0 ? [] : over)
    }
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
    // with net.ipv4.nexthop_compat_mode 0
    if (route.nextHopId !== undefined && interfacesOf(route).length === 0)
      return unreachable(`the route to ${route.dst} goes by a next hop object whose ways the kernel does not tell`)
    const names = interfacesOf(route).map(index => this.#links.nameOf(index))
    const alive = names.some(name => name !== undefined && this.#links.byName(name)?.running)
    if (!alive) return unreachable(`${names.join(', ')} on the way there is without carrier`)
    const loop = this.#loopOf(hop, route)
    if (loop === undefined) delete hop.loop
    else {
      hop.loop = loop
      return unreachable(`next-hop-loop: it is reached over ${loop}, which needs it`)
    }
    const cost = route.protocol === this.#deps.protocol ? this.#costOver(route) : costOf(route)
    return cost === undefined
      ? unreachable(`the next hop of ${route.dst} cannot be reached`)
      : { reachable: true, cost, over: route.dst }
  }

  /** The prefix of the route by which a next hop is reached over itself. */
  #loopOf(hop: Hop, route: Route): string | undefined {
    if (route.protocol === this.#deps.protocol) {
      const isSelected = this.#deps.selectedPaths(route.dst) !== undefined
      return (isSelected ? this.#leadsBack(hop, route.dst) : this.#wouldNeed(hop, route.dst)) ? route.dst : undefined
    }
    const { loop } = hop
    // a longer route than the one that needed it has come
    if (loop === undefined || lengthOf(route.dst) > lengthOf(loop)) return undefined
    return this.#wouldNeed(hop, loop) ? loop : undefined
  }

  /** Whether a route that is not selected would need a next hop if it were, by what peers announce. */
  #wouldNeed(hop: Hop, prefix: string): boolean {
    return isFoundOnWay(prefix, (each, follow) =>
      this.#deps.announced(each).some(nextHop => {
        if (nextHop === hop.nextHop) return true
        const { loop, route } = this.#hops.get(nextHop) ?? {}
        const over = loop ?? (route?.protocol === this.#deps.protocol ? route.dst : undefined)
        if (over !== undefined) follow(over)
        return false
      }),
    )
  }

  /** Whether every path of a route of BGP needs a next hop, or each other, by itself or by the routes that lead to its own. */
  #leadsBack(hop: Hop, prefix: string): boolean {
    const isWayOut = isFoundOnWay(prefix, (each, follow) => {
      const selected = this.#deps.selectedPaths(each)
      if (selected === undefined) return true
      return selected.some(path => {
        const key = keyOf(path.nextHop, path.interface)
        if (key === keyOf(hop.nextHop, hop.link)) return false
        const route = this.#hops.get(key)?.route
        if (route?.protocol !== this.#deps.protocol) return true
        follow(route.dst)
        return false
      })
    })
    return !isWayOut
  }

  /** Cost of what leads to a next hop over a route of BGP: that of the route's own. Of an earlier run's route nothing is known yet. */
  #costOver({ dst }: Route): number | undefined {
    const selected = this.#deps.selectedPaths(dst)
    if (selected === undefined) return 0
    let least: number | undefined
    for (const path of selected) {
      const state = this.#hops.get(keyOf(path.nextHop, path.interface))?.state ?? this.#unknown
      if (state?.reachable === true && (least === undefined || state.cost < least)) least = state.cost
    }
    return least
  }
}

function unreachable(why: string): NextHopState {
  return { reachable: false, why }
}

function textOf(state: NextHopState): string {
  return state.reachable ? `${state.cost} ${state.over}` : state.why
}

function keyOf(nextHop: string, link: string | undefined): string {
  return link === undefined ? nextHop : `${nextHop}%${link}`
}
