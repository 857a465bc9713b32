import test from 'ava'
import type { Multipath, SpeakerConfig } from '../../../bgp/config.ts'
import type { RibPeer } from '../../../bgp/rib/types.ts'
import { parseCommunity } from '../../../bgp/wire/communities.ts'
import { COMMUNITY } from '../../../bgp/wire/iana.ts'
import { addressBytes, ipv4Number } from '../../../lib/ip.ts'
import { aPeer, OUR_AS, someAttributes, World } from './sessions.ts'

const PREFIX = '198.51.100.0/24'
const MERGE: Multipath = { paths: 8, of: 'merge' }

const worldWith = (multipath: Multipath, more: Partial<SpeakerConfig> = {}) => new World({ multipath, ...more })
/** A top-of-rack router in AS 65100. */
const aTor = (n: number) => aPeer(n, { config: { asn: OUR_AS + 100 }, remoteAs: OUR_AS + 100 })

function announce(
  world: World,
  peer: RibPeer,
  more: Parameters<typeof someAttributes>[1] = {},
  path = [OUR_AS + 100, 7],
) {
  const asns = peer.peerType === 'ibgp' ? path : [peer.remoteAs, ...path.slice(1)]
  const attributes = { ...someAttributes(asns), nextHop: ipv4Number(peer.remoteAddress), ...more }
  world.send(peer, { announce: [PREFIX], attributes })
  world.settle()
}

const hops = (world: World) => world.sink.routes.get(PREFIX)?.paths?.map(({ nextHop }) => nextHop)

test('equal paths over two routers are used together, and one that goes leaves the other', t => {
  const world = worldWith({ paths: 8, of: 'ebgp' })
  const [a, b, downstream] = [aTor(1), aTor(2), aPeer(9)]
  world.up(a, b, downstream)
  announce(world, b)
  t.is(hops(world), undefined)
  announce(world, a)
  t.deepEqual(world.sink.routes.get(PREFIX), {
    ...{ prefix: PREFIX, family: 'ipv4', nextHop: '10.0.0.1', interface: undefined, encapsulations: [], peer: 'p1' },
    ...{ med: undefined, localPref: undefined },
    paths: [
      { nextHop: '10.0.0.1', interface: undefined, encapsulations: [], peer: 'p1' },
      { nextHop: '10.0.0.2', interface: undefined, encapsulations: [], peer: 'p2' },
    ],
  })
  world.lost(b)
  world.settle()
  t.is(world.sink.routes.get(PREFIX)?.nextHop, '10.0.0.1')
  t.is(hops(world), undefined)
  world.lost(a)
  world.settle()
  t.is(world.sink.routes.size, 0)
  t.is(world.rib.sizes().sets, 0)
})

test('peers are told of the best path alone, and nothing when only the others change', t => {
  const world = worldWith(MERGE)
  const [a, b, downstream] = [aTor(1), aTor(2), aPeer(9)]
  world.up(a, b, downstream)
  announce(world, a)
  const { messages } = world.down.get(downstream.key)!
  announce(world, b)
  t.is(hops(world)?.length, 2)
  world.lost(b)
  world.settle()
  t.is(hops(world), undefined)
  t.is(world.down.get(downstream.key)!.messages, messages)
})

test('a path is equal up to MED, and only where its AS path may differ or does not', t => {
  const world = worldWith({ paths: 8, of: 'ebgp' })
  const [a, b] = [aTor(1), aPeer(2)]
  world.up(a, b)
  announce(world, a)
  announce(world, b)
  t.is(hops(world)?.length, 2, 'paths of one length')
  world.rib.setMultipath({ paths: 8, of: 'ebgp', asPath: 'same' })
  world.settle()
  t.is(hops(world), undefined)
  world.rib.setMultipath({ paths: 8, of: 'ebgp' })
  announce(world, b, {}, [0, 7, 8])
  t.is(hops(world), undefined, 'a longer one')
  announce(world, b, { med: 5 })
  t.is(hops(world)?.length, 2, 'MED of another AS')
  announce(world, b, { origin: 1 })
  t.is(hops(world), undefined)
})

test('internal and external paths are used together only as merge', t => {
  const uses = (of: Multipath['of'], ...peers: RibPeer[]) => {
    const world = worldWith({ paths: 8, of })
    world.up(...peers)
    for (const peer of peers) announce(world, peer)
    return hops(world)?.join()
  }
  const [a, b, c, d] = [aTor(1), aTor(2), aPeer(3, { peerType: 'ibgp' }), aPeer(4, { peerType: 'ibgp' })]
  t.is(uses('ebgp', a, b, c), '10.0.0.1,10.0.0.2')
  t.is(uses('ibgp', a, b, c), undefined)
  t.is(uses('ibgp', c, d), '10.0.0.3,10.0.0.4')
  t.is(uses('ebgp', c, d), undefined)
  t.is(uses('either', a, b, c, d), '10.0.0.1,10.0.0.2')
  t.is(uses('either', a, c, d), undefined)
  t.is(uses('either', c, d), '10.0.0.3,10.0.0.4')
  t.is(uses('merge', c, b, d), '10.0.0.2,10.0.0.3,10.0.0.4')
})

test('a network of our own is used alone', t => {
  const world = worldWith(MERGE)
  const a = aTor(1)
  world.up(a)
  world.rib.announce({ prefix: PREFIX })
  announce(world, a)
  t.is(world.sink.routes.size, 0)
})

