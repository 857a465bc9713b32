import test from 'ava'
import fc from 'fast-check'
import {
  type FloatingClaim,
  type FloatingRefusal,
  type FloatingWorld,
  floatingClaim,
  floatingHolder,
  floatingRefusal,
} from '../../../agent/cluster/floating.ts'
import { reservedBy } from '../../../ipam/pick.ts'
import { aPool } from '../../datastore/objects.ts'

type Said = { created?: string; deleted?: string; spec?: object; status?: object }

function claim(name: string, text: string, { created, deleted, spec, status }: Said = {}): FloatingClaim | undefined {
  const times = { creationTimestamp: created ?? '2026-01-01T00:00:00Z', ...(deleted && { deletionTimestamp: deleted }) }
  const annotations = { 'cni.projectcalico.org/floatingIPs': text }
  return floatingClaim({
    metadata: { name, namespace: 'shop', annotations, ...times },
    spec: { nodeName: 'n1', ...spec },
    ...(status && { status }),
  } as never)
}

/** Who has which of the addresses that are asked for, and why others have them not. */
function decideFloating(claims: readonly FloatingClaim[], world: FloatingWorld) {
  const holders = new Map<string, string>()
  const refused = new Map<string, FloatingRefusal[]>()
  for (const address of [...new Set(claims.flatMap(({ addresses }) => addresses))].sort()) {
    const asking = claims.filter(({ addresses }) => addresses.includes(address))
    const holder = floatingHolder(address, asking, world)
    if (holder !== undefined) holders.set(address, holder)
    for (const each of asking) {
      const refusal = floatingRefusal(address, each, world, holder)
      if (refusal !== undefined) refused.set(each.key, [...(refused.get(each.key) ?? []), refusal])
    }
  }
  return { holders, refused }
}

const WORLD: FloatingWorld = {
  pools: [
    aPool('floating', { cidr: '192.0.2.0/24', disabled: true }),
    aPool('floating6', { cidr: '2001:db8::/64', disabled: true }),
    aPool('pods', { cidr: '10.244.0.0/16' }),
    aPool('services', { cidr: '198.51.100.0/24', disabled: true, allowedUses: ['LoadBalancer'] }),
    aPool('of-bank', { cidr: '203.0.113.0/24', disabled: true, namespaceSelector: "name == 'bank'" }),
    aPool('of-nobody-yet', { cidr: '203.0.114.0/24', disabled: true, namespaceSelector: "name == 'late'" }),
  ],
  isReserved: reservedBy(['10.244.6.1', 'fd00::1', '10.244.7.0/24']),
  selects: selector => (selector.includes('late') ? undefined : false),
  ownerOf: address => (address === '192.0.2.1' ? 'node n2' : undefined),
}

test('the annotation is a list of addresses in JSON, of both families, each once, and none where it is empty', t => {
  t.deepEqual(claim('a', ' ["192.0.2.7", "2001:DB8::0:7", "192.0.2.7"] ')?.addresses, ['192.0.2.7', '2001:db8::7'])
  for (const none of ['', ' ', '[]']) t.is(claim('a', none), undefined)
})

