// Packets meet in the rules what the model says of them, and the rules are the same whatever led to them.
import test from 'ava'
import fc from 'fast-check'
import { PolicyCalculator } from '../../../felix/policy/calculator.ts'
import type { PolicyRule } from '../../../felix/policy/model.ts'
import { familyOf } from '../../../lib/ip.ts'
import { interpreter } from '../../policy/interpreter.ts'
import { octetsOf } from '../../policy/packets.ts'
import { KeptTable, TABLE } from './kept-table.ts'
import { allows, type Flow } from './oracle.ts'
import { type Change, FAR, INTERFACES, nothingTold, PODS, PORTS, PROTOCOLS, someChange, type Told } from './worlds.ts'

function tell(calculator: PolicyCalculator, told: Told, { kind, key, value }: Change): void {
  if (value === undefined) told[kind].delete(key)
  else (told[kind] as Map<string, unknown>).set(key, value)
  if (kind === 'local') calculator.setLocal(key, value)
  else if (kind === 'answer') calculator.setAnswer(key, value)
  else calculator.set(kind, key, value as never)
}

/** The table of a calculation that is told everything at once, the last first. */
function fromNothing(told: Told, ownSets?: number): KeptTable {
  const calculator = new PolicyCalculator(TABLE, ownSets)
  const kept = new KeptTable()
  const changes = Object.entries(told).flatMap(([kind, items]) =>
    [...items].map(([key, value]) => ({ kind, key, value }) as Change),
  )
  for (const change of changes.reverse()) tell(calculator, nothingTold(), change)
  kept.apply(calculator.step())
  return kept
}

const HOST = '192.168.0.1'
const pod = fc.constantFrom(...Object.keys(PODS))
const far = fc.constantFrom(...FAR)
type End = { pod: string } | { address: string }
const end: fc.Arbitrary<End> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ pod }) },
  { weight: 1, arbitrary: fc.record({ address: far }) },
)
const packet = fc.record({
  from: end,
  to: end,
  family: fc.constantFrom('ipv4', 'ipv4', 'ipv6'),
  protocol: fc.constantFrom(...PROTOCOLS, 6, 6, 17),
  sourcePort: fc.constantFrom(...PORTS),
  destinationPort: fc.constantFrom(...PORTS),
  icmp: fc.record({ type: fc.constantFrom(8, 128, 135), code: fc.constantFrom(0, 1) }),
})

/** What the two ends must say, and what the rules do; undefined where there is no such packet. */
function judged(
  told: Told,
  run: ReturnType<typeof interpreter>,
  of: typeof packet extends fc.Arbitrary<infer P> ? P : never,
) {
  const addressOf = (each: End) =>
    'address' in each
      ? familyOf(each.address) === of.family
        ? each.address
        : undefined
      : PODS[each.pod]!.find(address => familyOf(address) === of.family)
  const [from, to] = [addressOf(of.from), addressOf(of.to)]
  if (from === undefined || to === undefined || from === to) return undefined
  const isIcmp = of.protocol === 1 || of.protocol === 58
  const hasPorts = [6, 17, 132].includes(of.protocol)
  const flow: Flow = { from, to, protocol: of.protocol }
  if (isIcmp) flow.icmp = of.icmp
  if (hasPorts) [flow.sourcePort, flow.destinationPort] = [of.sourcePort, of.destinationPort]
  // 192.168.0.1 is this host
  const interfaceOf = (each: End, address: string) =>
    'pod' in each ? (INTERFACES[each.pod] ?? 'eth0') : address === HOST ? undefined : 'eth0'
  const [iif, oif] = [interfaceOf(of.from, from), interfaceOf(of.to, to)]
  const isSolicitation = of.protocol === 58 && of.family === 'ipv6' && of.icmp.type === 135
  if (iif === undefined && oif === undefined) return undefined
  const expected =
    iif === undefined ||
    ((iif === 'eth0' ||
      (oif === undefined && isSolicitation) ||
      allows(told, (of.from as { pod: string }).pod, 'egress', flow)) &&
      (oif === undefined || oif === 'eth0' || allows(told, (of.to as { pod: string }).pod, 'ingress', flow)))
  const { verdict, rules } = run({ bytes: octetsOf(flow), iif, oif, state: 'new' })
  return { flow, expected, found: verdict === 'accept', rules }
}

