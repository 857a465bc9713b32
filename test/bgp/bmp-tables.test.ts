// BMP over the transport in memory: tables other than the one before policy.
import test from 'ava'
import { MONITORED_TABLES } from '../../bgp/bmp/config.ts'
import { FAMILIES } from '../../bgp/family.ts'
import type { Rib } from '../../bgp/rib/rib.ts'
import type { Speaker } from '../../bgp/speaker.ts'
import { BMP_DOWN, BMP_LOC_RIB, BMP_STAT, bmpText } from '../../bgp/wire/bmp.ts'
import { HEADER } from '../../bgp/wire/message.ts'
import { parseOpen } from '../../bgp/wire/open.ts'
import { LOC_RIB, world } from './bmp-station.ts'
import { settle } from './settle.ts'

test('a collector that asks for the Loc-RIB gets it as one peer, with own networks and without what is not selected', async t => {
  const config = { monitor: ['loc-rib'], statsSeconds: 30 } as const
  const { a, b, c, clock, bmp, station, listen } = await world(t, { config })
  a.announce({ prefix: '192.0.2.0/24' })
  a.announce({ prefix: '2001:db8:1::/48' })
  // refused by import policy
  b.announce({ prefix: '198.51.100.0/24' })
  c.announce({ prefix: '203.0.113.0/24' })
  c.announce({ prefix: '203.0.114.0/24', med: 5 })
  await settle()
  await listen()
  bmp.start()
  await settle()
  const [up, ...others] = station.of('peerUp').filter(({ peer }) => peer.kind === BMP_LOC_RIB)
  t.is(others.length, 0)
  // all of the header but the time is said by the RFC
  t.like(up, { localAddress: '0.0.0.0', localPort: 0, remotePort: 0, information: [GLOBAL] })
  t.like(up?.peer, { address: '0.0.0.0', distinguisher: 0n, asn: 65001, routerId: 0x0a000001, filtered: false })
  t.deepEqual(up?.sentOpen, up?.receivedOpen)
  const open = parseOpen(up!.sentOpen, HEADER, up!.sentOpen.length)
  t.true('asn' in open)
  if (!('asn' in open)) return
  t.deepEqual([open.asn, open.routerId], [65001, 0x0a000001])
  const families = open.capabilities.filter(({ type }) => type === 'multiprotocol')
  t.deepEqual(families, [
    { type: 'multiprotocol', afi: 1, safi: 1 },
    { type: 'multiprotocol', afi: 2, safi: 1 },
  ])
  t.deepEqual([...station.tables.get(LOC_RIB)!].sort(), [
    '192.0.2.0/24',
    '2001:db8:1::/48',
    '203.0.113.0/24',
    '203.0.114.0/24',
  ])
  t.deepEqual(station.ends.toSorted(), ['loc-rib ipv4', 'loc-rib ipv6'])
  t.true(station.of('routeMonitoring').every(({ peer }) => peer.kind === BMP_LOC_RIB && peer.seconds === 0))
  t.is(bmp.status().state, 'live')

  c.withdraw('203.0.113.0/24')
  a.announce({ prefix: '192.0.2.128/25' })
  await settle()
  t.deepEqual([...station.tables.get(LOC_RIB)!].sort(), [
    '192.0.2.0/24',
    '192.0.2.128/25',
    '2001:db8:1::/48',
    '203.0.114.0/24',
  ])
  clock.advance(30_000)
  await settle()
  const told = station.of('statsReport').find(({ peer }) => peer.kind === BMP_LOC_RIB)
  t.deepEqual(told?.stats, [
    { type: BMP_STAT.routesSelected, gauge: 4n },
    { type: BMP_STAT.routesSelectedOfFamily, afi: 1, safi: 1, gauge: 3n },
    { type: BMP_STAT.routesSelectedOfFamily, afi: 2, safi: 1, gauge: 1n },
  ])

  bmp.close()
  await settle()
  t.deepEqual(station.kinds().slice(-2), ['peerDown', 'termination'])
  const down = station.of('peerDown').at(-1)
  t.is(down?.reason, BMP_DOWN.localClosed)
  t.deepEqual(down?.data, Uint8Array.of(0, 3, 0, 6, ...GLOBAL.value))
})

