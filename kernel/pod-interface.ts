// What one pod interface must be in the kernel, on the host and in the pod (DESIGN section 4). Pure. The only
// description of it: felix writes the host side, cni writes the pod side, CHECK compares both sides with it.
// Hazards: sysctls are written before the link is up, or the first packets meet the defaults; without both permanent
// neighbour entries a pod waits a second for its first packet.
import { addressBits, type Family, familyOf } from '../lib/ip.ts'
import type { Address } from './port/addresses.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route } from './port/routes.ts'
import type { SysctlFamily } from './port/sysctls.ts'

/**
 * The host side of the interface by which a node probes the paths of pods (agent/probes/), made as a pod's. No pod has it: the names of
 * theirs go on with hexadecimal digits.
 */
export const PROBE_INTERFACE = 'caliprobe'

/** MAC of the host side of every pod interface. */
export const HOST_MAC = 'ee:ee:ee:ee:ee:ee'
/** A pod's next hop per family. The IPv6 one is the EUI-64 link-local address of `HOST_MAC`. */
export const GATEWAY: Record<Family, string> = { ipv4: '169.254.1.1', ipv6: 'fe80::ecee:eeff:feee:eeee' }

export type PodInterface = {
  /** Name on the host, `cali…`. */
  interfaceName: string
  /** Name in the pod, usually `eth0`. */
  ifname: string
  /** Canonical addresses without length. */
  addresses: readonly string[]
  /** MAC of the pod side. */
  mac: string
  /** Bytes, on both sides. */
  mtu: number
  /** Of the routes in the pod: another interface had the default route first. Absent: they have none. */
  routeMetric?: number
}

export type InterfaceSide = {
  name: string
  mtu: number
  /**
   * In the order in which they are written, before the link goes up. One that `needs` the pod filter has this value while
   * that is in the kernel, and '0' else.
   */
  sysctls: readonly { family: SysctlFamily; path: readonly string[]; value: string; needs?: 'pod filter' }[]
  addresses: readonly Omit<Address, 'ifindex'>[]
  /** Permanent entries. */
  neighbours: readonly { address: string; mac: string }[]
  /** In the order in which they are written: a route comes before those that need it for their gateway. */
  routes: readonly Omit<Route, 'ifindex' | 'nextHops'>[]
}

/** The host side. `routeProtocol`: the rtm_protocol of the routes to the pod (FelixConfiguration.deviceRouteProtocol). */
export function hostSide(pod: PodInterface, routeProtocol: number): InterfaceSide {
  const { interfaceName: name, addresses, mac, mtu } = pod
  const families = familiesOf(addresses)
  return {
    name,
    mtu,
    sysctls: [
      ...GUARDS.map(([family, setting]) => sysctl(family, name, setting)),
      ...families.flatMap(family => HOST_SYSCTLS[family].map(setting => sysctl(family, name, setting))),
    ],
    addresses: families.includes('ipv6')
      ? [{ address: GATEWAY.ipv6, length: 64, scope: ROUTE_SCOPE.link, noDad: true }]
      : [],
    neighbours: addresses.map(address => ({ address, mac: mac.toLowerCase() })),
    routes: addresses.map(address => hostRoute(address, routeProtocol)),
  }
}

/** The route to an address of a pod on its host, over the pod's interface. */
export function hostRoute(address: string, protocol: number): Omit<Route, 'ifindex' | 'nextHops'> {
  return {
    dst: `${address}/${addressBits(familyOf(address))}`,
    table: ROUTE_TABLE.main,
    type: 'unicast',
    protocol,
    // IPv6 routes have no scope
    scope: familyOf(address) === 'ipv4' ? ROUTE_SCOPE.link : ROUTE_SCOPE.universe,
  }
}

/** The pod side. `hostMac`: the MAC that the host side has, `HOST_MAC` unless the kernel refused it. */
export function podSide(pod: PodInterface, hostMac: string): InterfaceSide {
  const { ifname: name, addresses, mtu } = pod
  const families = familiesOf(addresses)
  return {
    name,
    mtu,
    sysctls: families.flatMap(family => POD_SYSCTLS[family].map(setting => sysctl(family, name, setting))),
    addresses: addresses.map(address => ({
      address,
      length: addressBits(familyOf(address)),
      scope: ROUTE_SCOPE.universe,
      noDad: true,
    })),
    neighbours: families.map(family => ({ address: GATEWAY[family], mac: hostMac })),
    routes: families
      .flatMap(podRoutes)
      .map(route => ({ ...route, ...(pod.routeMetric !== undefined && { metric: pod.routeMetric }) })),
  }
}

type Setting = readonly [group: 'conf' | 'neigh', name: string, value: string, needs?: 'pod filter']

/**
 * Of every pod's interface, since a pod can send packets of a family that it has no address of: no routers are learned,
 * and no packet says where the node shall send it on, past what was judged by its first destination.
 */
const GUARDS: readonly [Family, Setting][] = [
  ['ipv4', ['conf', 'accept_source_route', '0']],
  ['ipv6', ['conf', 'accept_ra', '0']],
  ['ipv6', ['conf', 'seg6_enabled', '0']],
  ['ipv6', ['conf', 'rpl_seg_enabled', '0']],
]

const HOST_SYSCTLS: Record<Family, readonly Setting[]> = {
  ipv4: [
    ['conf', 'proxy_arp', '1'],
    ['conf', 'forwarding', '1'],
    ['conf', 'route_localnet', '1', 'pod filter'],
    ['neigh', 'proxy_delay', '0'],
  ],
  ipv6: [
    ['conf', 'accept_dad', '0'],
    ['conf', 'disable_ipv6', '0'],
    ['conf', 'forwarding', '1'],
    ['conf', 'proxy_ndp', '1'],
  ],
}

const POD_SYSCTLS: Record<Family, readonly Setting[]> = {
  ipv4: [],
  ipv6: [
    ['conf', 'disable_ipv6', '0'],
    ['conf', 'accept_dad', '0'],
  ],
}

function sysctl(family: Family, link: string, [group, name, value, needs]: Setting): InterfaceSide['sysctls'][number] {
  return { family, path: [group, link, name], value, ...(needs !== undefined && { needs }) }
}

/** The default route, after the route to its gateway. A link-local IPv6 gateway needs none. */
function podRoutes(family: Family): Omit<Route, 'ifindex'>[] {
  const gateway = GATEWAY[family]
  const common = { table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.boot } as const
  const all = { ...common, dst: family === 'ipv4' ? '0.0.0.0/0' : '::/0', scope: ROUTE_SCOPE.universe, gateway }
  return family === 'ipv4' ? [{ ...common, dst: `${gateway}/32`, scope: ROUTE_SCOPE.link }, all] : [all]
}

function familiesOf(addresses: readonly string[]): Family[] {
  return [...new Set(addresses.map(familyOf))]
}
