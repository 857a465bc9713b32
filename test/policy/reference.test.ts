// The reference evaluator against cases of our own: one rule of a specification each.
// Over 400 lines: a table of cases, which reads as the list of what policy means.
import test from 'ava'
import { files, importsOf, isRelative, targetOf } from '../structure/source.ts'
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
  aStagedPolicy,
  aTier,
} from './objects.ts'
import type { WorldObject } from './reference/objects.ts'
import type { Decision } from './reference/tiers.ts'
import { judge, type Packet, type Party } from './reference.ts'

const PORTS = [
  { name: 'web', containerPort: 80 },
  { name: 'dns', containerPort: 53, protocol: 'UDP' },
  { name: 'dns-tcp', containerPort: 53, protocol: 'TCP' },
]

/** Two namespaces with two pods each, on two nodes; a pod in the network of its host; an account. */
const BASE: readonly WorldObject[] = [
  aNode('n1', ['192.0.2.1', '2001:db8::1'], { zone: 'a' }),
  aNode('n2', ['192.0.2.2', '2001:db8::2'], { zone: 'b' }),
  aNamespace('x', { team: 'blue' }),
  aNamespace('y', { team: 'red' }),
  anAccount('x/robot', { trust: 'high' }),
  aPod('x/a', {
    node: 'n1',
    labels: { role: 'web' },
    addresses: ['10.1.0.1', 'fd00::1'],
    ports: PORTS,
    account: 'robot',
  }),
  aPod('x/b', { node: 'n2', labels: { role: 'db' }, addresses: ['10.1.0.2', 'fd00::2'], ports: PORTS }),
  aPod('y/a', { node: 'n1', labels: { role: 'web' }, addresses: ['10.1.0.3', 'fd00::3'], ports: PORTS }),
  aPod('y/b', { node: 'n2', labels: { role: 'db' }, addresses: ['10.1.0.4', 'fd00::4'], ports: PORTS }),
  aPod('y/host', { node: 'n2', labels: { role: 'web' }, addresses: ['192.0.2.2', '2001:db8::2'], hostNetwork: true }),
  aNetworkSet('x/partners', { zone: 'dmz' }, ['198.51.100.0/28', '2001:db8:5::/48']),
  aNetworkSet('world', { zone: 'dmz' }, ['203.0.113.0/24']),
  aSlice('y/web', ['10.1.0.3', '10.1.0.4'], [{ protocol: 'TCP', port: 80 }]),
]

const NUMBERS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmp6: 58, sctp: 132 }

/** `x/a > y/b tcp 80`, `node n1 > x/a tcp 80 v6`, `203.0.113.9 > x/a icmp 8.0`. */
function packet(text: string): Packet {
  const [from = '', rest = ''] = text.split(' > ')
  const [to = '', protocol = '', detail = '', version = 'v4'] = rest.split(' ')
  const party = (word: string): Party =>
    word.startsWith('node ') ? { node: word.slice(5) } : word.includes('/') ? { pod: word } : { address: word }
  const number = NUMBERS[protocol] ?? Number(protocol)
  const base = {
    from: party(from),
    to: party(to) as Packet['to'],
    family: version === 'v6' ? 6 : 4,
    protocol: number,
  } as const
  const [type, code] = detail.split('.').map(Number)
  if (number === 1 || number === 58) return { ...base, icmp: { type: type!, code: code ?? 0 } }
  return detail === '-' ? base : { ...base, sourcePort: 40_000, destinationPort: Number(detail) }
}

function because({ reason }: Decision): string {
  if (reason.by === 'rule') return `rule ${reason.rule} of ${reason.kind} ${reason.name}`
  if (reason.by === 'tier') return `end of tier ${reason.tier}`
  return reason.by === 'profile' ? `profile ${reason.profile}` : reason.why
}

/** `allow`, or which end denies and why. */
function told(objects: readonly WorldObject[], text: string): string {
  const { egress, ingress, allowed } = judge({ objects: [...BASE, ...objects] }, packet(text))
  if (allowed) return 'allow'
  return egress.verdict === 'deny' ? `egress: ${because(egress)}` : `ingress: ${because(ingress)}`
}

function says(title: string, objects: readonly WorldObject[], expected: Readonly<Record<string, string>>): void {
  test(title, t => {
    const found = Object.fromEntries(Object.keys(expected).map(text => [text, told(objects, text)]))
    t.deepEqual(found, expected)
  })
}

const END = 'end of tier default'
const ALL = { podSelector: {} }

