// Named worlds for felix, and walks between them: each world is a whole input, each step a partial update, so that
// a walk may be taken in any order, in pieces or twice and must always end in the same place.
import type { Endpoint, FelixInput, LearnedRoute, Pool, RemoteNode } from '../../felix/input.ts'

export const IPIP_POOL: Pool = { cidr: '10.244.0.0/16', ipip: 'CrossSubnet', vxlan: 'Never', disableBgpExport: false }
export const VXLAN_POOL: Pool = { cidr: '10.245.0.0/16', ipip: 'Never', vxlan: 'CrossSubnet', disableBgpExport: false }
export const BARE_POOL: Pool = { cidr: '10.246.0.0/16', ipip: 'Never', vxlan: 'Never', disableBgpExport: false }

/** n2 shares n1's LAN; n3 is behind the router; n4 too, and has no IP-in-IP. */
export const N2 = remote('n2', '192.168.10.12', 2)
export const N3 = remote('n3', '192.168.20.13', 3)
export const N4 = remote('n4', '192.168.20.14', 4)

/** n1 as it knows itself before anything else is known. */
export const EMPTY: FelixInput = {
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
  learned: [],
  endpoints: [],
  uplinkMtu: 1500,
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
export const FULL: FelixInput = {
  ...EMPTY,
  pools: [IPIP_POOL, VXLAN_POOL, BARE_POOL],
  remotes: [N2, N3, N4],
  ownBlocks: ['10.244.1.0/26', '10.245.1.0/26'],
  learned: LEARNED,
  endpoints: PODS,
}

/** The same node on a kernel without IP-in-IP. */
export const WITHOUT_IPIP: FelixInput = { ...FULL, capabilities: { ipip: false, vxlan: true } }

export const WORLDS: Readonly<Record<string, FelixInput>> = {
  empty: EMPTY,
  pools: { ...EMPTY, pools: FULL.pools, ownBlocks: FULL.ownBlocks },
  pods: { ...EMPTY, pools: FULL.pools, ownBlocks: FULL.ownBlocks, endpoints: PODS },
  mesh: { ...FULL, endpoints: [] },
  withoutIpip: WITHOUT_IPIP,
  full: FULL,
}

/** The updates that lead from one world to another: one for each part that differs. */
export function steps(from: FelixInput, to: FelixInput): Partial<FelixInput>[] {
  const keys = Object.keys(to) as (keyof FelixInput)[]
  return keys.filter(key => from[key] !== to[key]).map(key => ({ [key]: to[key] }))
}

/** The same walk in other gaits: reversed, split item by item, squashed into one, every step twice. */
export function gaits(walk: readonly Partial<FelixInput>[]): Record<string, Partial<FelixInput>[]> {
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
function split(step: Partial<FelixInput>): Partial<FelixInput>[] {
  return Object.entries(step).flatMap(([key, value]): Partial<FelixInput>[] =>
    Array.isArray(value)
      ? [0, ...value.keys()].map((_, i) => ({ [key]: value.slice(0, i) })).concat({ [key]: value })
      : [{ [key]: value }],
  )
}

/** The same step with its lists in the opposite order, and the first item said twice. */
function turned(step: Partial<FelixInput>): Partial<FelixInput> {
  const entries = Object.entries(step).map(([key, value]) =>
    Array.isArray(value) ? [key, [...value.toReversed(), ...value.slice(0, 1)]] : [key, value],
  )
  return Object.fromEntries(entries)
}

export function endpoint(id: string, ...addresses: string[]): Endpoint {
  const mac = `02:00:00:00:00:${id.charCodeAt(0).toString(16)}`
  return { id, interfaceName: `cali${id}`, ifname: 'eth0', netns: `/run/netns/${id}`, addresses, mac }
}

export function learned(prefix: string, nextHop: string, encapsulations: readonly number[] = []): LearnedRoute {
  return { prefix, nextHop, encapsulations }
}

function remote(name: string, address: string, n: number): RemoteNode {
  return {
    name,
    address,
    ipipTunnelAddress: `10.244.${n}.1`,
    vxlanTunnelAddress: `10.245.${n}.1`,
    vxlanTunnelMac: `66:00:00:00:00:0${n}`,
  }
}
