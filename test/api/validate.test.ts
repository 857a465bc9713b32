import test from 'ava'
import { crdKinds } from '../../api/crd.ts'
import { durationSeconds } from '../../api/fields.ts'
import { type Kind, type KindRow, kindNamed, kinds } from '../../api/kinds.ts'
import { admit, type Problem, validate } from '../../api/validate.ts'

function problems(kind: Kind, spec: object, metadata: object = { name: 'x' }): Problem[] {
  const result = validate(kind, { metadata, spec })
  return Array.isArray(result) ? result : []
}

function pool(spec: object): Problem[] {
  return problems('IPPool', { cidr: '10.0.0.0/16', ...spec })
}

test("a pool takes Calico's defaults", t => {
  const result = validate('IPPool', { metadata: { name: 'p' }, spec: { cidr: '10.0.0.0/16' } })
  t.like(result, {
    spec: {
      blockSize: 26,
      ipipMode: 'Never',
      vxlanMode: 'Never',
      natOutgoing: false,
      nodeSelector: 'all()',
      allowedUses: ['Workload', 'Tunnel'],
      assignmentMode: 'Automatic',
    },
  })
  t.like(validate('IPPool', { metadata: { name: 'p' }, spec: { cidr: 'FD00:0::/48' } }), {
    spec: { cidr: 'fd00::/48', blockSize: 122 },
  })
})

const refused: [title: string, found: () => Problem[], path: string][] = [
  ['a pool with host bits', () => pool({ cidr: '10.0.0.1/16' }), 'spec.cidr'],
  ['a pool in the link-local range', () => pool({ cidr: '169.254.4.0/24' }), 'spec.cidr'],
  ['a pool with IPIP and VXLAN', () => pool({ ipipMode: 'Always', vxlanMode: 'Always' }), 'spec.vxlanMode'],
  ['an IPv6 pool with IPIP', () => pool({ cidr: 'fd00::/48', ipipMode: 'Always' }), 'spec.ipipMode'],
  ['an unknown mode', () => pool({ ipipMode: 'Sometimes' }), 'spec.ipipMode'],
  ['a block size out of range', () => pool({ blockSize: 19 }), 'spec.blockSize'],
  ['a block larger than its pool', () => pool({ cidr: '10.0.0.0/28', blockSize: 26 }), 'spec.blockSize'],
  ['a node selector with a fault', () => pool({ nodeSelector: 'rack ==' }), 'spec.nodeSelector'],
  ['an unknown use', () => pool({ allowedUses: ['Workload', 'Play'] }), 'spec.allowedUses[1]'],
  [
    'a peer with node and nodeSelector',
    () => problems('BGPPeer', { node: 'a', nodeSelector: 'all()' }),
    'spec.nodeSelector',
  ],
  [
    'a peer with peerIP and peerSelector',
    () => problems('BGPPeer', { peerIP: '192.0.2.1', peerSelector: 'all()' }),
    'spec.peerSelector',
  ],
  ['a peer address that is none', () => problems('BGPPeer', { peerIP: '192.0.2.1:0' }), 'spec.peerIP'],
  ['an IPv6 peer with a bare port', () => problems('BGPPeer', { peerIP: '[192.0.2.1]:179' }), 'spec.peerIP'],
  ['a peer address of no host', () => problems('BGPPeer', { peerIP: '224.0.0.5:179' }), 'spec.peerIP'],
  ['an unspecified peer address', () => problems('BGPPeer', { peerIP: '::' }), 'spec.peerIP'],
  ['a link-local peer address', () => problems('BGPPeer', { peerIP: 'fe80::1' }), 'spec.peerIP'],
  ['AS number 0', () => problems('BGPPeer', { asNumber: 0 }), 'spec.asNumber'],
  ['an AS number above 32 bits', () => problems('BGPPeer', { asNumber: '65536.0' }), 'spec.asNumber'],
  ['a fraction for an AS number', () => problems('BGPPeer', { asNumber: 1.5 }), 'spec.asNumber'],
  ['a restart time without unit', () => problems('BGPPeer', { maxRestartTime: '120' }), 'spec.maxRestartTime'],
  [
    'a reservation that is no network',
    () => problems('IPReservation', { reservedCIDRs: ['10.0.0.0/8', 'ten'] }),
    'spec.reservedCIDRs[1]',
  ],
  ['a name in capitals', () => problems('IPPool', { cidr: '10.0.0.0/16' }, { name: 'P' }), 'metadata.name'],
  [
    'a pool in a namespace',
    () => problems('IPPool', { cidr: '10.0.0.0/16' }, { name: 'p', namespace: 'a' }),
    'metadata.namespace',
  ],
  ['a pod in no namespace', () => problems('Pod', {}), 'metadata.namespace'],
  ['a label that is none', () => problems('Node', {}, { name: 'n', labels: { a: 'b c' } }), 'metadata.labels[a]'],
]

for (const [title, found, path] of refused)
  test(`${title} is refused at ${path}`, t => {
    t.deepEqual(
      found().map(problem => problem.path),
      [path],
    )
  })

test('AS numbers are read as number, text and high.low', t => {
  for (const [text, asn] of [
    [64512, 64512],
    ['64512', 64512],
    ['1.10', 65546],
    [4294967295, 4294967295],
  ] as const)
    t.like(validate('BGPPeer', { metadata: { name: 'p' }, spec: { asNumber: text } }), { spec: { asNumber: asn } })
})

