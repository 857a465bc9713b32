// Writes the routes that a speaker selects into one kernel table, for `margay-bgp`. A next hop need not be a neighbour
// (iBGP): it is looked up in the kernel, and again whenever routes, addresses or links change. Routes carry a protocol
// number of their own: what a BIRD or the node's agent wrote into the same table is never touched.
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { RouteSink, SelectedPath, SelectedRoute } from '../bgp/port.ts'
import { sharedWays } from '../felix/calc/shared-ways.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent, KernelMonitor } from '../kernel/port/kernel.ts'
import type { Resilient } from '../kernel/port/next-hops.ts'
import { interfacesOf, ROUTE_PROTOCOL, ROUTE_SCOPE } from '../kernel/port/routes.ts'
import { LinkView } from '../kernel/reconcile/link-view.ts'
import type { NamedNextHop, NamedRoute } from '../kernel/reconcile/objects.ts'
import type { Refusal } from '../kernel/reconcile/outcome.ts'
import { Ownership } from '../kernel/reconcile/ownership.ts'
import { RouteTable } from '../kernel/reconcile/routes.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { contains } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import { SoonestTimer } from '../lib/soonest-timer.ts'
import { waysTo } from './next-hop-routes.ts'
import { isUnanswered } from './unanswered.ts'

/** Where routes are written: `metric` absent: the family's default; `protocol` absent: 179; `resilient`: as of `RouteTable`. */
export type KernelTarget = { table: number; metric?: number; protocol?: number; resilient?: Resilient }

/**
 * `nextHopsTracked`: what is selected has next hops that can be reached, also over other routes of this sink. `written` is called with the prefixes
 * whose routes the kernel took, or has no more, and with `unknown` after an error: the sink's kernel need not tell of own routes.
 */
type SinkOptions = {
  clock?: Clock
  nextHopsTracked?: boolean
  written?: ((prefixes: readonly string[] | 'unknown') => void) | undefined
}

/**
 * The ways that packets to a next hop can take; none: nowhere, or only over a route that BGP itself made where nobody looks for loops.
 * `overOurs`: the prefix of such a route where somebody does.
 */
type Hop = { nextHop: string; ways: readonly NamedNextHop[]; overOurs?: string }

/**
 * Where a list of paths leads; `apart`: routes that lead there without the paths that are reached over the route itself. Their ways are
 * those of the others, and one of those that went would stay for them.
 */
type Ways = { all: readonly NamedNextHop[]; apart: ReadonlyMap<string, readonly NamedNextHop[]> }

/** What of a selected path leads packets. */
type Path = Pick<SelectedPath, 'nextHop' | 'interface' | 'weight'>

/** Changes are gathered this long: a table that comes in is written in batches. */
const GATHER_MS = 20
/** While more than so many come in that time the next ones are waited for, */
const MANY = 1024
/** so long at most: where all routes by a group of next hops lose one of them that is one change of the group, and a million otherwise. */
const MOST_GATHER_MS = 10_000
/** After a change of the host's routes, before next hops are looked up again. */
const AGAIN_MS = 200
/** After a refusal. */
const RETRY_MS = 1000
/** After so long in the middle of a million routes others go on, */
const SLICE_MS = 5
/** and the clock is read once for so many. */
const PER_LOOK = 64
/** Lists of paths that are remembered. */
const MOST_LISTS = 1024

