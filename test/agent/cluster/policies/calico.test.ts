import test from 'ava'
import { calicoPolicyOf } from '../../../../agent/cluster/policies/calico.ts'
import type { HostStage, PolicyRule } from '../../../../felix/policy/model.ts'

const own = { name: 'n', namespace: 'shop' }
const SHOP = 'projectcalico.org/namespace == "shop"'
const ANY = { source: {}, destination: {} }
const DENY_ALL = { action: 'deny', ...ANY }

const inShop = (spec: object) => calicoPolicyOf('NetworkPolicy', { metadata: own, spec: { ...spec } })
const ofAll = (spec: object) => calicoPolicyOf('GlobalNetworkPolicy', { metadata: { name: 'g' }, spec: { ...spec } })
const ruleOf = (rule: unknown, make = inShop): PolicyRule => make({ ingress: [rule] }).value!.ingress![0]!

test('an empty policy of a namespace selects all in it for ingress, behind all that have an order', t => {
  t.deepEqual(inShop({}), {
    value: {
      ref: { kind: 'NetworkPolicy', name: 'n', namespace: 'shop' },
      ...{ tier: 'default', order: Number.POSITIVE_INFINITY, sortName: 'n/shop/NetworkPolicy', selector: SHOP },
      ...{ ingress: [], hostStage: 'normal' },
    },
    refused: [],
  })
})

test('a global policy says its tier, order, and whom it is for by labels, namespaces and accounts', t => {
  const { value } = ofAll({
    ...{ tier: 'early', order: 5.5, types: ['Egress'] },
    ...{ selector: "app == 'x'", namespaceSelector: "env == 'p' || all()", serviceAccountSelector: "role == 'r'" },
  })
  t.like(value, { tier: 'early', order: 5.5, sortName: 'g//GlobalNetworkPolicy', egress: [] })
  t.is(value!.ingress, undefined)
  t.is(value!.selector, 'app == "x" && (has(projectcalico.org/namespace) || pcns.env == "p") && pcsa.role == "r"')
})

const subjects: [spec: object, inNamespace: boolean, selector: string][] = [
  [{}, false, 'all()'],
  [{ selector: 'all()' }, true, SHOP],
  [{ selector: "a == 'b' || has(c)" }, true, `(a == "b" || has(c)) && ${SHOP}`],
  [{ namespaceSelector: 'all()' }, false, 'has(projectcalico.org/namespace)'],
  [{ serviceAccountSelector: 'all()' }, false, 'has(projectcalico.org/serviceaccount)'],
  [{ serviceAccountSelector: "x != 'y'" }, true, `pcsa.x != "y" && ${SHOP}`],
]
for (const [spec, inNamespace, selector] of subjects)
  test(`${inNamespace ? 'in a namespace' : 'for all'}, ${JSON.stringify(spec)} selects ${selector}`, t => {
    t.is((inNamespace ? inShop : ofAll)(spec).value!.selector, selector)
  })

const types: [spec: object, directions: string][] = [
  [{}, 'ingress'],
  [{ ingress: [{ action: 'Allow' }] }, 'ingress'],
  [{ egress: [{ action: 'Allow' }] }, 'egress'],
  [{ ingress: [{ action: 'Allow' }], egress: [{ action: 'Allow' }] }, 'ingress egress'],
  [{ types: ['Ingress'], egress: [{ action: 'Allow' }] }, 'ingress'],
  [{ types: ['Ingress', 'Egress'] }, 'ingress egress'],
]
for (const [spec, directions] of types)
  test(`${JSON.stringify(spec)} is about ${directions}`, t => {
    t.is(['ingress', 'egress'].filter(each => each in inShop(spec).value!).join(' '), directions)
  })

const stages: [spec: object, stage: HostStage][] = [
  [{}, 'normal'],
  [{ applyOnForward: true }, 'forward'],
  [{ applyOnForward: true, preDNAT: true }, 'preDNAT'],
  [{ applyOnForward: true, doNotTrack: true }, 'untracked'],
]
for (const [spec, stage] of stages)
  test(`${JSON.stringify(spec)} is asked of hosts as ${stage}`, t => {
    t.is(ofAll(spec).value!.hostStage, stage)
  })

