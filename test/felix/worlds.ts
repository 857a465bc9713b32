// Named worlds for felix, and walks between them: each world is a whole input, each step a partial update, so that
// a walk may be taken in any order, in pieces or twice and must always end in the same place.
import { Calculator } from '../../felix/calc/calculator.ts'
import type {
  Endpoint,
  InputKind,
  Inputs,
  LearnedRoute,
  Pool,
  RemoteNode,
  Settings,
  ThisNode,
} from '../../felix/input.ts'

/** All that felix can be told, in lists. */
export type World = Omit<Settings, 'connected' | 'heedsRouters'> & {
  connected?: Settings['connected']
  heedsRouters?: Settings['heedsRouters']
  node: ThisNode
  pools: readonly Pool[]
  remotes: readonly RemoteNode[]
  ownBlocks: readonly string[]
  /** To node n2. */
  lent: readonly string[]
  learned: readonly LearnedRoute[]
  endpoints: readonly Endpoint[]
}

/** What takes the parts of a world: felix itself, or its calculator. */
export type Told = {
  set<K extends InputKind>(kind: K, key: string, value: Inputs[K] | undefined): unknown
  configure(part: Partial<Settings>): unknown
}

/** What a calculator is made with. */
export const CALCULATOR = {
  ...{ routeProtocol: 80, podFilter: { table: 'margay', interfacePrefix: 'cali' } },
  floatingTable: 'margay-floating',
  servicesTable: 'margay-services',
}

/** A calculator that was told a whole world and has worked it out. */
export function calculated(world: World): Calculator {
  const calculator = new Calculator(CALCULATOR)
  calculator.useLearned()
  tell(calculator, world)
  calculator.step()
  return calculator
}

/** Everything a calculator wants, as objects: kind, then key, then value. */
export function wantedBy(calculator: Calculator): Record<string, Record<string, unknown>> {
  return Object.fromEntries(Object.entries(calculator.wanted()).map(([kind, all]) => [kind, Object.fromEntries(all)]))
}

const toldKeys = new WeakMap<Told, Map<InputKind, Set<string>>>()

/** Tells parts of a world: each list as the differences to the list told before. A pool goes by its CIDR. */
export function tell(
  felix: Told,
  { pools, remotes, ownBlocks, lent, learned, endpoints, ...settings }: Partial<World>,
): void {
  felix.configure(settings)
  tellList(
    felix,
    'pool',
    pools?.map(value => [value.cidr, value]),
  )
  tellList(
    felix,
    'remote',
    remotes?.map(value => [value.name, value]),
  )
  tellList(
    felix,
    'ownBlock',
    ownBlocks?.map(cidr => [cidr, 'plain']),
  )
  tellList(
    felix,
    'lent',
    lent?.map(cidr => [cidr, 'n2']),
  )
  tellList(
    felix,
    'learned',
    learned?.map(value => [value.prefix, value]),
  )
  tellList(
    felix,
    'endpoint',
    endpoints?.map(value => [value.id, value]),
  )
}

function tellList<K extends InputKind>(felix: Told, kind: K, items: [string, Inputs[K]][] | undefined): void {
  if (items === undefined) return
  const byKind = toldKeys.get(felix) ?? new Map<InputKind, Set<string>>()
  toldKeys.set(felix, byKind)
  const keys = new Set(items.map(([key]) => key))
  for (const key of byKind.get(kind) ?? []) if (!keys.has(key)) felix.set(kind, key, undefined)
  for (const [key, value] of items) felix.set(kind, key, value)
  byKind.set(kind, keys)
}

export const IPIP_POOL: Pool = { cidr: '10.244.0.0/16', ipip: 'CrossSubnet', vxlan: 'Never', isExchanged: true }
export const VXLAN_POOL: Pool = {
  ...{ cidr: '10.245.0.0/16', ipip: 'Never', vxlan: 'CrossSubnet' },
  ...{ isExchanged: true, natOutgoing: true },
}
export const BARE_POOL: Pool = { cidr: '10.246.0.0/16', ipip: 'Never', vxlan: 'Never', isExchanged: true }

/** n2 shares n1's LAN; n3 is behind the router; n4 too, and has no IP-in-IP. */
export const N2 = remote('n2', '192.168.10.12', 2)
export const N3 = remote('n3', '192.168.20.13', 3)
export const N4 = remote('n4', '192.168.20.14', 4)