test('one next hop counts once, a link-local one once for each interface', t => {
  const world = worldWith(MERGE)
  const [a, b] = [aTor(1), aTor(2)]
  world.up(a, b)
  announce(world, a)
  announce(world, b, { nextHop: ipv4Number('10.0.0.1') })
  t.is(hops(world), undefined)
  const over = (name: string, n: number) => aPeer(n, { interface: name, session: { extendedNextHop: true } })
  const linked = worldWith(MERGE)
  const [c, d, e] = [over('eth1', 3), over('eth2', 4), over('eth2', 5)]
  linked.up(c, d, e)
  for (const peer of [c, d, e]) {
    const prefix = '2001:db8:9::/48'
    const attributes = someAttributes([peer.remoteAs])
    linked.send(peer, { announce: [prefix], attributes, mpNextHop: addressBytes('fe80::1') })
  }
  linked.settle()
  const { paths } = linked.sink.routes.get('2001:db8:9::/48')!
  t.deepEqual(
    paths?.map(path => path.interface),
    ['eth1', 'eth2'],
  )
})

test('of more equal paths than may be used the same are chosen, whichever came first', t => {
  for (const order of [
    [1, 2, 3, 4],
    [4, 3, 2, 1],
    [3, 1, 4, 2],
  ]) {
    const world = worldWith({ paths: 2, of: 'ebgp' })
    for (const n of order) {
      world.up(aTor(n))
      announce(world, aTor(n))
    }
    t.deepEqual(hops(world), ['10.0.0.1', '10.0.0.2'])
  }
})

test('packets are shared by bandwidth where every path that is used tells one, else equally', t => {
  const world = worldWith({ paths: 8, of: 'ebgp', weights: 'link-bandwidth' })
  const [a, b, c] = [aTor(1), aTor(2), aTor(3)]
  const bandwidth = (text: string) => ({ extendedCommunities: [parseCommunity(text) as bigint] })
  const weights = () => world.sink.routes.get(PREFIX)?.paths?.map(({ weight }) => weight)
  world.up(a, b, c)
  announce(world, a, bandwidth('bandwidth:65100:12500000000'))
  announce(world, b, bandwidth('bandwidth:65100:1250000000'))
  t.deepEqual(weights(), [255, 26])
  announce(world, c)
  t.deepEqual(weights(), [undefined, undefined, undefined])
  announce(world, c, bandwidth('bandwidth:65100:1000'))
  t.deepEqual(weights(), [255, 26, 1])
  announce(world, c, bandwidth('0x40040000ff800000'))
  t.deepEqual(weights(), [undefined, undefined, undefined], 'minus infinity is no bandwidth')
  world.rib.setMultipath({ paths: 8, of: 'ebgp' })
  world.settle()
  t.is(hops(world)?.length, 3)
  t.deepEqual(weights(), [undefined, undefined, undefined])
})

test('a path that is kept over a restart of its peer goes on, and a long-lived stale one joins no fresh one', t => {
  const world = worldWith(MERGE)
  const [a, b] = [aTor(1), aTor(2)]
  world.up(a, b)
  announce(world, a)
  announce(world, b)
  const families = ['ipv4-unicast'] as const
  world.lost(a, { retain: true, families, staleSeconds: 10, longLivedSeconds: { 'ipv4-unicast': 100 } })
  world.settle()
  t.is(hops(world)?.length, 2, 'RFC 4724 §4.2: forwarding makes no difference')
  world.clock.advance(10_000)
  world.settle()
  t.is(hops(world), undefined)
  t.is(world.sink.routes.get(PREFIX)?.nextHop, '10.0.0.2')
  announce(world, b, { communities: [COMMUNITY.llgrStale] })
  t.is(hops(world)?.length, 2, 'both are stale')
})

test('another rule decides again without a session', t => {
  const world = new World()
  const [a, b] = [aTor(1), aTor(2)]
  world.up(a, b)
  announce(world, a)
  announce(world, b)
  t.is(hops(world), undefined)
  world.rib.setMultipath({ paths: 2, of: 'ebgp' })
  world.settle()
  t.is(hops(world)?.length, 2)
  world.rib.setMultipath(undefined)
  world.settle()
  t.is(hops(world), undefined)
})

test('explain says which paths are used, with which share, and why others are not', t => {
  const world = worldWith({ paths: 3, of: 'ebgp', asPath: 'same', weights: 'link-bandwidth' })
  const bandwidth = { extendedCommunities: [parseCommunity('bandwidth:65100:1000') as bigint] }
  const twice = { extendedCommunities: [parseCommunity('bandwidth:65100:2000') as bigint] }
  const peers = [1, 2, 3, 4, 5, 6].map(aTor)
  const inside = aPeer(9, { peerType: 'ibgp' })
  world.up(...peers, inside)
  for (const peer of peers.slice(0, 3)) announce(world, peer, bandwidth)
  announce(world, peers[0]!, twice)
  announce(world, peers[3]!)
  announce(world, peers[4]!, { nextHop: ipv4Number('10.0.0.2') })
  announce(world, peers[5]!, {}, [0, 8])
  announce(world, inside)
  const told = world.rib.explain(PREFIX)!.candidates.map(({ peer, best, used, weight, step, unused }) => ({
    ...{ peer, best, used, weight, step, unused },
  }))
  const lost = { best: false, used: false, weight: undefined }
  t.deepEqual(told, [
    { peer: 'p1', best: true, used: true, weight: 255, step: 'router-id', unused: undefined },
    { peer: 'p2', best: false, used: true, weight: 128, step: 'router-id', unused: undefined },
    { peer: 'p3', best: false, used: true, weight: 128, step: 'router-id', unused: undefined },
    { peer: 'p4', ...lost, step: 'router-id', unused: 'limit' },
    { peer: 'p5', ...lost, step: 'router-id', unused: 'next-hop' },
    { peer: 'p6', ...lost, step: 'router-id', unused: 'as-path' },
    { peer: 'p9', ...lost, step: 'external', unused: 'kind' },
  ])
})