const rules: [rule: object, result: object][] = [
  [{ action: 'Allow' }, { action: 'allow', ...ANY }],
  [{ action: 'Log' }, { action: 'log', ...ANY }],
  [
    { action: 'Pass', ipVersion: 6 },
    { action: 'pass', ipVersion: 6, ...ANY },
  ],
  [
    { action: 'Deny', protocol: 'UDPLite', metadata: { annotations: { a: 'b' } } },
    { action: 'deny', protocol: 136, ...ANY },
  ],
  [
    { action: 'Deny', protocol: 'tcp', notProtocol: '17' },
    { action: 'deny', protocol: 6, notProtocol: 17, ...ANY },
  ],
  [
    { action: 'Allow', protocol: 'ICMP', icmp: { type: 8 }, notICMP: { type: 3, code: 4 } },
    { action: 'allow', protocol: 1, icmp: { type: 8 }, notIcmp: { type: 3, code: 4 }, ...ANY },
  ],
  [
    { action: 'Allow', protocol: 'TCP', destination: { ports: [80, '81:90', 'web'], notPorts: ['85'] } },
    {
      ...{ action: 'allow', protocol: 6, source: {} },
      destination: {
        ports: { ranges: [{ first: 80, last: 90 }], names: ['web'] },
        notPorts: { ranges: [{ first: 85, last: 85 }], names: [] },
      },
    },
  ],
  [
    { action: 'Allow', destination: { ports: ['web'] } },
    { action: 'allow', protocol: 6, source: {}, destination: { ports: { ranges: [], names: ['web'] } } },
  ],
  [
    { action: 'Allow', source: { nets: ['10.0.0.0/8', '10.0.0.0/8', 'fd00::1'], notNets: [] } },
    { action: 'allow', source: { nets: ['10.0.0.0/8', 'fd00::1/128'] }, destination: {} },
  ],
  [
    { action: 'Deny', destination: { notNets: ['10.0.0.0/8'] } },
    { action: 'deny', ipVersion: 4, source: {}, destination: { notNets: ['10.0.0.0/8'] } },
  ],
  [
    { action: 'Deny', source: { nets: ['10.0.0.0/8'] }, destination: { nets: ['fd00::/8'] } },
    { action: 'deny', source: { nets: ['10.0.0.0/8'] }, destination: { nets: ['fd00::/8'] }, never: true },
  ],
  [
    { action: 'Allow', ipVersion: 4, source: { notNets: ['::/0'] } },
    { action: 'allow', source: { notNets: ['::/0'] }, destination: {}, never: true },
  ],
  [
    { action: 'Allow', ipVersion: 6, destination: { nets: ['10.0.0.0/8', 'fd00::1'] } },
    { action: 'allow', ipVersion: 6, source: {}, destination: { nets: ['10.0.0.0/8', 'fd00::1/128'] } },
  ],
]
for (const [rule, result] of rules)
  test(`the rule ${JSON.stringify(rule)} is ${JSON.stringify(result)}`, t => {
    t.deepEqual(ruleOf(rule), result as PolicyRule)
  })

const NONE = 'projectcalico.org/namespace'
const sides: [side: object, inNamespace: object, ofAll: object][] = [
  [{ selector: "a == 'b'" }, { selector: `a == "b" && ${SHOP}` }, { selector: 'a == "b"' }],
  [{ selector: 'all()' }, { selector: SHOP }, { selector: 'all()' }],
  [{ notSelector: 'has(a)' }, { selector: `!has(a) && ${SHOP}` }, { notSelector: 'has(a)' }],
  [
    { selector: 'has(b)', notSelector: 'has(a)' },
    { selector: `!has(a) && has(b) && ${SHOP}` },
    { selector: '!has(a) && has(b)' },
  ],
  [{ namespaceSelector: "env == 'x'" }, { selector: 'pcns.env == "x"' }, { selector: 'pcns.env == "x"' }],
  [{ namespaceSelector: 'all()' }, { selector: `has(${NONE})` }, { selector: `has(${NONE})` }],
  [{ namespaceSelector: 'global()' }, { selector: `!has(${NONE})` }, { selector: `!has(${NONE})` }],
  [
    { namespaceSelector: 'global()', selector: 'has(a)' },
    { selector: `!has(${NONE}) && has(a)` },
    { selector: `!has(${NONE}) && has(a)` },
  ],
  [
    { serviceAccounts: { names: ['y', 'x'] } },
    { selector: `${SHOP} && projectcalico.org/serviceaccount in {"x", "y"}` },
    { selector: 'projectcalico.org/serviceaccount in {"x", "y"}' },
  ],
  [
    { serviceAccounts: { selector: "r == '1'" }, selector: 'has(a)' },
    { selector: `has(a) && pcsa.r == "1" && ${SHOP}` },
    { selector: 'has(a) && pcsa.r == "1"' },
  ],
  [{ serviceAccounts: {} }, {}, {}],
  [{ selector: '', nets: [], ports: [], namespaceSelector: '' }, {}, {}],
  [
    { services: { name: 's', namespace: 'x' } },
    { service: { namespace: 'x', name: 's' } },
    { service: { namespace: 'x', name: 's' } },
  ],
]
for (const [side, inNamespace, global] of sides)
  test(`the side ${JSON.stringify(side)} is ${JSON.stringify(inNamespace)} in a namespace, ${JSON.stringify(global)} for all`, t => {
    t.deepEqual(ruleOf({ action: 'Allow', source: side }).source, inNamespace)
    t.deepEqual(ruleOf({ action: 'Allow', source: side }, ofAll).source, global)
    const { value } = ofAll({ egress: [{ action: 'Allow', destination: side }] })
    t.deepEqual(value!.egress![0]!.destination, global)
  })

