// Arbitrary clusters with policies of every kind, and packets that are often about them: for properties such as "the rules
// in the kernel do what the reference evaluator says".
import fc from 'fast-check'
import { aNamespace, aNetworkSet, aNode, anAccount, aPod, aSlice, aTier } from './objects.ts'
import {
  ACCOUNT_LABELS,
  type Feature,
  NAMESPACE_LABELS,
  NAMESPACES,
  NETS,
  NODE_LABELS,
  POD_LABELS,
  PORT_NAMES,
  PORTS,
  policies,
  TIERS,
} from './policies.ts'
import { isJudged } from './reference/endpoints.ts'
import { ICMP } from './reference/flow.ts'
import { type Labels, ofKind, type World, type WorldObject } from './reference/objects.ts'
import { addressOf, type Packet, type Party } from './reference.ts'

const NODES = ['n1', 'n2'] as const
const OUTSIDE_4 = ['198.51.100.1', '198.51.100.127', '198.51.100.128', '203.0.113.9', '192.0.2.77']
const OUTSIDE_6 = ['2001:db8:5::1', '2001:db8:6::1', '2001:db8:5:ffff::1']
const NUMBERS = [6, 17, 132]

type Words = Readonly<Record<string, readonly string[]>>

/** Labels of these words, each there or not. */
function labels(words: Words): fc.Arbitrary<Labels> {
  return fc
    .tuple(
      ...Object.entries(words).map(([key, values]) =>
        fc.tuple(fc.constant(key), fc.constantFrom(undefined, ...values)),
      ),
    )
    .map(pairs => Object.fromEntries(pairs.filter((pair): pair is [string, string] => pair[1] !== undefined)))
}

/** What a pod may claim of itself, and is not so. */
const CLAIMS: readonly Labels[] = [
  { 'pcns.team': 'blue' },
  { 'pcsa.trust': 'high' },
  { 'projectcalico.org/namespace': 'x', 'projectcalico.org/serviceaccount': 'robot' },
]

const port = fc.record({
  name: fc.constantFrom(...PORT_NAMES),
  containerPort: fc.constantFrom(80, 8080, 53, 1001),
  protocol: fc.constantFrom('TCP', 'TCP', 'UDP', 'SCTP'),
})
const podPorts = fc.uniqueArray(port, { maxLength: 3, selector: ({ name, protocol }) => `${name} ${protocol}` })

const podFields = fc.record({
  namespace: fc.constantFrom('x', 'x', ...NAMESPACES),
  node: fc.constantFrom(...NODES),
  labels: labels(POD_LABELS),
  claims: fc.option(fc.constantFrom(...CLAIMS), { nil: {}, freq: 1 }).map(of => of as Labels),
  isHonest: fc.constantFrom(true, true, true, false),
  account: fc.constantFrom('default', 'default', 'robot'),
  ports: podPorts,
  families: fc.constantFrom('both', 'both', 'both', '4', '6'),
  kind: fc.constantFrom('own', 'own', 'own', 'own', 'own', 'own', 'host', 'ended'),
})

/**
 * Pods a, b, c and so on with addresses 10.0.0.1 and fd00::1 on. The first has its own of both families; that of one that has
 * ended is the first one's.
 */
const podObjects: fc.Arbitrary<WorldObject[]> = fc.array(podFields, { minLength: 3, maxLength: 6 }).map(all =>
  all.map(({ namespace, node, labels: own, claims, isHonest, account, ports, ...given }, i) => {
    const { families, kind } = i === 0 ? { families: 'both', kind: 'own' as const } : given
    const number = NODES.indexOf(node) + 1
    const [v4, v6] = {
      own: [`10.0.0.${i + 1}`, `fd00::${i + 1}`],
      ended: ['10.0.0.1', 'fd00::1'],
      host: [`192.0.2.${number}`, `2001:db8::${number}`],
    }[kind] as [string, string]
    return aPod(`${namespace}/${'abcdefgh'[i]}`, {
      node,
      labels: isHonest ? own : { ...own, ...claims },
      account,
      ports,
      addresses: families === '4' ? [v4] : families === '6' ? [v6] : [v4, v6],
      hostNetwork: kind === 'host' ? true : undefined,
      phase: kind === 'ended' ? 'Succeeded' : 'Running',
    })
  }),
)

const nets = fc.uniqueArray(fc.constantFrom(...NETS), { maxLength: 3 })

const setObjects: fc.Arbitrary<WorldObject[]> = fc
  .array(fc.record({ namespace: fc.constantFrom('', ...NAMESPACES), labels: labels(POD_LABELS), nets }), {
    maxLength: 3,
  })
  .map(all =>
    all.map(({ namespace, ...set }, i) =>
      aNetworkSet(namespace === '' ? `set${i}` : `${namespace}/set${i}`, set.labels, set.nets),
    ),
  )

