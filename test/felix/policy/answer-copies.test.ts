// The chains that copy answers are those that the policies of this node and the resolvers lead to, whatever came first.
import test from 'ava'
import fc from 'fast-check'
import { PolicyCalculator } from '../../../felix/policy/calculator.ts'
import type { Policy, Resolvers } from '../../../felix/policy/model.ts'
import { KeptTable, TABLE } from './kept-table.ts'

const policy = (egress: Policy['egress']): Policy => ({
  ref: { kind: 'ClusterNetworkPolicy', name: 'p' },
  ...({ tier: 'default', order: 1, sortName: 'p', selector: "app == 'web'", hostStage: 'normal' } as const),
  ...(egress && { egress }),
})
const byName = (...domains: string[]) => policy([{ action: 'allow', source: {}, destination: { domains } }])
const open = policy([{ action: 'allow', source: {}, destination: {} }])
const DNS = { namespace: 'kube-system', name: 'kube-dns', port: 53 }
const RESOLVERS: readonly Resolvers[] = [
  { services: [], addresses: [] },
  { services: [DNS], addresses: [] },
  { services: [DNS], addresses: [{ address: '169.254.20.10', port: 53 }] },
  { services: [], addresses: [{ address: 'fd00::a', port: 5353 }] },
]

type State = {
  policies: readonly (Policy | undefined)[]
  labels: readonly string[]
  resolvers: Resolvers
  service: readonly string[]
}

function tell(calculator: PolicyCalculator, { policies, labels, resolvers, service }: State): void {
  for (const [i, value] of policies.entries()) calculator.set('policy', `${i}`, value && { ...value, sortName: `${i}` })
  for (const [i, app] of labels.entries()) {
    const addresses = [`10.0.0.${i + 1}`, `fd00::${i + 1}`]
    calculator.set('endpoint', `${i}`, { kind: 'pod', labels: { app }, addresses, ports: [] })
    calculator.setLocal(`${i}`, { interfaceName: `cali${i}`, profiles: [] })
  }
  calculator.set('service', 'kube-system/kube-dns', {
    addresses: service.map(address => ({ address, protocol: 17, port: 53 })),
  })
  calculator.setResolvers(resolvers)
}

const state: fc.Arbitrary<State> = fc.record({
  policies: fc.array(fc.constantFrom(undefined, open, byName('a.test'), byName('*.b.test', 'a.test')), {
    minLength: 2,
    maxLength: 2,
  }),
  labels: fc.array(fc.constantFrom('web', 'db'), { minLength: 2, maxLength: 2 }),
  resolvers: fc.constantFrom(...RESOLVERS),
  service: fc.subarray(['10.0.0.9', 'fd00::9']),
})

test('answers are copied to those pods alone that policies ask for names, by the same rules from whatever walk', t => {
  let asked = 0
  fc.assert(
    fc.property(fc.array(state, { minLength: 1, maxLength: 5 }), states => {
      const calculator = new PolicyCalculator(TABLE)
      const kept = new KeptTable()
      for (const each of states) {
        tell(calculator, each)
        kept.apply(calculator.step())
      }
      const last = states.at(-1)!
      const other = new PolicyCalculator(TABLE)
      const fresh = new KeptTable()
      tell(other, last)
      fresh.apply(other.step())
      t.deepEqual(kept.shown(), fresh.shown())
      const isByName = last.policies.some(each => each?.egress?.[0]?.destination.domains !== undefined)
      const told = last.labels.flatMap((app, i) => (app === 'web' && isByName ? [`cali${i}`] : []))
      t.deepEqual([...(kept.elements.get('told_pods') ?? [])].toSorted(), told)
      t.is(kept.chains.has('copy_answers'), told.length > 0)
      for (const i of [0, 1]) t.is(calculator.namesAsked(`cali${i}`) !== undefined, told.includes(`cali${i}`))
      asked += told.length
    }),
    { numRuns: 60 },
  )
  t.true(asked > 20)
})

test('the names that a pod is asked for are those of all its policies', t => {
  const calculator = new PolicyCalculator(TABLE)
  const [resolvers, service] = [RESOLVERS[1]!, ['10.0.0.9']]
  tell(calculator, { policies: [byName('a.test'), byName('*.b.test')], labels: ['web', 'db'], resolvers, service })
  calculator.step()
  const names = ['a.test', 'x.a.test', 'x.b.test', 'b.test']
  t.deepEqual(
    names.filter(name => calculator.namesAsked('cali0')!.match(name)),
    ['a.test', 'x.b.test'],
  )
})

test('a connection to an address that a pod was told once is not cut when its time is over, and nobody looks', t => {
  const calculator = new PolicyCalculator(TABLE)
  tell(calculator, { policies: [byName('*.a.test')], labels: ['web'], resolvers: RESOLVERS[0]!, service: [] })
  const told = { from: ['10.0.0.1'], name: 'x.a.test' }
  calculator.setAnswer('x', { ...told, addresses: ['192.0.2.1'], expired: [] })
  calculator.step()
  calculator.setAnswer('x', { ...told, addresses: [], expired: ['192.0.2.1'] })
  t.deepEqual([...calculator.step().narrowed], [])
  const verdict = (destination: string) =>
    calculator.verdicts.verdict('0', 'egress', { source: '10.0.0.1', destination, protocol: 17 })
  t.is(verdict('192.0.2.1'), 'allow')
  t.is(verdict('192.0.2.2'), 'deny')
  const first = { source: '10.0.0.1', destination: '192.0.2.1', protocol: 17 }
  const { decision } = calculator.verdicts.decision('cali0', 'egress', first)
  t.is(decision.action, 'deny', 'a new connection has to ask for the name again')
  // another name than the policy has now
  calculator.set('policy', '0', { ...byName('*.b.test'), sortName: '0' })
  t.deepEqual([...calculator.step().narrowed], ['0'])
  t.is(verdict('192.0.2.1'), 'deny')
  calculator.setAnswer('x', undefined)
  t.deepEqual([...calculator.step().narrowed], [])
})
