// What a peer must not make us use or pass on: prefixes that are no destination, and next hops that are not on the link.
import test from 'ava'
import fc from 'fast-check'
import type { RibPeer } from '../../../bgp/rib/types.ts'
import { contains, formatCidr, ipv4Number, maskAddress, parseCidr } from '../../../lib/ip.ts'
import { NO_DESTINATION } from '../no-destination.ts'
import { aPeer, someAttributes, World } from './sessions.ts'

/** What the RIB makes of one prefix: whether it is there, whether another peer gets it, and what was told. */
function announced(prefix: string): { known: boolean; passedOn: boolean; told: string[] } {
  const world = new World()
  const [from, to] = [aPeer(1), aPeer(2)]
  world.up(from, to)
  world.send(from, { announce: [prefix], attributes: someAttributes() })
  world.settle()
  const told = world.events.flatMap(event => (event.type === 'no-destination' ? [event.prefix] : []))
  return { known: world.rib.explain(prefix) !== undefined, passedOn: world.held(to).has(prefix), told }
}

for (const prefix of [...NO_DESTINATION, '0.1.2.0/24', '127.0.0.1/32', '239.1.1.1/32', 'fe80::1/128', 'ff02::/16'])
  test(`${prefix} is no destination: it is told, and neither used nor passed on`, t => {
    t.deepEqual(announced(prefix), { known: false, passedOn: false, told: [prefix] })
  })

for (const prefix of [
  '0.0.0.0/0',
  '0.0.0.0/1',
  '126.0.0.0/7',
  '224.0.0.0/3',
  '240.0.0.0/4',
  '::/0',
  '::/95',
  'fe80::/9',
])
  test(`${prefix} only covers what is no destination, and is one itself`, t => {
    t.deepEqual(announced(prefix), { known: true, passedOn: true, told: [] })
  })

test('a prefix inside one of the listed ones is left out, and every other one is used', t => {
  const world = new World()
  const peer = aPeer(1)
  world.up(peer)
  const near = fc.constantFrom(...NO_DESTINATION).chain(text => {
    const { address, length, family } = parseCidr(text)!
    const bits = family === 'ipv4' ? 32 : 128
    return fc.integer({ min: Math.max(0, length - 4), max: bits }).map(to => {
      return formatCidr({ family, address: maskAddress(address, to), length: to })
    })
  })
  const prefix = fc.oneof(
    near,
    fc.ipV4().chain(a => fc.integer({ min: 0, max: 32 }).map(l => `${maskAddress(a, l)}/${l}`)),
  )
  fc.assert(
    fc.property(prefix, text => {
      world.send(peer, { announce: [text], attributes: someAttributes() })
      const inside = NO_DESTINATION.some(outer => contains(outer, text))
      return (world.rib.explain(text) === undefined) === inside
    }),
  )
  t.pass()
})

test('a prefix that is left out takes no place of the prefix limit and stays no path behind', t => {
  const world = new World()
  const peer = aPeer(1, { config: { prefixLimit: { max: 1 } } })
  world.up(peer)
  t.is(world.send(peer, { announce: ['127.0.0.0/8', '127.1.0.0/16', '192.0.2.0/24'] }), undefined)
  world.settle()
  t.is(world.rib.counts(peer.key)?.received, 1)
  t.is(world.rib.sizes().prefixes, 1)
})

/** How a route with this next hop from a peer at 10.0.0.1 is taken. */
function taken(nextHop: string, options: Parameters<typeof aPeer>[1] = {}): { reason?: string; faults: string[] } {
  const world = new World()
  const peer: RibPeer = aPeer(1, { connected: ['10.0.0.0/24', '10.9.0.0/16', '2001:db8::/64'], ...options })
  world.up(peer)
  world.send(peer, {
    announce: ['192.0.2.0/24'],
    attributes: someAttributes([65001], { nextHop: ipv4Number(nextHop) }),
  })
  world.settle()
  const faults = world.events.flatMap(event => (event.type === 'fault' ? [event.reason] : []))
  return { reason: world.rib.explain('192.0.2.0/24')?.candidates[0]?.import.reason, faults }
}

test('a next hop of an external peer one hop away lies in a subnet shared with it, or the route is ignored and told', t => {
  const ok = { reason: 'accepted', faults: [] }
  t.deepEqual(taken('10.0.0.1'), ok)
  t.deepEqual(taken('10.0.0.77'), ok, 'a third party of the same subnet')
  t.deepEqual(taken('10.9.3.3'), ok, 'another subnet of the same link')
  t.deepEqual(taken('10.0.1.1'), {
    reason: 'bad-next-hop',
    faults: ['next hop 10.0.1.1 is on no subnet that this peer shares with us'],
  })
})

test('with import rules, too, the next hop must be on the link', t => {
  t.is(taken('10.0.1.1', { config: { import: [{ action: 'accept' }] } }).reason, 'bad-next-hop')
})

test('an internal peer, one several hops away and one on no subnet of ours may name any next hop', t => {
  for (const options of [
    { peerType: 'ibgp' },
    { config: { multihop: 2 } },
    { config: { ttlSecurity: 2 } },
    { connected: undefined },
  ] as const)
    t.not(taken('10.0.1.1', options).reason, 'bad-next-hop')
  t.is(taken('10.0.1.1', { config: { ttlSecurity: 1 } }).reason, 'bad-next-hop')
})

test('a rule about a group matches only routes that were learned from its peers', t => {
  const world = new World()
  const rules = [
    { action: 'accept', group: 'inside' },
    { action: 'reject', source: 'RemotePeers' },
    { action: 'accept' },
  ] as const
  const [inside, outside, to] = [
    aPeer(1, { config: { group: 'inside' } }),
    aPeer(2),
    aPeer(3, { config: { export: rules } }),
  ]
  world.up(inside, outside, to)
  world.rib.announce({ prefix: '192.0.2.0/24' })
  world.send(inside, { announce: ['198.51.100.0/24'], attributes: someAttributes([65001]) })
  world.send(outside, {
    announce: ['203.0.113.0/24'],
    attributes: someAttributes([65002], { nextHop: ipv4Number('10.0.0.2') }),
  })
  world.settle()
  t.deepEqual([...world.held(to).keys()].sort(), ['192.0.2.0/24', '198.51.100.0/24'])
  world.rib.setPolicies(inside.key, { ...inside.config, group: undefined })
  world.settle()
  t.deepEqual([...world.held(to).keys()], ['192.0.2.0/24'])
})
