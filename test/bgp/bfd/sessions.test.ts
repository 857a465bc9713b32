import test from 'ava'
import { emitSigned } from '../../../bgp/bfd/authentication.ts'
import type { BfdSessionConfig } from '../../../bgp/bfd/config.ts'
import { emitPacket, parsePacket } from '../../../bgp/bfd/packet.ts'
import { type Host, Network, nowhere, numbers, only, type Packet, promptly } from './network.ts'
import { aPacket } from './packets.ts'

const A = '192.0.2.1'
const B = '192.0.2.2'
const SIX_A = '2001:db8::1'
const SIX_B = '2001:db8::2'
const first = (more = {}) => emitPacket(aPacket({ state: 'Down', yourDiscriminator: 0, ...more }))

/** Two hosts with a session between them. */
function pair(more: Partial<BfdSessionConfig> = {}, ofB: Partial<BfdSessionConfig> = more) {
  const network = new Network()
  const [a, b] = [network.host(1, A, SIX_A), network.host(2, B, SIX_B)]
  a.sessions.set('b', { local: A, peer: B, ...more })
  b.sessions.set('a', { local: B, peer: A, ...ofB })
  return { network, clock: network.clock, a, b }
}

/** The states that a host told, in order. */
const states = (host: Host) => host.changes.map(({ to }) => to)

test('two sessions come Up in one round trip after the first packet, and agree on the times', t => {
  const { clock, a, b } = pair({}, { desiredMinTxMs: 50, requiredMinRxMs: 100, multiplier: 5 })
  clock.advance(4)
  t.deepEqual([only(a).state, only(b).state], ['Up', 'Up'])
  clock.advance(1000)
  t.like(only(a), { transmitIntervalMs: 300, detectionTimeMs: 1500 })
  t.like(only(b), { transmitIntervalMs: 300, detectionTimeMs: 900 })
  t.is(only(a).remote.discriminator, only(b).discriminator)
})

test('over IPv6, over several hops and with authentication it is the same', t => {
  const keys = [{ id: 3, secret: 'sesame' }]
  for (const more of [
    { multihop: { minTtl: 200 } },
    { authentication: { type: 'sha1' as const, keys } },
    { authentication: { type: 'meticulous-sha1' as const, keys } },
    { interface: 'eth0' },
  ]) {
    const { clock, a, b } = pair(more)
    a.sessions.set('b6', { local: SIX_A, peer: SIX_B, ...more })
    b.sessions.set('a6', { local: SIX_B, peer: SIX_A, ...more })
    clock.advance(60_000)
    for (const host of [a, b])
      for (const each of host.sessions.status().sessions) t.like(each, { state: 'Up', ups: 1, losses: 0, dropped: {} })
  }
})

test('a neighbour that falls silent is lost within the detection time, and told of with the reason', t => {
  const { network, clock, a, b } = pair()
  clock.advance(5000)
  network.way = nowhere
  clock.advance(901)
  for (const host of [a, b])
    t.like(host.changes.at(-1), { from: 'Up', to: 'Down', diagnostic: 'detection-time-expired' })
  network.way = promptly
  clock.advance(2000)
  t.like(only(a), { state: 'Up', ups: 2, losses: 1, diagnostic: 'detection-time-expired' })
})

test('where one direction is cut, both ends go down', t => {
  const { network, clock, a, b } = pair()
  clock.advance(5000)
  network.way = ({ from }) => (from === A ? [] : [1])
  clock.advance(1000)
  t.like(b.changes.at(-1), { to: 'Down', diagnostic: 'detection-time-expired' })
  t.true(a.changes.some(({ to, diagnostic }) => to === 'Down' && diagnostic === 'neighbor-signaled-down'))
  t.not(only(b).state, 'Up')
})

test('a host that stood still for longer than the detection time hears what waited before it gives anybody up', t => {
  // the neighbour is patient with us, and we are not with it
  const { clock, a, b } = pair({ multiplier: 50 }, { multiplier: 3 })
  clock.advance(5000)
  a.stop()
  clock.advance(8000)
  a.wake()
  clock.advance(5000)
  for (const host of [a, b]) t.like(only(host), { state: 'Up', losses: 0 })
})

