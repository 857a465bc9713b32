import test from 'ava'
import { kubernetesPolicy, stagedKubernetesPolicy } from '../../../../agent/cluster/policies/kubernetes.ts'
import type { PolicyRule } from '../../../../felix/policy/model.ts'

const metadata = { name: 'n', namespace: 'shop' }
const PODS = 'projectcalico.org/orchestrator == "k8s"'
const SHOP = 'projectcalico.org/namespace == "shop"'
const OWN = `${SHOP} && ${PODS}`

function ingress(rule: object): readonly PolicyRule[] {
  return kubernetesPolicy({ metadata, spec: { podSelector: {}, ingress: [rule] } }).value!.ingress!
}

test('a policy is of the tier default, before those of Calico that have no order, and selects pods of its namespace', t => {
  const { value, refused } = kubernetesPolicy({ metadata, spec: { podSelector: { matchLabels: { app: 'web' } } } })
  t.deepEqual(refused, [])
  t.deepEqual(value, {
    ref: { kind: 'KubernetesNetworkPolicy', name: 'n', namespace: 'shop' },
    ...{ tier: 'default', order: 1000, sortName: 'n/shop/KubernetesNetworkPolicy', hostStage: 'normal' },
    selector: `app == "web" && ${OWN}`,
    ingress: [],
  })
})

const types: [spec: object, directions: string][] = [
  [{}, 'ingress'],
  [{ policyTypes: [] }, 'ingress'],
  [{ egress: [] }, 'ingress'],
  [{ egress: [{}] }, 'ingress egress'],
  [{ policyTypes: ['Egress'], ingress: [{}] }, 'egress'],
  [{ policyTypes: ['Ingress'], egress: [{}] }, 'ingress'],
  [{ policyTypes: ['Egress', 'Ingress'] }, 'ingress egress'],
]
for (const [spec, directions] of types)
  test(`${JSON.stringify(spec)} is about ${directions}`, t => {
    const { value } = kubernetesPolicy({ metadata, spec: { podSelector: {}, ...spec } })
    t.is(['ingress', 'egress'].filter(each => each in value!).join(' '), directions)
  })

const selectors: [selector: object, text: string][] = [
  [{}, OWN],
  [{ matchExpressions: [{ key: 'a', operator: 'In', values: ['y', 'x'] }] }, `a in {"x", "y"} && ${OWN}`],
  [{ matchExpressions: [{ key: 'a', operator: 'In', values: ['x'] }] }, `a == "x" && ${OWN}`],
  [{ matchExpressions: [{ key: 'a', operator: 'NotIn', values: ['x', 'x'] }] }, `a != "x" && ${OWN}`],
  [{ matchExpressions: [{ key: 'a', operator: 'NotIn', values: ['x', 'y'] }] }, `a not in {"x", "y"} && ${OWN}`],
  [{ matchExpressions: [{ key: 'a', operator: 'Exists' }] }, `has(a) && ${OWN}`],
  [{ matchExpressions: [{ key: 'a', operator: 'DoesNotExist' }] }, `!has(a) && ${OWN}`],
]
for (const [podSelector, text] of selectors)
  test(`${JSON.stringify(podSelector)} selects ${text}`, t => {
    t.is(kubernetesPolicy({ metadata, spec: { podSelector } }).value!.selector, text)
  })

const peers: [peer: object, source: object][] = [
  [{ podSelector: {} }, { selector: OWN }],
  [{ podSelector: { matchLabels: { app: 'db' } } }, { selector: `app == "db" && ${OWN}` }],
  [{ namespaceSelector: {} }, { selector: PODS }],
  [{ namespaceSelector: { matchLabels: { env: 'x' } } }, { selector: `pcns.env == "x" && ${PODS}` }],
  [
    { namespaceSelector: { matchLabels: { env: 'x' } }, podSelector: { matchLabels: { app: 'db' } } },
    { selector: `app == "db" && pcns.env == "x" && ${PODS}` },
  ],
  [{ ipBlock: { cidr: '10.1.2.3/8' } }, { nets: ['10.0.0.0/8'] }],
  [
    { ipBlock: { cidr: 'FD00::/8', except: ['fd01::/16', 'fd00::1/64'] } },
    { nets: ['fd00::/8'], notNets: ['fd00::/64', 'fd01::/16'] },
  ],
]
for (const [peer, source] of peers)
  test(`the peer ${JSON.stringify(peer)} is ${JSON.stringify(source)}`, t => {
    t.deepEqual(ingress({ from: [peer] }), [{ action: 'allow', source, destination: {} }])
  })

