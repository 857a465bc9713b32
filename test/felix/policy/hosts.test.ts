// Host endpoints by differences: what stands is what follows from everything at once, and nothing stands without one.
import test from 'ava'
import fc from 'fast-check'
import { PolicyCalculator } from '../../../felix/policy/calculator.ts'
import type { HostSettings, LocalHost, PolicyEndpoint } from '../../../felix/policy/model.ts'
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
