import test from 'ava'
import type { PeerConfig } from '../../bgp/config.ts'
import { setMd5 } from '../../kernel/sockopt.ts'
import { bringUp, pair, reasonOf, stateOf } from './pair.ts'
import { settle } from './settle.ts'

test('two speakers come up, exchange a network both ways, and withdraw it', async t => {
  const net = await pair()
  net.a.announce({ prefix: '203.0.113.0/24' })
  await bringUp(net)
  t.is(stateOf(net.a, 'b'), 'Established')
  t.is(stateOf(net.b, 'a'), 'Established')
  t.is(net.routes.b.get('203.0.113.0/24')?.nextHop, '10.0.0.1')
  net.b.announce({ prefix: '198.51.100.0/24' })
  await settle()
  t.is(net.routes.a.get('198.51.100.0/24')?.nextHop, '10.0.0.2')
  net.a.withdraw('203.0.113.0/24')
  await settle()
  t.false(net.routes.b.has('203.0.113.0/24'))
  await net.close()
  t.is(net.clock.pending, 0)
})

test('a session that both sides dial at the same time ends as exactly one connection', async t => {
  for (const bId of ['9.0.0.1', '11.0.0.1']) {
    const net = await pair({ bId })
    await bringUp(net)
    net.clock.advance(300)
    await settle()
    t.is(stateOf(net.a, 'b'), 'Established')
    t.is(net.network.connections.size, 2)
    t.deepEqual(net.network.dials.slice(0, 2).sort(), ['10.0.0.1 10.0.0.2', '10.0.0.2 10.0.0.1'])
    await net.close()
  }
})

test('of two peers with one address the one that only dials takes no connection of the other, whichever was set first', async t => {
  for (const order of ['b first', 'c first']) {
    const net = await pair({ a: { passive: true } })
    const c = net.make(65003, '10.0.0.2', 'b')
    await c.listen({ address: '10.0.0.2', port: 1179 })
    const toC: PeerConfig = { ...net.toB, name: 'c', port: 1179, asn: 65003, passive: false, dialOnly: true }
    for (const each of order === 'b first' ? [net.toB, toC] : [toC, net.toB]) net.a.setPeer(each)
    c.setPeer({ ...net.toA, passive: true })
    net.b.setPeer(net.toA)
    await settle()
    const seen = () => net.a.peers().map(({ name, state, asn }) => `${name} ${state} ${asn}`)
    t.deepEqual(seen().sort(), ['b Established 65002', 'c Established 65003'], order)
    // without the other one nobody takes its connections
    net.a.removePeer('b')
    const { rejected } = net.a.listenerCounts
    net.b.clear('a', 'hard')
    await settle()
    t.deepEqual(seen(), ['c Established 65003'])
    t.true(net.a.listenerCounts.rejected > rejected)
    await Promise.all([net.close(), c.close()])
  }
})

test('another cluster id ends no session: a route that is reflected goes out with it, and one with it is not used while it is ours', async t => {
  const net = await pair()
  const reflector = net.make(65001, '10.0.0.3', 'b')
  const client = net.make(65001, '10.0.0.4', 'b')
  for (const [speaker, address] of [
    [reflector, '10.0.0.3'],
    [client, '10.0.0.4'],
  ] as const)
    await speaker.listen({ address, port: 179 })
  net.a.setPeer({ name: 'r', address: '10.0.0.3', asn: 65001 })
  client.setPeer({ name: 'r', address: '10.0.0.3', asn: 65001 })
  reflector.setPeer({ name: 'a', address: '10.0.0.1', asn: 65001 })
  reflector.setPeer({ name: 'c', address: '10.0.0.4', asn: 65001, reflectorClient: true })
  client.announce({ prefix: '203.0.113.0/24' })
  await settle(80)
  const clusterList = () => net.a.explain('203.0.113.0/24')?.candidates[0]?.attributes.attributes.clusterList
  t.true(net.routes.a.has('203.0.113.0/24'))
  t.deepEqual(clusterList(), [0x0a000003])
  net.a.setClusterId('10.0.0.3')
  await settle()
  t.false(net.routes.a.has('203.0.113.0/24'))
  reflector.setClusterId('1.2.3.4')
  await settle()
  t.true(net.routes.a.has('203.0.113.0/24'))
  t.deepEqual(clusterList(), [0x01020304])
  net.a.setClusterId('1.2.3.4')
  await settle()
  t.false(net.routes.a.has('203.0.113.0/24'))
  net.a.setClusterId(undefined)
  await settle()
  t.true(net.routes.a.has('203.0.113.0/24'))
  t.is(net.a.peers()[0]?.flaps, 0)
  t.deepEqual(net.a.config, { asn: 65001, routerId: '10.0.0.1' })
  await Promise.all([net.close(), reflector.close(), client.close()])
})