const ports: [ports: readonly object[], wanted: readonly object[]][] = [
  [[], [{}]],
  [[{}], [{ protocol: 6 }]],
  [[{ port: 80 }], [{ protocol: 6, ports: { ranges: [{ first: 80, last: 80 }], names: [] } }]],
  [
    [{ port: 80 }, { port: 81, endPort: 90 }],
    [{ protocol: 6, ports: { ranges: [{ first: 80, last: 90 }], names: [] } }],
  ],
  [[{ port: 80 }, {}], [{ protocol: 6 }]],
  [
    [{ port: 'web' }, { port: 53, protocol: 'UDP' }, { protocol: 'SCTP' }],
    [
      { protocol: 6, ports: { ranges: [], names: ['web'] } },
      { protocol: 17, ports: { ranges: [{ first: 53, last: 53 }], names: [] } },
      { protocol: 132 },
    ],
  ],
]
for (const [given, wanted] of ports)
  test(`the ports ${JSON.stringify(given)} are those of the destination`, t => {
    const rules = ingress({ ports: given })
    // all of them are the first rule of the object, as people count
    t.true(rules.every(({ of: place }, i) => (place ?? i) === 0))
    t.deepEqual(
      rules.map(({ action: _action, of: _place, source: _source, destination, ...rest }) => ({
        ...rest,
        ...destination,
      })),
      wanted,
    )
  })

test('an empty list of peers is everybody, and an egress rule is about its destination', t => {
  t.deepEqual(ingress({ from: [] }), [{ action: 'allow', source: {}, destination: {} }])
  const { value } = kubernetesPolicy({
    metadata,
    spec: { podSelector: {}, egress: [{ to: [{ podSelector: {} }], ports: [{ port: 'dns', protocol: 'UDP' }] }] },
  })
  t.deepEqual(value!.egress, [
    {
      ...{ action: 'allow', protocol: 17, source: {} },
      destination: { selector: OWN, ports: { ranges: [], names: ['dns'] } },
    },
  ])
})

test('many blocks without exceptions are one rule', t => {
  const from = Array.from({ length: 3000 }, (_, i) => ({ ipBlock: { cidr: `10.${i >> 8}.${i & 255}.0/24` } }))
  const rules = ingress({ from })
  t.is(rules.length, 1)
  t.is(rules[0]!.source.nets!.length, 3000)
})

