import test from 'ava'
import {
  blockOf,
  overlappingPools,
  pickBlock,
  poolsFor,
  reservedBy,
  reservedIn,
  reservedOrdinals,
} from '../../ipam/pick.ts'
import { addressAt, overlaps } from '../../lib/ip.ts'
import { aPool } from './world.ts'

const everyNode = { node: () => true }
const names = (answer: ReturnType<typeof poolsFor>): string[] =>
  'refused' in answer ? [answer.refused] : answer.map(({ metadata }) => metadata.name)

for (const [cidr, length, count] of [
  ['192.168.0.0/24', 26, 4],
  ['10.16.0.0/16', 20, 16],
  ['192.168.0.0/24', 32, 256],
  ['fd00::/120', 122, 4],
  ['fd00::/114', 116, 4],
  ['fd00::/120', 128, 256],
] as const)
  test(`${cidr} is cut into ${count} blocks of /${length}, each exactly once, wherever a node starts`, t => {
    for (const node of ['a', 'node-17']) {
      const taken: string[] = []
      for (let next = pickBlock(aPool('p', cidr, length), taken, [], node); next !== undefined; ) {
        taken.push(next)
        next = pickBlock(aPool('p', cidr, length), taken, [], node)
      }
      t.is(taken.length, count)
      t.is(new Set(taken).size, count)
      t.false(taken.some((a, i) => taken.slice(i + 1, i + 9).some(b => overlaps(a, b))))
    }
  })

test('a pool too large to list gives a block at once', t => {
  t.regex(pickBlock(aPool('p', 'fd00::/48', 122), [], [], 'n1') ?? '', /\/122$/)
})

test('nodes start at different blocks', t => {
  const pool = aPool('p', '10.0.0.0/16', 26)
  t.true(new Set(['a', 'b', 'c', 'd'].map(node => pickBlock(pool, [], [], node))).size > 1)
})

test('a block is not taken where one of another size lies already', t => {
  const pool = aPool('p', '10.0.0.0/24', 26)
  t.is(pickBlock(pool, ['10.0.0.0/25', '10.0.0.128/32'], [], 'n1'), '10.0.0.192/26')
})

test('a wholly reserved block is passed over, a partly reserved one is not', t => {
  const pool = aPool('p', '10.0.0.0/24', 26)
  t.is(pickBlock(pool, ['10.0.0.192/26'], ['10.0.0.0/25'], 'n1'), '10.0.0.128/26')
  t.is(pickBlock(pool, ['10.0.0.128/25', '10.0.0.64/26'], ['10.0.0.0/28'], 'n1'), '10.0.0.0/26')
  t.is(pickBlock(pool, [], ['10.0.0.0/8'], 'n1'), undefined)
})

test('reservations hold for CIDRs and single addresses of their family', t => {
  const reserved = reservedBy(['10.0.0.0/30', 'fd00::1', '10.0.0.9'])
  t.deepEqual(['10.0.0.3', '10.0.0.4', '10.0.0.9', 'fd00::1', 'fd00::2'].map(reserved), [
    true,
    false,
    true,
    true,
    false,
  ])
})

test('the reserved addresses of a block are the same one by one as by their ranges, and as many as they are counted', t => {
  const reserved = [
    '10.0.0.0/30',
    '10.0.0.2/31',
    '10.0.0.9',
    '10.0.0.60/29',
    '10.0.1.0/24',
    'fd00::/126',
    '10.0.2.0/23',
  ]
  for (const block of ['10.0.0.0/26', '10.0.0.64/26', '10.0.1.0/26', '10.0.3.128/26', 'fd00::/122']) {
    const isReserved = reservedBy(reserved)
    const byOrdinal = reservedOrdinals(reserved, block) ?? (() => false)
    const ordinals = Array.from({ length: 64 }, (_, i) => i)
    const expected = ordinals.filter(i => isReserved(addressAt(block, i)))
    t.deepEqual(ordinals.filter(byOrdinal), expected)
    t.is(reservedIn(reserved, block), BigInt(expected.length))
  }
  t.is(reservedOrdinals(reserved, '10.0.0.64/26'), undefined)
})

test('the block of an address is the one that the pool would cut there', t => {
  t.is(blockOf(aPool('p', '10.0.0.0/24', 26), '10.0.0.200'), '10.0.0.192/26')
})

test('disabled, deleted, manual and differently selected pools are not used by themselves', t => {
  const pools = [
    aPool('ok', '10.0.0.0/24'),
    aPool('says-nothing', '10.0.6.0/24', 26, { allowedUses: [] }),
    aPool('off', '10.0.1.0/24', 26, { disabled: true }),
    aPool('manual', '10.0.2.0/24', 26, { assignmentMode: 'Manual' }),
    aPool('elsewhere', '10.0.3.0/24', 26, { nodeSelector: 'rack == "2"' }),
    aPool('tunnels', '10.0.4.0/24', 26, { allowedUses: ['Tunnel'] }),
    aPool('some', '10.0.5.0/24', 26, { namespaceSelector: 'team == "a"' }),
    aPool('six', 'fd00::/112'),
  ]
  const selects = { node: (selector: string) => selector === 'all()' }
  t.deepEqual(names(poolsFor(pools, { family: 'ipv4', use: 'Workload' }, selects)), ['ok', 'says-nothing'])
  const forTunnels = names(poolsFor(pools, { family: 'ipv4', use: 'Tunnel' }, selects))
  t.deepEqual(
    forTunnels,
    ['manual', 'ok', 'says-nothing', 'some', 'tunnels'],
    'a tunnel is no pod, and has no namespace',
  )
  t.deepEqual(names(poolsFor(pools, { family: 'ipv6', use: 'Workload' }, selects)), ['six'])
})