/** n1 as it knows itself before anything else is known. */
export const EMPTY: World = {
  node: {
    name: 'n1',
    ipv4: '192.168.10.11/24',
    uplink: 'eth0',
    ipipTunnelAddress: '10.244.1.1',
    vxlanTunnelAddress: '10.245.1.1',
    vxlanTunnelMac: '66:00:00:00:00:01',
  },
  config: { vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 0, vxlanMtu: 0, workloadRouteProtocol: 3 },
  capabilities: { ipip: true, vxlan: true },
  pools: [],
  remotes: [],
  ownBlocks: [],
  lent: [],
  learned: [],
  endpoints: [],
  uplinkMtu: 1500,
  connected: [],
  heedsRouters: [],
}

export const PODS: readonly Endpoint[] = [endpoint('a', '10.244.1.5'), endpoint('b', '10.244.1.6', 'fd00:1::6')]

/** Blocks of the other nodes, one per pool and node, and what a router on the LAN announces. */
export const LEARNED: readonly LearnedRoute[] = [
  learned('10.244.2.0/26', N2.address),
  learned('10.244.3.0/26', N3.address),
  learned('10.244.4.0/26', N4.address, [8]),
  learned('10.245.3.0/26', N3.address),
  learned('10.246.2.0/26', N2.address),
  learned('10.246.3.0/26', N3.address),
  learned('203.0.113.0/24', '192.168.10.1'),
]

/** Everything there is, in one input. */
export const FULL: World = {
  ...EMPTY,
  config: {
    ...EMPTY.config,
    serviceLoops: { action: 'reject', ranges: ['10.96.0.0/16', '192.168.20.0/24', 'fd00:96::/112', '10.244.0.0/15'] },
  },
  pools: [IPIP_POOL, VXLAN_POOL, BARE_POOL],
  remotes: [N2, N3, N4],
  ownBlocks: ['10.244.1.0/26', '10.245.1.0/26'],
  learned: LEARNED,
  endpoints: PODS,
}

/** Each announcement has two paths more, on the LAN and behind the router. */
const SHARED: World = {
  ...FULL,
  learned: LEARNED.map(({ prefix, ...best }) => {
    const others = [N2, N3].filter(({ address }) => address !== best.nextHop)
    return {
      prefix,
      ...best,
      paths: [best, ...others.map(({ address }) => ({ ...best, nextHop: address!, weight: 3 }))],
    }
  }),
}

/** The same node on a kernel without IP-in-IP. */
export const WITHOUT_IPIP: World = { ...FULL, capabilities: { ipip: false, vxlan: true } }

/**
 * IPv6 pods alone. n2 on the LAN and n3 behind the router have IPv4 addresses alone, n5 on the LAN and n6 behind the router both.
 * Nobody has a tunnel address.
 */
export const IPV6_OVER_IPV4: World = {
  ...EMPTY,
  node: {
    ...{ name: 'n1', ipv4: '192.168.10.11/24', ipv6: '2001:db8:10::11/64', uplink: 'eth0' },
    vxlanTunnelMac: '66:00:00:00:00:01',
  },
  pools: [{ cidr: 'fd00:10::/32', ipip: 'Never', vxlan: 'CrossSubnet', isExchanged: true }],
  remotes: [
    bareRemote('n2', '192.168.10.12', 2),
    bareRemote('n3', '192.168.20.13', 3),
    { ...bareRemote('n5', '192.168.10.15', 5), ipv6Address: '2001:db8:10::15' },
    { ...bareRemote('n6', '192.168.20.16', 6), ipv6Address: '2001:db8:20::16' },
  ],
  ownBlocks: ['fd00:10:1::/122'],
  learned: [
    learned('fd00:10:2::/122', '192.168.10.12', [8]),
    learned('fd00:10:3::/122', '192.168.20.13', [8]),
    learned('fd00:10:5::/122', '2001:db8:10::15', [8]),
    learned('fd00:10:6::/122', '2001:db8:20::16', [8]),
  ],
}

/** The same node with an uplink in the LAN behind the router too, where n3 and n4 are. */
export const TWO_UPLINKS: World = {
  ...FULL,
  connected: [
    { cidr: '192.168.10.11/24', interfaceName: 'eth0', isUp: true },
    { cidr: '192.168.20.11/24', interfaceName: 'eth1', isUp: true },
  ],
}

