// Whether this machine still has the default routes that it had. Without one, pods and agent reach what is on the machine's
// own networks and nothing else, and an API server there goes on answering: nothing else tells. A machine that never had
// one is not told about. Hazard: the kernel says nothing of IPv4 routes that it drops because their link went down, or because the
// last address of the link or their own source address went.
import { broken, type Condition } from '../api/status.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent, KernelMonitor } from '../kernel/port/kernel.ts'
import { interfacesOf, ROUTE_TABLE, type Route } from '../kernel/port/routes.ts'
import { namedRoute, routeText } from '../kernel/reconcile/route-writes.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Family } from '../lib/ip.ts'

export type DefaultRoutesDeps = {
  kernel: Pick<Kernel, 'routes' | 'link' | 'monitor'>
  clock: Clock
  report: (conditions: readonly Condition[]) => void
  /** A default route came, or another one. */
  came: () => void
}

const DEFAULT: Readonly<Record<Family, string>> = { ipv4: '0.0.0.0/0', ipv6: '::/0' }
const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']
/** Routes go and come when a lease is renewed or a link is set anew. */
const GRACE_MS = 3000
/** Events come in bursts. */
const GATHER_MS = 250
/** After a look that the kernel refused, or events that were lost: a look goes through all routes. */
const RETRY_MS = 2000

/** As `ip route` takes it, and what it leads over. */
type Known = {
  text: string
  devices: ReadonlyMap<number, string>
  gateways: readonly string[]
  source: string | undefined
}

export class DefaultRoutes {
  readonly #deps: DefaultRoutesDeps
  readonly #had = new Map<Family, Known>()
  readonly #missingSinceMs = new Map<Family, number>()
  #monitor: KernelMonitor | undefined
  #waiting: { dueMs: number; cancel: Cancel } | undefined
  #looking = false
  #closed = false

  constructor(deps: DefaultRoutesDeps) {
    this.#deps = deps
  }

  start(): void {
    this.#monitor = this.#deps.kernel.monitor(event => {
      if (event.type === 'overrun') this.#later(RETRY_MS)
      else if (this.#concerns(event)) this.#later(GATHER_MS)
    })
    void this.#look()
  }

  /** Those of the routes that there are, or were. */
  get gateways(): readonly string[] {
    return [...this.#had.values()].flatMap(({ gateways }) => gateways)
  }

  close(): void {
    this.#closed = true
    this.#waiting?.cancel()
    this.#monitor?.close()
  }

  #concerns(event: KernelEvent): boolean {
    switch (event.type) {
      case 'route':
      case 'route-gone':
        return event.route.table === ROUTE_TABLE.main && isDefault(event.route)
      case 'link':
      case 'link-gone':
        return [...this.#had.values()].some(({ devices }) => [...devices.values()].includes(event.link.name))
      case 'address-gone': {
        const { ifindex, address } = event.address
        return [...this.#had.values()].some(had => had.devices.has(ifindex) || had.source === address)
      }
      default:
        return false
    }
  }

  #later(delayMs: number): void {
    const { clock } = this.#deps
    const dueMs = clock.monotonicMs() + delayMs
    if (this.#closed || (this.#waiting !== undefined && this.#waiting.dueMs <= dueMs)) return
    this.#waiting?.cancel()
    const cancel = clock.after(delayMs, () => {
      this.#waiting = undefined
      if (this.#looking) this.#later(GATHER_MS)
      else void this.#look()
    })
    this.#waiting = { dueMs, cancel }
  }

  /** Never rejects: what cannot be read now is read a little later. */
  async #look(): Promise<void> {
    this.#looking = true
    try {
      let isNew = false
      for (const family of FAMILIES) isNew = this.#follow(family, await this.#best(family)) || isNew
      if (this.#closed) return
      this.#tell()
      if (isNew) this.#deps.came()
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      this.#later(RETRY_MS)
    } finally {
      this.#looking = false
    }
  }

  async #best(family: Family): Promise<Known | undefined> {
    const { kernel } = this.#deps
    const routes = (await kernel.routes({ table: ROUTE_TABLE.main, dst: DEFAULT[family] })).filter(isDefault)
    const [best] = routes.sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0))
    if (best === undefined) return undefined
    const devices = new Map<number, string>()
    for (const index of interfacesOf(best)) {
      const link = await kernel.link(index)
      if (link !== undefined) devices.set(index, link.name)
    }
    const text = routeText(namedRoute(best, index => devices.get(index))).replace(best.dst, 'default')
    const gateways = (best.nextHops ?? [best]).flatMap(({ gateway }) => gateway ?? [])
    return { text, devices, gateways, source: best.source }
  }

  /** Whether there is a route that was not there at the last look. */
  #follow(family: Family, found: Known | undefined): boolean {
    const had = this.#had.get(family)
    if (found === undefined) {
      if (had !== undefined && !this.#missingSinceMs.has(family))
        this.#missingSinceMs.set(family, this.#deps.clock.monotonicMs())
      return false
    }
    const isBack = this.#missingSinceMs.delete(family)
    this.#had.set(family, found)
    return isBack || had?.text !== found.text
  }

  #tell(): void {
    const lost: Condition[] = []
    for (const [family, sinceMs] of this.#missingSinceMs) {
      const leftMs = sinceMs + GRACE_MS - this.#deps.clock.monotonicMs()
      if (leftMs > 0) this.#later(leftMs)
      else lost.push(lostRoute(family, this.#had.get(family)!))
    }
    this.#deps.report(lost)
  }
}

function isDefault({ dst, type }: Route): boolean {
  return (dst === DEFAULT.ipv4 || dst === DEFAULT.ipv6) && type === 'unicast'
}

function lostRoute(family: Family, { text }: Known): Condition {
  const command = `ip ${family === 'ipv6' ? '-6 ' : ''}route add ${text}`
  return broken('DefaultRouteKept', {
    object: { kind: 'Route', name: DEFAULT[family] },
    reason: 'DefaultRouteLost',
    message: `this node had the route "${text}", and now has no default route: it and its pods reach only what other routes lead to`,
    remedy: `put it back (${command}) and look at what removed it: the link, the DHCP client, a network manager; if it is meant to be gone, restart the agent`,
  })
}
