// What the BGPFilters of a BGPPeer make of its sessions: which rules, what stays closed, and what no filter can do.
import test from 'ava'
import fc from 'fast-check'
import { Filters } from '../../../agent/cluster/filters.ts'
import { outsideExport, outsideImport } from '../../../agent/cluster/trust.ts'
import { bgpFilterSpec } from '../../../api/bgp-filter.ts'
import { bgpFilter } from '../../../api/shapes/bgp-filter.ts'
import type { Shape } from '../../../api/shapes/shape.ts'
import { Policy, type PolicyRule, type PolicySubject } from '../../../bgp/policy.ts'
import { addressBytes, cidr } from '../../../lib/ip.ts'
import { aFilter, all, aPeer, settings } from './peer-world.ts'

function route(prefix: string, more: Partial<PolicySubject> = {}): PolicySubject {
  const { address, length } = cidr(prefix)
  return { octets: addressBytes(address), length, attributes: {}, learned: true, peerType: 'ebgp', ...more }
}

function rulesOf(objects: Readonly<Record<string, object>>, names = Object.keys(objects)) {
  const it = new Filters()
  for (const [name, spec] of Object.entries(objects)) it.set(name, aFilter(name, spec))
  const { filters, closed } = it.of(names)
  return filters ?? closed!
}

/** What rules say of a route, or `goes on` where none decides. */
function verdict(rules: readonly PolicyRule[], subject: PolicySubject): string {
  const { rule, action } = new Policy(rules, { external: true }).evaluate(subject)
  return rule < 0 ? 'goes on' : action
}

test('every condition and operation of a BGPFilter becomes one of a rule, in the order of its filters, with its place as the reason', t => {
  const spec = {
    importV4: [
      {
        action: 'Accept',
        ...{ cidr: '10.0.0.0/8', matchOperator: 'In', prefixLength: { min: 16, max: 24 }, source: 'RemotePeers' },
        ...{ interface: 'eth*', peerType: 'eBGP', communities: { values: ['65000:1'] }, asPathPrefix: [65001, 65002] },
        priority: 512,
        operations: [
          { addCommunity: { value: '1:2:3' } },
          { prependASPath: { prefix: [7, 8] } },
          { setPriority: { value: 100 } },
        ],
      },
    ],
    importV6: [{ action: 'Reject', cidr: '2001:db8::/32', matchOperator: 'NotEqual' }],
    exportV6: [{ action: 'Accept' }],
  }
  t.deepEqual(rulesOf({ a: spec, b: { exportV4: [{ action: 'Reject' }] } }, ['b', 'a']), {
    import: [
      {
        action: 'accept',
        family: 'ipv4',
        match: { operator: 'In', cidr: '10.0.0.0/8', lengths: { min: 16, max: 24 } },
        ...{ source: 'RemotePeers', interface: 'eth*', peerType: 'eBGP' },
        ...{ communities: ['65000:1'], asPathPrefix: [65001, 65002], priority: 512 },
        operations: [
          { do: 'add-community', value: '1:2:3' },
          { do: 'prepend-as-path', asns: [7, 8] },
          { do: 'set-priority', value: 100 },
        ],
        note: 'BGPFilter a importV4[0] accepts',
      },
      {
        ...{
          action: 'reject',
          family: 'ipv6',
          match: { operator: 'NotEqual', cidr: '2001:db8::/32', lengths: undefined },
        },
        note: 'BGPFilter a importV6[0] rejects',
      },
    ],
    export: [
      { action: 'reject', family: 'ipv4', note: 'BGPFilter b exportV4[0] rejects' },
      { action: 'accept', family: 'ipv6', note: 'BGPFilter a exportV6[0] accepts' },
    ],
  })
})

const aRule = fc.record(
  {
    action: fc.constantFrom('Accept', 'Reject'),
    source: fc.constantFrom('RemotePeers', ''),
    interface: fc.constantFrom('eth*', '*', ''),
    peerType: fc.constantFrom('eBGP', 'iBGP', ''),
    asPathPrefix: fc.constantFrom([], [1]),
  },
  { requiredKeys: ['action'] },
)
const operators = fc.constantFrom('Equal', 'NotEqual', 'In', 'NotIn')
const rulesIn = (...cidrs: string[]) =>
  fc.array(
    fc
      .tuple(aRule, fc.option(fc.record({ cidr: fc.constantFrom(...cidrs), matchOperator: operators })))
      .map(([rule, match]) => ({
        ...rule,
        ...match,
      })),
    { maxLength: 4 },
  )