test('the ports of a source may stand beside a Service, and those of a destination may not', t => {
  const side = { services: { name: 's' }, ports: [80] }
  const ports = { ranges: [{ first: 80, last: 80 }], names: [] }
  t.deepEqual(ruleOf({ action: 'Allow', protocol: 'TCP', source: side }).source, {
    ...{ ports, service: { namespace: 'shop', name: 's' } },
  })
  const { value, refused } = inShop({ egress: [{ action: 'Allow', protocol: 'TCP', destination: side }] })
  t.true(value!.egress![0]!.never)
  t.regex(refused[0]!.message, /^spec\.egress\[0\]\.destination\.services: must stand alone, without ports/)
})

test('a Service without a namespace is of the namespace of the policy', t => {
  t.deepEqual(ruleOf({ action: 'Allow', source: { services: { name: 's' } } }).source, {
    service: { namespace: 'shop', name: 's' },
  })
})

const closed: [rule: object, path: string][] = [
  [{ selector: 'a ==' }, 'source.selector'],
  [{ selector: 'global()' }, 'source.selector'],
  [{ notSelector: '(' }, 'source.notSelector'],
  [{ namespaceSelector: '&&' }, 'source.namespaceSelector'],
  [{ nets: ['10.0.0.0/33'] }, 'source.nets[0]'],
  [{ notNets: ['x'] }, 'source.notNets[0]'],
  [{ ports: [80] }, 'source.ports'],
  [{ ports: ['90:80'] }, 'source.ports'],
  [{ serviceAccounts: { selector: '!' } }, 'source.serviceAccounts.selector'],
  [{ services: {} }, 'source.services'],
  [{ services: { name: 's' }, nets: ['10.0.0.0/8'] }, 'source.services'],
  [{ namespaceSelector: 'global() && has(a)' }, 'source.namespaceSelector'],
  [{ fields: 1 }, 'source'],
]
const closedRules: [rule: object, path: string][] = [
  ...closed.map(([source, path]): [object, string] => [{ source }, path]),
  [{ destination: { services: { name: 's' } } }, 'destination.services'],
  [{ protocol: 'GRE' }, 'protocol'],
  [{ protocol: 300 }, 'protocol'],
  [{ notProtocol: 0 }, 'notProtocol'],
  [{ protocol: 'ICMP', destination: { ports: [80] } }, 'destination.ports'],
  [{ protocol: 'TCP', destination: { ports: ['a b'] } }, 'destination.ports[0]'],
  [{ icmp: { type: 8 } }, 'icmp'],
  [{ protocol: 'ICMP', icmp: { code: 0 } }, 'icmp.code'],
  [{ protocol: 'ICMP', icmp: { type: 256 } }, 'icmp'],
  [{ ipVersion: 5 }, 'ipVersion'],
  [{ http: { methods: ['GET'] } }, 'http'],
  [{ newCondition: true }, ''],
]
for (const [rule, path] of closedRules)
  test(`${JSON.stringify(rule)} closes its rule whatever that does, and is told`, t => {
    const at = `spec.ingress[0]${path === '' ? '' : `.${path}`}`
    for (const [action, result] of [
      ['Allow', { action: 'allow', ...ANY, never: true }],
      ['Log', { action: 'log', ...ANY, never: true }],
      ['Deny', DENY_ALL],
      ['Pass', DENY_ALL],
    ] as const) {
      const { value, refused } = inShop({
        ingress: [
          { action, ...rule },
          { action: 'Allow', source: { selector: 'has(a)' } },
        ],
      })
      t.deepEqual(value!.ingress![0], result)
      t.is(value!.ingress![1]!.source.selector, `has(a) && ${SHOP}`, 'the next rule keeps its conditions')
      t.true(refused[0]!.message.startsWith(`${at}: `), refused[0]!.message)
    }
  })

