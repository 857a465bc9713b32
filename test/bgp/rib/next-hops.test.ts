import test from 'ava'
import type { Multipath } from '../../../bgp/config.ts'
import type { RibPeer } from '../../../bgp/rib/types.ts'
import { addressBytes, ipv4Number } from '../../../lib/ip.ts'
import { aPeer, OUR_AS, someAttributes, ToldHops, World } from './sessions.ts'

const PREFIX = '198.51.100.0/24'

function tracking(multipath?: Multipath) {
  const nextHops = new ToldHops()
  return { nextHops, world: new World(multipath === undefined ? {} : { multipath }, { nextHops }) }
}

function announce(world: World, peer: RibPeer, nextHop: string, prefixes: readonly string[] = [PREFIX]) {
  const asns = peer.peerType === 'ibgp' ? [7] : [peer.remoteAs]
  const attributes = { ...someAttributes(asns), nextHop: ipv4Number(nextHop) }
  world.send(peer, { announce: prefixes, attributes })
}

test('a path is used from when its next hop can be reached until it cannot', t => {
  const { world, nextHops } = tracking()
  const [a, downstream] = [aPeer(1), aPeer(9, { addPath: { send: true } })]
  world.up(a, downstream)
  announce(world, a, '10.0.0.1')
  world.settle()
  t.deepEqual([...nextHops.wanted], ['10.0.0.1'])
  t.is(world.sink.routes.size, 0)
  t.is(world.held(downstream).size, 0)
  nextHops.tell('10.0.0.1', 3)
  world.settle()
  t.is(world.sink.routes.get(PREFIX)?.nextHop, '10.0.0.1')
  t.is(world.held(downstream).size, 1)
  nextHops.tell('10.0.0.1', undefined)
  world.settle()
  t.is(world.sink.routes.size, 0)
  t.is(world.held(downstream).size, 0)
  const [candidate] = world.rib.explain(PREFIX)!.candidates
  t.deepEqual(
    [candidate?.best, candidate?.used, candidate?.step, candidate?.reached],
    [false, false, 'reachable', { reachable: false, why: 'no route' }],
  )
  world.lost(a)
  world.settle()
  t.is(nextHops.wanted.size, 0)
})

test('what is known of a next hop already counts at once', t => {
  const { world, nextHops } = tracking()
  const a = aPeer(1)
  world.up(a)
  nextHops.tell('10.0.0.1', 0)
  announce(world, a, '10.0.0.1')
  world.settle()
  t.is(world.sink.routes.size, 1)
})

test('next hops count for peers of one group where that is asked for, also for one that comes into it later', t => {
  const nextHops = new ToldHops()
  const world = new World({ tracked: { group: 'outside' } }, { nextHops })
  const [inside, outside] = [aPeer(1, { config: { group: 'nodes' } }), aPeer(2, { config: { group: 'outside' } })]
  world.up(inside, outside)
  announce(world, inside, '10.0.0.1', ['198.51.100.0/24'])
  announce(world, outside, '10.0.0.2', ['203.0.113.0/24'])
  world.settle()
  t.deepEqual([...nextHops.wanted], ['10.0.0.2'])
  t.deepEqual([...world.sink.routes.keys()], ['198.51.100.0/24'])
  world.rib.setPolicies(inside.key, { ...inside.config, group: 'outside' })
  world.settle()
  t.deepEqual([...world.sink.routes.keys()], [])
  world.rib.setTracked({ group: 'none' })
  world.settle()
  t.is(world.sink.routes.size, 2)
})

test('a path to a prefix that is spared is used without a next hop that can be reached, and comes after one that has it', t => {
  const nextHops = new ToldHops()
  const world = new World({ tracked: { spared: ['198.51.0.0/16'] } }, { nextHops })
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  announce(world, a, '10.0.0.1', [PREFIX, '203.0.113.0/24'])
  announce(world, b, '10.0.0.2', [PREFIX, '203.0.113.0/24'])
  world.settle()
  const chosen = (prefix: string) => world.sink.routes.get(prefix)?.nextHop
  t.deepEqual([chosen(PREFIX), chosen('203.0.113.0/24')], ['10.0.0.1', undefined])
  nextHops.tell('10.0.0.2', 7)
  world.settle()
  t.deepEqual([chosen(PREFIX), chosen('203.0.113.0/24')], ['10.0.0.2', '10.0.0.2'])
  nextHops.tell('10.0.0.2', undefined)
  world.settle()
  t.deepEqual([chosen(PREFIX), chosen('203.0.113.0/24')], ['10.0.0.1', undefined])
  t.throws(() => world.rib.setTracked({ spared: ['198.51.100.0'] }), { message: /CIDR/ })
  world.rib.setTracked(undefined)
  world.settle()
  t.is(world.sink.routes.size, 0)
})

test('the interior cost decides between paths of one kind, and never for an internal one over an external one', t => {
  const { world, nextHops } = tracking()
  const [near, far, outside] = [aPeer(1, { peerType: 'ibgp' }), aPeer(2, { peerType: 'ibgp' }), aPeer(3)]
  world.up(near, far, outside)
  for (const peer of [near, far, outside]) announce(world, peer, peer.remoteAddress)
  nextHops.tell('10.0.0.1', 20)
  nextHops.tell('10.0.0.2', 10)
  world.settle()
  const chosen = () => world.sink.routes.get(PREFIX)?.nextHop
  t.is(chosen(), '10.0.0.2')
  t.is(world.rib.explain(PREFIX)!.candidates.find(({ peer }) => peer === 'p1')?.step, 'interior-cost')
  nextHops.tell('10.0.0.1', 5)
  world.settle()
  t.is(chosen(), '10.0.0.1')
  nextHops.tell('10.0.0.3', 1000)
  world.settle()
  t.is(chosen(), '10.0.0.3')
})