test('no rule of one family decides about a route of the other', t => {
  const [v4, v6] = [rulesIn('0.0.0.0/0', '10.0.0.0/8'), rulesIn('::/0', '2001:db8::/32')]
  const places = fc.constantFrom('0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16')
  const places6 = fc.constantFrom('::/0', '2001:db8::/32', '2001:db8:1::/48')
  const how = fc.record({
    learned: fc.boolean(),
    peerType: fc.constantFrom('ebgp' as const, 'ibgp' as const),
    interface: fc.constant('eth0'),
  })
  fc.assert(
    fc.property(v4, v6, places, places6, how, (rules4, rules6, net4, net6, more) => {
      const found = rulesOf({ f: { importV4: rules4, exportV6: rules6 } })
      if ('reason' in found) return t.fail(found.message)
      t.is(verdict(found.import, route(net6, more)), 'goes on')
      t.is(verdict(found.export, route(net4, more)), 'goes on')
    }),
    { numRuns: 200 },
  )
})

/** The fields of a schema, below the ones that hold others; of a list those of its items. */
function fieldsIn(given: unknown, path = ''): string[] {
  const { def } = given as {
    def: { type: string; shape?: object; innerType?: unknown; element?: unknown; in?: unknown; options?: unknown[] }
  }
  const inside = [def.innerType, def.element, def.in, ...(def.options ?? [])].filter(each => each !== undefined)
  return [
    ...inside.flatMap(each => fieldsIn(each, path)),
    ...Object.entries(def.shape ?? {}).flatMap(([name, each]) => [
      `${path}.${name}`,
      ...fieldsIn(each, `${path}.${name}`),
    ]),
  ]
}

function fieldsOf({ properties = {}, items }: Shape, path = ''): string[] {
  const inside = Object.entries(properties).flatMap(([name, each]) => [
    `${path}.${name}`,
    ...fieldsOf(each, `${path}.${name}`),
  ])
  return [...inside, ...(items === undefined ? [] : fieldsOf(items as Shape, path))]
}

test('every field of a BGPFilter is read', t => {
  t.deepEqual([...new Set(fieldsIn(bgpFilterSpec))].sort(), fieldsOf(bgpFilter().spec).sort())
})

const CLOSED: readonly [reason: string, says: RegExp, spec: object | undefined][] = [
  ['FilterMissing', /there is no BGPFilter f/, undefined],
  ['FilterInvalid', /f, .*spec\.importV4\[0\].*colour/, { importV4: [{ action: 'Accept', colour: 'red' }] }],
  ['FilterInvalid', /spec.*importV5/, { importV5: [] }],
  [
    'FilterInvalid',
    /spec\.exportV6\[1\]\.cidr: must be of IPv6/,
    { exportV6: [{ action: 'Accept' }, { action: 'Accept', cidr: '10.0.0.0/8', matchOperator: 'In' }] },
  ],
  [
    'FilterInvalid',
    /spec\.importV4\[0\]\.cidr: .*matchOperator/,
    { importV4: [{ action: 'Accept', cidr: '10.0.0.0/8' }] },
  ],
  ['FilterInvalid', /prefixLength/, { importV4: [{ action: 'Reject', prefixLength: { min: 8 } }] }],
  ['FilterInvalid', /operations/, { importV4: [{ action: 'Reject', operations: [{ setPriority: { value: 1 } }] }] }],
  ['FilterInvalid', /one operation/, { importV4: [{ action: 'Accept', operations: [{}] }] }],
  ['FilterInvalid', /community/, { importV4: [{ action: 'Accept', communities: { values: ['70000:1'] } }] }],
  ['FilterInvalid', /at most 500 rules/, { importV4: Array.from({ length: 501 }, () => ({ action: 'Accept' })) }],
]

test('a BGPPeer whose filter is not there or cannot be followed loses its session, says which filter and why, and gets it back', t => {
  for (const [reason, says, spec] of CLOSED) {
    const { peers: it } = all({ peers: [aPeer('tor', { peerIP: '10.0.0.1', asNumber: 65001, filters: ['f'] })] })
    it.filter('f', aFilter('f', {}))
    t.deepEqual(
      it.take().map(({ key, peer }) => [key, peer?.name]),
      [['10.0.0.1', 'Global_10_0_0_1']],
    )
    t.deepEqual(it.refused(), [])
    it.filter('f', spec && aFilter('f', spec))
    t.deepEqual(it.take(), [{ key: '10.0.0.1' }])
    const [condition, ...others] = it.refused()
    t.deepEqual(others, [])
    t.like(condition, { type: 'PeersConfigured', reason, object: { kind: 'BGPPeer', name: 'tor' } })
    t.regex(condition!.message, says)
    t.regex(condition!.remedy, /BGPFilter f, or remove it from filters/)
    it.filter('f', aFilter('f', { importV4: [{ action: 'Reject' }] }))
    t.is(it.take()[0]?.peer?.importFilters?.length, 1)
  }
})

