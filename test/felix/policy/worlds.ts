// What is told to the calculation of policy, at random: three pods of which two are here, a set of networks, a Service, a
// node, and policies over few words.
import fc from 'fast-check'
import type {
  DomainAnswer,
  LocalEndpoint,
  Policy,
  PolicyInputs,
  PolicyRule,
  Ports,
  RuleAction,
  RuleSide,
} from '../../../felix/policy/model.ts'
import { someLabels, someSelector } from './selectors.ts'

/** All that was told, by kind and key. */
export type Told = { [K in keyof PolicyInputs]: Map<string, PolicyInputs[K]> } & {
  local: Map<string, LocalEndpoint>
  answer: Map<string, DomainAnswer>
}

export function nothingTold(): Told {
  return {
    endpoint: new Map(),
    networkSet: new Map(),
    tier: new Map(),
    policy: new Map(),
    profile: new Map(),
    service: new Map(),
    node: new Map(),
    local: new Map(),
    answer: new Map(),
  }
}

/** The addresses of each pod, wherever it is. */
export const PODS: Readonly<Record<string, readonly string[]>> = {
  'ns/a': ['10.0.0.1', 'fd00::1'],
  'ns/b': ['10.0.0.2'],
  'ns/c': ['10.0.0.3', 'fd00::3'],
}
export const INTERFACES: Readonly<Record<string, string>> = { 'ns/a': 'cali1', 'ns/b': 'cali2' }
/** Addresses that are no pod's. */
export const FAR = ['10.1.0.9', '192.168.0.1', 'fd00:1::9'] as const
export const PROTOCOLS = [1, 6, 17, 47, 58, 132] as const
export const PORTS = [53, 80, 81, 443] as const

const NETS = [
  '10.0.0.0/30',
  '10.0.0.2/32',
  '10.1.0.0/16',
  '0.0.0.0/0',
  '10.0.0.0/13',
  'fd00::/64',
  'fd00::3/128',
  '::/0',
]
const maybe = <T>(of: fc.Arbitrary<T>, freq = 3) => fc.option(of, { nil: undefined, freq })
const seldom = <T>(of: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 6, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: of })
/** More than are a rule for each. */
const MANY_NETS = [
  Array.from({ length: 12 }, (_, i) => [`10.0.0.${2 * i + 1}/32`, `fd00::${2 * i + 1}/128`]).flat(),
  Array.from({ length: 12 }, (_, i) => [
    `10.${i}.0.${4 * i}/${20 + (i % 4) * 4}`,
    `fd00:${i}::${4 * i}/${i % 2 ? 127 : 30}`,
  ]).flat(),
  Array.from({ length: 12 }, (_, i) => [`10.0.0.${16 * i + 1}/31`, `fd00:${i}::/31`]).flat(),
  Array.from({ length: 12 }, (_, i) => [`10.${i}.0.0/${16 + i}`, `fd00:${i}::/${33 + i}`]).flat(),
]
const FIRSTS = [53, 80, ...Array.from({ length: 10 }, (_, i) => 1000 + 100 * i)]
const single = (first: number) => ({ first, last: first })
/** A list, a list with wide ranges beside it, and more wide ranges than are a rule for each. */
const MANY_RANGES = [
  FIRSTS.map(single),
  [...FIRSTS.map(single), { first: 200, last: 500 }, { first: 78, last: 79 }],
  FIRSTS.map(first => ({ first, last: first < 1000 ? first + 2 : first + 90 })),
  FIRSTS.map(first => ({ first, last: first < 81 ? first : first + 90 })),
]
const nets = fc.oneof(
  { weight: 6, arbitrary: fc.array(fc.constantFrom(...NETS), { minLength: 1, maxLength: 3 }) },
  { weight: 1, arbitrary: fc.constantFrom(...MANY_NETS) },
)
const protocol = fc.constantFrom(...PROTOCOLS)
const range = fc
  .tuple(fc.constantFrom(...PORTS), fc.constantFrom(0, 0, 1, 30))
  .map(([first, more]) => ({ first, last: first + more }))
const ports: fc.Arbitrary<Ports> = fc.record({
  ranges: fc.oneof(
    { weight: 6, arbitrary: fc.array(range, { maxLength: 3 }) },
    { weight: 1, arbitrary: fc.constantFrom(...MANY_RANGES) },
  ),
  names: fc.array(fc.constantFrom('web', 'dns'), { maxLength: 2 }),
})
const service = fc.constantFrom({ namespace: 'ns', name: 'one' }, { namespace: 'ns', name: 'none' })

const side: fc.Arbitrary<RuleSide> = fc.record({
  nets: seldom(nets),
  notNets: seldom(nets),
  selector: maybe(someSelector, 1),
  notSelector: seldom(someSelector),
  ports: seldom(ports),
  notPorts: seldom(ports),
  service: seldom(service),
  nodes: seldom(someSelector),
})
/** What a rule with ICMP asks for: mostly ICMP, but for an arbitrary protocol too. */
const ICMP: Readonly<Record<number, number>> = { 1: 1, 6: 6, 17: 1, 47: 58, 58: 58 }
const icmp = fc.record({ type: fc.constantFrom(8, 128), code: fc.constantFrom(0, 1, undefined) })
const rule: fc.Arbitrary<PolicyRule> = fc
  .record({
    action: fc.constantFrom<RuleAction>('allow', 'allow', 'deny', 'pass', 'log'),
    ipVersion: seldom(fc.constantFrom(4, 6)),
    protocol: maybe(protocol, 1),
    notProtocol: seldom(protocol),
    icmp: seldom(icmp),
    notIcmp: seldom(icmp),
    source: fc.oneof(fc.constant({}), side),
    destination: fc.oneof(
      { weight: 4, arbitrary: fc.constant({}) },
      { weight: 4, arbitrary: side },
      {
        weight: 1,
        arbitrary: fc.record({ domains: fc.constantFrom(['one.test'], ['*.test', 'x.one.test'], ['*.one.test']) }),
      },
    ),
    never: fc.constantFrom(undefined, undefined, undefined, undefined, true),
  })
  .map(of => bare(of.icmp !== undefined || of.notIcmp !== undefined ? { ...of, protocol: ICMP[of.protocol ?? 0] } : of))

