// What BFD does to sessions: two speakers in memory, the first with a BFD that says what a test wants.
import test from 'ava'
import type { BfdSessionConfig } from '../../bgp/bfd/config.ts'
import { BfdPaths } from '../../bgp/bfd-paths.ts'
import type { BfdConfig, PeerConfig } from '../../bgp/config.ts'
import type { LocalAddress } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { systemClock } from '../../lib/clock.ts'
import { bringUp, pair, reasonOf, stateOf } from './pair.ts'
import { SaidBfd } from './said-bfd.ts'
import { settle } from './settle.ts'

const PATH = 'multi 10.0.0.1 10.0.0.2'
const GRACEFUL = { gracefulRestart: { restartSeconds: 120, keepOverRestarts: true } }

async function watched(options: { a?: Partial<PeerConfig>; b?: Partial<PeerConfig>; bfd?: BfdConfig } = {}) {
  const said = new SaidBfd()
  const source = '10.0.0.1'
  const a = { bfd: options.bfd ?? {}, source, ...options.a }
  const net = await pair({ a, b: options.b, depsA: { bfd: said } })
  net.b.announce({ prefix: '198.51.100.0/24' })
  await bringUp(net)
  return { ...net, said, statusOf: () => net.a.peers()[0]! }
}

test('a session comes up without its BFD, which is open while the peer is configured', async t => {
  const net = await watched()
  t.is(stateOf(net.a, 'b'), 'Established')
  t.like(net.statusOf().bfd, { state: 'Down', hops: 'multi', local: '10.0.0.1', losses: 0 })
  t.deepEqual(net.said.sessions.get(PATH), {
    ...{ local: '10.0.0.1', peer: '10.0.0.2', multihop: { minTtl: 1 }, authentication: undefined },
    ...{ desiredMinTxMs: 300, requiredMinRxMs: 300, multiplier: 3 },
  })
  net.said.say('Down', 'Up')
  t.is(net.statusOf().bfd?.state, 'Up')
  net.a.clear('b', 'hard')
  t.is(net.said.sessions.size, 1)
  await settle()
  net.a.removePeer('b')
  t.is(net.said.sessions.size, 0)
  await net.close()
  t.is(net.said.listeners, 0)
})

for (const [what, options] of [
  ['without graceful restart', {}],
  ['with graceful restart at both ends, of which the peer hears as a Hard Reset', { a: GRACEFUL, b: GRACEFUL }],
] as const)
  test(`a lost path ends the session with Cease/BFD Down and takes its routes at once, ${what}`, async t => {
    const net = await watched(options)
    net.a.announce({ prefix: '203.0.113.0/24' })
    await settle()
    net.said.say('Init', 'Up')
    t.true(net.routes.a.has('198.51.100.0/24'))
    net.said.say('Up', 'Down')
    await settle()
    t.false(net.routes.a.has('198.51.100.0/24'))
    t.false(net.routes.b.has('203.0.113.0/24'))
    t.is(reasonOf(net.a, 'b')?.code, 'bfd-down')
    t.regex(reasonOf(net.a, 'b')!.detail, /BFD hears nothing from 10\.0\.0\.2.*look at/)
    t.is(reasonOf(net.b, 'a')?.code, 'bfd-down')
    t.regex(reasonOf(net.b, 'a')!.detail, /BFD Down/)
    t.like(net.statusOf(), { flaps: 1, bfd: { state: 'Down', diagnostic: 'detection-time-expired', losses: 1 } })
    net.clock.advance(1100)
    await settle()
    t.is(stateOf(net.a, 'b'), 'Established')
    t.true(net.routes.a.has('198.51.100.0/24'))
    await net.close()
  })