const closed: [rule: unknown, path: string][] = [
  [7, 'spec.ingress[0]'],
  [{ from: [{}] }, 'spec.ingress[0].from[0]'],
  [{ from: [{ newSelector: {} }] }, 'spec.ingress[0].from[0]'],
  [{ from: [{ podSelector: { matchLabels: { a: 1 } } }] }, 'spec.ingress[0].from[0].podSelector.matchLabels.a'],
  [{ from: [{ podSelector: { matchLabels: { a: '"' } } }] }, 'spec.ingress[0].from[0].podSelector.matchLabels'],
  [
    { from: [{ podSelector: { matchExpressions: [{ key: 'a', operator: 'Gt', values: ['1'] }] } }] },
    'spec.ingress[0].from[0].podSelector.matchExpressions[0].operator',
  ],
  [
    { from: [{ podSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } }] },
    'spec.ingress[0].from[0].podSelector.matchExpressions[0].values',
  ],
  [{ from: [{ ipBlock: { cidr: '10.0.0.0/33' } }] }, 'spec.ingress[0].from[0].ipBlock.cidr'],
  [{ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['x'] } }] }, 'spec.ingress[0].from[0].ipBlock.except[0]'],
  [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }] }, 'spec.ingress[0].from[0].ipBlock'],
  [{ ports: [{ protocol: 'ICMP' }] }, 'spec.ingress[0].ports[0].protocol'],
  [{ ports: [{ port: 0 }] }, 'spec.ingress[0].ports[0]'],
  [{ ports: [{ port: 90, endPort: 80 }] }, 'spec.ingress[0].ports[0]'],
  [{ ports: [{ port: 'web', endPort: 80 }] }, 'spec.ingress[0].ports[0].endPort'],
  [{ ports: [{ endPort: 80 }] }, 'spec.ingress[0].ports[0].endPort'],
  [{ ports: [{ port: '80' }] }, 'spec.ingress[0].ports[0].port'],
  [{ from: [{ podSelector: {} }], seconds: 10 }, 'spec.ingress[0]'],
]
for (const [rule, path] of closed)
  test(`the rule ${JSON.stringify(rule)} allows nothing, and ${path} is told`, t => {
    const { value, refused } = kubernetesPolicy({ metadata, spec: { podSelector: {}, ingress: [rule, {}] } })
    t.deepEqual(value!.ingress, [
      { action: 'allow', source: {}, destination: {}, never: true },
      { action: 'allow', source: {}, destination: {} },
    ])
    t.like(refused[0], { type: 'PoliciesEnforced', status: 'False', reason: 'Closed' })
    t.true(refused[0]!.message.startsWith(`${path}: `), refused[0]!.message)
    t.is(refused[0]!.remedy, `correct ${path}, or delete KubernetesNetworkPolicy shop/n`)
  })

test('a policy of which it is not clear whom it selects isolates every pod of its namespace', t => {
  const { value, refused } = kubernetesPolicy({ metadata, spec: { podSelector: { zzz: 1 }, ingress: [{}] } })
  t.like(value, { selector: OWN, ingress: [] })
  t.regex(refused[0]!.message, /^spec\.podSelector: .*; the whole of it is closed$/)
})

test('a policy with unknown types isolates its pods in both directions', t => {
  const { value } = kubernetesPolicy({ metadata, spec: { podSelector: {}, policyTypes: ['Both'], ingress: [{}] } })
  t.deepEqual([value!.ingress, value!.egress], [[], []])
})

test('a policy of too many rules isolates its pods, and is told in few words', t => {
  const from = Array.from({ length: 8193 }, (_, i) => ({ podSelector: { matchLabels: { app: `a${i}` } } }))
  const { value, refused } = kubernetesPolicy({ metadata, spec: { podSelector: {}, ingress: [{ from }] } })
  t.deepEqual(value!.ingress, [])
  t.regex(refused[0]!.message, /^spec: makes 8193 rules/)
})

test('thousands of faults are told in few words', t => {
  const many = Array.from({ length: 5000 }, () => ({ from: [{}] }))
  const { refused } = kubernetesPolicy({ metadata, spec: { podSelector: {}, ingress: many } })
  t.is(refused.length, 1)
  t.true(refused[0]!.message.length < 700)
  t.regex(refused[0]!.message, /and 4995 more; what they are part of is closed$/)
})

test('a staged one is the same, never enforced, and one that deletes is none', t => {
  const spec = { podSelector: {}, ingress: [{}] }
  const { value } = stagedKubernetesPolicy({ metadata, spec: { ...spec, stagedAction: 'Set' } })
  t.like(value, {
    staged: true,
    sortName: 'n/shop/StagedKubernetesNetworkPolicy',
    ref: { kind: 'StagedKubernetesNetworkPolicy' },
  })
  t.deepEqual(value!.ingress, kubernetesPolicy({ metadata, spec }).value!.ingress)
  t.deepEqual(stagedKubernetesPolicy({ metadata, spec: { stagedAction: 'Delete' } }), { refused: [] })
})