const rules = fc.array(rule, { maxLength: 4 })
const policy: fc.Arbitrary<Omit<Policy, 'ref' | 'sortName'>> = fc
  .record({
    tier: fc.constantFrom('default', 'first', 'second', 'unknown'),
    order: fc.constantFrom(1, 2, Number.POSITIVE_INFINITY),
    selector: fc.oneof({ weight: 2, arbitrary: fc.constant('all()') }, { weight: 1, arbitrary: someSelector }),
    ingress: maybe(rules, 4),
    egress: maybe(rules, 4),
    hostStage: fc.constantFrom('normal', 'normal', 'normal', 'forward', 'preDNAT'),
    staged: fc.constantFrom(undefined, undefined, undefined, true),
  })
  .map(bare)

/** Without what is undefined: what is absent asks nothing. */
function bare<T extends object>(of: T): T {
  return Object.fromEntries(Object.entries(of).filter(([, value]) => value !== undefined)) as T
}

const endpoint = fc.constantFrom(...Object.keys(PODS)).chain(key =>
  fc
    .record({
      labels: someLabels,
      ports: fc.array(
        fc.record({
          name: fc.constantFrom('web', 'dns'),
          protocol: fc.constantFrom(6, 17),
          port: fc.constantFrom(...PORTS),
        }),
        { maxLength: 2 },
      ),
    })
    .map(value => ({ kind: 'endpoint', key, value: { kind: 'pod', addresses: PODS[key]!, ...value } })),
)
const local = fc.constantFrom(...Object.keys(INTERFACES)).chain(key =>
  fc.constantFrom(['p'], ['none', 'p'], []).map(profiles => {
    return { kind: 'local', key, value: { interfaceName: INTERFACES[key]!, profiles } }
  }),
)
const gone = fc.constantFrom(
  ...Object.keys(PODS).flatMap(key => ['endpoint', 'local'].map(kind => ({ kind, key, value: undefined }))),
  { kind: 'networkSet', key: 'n', value: undefined },
  { kind: 'service', key: 'ns/one', value: undefined },
  { kind: 'node', key: 'node', value: undefined },
  { kind: 'tier', key: 'first', value: undefined },
  { kind: 'answer', key: '1', value: undefined },
  { kind: 'profile', key: 'p', value: undefined },
  ...['p1', 'p2', 'p3'].map(key => ({ kind: 'policy', key, value: undefined })),
)

export type Change = { [K in keyof Told]: { kind: K; key: string; value: Value<Told[K]> | undefined } }[keyof Told]
type Value<M> = M extends Map<string, infer V> ? V : never

const keyed = (kind: string, key: fc.Arbitrary<string>, value: fc.Arbitrary<unknown>) =>
  fc.record({ kind: fc.constant(kind), key, value })

export const someChange = fc.oneof(
  { weight: 3, arbitrary: endpoint },
  { weight: 2, arbitrary: local },
  { weight: 2, arbitrary: gone },
  {
    weight: 5,
    arbitrary: fc.tuple(fc.constantFrom('p1', 'p2', 'p3', 'p4'), policy).map(([name, of]) => {
      const ref = { kind: 'GlobalNetworkPolicy', name } as const
      return { kind: 'policy', key: name, value: { ref, sortName: `${name}//GlobalNetworkPolicy`, ...of } }
    }),
  },
  keyed(
    'tier',
    fc.constantFrom('default', 'first', 'second'),
    fc.record({
      name: fc.constant(''),
      order: fc.constantFrom(1, 2, Number.POSITIVE_INFINITY),
      defaultAction: fc.constantFrom('deny', 'pass'),
    }),
  ),
  keyed(
    'profile',
    fc.constant('p'),
    fc.record({ ingress: fc.array(rule, { maxLength: 2 }), egress: fc.array(rule, { maxLength: 2 }) }),
  ),
  keyed(
    'answer',
    fc.constantFrom('1', '2'),
    fc.record({
      from: fc.constantFrom(...Object.keys(INTERFACES).map(key => PODS[key]!)),
      name: fc.constantFrom('one.test', 'x.one.test', 'other'),
      addresses: fc.subarray(['10.1.0.9', '10.0.0.3', 'fd00:1::9', '192.168.0.1']),
      expired: fc.constantFrom([], ['192.168.0.1']),
    }),
  ),
  keyed('networkSet', fc.constant('n'), fc.record({ labels: someLabels, nets })),
  keyed(
    'node',
    fc.constant('node'),
    fc.record({ labels: someLabels, addresses: fc.constantFrom(['192.168.0.1'], ['192.168.0.1', 'fd00:1::9']) }),
  ),
  keyed(
    'service',
    fc.constant('ns/one'),
    fc.record({
      addresses: fc.array(
        fc.record({
          address: fc.constantFrom('10.0.0.1', '10.0.0.3', 'fd00::3'),
          protocol: fc.constantFrom(6, 17),
          port: fc.constantFrom(...PORTS),
        }),
        { maxLength: 3 },
      ),
    }),
  ),
) as fc.Arbitrary<Change>