const GLOBAL = bmpText(3, 'global')

test('a collector of the Loc-RIB that reads nothing for long costs no more memory for that, and has what is selected in the end', async t => {
  const config = { monitor: ['loc-rib'], bufferOctets: 300_000 } as const
  const { c, bmp, station, listen } = await world(t, { config })
  for (let i = 0; i < 2500; i++) c.announce({ prefix: `10.9.${i >> 8}.${i & 255}/32`, med: i })
  await settle(100)
  station.reads = false
  await listen()
  bmp.start()
  await settle()
  for (let round = 1; round <= 20; round++) {
    for (let i = 0; i < 2500; i += 3) c.announce({ prefix: `10.9.${i >> 8}.${i & 255}/32`, med: i + round })
    await settle()
  }
  for (let i = 0; i < 2500; i += 5) c.withdraw(`10.9.${i >> 8}.${i & 255}/32`)
  await settle()
  t.is(station.ended, 0)
  t.true(bmp.status().waiting < 300_000)
  for (const connection of station.connections) connection.resume()
  await settle(200)
  t.is(bmp.status().state, 'live')
  t.is(station.tables.get(LOC_RIB)?.size, 2000)
})

test('a collector of the Loc-RIB that reads nothing while ever more prefixes come and go loses its connection', async t => {
  const { a, c, clock, bmp, station, listen } = await world(t, {
    config: { monitor: ['loc-rib'], bufferOctets: 128_000 },
  })
  station.reads = false
  await listen()
  bmp.start()
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < 250; i++) c.announce({ prefix: `10.${round}.${i}.0/24`, med: i })
    await settle(10)
    for (let i = 0; i < 250; i++) c.withdraw(`10.${round}.${i}.0/24`)
    await settle(10)
    const { prefixes } = (a.rib as Rib).sizes()
    t.true(prefixes < 9000, `${prefixes} prefixes are kept`)
  }
  t.is(station.ended, 1)
  t.is(bmp.status().reason, 'it read too slowly: more than 8000 prefixes were waiting')
  await settle(100)
  t.is((a.rib as Rib).sizes().prefixes, 0)
  station.reads = true
  clock.advance(30_000)
  await settle(100)
  t.is(bmp.status().state, 'live')
})

test('a collector that asks for the Adj-RIB-Out gets what each peer has been sent, then what it is sent, after policy', async t => {
  const config = { monitor: ['adj-rib-out-post'], statsSeconds: 30 } as const
  const hidden = { action: 'reject', match: { operator: 'Equal', cidr: '203.0.114.0/24' } } as const
  const toB = { export: [hidden, { action: 'accept' }] } as const
  const { a, b, c, clock, bmp, station, listen } = await world(t, { config, toB })
  a.announce({ prefix: '2001:db8:1::/48', nextHop: '2001:db8::1' })
  c.announce({ prefix: '203.0.113.0/24' })
  c.announce({ prefix: '203.0.114.0/24' })
  await settle()
  await listen()
  bmp.start()
  await settle()
  const to = (peer: Speaker, n: number) => {
    const held = [...station.tables.get(`to 10.0.0.${n}`)!].sort()
    const received = FAMILIES.flatMap(family => [...peer.rib.dump(family)])
    t.deepEqual(
      held,
      received
        .filter(path => path.peer !== '')
        .map(({ prefix }) => prefix)
        .sort(),
    )
    return held
  }
  t.deepEqual(to(b, 2), ['2001:db8:1::/48', '203.0.113.0/24'])
  t.deepEqual(to(c, 3), ['2001:db8:1::/48'])
  t.is(station.of('peerUp').length, 2)
  t.deepEqual(station.ends.toSorted(), ['to 10.0.0.2 ipv4', 'to 10.0.0.2 ipv6', 'to 10.0.0.3 ipv4', 'to 10.0.0.3 ipv6'])
  t.true(station.of('routeMonitoring').every(({ peer }) => peer.ribOut && peer.postPolicy && peer.kind === 0))

  c.withdraw('203.0.113.0/24')
  a.announce({ prefix: '192.0.2.0/24' })
  await settle()
  t.deepEqual(to(b, 2), ['192.0.2.0/24', '2001:db8:1::/48'])
  t.deepEqual(to(c, 3), ['192.0.2.0/24', '2001:db8:1::/48'])
  // what goes out again between BoRR and EoRR is told, and the two are no routes
  b.clear('10.0.0.1', 'soft-in')
  await settle()
  t.deepEqual(to(b, 2), ['192.0.2.0/24', '2001:db8:1::/48'])
  clock.advance(30_000)
  await settle()
  t.deepEqual(station.of('statsReport')[0]?.stats.slice(2), [
    { type: BMP_STAT.routesOut, gauge: 2n },
    { type: BMP_STAT.routesOutOfFamily, afi: 1, safi: 1, gauge: 1n },
    { type: BMP_STAT.routesOutOfFamily, afi: 2, safi: 1, gauge: 1n },
  ])

  // a new session begins with an empty table
  a.clear('b', 'hard')
  await settle()
  t.false(station.tables.has('to 10.0.0.2'))
  for (let i = 0; i < 10; i++) {
    clock.advance(5000)
    await settle()
  }
  t.deepEqual(to(b, 2), ['192.0.2.0/24', '2001:db8:1::/48'])
})