const sliceObjects: fc.Arbitrary<WorldObject[]> = fc
  .array(
    fc.record({
      namespace: fc.constantFrom(...NAMESPACES),
      last: fc.uniqueArray(fc.constantFrom(1, 2, 3, 99), { minLength: 1, maxLength: 3 }),
      ports: fc.uniqueArray(
        fc.record({ protocol: fc.constantFrom('TCP', 'UDP'), port: fc.constantFrom(80, 8080, 53) }),
        { maxLength: 2, selector: each => JSON.stringify(each) },
      ),
    }),
    { maxLength: 2 },
  )
  .map(all =>
    all.flatMap(({ namespace, last, ports }, i) => [
      aSlice(
        `${namespace}/web`,
        last.map(each => `10.0.0.${each}`),
        ports,
        `v4-${i}`,
      ),
      aSlice(
        `${namespace}/web`,
        last.map(each => `fd00::${each}`),
        ports,
        `v6-${i}`,
      ),
    ]),
  )

/** The objects that policies are about: nodes, namespaces, accounts, pods, sets, Services and tiers. */
const places: fc.Arbitrary<WorldObject[]> = fc
  .tuple(
    fc.tuple(...NODES.map(() => labels(NODE_LABELS))),
    fc.tuple(...NAMESPACES.map(() => labels(NAMESPACE_LABELS))),
    fc.tuple(...NAMESPACES.map(() => labels(ACCOUNT_LABELS))),
    fc.tuple(fc.constantFrom('Pass', 'Deny', undefined), fc.constantFrom('Pass', 'Deny')),
    podObjects,
    setObjects,
    sliceObjects,
  )
  .map(([nodes, namespaces, accounts, [early, late], ...objects]) => [
    ...NODES.map((name, i) => aNode(name, [`192.0.2.${i + 1}`, `2001:db8::${i + 1}`], nodes[i])),
    ...NAMESPACES.map((name, i) => aNamespace(name, { ...namespaces[i], 'kubernetes.io/metadata.name': name })),
    ...NAMESPACES.flatMap((name, i) => [anAccount(`${name}/robot`, accounts[i]), anAccount(`${name}/default`)]),
    aTier('early', TIERS.early, early as 'Pass' | 'Deny' | undefined),
    aTier('late', TIERS.late, late as 'Pass' | 'Deny'),
    aTier('unordered', TIERS.unordered),
    ...objects.flat(),
  ])

const hostFields = fc.record({
  interfaceName: fc.constantFrom('eth0', 'eth0', '*', '*', undefined, 'eth9'),
  node: fc.constantFrom(...NODES),
  labels: labels(POD_LABELS),
  isAddressed: fc.boolean(),
  profiles: fc.constantFrom([], ['projectcalico-default-allow'], ['kns.x']),
  ports: fc.constantFrom([], [{ name: PORT_NAMES[0]!, protocol: 'TCP', port: 80 }]),
})

/** Host endpoints of both nodes, some for one interface. */
const hostObjects: fc.Arbitrary<WorldObject[]> = fc.array(hostFields, { minLength: 1, maxLength: 4 }).map(all =>
  all.map(({ interfaceName, node, labels: own, isAddressed, profiles, ports }, i) => {
    const number = NODES.indexOf(node) + 1
    const expectedIPs = isAddressed ? [`192.0.2.${number}`, `2001:db8::${number}`] : []
    return {
      ...{ apiVersion: 'projectcalico.org/v3', kind: 'HostEndpoint', metadata: { name: `h${i}`, labels: own } },
      spec: { node, expectedIPs, profiles, ports, ...(interfaceName !== undefined && { interfaceName }) },
    } as const
  }),
)

export type WorldOptions = {
  /** With host endpoints, and packets of nodes to others than pods. */
  hosts?: true
  /** What is not to be in it. */
  without?: readonly Feature[]
  mostPolicies?: number
}

export function worlds({ without = [], mostPolicies = 8, hosts }: WorldOptions = {}): fc.Arbitrary<World> {
  const ofHosts = hosts === true ? hostObjects : fc.constant([])
  return fc.tuple(places, policies({ without }, { most: mostPolicies }), ofHosts).chain(([there, asked, own]) => {
    const world: World = { objects: [...there, ...asked, ...own] }
    return without.includes('domains') ? fc.constant(world) : answersOf(world).map(answers => ({ ...world, answers }))
  })
}

