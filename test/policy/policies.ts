// Arbitrary policies of every kind, over few labels, ports and networks, so that they are often about the packets of
// worlds.ts: empty selectors and lists, ranges that touch, networks with holes, both families. All are such as their API
// takes, but for what `unknown` asks for.
import fc from 'fast-check'
import { aCalicoPolicy, aClusterPolicy, aNetworkPolicy, aStagedPolicy, bare } from './objects.ts'
import type {
  CalicoPolicySpec,
  CalicoRule,
  CalicoSide,
  ClusterNetworkPolicy,
  ClusterPeer,
  ClusterProtocol,
  ClusterRule,
  ClusterSubject,
  LabelSelector,
  NetworkPolicySpec,
  PolicyPeer,
  PolicyPort,
  WorldObject,
} from './reference/objects.ts'

export const NAMESPACES = ['x', 'y', 'z'] as const
export const TIERS = { early: 10, late: 2_000_000, unordered: undefined } as const

/** Labels of pods and sets, and of namespaces, nodes and accounts. */
export const POD_LABELS = { role: ['web', 'db'], app: ['shop', 'web'] } as const
export const NAMESPACE_LABELS = { team: ['blue', 'red'], env: ['prod', 'test'] } as const
export const NODE_LABELS = { zone: ['a', 'b'] } as const
export const ACCOUNT_LABELS = { trust: ['high', 'low'] } as const

/** Networks that hold some of the addresses of worlds.ts; some have bits of hosts. */
const NETS_4 = [
  '10.0.0.0/30',
  '10.0.0.4/30',
  '10.0.0.6/29',
  '10.0.0.0/16',
  '10.0.0.3/32',
  '0.0.0.0/0',
  '198.51.100.0/25',
]
const NETS_4_MORE = ['198.51.100.128/25', '192.0.2.1/32', '192.0.2.0/24', '0.0.0.0/1', '128.0.0.0/1']
const NETS_6 = ['fd00::/126', 'fd00::4/126', 'fd00::3/128', 'fd00::7/16', '::/0', '2001:db8:5::/48', '2001:db8::1/128']
/** Of these Calico takes none in a rule. */
const HOST_BITS = ['10.0.0.6/29', 'fd00::7/16']
export const NETS = [...NETS_4, ...NETS_4_MORE, ...NETS_6]
export const PORT_NAMES = ['web', 'dns', 'assoc'] as const
/** Numbers at the ends of the ranges below, and beside them. */
export const PORTS = [53, 79, 80, 81, 443, 1000, 1001, 1002, 1003, 8080, 1, 65_535] as const
const RANGES = [
  [80, 81],
  [81, 443],
  [1000, 1001],
  [1002, 1003],
  [1, 79],
  [1, 65_535],
  [8080, 8080],
] as const

const some = <T>(values: readonly T[], { least = 1, most = 2 } = {}): fc.Arbitrary<T[]> =>
  fc.uniqueArray(fc.constantFrom(...values), {
    minLength: least,
    maxLength: most,
    selector: value => JSON.stringify(value),
  })
/** In so many of a hundred values. */
const maybe = <T>(arbitrary: fc.Arbitrary<T>, percent = 60): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: percent, arbitrary }, { weight: 100 - percent, arbitrary: fc.constant(undefined) })
/** Lists of every length to `most` alike; else most of them would be short. */
const list = <T>(arbitrary: fc.Arbitrary<T>, most: number, least = 0) =>
  fc.array(arbitrary, { minLength: least, maxLength: most, size: 'max' })

type Words = Readonly<Record<string, readonly string[]>>