test('a BGPPeer has at most 1000 rules of a direction and family from all its filters', t => {
  const full = { importV4: Array.from({ length: 500 }, () => ({ action: 'Reject', source: 'RemotePeers' })) }
  t.false('reason' in rulesOf({ a: full, b: full, c: { importV6: [{ action: 'Accept' }] } }))
  t.like(rulesOf({ a: full, b: full, c: { importV4: [{ action: 'Accept' }] } }), { reason: 'TooManyRules' })
})

test('a filter that changes touches the sessions of the BGPPeers that use it, and no other one', t => {
  const peers = ['a', 'b', 'c'].map((filter, i) =>
    aPeer(filter, { peerIP: `10.0.0.${i + 1}`, asNumber: 65001, filters: [filter] }),
  )
  const config = settings({ nodeToNodeMeshEnabled: false })
  const { peers: it } = all({
    config,
    peers: [...peers, aPeer('both', { peerIP: '10.0.0.9', asNumber: 65001, filters: ['a', 'b'] })],
  })
  for (const name of ['a', 'b', 'c']) it.filter(name, aFilter(name, {}))
  it.take()
  it.filter('b', aFilter('b', { exportV4: [{ action: 'Reject' }] }))
  t.deepEqual(
    it
      .take()
      .map(({ key }) => key)
      .sort(),
    ['10.0.0.2', '10.0.0.9'],
  )
  it.filter('b', aFilter('b', { exportV4: [{ action: 'Reject' }] }))
  t.deepEqual(it.take(), [])
  it.filter('unused', aFilter('unused', { exportV4: [{ action: 'Reject' }] }))
  t.deepEqual(it.take(), [])
})

test('between nodes everything passes that no filter stops, at both ends of a BGPPeer', t => {
  for (const [nodeName, address] of [
    ['n1', '192.168.10.9'],
    ['n2', '192.168.10.10'],
  ] as const) {
    const peer = aPeer('p', { node: 'n1', peerSelector: 'all()', filters: ['f'] })
    const { peers: it } = all({ nodeName, address, config: settings({ nodeToNodeMeshEnabled: false }), peers: [peer] })
    it.filter('f', aFilter('f', { importV4: [{ action: 'Reject', cidr: '10.9.0.0/16', matchOperator: 'In' }] }))
    const [session] = it.take().flatMap(change => change.peer ?? [])
    const imports = new Policy(session!.import, { external: false })
    t.is(imports.evaluate(route('10.9.1.0/24')).reason, 'BGPFilter f importV4[0] rejects')
    t.is(imports.evaluate(route('10.8.1.0/24')).action, 'accept')
    t.is(session!.export, 'accept')
  }
})

test('from outside a filter lets in what the default would not, but nothing of this node, and what it lets in is marked', t => {
  const found = rulesOf({
    f: { importV4: [{ action: 'Reject', cidr: '10.244.7.0/24', matchOperator: 'In' }, { action: 'Accept' }] },
  })
  if ('reason' in found) return t.fail(found.message)
  const own = ['10.244.1.0/26', '192.0.2.11/24']
  const policy = new Policy(
    outsideImport({ own, pools: ['10.244.0.0/16'], services: { ranges: [], pods: [] }, nodes: [] }, found.import),
    { external: true },
  )
  const of = (prefix: string) => policy.evaluate(route(prefix))
  for (const prefix of ['0.0.0.0/0', '10.244.9.0/26', '203.0.113.0/24']) {
    t.is(of(prefix).reason, 'BGPFilter f importV4[1] accepts')
    t.deepEqual(policy.apply(of(prefix), {}).largeCommunities, [{ global: 4200000000, local1: 179, local2: 1 }])
  }
  for (const prefix of ['10.244.1.0/26', '10.244.1.7/32', '192.0.2.0/24', '192.0.2.5/32'])
    t.regex(of(prefix).reason, /belongs to this node/)
  t.is(of('10.244.7.0/26').reason, 'BGPFilter f importV4[0] rejects')
  t.is(of('2001:db8::/32').reason, 'inside no IPPool that is exchanged with peers outside')
})

test('towards outside a filter that accepts everything still tells nothing that was taken from outside', t => {
  const found = rulesOf({ f: { exportV4: [{ action: 'Accept' }] } })
  if ('reason' in found) return t.fail(found.message)
  const policy = new Policy(outsideExport({ forCluster: false, filters: found.export }), { external: true })
  const taken = { largeCommunities: [{ global: 4200000000, local1: 179, local2: 1 }] }
  t.regex(policy.evaluate(route('10.9.0.0/24', { attributes: taken })).reason, /taken from outside/)
  t.is(policy.evaluate(route('10.9.0.0/24', { group: 'cluster' })).reason, 'BGPFilter f exportV4[0] accepts')
  t.regex(policy.evaluate(route('2001:db8::/32')).reason, /gives no transit/)
})