test('rules let through what the model allows and nothing else, and are the same from whatever walk', t => {
  const seen = { allowed: 0, denied: 0 }
  fc.assert(
    fc.property(
      fc.array(fc.tuple(someChange, fc.constantFrom('go on', 'go on', 'step', 'twice')), {
        minLength: 5,
        maxLength: 40,
      }),
      fc.array(packet, { minLength: 30, maxLength: 30 }),
      fc.constantFrom(undefined, 0, 1, 2),
      (walk, packets, ownSets) => {
        const calculator = new PolicyCalculator(TABLE, ownSets)
        const kept = new KeptTable()
        const told = nothingTold()
        for (const [change, then] of walk) {
          tell(calculator, told, change)
          if (then === 'twice') tell(calculator, told, change)
          if (then === 'step') kept.apply(calculator.step())
        }
        kept.apply(calculator.step())
        t.deepEqual(kept.shown(), fromNothing(told, ownSets).shown())
        const run = interpreter([kept.table()])
        for (const each of packets) {
          const of = judged(told, run, each)
          if (of === undefined) continue
          seen[of.expected ? 'allowed' : 'denied']++
          if (of.expected !== of.found)
            t.fail(
              `${JSON.stringify(of.flow)} found ${of.found}: ${JSON.stringify(of.rules.map(({ rule }) => rule.comment))}`,
            )
        }
      },
    ),
    { numRuns: 300 },
  )
  t.log(seen)
  t.true(seen.allowed > 300 && seen.denied > 100)
})

const icmp = (protocol: number, type: number, code = 0): Flow => {
  const [from, to] = protocol === 58 ? ['fd00:1::9', 'fd00::1'] : ['10.1.0.9', '10.0.0.1']
  return { from: from!, to: to!, protocol, icmp: { type, code } }
}
const ICMP_PACKETS: Record<string, Flow> = {
  'echo request': icmp(1, 8),
  'other code': icmp(1, 8, 1),
  'other type': icmp(1, 0),
  'same of IPv6': icmp(58, 8),
  TCP: { from: '10.1.0.9', to: '10.0.0.1', protocol: 6, sourcePort: 80, destinationPort: 80 },
}
const ICMP_RULES: readonly [what: string, rule: Partial<PolicyRule>, allowed: string[]][] = [
  ['type of ICMP', { protocol: 1, icmp: { type: 8 } }, ['echo request', 'other code']],
  ['type and code', { protocol: 1, icmp: { type: 8, code: 1 } }, ['other code']],
  ['type of any ICMP', { icmp: { type: 8 } }, ['echo request', 'other code', 'same of IPv6']],
  ['type of ICMP for IPv6', { protocol: 58, icmp: { type: 8 } }, ['same of IPv6']],
  ['not a type', { protocol: 1, notIcmp: { type: 8 } }, ['other type']],
  ['not a type with a code', { protocol: 1, notIcmp: { type: 8, code: 0 } }, ['other code', 'other type']],
  ['not a type of any', { notIcmp: { type: 8 } }, ['other type', 'TCP']],
  ['not a type, of TCP', { protocol: 6, notIcmp: { type: 8 } }, ['TCP']],
  ['a type, of TCP', { protocol: 6, icmp: { type: 8 } }, []],
]

for (const [what, rule, allowed] of ICMP_RULES)
  test(`ICMP is asked of the packet's own family: ${what}`, t => {
    const calculator = new PolicyCalculator(TABLE)
    const labels = {}
    calculator.set('endpoint', 'ns/a', { kind: 'pod', labels, addresses: PODS['ns/a']!, ports: [] })
    calculator.setLocal('ns/a', { interfaceName: 'cali1', profiles: [] })
    calculator.set('policy', 'p', {
      ref: { kind: 'GlobalNetworkPolicy', name: 'p' },
      tier: 'default',
      order: 1,
      sortName: 'p//GlobalNetworkPolicy',
      selector: 'all()',
      ingress: [{ action: 'allow', source: {}, destination: {}, ...rule }],
      hostStage: 'normal',
    })
    const kept = new KeptTable()
    kept.apply(calculator.step())
    const run = interpreter([kept.table()])
    const passed = Object.entries(ICMP_PACKETS).filter(
      ([, flow]) => run({ bytes: octetsOf(flow), iif: 'eth0', oif: 'cali1', state: 'new' }).verdict === 'accept',
    )
    t.deepEqual(
      passed.map(([name]) => name),
      allowed,
    )
  })

test('a pod is closed until the cluster tells its labels, and while another endpoint claims its interface', t => {
  const calculator = new PolicyCalculator(TABLE)
  const kept = new KeptTable()
  const step = () => {
    kept.apply(calculator.step())
    return [...(kept.interfaces.get('to_pod')?.keys() ?? [])]
  }
  const pod = { kind: 'pod', labels: {}, addresses: PODS['ns/a']!, ports: [] } as const
  calculator.setLocal('ns/a', { interfaceName: 'cali1', profiles: [] })
  t.deepEqual(step(), [])
  calculator.set('endpoint', 'ns/a', pod)
  t.deepEqual(step(), ['cali1'])
  calculator.set('endpoint', 'ns/b', pod)
  calculator.setLocal('ns/b', { interfaceName: 'cali1', profiles: [] })
  t.deepEqual(step(), [])
  calculator.setLocal('ns/a', undefined)
  t.deepEqual(step(), ['cali1'])
})