test('a path that is lost again and again is tried after longer and longer pauses, and the session is damped as after other faults', async t => {
  const net = await watched()
  for (const pauseMs of [1000, 2000, 4000, 8000]) {
    net.said.say('Init', 'Up')
    net.said.say('Up', 'Down')
    await settle()
    net.clock.advance(pauseMs - 1)
    await settle()
    t.not(stateOf(net.a, 'b'), 'Established')
    net.clock.advance(2)
    await settle()
    t.is(stateOf(net.a, 'b'), 'Established')
  }
  net.said.say('Init', 'Up')
  net.said.say('Up', 'Down')
  await settle()
  for (const [speaker, name] of [
    [net.a, 'b'],
    [net.b, 'a'],
  ] as const)
    t.like(reasonOf(speaker, name), { code: 'damped' })
  t.regex(reasonOf(net.a, 'b')!.detail, /last for bfd-down/)
  t.like(net.statusOf(), { flaps: 5, bfd: { losses: 5 } })
  await net.close()
})

test('a plain Cease/BFD Down of the peer keeps none of its routes, though it may restart gracefully', async t => {
  const net = await watched({ a: GRACEFUL, b: { gracefulRestart: { restartSeconds: 120, notification: false } } })
  const other = new SaidBfd()
  const c = new Speaker(
    { asn: 65003, routerId: '10.0.0.3' },
    { transport: net.network.host('10.0.0.3'), clock: net.clock, random: () => 1, bfd: other },
  )
  await c.listen({ address: '10.0.0.3', port: 179 })
  // C has no N bit, so what it sends is plain
  c.setPeer({
    ...{ name: 'a', address: '10.0.0.1', asn: 65001, bfd: {}, export: 'accept', import: 'accept' },
    gracefulRestart: { restartSeconds: 120, notification: false },
  })
  net.a.setPeer({ name: 'c', address: '10.0.0.3', asn: 65003, import: 'accept', ...GRACEFUL })
  c.announce({ prefix: '192.0.2.0/24' })
  await settle()
  t.true(net.routes.a.has('192.0.2.0/24'))
  other.say('Up', 'Down', {}, 'multi 10.0.0.3 10.0.0.1')
  await settle()
  t.false(net.routes.a.has('192.0.2.0/24'))
  t.is(reasonOf(net.a, 'c')?.code, 'bfd-down')
  await Promise.all([net.close(), c.close()])
})

test('an end for administrative reasons, at either end, is no failure', async t => {
  const net = await watched()
  net.said.say('Init', 'Up')
  net.said.say('Up', 'Down', { state: 'AdminDown' })
  await settle()
  net.said.say('Init', 'Up')
  net.said.say('Up', 'AdminDown')
  await settle()
  t.is(stateOf(net.a, 'b'), 'Established')
  t.is(net.statusOf().flaps, 0)
  await net.close()
})

for (const first of ['the connection ends first', 'BFD is heard first, of both in one turn'])
  test(`a peer that restarts gracefully keeps its routes when its BFD ends with it: ${first}`, async t => {
    const net = await watched({ a: GRACEFUL, b: { ...GRACEFUL, passive: true } })
    net.said.say('Init', 'Up')
    // its program is gone
    net.network.listeners.delete('10.0.0.2 179')
    const end = () => {
      for (const connection of [...net.network.connections]) connection.closedByPeer()
    }
    if (first === 'the connection ends first') {
      end()
      await settle()
    }
    net.said.say('Up', 'Down')
    if (first !== 'the connection ends first') end()
    await settle()
    t.not(stateOf(net.a, 'b'), 'Established')
    t.not(reasonOf(net.a, 'b')?.code, 'bfd-down')
    t.true(net.routes.a.has('198.51.100.0/24'))
    // one whose BFD goes on while it restarts says with it that the path is lost
    net.said.say('Up', 'Down', { controlPlaneIndependent: true })
    await settle()
    t.false(net.routes.a.has('198.51.100.0/24'))
    await net.close()
  })

