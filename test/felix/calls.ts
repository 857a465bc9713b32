// Random calls for felix and its calculator, in a small world where everything collides: addresses, names, prefixes
// inside each other.
import fc from 'fast-check'
import type {
  FloatingAddress,
  Inputs,
  LearnedRoute,
  NextHopWay,
  Pool,
  RemoteNode,
  Settings,
} from '../../felix/input.ts'
import { endpoint, type Told } from './worlds.ts'

/** One thing that felix is told. */
export type Call =
  | { [K in keyof Inputs]: { kind: K; key: string; value: Inputs[K] | undefined } }[keyof Inputs]
  | { kind: 'settings'; part: Partial<Settings> }

const nodeAddress = fc.constantFrom('192.168.10.11', '192.168.10.12', '192.168.20.13', '192.168.20.14', 'fd01::12')
const prefix = fc.constantFrom(
  '10.244.2.0/26',
  '10.244.2.0/25',
  '10.244.2.1/32',
  '10.244.1.5/32',
  '10.244.1.0/26',
  '10.245.3.0/26',
  '10.246.3.0/26',
  '10.0.0.0/8',
  '192.168.10.0/24',
  '169.254.1.1/32',
  'fd00:2::/122',
)
const ownBlock = fc.constantFrom('10.244.1.0/26', '10.244.2.0/26', '10.244.1.5/32', '10.245.3.0/24', 'fd00:2::/122')
const poolCidr = fc.constantFrom('10.244.0.0/16', '10.244.2.0/24', '10.245.0.0/16', '10.246.0.0/16', 'fd00:2::/64')
const modes = fc.constantFrom<Pool['ipip'][]>('Never', 'Always', 'CrossSubnet')
const pool = fc.record({
  ...{ cidr: poolCidr, ipip: modes, vxlan: modes, isExchanged: fc.boolean() },
  ...{ natOutgoing: fc.boolean(), forServicesOnly: fc.boolean() },
})
const nat = fc.record({
  keepAddressTo: fc.constantFrom('pools' as const, 'pools and nodes' as const),
  bgpPorts: fc.constant([179]),
})
const path = fc.record({ nextHop: nodeAddress, encapsulations: fc.constantFrom([], [7], [8], [7, 8], [99]) })
const route = fc.tuple(prefix, path, fc.array(path, { maxLength: 3 })).map(
  ([prefix, best, others]): LearnedRoute => ({
    ...{ prefix, ...best },
    ...(others.length > 0 && { paths: [best, ...others] }),
  }),
)
const nextHopWay = fc.record(
  {
    hops: fc.subarray(
      [
        { gateway: '192.168.10.1', interfaceName: 'eth0' },
        { gateway: '192.168.30.1', interfaceName: 'eth1', weight: 2 },
        { gateway: '192.168.20.13', interfaceName: 'eth2', onlink: true },
      ],
      { minLength: 1 },
    ),
    over: fc.constantFrom('192.168.20.0/24', '192.168.10.0/24', '0.0.0.0/1'),
    overOurs: prefix,
  },
  { requiredKeys: ['hops'] },
) satisfies fc.Arbitrary<NextHopWay>
const remote = fc.record(
  {
    name: fc.constantFrom('n1', 'n2', 'n3', 'n4', 'n5'),
    address: nodeAddress,
    ipv6Address: fc.constantFrom('fd01::12', 'fd01::13'),
    vxlanTunnelAddress: fc.constantFrom('10.245.2.1', '10.245.3.1', '10.245.4.1'),
    vxlanTunnelAddressV6: fc.constantFrom('fd00:2::1', 'fd00:3::1'),
    vxlanTunnelMac: fc.constantFrom('66:00:00:00:00:02', '66:00:00:00:00:03', '66:00:00:00:00:04'),
  },
  { requiredKeys: ['name', 'address'] },
) satisfies fc.Arbitrary<RemoteNode>
const pod = fc
  .tuple(
    fc.constantFrom('a', 'b', 'c'),
    fc.constantFrom('calia', 'calib'),
    fc.subarray(['10.244.1.5', '10.244.1.6', '10.244.2.1', 'fd00:2::5']),
  )
  .map(([id, interfaceName, addresses]) => ({ ...endpoint(id, ...addresses), interfaceName }))

const sources = fc.record({
  pod: fc.record({ namespace: fc.constant('net'), name: fc.constantFrom('gw', 'proxy') }),
  cidrs: fc.constantFrom(['198.51.100.0/24'], ['198.51.100.7/32', '2001:db8::/64'], ['::/0', '2001:db8::/64']),
})

const floatingAddress = fc.constantFrom('10.244.9.7', '10.244.2.1', '10.244.1.5', 'fd00:2::7')
const floating = fc.oneof(
  fc.constant({ at: 'elsewhere' as const }),
  fc.record({
    at: fc.constant('here' as const),
    endpoint: fc.constantFrom('a', 'b', 'c'),
    to: fc.constantFrom('10.244.1.5', '10.244.1.6'),
  }),
)