says('a pod that no policy selects is open', [], {
  'x/a > y/b tcp 80': 'allow',
  '203.0.113.9 > x/a icmp 8.0': 'allow',
  'x/a > 203.0.113.9 sctp 9 v4': 'allow',
})
says('a NetworkPolicy without rules isolates for ingress only', [aNetworkPolicy('x/p', ALL)], {
  'y/a > x/a tcp 80': `ingress: ${END}`,
  'y/a > x/a tcp 80 v6': `ingress: ${END}`,
  'x/a > y/a tcp 80': 'allow',
  'x/a > x/b tcp 80': `ingress: ${END}`,
})
says('without policyTypes egress rules isolate for egress, too', [aNetworkPolicy('x/p', { ...ALL, egress: [{}] })], {
  'x/a > y/a tcp 80': 'allow',
  'y/a > x/a tcp 80': `ingress: ${END}`,
})
says(
  'policyTypes Egress with no rules closes egress and leaves ingress',
  [aNetworkPolicy('x/p', { ...ALL, policyTypes: ['Egress'] })],
  { 'x/a > y/a tcp 80': `egress: ${END}`, 'y/a > x/a tcp 80': 'allow' },
)
says(
  'an empty list of peers is everybody, an empty peer is nobody',
  [
    aNetworkPolicy('x/p', { podSelector: { matchLabels: { role: 'web' } }, ingress: [{ from: [] }] }),
    aNetworkPolicy('x/q', { podSelector: { matchLabels: { role: 'db' } }, ingress: [{ from: [{}] }] }),
  ],
  { '203.0.113.9 > x/a tcp 80': 'allow', 'y/a > x/b tcp 80': `ingress: ${END}` },
)
says(
  'a podSelector alone is of the own namespace; an empty namespaceSelector is all of them',
  [
    aNetworkPolicy('x/p', {
      podSelector: { matchLabels: { role: 'web' } },
      ingress: [{ from: [{ podSelector: {} }] }],
    }),
    aNetworkPolicy('x/q', {
      podSelector: { matchLabels: { role: 'db' } },
      ingress: [{ from: [{ namespaceSelector: {} }] }],
    }),
  ],
  {
    'x/b > x/a tcp 80': 'allow',
    'y/b > x/a tcp 80': `ingress: ${END}`,
    'y/b > x/b tcp 80': 'allow',
    '203.0.113.9 > x/b tcp 80': `ingress: ${END}`,
    // what is in the network of a host is that node
    'node n1 > x/b tcp 80': `ingress: ${END}`,
    'y/host > x/a tcp 80': `ingress: ${END}`,
  },
)
says(
  'both selectors of a peer must hold, two peers are either',
  [
    aNetworkPolicy('x/p', {
      podSelector: {},
      ingress: [
        {
          from: [
            { namespaceSelector: { matchLabels: { team: 'red' } }, podSelector: { matchLabels: { role: 'web' } } },
            { podSelector: { matchExpressions: [{ key: 'role', operator: 'NotIn', values: ['web'] }] } },
          ],
        },
      ],
    }),
  ],
  {
    'y/a > x/a tcp 80': 'allow',
    'y/b > x/a tcp 80': `ingress: ${END}`,
    'x/b > x/a tcp 80': 'allow',
    'x/a > x/b tcp 80': `ingress: ${END}`,
  },
)
says(
  'except cuts a hole into ipBlock, pods and nodes in it included',
  [
    aNetworkPolicy('x/p', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [
        { to: [{ ipBlock: { cidr: '10.1.0.9/8', except: ['10.1.0.4/32'] } }, { ipBlock: { cidr: 'fd00::/127' } }] },
      ],
    }),
  ],
  {
    'x/a > y/a tcp 80': 'allow',
    'x/a > y/b tcp 80': `egress: ${END}`,
    'x/a > 192.0.2.2 tcp 80': `egress: ${END}`,
    'x/b > x/a udp 53 v6': 'allow',
    'x/a > y/a tcp 80 v6': `egress: ${END}`,
  },
)
says(
  'a port without a number is all of its protocol, TCP when it has none; no ports are all protocols',
  [
    aNetworkPolicy('x/p', { podSelector: { matchLabels: { role: 'web' } }, ingress: [{ ports: [{}] }] }),
    aNetworkPolicy('x/q', { podSelector: { matchLabels: { role: 'db' } }, ingress: [{ ports: [] }] }),
  ],
  {
    'y/a > x/a tcp 1': 'allow',
    'y/a > x/a udp 1': `ingress: ${END}`,
    'y/a > x/a icmp 8.0': `ingress: ${END}`,
    'y/a > x/b icmp 8.0': 'allow',
    'y/a > x/b 47 -': 'allow',
  },
)
says(
  'endPort includes both ends; a named port has the protocol of the rule',
  [
    aNetworkPolicy('x/p', {
      podSelector: {},
      ingress: [
        { ports: [{ port: 1000, endPort: 1002 }, { port: 'web' }, { port: 'dns' }, { port: 'dns', protocol: 'UDP' }] },
      ],
    }),
  ],
  {
    'y/a > x/a tcp 999': `ingress: ${END}`,
    'y/a > x/a tcp 1000': 'allow',
    'y/a > x/a tcp 1002': 'allow',
    'y/a > x/a tcp 1003': `ingress: ${END}`,
    'y/a > x/a tcp 80': 'allow',
    'y/a > x/a udp 80': `ingress: ${END}`,
    'y/a > x/a udp 53': 'allow',
    'y/a > x/a tcp 53': `ingress: ${END}`,
  },
)
says(
  'a named port in egress is a port of the destination',
  [aNetworkPolicy('x/p', { podSelector: {}, policyTypes: ['Egress'], egress: [{ ports: [{ port: 'web' }] }] })],
  { 'x/a > y/b tcp 80': 'allow', 'x/a > 203.0.113.9 tcp 80': `egress: ${END}` },
)
says(
  'several policies allow what one of them allows',
  [aNetworkPolicy('x/p', ALL), aNetworkPolicy('x/q', { ...ALL, ingress: [{ ports: [{ port: 80 }] }] })],
  { 'y/a > x/a tcp 80': 'allow', 'y/a > x/a tcp 81': `ingress: ${END}` },
)
says('a node reaches its own pods, and not those of others', [aNetworkPolicy('x/p', ALL)], {
  'node n1 > x/a tcp 80': 'allow',
  '192.0.2.1 > x/a tcp 80': 'allow',
  'node n2 > x/a tcp 80': `ingress: ${END}`,
  'y/host > x/b tcp 80': 'allow',
})
says('a pod reaches itself', [aNetworkPolicy('x/p', { ...ALL, policyTypes: ['Ingress', 'Egress'] })], {
  'x/a > x/a tcp 80': 'allow',
})
says(
  'the address of a pod that has ended is of no policy',
  [
    aPod('y/done', { node: 'n1', labels: { role: 'job' }, addresses: ['10.1.0.9'], phase: 'Succeeded' }),
    aNetworkPolicy('x/p', {
      ...ALL,
      ingress: [{ from: [{ namespaceSelector: {}, podSelector: { matchLabels: { role: 'job' } } }] }],
    }),
  ],
  { '10.1.0.9 > x/a tcp 80': `ingress: ${END}` },
)

