// The incremental calculation against one that starts from nothing: whatever was told, in which order, in how many
// steps, the end is the same, and the differences lead there.
import test from 'ava'
import fc from 'fast-check'
import { Calculator } from '../../felix/calc/calculator.ts'
import { type Call, call, endOf, make, nameOf } from './calls.ts'
import { CALCULATOR, calculated, EMPTY, endpoint, FULL, learned, N3, tell, wantedBy } from './worlds.ts'

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
  t.deepEqual(sizes(calculator), { link: 1, route: 1, neighbour: 1, sysctl: 8, nftElement: 3 })
  calculator.set('remote', 'n3', { ...N3, vxlanTunnelMac: '66:00:00:00:00:33' })
  t.deepEqual(sizes(calculator), { neighbour: 1, fdb: 2 })
})

test('learned routes wait until pools are known, and the need for a tunnel does not', t => {
  const calculator = new Calculator(CALCULATOR)
  tell(calculator, { ...FULL, endpoints: [] })
  calculator.step()
  const prefixes = () => [...calculator.wanted().route.keys()].filter(dst => FULL.learned.some(l => l.prefix === dst))
  t.deepEqual(prefixes(), [])
  t.like(calculator.tunnelsNeeded(), { ipip: true, vxlan: true })
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
  const calculator = new Calculator(CALCULATOR)
  calculator.configure({ node: EMPTY.node, config: EMPTY.config, capabilities: EMPTY.capabilities })
  calculator.useLearned()
  calculator.useFloating()
  return calculator
}

/** A calculator that was told only what the calls end with, all at once. */
function ended(calls: readonly Call[]): Calculator {
  const calculator = started()
  for (const each of endOf(calls)) make(calculator, each)
  calculator.step()
  return calculator
}

/** How many differences of each kind the next step has. */
function sizes(calculator: Calculator): Record<string, number> {
  const counts = Object.entries(calculator.step()).map(([kind, changes]) => [kind, changes.size] as const)
  return Object.fromEntries(counts.filter(([, size]) => size > 0))
}
