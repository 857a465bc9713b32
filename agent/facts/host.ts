// The host as one answer sees it: the links that there are now, what the kernel says of routes, and what is wanted there. Reads
// only.
import type { LinkFacts, LookupFacts, RouteFacts } from '../../api/explain.ts'
import type { FelixView } from '../../felix/view.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Link } from '../../kernel/port/links.ts'
import { type LookedUp, NOWHERE, ROUTE_PROTOCOL, type Route } from '../../kernel/port/routes.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import { namedRoute } from '../../kernel/reconcile/route-writes.ts'

export type FactKernel = Pick<
  Kernel,
  | 'links'
  | 'rules'
  | 'lookupRoute'
  | 'neighbour'
  | 'fdbEntry'
  | 'readSysctl'
  | 'flowsOf'
  | 'baseChains'
  | 'legacyBaseChains'
>

/** Words of rtm_protocol values (linux/rtnetlink.h); others are told as numbers. */
const WORDS: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries({ ...ROUTE_PROTOCOL, redirect: 1, ra: 9, zebra: 11, dhcp: 16, bgp: 186, isis: 187, ospf: 188 })
    .filter(([word]) => word !== 'blocks' && word !== 'margayBgp')
    .map(([word, number]) => [number, word]),
)

export class Host {
  readonly kernel: FactKernel
  readonly view: FelixView
  readonly #byName: ReadonlyMap<string, Link>
  readonly #names: ReadonlyMap<number, string>

  constructor(kernel: FactKernel, view: FelixView, links: readonly Link[]) {
    this.kernel = kernel
    this.view = view
    this.#byName = new Map(links.map(link => [link.name, link]))
    this.#names = new Map(links.map(({ index, name }) => [index, name]))
  }

  link(name: string | undefined): Link | undefined {
    return name === undefined ? undefined : this.#byName.get(name)
  }

  /** Rejects with `KernelError` where the kernel did not answer about the packet. */
  async lookup(destination: string, packet?: LookedUp): Promise<{ route: NamedRoute } | KernelError> {
    try {
      return { route: this.named(await this.kernel.lookupRoute(destination, packet)) }
    } catch (error) {
      if (error instanceof KernelError && NOWHERE.includes(error.errno)) return error
      throw error
    }
  }

  named(route: Route): NamedRoute {
    return namedRoute(route, index => this.#names.get(index))
  }

  /** The device that packets take by a route; of several next hops the first one's. */
  deviceOf(route: NamedRoute): string | undefined {
    return route.interfaceName ?? route.nextHops?.[0]?.interfaceName
  }

  lookupFacts(found: { route: NamedRoute } | KernelError): LookupFacts {
    if (found instanceof KernelError) return { errno: found.code, message: found.message }
    return { route: this.routeFacts(found.route) }
  }

  routeFacts(route: NamedRoute): RouteFacts {
    const { type, dst: prefix, table, metric, mtu, protocol } = route
    const device = this.deviceOf(route)
    const gateway = route.gateway ?? route.nextHops?.[0]?.gateway
    return {
      ...{ type, prefix, table, protocol: this.#protocolWord(protocol) },
      ...(device !== undefined && { device }),
      ...(gateway !== undefined && { gateway }),
      ...(metric !== undefined && { metric }),
      ...(mtu !== undefined && { mtu }),
    }
  }

  linkFacts({ name, kind, up, running, mtu, mac }: Link): LinkFacts {
    const wanted = this.view.wanted.link.get(name)
    return {
      ...{ name, up, running, mtu },
      ...(kind !== undefined && { kind }),
      ...(mac !== undefined && { mac }),
      ...(wanted !== undefined && { wanted: { mtu: wanted.mtu, up: true } }),
    }
  }

  #protocolWord(protocol: number): string {
    return this.view.protocols.has(protocol) && protocol !== ROUTE_PROTOCOL.boot
      ? 'margay'
      : (WORDS[protocol] ?? `${protocol}`)
  }
}