test('two passive ends say nothing, and one active end is enough', t => {
  const silent = pair({ passive: true })
  silent.clock.advance(10_000)
  t.deepEqual(silent.network.sent, [])
  const { clock, a } = pair({ passive: true }, {})
  clock.advance(5000)
  t.is(only(a).state, 'Up')
})

test('other intervals are agreed on without a loss, shorter and longer', t => {
  const { clock, a, b } = pair()
  clock.advance(5000)
  for (const times of [50, 1000, 100, 5000, 300]) {
    a.sessions.set('b', { local: A, peer: B, desiredMinTxMs: times, requiredMinRxMs: times })
    clock.advance(12_000)
    b.sessions.set('a', { local: B, peer: A, desiredMinTxMs: times, requiredMinRxMs: times })
    clock.advance(12_000)
    for (const host of [a, b]) t.like(only(host), { state: 'Up', losses: 0, transmitIntervalMs: times })
  }
})

test('a session that is removed tells its neighbour that this is no failure, and leaves nothing behind', t => {
  const { network, clock, a, b } = pair()
  clock.advance(5000)
  a.sessions.remove('b')
  t.deepEqual(a.sessions.status().sessions, [])
  clock.advance(10)
  t.like(b.changes.at(-1), { from: 'Up', to: 'Down', diagnostic: 'neighbor-signaled-down' })
  t.is(b.changes.at(-1)?.remote.state, 'AdminDown')
  // of one that it removed a client hears no more
  t.is(states(a).at(-1), 'Up')
  clock.advance(2000)
  t.like(parsePacket(network.sent.filter(({ from }) => from === A).at(-1)!.bytes), { state: 'AdminDown' })
  clock.advance(2000)
  t.is(a.open, 0)
  const count = network.sent.filter(({ from }) => from === A).length
  clock.advance(10_000)
  t.is(network.sent.filter(({ from }) => from === A).length, count)
})

test('a session of a neighbour that was never heard of goes at once', t => {
  const network = new Network()
  const a = network.host(1, A)
  a.sessions.set('b', { local: A, peer: B })
  a.sessions.remove('b')
  t.is(a.open, 0)
  // what was sent is on its way
  network.clock.advance(1)
  t.is(network.clock.pending, 0)
})

test('a session may be set again while its predecessor still takes leave', t => {
  const { clock, a, b } = pair()
  clock.advance(5000)
  a.sessions.remove('b')
  clock.advance(100)
  a.sessions.set('again', { local: A, peer: B })
  clock.advance(5000)
  t.like(only(a), { name: 'again', state: 'Up' })
  t.is(only(b).state, 'Up')
})

test('a session that gets another path begins anew', t => {
  const { network, clock, a } = pair()
  const c = network.host(3, '192.0.2.3')
  c.sessions.set('a', { local: '192.0.2.3', peer: A })
  clock.advance(5000)
  const before = only(a).discriminator
  a.sessions.set('b', { local: A, peer: '192.0.2.3' })
  clock.advance(5000)
  t.like(only(a), { state: 'Up' })
  t.not(only(a).discriminator, before)
})

test('a session that is disabled stays down until it is enabled', t => {
  const { clock, a, b } = pair()
  clock.advance(5000)
  a.sessions.disable('b')
  clock.advance(20_000)
  t.like(only(a), { state: 'AdminDown', diagnostic: 'administratively-down', losses: 0 })
  t.like(only(b), { state: 'Down', losses: 1 })
  a.sessions.enable('b')
  clock.advance(5000)
  t.deepEqual([only(a).state, only(b).state], ['Up', 'Up'])
  a.sessions.disable('nobody')
  a.sessions.remove('nobody')
})

test('what is closed has told every neighbour, and has neither sockets nor timers', t => {
  const { network, clock, a, b } = pair()
  a.sessions.set('b6', { local: SIX_A, peer: SIX_B, multihop: { minTtl: 1 } })
  clock.advance(5000)
  b.sessions.close()
  a.sessions.close()
  t.deepEqual([a.open, b.open], [0, 0])
  t.like(parsePacket(network.sent.filter(({ from }) => from === A).at(-1)!.bytes), { state: 'AdminDown' })
  clock.advance(10)
  t.is(clock.pending, 0)
})