function answersOf(world: World): fc.Arbitrary<World['answers']> {
  const names = ofKind(world, 'Pod').map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)
  return fc.array(
    fc.record({
      pod: fc.constantFrom(...names),
      name: fc.constantFrom('api.example.com', 'a.b.example.com.', 'example.com', 'plain.test', 'notexample.com'),
      addresses: fc.uniqueArray(fc.constantFrom(...OUTSIDE_4, ...OUTSIDE_6, '10.0.0.2'), {
        minLength: 1,
        maxLength: 3,
      }),
    }),
    { maxLength: 4 },
  )
}

/** Packets between the pods and nodes of the world and addresses outside; one of the two ends is a pod, or with `hosts` a node. */
export function packetsOf(world: World, { hosts }: Pick<WorldOptions, 'hosts'> = {}): fc.Arbitrary<Packet> {
  const pods = ofKind(world, 'Pod').filter(({ status }) => status?.phase === 'Running')
  const named = pods.map(({ metadata }): Party => ({ pod: `${metadata.namespace}/${metadata.name}` }))
  const own = pods.filter(isJudged).flatMap(pod => named[pods.indexOf(pod)]!)
  const families = ([4, 6] as const).flatMap(family => {
    const has = (party: Party) => hasAddress(world, party, family)
    const ofFamily = { own: own.filter(has), named: named.filter(has) }
    return ofFamily.own.length === 0 ? [] : [{ family, ...ofFamily }]
  })
  return fc.constantFrom(...families).chain(({ family, ...ends }) => {
    const outside = (family === 4 ? OUTSIDE_4 : OUTSIDE_6).map((address): Party => ({ address }))
    const nodes = NODES.map((node): Party => ({ node }))
    const nodeAddresses = NODES.map((node): Party => ({ address: addressOf(world, { node }, family) }))
    const asAddress = (party: Party): Party => ({ address: addressOf(world, party, family) })
    const pod = fc.constantFrom(...ends.own)
    const anyPod = fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...ends.named) },
      { weight: 1, arbitrary: fc.constantFrom(...ends.named.map(asAddress)) },
    )
    const sender = fc.oneof(
      { weight: 6, arbitrary: anyPod },
      { weight: 2, arbitrary: fc.constantFrom(...outside) },
      { weight: 1, arbitrary: fc.constantFrom(...nodes) },
    )
    const receiver = fc.oneof(
      { weight: 6, arbitrary: anyPod },
      { weight: 2, arbitrary: fc.constantFrom(...outside) },
      { weight: 1, arbitrary: fc.constantFrom(...nodeAddresses) },
    )
    const strangers = fc.constantFrom(...outside)
    const parties = fc.oneof(
      fc.tuple(pod, receiver),
      fc.tuple(sender, pod),
      ...(hosts === true
        ? [
            fc.tuple(fc.constantFrom(...nodes), fc.oneof(strangers, fc.constantFrom(...nodeAddresses))),
            fc.tuple(fc.oneof(strangers, fc.constantFrom(...nodes)), fc.constantFrom(...nodeAddresses)),
          ]
        : []),
    )
    return fc.tuple(parties, transports(family)).map(([[from, to], transport]) => {
      return { from, to: to as Packet['to'], family, ...transport }
    })
  })
}

function hasAddress(world: World, party: Party, family: 4 | 6): boolean {
  try {
    addressOf(world, party, family)
    return true
  } catch {
    // it says that there is none by an error
    return false
  }
}

type Transport = Pick<Packet, 'protocol' | 'sourcePort' | 'destinationPort' | 'icmp'>

function transports(family: 4 | 6): fc.Arbitrary<Transport> {
  return fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        protocol: fc.constantFrom(6, ...NUMBERS),
        sourcePort: fc.constantFrom(40_000, 40_000, 80, 1),
        destinationPort: fc.constantFrom(...PORTS, 80, 80, 53, 8080),
      }),
    },
    {
      weight: 2,
      arbitrary: fc
        .record({ type: fc.constantFrom(8, 128, 0, 3), code: fc.constantFrom(0, 4) })
        .map(icmp => ({ protocol: ICMP[family], icmp })),
    },
    { weight: 1, arbitrary: fc.constantFrom(47, 50).map(protocol => ({ protocol })) },
  )
}

export type Case = { world: World; packets: readonly Packet[] }

/** A world with packets in it. */
export function cases({ packets = 20, ...options }: WorldOptions & { packets?: number } = {}): fc.Arbitrary<Case> {
  return worlds(options).chain(world =>
    fc
      .array(packetsOf(world, options), { minLength: packets, maxLength: packets })
      .map(list => ({ world, packets: list })),
  )
}