test('a peer that falls silent is given up when the hold time is over, and its routes with it', async t => {
  const net = await pair({ a: { timers: { holdTimeSeconds: 9 } } })
  net.b.announce({ prefix: '198.51.100.0/24' })
  await bringUp(net)
  t.true(net.routes.a.has('198.51.100.0/24'))
  net.network.silent = true
  net.clock.advance(8900)
  await settle()
  t.is(stateOf(net.a, 'b'), 'Established')
  net.clock.advance(200)
  await settle()
  t.not(stateOf(net.a, 'b'), 'Established')
  t.is(reasonOf(net.a, 'b')?.code, 'hold-timer')
  t.false(net.routes.a.has('198.51.100.0/24'))
  net.network.silent = false
  net.clock.advance(5000)
  await settle()
  t.is(stateOf(net.a, 'b'), 'Established')
  await net.close()
})

test('a peer with an address and an interface may dial us', async t => {
  const net = await pair({ a: { interface: 'eth1', passive: true } })
  await bringUp(net)
  t.is(stateOf(net.a, 'b'), 'Established')
  await net.close()
})

test('a rule that names no community is refused at once, and changes nothing', async t => {
  const net = await pair()
  const rules = [{ action: 'accept', communities: ['70000:1'] }] as const
  t.throws(() => net.a.setPeer({ ...net.toB, import: rules }), { message: /70000:1/ })
  t.throws(() => net.a.setPeer({ ...net.toB, export: rules, range: '10.0.0.0/8' }), { message: /70000:1/ })
  const source = { name: 's', address: '10.0.0.9', routerId: '10.0.0.9', asn: 65001, addPath: false }
  t.throws(() => net.a.openSource({ ...source, import: rules }), { message: /70000:1/ })
  t.deepEqual(net.a.configured(), [])
  net.a.openSource(source).close()
  await net.close()
})

test('keepalives hold a quiet session for as long as it lasts', async t => {
  const net = await pair({ a: { timers: { holdTimeSeconds: 9 } } })
  await bringUp(net)
  for (let i = 0; i < 30; i++) {
    net.clock.advance(1000)
    await settle(4)
  }
  t.is(stateOf(net.a, 'b'), 'Established')
  t.is(net.a.peers()[0]?.flaps, 0)
  await net.close()
})

test('a wrong AS is told with both numbers on both sides', async t => {
  const net = await pair({ a: { asn: 65009 }, b: { passive: true } })
  await bringUp(net)
  t.is(reasonOf(net.a, 'b')?.code, 'wrong-as')
  t.regex(reasonOf(net.a, 'b')?.detail ?? '', /AS 65002.*65009/)
  t.is(reasonOf(net.b, 'a')?.code, 'wrong-as')
  await net.close()
})

test('a peer that refuses the connection is dialled again', async t => {
  const net = await pair()
  net.a.setPeer({ ...net.toB, address: '10.0.0.3' })
  await settle()
  t.is(reasonOf(net.a, 'b')?.code, 'refused')
  net.clock.advance(5000)
  await settle()
  t.is(net.network.dials.length, 2)
  await net.close()
})

test('a shutdown sends a Cease with its message, and the peer shows it', async t => {
  const net = await pair({ a: { shutdownMessage: 'moving racks' } })
  await bringUp(net)
  net.a.setPeer({ ...net.toB, shutdownMessage: 'moving racks', disabled: true })
  await settle()
  t.is(reasonOf(net.a, 'b')?.code, 'admin-down')
  t.is(reasonOf(net.b, 'a')?.code, 'peer-cease')
  t.regex(reasonOf(net.b, 'a')?.detail ?? '', /Administrative Shutdown|moving racks/)
  await net.close()
})

