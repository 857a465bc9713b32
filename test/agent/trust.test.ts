// What a node takes from BGP peers outside the cluster, what it passes on to other nodes, and what it tells outside.
// Over 400 lines: one cluster of four speakers, and each promise about it in a few lines.
import test, { type ExecutionContext } from 'ava'
import { meshSession, namedSession } from '../../agent/cluster/sessions.ts'
import { FOR_NODES, OUTSIDE_LIMIT, outsideExport, trustedPools } from '../../agent/cluster/trust.ts'
import { Routing } from '../../agent/routing.ts'
import { SessionLog } from '../../agent/status/session-log.ts'
import type { PeerConfig } from '../../bgp/config.ts'
import type { PolicyRule } from '../../bgp/policy.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { parseCommunity } from '../../bgp/wire/communities.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { settle } from '../bgp/settle.ts'
import { aPool, aResource } from '../datastore/objects.ts'
import { processorMs } from '../slowness.ts'

const N1 = '192.0.2.11'
const N2 = '192.0.2.12'
const OUTSIDE = ['192.0.2.101', '192.0.2.102'] as const
const POOL = '10.244.0.0/16'
const POOL6 = 'fd00:10:244::/48'
const OPEN = { import: 'accept', export: 'accept' } as const

type Options = { clusterId?: string; keep?: boolean; n2Asn?: number; dual?: boolean }

/**
 * Node n1 of AS 64512 with a session to node n2 of the cluster and to two routers outside. `held` is what each of the others
 * has; n1 owns 10.244.1.0/26 and n2 announces 10.244.2.0/26.
 */
async function aCluster(t: ExecutionContext, { clusterId, keep = false, n2Asn = 64512, dual = false }: Options = {}) {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const learned = new Map<string, string>()
  const routing = new Routing({
    ...{ transport: network.host(N1), clock, log: silentLog, nodeName: 'n1', restarting: false },
    ...{ capabilities: { ipip: false, vxlan: true }, settled: async () => {}, converged: () => undefined },
    sessions: new SessionLog({ clock, log: silentLog }),
    learned: (prefix, route) =>
      void (route === undefined ? learned.delete(prefix) : learned.set(prefix, route.nextHop)),
  })
  // IPv6 routes over the sessions of IPv4
  const families = dual && { families: ['ipv4-unicast', 'ipv6-unicast'] as const, extendedNextHop: true }
  const others = new Map<string, { speaker: Speaker; held: Set<string> }>()
  const join = async (address: string, asn: number, more: Partial<PeerConfig> = {}) => {
    const held = new Set<string>()
    const sink = {
      selected: ({ prefix }: { prefix: string }) => void held.add(prefix),
      withdrawn: (p: string) => void held.delete(p),
    }
    const speaker = new Speaker(
      { asn, routerId: address },
      { transport: network.host(address), clock, random: () => 1, sink },
    )
    await speaker.listen({ address, port: 179 })
    speaker.setPeer({ address: N1, asn: 64512, passive: true, ...OPEN, ...families, ...more })
    others.set(address, { speaker, held })
    return speaker
  }
  const own = { asn: 64512, ipv4: N1, clusterId }
  const n2 = await join(N2, n2Asn)
  n2.announce({ prefix: '10.244.2.0/26' })
  for (const [i, address] of OUTSIDE.entries()) await join(address, 65001 + i)
  const outside = OUTSIDE.map((peerIP, i) => {
    const spec = { peerIP, asNumber: 65001 + i, ...(keep && { nextHopMode: 'Keep' }) }
    const far = { address: peerIP, port: 179, asn: 65001 + i, isNode: false, comesBack: false }
    return namedSession('global', own, far, aResource('BGPPeer', { metadata: { name: 'p' }, spec }))
  })
  const mesh = { ...meshSession(own, { address: N2, asn: n2Asn, port: 179 }), passive: false }
  t.teardown(() => Promise.all([routing.close(), ...[...others.values()].map(({ speaker }) => speaker.close())]))
  await routing.identify({
    asn: 64512,
    port: 179,
    routerId: N1,
    address: N1,
    ...(clusterId !== undefined && { clusterId }),
  })
  const trust = (change: { own?: string[]; pools?: string[]; services?: { ranges: string[]; pods: string[] } } = {}) =>
    routing.trust({
      ...{ own: ['10.244.1.0/26', '192.0.2.11/24'], pools: [POOL], services: { ranges: [], pods: [POOL] }, nodes: [] },
      ...change,
    })
  trust()
  routing.announce([{ prefix: '10.244.1.0/26', communities: [], localPref: 2147482623 }])
  routing.change(
    [mesh, ...outside].map(peer => ({ key: peer.address, peer: { ...peer, ...families }, origin: 'global' })),
  )
  await settle(80)
  const pass = async (seconds: number) => {
    for (let step = 0; step < seconds * 10; step++) {
      clock.advance(100)
      await settle(2)
    }
  }
  const held = (address: string) => [...others.get(address)!.held].sort()
  const filter = (importFilters: readonly PolicyRule[], exports: readonly PolicyRule[] = []) => {
    const [peer] = outside
    const session = {
      ...peer!,
      ...families,
      importFilters,
      export: outsideExport({ forCluster: false, filters: exports }),
    }
    routing.change([{ key: peer!.address, peer: session, origin: 'global' }])
  }
  return { routing, learned, trust, filter, pass, held, speaker: (address: string) => others.get(address)!.speaker }
}