test('unknown fields are kept, and a field that is null is absent', t => {
  const result = validate('Pod', {
    metadata: { name: 'p', namespace: 'd', creationTimestamp: null },
    spec: { containers: [{ name: 'c', securityContext: null }], list: [null, 1] },
  })
  t.deepEqual(result, {
    metadata: { name: 'p', namespace: 'd' },
    spec: { containers: [{ name: 'c' }], list: [null, 1] },
  } as never)
})

test('an object of a custom kind without spec is read as one with an empty spec: the stored form of Calico’s kinds asks for none', t => {
  for (const kind of crdKinds()) {
    const { namespaced }: KindRow = kinds[kind]
    const metadata = { name: 'x', ...(namespaced && { namespace: 'd' }) }
    const empty = validate(kind, { metadata, spec: {} })
    for (const object of [{ metadata }, { metadata, spec: null }]) t.deepEqual(validate(kind, object), empty, kind)
  }
  t.like(validate('BGPConfiguration', { metadata: { name: 'x' } }), { spec: { nodeToNodeMeshEnabled: true } })
  t.like(validate('IPPool', { metadata: { name: 'x' } }), [{ path: 'spec.cidr' }])
  t.like(admit('BGPConfiguration', { metadata: { name: 'default' } }), [{ path: 'spec', message: 'is required' }])
})

test('a key named __proto__ stays a key and changes nothing else', t => {
  const result = validate(
    'IPPool',
    JSON.parse('{"metadata":{"name":"p"},"spec":{"cidr":"10.0.0.0/16","__proto__":{"a":1}}}'),
  )
  t.false(Array.isArray(result))
  t.is(({} as Record<string, unknown>)['a'], undefined)
})

test('a kind goes by its name, plural, singular and short names in any case', t => {
  t.is(kindNamed('IPPools'), 'IPPool')
  t.is(kindNamed('wep'), 'WorkloadEndpoint')
  t.is(kindNamed('nothing'), undefined)
})

test('no two kinds share a path, and no two a word, but for a kind that has its name from another', t => {
  const rows: readonly KindRow[] = Object.values(kinds)
  const paths = rows.map(({ group, plural }) => `${group}/${plural}`)
  t.is(new Set(paths).size, paths.length)
  const words = rows.flatMap(({ kind, plural, singular, shortNames }) =>
    kind === undefined ? [plural, ...new Set([singular, ...shortNames])] : shortNames,
  )
  t.is(new Set(words).size, words.length)
  t.is(kindNamed('networkpolicies'), 'NetworkPolicy')
  t.is(kindNamed('kubernetesnetworkpolicy'), 'KubernetesNetworkPolicy')
})

test('a span of time has its seconds', t => {
  t.is(durationSeconds('90s'), 90)
  t.is(durationSeconds('1m30s'), 90)
  t.is(durationSeconds('250ms'), 0.25)
  t.is(durationSeconds('1.5h'), 5400)
  t.is(durationSeconds('0'), 0)
})

test('a range of ports is a number or FIRST:LAST, and the address of NAT is IPv4 or none', t => {
  const felix = (spec: object) => validate('FelixConfiguration', { metadata: { name: 'default' }, spec })
  for (const natPortRange of [0, 32768, '32768', '32768:65535', '0:0'])
    t.false(Array.isArray(felix({ natPortRange })), String(natPortRange))
  for (const natPortRange of [-1, 65536, 1.5, '', 'a', '2:1', '1:65536', '1-2', '1:2:3', true])
    t.true(Array.isArray(felix({ natPortRange })), String(natPortRange))
  for (const natOutgoingAddress of ['', '192.0.2.1'])
    t.false(Array.isArray(felix({ natOutgoingAddress })), natOutgoingAddress)
  for (const natOutgoingAddress of ['2001:db8::1', '192.0.2.1/32', '192.0.2', 'x'])
    t.true(Array.isArray(felix({ natOutgoingAddress })), natOutgoingAddress)
})

test('an object of any kind that is nested too deep is refused with the place, by who reads and by who writes', t => {
  let deep: object = {}
  for (let i = 0; i < 100_000; i++) deep = i % 2 === 0 ? [deep] : { deep }
  for (const kind of Object.keys(kinds) as Kind[])
    for (const [object, path] of [
      [{ metadata: { name: 'x' }, spec: { zzz: deep } }, 'spec.zzz.deep'],
      [{ metadata: { name: 'x', labels: deep }, spec: {} }, 'metadata.labels.deep'],
    ] as const) {
      t.deepEqual(validate(kind, object), [{ path, message: 'is nested deeper than 200 levels: take it out' }])
      t.deepEqual(admit(kind, object), [{ path, message: 'is nested deeper than 100 levels: take it out' }])
    }
})

test('a list with more faults than a call takes arguments is refused', t => {
  const many = Array.from({ length: 200_000 }, () => ({}))
  t.true(Array.isArray(validate('BGPConfiguration', { metadata: { name: 'default' }, spec: { communities: many } })))
  t.true(problems('IPPool', { cidr: '10.0.0.0/16', allowedUses: many }).length > 0)
  t.true(Array.isArray(admit('BGPFilter', { metadata: { name: 'x' }, spec: { importV4: many, exportV4: many } })))
})