test('discriminators are drawn until one is neither zero nor another session’s', t => {
  const draw = numbers(1)
  // four numbers for three sessions
  const host = new Network().host(() => draw() % 4)
  for (let i = 1; i <= 3; i++) host.sessions.set(`${i}`, { local: A, peer: `198.51.100.${i}` })
  const drawn = host.sessions.status().sessions.map(({ discriminator }) => discriminator)
  t.deepEqual(drawn.toSorted(), [1, 2, 3])
})

test('a packet that no session may have is dropped and counted by its reason', t => {
  const { clock, a } = pair({ authentication: { type: 'sha1', keys: [{ id: 1, secret: 'x' }] } })
  clock.advance(5000)
  const { discriminator, received } = only(a)
  const mine = aPacket({ yourDiscriminator: discriminator })
  const send = (more: Partial<Packet>) =>
    a.arrive({ from: B, to: A, port: 3784, ttl: 255, interfaceIndex: 2, bytes: emitPacket(mine), ...more })
  send({ ttl: 254 })
  send({ bytes: new Uint8Array(3) })
  send({ bytes: new Uint8Array(24) })
  send({ bytes: emitPacket(aPacket({ yourDiscriminator: discriminator ^ 1 })) })
  send({ from: '192.0.2.9', bytes: first() })
  send({ to: '192.0.2.9', bytes: first() })
  t.deepEqual(a.sessions.status().dropped, {
    'low-ttl': 1,
    'too-short': 1,
    'wrong-version': 1,
    'unknown-discriminator': 1,
    'no-session': 2,
  })
  const signed = (id: number) => emitSigned(mine, { type: 'sha1', keys: [{ id, secret: 'x' }] }, 1)
  send({})
  send({ bytes: signed(1) })
  send({ bytes: signed(2) })
  t.like(only(a), { received, state: 'Up' })
  t.deepEqual(only(a).dropped, { 'not-authenticated': 1, 'wrong-sequence': 1, 'unknown-key': 1 })
})

test('a multihop session takes what comes with its least TTL, from either address, and nothing by the other port', t => {
  const { clock, a } = pair({ multihop: { minTtl: 250 } })
  a.sessions.set('link', { local: A, peer: '192.0.2.3' })
  clock.advance(5000)
  const [far, link] = a.sessions.status().sessions
  const bytes = emitPacket(aPacket({ yourDiscriminator: far!.discriminator }))
  const send = (more: Partial<Packet>) =>
    a.arrive({ from: B, to: A, port: 4784, ttl: 255, interfaceIndex: 9, bytes, ...more })
  send({ ttl: 250 })
  send({ from: '192.0.2.77' })
  t.is(a.sessions.status().sessions[0]!.received, far!.received + 2)
  send({ ttl: 249 })
  send({ port: 3784 })
  t.deepEqual(a.sessions.status().sessions[0]!.dropped, { 'low-ttl': 1, 'wrong-port': 1 })
  send({ bytes: emitPacket(aPacket({ yourDiscriminator: link!.discriminator })) })
  t.deepEqual(a.sessions.status().sessions[1]!.dropped, { 'wrong-port': 1 })
  send({ ttl: 255, bytes: first(), from: '192.0.2.3' })
  t.deepEqual(a.sessions.status().dropped, { 'no-session': 1 })
})

test('one neighbour’s link-local address on two links is two sessions', t => {
  const network = new Network()
  const a = network.host(1, 'fe80::1')
  a.sessions.set('eth0', { local: 'fe80::1', peer: 'fe80::2', interface: 'eth0' })
  a.sessions.set('eth1', { local: 'fe80::1', peer: 'fe80::2', interface: 'eth1' })
  a.arrive({ from: 'fe80::2', to: 'fe80::1', port: 3784, ttl: 255, interfaceIndex: 2, bytes: first() })
  a.arrive({ from: 'fe80::2', to: 'fe80::1', port: 3784, ttl: 255, interfaceIndex: 7, bytes: first() })
  t.deepEqual(
    a.sessions.status().sessions.map(({ state }) => state),
    ['Init', 'Down'],
  )
  t.deepEqual(a.sessions.status().dropped, { 'no-session': 1 })
})

test('an old packet that is sent once more changes nothing where there is authentication', t => {
  const { network, clock, a } = pair({ authentication: { type: 'meticulous-sha1', keys: [{ id: 1, secret: 'x' }] } })
  clock.advance(10_000)
  const recorded = network.sent.filter(({ from }) => from === B)
  for (const packet of recorded) a.arrive(packet)
  clock.advance(10)
  t.like(only(a), { state: 'Up', losses: 0 })
  t.is(only(a).dropped['wrong-sequence'], recorded.length)
})