test('an outside peer hears what this node announces, and nothing of other nodes or of other outside peers', async t => {
  const { held, speaker, learned } = await aCluster(t)
  speaker(OUTSIDE[0]).announce({ prefix: '10.244.9.0/26' })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '10.244.9.0/26'])
  t.deepEqual(held(OUTSIDE[0]), ['10.244.1.0/26'])
  t.deepEqual(held(OUTSIDE[1]), ['10.244.1.0/26'])
  t.deepEqual(held(N2), ['10.244.1.0/26', '10.244.9.0/26'], 'the nodes of the cluster hear it')
})

test('where every node has an AS of its own, other nodes’ blocks do not go outside either', async t => {
  const { held } = await aCluster(t, { n2Asn: 64513 })
  t.deepEqual(held(OUTSIDE[0]), ['10.244.1.0/26'])
})

test('a route reflector, and a BGPPeer that keeps next hops, tell outside what nodes announce, but give no transit', async t => {
  for (const options of [{ clusterId: '224.0.0.1' }, { keep: true }]) {
    const { held, speaker } = await aCluster(t, options)
    speaker(OUTSIDE[0]).announce({ prefix: '10.244.9.0/26' })
    await settle(40)
    t.deepEqual(held(OUTSIDE[1]), ['10.244.1.0/26', '10.244.2.0/26'])
  }
})

test('blocks for nodes alone go to nodes, and to nobody outside: not by a filter, a reflector or a peer that keeps next hops', async t => {
  for (const options of [{}, { clusterId: '224.0.0.1' }, { keep: true }]) {
    const { held, speaker, routing, filter } = await aCluster(t, options)
    speaker(N2).announce({ prefix: '10.244.3.0/26', communities: [parseCommunity(FOR_NODES)!] })
    const stays = { localPref: 2147482623 }
    routing.announce([
      { prefix: '10.244.1.0/26', communities: [], ...stays },
      { prefix: '10.245.1.0/26', communities: [FOR_NODES], ...stays },
    ])
    filter([], [{ action: 'accept' }])
    await settle(40)
    t.deepEqual(held(N2), ['10.244.1.0/26', '10.245.1.0/26'])
    for (const outside of OUTSIDE)
      t.deepEqual(
        held(outside).filter(prefix => prefix !== '10.244.2.0/26'),
        ['10.244.1.0/26'],
      )
  }
})

test('of an outside peer only prefixes inside the pools are taken: no default route, no connected network, no other one', async t => {
  const { learned, held, speaker } = await aCluster(t)
  const router = speaker(OUTSIDE[0])
  for (const prefix of ['0.0.0.0/0', '0.0.0.0/1', '192.0.2.0/24', '192.0.2.11/32', '198.51.100.0/24', '10.0.0.0/8'])
    router.announce({ prefix })
  for (const prefix of ['10.244.9.0/26', POOL]) router.announce({ prefix })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), [POOL, '10.244.2.0/26', '10.244.9.0/26'])
  t.deepEqual(held(N2), [POOL, '10.244.1.0/26', '10.244.9.0/26'])
})

test('a pool over everything lets no default route in from outside', async t => {
  const { trust, learned, held, speaker } = await aCluster(t)
  trust({ pools: ['0.0.0.0/0'] })
  const router = speaker(OUTSIDE[0])
  for (const prefix of ['0.0.0.0/0', '198.51.100.0/24']) router.announce({ prefix })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '198.51.100.0/24'])
  t.false(held(N2).includes('0.0.0.0/0'))
})

