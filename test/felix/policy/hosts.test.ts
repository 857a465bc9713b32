// Host endpoints by differences: what stands is what follows from everything at once, and nothing stands without one.
import test from 'ava'
import fc from 'fast-check'
import { PolicyCalculator } from '../../../felix/policy/calculator.ts'
import type { HostSettings, LocalHost, PolicyEndpoint } from '../../../felix/policy/model.ts'
import { interpreter } from '../../policy/interpreter.ts'
import { octetsOf } from '../../policy/packets.ts'
import { KeptTable, TABLE } from './kept-table.ts'
import { someLabels } from './selectors.ts'
import { type Change, someChange } from './worlds.ts'

const HOSTS = ['h1', 'h2', 'h3'] as const
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined, freq: 4 })
const host = fc.constantFrom(...HOSTS)
/** No interface has two. */
const INTERFACES: Readonly<Record<string, readonly string[][]>> = {
  h1: [['eth0'], []],
  h2: [['*']],
  h3: [['eth1', 'eth2'], ['eth1']],
}

type HostChange =
  | { kind: 'host'; key: string; value: LocalHost | undefined }
  | { kind: 'labels'; key: string; value: PolicyEndpoint | undefined }
  | { kind: 'rules'; key: ''; value: HostSettings }
const hostChange: fc.Arbitrary<HostChange> = fc.oneof(
  host.chain(key =>
    maybe(
      fc.record({
        interfaces: fc.constantFrom(...INTERFACES[key]!),
        profiles: fc.constantFrom([], ['kns.ns'], ['none']),
      }),
    ).map(value => ({ kind: 'host' as const, key, value })),
  ),
  host.chain(key =>
    maybe(someLabels.map((labels): PolicyEndpoint => ({ kind: 'host', labels, addresses: [], ports: [] }))).map(
      value => ({
        kind: 'labels' as const,
        key,
        value,
      }),
    ),
  ),
  fc
    .record({
      inbound: fc.constantFrom([], [{ protocol: 6, port: 22 }], [{ protocol: 17, port: 68, net: '10.0.0.0/8' }]),
      outbound: fc.constantFrom([], [{ protocol: 6, port: 179 }]),
      podsToHost: fc.constantFrom('accept', 'drop'),
    })
    .map(value => ({ kind: 'rules' as const, key: '' as const, value })),
)

function tell(calculator: PolicyCalculator, change: Change | HostChange): void {
  const { kind, key } = change
  if (kind === 'rules')
    calculator.setHostRules({
      ...change.value,
      interfacePrefix: 'cali',
      tunnels: { ipip: true, vxlan: true, vxlanPort: 4789 },
    })
  else if (kind === 'host') calculator.setLocal(key, change.value)
  else if (kind === 'labels') calculator.set('endpoint', key, change.value)
  else if (kind === 'local') calculator.setLocal(key, change.value)
  else if (kind === 'answer') calculator.setAnswer(key, change.value)
  else calculator.set(kind, key, change.value as never)
}

test('host endpoints lead to the same chains and maps from whatever walk, and to none without them', t => {
  let stood = 0
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.oneof(someChange, hostChange), fc.constantFrom('go on', 'step', 'twice')), {
        minLength: 5,
        maxLength: 40,
      }),
      walk => {
        const calculator = new PolicyCalculator(TABLE)
        const kept = new KeptTable()
        const told = new Map<string, Change | HostChange>()
        for (const [change, then] of walk) {
          // the labels of a host and that it is here are told under one key
          told.set(`${change.kind} ${change.key}`, change)
          tell(calculator, change)
          if (then === 'twice') tell(calculator, change)
          if (then === 'step') kept.apply(calculator.step())
        }
        kept.apply(calculator.step())
        const fresh = new PolicyCalculator(TABLE)
        const other = new KeptTable()
        for (const change of [...told.values()].reverse()) if (change.value !== undefined) tell(fresh, change)
        other.apply(fresh.step())
        t.deepEqual(kept.shown(), other.shown())
        if (kept.chains.has('host_input')) stood++
        for (const key of HOSTS) tell(calculator, { kind: 'host', key, value: undefined })
        kept.apply(calculator.step())
        t.deepEqual(
          [...kept.chains.keys(), ...kept.sets.keys()].filter(name => name.includes('host') && name !== 'pods_to_host'),
          [],
        )
      },
    ),
    { numRuns: 200 },
  )
  t.log(`host endpoints stood ${stood} times`)
  t.true(stood > 20)
})