test('a change of policy, password or timers keeps the session; a change of families resets it and says so first', async t => {
  const net = await pair()
  await bringUp(net)
  net.a.announce({ prefix: '203.0.113.0/24' })
  await settle()
  t.deepEqual(net.a.setPeer({ ...net.toB, export: 'reject', password: 'x', timers: { connectRetrySeconds: 9 } }), [])
  await settle()
  t.is(stateOf(net.a, 'b'), 'Established')
  t.false(net.routes.b.has('203.0.113.0/24'))
  const next: PeerConfig = { ...net.toB, families: ['ipv4-unicast', 'ipv6-unicast'] }
  t.regex(net.a.plan(next).join(), /^families changed: .*OPEN/)
  t.is(stateOf(net.a, 'b'), 'Established')
  t.deepEqual(net.a.setPeer(next), net.a.plan({ ...net.toB }))
  await settle()
  t.is(net.a.peers()[0]?.flaps, 1)
  t.is(net.a.peers()[0]?.lastReason, 'admin-down')
  await net.close()
})

test('how long the routes of a peer stay is no matter of the OPEN, so that another answer to it resets no session', async t => {
  const restartSeconds = 120
  const net = await pair({ a: { gracefulRestart: { restartSeconds } } })
  await bringUp(net)
  const plan = (gracefulRestart: PeerConfig['gracefulRestart']) => net.a.plan({ ...net.toB, gracefulRestart })
  t.deepEqual(plan({ restartSeconds, keepOverRestarts: true }), [])
  for (const told of [{ restartSeconds: 60 }, { restartSeconds, notification: false }, false] as const)
    t.regex(plan(told).join(), /^gracefulRestart changed: .*OPEN/)
  await net.close()
})

test('neighbours of a range come up without being configured, up to the limit, and others are rejected', async t => {
  const net = await pair()
  net.a.setPeer({
    name: 'pods',
    range: '10.0.0.0/30',
    rangeLimit: 1,
    asn: 'external',
    import: 'accept',
    export: 'accept',
  })
  net.b.setPeer(net.toA)
  await settle()
  t.is(stateOf(net.a, 'pods:10.0.0.2'), 'Established')
  const c = net.make(65003, '10.0.0.3', 'b')
  const d = net.make(65004, '10.0.9.9', 'b')
  c.setPeer({ ...net.toA, name: 'a' })
  d.setPeer({ ...net.toA, name: 'a' })
  await settle()
  t.regex(reasonOf(c, 'a')?.detail ?? '', /Connection Rejected/)
  t.regex(reasonOf(d, 'a')?.detail ?? '', /Connection Rejected/)
  t.is(net.a.listenerCounts.rejected, 2)
  net.a.removePeer('pods')
  await settle()
  t.is(net.a.peers().length, 0)
  await Promise.all([c.close(), d.close()])
  await net.close()
})

test('with graceful restart a lost connection keeps the routes until the restart time is over', async t => {
  const gracefulRestart = { restartSeconds: 30 }
  const net = await pair({ a: { gracefulRestart }, b: { gracefulRestart } })
  net.b.announce({ prefix: '198.51.100.0/24' })
  await bringUp(net)
  for (const connection of [...net.network.connections]) connection.closedByPeer()
  net.network.listeners.delete('10.0.0.2 179')
  net.network.listeners.delete('10.0.0.1 179')
  await settle()
  t.not(stateOf(net.a, 'b'), 'Established')
  t.true(net.routes.a.has('198.51.100.0/24'))
  net.clock.advance(31_000)
  await settle()
  t.false(net.routes.a.has('198.51.100.0/24'))
  await net.close()
})

test('a graceful end sends no Cease: the peer keeps the routes, and the next process announces before it decides', async t => {
  const gracefulRestart = { restartSeconds: 30 }
  const net = await pair({ a: { gracefulRestart }, b: { gracefulRestart } })
  net.b.announce({ prefix: '198.51.100.0/24' })
  net.a.announce({ prefix: '203.0.113.0/24' })
  await bringUp(net)
  await net.a.close({ graceful: true })
  await settle()
  t.true(net.routes.b.has('203.0.113.0/24'))
  const next = net.make(65001, '10.0.0.1', 'a', { restarting: true })
  net.routes.a.clear()
  next.announce({ prefix: '203.0.113.0/24' })
  await next.listen({ address: '10.0.0.1', port: 179 })
  next.setPeer(net.toB)
  t.true(next.restarting)
  net.clock.advance(5000)
  await settle()
  t.is(stateOf(next, 'b'), 'Established')
  t.false(next.restarting, 'the End-of-RIB of the only peer ends it')
  t.true(net.routes.a.has('198.51.100.0/24'))
  t.true(net.routes.b.has('203.0.113.0/24'))
  await next.close()
  await net.close()
})