test('what belongs to this node is refused from outside before it is passed on, and a condition names the peer', async t => {
  const { routing, learned, held, speaker } = await aCluster(t)
  const router = speaker(OUTSIDE[0])
  for (const prefix of ['10.244.1.0/26', '10.244.1.7/32', '10.244.9.0/26']) router.announce({ prefix })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '10.244.9.0/26'])
  t.deepEqual(held(N2), ['10.244.1.0/26', '10.244.9.0/26'], 'not the pod')
  const [condition, ...more] = routing.refused()
  t.like(condition, {
    type: 'AddressesUnique',
    reason: 'OwnPrefix',
    object: { kind: 'BGPSession', name: 'Global_192_0_2_101' },
  })
  t.regex(condition?.message ?? '', /10\.244\.1\.7\/32/)
  t.deepEqual(more, [])
  t.regex(routing.explain('10.244.1.7/32').candidates[0]?.import.detail ?? '', /10.244.1.0\/26 belongs to this node/)
  for (const prefix of ['10.244.1.0/26', '10.244.1.7/32']) router.withdraw(prefix)
  await settle(40)
  t.deepEqual(routing.refused(), [])
})

test('a block that this node claims is taken away from whoever announces it from outside, and a pool lets routes in', async t => {
  const { learned, speaker, trust } = await aCluster(t)
  for (const prefix of ['10.244.9.0/26', '198.51.100.0/24']) speaker(OUTSIDE[0]).announce({ prefix })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '10.244.9.0/26'])
  trust({ own: ['10.244.1.0/26', '10.244.9.0/26'], pools: [POOL, '198.51.100.0/24'] })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '198.51.100.0/24'])
  trust({ pools: [] })
  await settle(40)
  t.deepEqual([...learned.keys()], ['10.244.2.0/26'])
})

test('filters that change are applied to the routes that are there, both ways, without an end of the session', async t => {
  const { routing, learned, held, filter, speaker, trust } = await aCluster(t)
  for (const prefix of ['10.244.9.0/26', '203.0.113.0/24', '10.244.1.7/32']) speaker(OUTSIDE[0]).announce({ prefix })
  await settle(40)
  const sessions = () => routing.peers().map(({ name, state, sinceMs, flaps }) => [name, state, sinceMs, flaps])
  const before = sessions()
  const from = () => [...learned.keys()].filter(prefix => prefix !== '10.244.2.0/26').sort()
  t.deepEqual([from(), held(OUTSIDE[0])], [['10.244.9.0/26'], ['10.244.1.0/26']])
  filter([{ action: 'accept' }], [{ action: 'accept', group: 'cluster' }, { action: 'reject' }])
  await settle(40)
  t.deepEqual([from(), held(OUTSIDE[0])], [['10.244.9.0/26', '203.0.113.0/24'], ['10.244.2.0/26']])
  t.deepEqual(held(OUTSIDE[1]), ['10.244.1.0/26'], 'no transit')
  filter([{ action: 'reject', match: { operator: 'In', cidr: '10.244.9.0/24' } }])
  await settle(40)
  t.deepEqual([from(), held(OUTSIDE[0])], [[], ['10.244.1.0/26']])
  trust({ pools: [] })
  await settle(40)
  filter([])
  await settle(40)
  t.deepEqual(from(), [])
  t.deepEqual(sessions(), before)
})

/** A session over IPv4 gives no next hop for IPv6. */
const announce = (speaker: Speaker, prefix: string) =>
  speaker.announce({ prefix, ...(prefix.includes(':') && { nextHop: '2001:db8::1' }) })

const DUAL = [
  {
    block: '10.244.2.0/26',
    part: '10.244.2.32/27',
    pod: '10.244.2.7/32',
    cover: '10.244.2.0/24',
    free: '10.244.9.7/32',
  },
  {
    ...{ block: 'fd00:10:244:2::/122', part: 'fd00:10:244:2::20/123', pod: 'fd00:10:244:2::7/128' },
    ...{ cover: 'fd00:10:244:2::/64', free: 'fd00:10:244:9::7/128' },
  },
]

