// The whole of what this node's kernel should hold, as a function of what is known now. Nothing here remembers:
// any order of events, a restart or a replay gives the same answer.
import type { DesiredNeighbour, DesiredState, DesiredSysctl, Endpoint, FelixInput } from '../state.ts'
import { blackholeRoutes, claim, gatewayRoute, learnedRoutes, workloadRoutes } from './routes.ts'
import { tunnelDevices, VXLAN_DEVICE, vtepEntries, vteps } from './tunnels.ts'

/** Pure and total over valid input: what is unreadable gets a notice instead of a route. */
export function desiredState(input: FelixInput): DesiredState {
  const far = vteps(input.remotes.filter(({ name }) => name !== input.node.name))
  const tunnels = tunnelDevices(input)
  const vxlan = tunnels.some(({ name }) => name === VXLAN_DEVICE)
  const entries = vtepEntries(vxlan ? far.byAddress : new Map())
  const endpoints = uniqueEndpoints(input.endpoints)
  const learned = learnedRoutes(input, far.byAddress)
  const { routes, notices } = claim(
    [gatewayRoute()],
    workloadRoutes(endpoints, input.config.workloadRouteProtocol),
    blackholeRoutes(input.ownBlocks),
    learned.routes,
  )
  return {
    tunnels,
    poolCidrs: [...new Set(input.pools.map(({ cidr }) => cidr))].toSorted(compare),
    routes,
    neighbours: uniqueBy([...endpoints.flatMap(workloadNeighbours), ...entries.neighbours], neighbourKey),
    fdb: entries.fdb,
    sysctls: [...hostSysctls(input), ...endpoints.flatMap(({ interfaceName }) => workloadSysctls(interfaceName))],
    notices: [...far.notices, ...learned.notices, ...notices].toSorted(byObject),
  }
}

/** What the host side of a pod's interface must be set to, before its link goes up and ever after. */
export function workloadSysctls(interfaceName: string): DesiredSysctl[] {
  const conf = (name: string, value: string): readonly [readonly string[], string] => [
    ['conf', interfaceName, name],
    value,
  ]
  const ipv4 = [
    conf('proxy_arp', '1'),
    conf('forwarding', '1'),
    conf('route_localnet', '1'),
    [['neigh', interfaceName, 'proxy_delay'], '0'] as const,
  ]
  const ipv6 = [
    conf('accept_ra', '0'),
    conf('accept_dad', '0'),
    conf('disable_ipv6', '0'),
    conf('forwarding', '1'),
    conf('proxy_ndp', '1'),
  ]
  return [
    ...ipv4.map(([path, value]) => ({ family: 'ipv4' as const, path, value })),
    ...ipv6.map(([path, value]) => ({ family: 'ipv6' as const, path, value })),
  ]
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