/** IPv6 pods and nodes of IPv6 alone: n2 on the LAN, n3 behind the router. n6 behind the router has an IPv4 address too. */
export const IPV6_ALONE: World = {
  ...EMPTY,
  node: { name: 'n1', ipv6: '2001:db8:10::11/64', uplink: 'eth0', vxlanTunnelMac: '66:00:00:00:00:01' },
  pools: IPV6_OVER_IPV4.pools,
  remotes: [
    { name: 'n2', ipv6Address: '2001:db8:10::12', vxlanTunnelMac: '66:00:00:00:00:02' },
    { name: 'n3', ipv6Address: '2001:db8:20::13', vxlanTunnelMac: '66:00:00:00:00:03' },
    { ...bareRemote('n6', '192.168.20.16', 6), ipv6Address: '2001:db8:20::16' },
  ],
  ownBlocks: ['fd00:10:1::/122'],
  learned: [
    learned('fd00:10:2::/122', '2001:db8:10::12', [8]),
    learned('fd00:10:3::/122', '2001:db8:20::13', [8]),
    learned('fd00:10:6::/122', '2001:db8:20::16', [8]),
  ],
}

/** The same cluster as a node with addresses of both families sees it. */
export const IPV6_BESIDE_BOTH: World = { ...IPV6_ALONE, node: IPV6_OVER_IPV4.node }

/** The same node with an IPv6 address of its tunnels, and one of another node. */
export const IPV6_ADDRESSED: World = {
  ...IPV6_BESIDE_BOTH,
  node: { ...IPV6_BESIDE_BOTH.node, vxlanTunnelAddressV6: 'fd00:10:1::1' },
  remotes: IPV6_BESIDE_BOTH.remotes.map(each => {
    return each.name === 'n3' ? { ...each, vxlanTunnelAddressV6: 'fd00:10:3::1' } : each
  }),
}

export const WORLDS: Readonly<Record<string, World>> = {
  empty: EMPTY,
  pools: { ...EMPTY, pools: FULL.pools, ownBlocks: FULL.ownBlocks },
  pods: { ...EMPTY, pools: FULL.pools, ownBlocks: FULL.ownBlocks, endpoints: PODS },
  mesh: { ...FULL, endpoints: [] },
  withoutIpip: WITHOUT_IPIP,
  full: FULL,
  shared: SHARED,
  twoUplinks: TWO_UPLINKS,
  ipv6OverIpv4: IPV6_OVER_IPV4,
  ipv6Alone: IPV6_ALONE,
  ipv6BesideBoth: IPV6_BESIDE_BOTH,
  ipv6Addressed: IPV6_ADDRESSED,
}

/** The updates that lead from one world to another: one for each part that differs. */
export function steps(from: World, to: World): Partial<World>[] {
  const keys = Object.keys(to) as (keyof World)[]
  return keys.filter(key => from[key] !== to[key]).map(key => ({ [key]: to[key] }))
}

/** The same walk in other variants: reversed, split item by item, squashed into one, every step twice. */
export function variants(walk: readonly Partial<World>[]): Record<string, Partial<World>[]> {
  return {
    straight: [...walk],
    reversed: walk.toReversed(),
    split: walk.flatMap(split),
    squashed: [Object.assign({}, ...walk)],
    duplicated: walk.flatMap(step => [step, step]),
    backwardsInside: walk.map(turned),
  }
}

/** Lists grow by one item at a time, from nothing. */
function split(step: Partial<World>): Partial<World>[] {
  return Object.entries(step).flatMap(([key, value]): Partial<World>[] =>
    Array.isArray(value)
      ? [0, ...value.keys()].map((_, i) => ({ [key]: value.slice(0, i) })).concat({ [key]: value })
      : [{ [key]: value }],
  )
}

/** The same step with its lists in the opposite order, and the first item said twice. */
function turned(step: Partial<World>): Partial<World> {
  const entries = Object.entries(step).map(([key, value]) =>
    Array.isArray(value) ? [key, [...value.toReversed(), ...value.slice(0, 1)]] : [key, value],
  )
  return Object.fromEntries(entries)
}

export function endpoint(id: string, ...addresses: string[]): Endpoint {
  const mac = `02:00:00:00:00:${id.charCodeAt(0).toString(16)}`
  return { id, interfaceName: `cali${id}`, ifname: 'eth0', netns: `/run/netns/${id}`, addresses, mac, mtu: 1450 }
}

export function learned(prefix: string, nextHop: string, encapsulations: readonly number[] = []): LearnedRoute {
  return { prefix, nextHop, encapsulations }
}

function bareRemote(name: string, address: string, n: number): RemoteNode & { address: string } {
  return { name, address, vxlanTunnelMac: `66:00:00:00:00:0${n}` }
}

function remote(name: string, address: string, n: number): RemoteNode & { address: string } {
  return {
    name,
    address,
    ipipTunnelAddress: `10.244.${n}.1`,
    vxlanTunnelAddress: `10.245.${n}.1`,
    vxlanTunnelMac: `66:00:00:00:00:0${n}`,
  }
}
