// The incremental calculation against one that starts from nothing: whatever was told, in which order, in how many
// steps, the end is the same, and the differences lead there.
import test from 'ava'
import fc from 'fast-check'
import { Calculator } from '../../felix/calc/calculator.ts'
import type { Inputs, LearnedRoute, Pool, RemoteNode, Settings } from '../../felix/input.ts'
import { calculated, EMPTY, endpoint, FULL, learned, N3, type Told, tell, wantedBy } from './worlds.ts'

/** One thing that felix is told. */
type Call =
  | { [K in keyof Inputs]: { kind: K; key: string; value: Inputs[K] | undefined } }[keyof Inputs]
  | { kind: 'settings'; part: Partial<Settings> }

/** A small world where everything collides: addresses, names, prefixes inside each other. */
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
const pool = fc.record({ cidr: poolCidr, ipip: modes, vxlan: modes, disableBgpExport: fc.boolean() })
const route = fc.record({
  prefix,
  nextHop: nodeAddress,
  encapsulations: fc.constantFrom([], [7], [8], [7, 8], [99]),
}) satisfies fc.Arbitrary<LearnedRoute>
const remote = fc.record(
  {
    name: fc.constantFrom('n1', 'n2', 'n3', 'n4', 'n5'),
    address: nodeAddress,
    vxlanTunnelAddress: fc.constantFrom('10.245.2.1', '10.245.3.1', '10.245.4.1'),
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

/** `undefined`, that is "gone", in one of four. */
const orGone = <V>(value: fc.Arbitrary<V>) => fc.option(value, { nil: undefined, freq: 3 })
const settings: fc.Arbitrary<Partial<Settings>> = fc.oneof(
  fc.record({ capabilities: fc.record({ ipip: fc.boolean(), vxlan: fc.boolean() }) }),
  fc.record({ uplinkMtu: fc.constantFrom(1500, 9000) }),
  fc.record({
    config: fc.record({
      vxlanPort: fc.constant(4789),
      vxlanVni: fc.constantFrom(4096, 5000),
      ipipMtu: fc.constantFrom(0, 1400),
      vxlanMtu: fc.constant(0),
      workloadRouteProtocol: fc.constantFrom(3, 80),
    }),
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
      },
      { requiredKeys: ['name', 'ipv4', 'uplink'] },
    ),
  }),
)
const call: fc.Arbitrary<Call> = fc.oneof(
  fc.record({ kind: fc.constant('learned' as const), key: prefix, value: orGone(route) }),
  fc.record({
    kind: fc.constant('remote' as const),
    key: fc.constantFrom('n1', 'n2', 'n3', 'n4'),
    value: orGone(remote),
  }),
  fc.record({ kind: fc.constant('pool' as const), key: fc.constantFrom('p1', 'p2', 'p3'), value: orGone(pool) }),
  fc.record({ kind: fc.constant('ownBlock' as const), key: ownBlock, value: orGone(fc.constant(true as const)) }),
  fc.record({ kind: fc.constant('endpoint' as const), key: fc.constantFrom('a', 'b', 'c'), value: orGone(pod) }),
  fc.record({ kind: fc.constant('settings' as const), part: settings }),
)
/** Calls, and after which of them a step is taken. */
const walk = fc.array(fc.record({ call, step: fc.boolean() }), { maxLength: 60 })

test('after any walk the calculator wants what a fresh one wants that was told only the end', t => {
  fc.assert(
    fc.property(walk, steps => {
      const calculator = started()
      for (const { call, step } of steps) {
        make(calculator, call)
        if (step) calculator.step()
      }
      calculator.step()
      t.deepEqual(wantedBy(calculator), wantedBy(ended(steps.map(({ call }) => call))))
    }),
    { numRuns: 1000 },
  )
})

test('the order of what is told about different objects does not matter, nor saying it twice or all at once', t => {
  fc.assert(
    fc.property(fc.array(call, { maxLength: 40 }), calls => {
      const last = [...new Map(calls.map(each => [nameOf(each), each])).values()]
      const end = wantedBy(ended(last))
      for (const order of [last.toReversed(), [...last, ...last], last.flatMap(each => [each, each])]) {
        const stepwise = started()
        for (const each of order) {
          make(stepwise, each)
          stepwise.step()
        }
        stepwise.step()
        t.deepEqual(wantedBy(stepwise), end)
      }
    }),
    { numRuns: 300 },
  )
})

test('the differences of all steps, put into maps, are everything that is wanted, and none is without effect', t => {
  fc.assert(
    fc.property(walk, steps => {
      const calculator = started()
      const applied: Record<string, Record<string, unknown>> = {}
      const apply = () => {
        for (const [kind, changes] of Object.entries(calculator.step())) {
          const held = applied[kind] ?? {}
          applied[kind] = held
          for (const [key, value] of changes) {
            t.notDeepEqual(held[key], value)
            if (value === undefined) delete held[key]
            else held[key] = value
          }
        }
      }
      apply()
      for (const { call, step } of steps) {
        make(calculator, call)
        if (step) apply()
      }
      apply()
      t.deepEqual(applied, wantedBy(calculator))
    }),
    { numRuns: 300 },
  )
})

