// Writes the routes that a speaker selects into one kernel table, protocol 12, for `margay-bgp`. A next hop need not be a
// neighbour (iBGP): it is looked up in the kernel, and again whenever routes, addresses or links change.

import type { RouteSink, SelectedRoute } from '../bgp/port.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent, KernelMonitor } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, type Route } from '../kernel/port/routes.ts'
import { RoutesRefused, RouteTable } from '../kernel/route-table.ts'
import { familyOf } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'

/** Where packets to a next hop go; undefined: nowhere, or only over a route that BGP itself made. */
type Hop = { gateway: string; ifindex: number } | undefined

/** Changes are gathered this long: a table that comes in is written in batches. */
const GATHER_MS = 20
/** After a change of the host's routes, before next hops are looked up again; also after a refusal. */
const AGAIN_MS = 200

export class KernelSink implements RouteSink {
  readonly #kernel: Kernel
  readonly #log: Log
  readonly #target: { table: number; metric?: number }
  readonly #routes: RouteTable
  readonly #monitor: KernelMonitor
  readonly #selected = new Map<string, SelectedRoute>()
  readonly #hops = new Map<string, Hop>()
  readonly #dirty = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #running = false
  #closed = false
  #refused = ''

  constructor(kernel: Kernel, target: { table: number; metric?: number }, log: Log) {
    this.#kernel = kernel
    this.#log = log
    this.#target = target
    const ownership = { table: target.table, protocols: [ROUTE_PROTOCOL.bird] }
    this.#routes = new RouteTable(kernel, ownership, () => this.#schedule(GATHER_MS))
    this.#monitor = kernel.monitor(event => this.#heard(event))
  }

  selected(route: SelectedRoute): void {
    this.#selected.set(route.prefix, route)
    this.#dirty.add(route.prefix)
    this.#schedule(GATHER_MS)
  }

  withdrawn(prefix: string): void {
    this.#selected.delete(prefix)
    this.#dirty.add(prefix)
    this.#schedule(GATHER_MS)
  }

  /** Everything that was there before has been said again: what an earlier process left and nobody wants may go. */
  allowDeletes(): void {
    this.#routes.allowDeletes()
    this.#schedule(0)
  }

  /** Stops writing. The routes stay: they outlive the process until the next one judges them. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#monitor.close()
  }

  #heard(event: KernelEvent): void {
    this.#routes.heard(event)
    const ours = (event.type === 'route' || event.type === 'route-gone') && event.route.protocol === ROUTE_PROTOCOL.bird
    if (ours || event.type === 'neighbour' || event.type === 'neighbour-gone') return
    this.#hops.clear()
    for (const prefix of this.#selected.keys()) this.#dirty.add(prefix)
    this.#schedule(AGAIN_MS)
  }

  #schedule(delayMs: number): void {
    if (this.#closed || this.#running || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      void this.#write()
    }, delayMs).unref()
  }

  async #write(): Promise<void> {
    this.#running = true
    let againMs = GATHER_MS
    try {
      for (const prefix of [...this.#dirty]) {
        this.#dirty.delete(prefix)
        const route = this.#selected.get(prefix)
        this.#routes.want(prefix, route && (await this.#routeOf(route)))
      }
      await this.#routes.apply()
      this.#refused = ''
    } catch (error) {
      againMs = 1000
      this.#report(error)
      // what was refused is tried again by the next `apply`; the table knows it
      if (!(error instanceof RoutesRefused)) this.#routes.distrust()
    } finally {
      this.#running = false
    }
    if (this.#dirty.size > 0 || againMs > GATHER_MS) this.#schedule(againMs)
  }

  async #routeOf({ prefix, nextHop, interface: link }: SelectedRoute): Promise<Route | undefined> {
    const key = link === undefined ? nextHop : `${nextHop}%${link}`
    if (!this.#hops.has(key)) this.#hops.set(key, await this.#lookUp(nextHop, link))
    const hop = this.#hops.get(key)
    if (hop === undefined) return undefined
    const { table, metric = familyOf(prefix) === 'ipv6' ? 1024 : undefined } = this.#target
    return {
      dst: prefix,
      table,
      type: 'unicast',
      protocol: ROUTE_PROTOCOL.bird,
      scope: ROUTE_SCOPE.universe,
      gateway: hop.gateway,
      ifindex: hop.ifindex,
      metric,
    }
  }

  async #lookUp(nextHop: string, link: string | undefined): Promise<Hop> {
    try {
      if (link !== undefined) {
        const found = await this.#kernel.link(link)
        return found && { gateway: nextHop, ifindex: found.index }
      }
      const way = await this.#kernel.lookupRoute(nextHop)
      // a next hop behind a route of BGP's own would make routes lean on themselves
      if (way.ifindex === undefined || way.type !== 'unicast' || way.protocol === ROUTE_PROTOCOL.bird) return undefined
      return { gateway: way.gateway ?? nextHop, ifindex: way.ifindex }
    } catch (error) {
      if (error instanceof KernelError) return undefined
      throw error
    }
  }

  #report(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error)
    if (text !== this.#refused) this.#log.warn({ detail: text }, 'the kernel did not take every route')
    this.#refused = text
  }
}
