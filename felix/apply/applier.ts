// One pass that brings this namespace's kernel to a desired state: links, then addresses, then sysctls, neighbours
// and forwarding entries, then routes, so that a route's first packet finds all it needs. What fails in one stage
// stays dirty and does not stop the next. Removal waits until whoever knows better has spoken (`Readiness`).
import type { Kernel, KernelEvent } from '../../kernel/port/kernel.ts'
import type { Link } from '../../kernel/port/links.ts'
import { ROUTE_TABLE, routeKey } from '../../kernel/port/routes.ts'
import { parsePrefix } from '../../lib/prefix-index.ts'
import { VXLAN_DEVICE } from '../calc/tunnels.ts'
import {
  type Desired,
  type DesiredKind,
  type DesiredState,
  type Differences,
  fdbKey,
  neighbourKey,
} from '../desired.ts'
import { LinkView } from './link-view.ts'
import { type Outcome, Reconciler, type Refusal } from './reconciler.ts'
import { ownDestinations, RouteResolver, routeClass, routeSurface } from './route-surface.ts'
import {
  addressSurface,
  fdbSurface,
  neighbourSurface,
  ownNeighbour,
  sysctlSurface,
  WORKLOAD_PREFIX,
} from './surfaces.ts'
import { TunnelLinks } from './tunnel-links.ts'

/**
 * What is known for good, so that what is not wanted may go. `datastore`: pools, blocks and nodes are in sync (from
 * the API or the snapshot); `endpoints`: the journal's pods are loaded; `bgp`: the speaker has converged, or its time
 * to do so ran out.
 */
export type Readiness = { datastore: boolean; endpoints: boolean; bgp: boolean }

/** How long the unknown is left alone on a pod's interface: it may be newer than what felix was told. */
export const STRAY_GRACE_MS = 10_000

type AppliedKind = Exclude<DesiredKind, 'condition'>