test('telling the same again changes nothing: no set is news and a step has no differences', t => {
  const calculator = calculated(FULL)
  for (const route of FULL.learned) t.false(calculator.set('learned', route.prefix, { ...route }))
  for (const node of FULL.remotes) t.false(calculator.set('remote', node.name, { ...node }))
  t.false(calculator.configure({ node: { ...FULL.node! }, capabilities: { ...FULL.capabilities } }))
  t.deepEqual(sizes(calculator), {})
})

test('one change touches what depends on it and nothing else', t => {
  const calculator = calculated(FULL)
  calculator.set('learned', '10.244.3.0/26', undefined)
  t.deepEqual(sizes(calculator), { route: 1 })
  calculator.set('endpoint', 'c', endpoint('c', '10.244.1.7'))
  t.deepEqual(sizes(calculator), { link: 1, route: 1, neighbour: 1, sysctl: 4 })
  calculator.set('remote', 'n3', { ...N3, vxlanTunnelMac: '66:00:00:00:00:33' })
  t.deepEqual(sizes(calculator), { neighbour: 1, fdb: 2 })
})

test('learned routes wait until pools are known, and the need for a tunnel does not', t => {
  const calculator = new Calculator({ routeProtocol: 80 })
  tell(calculator, { ...FULL, endpoints: [] })
  calculator.step()
  const prefixes = () => [...calculator.wanted().route.keys()].filter(dst => FULL.learned.some(l => l.prefix === dst))
  t.deepEqual(prefixes(), [])
  t.deepEqual(calculator.tunnelsNeeded(), { ipip: true, vxlan: true })
  calculator.useLearned()
  calculator.step()
  t.is(prefixes().length, FULL.learned.length - 1)
})

test('a pool that comes after the routes of its blocks takes them into its tunnel', t => {
  const calculator = calculated({ ...EMPTY, learned: [learned('10.244.3.0/26', N3.address)] })
  t.is(calculator.wanted().route.get('10.244.3.0/26'), undefined)
  calculator.set('pool', 'late', FULL.pools[0])
  calculator.step()
  t.is(calculator.wanted().route.get('10.244.3.0/26')?.interfaceName, 'tunl0')
})

test('a node without a VTEP has no entries and no VXLAN route; when it publishes one it gets both', t => {
  const { vxlanTunnelAddress: _, ...bare } = N3
  const calculator = calculated({ ...FULL, remotes: [bare] })
  t.is(calculator.wanted().route.get('10.245.3.0/26'), undefined)
  t.is(calculator.wanted().fdb.size, 0)
  calculator.set('remote', 'n3', N3)
  calculator.step()
  t.is(calculator.wanted().route.get('10.245.3.0/26')?.gateway, N3.vxlanTunnelAddress)
  t.is(calculator.wanted().fdb.size, 1)
})

test('when the node that had a shared VTEP address goes, the next by name gets it', t => {
  const other = { ...N3, name: 'n9', address: '192.168.20.19', vxlanTunnelMac: '66:00:00:00:00:09' }
  const calculator = calculated({ ...FULL, remotes: [other, N3] })
  const macs = () => [...calculator.wanted().fdb.values()].map(({ mac }) => mac)
  t.deepEqual(macs(), ['66:00:00:00:00:03'])
  calculator.set('remote', 'n3', undefined)
  calculator.step()
  t.deepEqual(macs(), ['66:00:00:00:00:09'])
  t.false([...calculator.wanted().condition.values()].some(({ reason }) => reason === 'DuplicateVtep'))
})

test('a condition that several routes cause stays until the last of them is gone', t => {
  const lacking = ['10.244.4.0/26', '10.244.4.64/26'].map(prefix => learned(prefix, '192.168.20.14', [8]))
  const calculator = calculated({ ...FULL, learned: lacking })
  const reasons = () => [...calculator.wanted().condition.values()].map(({ reason }) => reason)
  for (const left of [['IpipLackedThere'], []]) {
    t.is(calculator.set('learned', lacking[left.length]!.prefix, undefined), true)
    calculator.step()
    t.deepEqual(reasons(), left)
  }
})

function started(): Calculator {
  const calculator = new Calculator({ routeProtocol: 80 })
  calculator.configure({ node: EMPTY.node, config: EMPTY.config, capabilities: EMPTY.capabilities })
  calculator.useLearned()
  return calculator
}

/** A calculator that was told only what the calls end with, all at once. */
function ended(calls: readonly Call[]): Calculator {
  const items = new Map<string, Call>()
  let settings: Partial<Settings> = {}
  for (const each of calls) {
    if (each.kind === 'settings') settings = { ...settings, ...each.part }
    else if (each.value === undefined) items.delete(nameOf(each))
    else items.set(nameOf(each), each)
  }
  const calculator = started()
  make(calculator, { kind: 'settings', part: settings })
  for (const each of items.values()) make(calculator, each)
  calculator.step()
  return calculator
}

function make(told: Told, call: Call): void {
  if (call.kind === 'settings') told.configure(call.part)
  else told.set(call.kind, call.key, call.value)
}

function nameOf(call: Call): string {
  return call.kind === 'settings' ? `settings ${Object.keys(call.part)}` : `${call.kind} ${call.key}`
}

/** How many differences of each kind the next step has. */
function sizes(calculator: Calculator): Record<string, number> {
  const counts = Object.entries(calculator.step()).map(([kind, changes]) => [kind, changes.size] as const)
  return Object.fromEntries(counts.filter(([, size]) => size > 0))
}
