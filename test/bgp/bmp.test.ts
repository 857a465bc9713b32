// BMP over the transport in memory: sessions, and the table before policy.
import test from 'ava'
import type { Rib } from '../../bgp/rib/rib.ts'
import { BMP_DOWN, BMP_STAT } from '../../bgp/wire/bmp.ts'
import { CEASE, ERROR, MESSAGE } from '../../bgp/wire/iana.ts'
import { HEADER } from '../../bgp/wire/message.ts'
import { insideHardReset, parseNotification } from '../../bgp/wire/notification.ts'
import { parseOpen } from '../../bgp/wire/open.ts'
import { COLLECTOR, world } from './bmp-station.ts'
import { settle } from './settle.ts'

test('a collector hears who the speaker is, then every session with both OPENs, the table, and its end', async t => {
  const { a, b, bmp, station, listen } = await world(t)
  for (let i = 0; i < 20; i++) b.announce({ prefix: `198.51.100.${i}/32`, med: i >> 2 })
  b.announce({ prefix: '2001:db8:7::/48', nextHop: '2001:db8::2' })
  await settle()
  await listen()
  bmp.start()
  await settle()
  t.deepEqual(station.kinds().slice(0, 3), ['initiation', 'peerUp', 'peerUp'])
  const [up] = station.of('peerUp')
  t.like(up, { localAddress: '10.0.0.1', localPort: 179 })
  t.like(up?.peer, { address: '10.0.0.2', asn: 65002, routerId: 0x0a000002, postPolicy: false, as2: false, kind: 0 })
  const asns = [up!.sentOpen, up!.receivedOpen].map(open => {
    t.is(open[18], MESSAGE.open)
    const parsed = parseOpen(open, HEADER, open.length)
    return 'asn' in parsed ? parsed.asn : parsed
  })
  t.deepEqual(asns, [65001, 65002])
  // what import policy refuses is told all the same: it is the table before policy
  t.is(a.peers().find(({ name }) => name === 'b')?.prefixes.accepted, 0)
  t.is(station.tables.get('10.0.0.2')?.size, 21)
  t.deepEqual(station.ends.toSorted(), BOTH_ENDS)
  t.is(bmp.status().state, 'live')
  // four prefixes have a set in common, and so a message
  t.is(station.of('routeMonitoring').length, 5 + 1 + 4)
})

const BOTH_ENDS = ['10.0.0.2 ipv4', '10.0.0.2 ipv6', '10.0.0.3 ipv4', '10.0.0.3 ipv6']

test('after the table every UPDATE is passed on as it was received, withdrawals too', async t => {
  const { b, bmp, station, listen } = await world(t)
  await listen()
  bmp.start()
  await settle()
  const before = station.messages.length
  b.announce({ prefix: '203.0.113.0/24' })
  b.announce({ prefix: '2001:db8:7::/48', nextHop: '2001:db8::2' })
  await settle()
  t.deepEqual([...station.tables.get('10.0.0.2')!].sort(), ['2001:db8:7::/48', '203.0.113.0/24'])
  b.withdraw('203.0.113.0/24')
  await settle()
  t.deepEqual([...station.tables.get('10.0.0.2')!], ['2001:db8:7::/48'])
  t.deepEqual(new Set(station.kinds().slice(before)), new Set(['routeMonitoring']))
})

test('the end of a session is told with its NOTIFICATION, and the next one with a new Peer Up', async t => {
  const { a, b, c, clock, bmp, station, listen, network } = await world(t)
  await listen()
  bmp.start()
  await settle()
  a.clear('b', 'hard')
  await c.close()
  await settle()
  const told = station.of('peerDown').map(({ peer, reason, data }) => {
    // for good, so inside a Hard Reset (RFC 8538)
    const inner = insideHardReset(parseNotification(data, HEADER, data.length))
    return [peer.address, reason, inner?.code, inner?.subcode]
  })
  t.deepEqual(told, [
    ['10.0.0.2', BMP_DOWN.localNotification, ERROR.cease, CEASE.reset],
    ['10.0.0.3', BMP_DOWN.remoteNotification, ERROR.cease, CEASE.shutdown],
  ])
  for (let i = 0; i < 10; i++) {
    clock.advance(5000)
    await settle()
  }
  t.deepEqual([...station.tables.keys()], ['10.0.0.2', 'accepted from 10.0.0.2', 'before to 10.0.0.2', 'to 10.0.0.2'])
  for (const connection of network.connections)
    if (connection.remoteAddress === '10.0.0.1' && connection.remotePort === 179) connection.destroy()
  await settle()
  t.is(station.of('peerDown').at(-1)?.reason, BMP_DOWN.remoteClosed)
  await b.close()
})