test('paths that are used together cost the same', t => {
  const { world, nextHops } = tracking({ paths: 8, of: 'ebgp' })
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  for (const peer of [a, b]) announce(world, peer, peer.remoteAddress)
  nextHops.tell('10.0.0.1', 5)
  nextHops.tell('10.0.0.2', 5)
  world.settle()
  const hops = () => world.sink.routes.get(PREFIX)?.paths?.map(({ nextHop }) => nextHop)
  t.deepEqual(hops(), ['10.0.0.1', '10.0.0.2'])
  nextHops.tell('10.0.0.2', 6)
  world.settle()
  t.is(hops(), undefined)
  nextHops.tell('10.0.0.1', undefined)
  world.settle()
  t.is(world.sink.routes.get(PREFIX)?.nextHop, '10.0.0.2')
})

test('a change decides the prefixes of that next hop alone, in slices', t => {
  const { world, nextHops } = tracking()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  nextHops.tell('10.0.0.1', 0)
  nextHops.tell('10.0.0.2', 0)
  const prefixes = (second: number) => Array.from({ length: 500 }, (_, i) => `10.${second + (i >> 8)}.${i & 255}.0/24`)
  announce(world, a, '10.0.0.1', prefixes(20))
  announce(world, b, '10.0.0.2', prefixes(40))
  world.settle()
  t.is(world.sink.routes.size, 1000)
  nextHops.tell('10.0.0.1', undefined)
  let slices = 0
  while (world.rib.work(10)) slices++
  t.true(slices > 20, `${slices} slices`)
  // 1000 paths are looked at in the time of 63 decisions, and 500 prefixes decided
  t.true(slices < 80, `${slices} slices`)
  t.deepEqual(
    [...world.sink.routes.values()].filter(({ nextHop }) => nextHop === '10.0.0.1'),
    [],
  )
  t.is(world.sink.routes.size, 500)
})

test('prefixes are decided while a next hop comes and goes without pause', t => {
  const { world, nextHops } = tracking()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  nextHops.tell('10.0.0.1', 0)
  nextHops.tell('10.0.0.2', 0)
  const prefixes = (second: number) => Array.from({ length: 2000 }, (_, i) => `10.${second + (i >> 8)}.${i & 255}.0/24`)
  announce(world, a, '10.0.0.1', prefixes(20))
  world.settle()
  announce(world, b, '10.0.0.2', prefixes(40))
  for (let slice = 0; slice < 600; slice++) {
    nextHops.tell('10.0.0.1', slice)
    world.rib.work(10)
  }
  t.is(world.sink.routes.size, 4000)
})

test('while this speaker restarts, a next hop that is not looked up yet counts as reachable', t => {
  const { world, nextHops } = tracking()
  const a = aPeer(1)
  world.rib.defer(true)
  world.up(a)
  announce(world, a, '10.0.0.1')
  world.settle()
  world.rib.defer(false)
  world.settle()
  t.is(world.sink.routes.size, 1)
  nextHops.tell('10.0.0.1', undefined)
  world.settle()
  t.is(world.sink.routes.size, 0)
})

test('a link-local next hop is tracked for each interface, and anew when its peer is on another one', t => {
  const { world, nextHops } = tracking()
  const on = (name: string) => aPeer(1, { interface: name })
  const prefix = '2001:db8:9::/48'
  const send = (peer: RibPeer) => {
    const attributes = someAttributes([peer.remoteAs])
    world.send(peer, { announce: [prefix], attributes, mpNextHop: addressBytes('fe80::1') })
    world.settle()
  }
  nextHops.tell('fe80::1%eth1', 0)
  world.up(on('eth1'))
  send(on('eth1'))
  t.deepEqual([...nextHops.wanted], ['fe80::1%eth1'])
  t.is(world.sink.routes.get(prefix)?.interface, 'eth1')
  const families = ['ipv6-unicast'] as const
  world.lost(on('eth1'), { retain: true, families, staleSeconds: 10 })
  world.up({ ...on('eth2'), gracefulRestart: { restarting: true, families, forwarding: families } })
  world.settle()
  t.deepEqual([...nextHops.wanted], ['fe80::1%eth2'])
  t.is(world.sink.routes.size, 0)
  nextHops.tell('fe80::1%eth2', 0)
  world.settle()
  t.is(world.sink.routes.get(prefix)?.interface, 'eth2')
})

test('routes of a file are passed on whatever their next hops are', t => {
  const { world, nextHops } = tracking()
  const [source, downstream] = [aPeer(1, { source: true, peerType: 'ibgp' }), aPeer(9)]
  world.up(source, downstream)
  announce(world, source, '203.0.113.7')
  world.settle()
  t.is(nextHops.wanted.size, 0)
  t.is(world.held(downstream).size, 1)
})

test('a network of our own needs no next hop', t => {
  const { world } = tracking()
  const downstream = aPeer(9)
  world.up(downstream)
  world.rib.announce({ prefix: PREFIX })
  world.settle()
  t.is(world.held(downstream).get(PREFIX)?.attributes.asPath?.[0]?.asns[0], OUR_AS)
})