for (const n2Asn of [64512, 64513])
  test(`a block of another node, and every part of it, is refused from outside in either order (n2 in AS ${n2Asn})`, async t => {
    const { routing, learned, trust, held, speaker } = await aCluster(t, { n2Asn, dual: true })
    trust({ pools: [POOL, POOL6] })
    const [router, n2] = [speaker(OUTSIDE[0]), speaker(N2)]
    n2.withdraw('10.244.2.0/26')
    const all = DUAL.flatMap(({ block, part, pod, cover, free }) => [block, part, pod, cover, free])
    const theirs = DUAL.flatMap(({ block, part, pod }) => [block, part, pod])
    for (const prefix of all) announce(router, prefix)
    await settle(60)
    t.deepEqual([...learned.keys()].sort(), all.toSorted(), 'while nobody has the block')
    t.deepEqual(routing.refused(), [])
    for (const { block } of DUAL) announce(n2, block)
    await settle(60)
    const good = DUAL.flatMap(({ block, cover, free }) => [block, cover, free])
    t.deepEqual([...learned.keys()].sort(), good.toSorted(), 'the parts go when the block comes')
    t.is(learned.get('10.244.2.0/26'), N2)
    t.deepEqual(
      held(N2).filter(prefix => theirs.includes(prefix)),
      [],
      'n2 hears nothing of its own',
    )
    const [condition, ...more] = routing.refused()
    t.deepEqual(more, [])
    t.like(condition, { type: 'AddressesUnique', reason: 'PrefixOfNode', object: { name: 'Global_192_0_2_101' } })
    t.regex(condition?.message ?? '', /10\.244\.2\.0\/26 belongs to 192\.0\.2\.12/)
    t.regex(routing.explain('10.244.2.7/32').candidates[0]?.import.detail ?? '', /belongs to 192\.0\.2\.12/)
    for (const prefix of all) router.withdraw(prefix)
    for (const prefix of all) announce(router, prefix)
    await settle(60)
    t.deepEqual([...learned.keys()].sort(), good.toSorted(), 'also when the block was there first')
    for (const { block } of DUAL) n2.withdraw(block)
    await settle(60)
    t.deepEqual([...learned.keys()].sort(), all.toSorted(), 'and they come when the block goes')
    t.deepEqual(routing.refused(), [])
  })

test('a block that comes back over a router outside is not used, and is no false alarm', async t => {
  const { routing, learned, speaker } = await aCluster(t, { n2Asn: 64513 })
  const router = speaker(OUTSIDE[0])
  const startsIn = (asn: number) => {
    const operations = [{ do: 'prepend-as-path' as const, asns: [asn] }]
    router.setPeer({
      address: N1,
      asn: 64512,
      passive: true,
      import: 'accept',
      export: [{ action: 'accept', operations }],
    })
  }
  for (const [asn, prefix] of [
    [64512, '10.244.1.0/26'],
    [64513, '10.244.2.0/26'],
  ] as const) {
    startsIn(asn)
    router.announce({ prefix })
    await settle(40)
    t.is(speaker(OUTSIDE[0]).peers()[0]?.state, 'Established')
    t.is(routing.explain(prefix).candidates.filter(({ import: { accepted } }) => !accepted).length, 1)
    t.deepEqual(routing.refused(), [], prefix)
    router.withdraw(prefix)
    await settle(40)
    t.deepEqual(routing.refused(), [])
  }
  t.is(learned.get('10.244.2.0/26'), N2)
  startsIn(65009)
  router.announce({ prefix: '10.244.2.0/26' })
  await settle(40)
  t.like(routing.refused(), [{ reason: 'PrefixOfNode' }], 'somebody else claims it')
})

test('what another node took from outside is no block of it: it is used, but not inside a block of this node', async t => {
  const { learned, speaker } = await aCluster(t)
  const [n2, router] = [speaker(N2), speaker(OUTSIDE[0])]
  const mark = parseCommunity('4200000000:179:1')!
  n2.announce({ prefix: '10.244.8.0/24', communities: [mark] })
  n2.announce({ prefix: '10.244.1.9/32', communities: [mark] })
  router.announce({ prefix: '10.244.8.0/26' })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '10.244.8.0/24', '10.244.8.0/26'])
})

for (const options of [{ clusterId: '224.0.0.1' }, { keep: true }, {}])
  test(`what one node takes from outside the other nodes use, and no outside peer hears it of any node: ${JSON.stringify(options)}`, async t => {
    const { learned, held, speaker } = await aCluster(t, options)
    const mark = parseCommunity('4200000000:179:1')!
    speaker(N2).announce({ prefix: '10.244.8.0/24', communities: [mark] })
    speaker(OUTSIDE[0]).announce({ prefix: '10.244.9.0/26' })
    await settle(40)
    t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '10.244.8.0/24', '10.244.9.0/26'])
    const blocks = options.clusterId || options.keep ? ['10.244.1.0/26', '10.244.2.0/26'] : ['10.244.1.0/26']
    for (const address of OUTSIDE) t.deepEqual(held(address), blocks)
    t.deepEqual(held(N2), ['10.244.1.0/26', '10.244.9.0/26'])
    const [path] = speaker(N2).explain('10.244.9.0/26')?.candidates ?? []
    t.deepEqual(path?.attributes.attributes.largeCommunities, [mark], 'n2 knows it by its mark')
  })