test('a rule with an unknown action, or with none, denies everything', t => {
  for (const rule of [{ action: 'Reject' }, {}, 'Allow', { action: 7 }])
    t.deepEqual(ruleOf(rule), DENY_ALL as PolicyRule)
})

const unclear: [spec: object, path: string][] = [
  [{ selector: "app = 'x'" }, 'spec.selector'],
  [{ serviceAccountSelector: '(' }, 'spec.serviceAccountSelector'],
  [{ types: ['Both'] }, 'spec.types[0]'],
  [{ ingress: 'all' }, 'spec.ingress'],
  [{ preDNAT: true, doNotTrack: true }, 'spec.preDNAT'],
  [{ preDNAT: true }, 'spec.preDNAT'],
  [{ newSelector: 'has(a)' }, 'spec.newSelector'],
  [{ namespaceSelector: 'global()' }, 'spec.namespaceSelector'],
]
for (const [spec, path] of unclear)
  test(`a policy with ${JSON.stringify(spec)} denies everything, in its tier and order`, t => {
    const { value, refused } = ofAll({ tier: 'early', order: 7, egress: [{ action: 'Allow' }], ...spec })
    t.like(value, { tier: 'early', order: 7 })
    t.deepEqual([value!.ingress, value!.egress], [[DENY_ALL], [DENY_ALL]] as never)
    t.true(refused[0]!.message.startsWith(`${path}: `), refused[0]!.message)
    t.regex(refused[0]!.message, /the whole of it is closed$/)
  })

test('a policy whose selector cannot be read is closed for every pod that it could select, and for no host', t => {
  const pods = 'projectcalico.org/orchestrator == "k8s"'
  t.is(ofAll({ selector: '(' }).value!.selector, pods)
  t.is(inShop({ selector: '(' }).value!.selector, `${SHOP} && ${pods}`)
})

test('an order may be any number', t => {
  for (const order of [-1.5, 0, 2 ** 60, 2n ** 62n]) t.is(inShop({ order }).value!.order, Number(order))
})

test('a policy whose order cannot be read comes first, since it only denies', t => {
  t.is(inShop({ order: 'first' }).value!.order, Number.NEGATIVE_INFINITY)
})

test('a selector that is too deep with what is joined to it is told', t => {
  const deep = `${'!('.repeat(101)}has(a) || has(b)${')'.repeat(101)}`
  t.regex(inShop({ selector: deep }).refused[0]!.message, /^spec\.selector: .*at most 100 nested parentheses/)
})

test('a staged policy says the same and is never enforced, but one that deletes is none', t => {
  const spec = { selector: 'has(a)', ingress: [{ action: 'Deny' }] }
  for (const stagedAction of ['Set', 'Learn', 'Ignore', '', undefined]) {
    const { value } = calicoPolicyOf('StagedNetworkPolicy', { metadata: own, spec: { ...spec, stagedAction } })
    const { ref: _ref, sortName, staged, ...rest } = value!
    t.is(sortName, 'n/shop/StagedNetworkPolicy')
    t.true(staged)
    const { ref: _own, sortName: _name, ...enforced } = inShop(spec).value!
    t.deepEqual(rest, enforced)
  }
  const deleted = { metadata: { name: 'g' }, spec: { stagedAction: 'Delete' } }
  t.deepEqual(calicoPolicyOf('StagedGlobalNetworkPolicy', deleted), { refused: [] })
  t.truthy(calicoPolicyOf('GlobalNetworkPolicy', deleted).value, 'the word means nothing in a policy that is enforced')
})
