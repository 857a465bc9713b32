// Keeps the routes of one kernel table as they are wanted. Ours is what our protocols mark, and what the workload
// protocol marks on workload links; everything else is a stranger's and is never changed, not even where it holds a key
// that we want (the kernel then refuses ours). Hazards: IPv4 routes vanish silently with their link or last address;
// NLM_F_REPLACE overwrites whoever has the key, so it is used only where we saw a route of our own.
import { Delta } from '../lib/delta.ts'
import { familyOf } from '../lib/ip.ts'
import { drops } from './netlink/route/route.ts'
import { ERRNO, type KernelError } from './port/error.ts'
import type { Kernel, KernelEvent } from './port/kernel.ts'
import { type Route, type RouteChange, routeKey } from './port/routes.ts'

export type RouteOwnership = {
  table: number
  /** Values of rtm_protocol that are ours on every link. */
  protocols: readonly number[]
  /** A protocol that others use too: ours only on links whose names begin with one of the prefixes. */
  workloads?: { protocol: number; linkPrefixes: readonly string[] }
}

export type RouteKernel = Pick<Kernel, 'links' | 'routes' | 'changeRoutes'>

/** Some routes were refused. They stay dirty: the next `apply` tries them again. */
export class RoutesRefused extends Error {
  override readonly name = 'RoutesRefused'
  readonly refusals: readonly KernelError[]
  constructor(refusals: readonly KernelError[]) {
    const more = refusals.length > 1 ? ` (and ${refusals.length - 1} more)` : ''
    super(`${refusals[0]?.message}${more}`)
    this.refusals = refusals
  }
}

export class RouteTable {
  readonly #kernel: RouteKernel
  readonly #ownership: RouteOwnership
  readonly #changed: () => void
  readonly #delta = new Delta<Route>(sameRoute)
  /** The key that is wanted of each destination: a new metric is a new key, and the old one has to go. */
  readonly #keys = new Map<string, string>()
  /** Keys that strangers hold, as of the last dump. */
  #foreign = new Set<string>()
  #linkNames = new Map<number, string>()
  #trusted = false
  #mayDelete = false
  #applying: Promise<void> | undefined
  #unheard: KernelEvent[] = []

  /** `changed` is called when something that `heard` was told gives `apply` work to do. */
  constructor(kernel: RouteKernel, ownership: RouteOwnership, changed: () => void = () => {}) {
    this.#kernel = kernel
    this.#ownership = ownership
    this.#changed = changed
  }

  /** Wants `route` for `dst`, or none. Memory only. Throws when the route is not one that we would know as ours. */
  want(dst: string, route?: Route): void {
    const { table, protocols, workloads } = this.#ownership
    if (route !== undefined && (route.dst !== dst || route.table !== table))
      throw new Error(`${route.dst} of table ${route.table} is not ${dst} of table ${table}`)
    if (route !== undefined && !protocols.includes(route.protocol) && route.protocol !== workloads?.protocol)
      throw new Error(`${dst}: protocol ${route.protocol} is not ours`)
    const old = this.#keys.get(dst)
    const key = route && routeKey(route)
    if (old !== undefined && old !== key) this.#delta.want(old)
    if (key === undefined) this.#keys.delete(dst)
    else this.#keys.set(dst, key)
    if (key !== undefined) this.#delta.want(key, route)
  }

  /** From now on `apply` deletes routes of ours that nobody wants: everything wanted has been said once. */
  allowDeletes(): void {
    this.#mayDelete = true
  }

  /** The next `apply` reads the kernel again: after lost events, or from time to time. */
  distrust(): void {
    this.#trusted = false
  }

  /** Whether `apply` has nothing to do, as far as we know. */
  get inSync(): boolean {
    return this.#trusted && this.#changes().length === 0
  }

  /** The routes that are ours in the kernel, as we last saw them. */
  seen(): Iterable<Route> {
    return this.#delta.seen().values()
  }