test('a key that both ends change within ten seconds ends no session, and the former one is refused after twice that', t => {
  // the id may stay, as it does where a Secret gets another value
  for (const [type, id] of [
    ['meticulous-sha1', 1],
    ['meticulous-sha1', 2],
    ['sha1', 2],
  ] as const)
    for (const laterMs of [0, 500, 5000, 9500]) {
      const former = { type: 'meticulous-sha1' as const, keys: [{ id: 1, secret: 'former' }] }
      const next = { type, keys: [{ id, secret: 'next' }] }
      const { clock, a, b } = pair({ authentication: former })
      clock.advance(10_000)
      a.sessions.set('b', { local: A, peer: B, authentication: next })
      clock.advance(laterMs)
      b.sessions.set('a', { local: B, peer: A, authentication: next })
      clock.advance(30_000)
      for (const host of [a, b]) t.like(only(host), { state: 'Up', losses: 0, dropped: {} }, `${type} ${id} ${laterMs}`)
      b.sessions.set('a', { local: B, peer: A, authentication: former })
      clock.advance(30_000)
      t.like(only(a), { state: 'Down', losses: 1 })
    }
})

test('a neighbour that restarts with other numbers is believed when nothing was heard of it for twice the detection time', t => {
  const authentication = { type: 'meticulous-sha1' as const, keys: [{ id: 1, secret: 'x' }] }
  const { network, clock, a, b } = pair({ authentication })
  clock.advance(10_000)
  b.stop()
  const c = network.host(99, B)
  clock.advance(10)
  c.sessions.set('a', { local: B, peer: A, authentication })
  clock.advance(20_000)
  t.like(only(a), { state: 'Up', ups: 2 })
  t.true((only(a).dropped['wrong-sequence'] ?? 0) > 0)
})

test('a neighbour that began another session is told from one that hears us no more, and from one that is silent', t => {
  const lossAt = (what: (pair_: ReturnType<typeof pair>) => void) => {
    const both = pair()
    both.clock.advance(5000)
    const fromMs = both.clock.monotonicMs()
    what(both)
    both.clock.advance(5000)
    const loss = both.a.changes.find(({ from }) => from === 'Up')!
    t.true(loss.atMs > fromMs && loss.atMs <= fromMs + 1000, `${loss.atMs}`)
    return loss
  }
  const restarted = lossAt(({ network, clock, b }) => {
    b.stop()
    const again = network.host(99, B)
    clock.advance(10)
    again.sessions.set('a', { local: B, peer: A })
  })
  t.like(restarted, { diagnostic: 'neighbor-signaled-down', neighborRestarted: true })
  const deaf = lossAt(({ network }) => {
    network.way = ({ to }) => (to === B ? [] : [1])
  })
  t.like(deaf, { diagnostic: 'neighbor-signaled-down', neighborRestarted: false })
  const silent = lossAt(({ network }) => {
    network.way = nowhere
  })
  t.like(silent, { diagnostic: 'detection-time-expired', neighborRestarted: false, detectionTimeMs: 900 })
})

test('sockets that are refused are tried again until they are not, and the reason is told', t => {
  const { network, clock, a } = pair()
  const c = network.host(3, '192.0.2.3')
  c.refusal = Object.assign(new Error('bind 192.0.2.3: EADDRNOTAVAIL'), { code: 'EADDRNOTAVAIL' })
  c.sessions.set('a', { local: '192.0.2.3', peer: A })
  a.sessions.set('c', { local: A, peer: '192.0.2.3' })
  clock.advance(10_000)
  t.like(only(c), { state: 'Down', fault: 'bind 192.0.2.3: EADDRNOTAVAIL', sent: 0 })
  c.refusal = undefined
  clock.advance(3000)
  t.like(only(c), { state: 'Up', fault: undefined })
})

test('a socket that cannot be opened because of a bug is no reason to go on', t => {
  const host = new Network().host(1, A)
  Object.assign(host, { refusal: new TypeError('a bug') })
  t.throws(() => host.sessions.set('b', { local: A, peer: B }), { instanceOf: TypeError })
})