test('an outside peer with too many prefixes loses its session, with a condition until it is back', async t => {
  const { routing, speaker, pass } = await aCluster(t)
  const router = speaker(OUTSIDE[0])
  const prefixes = Array.from(
    { length: OUTSIDE_LIMIT.max + 1 },
    (_, i) => `11.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`,
  )
  for (const prefix of prefixes) router.announce({ prefix })
  await settle(400)
  t.like(routing.refused(), [{ type: 'PrefixLimitsKept', object: { kind: 'BGPSession', name: 'Global_192_0_2_101' } }])
  for (const prefix of prefixes) router.withdraw(prefix)
  await pass(400)
  t.deepEqual(routing.refused(), [])
})

test('an IPPool with disableBGPExport, or inside an older one, lets nothing in', t => {
  const pools = [
    aPool('a', { cidr: '10.1.0.0/16' }),
    aPool('b', { cidr: '10.2.0.0/16', disableBGPExport: true }),
    aPool('c', { cidr: '10.1.2.0/24' }),
  ]
  t.deepEqual(trustedPools(pools), ['10.1.0.0/16'])
})

test('thousands of refused prefixes of an outside peer, and hundreds of addresses of this node, are looked at within 500 ms', async t => {
  const { routing, speaker, trust } = await aCluster(t)
  trust({ own: Array.from({ length: 500 }, (_, i) => `10.244.${i >> 8}.${i & 255}/32`) })
  for (let i = 0; i < 5000; i++) speaker(OUTSIDE[0]).announce({ prefix: `198.18.${i >> 8}.${i & 255}/32` })
  await settle(80)
  t.true(routing.peers().some(({ prefixes: { received, accepted } }) => received === 5000 && accepted === 0))
  const tookMs = processorMs(() => t.deepEqual(routing.refused(), []))
  t.true(tookMs < 500, `${tookMs} ms`)
})

const RANGES = { ranges: ['10.96.0.0/12', '192.0.2.200/32', POOL], pods: [POOL] }
test('nobody outside announces an address of Services, also inside a pool', async t => {
  const { trust, learned, held, speaker } = await aCluster(t)
  trust({ pools: [POOL, '10.96.0.0/12'], services: RANGES })
  const router = speaker(OUTSIDE[0])
  for (const prefix of ['10.96.0.0/12', '10.96.0.1/32', '192.0.2.200/32', '10.244.9.0/26']) router.announce({ prefix })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26'])
  t.deepEqual(held(N2), ['10.244.1.0/26'])
  trust({ pools: [POOL, '10.96.0.0/12'] })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '10.244.9.0/26', '10.96.0.0/12', '10.96.0.1/32'])
})

test('what other nodes announce of Services never is a route here, and what an IPPool gives pods always is', async t => {
  const { routing, trust, learned, held, speaker } = await aCluster(t)
  const n2 = speaker(N2)
  const ofServices = ['10.96.0.0/12', '10.96.0.1/32', '192.0.2.200/32', POOL]
  for (const prefix of [...ofServices, '10.244.2.7/32']) n2.announce({ prefix })
  await settle(40)
  t.deepEqual([...learned.keys()].sort(), [...ofServices, '10.244.2.0/26', '10.244.2.7/32'].sort())
  trust({ services: RANGES })
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '10.244.2.7/32'])
  n2.announce({ prefix: '10.96.0.2/32' })
  n2.withdraw('10.96.0.1/32')
  routing.announce([{ prefix: '10.96.0.0/12', communities: [], localPref: 100 }])
  await settle(40)
  t.deepEqual(held(OUTSIDE[0]), ['10.96.0.0/12'])
  t.is(n2.explain('10.96.0.0/12')!.candidates.length, 2)
  t.deepEqual(routing.refused(), [])
  t.deepEqual([...learned.keys()].sort(), ['10.244.2.0/26', '10.244.2.7/32'])
  trust({ services: { ranges: [], pods: [] } })
  await settle(40)
  t.deepEqual(
    [...learned.keys()].sort(),
    ['10.244.2.0/26', '10.244.2.7/32', '10.96.0.2/32', '192.0.2.200/32', POOL].sort(),
  )
})