const BLUE = { namespaces: { matchLabels: { team: 'blue' } } }
says(
  'in the tier Admin the first rule that matches decides, before any NetworkPolicy',
  [
    aClusterPolicy('late', {
      tier: 'Admin',
      priority: 2,
      subject: BLUE,
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    }),
    aClusterPolicy('early', {
      tier: 'Admin',
      priority: 1,
      subject: BLUE,
      ingress: [{ action: 'Accept', from: [{ pods: { podSelector: { matchLabels: { role: 'db' } } } }] }],
    }),
    aNetworkPolicy('x/p', ALL),
  ],
  {
    'y/b > x/a tcp 80': 'allow',
    'y/a > x/a tcp 80': 'ingress: rule 0 of KubernetesClusterNetworkPolicy late',
    // addresses that are no pod's are in no namespace
    '203.0.113.9 > x/a tcp 80': `ingress: ${END}`,
    'x/a > y/a tcp 80': 'allow',
  },
)
says(
  'Pass leaves the tier Admin; Baseline is asked where no NetworkPolicy selects the pod',
  [
    aClusterPolicy('p', {
      tier: 'Admin',
      priority: 1,
      subject: { namespaces: {} },
      ingress: [{ action: 'Pass', from: [{ namespaces: {} }] }],
    }),
    aClusterPolicy('q', {
      tier: 'Admin',
      priority: 2,
      subject: { namespaces: {} },
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    }),
    aClusterPolicy('b', {
      tier: 'Baseline',
      priority: 1,
      subject: { namespaces: {} },
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    }),
    aNetworkPolicy('x/p', { podSelector: { matchLabels: { role: 'web' } }, ingress: [{ ports: [{ port: 80 }] }] }),
  ],
  {
    'y/a > x/a tcp 80': 'allow',
    'y/a > x/a tcp 81': `ingress: ${END}`,
    'y/a > x/b tcp 80': 'ingress: rule 0 of KubernetesClusterNetworkPolicy b',
    '203.0.113.9 > x/b tcp 80': 'allow',
  },
)
says(
  'networks hold pods and nodes, nodes hold the addresses of nodes',
  [
    aClusterPolicy('p', {
      tier: 'Admin',
      priority: 1,
      subject: BLUE,
      egress: [
        { action: 'Accept', to: [{ nodes: { matchLabels: { zone: 'a' } } }] },
        { action: 'Deny', to: [{ networks: ['10.1.0.0/16', '::/0'] }, { nodes: {} }] },
      ],
    }),
  ],
  {
    'x/a > 192.0.2.1 tcp 80': 'allow',
    'x/a > 192.0.2.2 tcp 80': 'egress: rule 1 of KubernetesClusterNetworkPolicy p',
    'x/a > y/a tcp 80': 'egress: rule 1 of KubernetesClusterNetworkPolicy p',
    'x/a > y/a udp 80 v6': 'egress: rule 1 of KubernetesClusterNetworkPolicy p',
    'x/a > 203.0.113.9 tcp 80': 'allow',
    'y/a > 192.0.2.2 tcp 80': 'allow',
  },
)
says(
  'with protocols a rule is about those; a named port has the protocol of the pod, and none beside addresses',
  [
    aClusterPolicy('p', {
      tier: 'Admin',
      priority: 1,
      subject: BLUE,
      egress: [
        {
          action: 'Deny',
          to: [{ pods: {} }],
          protocols: [
            { tcp: { destinationPort: { range: { start: 90, end: 92 } } } },
            { destinationNamedPort: 'dns' },
            { sctp: {} },
          ],
        },
        { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }], protocols: [{ destinationNamedPort: 'web' }] },
      ],
    }),
  ],
  {
    'x/a > y/a tcp 89': 'allow',
    'x/a > y/a tcp 90': 'egress: rule 0 of KubernetesClusterNetworkPolicy p',
    'x/a > y/a tcp 92': 'egress: rule 0 of KubernetesClusterNetworkPolicy p',
    'x/a > y/a udp 53': 'egress: rule 0 of KubernetesClusterNetworkPolicy p',
    'x/a > y/a tcp 53': 'allow',
    'x/a > y/a sctp 7': 'egress: rule 0 of KubernetesClusterNetworkPolicy p',
    'x/a > y/a icmp 8.0': 'allow',
    'x/a > y/a tcp 80': 'allow',
  },
)
for (const [action, verdict] of [
  ['Accept', 'egress: rule 1 of KubernetesClusterNetworkPolicy p'],
  ['Deny', 'egress: rule 0 of KubernetesClusterNetworkPolicy p'],
  ['Pass', 'egress: rule 0 of KubernetesClusterNetworkPolicy p'],
] as const)
  for (const [what, rule] of [
    ['peer', { to: [{ namespaces: {} }, { new: {} }] }],
    ['protocol', { to: [{ namespaces: {} }], protocols: [{ tcp: { destinationPort: { number: 80 } } }, { new: {} }] }],
    ['form of a port', { to: [{ namespaces: {} }], protocols: [{ tcp: { destinationPort: { new: 1 } } }] }],
  ] as const)
    says(
      `an unknown ${what} closes a rule with the action ${action}`,
      [
        aClusterPolicy('p', {
          tier: 'Admin',
          priority: 1,
          subject: BLUE,
          egress: [
            { action, ...rule },
            { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] },
          ],
        }),
      ],
      { 'x/a > y/a tcp 80': verdict, 'x/a > 203.0.113.9 udp 1': verdict },
    )