test('what a peer leaves out when it sends its table again is withdrawn at the collector', async t => {
  const { a, b, bmp, station, listen } = await world(t)
  for (let i = 0; i < 4; i++) b.announce({ prefix: `198.51.100.${i}/32` })
  await settle()
  await listen()
  bmp.start()
  await settle()
  // the peer begins again, sends one route, and says that this was all
  const rib = a.rib as Rib
  rib.refresh('b', 'ipv4-unicast', 'begin')
  const bytes = station.of('routeMonitoring').find(({ update }) => update.length > HEADER + 4)!.update
  const attributes = bytes.slice(0, bytes.length - 20)
  const one = Uint8Array.of(...attributes, 32, 198, 51, 100, 2)
  rib.receive('b', one, HEADER, one.length)
  bmp.refreshed('b', 'ipv4-unicast')
  rib.refresh('b', 'ipv4-unicast', 'end')
  await settle()
  t.deepEqual([...station.tables.get('10.0.0.2')!], ['198.51.100.2/32'])
  t.is(a.rib.counts('b')?.received, 1)
})

test('statistics come at the interval that was asked for', async t => {
  const { b, clock, bmp, station, listen } = await world(t, { config: { statsSeconds: 30 } })
  b.announce({ prefix: '203.0.113.0/24' })
  await listen()
  bmp.start()
  await settle()
  clock.advance(29_000)
  await settle()
  t.is(station.of('statsReport').length, 0)
  clock.advance(1000)
  await settle()
  const [first] = station.of('statsReport')
  t.deepEqual(first?.stats, [
    { type: BMP_STAT.routesIn, gauge: 1n },
    { type: BMP_STAT.treatedAsWithdraw, counter: 0 },
  ])
  clock.advance(30_000)
  await settle()
  t.is(station.of('statsReport').length, 4)
})

test('a collector that cannot be reached is tried again with growing delays, and then gets the whole table', async t => {
  const { b, clock, bmp, station, listen, network } = await world(t)
  b.announce({ prefix: '203.0.113.0/24' })
  bmp.start()
  await settle()
  t.like(bmp.status(), { state: 'waiting', reason: 'no connection: nobody listens' })
  const tries = () => network.dials.filter(dial => dial === `10.0.0.1 ${COLLECTOR}`).length
  for (const [seconds, wanted] of [
    [29, 1],
    [1, 2],
    [59, 2],
    [1, 3],
  ] as const) {
    clock.advance(seconds * 1000)
    await settle()
    t.is(tries(), wanted)
  }
  await listen()
  clock.advance(120_000)
  await settle()
  t.is(bmp.status().state, 'live')
  t.is(station.tables.get('10.0.0.2')?.size, 1)
  // a whole table resets the delays
  station.connections[0]?.destroy()
  await settle()
  t.is(bmp.status().state, 'waiting')
  clock.advance(30_000)
  await settle()
  t.is(bmp.status().state, 'live')
  t.is(station.of('initiation').length, 2)
})

test('a collector that reads too slowly loses its connection and gets a fresh table, and no session waits', async t => {
  const { a, b, clock, bmp, station, listen } = await world(t, { config: { bufferOctets: 400_000 } })
  station.reads = false
  await listen()
  bmp.start()
  await settle()
  for (let round = 0; round < 30; round++) {
    for (let i = 0; i < 250; i++) b.announce({ prefix: `198.51.${round}.${i}/32`, med: i, localPref: round })
    await settle()
    t.true(bmp.status().waiting < 600_000)
  }
  t.is(a.rib.counts('b')?.received, 7500)
  t.is(station.ended, 1)
  t.regex(bmp.status().reason ?? '', /^it read too slowly: \d+ octets were waiting$/)
  station.reads = true
  clock.advance(30_000)
  await settle(200)
  t.is(bmp.status().state, 'live')
  t.is(station.tables.get('10.0.0.2')?.size, 7500)
})

test('routes that change while the table is sent are right at the collector in the end', async t => {
  const { b, c, bmp, station, listen } = await world(t)
  for (let i = 0; i < 3000; i++) b.announce({ prefix: `10.9.${i >> 8}.${i & 255}/32`, med: i })
  await settle(100)
  await listen()
  bmp.start()
  for (let i = 0; i < 3000; i += 3) {
    b.withdraw(`10.9.${i >> 8}.${i & 255}/32`)
    if (i % 300 === 0) await settle(2)
  }
  c.announce({ prefix: '203.0.113.0/24' })
  await settle(200)
  t.is(bmp.status().state, 'live')
  t.is(station.tables.get('10.0.0.2')?.size, 2000)
  t.is(station.tables.get('10.0.0.3')?.size, 1)
})

test('a closed collector sends Termination and leaves no timer', async t => {
  const { a, b, bmp, station, listen } = await world(t)
  await listen()
  bmp.start()
  await settle()
  bmp.close()
  b.announce({ prefix: '203.0.113.0/24' })
  await settle()
  const [last] = station.of('termination')
  t.deepEqual(last?.information, [{ type: 1, value: Uint8Array.of(0, 0) }])
  t.is(station.messages.at(-1), last)
  t.is(a.rib.counts('b')?.received, 1)
})
