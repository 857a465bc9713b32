// Random policies of every kind that make sense, over few names and addresses, so that they are about the same packets.
import fc from 'fast-check'
import {
  aCalicoPolicy,
  aClusterPolicy,
  aNamespace,
  aNetworkPolicy,
  aNetworkSet,
  aNode,
  anAccount,
  aPod,
  aSlice,
  aTier,
} from './objects.ts'
import type { CalicoRule, CalicoSide, LabelSelector, WorldObject } from './reference/objects.ts'
import type { Packet } from './reference.ts'

const key = fc.constantFrom('app', 'env')
const value = fc.constantFrom('a', 'b')
const labels = fc.dictionary(key, value, { noNullPrototype: true })
const namespace = fc.constantFrom('red', 'blue')

const labelSelector: fc.Arbitrary<LabelSelector> = fc.record(
  {
    matchLabels: fc.dictionary(key, value, { maxKeys: 1, noNullPrototype: true }),
    matchExpressions: fc.array(
      fc.oneof(
        fc.record({
          operator: fc.constantFrom('In', 'NotIn'),
          key,
          values: fc.array(value, { minLength: 1, maxLength: 2 }),
        }),
        fc.record({ operator: fc.constantFrom('Exists', 'DoesNotExist'), key }),
      ),
      { maxLength: 2 },
    ),
  },
  { requiredKeys: [] },
)
const term = fc.oneof(
  fc.tuple(key, fc.constantFrom('==', '!=', 'contains'), value).map(([k, op, v]) => `${k} ${op} '${v}'`),
  key.map(k => `has(${k})`),
  key.map(k => `!has(${k})`),
  key.map(k => `${k} in {'a'}`),
  key.map(k => `${k} not in {'b', 'a'}`),
  fc.constant('all()'),
)
const expression = fc.oneof(
  fc.constant(''),
  term,
  fc.tuple(term, fc.constantFrom('&&', '||'), term).map(words => words.join(' ')),
  term.map(text => `!(${text})`),
)
const net = fc.constantFrom(
  '10.0.0.0/30',
  '10.0.0.4/30',
  '10.0.0.0/24',
  '192.0.2.0/25',
  'fd00::/126',
  'fd00::4',
  '::/0',
)
const nets = fc.array(net, { maxLength: 2 })
const few = <T>(of: fc.Arbitrary<T>) => fc.array(of, { minLength: 1, maxLength: 2 })

const kubernetesPort = fc.oneof(
  fc.record({ protocol: fc.constantFrom('TCP', 'UDP') }),
  fc.record({ port: fc.constantFrom<number | string>(80, 81, 'web') }),
  fc.constant({ port: 79, endPort: 81, protocol: 'UDP' }),
)
const kubernetesPeer = fc.oneof(
  fc.record({ podSelector: labelSelector, namespaceSelector: labelSelector }, { requiredKeys: ['podSelector'] }),
  fc.record({ namespaceSelector: labelSelector }),
  fc.record({ ipBlock: fc.record({ cidr: net, except: nets }, { requiredKeys: ['cidr'] }) }),
)
export const kubernetes = fc
  .record(
    {
      podSelector: labelSelector,
      policyTypes: few(fc.constantFrom('Ingress', 'Egress')),
      ingress: fc.array(
        fc.record(
          { from: fc.array(kubernetesPeer, { maxLength: 2 }), ports: fc.array(kubernetesPort, { maxLength: 2 }) },
          { requiredKeys: [] },
        ),
        { maxLength: 2 },
      ),
      egress: fc.array(
        fc.record(
          { to: fc.array(kubernetesPeer, { maxLength: 2 }), ports: fc.array(kubernetesPort, { maxLength: 2 }) },
          { requiredKeys: [] },
        ),
        { maxLength: 2 },
      ),
    },
    { requiredKeys: ['podSelector'] },
  )
  .chain(spec => namespace.map(of => aNetworkPolicy(`${of}/k`, spec)))