says(
  'a ClusterNetworkPolicy of an unknown tier or without a subject counts for nothing',
  [
    aClusterPolicy('p', {
      tier: 'Later',
      priority: 1,
      subject: BLUE,
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    }),
    aClusterPolicy('q', {
      tier: 'Admin',
      priority: 1,
      subject: {},
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    }),
  ],
  { 'y/a > x/a tcp 80': 'allow' },
)

test('domainNames are what the pod itself was told', t => {
  const objects = [
    ...BASE,
    aClusterPolicy('p', {
      tier: 'Admin',
      priority: 1,
      subject: BLUE,
      egress: [
        { action: 'Accept', to: [{ domainNames: ['*.Example.com.', 'plain.test'] }] },
        { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] },
      ],
    }),
  ]
  const answers = [
    { pod: 'x/a', name: 'a.b.example.com.', addresses: ['203.0.113.1'] },
    { pod: 'x/a', name: 'example.com', addresses: ['203.0.113.2'] },
    { pod: 'x/a', name: 'PLAIN.test', addresses: ['203.0.113.3'] },
    { pod: 'x/b', name: 'a.example.com', addresses: ['203.0.113.4'] },
  ]
  const allowed = [1, 2, 3, 4].filter(i => judge({ objects, answers }, packet(`x/a > 203.0.113.${i} tcp 443`)).allowed)
  t.deepEqual(allowed, [1, 3])
})

