import test from 'ava'
import { clusterPolicy } from '../../../../agent/cluster/policies/cluster.ts'

const PODS = 'projectcalico.org/orchestrator == "k8s"'
const ANY = { source: {}, destination: {} }
const DENY_ALL = { action: 'deny', ...ANY }
const BASE = { tier: 'Admin', priority: 3, subject: { namespaces: {} } }
const of = (spec: object) => clusterPolicy({ metadata: { name: 'n' }, spec: { ...BASE, ...spec } })
const port = (first: number, last = first) => ({ ranges: [{ first, last }], names: [] })

test('a policy has its tier, its priority as order, and the directions of which it has rules', t => {
  t.deepEqual(of({}), {
    value: {
      ref: { kind: 'ClusterNetworkPolicy', name: 'n' },
      ...{
        tier: 'kube-admin',
        order: 3,
        sortName: 'n//KubernetesClusterNetworkPolicy',
        selector: PODS,
        hostStage: 'normal',
      },
    },
    refused: [],
  })
  const { value } = of({ tier: 'Baseline', egress: [{ action: 'Pass', to: [{ namespaces: {} }] }] })
  t.is(value!.tier, 'kube-baseline')
  t.deepEqual(value!.egress, [{ action: 'pass', source: {}, destination: { selector: PODS } }])
  t.is(value!.ingress, undefined)
})

const subjects: [subject: object, selector: string][] = [
  [{ namespaces: {} }, PODS],
  [{ namespaces: { matchLabels: { a: 'b' } } }, `pcns.a == "b" && ${PODS}`],
  [{ pods: { podSelector: {} } }, PODS],
  [
    { pods: { namespaceSelector: { matchLabels: { a: 'b' } }, podSelector: { matchLabels: { c: 'd' } } } },
    `c == "d" && pcns.a == "b" && ${PODS}`,
  ],
]
for (const [subject, selector] of subjects)
  test(`the subject ${JSON.stringify(subject)}, and such a peer, is ${selector}`, t => {
    const { value } = of({ subject, ingress: [{ action: 'Accept', from: [subject] }] })
    t.is(value!.selector, selector)
    t.deepEqual(value!.ingress, [{ action: 'allow', source: { selector }, destination: {} }])
  })

const peers: [peer: object, side: object][] = [
  [{ networks: ['10.0.0.1/8', 'fd00::/8', '10.0.0.0/8'] }, { nets: ['10.0.0.0/8', 'fd00::/8'] }],
  [{ nodes: {} }, { nodes: 'all()' }],
  [{ nodes: { matchLabels: { role: 'x' } } }, { nodes: 'role == "x"' }],
  [{ domainNames: ['Example.COM.', '*.example.org'] }, { domains: ['*.example.org', 'example.com'] }],
]
for (const [peer, side] of peers)
  test(`the peer ${JSON.stringify(peer)} of an egress rule is ${JSON.stringify(side)}`, t => {
    const { value, refused } = of({ egress: [{ action: 'Accept', to: [peer] }] })
    t.deepEqual(refused, [])
    t.deepEqual(value!.egress, [{ action: 'allow', source: {}, destination: side }])
  })

const protocols: [protocols: readonly object[], wanted: readonly object[]][] = [
  [[{ tcp: { destinationPort: { number: 80 } } }], [{ protocol: 6, ports: port(80) }]],
  [[{ sctp: { destinationPort: { range: { start: 80, end: 90 } } } }], [{ protocol: 132, ports: port(80, 90) }]],
  [[{ udp: {} }, { udp: { destinationPort: { number: 1 } } }], [{ protocol: 17 }]],
  [
    [{ destinationNamedPort: 'web' }, { tcp: { destinationPort: { number: 81 } } }, { destinationNamedPort: 'dns' }],
    [{ protocol: 6, ports: port(81) }, { ports: { ranges: [], names: ['dns', 'web'] } }],
  ],
]
for (const [given, wanted] of protocols)
  test(`the protocols ${JSON.stringify(given)} are asked of the destination, for each peer`, t => {
    const from = [{ namespaces: {} }, { pods: { podSelector: { matchLabels: { a: 'b' } } } }]
    const { value } = of({ ingress: [{ action: 'Deny', from, protocols: given }] })
    // all of them are the first rule of the object, as people count
    t.true(value!.ingress!.every(({ of: place }, i) => (place ?? i) === 0))
    const found = value!.ingress!.map(({ action: _action, of: _place, source, destination, ...rest }) => ({
      source,
      ...rest,
      ...destination,
    }))
    const sources = [{ selector: PODS }, { selector: `a == "b" && ${PODS}` }]
    t.deepEqual(
      found,
      sources.flatMap(source => wanted.map(each => ({ source, ...each }))),
    )
  })