for (const [what, laterMs, neighborRestarted] of [
  ['another session of the neighbour says so, however late', 5000, true],
  ['nothing came for a detection time', 800, false],
] as const)
  test(`a peer that restarts so fast that it has a session again keeps both when the BFD of before ends: ${what}`, async t => {
    const net = await watched({ a: GRACEFUL, b: GRACEFUL })
    // the pause of the session whose connection lost the collision is over
    net.clock.advance(2000)
    await settle()
    net.said.say('Init', 'Up')
    for (const connection of [...net.network.connections]) connection.closedByPeer()
    await settle()
    t.is(stateOf(net.a, 'b'), 'Established')
    t.is(net.statusOf().flaps, 1)
    net.clock.advance(laterMs)
    net.said.say('Up', 'Down', {}, PATH, { neighborRestarted })
    await settle()
    t.is(stateOf(net.a, 'b'), 'Established')
    t.is(net.statusOf().flaps, 1)
    t.true(net.routes.a.has('198.51.100.0/24'))
    // of the session that began since, BFD is a witness
    net.clock.advance(10_000)
    net.said.say('Init', 'Up')
    net.said.say('Up', 'Down')
    await settle()
    t.is(reasonOf(net.a, 'b')?.code, 'bfd-down')
    t.false(net.routes.a.has('198.51.100.0/24'))
    await net.close()
  })

test('other times, other keys, and no BFD at all reset no session', async t => {
  const net = await watched()
  const authentication = { type: 'sha1', keys: [{ id: 1, secret: 'one' }] } as const
  for (const bfd of [{ intervalMs: 50 }, { multiplier: 5 }, { authentication }, { multihop: true }, undefined, {}]) {
    t.deepEqual(net.a.setPeer({ ...net.toB, bfd }), [])
    t.is(net.said.sessions.size, bfd === undefined ? 0 : 1)
    if (bfd?.intervalMs !== undefined) t.like(net.said.sessions.get(PATH), { desiredMinTxMs: 50, requiredMinRxMs: 50 })
    if (bfd?.authentication !== undefined) t.like(net.said.sessions.get(PATH), { authentication })
    await settle()
  }
  t.is(net.statusOf().flaps, 0)
  await net.close()
})

test('two sessions with one address share one BFD session, which has the shorter time, and both end with it', async t => {
  const net = await watched({ a: { bfd: { intervalMs: 400 } } })
  const c = net.make(65003, '10.0.0.2', 'b')
  await c.listen({ address: '10.0.0.2', port: 1179 })
  c.setPeer({ ...net.toA, passive: true })
  const toC = { ...net.toB, name: 'c', port: 1179, asn: 65003, dialOnly: true, bfd: { intervalMs: 100 } }
  net.a.setPeer(toC)
  await settle()
  t.is(stateOf(net.a, 'c'), 'Established')
  t.like(net.said.sessions.get(PATH), { requiredMinRxMs: 100 })
  t.is(net.said.sessions.size, 1)
  net.said.say('Init', 'Up')
  t.deepEqual(
    net.a.peers().map(({ bfd }) => bfd?.state),
    ['Up', 'Up'],
  )
  net.said.say('Up', 'Down')
  await settle()
  for (const name of ['b', 'c']) t.is(reasonOf(net.a, name)?.code, 'bfd-down')
  net.a.removePeer('c')
  t.like(net.said.sessions.get(PATH), { requiredMinRxMs: 400 })
  await Promise.all([net.close(), c.close()])
})