says(
  'policies of a tier are asked by order, none last, then by name; Log says nothing',
  [
    aCalicoPolicy('z-first', {
      order: 1,
      ingress: [{ action: 'Log' }, { action: 'Deny', protocol: 'TCP', destination: { ports: [81] } }],
    }),
    aCalicoPolicy('x/m', {
      order: 5,
      ingress: [{ action: 'Allow', protocol: 'TCP', destination: { ports: ['80:82'] } }],
    }),
    aCalicoPolicy('a-last', { ingress: [{ action: 'Deny', protocol: 'TCP' }] }),
  ],
  {
    'y/a > x/a tcp 81': 'ingress: rule 1 of GlobalNetworkPolicy z-first',
    'y/a > x/a tcp 82': 'allow',
    'y/a > x/a tcp 83': 'ingress: rule 0 of GlobalNetworkPolicy a-last',
    'y/a > x/a udp 83': `ingress: ${END}`,
  },
)
says(
  'a NetworkPolicy of Kubernetes has order 1000 in the tier default, and at that order its name decides',
  [
    aNetworkPolicy('x/m', { ...ALL, ingress: [{ ports: [{ port: 80 }] }] }),
    aCalicoPolicy('x/a', { order: 1000, ingress: [{ action: 'Deny', source: { nets: ['10.1.0.3/32'] } }] }),
    aCalicoPolicy('x/z', { order: 1000, ingress: [{ action: 'Deny', source: { nets: ['10.1.0.4'] } }] }),
    aCalicoPolicy('late', { order: 1001, ingress: [{ action: 'Allow' }] }),
  ],
  {
    'y/a > x/a tcp 80': 'ingress: rule 0 of NetworkPolicy a',
    'y/b > x/a tcp 80': 'allow',
    'y/b > x/a tcp 81': 'ingress: rule 0 of NetworkPolicy z',
    'x/b > x/a tcp 81': 'allow',
  },
)
says(
  'tiers are asked by order, and one that selects the pod ends with its default action',
  [
    aTier('second', 20),
    aTier('first', 10, 'Pass'),
    aCalicoPolicy('f', {
      tier: 'first',
      selector: 'role == "web"',
      ingress: [
        { action: 'Allow', protocol: 'UDP' },
        { action: 'Pass', protocol: 'SCTP' },
      ],
    }),
    aCalicoPolicy('s', {
      tier: 'second',
      selector: 'role == "web"',
      types: ['Ingress'],
      ingress: [{ action: 'Allow', protocol: 'SCTP' }],
    }),
  ],
  {
    'y/b > x/a udp 1': 'allow',
    'y/b > x/a sctp 1': 'allow',
    'y/b > x/a tcp 1': 'ingress: end of tier second',
    'y/a > x/b tcp 1': 'allow',
    'x/a > y/b tcp 1': 'allow',
  },
)
says(
  'a tier that is no object is asked last, and denies at its end',
  [
    aCalicoPolicy('p', { tier: 'gone', types: ['Ingress'] }),
    aTier('unordered'),
    aCalicoPolicy('q', { tier: 'unordered', ingress: [{ action: 'Allow', protocol: 'TCP' }, { action: 'Pass' }] }),
  ],
  { 'y/a > x/a tcp 1': 'allow', 'y/a > x/a udp 1': 'ingress: end of tier gone' },
)
says(
  'staged policies change nothing, the end of their tier neither',
  [
    aTier('t', 1),
    aStagedPolicy('p', { tier: 't', ingress: [{ action: 'Deny' }] }),
    aStagedPolicy('x/p', { ingress: [{ action: 'Deny' }] }),
  ],
  { 'y/a > x/a tcp 1': 'allow' },
)
says(
  'policies of hosts only (doNotTrack, preDNAT) are not asked for pods',
  [
    aCalicoPolicy('p', { doNotTrack: true, applyOnForward: true, ingress: [{ action: 'Deny' }] }),
    aCalicoPolicy('q', { preDNAT: true, applyOnForward: true, types: ['Ingress'] }),
  ],
  { 'y/a > x/a tcp 1': 'allow' },
)
says(
  'a selector in a policy of a namespace is about its pods and NetworkSets',
  [
    aCalicoPolicy('x/p', {
      types: ['Ingress'],
      ingress: [{ action: 'Allow', source: { selector: 'role == "web" || zone == "dmz"' } }],
    }),
  ],
  {
    'x/a > x/b tcp 1': 'allow',
    'y/a > x/b tcp 1': `ingress: ${END}`,
    '198.51.100.1 > x/b tcp 1': 'allow',
    '198.51.100.16 > x/b tcp 1': `ingress: ${END}`,
    '203.0.113.9 > x/b tcp 1': `ingress: ${END}`,
  },
)
says(
  'namespaceSelector asks the labels of namespaces; global() is what has none',
  [
    aCalicoPolicy('x/p', {
      types: ['Ingress'],
      ingress: [
        { action: 'Allow', protocol: 'TCP', source: { namespaceSelector: 'team == "red"', selector: 'role == "web"' } },
        { action: 'Allow', protocol: 'UDP', source: { namespaceSelector: 'global()' } },
        { action: 'Allow', protocol: 'SCTP', source: { namespaceSelector: 'all()' } },
        { action: 'Allow', protocol: 99, source: { namespaceSelector: 'projectcalico.org/name == "y"' } },
      ],
    }),
  ],
  {
    'y/a > x/a tcp 1': 'allow',
    'y/b > x/a tcp 1': `ingress: ${END}`,
    '203.0.113.9 > x/a udp 1': 'allow',
    '198.51.100.1 > x/a udp 1': `ingress: ${END}`,
    'y/b > x/a udp 1': `ingress: ${END}`,
    'y/b > x/a sctp 1': 'allow',
    '198.51.100.1 > x/a sctp 1': 'allow',
    '203.0.113.9 > x/a sctp 1': `ingress: ${END}`,
    'y/b > x/a 99 -': 'allow',
    'x/b > x/a 99 -': `ingress: ${END}`,
  },
)
says(
  'what a pod writes into its own labels does not put it into a namespace or account',
  [
    aPod('y/liar', {
      node: 'n2',
      addresses: ['10.1.0.7'],
      labels: {
        'projectcalico.org/namespace': 'x',
        'pcns.team': 'blue',
        'projectcalico.org/serviceaccount': 'robot',
        'pcsa.trust': 'high',
      },
    }),
    aCalicoPolicy('p', {
      namespaceSelector: 'team == "blue"',
      types: ['Ingress'],
      ingress: [
        { action: 'Allow', source: { namespaceSelector: 'team == "blue"' } },
        { action: 'Allow', source: { selector: 'projectcalico.org/namespace == "x" || pcns.team == "blue"' } },
        { action: 'Allow', source: { serviceAccounts: { names: ['robot'] } } },
        { action: 'Allow', source: { serviceAccounts: { selector: 'trust == "high"' } } },
      ],
    }),
  ],
  { 'y/liar > x/a tcp 1': `ingress: ${END}`, 'x/b > x/a tcp 1': 'allow', 'x/a > y/liar tcp 1': 'allow' },
)
says(
  'service accounts are asked by name and by labels; both must hold',
  [
    aCalicoPolicy('p', {
      selector: 'role == "db"',
      types: ['Ingress'],
      ingress: [
        {
          action: 'Allow',
          protocol: 'TCP',
          source: { serviceAccounts: { names: ['robot', 'other'], selector: 'trust == "high"' } },
        },
        {
          action: 'Allow',
          protocol: 'UDP',
          source: { serviceAccounts: { names: ['robot'], selector: 'trust == "low"' } },
        },
      ],
    }),
  ],
  { 'x/a > y/b tcp 1': 'allow', 'y/a > y/b tcp 1': `ingress: ${END}`, 'x/a > y/b udp 1': `ingress: ${END}` },
)
says(
  'a policy with serviceAccountSelector selects by the account of the pod',
  [aCalicoPolicy('x/p', { serviceAccountSelector: 'trust == "high"', types: ['Ingress'] })],
  { 'y/a > x/a tcp 1': `ingress: ${END}`, 'y/a > x/b tcp 1': 'allow' },
)
says(
  'a Service as destination is its endpoints at their ports, as source their addresses',
  [
    aCalicoPolicy('x/p', {
      types: ['Egress', 'Ingress'],
      egress: [{ action: 'Allow', destination: { services: { name: 'web', namespace: 'y' } } }],
      ingress: [{ action: 'Allow', source: { services: { name: 'web', namespace: 'y' } } }],
    }),
  ],
  {
    'x/a > y/a tcp 80': 'allow',
    'x/a > y/b tcp 80': 'allow',
    'x/a > y/a tcp 81': `egress: ${END}`,
    'x/a > y/a udp 80': `egress: ${END}`,
    'x/a > x/b tcp 80': `egress: ${END}`,
    'y/b > x/a udp 9': 'allow',
    '203.0.113.9 > x/a tcp 80': `ingress: ${END}`,
  },
)
says(
  'the negated fields take away from what a rule is about',
  [
    aCalicoPolicy('p', {
      selector: 'role == "web"',
      types: ['Ingress'],
      ingress: [
        {
          action: 'Allow',
          ipVersion: 4,
          notProtocol: 'TCP',
          source: { notNets: ['10.1.0.4/32'], notSelector: 'zone == "dmz"' },
        },
        { action: 'Allow', ipVersion: 6, protocol: 'TCP', destination: { ports: [80, 81], notPorts: ['web'] } },
        { action: 'Allow', protocol: 'TCP', source: { selector: 'has(role)', notSelector: 'role == "db"' } },
      ],
    }),
  ],
  {
    'x/b > x/a udp 1': 'allow',
    'y/b > x/a udp 1': `ingress: ${END}`,
    '8.8.8.8 > x/a udp 1': 'allow',
    '203.0.113.9 > x/a udp 1': `ingress: ${END}`,
    'x/b > x/a tcp 1': `ingress: ${END}`,
    'y/b > x/a tcp 80 v6': `ingress: ${END}`,
    'y/b > x/a tcp 81 v6': 'allow',
    'y/a > x/a tcp 1': 'allow',
  },
)
says(
  'a rule with notNets of one family is a rule of that family',
  [
    aCalicoPolicy('p', {
      selector: 'role == "web"',
      types: ['Ingress'],
      ingress: [{ action: 'Allow', source: { notNets: ['10.1.0.4/32'] } }],
    }),
  ],
  { 'x/b > x/a tcp 1': 'allow', 'y/b > x/a tcp 1': `ingress: ${END}`, 'x/b > x/a tcp 1 v6': `ingress: ${END}` },
)
says(
  'ICMP is matched by type and code, of the family of the packet',
  [
    aCalicoPolicy('p', {
      types: ['Ingress'],
      ingress: [
        { action: 'Allow', protocol: 'ICMP', icmp: { type: 8 } },
        { action: 'Allow', protocol: 'ICMP', icmp: { type: 3, code: 4 } },
        { action: 'Allow', protocol: 'ICMPv6', notICMP: { type: 128 } },
      ],
    }),
  ],
  {
    'y/a > x/a icmp 8.0': 'allow',
    'y/a > x/a icmp 3.4': 'allow',
    'y/a > x/a icmp 3.3': `ingress: ${END}`,
    'y/a > x/a icmp6 128.0 v6': `ingress: ${END}`,
    'y/a > x/a icmp6 1.0 v6': 'allow',
  },
)
says(
  'ports are numbers, ranges and names, of the source as well',
  [
    aCalicoPolicy('p', {
      types: ['Ingress'],
      ingress: [
        {
          action: 'Allow',
          protocol: 'TCP',
          source: { ports: ['40000:40001'] },
          destination: { ports: [7, '9:10', 'web'] },
        },
        { action: 'Allow', protocol: 'UDP', source: { ports: [1] } },
      ],
    }),
  ],
  {
    'y/a > x/a tcp 7': 'allow',
    'y/a > x/a tcp 10': 'allow',
    'y/a > x/a tcp 11': `ingress: ${END}`,
    'y/a > x/a tcp 80': 'allow',
    'y/a > x/a udp 7': `ingress: ${END}`,
  },
)
says(
  'a rule that cannot be read is closed',
  [
    aCalicoPolicy('x/p', {
      types: ['Egress'],
      egress: [
        { action: 'Allow', destination: { selector: 'role =' } },
        { action: 'Allow', http: { methods: ['GET'] } },
        { action: 'Deny', protocol: 'TCP', destination: { nets: ['10.0.0/8'] } },
      ],
    }),
  ],
  { 'x/a > 203.0.113.9 udp 1': 'egress: rule 2 of NetworkPolicy p' },
)
says(
  'types are by the rules when none are given',
  [aCalicoPolicy('x/p', { egress: [{ action: 'Deny' }] }), aCalicoPolicy('y/p', {})],
  {
    'y/a > x/a tcp 1': 'allow',
    'x/a > 8.8.8.8 tcp 1': 'egress: rule 0 of NetworkPolicy p',
    'x/a > y/a tcp 1': 'egress: rule 0 of NetworkPolicy p',
    '8.8.8.8 > y/a tcp 1': `ingress: ${END}`,
  },
)
says(
  'between the built-in tiers there may be others',
  [
    aTier('middle', 2_000_000, 'Pass'),
    aCalicoPolicy('p', { tier: 'middle', ingress: [{ action: 'Deny', source: { selector: 'role == "db"' } }] }),
    aClusterPolicy('b', {
      tier: 'Baseline',
      priority: 1,
      subject: { namespaces: {} },
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    }),
    aNetworkPolicy('y/p', { ...ALL, ingress: [{}] }),
  ],
  {
    'x/b > x/a tcp 1': 'ingress: rule 0 of GlobalNetworkPolicy p',
    'y/a > x/a tcp 1': 'ingress: rule 0 of KubernetesClusterNetworkPolicy b',
    'x/b > y/a tcp 1': 'allow',
  },
)
says('a pod of a namespace that is not there is closed', [aPod('q/a', { node: 'n1', addresses: ['10.1.0.8'] })], {
  'q/a > y/a tcp 1': 'egress: profile kns.q',
})