test('a restart gives up a passive peer that came and was lost before its table, after 15 s', async t => {
  const gracefulRestart = { restartSeconds: 120 }
  const net = await pair({ a: { gracefulRestart, passive: true }, b: { gracefulRestart }, depsA: { restarting: true } })
  let came = false
  net.a.onChange(({ state }) => {
    if (state !== 'Established') return
    came = true
    net.network.listeners.delete('10.0.0.1 179')
    for (const connection of [...net.network.connections]) connection.closedByPeer()
  })
  await bringUp(net)
  t.deepEqual([came, stateOf(net.a, 'b'), net.a.restarting], [true, 'Active', true])
  net.clock.advance(14_000)
  t.true(net.a.restarting)
  net.clock.advance(1000)
  t.false(net.a.restarting)
  await net.close()
})

test('a hard clear resets the session, a soft one does not', async t => {
  const net = await pair()
  await bringUp(net)
  net.a.clear('b', 'soft-in')
  net.a.clear('b', 'soft-out')
  await settle()
  t.is(net.a.peers()[0]?.flaps, 0)
  net.a.clear('b', 'hard')
  await settle()
  net.clock.advance(2000)
  await settle()
  t.is(net.a.peers()[0]?.flaps, 1)
  t.is(stateOf(net.a, 'b'), 'Established')
  t.throws(() => net.a.clear('nobody', 'hard'), { message: /nobody/ })
  await net.close()
})

test('a peer above its prefix limit is ended with a Cease and tried again only after the restart time', async t => {
  const net = await pair({ a: { prefixLimit: { max: 1, restartSeconds: 100 } } })
  net.b.announce({ prefix: '198.51.100.0/24' })
  net.b.announce({ prefix: '198.51.101.0/24' })
  await bringUp(net)
  t.is(reasonOf(net.a, 'b')?.code, 'prefix-limit')
  t.is(stateOf(net.a, 'b'), 'Idle')
  t.is(reasonOf(net.b, 'a')?.code, 'peer-cease')
  net.b.withdraw('198.51.101.0/24')
  net.clock.advance(101_000)
  await settle()
  t.is(stateOf(net.a, 'b'), 'Established')
  await net.close()
})

test('a call that is refused has an error with a code, and so has a socket option that is', async t => {
  const net = await pair()
  const codeOf = (call: () => unknown): unknown => (t.throws(call) as { code?: unknown }).code
  const source = { name: 's', address: '10.0.0.9', routerId: '10.0.0.9', asn: 65009, addPath: false }
  const open = net.a.openSource(source)
  t.is(
    codeOf(() => net.a.openSource(source)),
    'name-taken',
  )
  t.is(
    codeOf(() => net.a.setPeer({ ...net.toB, name: 's' })),
    'name-taken',
  )
  t.is(
    codeOf(() => net.a.clear('nobody', 'hard')),
    'no-peer',
  )
  t.is(
    codeOf(() => net.a.setPeer({ ...net.toB, import: [{ action: 'accept', communities: ['x'] }] })),
    'bad-rule',
  )
  const match = { operator: 'In', cidr: 'x' } as const
  t.is(
    codeOf(() => net.a.setPeer({ ...net.toB, import: [{ action: 'accept', match }] })),
    'bad-address',
  )
  for (const prefix of ['x', '10.0.0.0/33', '10.0.0/8', '1.2.3.4.5/8'])
    t.is(
      codeOf(() => net.a.announce({ prefix })),
      'bad-address',
      prefix,
    )
  t.is(
    codeOf(() => setMd5(-1, 'ipv4', '192.0.2.1', 'k'.repeat(81))),
    'EINVAL',
  )
  open.close()
  t.is(
    codeOf(() => open.receive(new Uint8Array(4), 0, 4)),
    'closed',
  )
  await net.a.close()
  t.is(
    codeOf(() => net.a.setPeer(net.toB)),
    'closed',
  )
  t.is(
    codeOf(() => net.a.openSource(source)),
    'closed',
  )
})