export class Applier {
  readonly #links: LinkView
  readonly #tunnels: TunnelLinks
  readonly #resolver: RouteResolver
  readonly #addresses
  readonly #sysctls
  readonly #neighbours
  readonly #fdb
  readonly #routes
  readonly #now: () => number
  readonly #strays = new Map<string, number>()
  #isOurs: ReturnType<typeof ownDestinations> = () => false
  #devices: ReadonlySet<string> = new Set()
  readonly #desired: { readonly [K in AppliedKind]: Map<string, Desired[K]> } = {
    link: new Map(),
    address: new Map(),
    route: new Map(),
    neighbour: new Map(),
    fdb: new Map(),
    sysctl: new Map(),
    destination: new Map(),
  }
  #changed = true
  #version = -1
  /** Routes whose interface is not there yet. */
  #waiting: readonly Refusal[] = []
  /** What the last change of wishes gave up: its removal needs no grace. */
  #dropped: Record<'neighbours' | 'routes', ReadonlySet<string>> = { neighbours: new Set(), routes: new Set() }

  constructor(kernel: Kernel, nowMs: () => number) {
    const links = new LinkView(kernel)
    this.#links = links
    this.#now = nowMs
    this.#tunnels = new TunnelLinks(kernel, links)
    this.#resolver = new RouteResolver(links)
    const isOurs = (text: string) => {
      const prefix = parsePrefix(text)
      return prefix !== undefined && this.#isOurs(prefix)
    }
    this.#addresses = new Reconciler(addressSurface(kernel, links, isOurs))
    this.#sysctls = new Reconciler(sysctlSurface(kernel))
    this.#neighbours = new Reconciler(neighbourSurface(kernel, links))
    this.#fdb = new Reconciler(fdbSurface(kernel, links))
    this.#routes = new Reconciler(routeSurface(kernel, links, prefix => this.#isOurs(prefix)))
  }

  /** Events were lost, or it is time to look: the next pass reads everything. */
  distrust(): void {
    this.#links.distrust()
    for (const part of [this.#addresses, this.#sysctls, this.#neighbours, this.#fdb, this.#routes]) part.distrust()
  }

  /** Takes differences in. Memory only. */
  want(differences: Differences): void {
    for (const kind of Object.keys(this.#desired) as AppliedKind[]) {
      const held: Map<string, unknown> = this.#desired[kind]
      for (const [key, value] of differences[kind]) {
        this.#changed = true
        if (value === undefined) held.delete(key)
        else held.set(key, value)
      }
    }
  }

  /** Takes the kernel as far as it goes towards what is wanted. Rejects only when nothing can be read. */
  async apply(ready: Readiness): Promise<Outcome> {
    const desired = this.#desired
    if (this.#changed) {
      this.#isOurs = ownDestinations(desired.destination.keys(), desired.route.values())
      this.#devices = devicesOf(desired)
    }
    await this.#links.refresh()
    const tunnels = await this.#tunnels.apply(desired.link, ready.datastore)
    await this.#links.learn(this.#devices)
    if (this.#changed || this.#links.version !== this.#version) this.#wantAll()

    const graced = new Set<string>()
    const outlived = (object: string) => {
      graced.add(object)
      return this.#outlivedGrace(object)
    }
    const all = [
      tunnels,
      await this.#addresses.apply(() => ready.datastore),
      await this.#sysctls.apply(() => true),
      await this.#neighbours.apply((key, { interfaceName }) => {
        if (!interfaceName.startsWith(WORKLOAD_PREFIX)) return ready.datastore
        return ready.endpoints && (this.#dropped.neighbours.has(key) || outlived(`neighbour ${key}`))
      }),
      await this.#fdb.apply(() => ready.datastore),
      await this.#routes.apply((key, seen) => {
        switch (routeClass(seen, this.#links)) {
          case 'learned':
            return ready.datastore && ready.bgp
          case 'block':
            return ready.datastore
          case 'workload':
            return ready.endpoints && (this.#dropped.routes.has(key) || outlived(`route ${key}`))
          case 'foreign':
            return false
        }
      }),
    ]
    for (const object of this.#strays.keys()) if (!graced.has(object)) this.#strays.delete(object)

    const outcome = merge(all)
    outcome.refused.push(...this.#waiting)
    if (outcome.refused.length > 0) this.#links.distrust()
    return outcome
  }

  /** Takes in what the kernel told; returns whether a pass is needed. */
  observe(event: KernelEvent): boolean {
    switch (event.type) {
      case 'overrun':
        this.distrust()
        return true
      case 'link':
        return this.#linkChanged(event.link)
      case 'link-gone':
        this.#links.gone(event.link)
        return this.#touched(event.link.name)
      case 'address':
      case 'address-gone': {
        // the loss of an address takes routes along without a word (fib_sync_down_addr)
        const name = this.#links.nameOf(event.address.ifindex)
        return name !== undefined && !name.startsWith(WORKLOAD_PREFIX) && this.#addressChanged(event.type, name)
      }
      case 'route':
      case 'route-gone': {
        const { route } = event
        if (route.table !== ROUTE_TABLE.main) return false
        const key = routeKey(route)
        if (!this.#routes.wanted().has(key) && routeClass(route, this.#links) === 'foreign') return false
        return this.#routes.observe(key, event.type === 'route' ? route : undefined)
      }
      case 'neighbour':
      case 'neighbour-gone': {
        const value = ownNeighbour(event.neighbour, this.#links)
        if (value === undefined || !this.#neighbours.wanted().has(neighbourKey(value))) return false
        return this.#neighbours.observe(neighbourKey(value), event.type === 'neighbour' ? value : undefined)
      }
      case 'fdb':
      case 'fdb-gone': {
        const { ifindex, ...entry } = event.entry
        const interfaceName = this.#links.nameOf(ifindex)
        if (interfaceName !== VXLAN_DEVICE) return false
        const value = { interfaceName, ...entry }
        return this.#fdb.observe(fdbKey(value), event.type === 'fdb' ? value : undefined)
      }
    }
  }

  /** Whether something unknown on a pod's interface still waits for its grace to end. */
  get waitsForGrace(): boolean {
    return this.#strays.size > 0
  }

  #wantAll(): void {
    const desired = this.#desired
    this.#changed = false
    this.#version = this.#links.version
    this.#addresses.wantAll(desired.address)
    this.#sysctls.wantAll(desired.sysctl)
    this.#fdb.wantAll(desired.fdb)
    const { wanted, waiting } = this.#resolver.resolve(desired.route.values())
    this.#waiting = waiting
    this.#dropped = {
      neighbours: this.#neighbours.wantAll(desired.neighbour),
      routes: this.#routes.wantAll(wanted),
    }
  }

  #linkChanged(link: Link): boolean {
    const before = this.#links.saw(link)
    if (!this.#devices.has(link.name)) return false
    const { mtu, mac, up } = link
    if (before === undefined) return this.#touched(link.name)
    if (before.name !== link.name || before.up !== up) return this.#touched(link.name)
    return before.mtu !== mtu || before.mac !== mac
  }

  /** A link that went away or down took routes, neighbours, addresses and sysctls along, mostly without a word. */
  #touched(name: string): boolean {
    if (!this.#devices.has(name)) return false
    this.distrust()
    return true
  }

  #addressChanged(type: 'address' | 'address-gone', name: string): boolean {
    if (!this.#devices.has(name)) return false
    if (type === 'address-gone') this.#routes.distrust()
    this.#addresses.distrust()
    return type === 'address-gone' || name === 'tunl0' || name === 'vxlan.calico'
  }

  #outlivedGrace(key: string): boolean {
    const since = this.#strays.get(key) ?? this.#now()
    this.#strays.set(key, since)
    return this.#now() - since >= STRAY_GRACE_MS
  }
}

/** The interfaces whose fate is ours. */
function devicesOf({ link, address, route }: Pick<DesiredState, 'link' | 'address' | 'route'>): Set<string> {
  const names = new Set(link.keys())
  for (const { interfaceName } of address.values()) names.add(interfaceName)
  for (const { interfaceName } of route.values()) if (interfaceName !== undefined) names.add(interfaceName)
  return names
}

function merge(parts: readonly Outcome[]): Outcome {
  const refused: Refusal[] = parts.flatMap(part => part.refused)
  return {
    written: parts.flatMap(({ written }) => written),
    healed: parts.flatMap(({ healed }) => healed),
    refused,
    withheld: parts.flatMap(({ withheld }) => withheld),
  }
}