test('tunnels between nodes and ports that stay open pass a host endpoint that allows nothing, and no others do', t => {
  const calculator = new PolicyCalculator(TABLE)
  const address = { kind: 'pod', labels: {}, addresses: ['10.0.0.1'], ports: [] } as const
  calculator.set('endpoint', 'ns/a', address)
  calculator.set('node', 'n2', { labels: {}, addresses: ['192.0.2.2'] })
  calculator.set('endpoint', 'h1', { kind: 'host', labels: {}, addresses: [], ports: [] })
  calculator.setLocal('h1', { interfaces: ['eth0'], profiles: [] })
  const tunnels = { ipip: true, vxlan: true, vxlanPort: 4789 }
  const inbound = [{ protocol: 6, port: 22, net: '198.51.100.0/24' }]
  const outbound = [{ protocol: 17, port: 53 }]
  calculator.setHostRules({ inbound, outbound, podsToHost: 'accept', interfacePrefix: 'cali', tunnels })
  const kept = new KeptTable()
  kept.apply(calculator.step())
  const run = interpreter([kept.table()])
  const HOST = '192.0.2.1'
  const passes = (way: 'in' | 'out', far: string, protocol: number, destinationPort?: number) => {
    const [from, to] = way === 'in' ? [far, HOST] : [HOST, far]
    const bytes = octetsOf({ from, to, protocol, sourcePort: 40_000, ...(destinationPort && { destinationPort }) })
    return run({ bytes, ...(way === 'in' ? { iif: 'eth0' } : { oif: 'eth0' }), status: 0 }).verdict === 'accept'
  }
  for (const way of ['in', 'out'] as const) {
    t.deepEqual([passes(way, '192.0.2.2', 17, 4789), passes(way, '192.0.2.3', 17, 4789)], [true, false], `VXLAN ${way}`)
    t.deepEqual([passes(way, '192.0.2.2', 4), passes(way, '192.0.2.3', 4)], [true, false], `IP-in-IP ${way}`)
    t.false(passes(way, '192.0.2.2', 17, 4790))
  }
  t.deepEqual([passes('in', '198.51.100.9', 6, 22), passes('in', '192.0.2.2', 6, 22)], [true, false])
  t.deepEqual([passes('out', '192.0.2.2', 17, 53), passes('out', '198.51.100.9', 6, 22)], [true, false])
})

test('echoes of path probes pass where a host endpoint denies all that is forwarded, and nothing else of their interface does', t => {
  const calculator = new PolicyCalculator(TABLE)
  calculator.set('endpoint', 'h1', { kind: 'host', labels: {}, addresses: [], ports: [] })
  calculator.setLocal('h1', { interfaces: ['eth0'], profiles: [] })
  const deny = [{ action: 'deny' as const, source: {}, destination: {} }]
  calculator.set('tier', 'default', { name: 'default', order: 1, defaultAction: 'deny' })
  calculator.set('policy', 'GlobalNetworkPolicy deny', {
    ...{ ref: { kind: 'GlobalNetworkPolicy', name: 'deny' }, tier: 'default', order: 1, sortName: 'deny' },
    ...{ selector: 'all()', ingress: deny, egress: deny, hostStage: 'forward' },
  })
  const tunnels = { ipip: false, vxlan: false, vxlanPort: 4789 }
  calculator.setHostRules({ inbound: [], outbound: [], podsToHost: 'accept', interfacePrefix: 'cali', tunnels })
  const kept = new KeptTable()
  kept.apply(calculator.step())
  const run = interpreter([kept.table()])
  const passes = (iif: string, oif: string, protocol: number, type?: number) => {
    const bytes = octetsOf({
      from: '10.0.0.1',
      to: '10.0.1.1',
      protocol,
      ...(type !== undefined && { icmp: { type, code: 0 } }),
    })
    return run({ bytes, iif, oif, status: 0 }).verdict === 'accept'
  }
  t.true(passes('eth0', 'caliprobe', 1, 8))
  t.true(passes('caliprobe', 'eth0', 1, 8))
  t.false(passes('eth0', 'eth1', 1, 8), 'what is forwarded else is denied')
  t.false(passes('eth0', 'caliprobe', 6), 'no TCP')
  t.false(passes('caliprobe', 'eth0', 1, 13), 'no other ICMP')
})