test('nothing counts of what cannot be read, and the fault is named without telling all of it again', t => {
  const many = JSON.stringify(Array.from({ length: 17 }, (_, i) => `192.0.2.${i}`))
  for (const [text, fault] of [
    ['192.0.2.7', /is no JSON/],
    ['"192.0.2.7"', /is no list/],
    ['["192.0.2.7", "192.0.2.8/32"]', /"192.0.2.8\/32" is no address of a host/],
    ['["192.0.2.7", 7]', /an item is no address/],
    ['["192.0.2.7", {"toString": 1}]', /an item is no address/],
    ['["0.0.0.0"]', /no address of a host/],
    ['["ff02::1"]', /no address of a host/],
    ['["::ffff:192.0.2.7"]', /no address of a host/],
    [many, /names 17 addresses/],
    [`["${'1'.repeat(5000)}"]`, /more than 4096 characters/],
    [`"${'x'.repeat(4000)}`, /^"x{59}… is no JSON$/],
  ] as const) {
    const read = claim('a', text)
    t.deepEqual([read?.unusable, read?.addresses], ['invalid', []], text.slice(0, 40))
    t.regex(read?.fault ?? '', fault)
  }
})

test('a pod that has ended or is on no node has no claim, and none of one in the network of its host counts', t => {
  const text = '["192.0.2.7"]'
  t.is(claim('a', text, { status: { phase: 'Succeeded' } }), undefined)
  t.is(claim('a', text, { status: { phase: 'Failed' } }), undefined)
  t.is(claim('a', text, { spec: { nodeName: '' } }), undefined)
  const ofHost = claim('a', text, { spec: { hostNetwork: true } })!
  t.is(decideFloating([ofHost], WORLD).holders.size, 0)
})

for (const [address, reason] of [
  ['192.0.2.7', undefined],
  ['2001:db8::7', undefined],
  ['10.244.7.9', undefined],
  ['10.244.6.1', undefined],
  ['10.244.6.2', 'GivenToPods'],
  ['10.244.8.9', 'GivenToPods'],
  ['198.51.100.9', 'NoPool'],
  ['172.16.0.1', 'NoPool'],
  ['203.0.113.9', 'NotForNamespace'],
  ['203.0.114.9', 'NamespaceUnknown'],
  ['192.0.2.1', 'InUse'],
] as const)
  test(`${address}: ${reason ?? 'may be a floating address'}`, t => {
    const { holders, refused } = decideFloating([claim('a', `["${address}"]`)!], WORLD)
    t.is(holders.get(address), reason === undefined ? 'shop/a' : undefined)
    t.deepEqual(
      refused.get('shop/a')?.map(each => each.reason),
      reason && [reason],
    )
  })

test('of two pods the older one has the address and the other one is told, until the first is being deleted or gone', t => {
  const older = claim('z', '["192.0.2.7"]', { created: '2026-01-01T00:00:00Z' })!
  const younger = claim('a', '["192.0.2.7", "192.0.2.8"]', { created: '2026-01-01T00:00:01Z' })!
  const both = decideFloating([younger, older], WORLD)
  t.deepEqual(Object.fromEntries(both.holders), { '192.0.2.7': 'shop/z', '192.0.2.8': 'shop/a' })
  t.like(both.refused.get('shop/a')?.[0], { reason: 'Taken', address: '192.0.2.7' })
  t.regex(both.refused.get('shop/a')![0]!.message, /shop\/z/)
  const leaving = claim('z', '["192.0.2.7"]', { created: '2026-01-01T00:00:00Z', deleted: '2026-02-01T00:00:00Z' })!
  t.is(decideFloating([younger, leaving], WORLD).holders.get('192.0.2.7'), 'shop/a')
  t.is(decideFloating([leaving], WORLD).holders.get('192.0.2.7'), 'shop/z')
  const same = claim('a', '["192.0.2.7"]', { created: '2026-01-01T00:00:00Z' })!
  t.is(decideFloating([older, same], WORLD).holders.get('192.0.2.7'), 'shop/a', 'of one age the first by name')
  const refusedOne = claim('a', '["192.0.2.1", "192.0.2.7"]', { created: '2025-01-01T00:00:00Z' })!
  t.is(decideFloating([older, refusedOne], WORLD).holders.get('192.0.2.7'), 'shop/a', 'what it may have it has')
})

test('whatever pods ask and in whatever order they are told, each address has one holder, which asks for it and comes first', t => {
  const pod = fc.record({
    created: fc.constantFrom('2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z', '2026-01-01T00:00:02Z'),
    isLeaving: fc.boolean(),
    last: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 3 }),
  })
  fc.assert(
    fc.property(fc.array(pod, { maxLength: 6 }), fc.infiniteStream(fc.nat()), (pods, order) => {
      const claims = pods.flatMap(({ created, isLeaving, last }, i) => {
        const text = JSON.stringify(last.map(n => `192.0.2.${n}`))
        return claim(`p${i}`, text, { created, ...(isLeaving && { deleted: 'soon' }) }) ?? []
      })
      const shuffled = claims
        .map(each => ({ each, at: order.next().value as number }))
        .sort((a, b) => a.at - b.at)
        .map(({ each }) => each)
      const { holders } = decideFloating(shuffled, WORLD)
      t.deepEqual(decideFloating(claims, WORLD).holders, holders)
      for (const address of ['192.0.2.2', '192.0.2.3', '192.0.2.4']) {
        const asking = claims.filter(({ addresses }) => addresses.includes(address))
        const first = asking.toSorted((a, b) => (a.precedence < b.precedence ? -1 : 1))[0]
        t.is(holders.get(address), first?.key)
      }
    }),
  )
})