test('after policy a collector gets what import accepts of each peer, beside what it is sent before', async t => {
  const config = { monitor: ['adj-rib-in-pre', 'adj-rib-in-post'] } as const
  const hidden = { action: 'reject', match: { operator: 'Equal', cidr: '203.0.114.0/24' } } as const
  const { b, bmp, station, listen } = await world(t, { config, toB: { import: [hidden, { action: 'accept' }] } })
  b.announce({ prefix: '203.0.113.0/24' })
  b.announce({ prefix: '203.0.114.0/24' })
  await settle()
  await listen()
  bmp.start()
  await settle()
  const tables = () => ['10.0.0.2', 'accepted from 10.0.0.2'].map(table => [...station.tables.get(table)!].sort())
  t.deepEqual(tables(), [['203.0.113.0/24', '203.0.114.0/24'], ['203.0.113.0/24']])
  t.deepEqual(station.ends.filter(end => end.startsWith('accepted from 10.0.0.2')).toSorted(), [
    'accepted from 10.0.0.2 ipv4',
    'accepted from 10.0.0.2 ipv6',
  ])
  // the L flag alone (RFC 7854 section 4.2), and no time, which the RIB does not keep
  const told = station.of('routeMonitoring').filter(({ peer }) => peer.postPolicy)
  t.true(told.every(({ peer }) => !peer.ribOut && !peer.as2 && peer.seconds === 0))
  b.withdraw('203.0.113.0/24')
  b.announce({ prefix: '203.0.115.0/24' })
  await settle()
  t.deepEqual(tables(), [['203.0.114.0/24', '203.0.115.0/24'], ['203.0.115.0/24']])
})