test('a pool that is asked for beats selectors, but not disabled, its uses or its family', t => {
  const pools = [
    aPool('elsewhere', '10.0.3.0/24', 26, { nodeSelector: 'rack == "2"' }),
    aPool('off', '10.0.1.0/24', 26, { disabled: true }),
    aPool('tunnels', '10.0.4.0/24', 26, { allowedUses: ['Tunnel'] }),
  ]
  const ask = (...asked: string[]) =>
    names(poolsFor(pools, { family: 'ipv4', use: 'Workload', pools: asked }, { node: () => false }))
  t.deepEqual(ask('elsewhere'), ['elsewhere'])
  t.deepEqual(ask('10.0.3.0/24'), ['elsewhere'])
  const six = aPool('six', 'fd00::/112')
  const choice = { family: 'ipv4', use: 'Workload', pools: ['elsewhere', 'six'] } as const
  t.deepEqual(names(poolsFor([...pools, six], choice, { node: () => false })), ['no-pool'], 'one of another family')
  for (const refused of [['off'], ['tunnels'], ['elsewhere', 'none']]) t.deepEqual(ask(...refused), ['no-pool'])
})

test('a tunnel has an address of a pool with its encapsulation, and of another one only where there is none', t => {
  const pools = [
    aPool('plain', '10.0.0.0/24'),
    aPool('ipip', '10.1.0.0/24', 26, { ipipMode: 'CrossSubnet', disableBGPExport: true }),
    aPool('off', '10.2.0.0/24', 26, { vxlanMode: 'Always', disabled: true }),
    aPool('pods', '10.3.0.0/24', 26, { vxlanMode: 'Always', allowedUses: ['Workload'] }),
  ]
  const of = (tunnel: 'ipip' | 'vxlan') =>
    names(poolsFor(pools, { family: 'ipv4', use: 'Tunnel', tunnel }, { node: () => true }))
  t.deepEqual(of('ipip'), ['ipip'])
  t.deepEqual(of('vxlan'), ['ipip', 'plain'])
})

test('by IPv6 a tunnel has an address of a pool with VXLAN or none: from any other one no answer would come through it', t => {
  const plain = aPool('plain', 'fd00:1::/64', 122)
  const of = (...pools: ReturnType<typeof aPool>[]) =>
    names(
      poolsFor(pools, { family: 'ipv6', use: 'Tunnel', tunnel: 'vxlan' }, { node: selector => selector === 'all()' }),
    )
  t.deepEqual(of(plain, aPool('six', 'fd00:2::/64', 122, { vxlanMode: 'CrossSubnet' })), ['six'])
  t.deepEqual(of(plain), ['no-pool'])
  const unlike = { allowedUses: ['Workload' as const] }
  for (const spec of [unlike, { nodeSelector: '!all()' }, { disabled: true }])
    t.deepEqual(of(plain, aPool('six', 'fd00:2::/64', 122, { vxlanMode: 'Always', ...spec })), ['no-pool'])
})

test('while nothing is known of a namespace its pods have no pool where one may be for it, and all others where none is', t => {
  const selects = { node: () => true, namespace: () => undefined }
  const all = aPool('all', '10.0.0.0/24')
  const shop = aPool('shop', '10.1.0.0/24', 26, { namespaceSelector: 'team == "shop"' })
  const choice = { family: 'ipv4', use: 'Workload' } as const
  const of = (more: object, ...pools: ReturnType<typeof aPool>[]) =>
    names(poolsFor(pools, { ...choice, ...more }, selects))
  t.deepEqual(of({ namespace: 'web' }, all, shop), ['unreachable'])
  t.deepEqual(of({ namespace: 'web' }, all), ['all'])
  t.deepEqual(of({ namespace: 'web', pools: ['all'] }, all, shop), ['all'], 'one that is asked for')
  t.deepEqual(of({}, all, shop), ['all'], 'a container of no namespace')
  t.deepEqual(of({ use: 'Tunnel' }, all, shop), ['all', 'shop'])
})

test('of two pools that overlap the younger one is refused', t => {
  const older = aPool('z', '10.0.0.0/19')
  const younger = aPool('a', '10.0.0.0/21')
  older.metadata.creationTimestamp = '2026-01-01T00:00:00Z'
  younger.metadata.creationTimestamp = '2026-01-02T00:00:00Z'
  t.deepEqual(overlappingPools([younger, older]), [{ refused: 'a', because: 'z' }])
  t.deepEqual(names(poolsFor([younger, older], { family: 'ipv4', use: 'Workload' }, everyNode)), ['z'])
})