  /**
   * Makes the kernel's routes the wanted ones; sends only differences. Refused routes do not stop the others. Rejects
   * with `RoutesRefused` at the end, or with `KernelError` when the kernel could not be asked.
   */
  async apply(): Promise<void> {
    while (this.#applying !== undefined) await this.#applying.catch(() => {})
    this.#applying = this.#apply()
    try {
      await this.#applying
    } finally {
      this.#applying = undefined
      // one's own changes are heard before their answers: only now can they be told from others'
      const unheard = this.#unheard
      this.#unheard = []
      for (const event of unheard) this.heard(event)
    }
  }

  /** Takes what a monitor of the same kernel hears; has to be told everything from before the first `apply` on. */
  heard(event: KernelEvent): void {
    if (this.#applying !== undefined) {
      this.#unheard.push(event)
      return
    }
    if (this.#inDoubt(event)) this.#trusted = false
    else if (!this.#mayHelp(event)) return
    this.#changed()
  }

  async #apply(): Promise<void> {
    if (!this.#trusted) await this.#read()
    const changes = this.#changes()
    if (changes.length === 0) return
    let answers: (KernelError | undefined)[]
    try {
      answers = await this.#kernel.changeRoutes(changes)
    } catch (error) {
      this.#trusted = false
      throw error
    }
    const refusals: KernelError[] = []
    for (const [i, refusal] of answers.entries()) {
      const { verb, route } = changes[i]!
      const key = routeKey(route)
      if (refusal === undefined) this.#delta.saw(key, verb === 'delete' ? undefined : route)
      else refusals.push(refusal)
      // somebody holds the key: one of ours that we have not seen, unless the dump says that it is a stranger
      if (refusal?.errno === ERRNO.EEXIST && !this.#foreign.has(key)) this.#trusted = false
    }
    if (refusals.length > 0) throw new RoutesRefused(refusals)
  }

  async #read(): Promise<void> {
    this.#trusted = true
    try {
      const links = await this.#kernel.links()
      const routes = await this.#kernel.routes({ table: this.#ownership.table })
      this.#linkNames = new Map(links.map(link => [link.index, link.name]))
      this.#foreign = new Set()
      const own = new Map<string, Route>()
      for (const route of routes) {
        const key = routeKey(route)
        // of several routes with one key the first counts, and is the one that a replacement would overwrite
        if (own.has(key) || this.#foreign.has(key)) continue
        if (this.#owns(route)) own.set(key, route)
        else this.#foreign.add(key)
      }
      this.#delta.resync(own)
    } catch (error) {
      this.#trusted = false
      throw error
    }
  }

  /** Deletions first, then routes that need no gateway: they may be the way to one. */
  #changes(): RouteChange[] {
    const deletions: RouteChange[] = []
    const direct: RouteChange[] = []
    const indirect: RouteChange[] = []
    for (const { value, seen } of this.#delta.pending()) {
      if (value !== undefined) {
        const list = value.gateway === undefined ? direct : indirect
        list.push({ verb: seen === undefined ? 'add' : 'replace', route: value })
      } else if (seen !== undefined && this.#mayDelete) deletions.push({ verb: 'delete', route: seen })
    }
    return [...deletions, ...direct, ...indirect]
  }

  /** Whether an event says something else than we believe, or may stand for changes that are not told. */
  #inDoubt(event: KernelEvent): boolean {
    switch (event.type) {
      case 'overrun':
        return true
      case 'link':
        this.#linkNames.set(event.link.index, event.link.name)
        return !event.link.up && this.#hasSeenOn(event.link.index)
      case 'link-gone':
        this.#linkNames.delete(event.link.index)
        return this.#hasSeenOn(event.link.index)
      case 'address-gone':
        return this.#hasSeenOn(event.address.ifindex, event.address.address)
      case 'route': {
        if (event.route.table !== this.#ownership.table) return false
        const seen = this.#delta.seen().get(routeKey(event.route))
        return seen === undefined ? this.#owns(event.route) : !sameRoute(seen, event.route)
      }
      case 'route-gone': {
        const seen = this.#delta.seen().get(routeKey(event.route))
        return seen !== undefined && sameRoute(seen, event.route)
      }
      default:
        return false
    }
  }

  /** Whether an event may make the kernel take what it refused. */
  #mayHelp(event: KernelEvent): boolean {
    if (event.type === 'route-gone') return this.#delta.wanted().has(routeKey(event.route)) && !this.inSync
    const gain = event.type === 'address' || (event.type === 'link' && event.link.up)
    return gain && !this.inSync
  }

  #hasSeenOn(ifindex: number, source?: string): boolean {
    for (const route of this.#delta.seen().values()) {
      if (route.ifindex === ifindex || (source !== undefined && route.source === source)) return true
      // written without a link: the kernel chose one, and we do not know which
      if (route.ifindex === undefined && !drops(route.type)) return true
    }
    return false
  }

  #owns(route: Route): boolean {
    const { table, protocols, workloads } = this.#ownership
    if (route.table !== table) return false
    if (protocols.includes(route.protocol)) return true
    if (workloads === undefined || route.protocol !== workloads.protocol || route.ifindex === undefined) return false
    const name = this.#linkNames.get(route.ifindex)
    return name !== undefined && workloads.linkPrefixes.some(prefix => name.startsWith(prefix))
  }
}

/** Whether the kernel's route is the wanted one. A wanted route without a link takes whichever the gateway is on. */
function sameRoute(wanted: Route, seen: Route): boolean {
  return (
    wanted.type === seen.type &&
    wanted.protocol === seen.protocol &&
    wanted.gateway === seen.gateway &&
    (wanted.onlink ?? false) === (seen.onlink ?? false) &&
    wanted.source === seen.source &&
    wanted.mtu === seen.mtu &&
    // IPv6 has no scopes, and routes that drop have no link
    (wanted.scope === seen.scope || familyOf(seen.dst) === 'ipv6') &&
    (wanted.ifindex === seen.ifindex ||
      drops(seen.type) ||
      (wanted.ifindex === undefined && seen.gateway !== undefined))
  )
}