test('before policy a collector gets what each peer would be sent without its rules, with statistics of both', async t => {
  const config = { monitor: ['adj-rib-out-pre', 'adj-rib-out-post'], statsSeconds: 30 } as const
  const hidden = { action: 'reject', match: { operator: 'Equal', cidr: '203.0.114.0/24' } } as const
  const tagged = { action: 'accept', operations: [{ do: 'add-community', value: '65001:7' }] } as const
  const toB = { export: [hidden, tagged] } as const
  const { a, b, c, clock, bmp, station, listen } = await world(t, { config, toB })
  a.announce({ prefix: '2001:db8:1::/48', nextHop: '2001:db8::1' })
  c.announce({ prefix: '203.0.113.0/24' })
  c.announce({ prefix: '203.0.114.0/24' })
  await settle()
  await listen()
  bmp.start()
  await settle()
  const before = () => [...station.tables.get('before to 10.0.0.2')!].sort()
  const after = () => [...station.tables.get('to 10.0.0.2')!].sort()
  t.deepEqual(before(), ['2001:db8:1::/48', '203.0.113.0/24', '203.0.114.0/24'])
  t.deepEqual(after(), ['2001:db8:1::/48', '203.0.113.0/24'])
  // what c sent is not offered to c
  t.deepEqual([...station.tables.get('before to 10.0.0.3')!], ['2001:db8:1::/48'])
  t.is(bmp.status().state, 'live')
  t.deepEqual(station.ends.filter(end => end.startsWith('before to 10.0.0.2')).toSorted(), [
    'before to 10.0.0.2 ipv4',
    'before to 10.0.0.2 ipv6',
  ])
  const told = station.of('routeMonitoring').filter(({ peer }) => !peer.postPolicy)
  t.true(told.every(({ peer }) => peer.ribOut && peer.kind === 0 && peer.seconds === 0))
  // O and L flags: RFC 8671 section 4
  const communities = ({ update }: { update: Uint8Array }) =>
    Buffer.from(update).includes(Buffer.from('fde90007', 'hex'))
  t.false(told.some(communities))
  t.true(station.of('routeMonitoring').some(message => message.peer.postPolicy && communities(message)))

  c.withdraw('203.0.114.0/24')
  a.announce({ prefix: '192.0.2.0/24' })
  await settle()
  t.deepEqual(before(), ['192.0.2.0/24', '2001:db8:1::/48', '203.0.113.0/24'])
  // rules that change are told after policy only
  const messages = station.of('routeMonitoring').filter(({ peer }) => !peer.postPolicy).length
  a.setPeer({
    name: 'b',
    address: '10.0.0.2',
    asn: 65002,
    passive: true,
    families: FAMILIES,
    import: 'reject',
    export: 'reject',
  })
  await settle()
  t.deepEqual([before().length, after().length], [3, 0])
  t.is(station.of('routeMonitoring').filter(({ peer }) => !peer.postPolicy).length, messages)
  clock.advance(30_000)
  await settle()
  t.deepEqual(station.of('statsReport')[0]?.stats.slice(2), [
    { type: BMP_STAT.routesOutBeforePolicy, gauge: 3n },
    { type: BMP_STAT.routesOutBeforePolicyOfFamily, afi: 1, safi: 1, gauge: 2n },
    { type: BMP_STAT.routesOutBeforePolicyOfFamily, afi: 2, safi: 1, gauge: 1n },
    { type: BMP_STAT.routesOut, gauge: 0n },
    { type: BMP_STAT.routesOutOfFamily, afi: 1, safi: 1, gauge: 0n },
    { type: BMP_STAT.routesOutOfFamily, afi: 2, safi: 1, gauge: 0n },
  ])

  // a new session is told anew
  a.clear('b', 'hard')
  await settle()
  t.false(station.tables.has('before to 10.0.0.2'))
  for (let i = 0; i < 10; i++) {
    clock.advance(5000)
    await settle()
  }
  t.deepEqual(before(), ['192.0.2.0/24', '2001:db8:1::/48', '203.0.113.0/24'])
  t.true(b.peers()[0]?.state === 'Established')
})

test('a collector that connects while the tables change and asks for all of them has each as it is in the end', async t => {
  const config = { monitor: MONITORED_TABLES }
  const { b, c, bmp, station, listen } = await world(t, { config })
  for (let i = 0; i < 6000; i++) c.announce({ prefix: `10.9.${i >> 8}.${i & 255}/32`, med: i % 50 })
  await settle(100)
  await listen()
  bmp.start()
  for (let i = 0; i < 6000; i += 3) {
    c.withdraw(`10.9.${i >> 8}.${i & 255}/32`)
    if (i % 600 === 0) await settle(2)
  }
  await settle(200)
  t.is(bmp.status().state, 'live')
  const received = [...b.rib.dump('ipv4-unicast')].map(({ prefix }) => prefix).sort()
  t.is(received.length, 4000)
  for (const table of ['10.0.0.3', 'accepted from 10.0.0.3', 'before to 10.0.0.2', 'to 10.0.0.2', LOC_RIB])
    t.deepEqual([...station.tables.get(table)!].sort(), received)
})