/** `undefined`, that is "gone", in one of four. */
const orGone = <V>(value: fc.Arbitrary<V>) => fc.option(value, { nil: undefined, freq: 3 })
const settings: fc.Arbitrary<Partial<Settings>> = fc.oneof(
  fc.record({ capabilities: fc.record({ ipip: fc.boolean(), vxlan: fc.boolean() }) }),
  fc.record({ uplinkMtu: fc.constantFrom(1500, 9000) }),
  fc.record({ heedsRouters: fc.subarray(['eth0', 'eth1', 'eth2']) }),
  fc.record({
    connected: fc.array(
      fc.record({
        cidr: fc.constantFrom(
          '192.168.20.11/24',
          '192.168.20.12/24',
          '192.168.0.11/16',
          '192.168.20.13/32',
          'fd01::1/64',
        ),
        interfaceName: fc.constantFrom('eth0', 'eth1', 'eth2'),
        isUp: fc.boolean(),
      }),
      { maxLength: 3 },
    ),
  }),
  fc.record({
    config: fc.record(
      {
        vxlanPort: fc.constant(4789),
        vxlanVni: fc.constantFrom(4096, 5000),
        ipipMtu: fc.constantFrom(0, 1400),
        vxlanMtu: fc.constant(0),
        workloadRouteProtocol: fc.constantFrom(3, 80),
        nat,
        allowSources: fc.constant(true as const),
        serviceLoops: fc.record({
          action: fc.constantFrom('drop' as const, 'reject' as const),
          ranges: fc.subarray(['10.96.0.0/16', '192.168.0.0/16', 'fd00::/16', '10.244.1.0/24']),
        }),
      },
      { requiredKeys: ['vxlanPort', 'vxlanVni', 'ipipMtu', 'vxlanMtu', 'workloadRouteProtocol', 'nat'] },
    ),
  }),
  fc.record({
    node: fc.record(
      {
        name: fc.constantFrom('n1', 'n2'),
        ipv4: fc.constantFrom('192.168.10.11/24', '192.168.20.13/24', '192.168.10.11/16'),
        uplink: fc.constantFrom('eth0', 'eth1', 'lo'),
        ipv6: fc.constant('fd01::11/64'),
        vxlanTunnelAddress: fc.constantFrom('10.245.1.1', '10.245.3.1'),
        ipipTunnelAddress: fc.constant('10.244.1.1'),
        vxlanTunnelAddressV6: fc.constantFrom('fd00:2::7', 'fd00:3::1'),
      },
      { requiredKeys: ['name', 'ipv4', 'uplink'] },
    ),
  }),
)
export const call: fc.Arbitrary<Call> = fc.oneof(
  fc.record({ kind: fc.constant('learned' as const), key: prefix, value: orGone(route) }),
  fc.record({ kind: fc.constant('nextHop' as const), key: nodeAddress, value: orGone(nextHopWay) }),
  fc.record({
    kind: fc.constant('peerWay' as const),
    key: prefix,
    value: orGone(fc.record({ gateway: nodeAddress, bgpPeer: fc.constantFrom('tor', 'rr') })),
  }),
  fc.record({
    kind: fc.constant('remote' as const),
    key: fc.constantFrom('n1', 'n2', 'n3', 'n4'),
    value: orGone(remote),
  }),
  fc.record({ kind: fc.constant('pool' as const), key: fc.constantFrom('p1', 'p2', 'p3'), value: orGone(pool) }),
  fc.record({
    kind: fc.constant('ownBlock' as const),
    key: ownBlock,
    value: orGone(fc.constantFrom('plain' as const, 'subnet' as const)),
  }),
  fc.record({
    kind: fc.constant('lent' as const),
    key: prefix,
    value: orGone(fc.constantFrom('n2', 'n3', 'n5')),
  }),
  fc.record({ kind: fc.constant('endpoint' as const), key: fc.constantFrom('a', 'b', 'c'), value: orGone(pod) }),
  fc.record({ kind: fc.constant('sources' as const), key: fc.constantFrom('a', 'b', 'c'), value: orGone(sources) }),
  fc.record({ kind: fc.constant('floating' as const), key: floatingAddress, value: orGone(floating) }),
  fc.record({ kind: fc.constant('settings' as const), part: settings }),
)

export function make(told: Told, call: Call): void {
  if (call.kind === 'settings') told.configure(call.part)
  else if (call.kind === 'floating') told.set(call.kind, call.key, ofFamily(call.key, call.value))
  else told.set(call.kind, call.key, call.value)
}

/** A floating address leads to one of its own family. */
function ofFamily(address: string, value: FloatingAddress | undefined): FloatingAddress | undefined {
  return value?.at === 'here' && address.includes(':') ? { ...value, to: 'fd00:2::5' } : value
}

/** The same for calls that replace each other. */
export function nameOf(call: Call): string {
  return call.kind === 'settings' ? `settings ${Object.keys(call.part)}` : `${call.kind} ${call.key}`
}

/** What is left of calls when each item and each setting is told only as it is in the end. */
export function endOf(calls: readonly Call[]): Call[] {
  const items = new Map<string, Call>()
  let part: Partial<Settings> = {}
  for (const each of calls) {
    if (each.kind === 'settings') part = { ...part, ...each.part }
    else if (each.value === undefined) items.delete(nameOf(each))
    else items.set(nameOf(each), each)
  }
  return [{ kind: 'settings', part }, ...items.values()]
}
