// The whole of what this node's kernel should hold, as a function of what is known now. Nothing here remembers:
// any order of events, a restart or a replay gives the same answer.
import type { DesiredNeighbour, DesiredState, DesiredSysctl } from '../desired.ts'
import type { Endpoint, FelixInput } from '../input.ts'
import { blackholeRoutes, byDestination, claim, gatewayRoute, learnedRoutes, workloadRoutes } from './routes.ts'
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
  const endpoints = uniqueEndpoints(input.endpoints)
  const learned = learnedOf(input)
  const { routes, notices } = claim(
    workloadRoutes(endpoints, input.config.workloadRouteProtocol).toSorted(byDestination),
    blackholeRoutes(input.ownBlocks).toSorted(byDestination),
    gatewayRoute(input.node.uplink),
    learned.routes,
  )
  return {
    tunnels,
    poolCidrs: [...new Set(input.pools.map(({ cidr }) => cidr))].toSorted(compare),
    addresses: ownAddresses(tunnels),
    routes,
    neighbours: uniqueBy([...endpoints.flatMap(workloadNeighbours), ...entries.neighbours], neighbourKey),
    fdb: entries.fdb,
    sysctls: [...hostSysctls(input), ...endpoints.flatMap(workloadSysctls)],
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

/** The same settings as the CNI verbs write before the link goes up, for the families that the pod has. */
function workloadSysctls({ interfaceName, addresses }: Endpoint): DesiredSysctl[] {
  const families = new Set(addresses.map(address => (address.includes(':') ? 'ipv6' : 'ipv4')))
  return WORKLOAD_SYSCTLS.filter(({ family }) => families.has(family)).map(({ family, group, name, value }) => ({
    family,
    path: [group, interfaceName, name],
    value,
  }))
}

const WORKLOAD_SYSCTLS = [
  { family: 'ipv4', group: 'conf', name: 'proxy_arp', value: '1' },
  { family: 'ipv4', group: 'conf', name: 'forwarding', value: '1' },
  { family: 'ipv4', group: 'conf', name: 'route_localnet', value: '1' },
  { family: 'ipv4', group: 'neigh', name: 'proxy_delay', value: '0' },
  { family: 'ipv6', group: 'conf', name: 'accept_ra', value: '0' },
  { family: 'ipv6', group: 'conf', name: 'accept_dad', value: '0' },
  { family: 'ipv6', group: 'conf', name: 'disable_ipv6', value: '0' },
  { family: 'ipv6', group: 'conf', name: 'forwarding', value: '1' },
  { family: 'ipv6', group: 'conf', name: 'proxy_ndp', value: '1' },
] as const

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

function workloadNeighbours({ interfaceName, addresses, mac }: Endpoint): DesiredNeighbour[] {
  return addresses.map(address => ({
    interfaceName,
    address: address.split('/')[0]!,
    mac: mac.toLowerCase(),
    permanent: true,
  }))
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