const calicoPort = fc.constantFrom<number | string>(80, '79:80', 'web', 'dns')
const accounts = fc.record({ names: fc.constantFrom([], ['robot']), selector: expression }, { requiredKeys: [] })
const services = fc.record({ name: fc.constantFrom('s', 'none'), namespace: fc.constant('red') })
const side: fc.Arbitrary<CalicoSide> = fc.record(
  {
    selector: expression,
    notSelector: expression,
    namespaceSelector: fc.oneof(expression, fc.constant('global()')),
    nets,
    notNets: nets,
    serviceAccounts: accounts,
  },
  { requiredKeys: [] },
)
const sparse = fc.oneof(fc.constant({}), side)
const ported = fc.tuple(sparse, fc.record({ ports: few(calicoPort), notPorts: few(calicoPort) }, { requiredKeys: [] }))
const action = fc.constantFrom('Allow', 'Deny', 'Pass', 'Log')
const calicoRule = (direction: 'ingress' | 'egress'): fc.Arbitrary<CalicoRule> =>
  fc.oneof(
    fc.record(
      { action, ipVersion: fc.constantFrom(4, 6), source: sparse, destination: sparse },
      { requiredKeys: ['action'] },
    ),
    fc.record({ action, notProtocol: fc.constantFrom<string | number>('UDP', 6), destination: sparse }),
    fc
      .tuple(action, fc.constantFrom<string | number>('TCP', 'UDP', 6), sparse, ported)
      .map(([does, protocol, source, [to, ports]]) => ({
        ...{ action: does, protocol, source, destination: { ...to, ...ports } },
      })),
    fc.record({
      action,
      protocol: fc.constantFrom('ICMP', 'ICMPv6'),
      icmp: fc.record({ type: fc.constantFrom(8, 128), code: fc.constantFrom(0, 1) }, { requiredKeys: ['type'] }),
    }),
    fc
      .record({ action, far: fc.record({ services }) })
      .map(({ far, ...rule }) => (direction === 'ingress' ? { ...rule, source: far } : { ...rule, destination: far })),
    fc.record({ action, destination: fc.record({ ports: few(fc.constantFrom('web', 'dns')) }) }),
  )
const calicoSpec = {
  tier: fc.constantFrom('default', 'early', 'nowhere', ''),
  order: fc.constantFrom(1, 1000, 2000),
  selector: expression,
  serviceAccountSelector: expression,
  types: few(fc.constantFrom('Ingress', 'Egress')),
  ingress: fc.array(calicoRule('ingress'), { maxLength: 3 }),
  egress: fc.array(calicoRule('egress'), { maxLength: 3 }),
}
export const calico = fc.oneof(
  fc.tuple(fc.record(calicoSpec, { requiredKeys: [] }), namespace).map(([spec, of]) => aCalicoPolicy(`${of}/c`, spec)),
  fc
    .record(
      { ...calicoSpec, namespaceSelector: expression, applyOnForward: fc.boolean(), doNotTrack: fc.boolean() },
      { requiredKeys: [] },
    )
    .chain(spec => fc.constantFrom('g', 'h').map(name => aCalicoPolicy(name, spec))),
)

const clusterPods = fc.record({ namespaceSelector: labelSelector, podSelector: labelSelector })
const clusterPeer = fc.oneof(fc.record({ namespaces: labelSelector }), fc.record({ pods: clusterPods }))
const clusterFar = fc.oneof(
  clusterPeer,
  fc.record({ networks: few(net.map(text => (text.includes('/') ? text : `${text}/128`))) }),
  fc.record({ nodes: labelSelector }),
  fc.record({ domainNames: fc.constantFrom(['example.com'], ['*.Example.com.']) }),
)
const clusterPort = fc.constantFrom(
  { destinationPort: { number: 80 } },
  { destinationPort: { range: { start: 79, end: 81 } } },
  {},
)
const clusterProtocol = fc.oneof(
  fc.record({ tcp: clusterPort }),
  fc.record({ udp: clusterPort }),
  fc.record({ destinationNamedPort: fc.constantFrom('web', 'dns') }),
  fc.constant({ new: {} }),
)
const clusterAction = fc.constantFrom('Accept', 'Deny', 'Pass')
const protocols = few(clusterProtocol)
export const cluster = fc
  .record(
    {
      tier: fc.constantFrom('Admin', 'Baseline'),
      priority: fc.constantFrom(0, 5),
      subject: clusterPeer,
      ingress: fc.array(
        fc.record({ action: clusterAction, from: few(clusterPeer), protocols }, { requiredKeys: ['action', 'from'] }),
        { maxLength: 2 },
      ),
      egress: fc.array(
        fc.record({ action: clusterAction, to: few(clusterFar), protocols }, { requiredKeys: ['action', 'to'] }),
        { maxLength: 2 },
      ),
    },
    { requiredKeys: ['tier', 'priority', 'subject'] },
  )
  .chain(spec => fc.constantFrom('n', 'm').map(name => aClusterPolicy(name, spec)))