export function labelSelectors(words: Words): fc.Arbitrary<LabelSelector> {
  const keys = Object.keys(words)
  const key = fc.constantFrom(...keys)
  const pair = key.chain(of => fc.tuple(fc.constant(of), fc.constantFrom(...words[of]!)))
  const expression = key.chain(of =>
    fc.oneof(
      fc.record({ key: fc.constant(of), operator: fc.constantFrom('In', 'NotIn'), values: some(words[of]!) }),
      fc.record({ key: fc.constantFrom(of, 'missing'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
    ),
  )
  return fc.oneof(
    { weight: 2, arbitrary: fc.constant({}) },
    { weight: 4, arbitrary: pair.map(([of, value]) => ({ matchLabels: { [of]: value } })) },
    {
      weight: 2,
      arbitrary: list(expression, 2, 1).map(matchExpressions => ({ matchExpressions })),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(pair, expression)
        .map(([[of, value], each]) => ({ matchLabels: { [of]: value }, matchExpressions: [each] })),
    },
  )
}

const pods = labelSelectors(POD_LABELS)
const namespaces = labelSelectors(NAMESPACE_LABELS)

/** Selectors of Calico, up to two operators deep. */
export function expressions(words: Words): fc.Arbitrary<string> {
  const atom = fc.constantFrom(...Object.keys(words)).chain(key => {
    const value = fc.constantFrom(...words[key]!)
    return fc.oneof(
      value.map(each => `${key} == '${each}'`),
      value.map(each => `${key} != "${each}"`),
      some(words[key]!).map(each => `${key} in {${each.map(one => `'${one}'`).join(', ')}}`),
      some(words[key]!).map(each => `${key} not in { ${each.map(one => `"${one}"`).join(',')} }`),
      fc.constant(`has(${key})`),
      value.map(each => `${key} starts with '${each.slice(0, 1)}'`),
      value.map(each => `${key} ends with '${each.slice(-1)}'`),
      value.map(each => `${key} contains '${each.slice(1, 2)}'`),
    )
  })
  return fc.oneof(
    { weight: 1, arbitrary: fc.constant('all()') },
    { weight: 5, arbitrary: atom },
    { weight: 1, arbitrary: atom.map(of => `!(${of})`) },
    { weight: 1, arbitrary: fc.tuple(atom, atom).map(([a, b]) => `${a} && !${b}`) },
    { weight: 1, arbitrary: fc.tuple(atom, atom, atom).map(([a, b, c]) => `${a} || ${b} && ${c}`) },
  )
}

const endpointsExpression = expressions(POD_LABELS)
const namespacesExpression = fc.oneof(
  { weight: 6, arbitrary: expressions(NAMESPACE_LABELS) },
  { weight: 2, arbitrary: fc.constant('global()') },
  { weight: 1, arbitrary: fc.constantFrom(...NAMESPACES).map(name => `projectcalico.org/name == '${name}'`) },
)
const accountsExpression = expressions(ACCOUNT_LABELS)

/** Whom policies select: everybody, often. */
const subjects = fc.oneof(fc.constant({}), pods)
const subjectNamespaces = fc.oneof(fc.constant({}), namespaces)

const policyPort: fc.Arbitrary<PolicyPort> = fc.oneof(
  fc.record({ protocol: fc.constantFrom('TCP', 'UDP', 'SCTP') }),
  fc.record({
    protocol: maybe(fc.constantFrom('TCP', 'UDP', 'SCTP')),
    port: fc.constantFrom<number | string>(...PORTS, ...PORT_NAMES),
  }),
  fc
    .tuple(maybe(fc.constantFrom('TCP', 'UDP')), fc.constantFrom(...RANGES))
    .map(([protocol, [port, endPort]]) => ({ protocol, port, endPort })),
)

const ipBlock = fc.oneof(
  fc.constantFrom(...NETS).map(cidr => ({ cidr })),
  fc.constantFrom(
    { cidr: '10.0.0.0/16', except: ['10.0.0.4/30', '10.0.0.1/32'] },
    { cidr: '0.0.0.0/0', except: ['10.0.0.0/30', '198.51.100.128/25'] },
    { cidr: 'fd00::/64', except: ['fd00::4/126'] },
    { cidr: '::/0', except: ['fd00::/126', '2001:db8:5::/48'] },
  ),
)
const policyPeer: fc.Arbitrary<PolicyPeer> = fc.oneof(
  pods.map(podSelector => ({ podSelector })),
  namespaces.map(namespaceSelector => ({ namespaceSelector })),
  fc.record({ podSelector: pods, namespaceSelector: namespaces }),
  ipBlock.map(block => ({ ipBlock: block })),
)
const peers = list(policyPeer, 3)
const ports = list(policyPort, 3)
const ingressRule = fc.record({ from: maybe(peers), ports: maybe(ports) })
const egressRule = fc.record({ to: maybe(peers), ports: maybe(ports) })

export const networkPolicySpec: fc.Arbitrary<NetworkPolicySpec> = fc
  .record({
    podSelector: subjects,
    policyTypes: maybe(some(['Ingress', 'Egress'])),
    ingress: maybe(list(ingressRule, 3)),
    egress: maybe(list(egressRule, 3)),
  })
  .map(bare)

const subject: fc.Arbitrary<ClusterSubject> = fc.oneof(
  subjectNamespaces.map(of => ({ namespaces: of })),
  fc.record({ namespaceSelector: subjectNamespaces, podSelector: pods }).map(of => ({ pods: of })),
)
const clusterPort = fc.oneof(
  fc.constantFrom(...PORTS).map(number => ({ destinationPort: { number } })),
  fc
    .constantFrom(...RANGES.filter(([start, end]) => start < end))
    .map(([start, end]) => ({ destinationPort: { range: { start, end } } })),
)
const clusterProtocol: fc.Arbitrary<ClusterProtocol> = fc.oneof(
  { weight: 3, arbitrary: clusterPort.map(tcp => ({ tcp })) },
  { weight: 2, arbitrary: clusterPort.map(udp => ({ udp })) },
  { weight: 1, arbitrary: clusterPort.map(sctp => ({ sctp })) },
  { weight: 2, arbitrary: fc.constantFrom(...PORT_NAMES).map(destinationNamedPort => ({ destinationNamedPort })) },
)
const NAMES = ['api.example.com', '*.example.com', 'Example.com.', 'plain.test']

/** What policies may leave out: what not everything that is compared knows. */
export type Feature = 'unknown' | 'nodes' | 'domains' | 'services' | 'staged' | 'calico' | 'cluster' | 'kubernetes'

type Without = { without: readonly Feature[] }

function clusterRule(direction: 'ingress' | 'egress', { without }: Without): fc.Arbitrary<ClusterRule> {
  const has = (feature: Feature) => !without.includes(feature)
  const peer = (action: string): fc.Arbitrary<ClusterPeer> => {
    const only = direction === 'egress'
    return fc.oneof(
      { weight: 20, arbitrary: subject },
      { weight: only ? 10 : 0, arbitrary: some(NETS).map(networks => ({ networks })) },
      { weight: only && has('nodes') ? 6 : 0, arbitrary: labelSelectors(NODE_LABELS).map(nodes => ({ nodes })) },
      {
        weight: only && has('domains') && action === 'Accept' ? 6 : 0,
        arbitrary: some(NAMES).map(domainNames => ({ domainNames })),
      },
      { weight: has('unknown') ? 1 : 0, arbitrary: fc.constant({ new: {} }) },
    )
  }
  const protocol = fc.oneof(
    { weight: 25, arbitrary: clusterProtocol },
    {
      weight: has('unknown') ? 1 : 0,
      arbitrary: fc.constantFrom({ new: {} }, { tcp: { destinationPort: { new: 1 } } }),
    },
  )
  return fc
    .constantFrom('Accept', 'Deny', 'Pass')
    .chain(action =>
      fc
        .tuple(list(peer(action), 2, 1), maybe(list(protocol, 2, 1), 40))
        .map(([of, protocols]) =>
          bare({ action, ...(direction === 'ingress' ? { from: of } : { to: of }), protocols }),
        ),
    )
}

export function clusterPolicySpec(features: Without): fc.Arbitrary<ClusterNetworkPolicy['spec']> {
  return fc
    .record({
      tier: fc.constantFrom('Admin', 'Baseline'),
      priority: fc.constantFrom(0, 1, 2, 1000),
      subject,
      ingress: maybe(list(clusterRule('ingress', features), 3), 75),
      egress: maybe(list(clusterRule('egress', features), 3), 75),
    })
    .map(bare)
}

/** Ports as Calico writes them. */
const calicoPorts = some<number | string>(
  [...PORTS, ...PORT_NAMES, ...RANGES.map(([first, last]) => `${first}:${last}`)],
  { most: 3 },
)
const accounts = fc.oneof(
  some(['robot', 'default']).map(names => ({ names })),
  accountsExpression.map(selector => ({ selector })),
  fc.record({ names: some(['robot', 'default']), selector: accountsExpression }),
)

/** All networks of a rule are of one family, and have no bits of hosts. */
type Part = { family: 4 | 6; withPorts: boolean }

function calicoSide({ family, withPorts }: Part): fc.Arbitrary<CalicoSide> {
  const nets = (family === 4 ? [...NETS_4, ...NETS_4_MORE] : NETS_6).filter(net => !HOST_BITS.includes(net))
  const notNets = nets.filter(net => !net.endsWith('/0'))
  return fc.record({
    selector: maybe(endpointsExpression, 35),
    notSelector: maybe(endpointsExpression, 8),
    namespaceSelector: maybe(namespacesExpression, 15),
    serviceAccounts: maybe(accounts, 8),
    nets: maybe(some(nets), 20),
    notNets: maybe(some(notNets), 8),
    ports: withPorts ? maybe(calicoPorts, 40) : fc.constant(undefined),
    notPorts: withPorts ? maybe(calicoPorts, 8) : fc.constant(undefined),
  })
}

const nothing: fc.Arbitrary<CalicoSide> = fc.constant({})
const icmp = fc.record({ type: fc.constantFrom(0, 3, 8, 128), code: maybe(fc.constantFrom(0, 4)) })

function calicoRule(direction: 'ingress' | 'egress', { without }: Without): fc.Arbitrary<CalicoRule> {
  const protocol = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom<number | string>('TCP', 'TCP', 'UDP', 'SCTP', 6) },
    { weight: 6, arbitrary: fc.constant(undefined) },
    { weight: 2, arbitrary: fc.constantFrom('ICMP', 'ICMPv6') },
    { weight: 1, arbitrary: fc.constantFrom<number | string>(47, 'UDPLite') },
  )
  const families = fc.tuple(fc.constantFrom<4 | 6>(4, 6), maybe(fc.constant(true), 25))
  return fc.tuple(protocol, families).chain(([named, [either, isForOne]]) => {
    const isIcmp = named === 'ICMP' || named === 'ICMPv6'
    // ICMP is of its own family
    const family = isIcmp ? (named === 'ICMP' ? 4 : 6) : either
    const withPorts = ['TCP', 'UDP', 'SCTP', 6].some(each => each === named)
    const side = fc.oneof(
      { weight: 3, arbitrary: calicoSide({ family, withPorts }) },
      { weight: 4, arbitrary: nothing },
    )
    const service = fc
      .constantFrom(...NAMESPACES)
      .map((namespace): CalicoSide => ({ services: { name: 'web', namespace } }))
    const far = fc.oneof(
      { weight: 8, arbitrary: side },
      { weight: without.includes('services') || withPorts ? 0 : 1, arbitrary: service },
    )
    return fc
      .record({
        action: fc.oneof(
          { weight: 4, arbitrary: fc.constantFrom('Allow', 'Deny') },
          { weight: 1, arbitrary: fc.constantFrom('Pass', 'Log') },
        ),
        ipVersion: fc.constant(isForOne === true ? family : undefined),
        protocol: fc.constant(named),
        notProtocol:
          named === undefined ? maybe(fc.constantFrom<number | string>('TCP', 'UDP', 132), 25) : fc.constant(undefined),
        icmp: isIcmp ? maybe(icmp) : fc.constant(undefined),
        notICMP: isIcmp ? maybe(icmp, 20) : fc.constant(undefined),
        source: direction === 'ingress' ? far : side,
        destination: direction === 'egress' ? far : side,
      })
      .map(bare)
  })
}

export function calicoPolicySpec(kind: 'of a namespace' | 'global', features: Without): fc.Arbitrary<CalicoPolicySpec> {
  const isGlobal = kind === 'global'
  return fc
    .record({
      tier: fc.oneof(
        { weight: 5, arbitrary: fc.constantFrom(undefined, 'default') },
        { weight: 3, arbitrary: fc.constantFrom('early', 'late') },
        { weight: 1, arbitrary: fc.constantFrom('unordered', 'gone') },
      ),
      order: fc.constantFrom(undefined, 1, 999, 1000, 1000, 1001),
      selector: maybe(endpointsExpression, 40),
      serviceAccountSelector: maybe(accountsExpression, 10),
      namespaceSelector: isGlobal ? maybe(expressions(NAMESPACE_LABELS), 25) : fc.constant(undefined),
      types: maybe(some(['Ingress', 'Egress'])),
      ingress: maybe(list(calicoRule('ingress', features), 4), 70),
      egress: maybe(list(calicoRule('egress', features), 4), 70),
      stage: isGlobal
        ? fc.constantFrom('', '', '', '', '', 'applyOnForward', 'doNotTrack', 'preDNAT')
        : fc.constant(''),
    })
    .map(({ stage, ...spec }) => {
      if (stage === '') return bare(spec)
      if (stage === 'applyOnForward') return bare({ ...spec, applyOnForward: true })
      // before addresses are translated there is no egress
      if (stage === 'preDNAT')
        return bare({ ...spec, egress: undefined, types: ['Ingress'], applyOnForward: true, preDNAT: true })
      return bare({ ...spec, applyOnForward: true, doNotTrack: true })
    })
}

/** Policies of all kinds, with names of their own. */
export function policies(features: Without, { most = 8 } = {}): fc.Arbitrary<WorldObject[]> {
  const has = (feature: Feature) => (features.without.includes(feature) ? 0 : 1)
  const namespace = fc.constantFrom('x', 'x', ...NAMESPACES)
  const makers = fc.oneof(
    {
      weight: 4 * has('kubernetes'),
      arbitrary: fc.tuple(namespace, networkPolicySpec).map(
        ([of, spec]) =>
          (name: string) =>
            aNetworkPolicy(`${of}/${name}`, spec),
      ),
    },
    {
      weight: 3 * has('cluster'),
      arbitrary: clusterPolicySpec(features).map(spec => (name: string) => aClusterPolicy(name, spec)),
    },
    {
      weight: 3 * has('calico'),
      arbitrary: fc.tuple(namespace, calicoPolicySpec('of a namespace', features)).map(
        ([of, spec]) =>
          (name: string) =>
            aCalicoPolicy(`${of}/${name}`, spec),
      ),
    },
    {
      weight: 3 * has('calico'),
      arbitrary: calicoPolicySpec('global', features).map(spec => (name: string) => aCalicoPolicy(name, spec)),
    },
    {
      weight: has('staged') * has('calico'),
      arbitrary: calicoPolicySpec('global', features).map(spec => (name: string) => aStagedPolicy(name, spec)),
    },
  )
  const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'm', 'n', 'o', 'p', 'q', 'z'), {
    minLength: most,
    maxLength: most,
  })
  return fc.tuple(list(makers, most, Math.min(2, most)), names).map(([made, of]) => made.map((make, i) => make(of[i]!)))
}