test('of two peers that share a path and do not agree, a key comes before its absence, and the order in which they came decides nothing', t => {
  const said = new SaidBfd()
  const authentication = (secret: string) => ({ type: 'meticulous-sha1', keys: [{ id: 1, secret }] }) as const
  const ends = { local: '10.0.0.1', peer: '10.0.0.2', desiredMinTxMs: 300, multiplier: 3 }
  const slow = { ...ends, requiredMinRxMs: 300 }
  const fast = { ...ends, requiredMinRxMs: 100 }
  const rows = [
    [fast, { ...slow, authentication: authentication('one') }],
    [
      { ...slow, authentication: authentication('one') },
      { ...slow, authentication: authentication('two') },
    ],
  ] as const
  const inUse = (first: [string, BfdSessionConfig], second: [string, BfdSessionConfig]) => {
    const paths = new BfdPaths(said, systemClock)
    for (const [peer, config] of [first, second]) paths.watch(peer, config, () => undefined)
    const { authentication: inForce } = said.sessions.get('single 10.0.0.1 10.0.0.2')!
    for (const [peer] of [first, second]) paths.watch(peer, undefined, () => undefined)
    paths.close()
    return inForce
  }
  for (const [b, c] of rows) {
    t.deepEqual(inUse(['b', b], ['c', c]), inUse(['c', c], ['b', b]))
    t.not(inUse(['b', b], ['c', c]), undefined)
  }
})

test('a peer in the network of one of our addresses is watched over its link, any other one over routers', t => {
  const said = new SaidBfd()
  const addresses: LocalAddress[] = [
    { interface: 'eth0', address: '10.0.0.1', cidr: '10.0.0.0/24' },
    { interface: 'eth0', address: '2001:db8::1', cidr: '2001:db8::/64' },
    { interface: 'eth1', address: 'fe80::1', cidr: 'fe80::/64' },
  ]
  const transport = new MemoryNetwork().host('10.0.0.1', addresses)
  const speaker = new Speaker({ asn: 65001, routerId: '10.0.0.1' }, { transport, bfd: said })
  const seen = (config: Partial<PeerConfig>) => {
    said.sessions.clear()
    speaker.setPeer({ name: 'p', asn: 65002, bfd: {}, passive: true, ...config })
    return [...said.sessions].map(([path, { multihop }]) => (multihop ? `${path} ttl ${multihop.minTtl}` : path))
  }
  t.deepEqual(seen({ address: '10.0.0.9' }), ['single 10.0.0.1 10.0.0.9'])
  t.deepEqual(seen({ address: '10.0.0.9', bfd: { multihop: true } }), ['multi 10.0.0.1 10.0.0.9 ttl 1'])
  t.deepEqual(seen({ address: '10.0.0.9', source: '192.0.2.1' }), ['single 192.0.2.1 10.0.0.9'])
  t.deepEqual(seen({ address: '2001:db8::9' }), ['single 2001:db8::1 2001:db8::9'])
  t.deepEqual(seen({ address: 'fe80::9', interface: 'eth1' }), ['single fe80::1 fe80::9 eth1'])
  t.deepEqual(seen({ address: '10.1.0.9', source: '10.0.0.1' }), ['multi 10.0.0.1 10.1.0.9 ttl 1'])
  t.deepEqual(seen({ address: '10.1.0.9', source: '10.0.0.1', ttlSecurity: 2 }), ['multi 10.0.0.1 10.1.0.9 ttl 254'])
  // which of our addresses it has is known with the first connection
  t.deepEqual(seen({ address: '10.1.0.9' }), [])
  t.deepEqual(seen({ address: '10.0.0.9', disabled: true }), [])
  // without a neighbour nobody is watched
  t.deepEqual(seen({ address: undefined, interface: 'eth1' }), [])
  return speaker.close()
})

test('what BFD refuses is in the status, and the session comes up; a speaker without BFD takes no peer that asks for it', async t => {
  const net = await watched({ a: { bfd: { intervalMs: 10 } } })
  t.is(stateOf(net.a, 'b'), 'Established')
  t.regex(net.statusOf().bfd?.fault ?? '', /10 is not 50-60000/)
  net.a.setPeer({ ...net.toB, bfd: {} })
  t.is(net.statusOf().bfd?.fault, undefined)
  t.throws(() => net.b.setPeer({ ...net.toA, bfd: {} }), { code: 'no-bfd' })
  await net.close()
})