export class KernelSink implements RouteSink {
  readonly #kernel: Kernel
  readonly #log: Log
  readonly #target: KernelTarget
  readonly #protocol: number
  readonly #tracked: boolean
  readonly #links: LinkView
  readonly #routes: RouteTable
  readonly #monitor: KernelMonitor
  /** By prefix. Routes over the same paths share the list: a full table has a million of the former and few of the latter. */
  readonly #selected = new Map<string, readonly Path[]>()
  /** Lists that routes had lately, by their text. */
  readonly #lists = new Map<string, readonly Path[]>()
  /** The next hops that such a list leads to, as far as it was asked for; another map once one of them may have moved. */
  #ways = new Map<readonly Path[], Ways>()
  readonly #hops = new Map<string, Hop>()
  readonly #dirty = new Set<string>()
  readonly #clock: Clock
  readonly #written: NonNullable<SinkOptions['written']>
  readonly #timer: SoonestTimer
  /** When the first change that waits was taken up (`monotonicMs`). */
  #sinceMs: number | undefined
  #running = false
  #writing: Promise<void> = Promise.resolve()
  /** Something changed while a write was running, perhaps too late for it. */
  #again = false
  #closed = false
  #mayDelete = false
  #reported = ''
  #lackingTold = false

  constructor(
    kernel: Kernel,
    target: KernelTarget,
    log: Log,
    { clock = systemClock, nextHopsTracked = false, written = () => undefined }: SinkOptions = {},
  ) {
    this.#kernel = kernel
    this.#tracked = nextHopsTracked
    this.#clock = clock
    this.#written = written
    this.#timer = new SoonestTimer(clock, () => {
      this.#writing = this.#write()
    })
    this.#log = log
    this.#target = target
    this.#protocol = target.protocol ?? ROUTE_PROTOCOL.margayBgp
    this.#links = new LinkView(kernel)
    const ownership = new Ownership({ table: target.table, protocol: this.#protocol })
    this.#routes = new RouteTable(kernel, this.#links, ownership, { confirm: false, resilient: target.resilient })
    this.#monitor = kernel.monitor(event => this.#observe(event))
  }

  selected(route: SelectedRoute): void {
    this.#selected.set(route.prefix, this.#listOf(route))
    this.#dirty.add(route.prefix)
    this.#schedule(GATHER_MS)
  }

  withdrawn(prefix: string): void {
    this.#selected.delete(prefix)
    this.#dirty.add(prefix)
    this.#schedule(GATHER_MS)
  }

  /** To be called when all routes were announced once: unwanted routes of an earlier process may be removed from now on. */
  allowDeletes(): void {
    this.#mayDelete = true
    this.#schedule(0)
  }

  /**
   * Stops writing; resolves when what is being written is written. The routes stay: they outlive the process until the
   * next one judges them.
   */
  async close(): Promise<void> {
    this.#closed = true
    this.#timer.cancel()
    this.#monitor.close()
    await this.#writing
  }

  #observe(event: KernelEvent): void {
    if (event.type === 'overrun') {
      this.#links.invalidate()
      this.#routes.lostEvents()
    }
    const touched = this.#links.observe(event)
    for (const name of touched) this.#routes.invalidateInterface(name)
    if (this.#routes.observe(event)) this.#schedule(GATHER_MS)
    this.#lookAgain(this.#movedHops(event, touched))
  }

  /** The paths of what is selected for a prefix. */
  selectedPaths(prefix: string): readonly Pick<SelectedPath, 'nextHop' | 'interface'>[] | undefined {
    return this.#selected.get(prefix)
  }

  #listOf(route: SelectedRoute): readonly Path[] {
    const paths: readonly Path[] = route.paths ?? [route]
    const text = paths.map(path => `${hopKey(path)} ${path.weight ?? ''}`).join()
    const known = this.#lists.get(text)
    if (known !== undefined) return known
    const list = paths.map(({ nextHop, interface: link, weight }) => ({ nextHop, interface: link, weight }))
    if (this.#lists.size >= MOST_LISTS) this.#lists.clear()
    this.#lists.set(text, list)
    return list
  }

  /** Packets to a next hop may go another way now. */
  nextHopMoved(nextHop: string, link: string | undefined): void {
    this.#lookAgain(new Set([hopKey({ nextHop, interface: link })]))
  }

  #lookAgain(moved: ReadonlySet<string>): void {
    if (moved.size === 0) return
    this.#ways = new Map()
    for (const key of moved) this.#hops.delete(key)
    for (const [prefix, paths] of this.#selected)
      if (paths.some(path => moved.has(hopKey(path)))) this.#dirty.add(prefix)
    this.#schedule(AGAIN_MS)
  }

  /**
   * The next hops whose way an event may have changed: those that a route holds, or that a link or an address leads to. `touched`: as of
   * `LinkView.observe`.
   */
  #movedHops(event: KernelEvent, touched: readonly string[]): Set<string> {
    switch (event.type) {
      case 'overrun':
        return new Set(this.#hops.keys())
      case 'route':
      case 'route-gone': {
        const { protocol, dst } = event.route
        return protocol === this.#protocol ? new Set() : this.#hopsWhere(({ nextHop }) => contains(dst, nextHop))
      }
      case 'link':
      case 'link-gone':
        return this.#hopsOn(event.link.name, ...touched)
      case 'address':
      case 'address-gone':
        return this.#hopsOn(this.#links.nameOf(event.address.ifindex))
      default:
        return new Set()
    }
  }

  /** The next hops behind interfaces, and those that are behind none. */
  #hopsOn(...names: readonly (string | undefined)[]): Set<string> {
    return this.#hopsWhere(({ ways }) => ways.length === 0 || ways.some(way => names.includes(way.interfaceName)))
  }

  #hopsWhere(concerned: (hop: Hop) => boolean): Set<string> {
    const keys = new Set<string>()
    for (const [key, hop] of this.#hops) if (concerned(hop)) keys.add(key)
    return keys
  }

  #invalidate(): void {
    this.#links.invalidate()
    this.#routes.invalidate()
  }

  #schedule(delayMs: number): void {
    if (this.#running) this.#again = true
    else if (!this.#closed) this.#timer.within(delayMs)
  }

  async #write(): Promise<void> {
    this.#running = true
    this.#again = false
    let refused = false
    let at: string | undefined
    const isMany = this.#dirty.size > MANY
    this.#sinceMs ??= this.#clock.monotonicMs()
    try {
      await this.#links.refresh()
      this.#ways = new Map()
      let [untilMs, left] = [this.#clock.monotonicMs() + SLICE_MS, PER_LOOK]
      for (const prefix of [...this.#dirty]) {
        if (--left === 0) {
          left = PER_LOOK
          if (this.#clock.monotonicMs() >= untilMs) {
            await nextTurn()
            untilMs = this.#clock.monotonicMs() + SLICE_MS
          }
        }
        at = prefix
        this.#dirty.delete(prefix)
        const paths = this.#selected.get(prefix)
        const ways = paths && (this.#ways.get(paths) ?? (await this.#waysOf(paths)))
        const nextHops = ways?.apart.get(prefix) ?? ways?.all
        this.#routes.want(prefix, nextHops && this.#routeOver(nextHops, prefix))
      }
      at = undefined
      if (isMany && this.#clock.monotonicMs() - this.#sinceMs < MOST_GATHER_MS) this.#again = true
      else refused = await this.#apply()
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      refused = true
      if (at !== undefined) this.#dirty.add(at)
      this.#log.error({ err: error }, 'the kernel cannot be read; trying again')
      this.#invalidate()
      this.#written('unknown')
    } finally {
      this.#running = false
    }
    // what was refused is tried again by the next `apply`; the table knows it
    if (refused) this.#schedule(RETRY_MS)
    else if (this.#again || this.#dirty.size > 0 || this.#routes.isStale) this.#schedule(GATHER_MS)
  }

  /** Returns whether something was refused. */
  async #apply(): Promise<boolean> {
    this.#sinceMs = undefined
    const outcome = await this.#routes.apply(({ dropped }) => dropped || this.#mayDelete)
    this.#report(outcome.refused)
    this.#tellLacking()
    const { metric } = this.#target
    // the key of a route with a metric has it after the prefix
    this.#written(outcome.written.map(({ key }) => (metric ? key.split(' ', 1)[0]! : key)))
    return outcome.refused.length > 0
  }

  async #waysOf(list: readonly Path[]): Promise<Ways> {
    const known = this.#ways
    const paths: { weight?: number | undefined; ways: readonly NamedNextHop[]; overOurs?: string | undefined }[] = []
    for (const path of list) {
      const key = hopKey(path)
      const hop = this.#hops.get(key) ?? (await this.#lookUp(path.nextHop, path.interface))
      this.#hops.set(key, hop)
      // the kernel keeps a way whose link has no carrier, and takes no new route over it
      const alive = hop.ways.filter(({ interfaceName }) => this.#links.byName(interfaceName)?.running)
      paths.push({ weight: path.weight, ways: alive.length > 0 ? alive : hop.ways, overOurs: hop.overOurs })
    }
    const ways = { all: sharedWays(paths), apart: new Map<string, readonly NamedNextHop[]>() }
    for (const { overOurs } of paths) {
      if (overOurs === undefined) continue
      const others = paths.filter(each => each.overOurs !== overOurs && each.ways.length > 0)
      if (others.length > 0) ways.apart.set(overOurs, sharedWays(others))
    }
    known.set(list, ways)
    return ways
  }

  #routeOver(nextHops: readonly NamedNextHop[], dst: string): NamedRoute | undefined {
    const [first, second] = nextHops
    if (first === undefined) return undefined
    const { table, metric } = this.#target
    const common = { dst, table, type: 'unicast', protocol: this.#protocol, scope: ROUTE_SCOPE.universe } as const
    const way = second === undefined ? first : { nextHops }
    // a metric of 0 stands for the family's default
    return metric === undefined || metric === 0 ? { ...common, ...way } : { ...common, ...way, metric }
  }

  async #lookUp(nextHop: string, link: string | undefined): Promise<Hop> {
    const nowhere = { nextHop, ways: [] }
    try {
      if (link !== undefined) {
        const found = await this.#kernel.link(link)
        return found === undefined ? nowhere : { nextHop, ways: [{ gateway: nextHop, interfaceName: found.name }] }
      }
      const way = await this.#kernel.lookupRoute(nextHop)
      const isOurs = way.protocol === this.#protocol
      // a next hop that is reached over another route of BGP is rejected where nobody looks for loops
      if (way.type !== 'unicast' || (isOurs && !this.#tracked)) return nowhere
      for (const index of interfacesOf(way)) await this.#links.findName(index)
      const ways = waysTo(nextHop, way, index => this.#links.nameOf(index))
      return { nextHop, ways, ...(isOurs && { overOurs: way.dst }) }
    } catch (error) {
      if (isUnanswered(error)) throw error
      return nowhere
    }
  }

  /** Says once that the kernel has no such groups as are asked for. */
  #tellLacking(): void {
    const { lacksResilient: detail } = this.#routes
    if (detail !== undefined && !this.#lackingTold)
      this.#log.warn(
        { detail },
        'no resilient groups: when one of three or more paths goes, flows of the others may move',
      )
    this.#lackingTold = detail !== undefined
  }

  /** Says once what is refused, until that changes. */
  #report(refusals: readonly Refusal[]): void {
    const [first] = refusals
    const text = first === undefined ? '' : `${first.key} ${first.reason} ${refusals.length}`
    if (text !== this.#reported && first !== undefined) {
      const { key, reason, errno, message } = first
      this.#log.warn(
        { route: key, reason, errno, detail: message, refused: refusals.length },
        'the kernel did not take every route',
      )
    }
    this.#reported = text
  }
}

/** The identity of a next hop: a link-local one is another on each interface. */
function hopKey({ nextHop, interface: link }: Pick<SelectedRoute, 'nextHop' | 'interface'>): string {
  return link === undefined ? nextHop : `${nextHop}%${link}`
}
