// The whole of what this node's kernel should hold, as a function of what is known now. Nothing here remembers:
// any order of events, a restart or a replay gives the same answer.
import { hostSide, type InterfaceSide } from '../../kernel/pod-interface.ts'
import type { Route } from '../../kernel/port/routes.ts'
import type { DesiredNeighbour, DesiredRoute, DesiredState, DesiredSysctl } from '../desired.ts'
import type { Endpoint, FelixInput } from '../input.ts'
import { blackholeRoutes, byDestination, claim, gatewayRoute, learnedRoutes } from './routes.ts'
import { ownAddresses, tunnelDevices, VXLAN_DEVICE, vtepEntries, vteps } from './tunnels.ts'

type Learned = ReturnType<typeof learnedRoutes>

/**
 * Remembers the last learned part, which is most of the work and which a new pod does not change. The answer is the
 * same with and without the memory.
 */
export class Calculator {
  #parts: readonly unknown[] = []
  #learned: Learned = { routes: [], notices: [] }

  desired(input: FelixInput): DesiredState {
    return desiredState(input, () => {
      const { node, capabilities, pools, remotes, ownBlocks, learned } = input
      const parts = [node, capabilities, pools, remotes, ownBlocks, learned]
      if (parts.some((part, i) => part !== this.#parts[i])) this.#learned = learnedPart(input)
      this.#parts = parts
      return this.#learned
    })
  }
}

/** Pure and total over valid input: what is unreadable gets a notice instead of a route. */
export function desiredState(input: FelixInput, learnedOf: (input: FelixInput) => Learned = learnedPart): DesiredState {
  const far = farVteps(input)
  const tunnels = tunnelDevices(input)
  const vxlan = tunnels.some(({ name }) => name === VXLAN_DEVICE)
  const entries = vtepEntries(vxlan ? far.byAddress : new Map())
  const pods = uniqueEndpoints(input.endpoints).map(endpoint => hostSide(endpoint, input.config.workloadRouteProtocol))
  const learned = learnedOf(input)
  const { routes, notices } = claim(
    pods.flatMap(({ name, routes }) => routes.map(on(name))).toSorted(byDestination),
    blackholeRoutes(input.ownBlocks).toSorted(byDestination),
    gatewayRoute(input.node.uplink),
    learned.routes,
  )
  return {
    tunnels,
    poolCidrs: [...new Set(input.pools.map(({ cidr }) => cidr))].toSorted(compare),
    addresses: ownAddresses(tunnels),
    routes,
    neighbours: uniqueBy([...pods.flatMap(podNeighbours), ...entries.neighbours], neighbourKey),
    fdb: entries.fdb,
    sysctls: [...hostSysctls(input), ...pods.flatMap(pod => pod.sysctls)],
    notices: [...far.notices, ...learned.notices, ...notices].toSorted(byObject),
  }
}

function learnedPart(input: FelixInput): Learned {
  const { routes, notices } = learnedRoutes(input, farVteps(input).byAddress)
  return { routes: routes.toSorted(byDestination), notices }
}

function farVteps({ remotes, node }: FelixInput): ReturnType<typeof vteps> {
  return vteps(remotes.filter(({ name }) => name !== node.name))
}

/**
 * Forwarding for the node as a whole. IPv6 only where pods or blocks use it: an IPv6 router stops believing router
 * advertisements, which can cost a host its own address.
 */
function hostSysctls({ node, ownBlocks, endpoints }: FelixInput): DesiredSysctl[] {
  const ipv6 =
    node.ipv6 !== undefined ||
    ownBlocks.some(block => block.includes(':')) ||
    endpoints.some(({ addresses }) => addresses.some(address => address.includes(':')))
  const forward: DesiredSysctl = { family: 'ipv4', path: ['ip_forward'], value: '1' }
  return ipv6 ? [forward, { family: 'ipv6', path: ['conf', 'all', 'forwarding'], value: '1' }] : [forward]
}

function podNeighbours({ name, neighbours }: InterfaceSide): DesiredNeighbour[] {
  return neighbours.map(({ address, mac }) => ({ interfaceName: name, address, mac, permanent: true }))
}

/** Names the interface of a route. */
function on(interfaceName: string): (route: Omit<Route, 'ifindex'>) => DesiredRoute {
  return route => ({ ...route, interfaceName })
}

/** One per interface, in the order of their names; of two that claim an interface, the first by id has it. */
function uniqueEndpoints(endpoints: readonly Endpoint[]): Endpoint[] {
  const ordered = endpoints.toSorted((a, b) => compare(a.id, b.id))
  return uniqueBy(ordered, ({ interfaceName }) => interfaceName)
}

function uniqueBy<T>(items: readonly T[], keyOf: (item: T) => string): T[] {
  const byKey = new Map<string, T>()
  for (const item of items) if (!byKey.has(keyOf(item))) byKey.set(keyOf(item), item)
  return [...byKey.values()].toSorted((a, b) => compare(keyOf(a), keyOf(b)))
}

function neighbourKey({ interfaceName, address }: { interfaceName: string; address: string }): string {
  return `${interfaceName} ${address}`
}

function byObject(a: { object: string; reason: string }, b: { object: string; reason: string }): number {
  return compare(`${a.object} ${a.reason}`, `${b.object} ${b.reason}`)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