says(
  'a Service without a namespace is of the namespace of the policy; a named port without a protocol is of TCP',
  [
    aSlice('x/web', ['10.1.0.4'], [{ port: 80 }]),
    aCalicoPolicy('x/p', {
      types: ['Egress'],
      egress: [{ action: 'Allow', destination: { services: { name: 'web' } } }],
    }),
    aCalicoPolicy('y/p', {
      types: ['Ingress'],
      ingress: [{ action: 'Allow', destination: { ports: ['dns', 'dns-tcp'] } }],
    }),
  ],
  {
    'x/a > y/b tcp 80': `ingress: ${END}`,
    'x/a > y/a tcp 80': `egress: ${END}`,
    '8.8.8.8 > y/a tcp 53': 'allow',
    '8.8.8.8 > y/a udp 53': `ingress: ${END}`,
  },
)
says(
  'interfaces of hosts are chosen by labels, as what has no namespace',
  [
    {
      apiVersion: 'projectcalico.org/v3',
      kind: 'HostEndpoint',
      metadata: { name: 'n2-eth0', labels: { role: 'host' } },
      spec: { node: 'n2', expectedIPs: ['192.0.2.2'], ports: [{ name: 'ssh', protocol: 'TCP', port: 22 }] },
    },
    aCalicoPolicy('p', {
      selector: 'role == "web"',
      types: ['Ingress', 'Egress'],
      ingress: [{ action: 'Allow', source: { selector: 'role == "host"', namespaceSelector: 'global()' } }],
      egress: [{ action: 'Allow', protocol: 'TCP', destination: { ports: ['ssh'] } }],
    }),
  ],
  {
    'node n2 > x/a tcp 1': 'allow',
    'x/b > x/a tcp 1': `ingress: ${END}`,
    'x/a > 192.0.2.2 tcp 22': 'allow',
    'x/a > 192.0.2.1 tcp 22': `egress: ${END}`,
  },
)
test('addresses of a pod are those of its status, or those that a plugin noted', t => {
  const base = aPod('y/p', { node: 'n2', addresses: [], labels: { role: 'job' } })
  const policy = aNetworkPolicy('x/p', {
    ...ALL,
    ingress: [{ from: [{ namespaceSelector: {}, podSelector: { matchLabels: { role: 'job' } } }] }],
  })
  const noted = (annotations: Record<string, string>) => ({ ...base, metadata: { ...base.metadata, annotations } })
  const reaches = (pod: WorldObject) =>
    ['10.1.0.8', '10.1.0.9'].filter(
      from => judge({ objects: [...BASE, policy, pod] }, packet(`${from} > x/a tcp 1`)).allowed,
    )
  t.deepEqual(reaches(base), [])
  t.deepEqual(reaches({ ...base, status: { podIP: '10.1.0.8' } }), ['10.1.0.8'])
  t.deepEqual(reaches({ ...base, status: { podIP: '10.1.0.8', podIPs: [{ ip: '10.1.0.9' }] } }), ['10.1.0.9'])
  const both = {
    'cni.projectcalico.org/podIPs': '10.1.0.8/32,10.1.0.9/32',
    'cni.projectcalico.org/podIP': '10.1.0.8/32',
  }
  t.deepEqual(reaches(noted(both)), ['10.1.0.8', '10.1.0.9'])
  t.deepEqual(reaches(noted({ 'cni.projectcalico.org/podIP': '10.1.0.9/32' })), ['10.1.0.9'])
  const leaving = {
    ...base.metadata,
    deletionTimestamp: '2026-01-01T00:00:00Z',
    annotations: { 'cni.projectcalico.org/podIP': '' },
  }
  t.deepEqual(reaches({ ...base, metadata: leaving, status: { podIP: '10.1.0.8' } }), [])
})

test('the evaluator takes nothing from what it is to judge', t => {
  const own = files.filter(file => file === 'test/policy/reference.ts' || file.startsWith('test/policy/reference/'))
  const taken = own.flatMap(importsOf).map(each => (isRelative(each) ? targetOf(each) : each.specifier))
  t.true(own.length > 5)
  t.deepEqual(
    taken.filter(
      from => from !== 'node:net' && from !== 'test/policy/reference.ts' && !from.startsWith('test/policy/reference/'),
    ),
    [],
  )
})