test('the name of a port means nothing beside addresses', t => {
  const to = [{ networks: ['10.0.0.0/8'] }, { namespaces: {} }]
  const { value } = of({ egress: [{ action: 'Deny', to, protocols: [{ destinationNamedPort: 'web' }] }] })
  t.deepEqual(value!.egress, [
    { action: 'deny', source: {}, destination: { selector: PODS, ports: { ranges: [], names: ['web'] } } },
  ])
})

const unknown: [rule: object, path: string][] = [
  [{}, 'spec.egress[0].to'],
  [{ to: [] }, 'spec.egress[0].to'],
  [{ to: [{}] }, 'spec.egress[0].to[0]'],
  [{ to: [{ namespaces: {}, pods: { podSelector: {} } }] }, 'spec.egress[0].to[0]'],
  [{ to: [{ new: {} }] }, 'spec.egress[0].to[0]'],
  [{ to: [{ networks: ['10.0.0.0'] }] }, 'spec.egress[0].to[0].networks[0]'],
  [{ to: [{ networks: [] }] }, 'spec.egress[0].to[0].networks'],
  [{ to: [{ domainNames: ['com'] }] }, 'spec.egress[0].to[0].domainNames'],
  [{ to: [{ namespaces: {} }], protocols: [{}] }, 'spec.egress[0].protocols[0]'],
  [{ to: [{ namespaces: {} }], protocols: [{ icmp: {} }] }, 'spec.egress[0].protocols[0]'],
  [
    { to: [{ namespaces: {} }], protocols: [{ tcp: { destinationPort: {} } }] },
    'spec.egress[0].protocols[0].tcp.destinationPort',
  ],
  [
    { to: [{ namespaces: {} }], protocols: [{ tcp: { destinationPort: { number: 65536 } } }] },
    'spec.egress[0].protocols[0].tcp.destinationPort',
  ],
]
for (const [rule, path] of unknown)
  test(`the rule ${JSON.stringify(rule)} accepts nothing, and denies everything where it denies or passes`, t => {
    for (const [action, result] of [
      ['Accept', { action: 'allow', ...ANY, never: true }],
      ['Deny', DENY_ALL],
      ['Pass', DENY_ALL],
    ] as const) {
      const { value, refused } = of({ egress: [{ action, ...rule }] })
      t.deepEqual(value!.egress, [result])
      t.true(refused[0]!.message.startsWith(path), refused[0]!.message)
    }
  })

test('a rule that denies or passes by domains, or names addresses as senders, is closed', t => {
  for (const action of ['Deny', 'Pass'])
    t.deepEqual(of({ egress: [{ action, to: [{ domainNames: ['example.com'] }] }] }).value!.egress, [DENY_ALL] as never)
  for (const peer of [{ networks: ['10.0.0.0/8'] }, { nodes: {} }, { domainNames: ['example.com'] }]) {
    t.deepEqual(of({ ingress: [{ action: 'Deny', from: [peer] }] }).value!.ingress, [DENY_ALL] as never)
    t.true(of({ ingress: [{ action: 'Accept', from: [peer] }] }).value!.ingress![0]!.never)
  }
  t.deepEqual(of({ ingress: [{ action: 'Reject', from: [{ namespaces: {} }] }] }).value!.ingress, [DENY_ALL] as never)
})

const unclear: [spec: object, tier: string, selector: string][] = [
  [
    { tier: 'Developer', subject: { namespaces: { matchLabels: { a: 'b' } } } },
    'kube-admin',
    `pcns.a == "b" && ${PODS}`,
  ],
  [{ subject: {} }, 'kube-admin', PODS],
  [{ tier: 'Baseline', subject: { serviceAccounts: {} } }, 'kube-baseline', PODS],
  [{ priority: 1001 }, 'kube-admin', PODS],
]
for (const [spec, tier, selector] of unclear)
  test(`a policy with ${JSON.stringify(spec)} denies everything of those that it could be for`, t => {
    const { value, refused } = of({ ingress: [{ action: 'Accept', from: [{ namespaces: {} }] }], ...spec })
    t.like(value, { tier, selector })
    t.deepEqual([value!.ingress, value!.egress], [[DENY_ALL], [DENY_ALL]] as never)
    t.regex(refused[0]!.message, /the whole of it is closed$/)
  })