const PORTS = [
  { name: 'web', containerPort: 80, protocol: 'TCP' },
  { name: 'dns', containerPort: 81, protocol: 'UDP' },
]
/** What every world has: pods, of which one has ended and one is in the network of its host, and what selectors choose. */
export const fixed = fc
  .record({ labels: fc.array(labels, { minLength: 8, maxLength: 8 }) })
  .map(({ labels: of }): WorldObject[] => [
    aNamespace('red', of[0]),
    aNamespace('blue', of[1]),
    anAccount('red/robot', of[2]),
    aNode('n1', ['10.1.0.1', 'fd01::1'], of[3]),
    aNode('n2', ['10.1.0.2'], of[4]),
    aPod('red/p', { labels: of[5], addresses: ['10.0.0.1', 'fd00::1'], ports: PORTS, node: 'n1', account: 'robot' }),
    aPod('red/q', { labels: of[6], addresses: ['10.0.0.5', 'fd00::5'], ports: PORTS, node: 'n2' }),
    aPod('blue/p', { labels: of[7], addresses: ['10.0.0.6', 'fd00::6'], ports: PORTS, node: 'n2', account: 'other' }),
    aPod('blue/host', { labels: of[5], addresses: ['10.1.0.2'], node: 'n2', hostNetwork: true }),
    aPod('blue/done', { labels: of[5], addresses: ['10.0.0.1'], node: 'n2', phase: 'Succeeded' }),
    aNetworkSet('red/set', { ...of[0], ...{ 'projectcalico.org/orchestrator': 'k8s' } }, ['192.0.2.0/26', 'fd02::/64']),
    aNetworkSet('everywhere', of[1]!, ['192.0.2.128/25']),
    aSlice('red/s', ['10.0.0.5'], [{ port: 80, protocol: 'TCP' }]),
    aTier('early', 5, 'Pass'),
  ])
export const answers = [{ pod: 'red/p', name: 'www.example.com', addresses: ['198.51.100.1'] }]

const pod = fc.constantFrom('red/p', 'red/q', 'blue/p')
const from = fc.oneof(
  pod.map(name => ({ pod: name })),
  fc.constantFrom({ node: 'n1' }, { address: '192.0.2.1' }, { address: '192.0.2.200' }, { address: '198.51.100.1' }),
)
const to = fc.oneof(
  pod.map(name => ({ pod: name })),
  fc.constantFrom({ address: '192.0.2.1' }, { address: '198.51.100.1' }, { address: '10.1.0.2' }),
)
export const packet = fc
  .record({
    from,
    to,
    family: fc.constantFrom(4 as const, 6 as const),
    kind: fc.constantFrom('tcp', 'udp', 'icmp'),
    destinationPort: fc.constantFrom(80, 81),
  })
  .filter(({ from: a, to: b, family }) => family === 4 || ('pod' in a && 'pod' in b))
  .map(
    ({ kind, destinationPort, ...ends }): Packet =>
      kind === 'icmp'
        ? { ...ends, protocol: ends.family === 4 ? 1 : 58, icmp: { type: ends.family === 4 ? 8 : 128, code: 0 } }
        : { ...ends, protocol: kind === 'tcp' ? 6 : 17, sourcePort: 40_000, destinationPort },
  )
