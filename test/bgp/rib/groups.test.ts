// Peers that are sent the same share messages; a slow one costs the others nothing and memory only by prefix.
import test from 'ava'
import { aPeer, someAttributes, World } from './sessions.ts'

const many = (count: number) => Array.from({ length: count }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`)

test('peers of one export group are given the very same bytes', t => {
  const world = new World()
  const [a, b, c] = [aPeer(1), aPeer(2), aPeer(3)]
  world.up(a, b, c)
  world.settle()
  world.send(a, { announce: ['10.1.0.0/16'] })
  while (world.rib.work());
  const [forB, forC] = [world.rib.pull('p2', 4096), world.rib.pull('p3', 4096)]
  t.is(forB?.length, 1)
  t.is(forB![0], forC![0]!)
})

test('prefixes with equal attributes share messages that stay within 4096 octets, whoever sent them', t => {
  const world = new World()
  // two internal peers send what comes out the same
  const [a, b, c] = [aPeer(1, { peerType: 'ibgp' }), aPeer(2, { peerType: 'ibgp' }), aPeer(3)]
  world.up(a, b, c)
  world.settle()
  const attributes = someAttributes([7018], { localPref: 100 })
  const before = world.down.get('p3')!.messages
  const prefixes = many(2000)
  for (const [i, prefix] of prefixes.entries()) world.send(i % 2 === 0 ? a : b, { announce: [prefix], attributes })
  world.settle()
  t.is(world.held(c).size, 2000)
  t.is(world.down.get('p3')!.messages - before, 2)
  world.lost(a)
  world.lost(b)
  world.settle()
  t.is(world.held(c).size, 0)
})

test('with extended messages more prefixes fit into one message', t => {
  const world = new World()
  const c = aPeer(3, { session: { extendedMessage: true } })
  const a = aPeer(1)
  world.up(a, c)
  world.settle()
  const before = world.down.get('p3')!.messages
  for (const prefix of many(5000)) world.send(a, { announce: [prefix] })
  world.settle()
  t.is(world.down.get('p3')!.messages - before, 1)
})

test('a set that leaves no room for a prefix is not announced, withdrawn where it was, and reported', t => {
  const world = new World()
  const wide = { extendedMessage: true }
  const [a, b] = [aPeer(1, { session: wide }), aPeer(2)]
  world.up(a, b)
  world.send(a, { announce: ['10.0.0.0/8'] })
  world.settle()
  t.is(world.held(b).size, 1)
  const communities = Array.from({ length: 1020 }, (_, i) => i)
  world.send(a, { announce: ['10.0.0.0/8'], attributes: someAttributes([65001], { communities }) })
  world.settle()
  t.is(world.held(b).size, 0)
  t.deepEqual(world.events.at(-1), { type: 'too-long', key: 'p2', prefix: '10.0.0.0/8' })
})

test('a peer that does not read does not delay the others, and gets the present state when it reads again', t => {
  const world = new World({}, { backlogOctets: 4096 })
  const [a, slow, quick] = [aPeer(1), aPeer(2), aPeer(3)]
  world.up(a, slow, quick)
  world.settle()
  const prefixes = many(600)
  for (let round = 0; round < 5; round++) {
    for (const [i, prefix] of prefixes.entries())
      world.send(a, { announce: [prefix], attributes: someAttributes([65001, 100 + round, i + 1]) })
    world.send(a, { withdraw: prefixes.slice(round * 100, round * 100 + 50) })
    world.settle('p3')
  }
  t.is(world.held(quick).size, 550)
  const before = world.down.get('p2')!.messages
  world.settle('p2')
  t.deepEqual([...world.held(slow).keys()].sort(), [...world.held(quick).keys()].sort())
  t.deepEqual(world.held(slow).get('10.0.0.0/24'), world.held(quick).get('10.0.0.0/24'))
  // about one message per route and one block of the backlog, where the other peer read more than 3000
  t.true(world.down.get('p2')!.messages - before < 1300)
  world.lost(a)
  world.settle('p3')
  world.settle('p2')
  t.is(world.held(slow).size, 0)
  t.is(world.rib.sizes().prefixes, 0)
})

test('a new export policy takes back what it forbids and the session never ends', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  world.send(a, { announce: ['10.1.0.0/16', '192.0.2.0/24'] })
  world.settle()
  const forbid = { action: 'reject', match: { operator: 'In', cidr: '10.0.0.0/8' } } as const
  world.rib.setPolicies('p2', { ...b.config, export: [forbid, { action: 'accept' }] })
  world.settle()
  t.deepEqual([...world.held(b).keys()], ['192.0.2.0/24'])
  t.deepEqual(world.rib.explain('10.1.0.0/16')?.withheld, [{ peers: ['p2'], reason: 'policy: rule 1 rejects' }])
  world.rib.setPolicies('p2', b.config)
  world.settle()
  t.deepEqual([...world.held(b).keys()].sort(), ['10.1.0.0/16', '192.0.2.0/24'])
})

test('an invalid policy is refused and changes nothing', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  const nonsense = [{ action: 'accept', communities: ['65000:x'] }] as const
  t.throws(() => world.rib.setPolicies('p2', { ...b.config, export: nonsense }), { message: /65000:x/ })
  world.send(a, { announce: ['10.1.0.0/16'] })
  world.settle()
  t.is(world.held(b).size, 1)
})

test('counts say what was received, accepted and announced', t => {
  const world = new World()
  const forbid = { action: 'reject', match: { operator: 'In', cidr: '10.0.0.0/8' } } as const
  const [a, b] = [aPeer(1, { config: { import: [forbid, { action: 'accept' }] } }), aPeer(2)]
  world.up(a, b)
  world.send(a, { announce: ['10.1.0.0/16', '192.0.2.0/24', '2001:db8::/32'] })
  world.settle()
  const { received, accepted, announced } = world.rib.counts('p1')!
  t.deepEqual([received, accepted, announced], [3, 2, 0])
  t.is(world.rib.counts('p2')!.announced, 2)
  t.is(world.rib.counts('p9'), undefined)
  const families = world.rib.familyCounts('p1')
  t.like(families.get('ipv4-unicast'), { received: 2, accepted: 1, announced: 0 })
  t.like(families.get('ipv6-unicast'), { received: 1, accepted: 1, announced: 0 })
  t.is(world.rib.familyCounts('p9').size, 0)
})

test('a dump has every path as received and as used', t => {
  const world = new World()
  const add = { action: 'accept', operations: [{ do: 'add-community', value: '65000:9' }] } as const
  const a = aPeer(1, { config: { import: [add] }, session: { as4: false } })
  world.up(a)
  world.send(a, { announce: ['10.1.0.0/16'] })
  world.rib.announce({ prefix: '192.0.2.0/24' })
  const paths = [...world.rib.dump('ipv4-unicast')]
  t.deepEqual(
    paths.map(({ peer, prefix, received, accepted }) => [
      peer,
      prefix,
      received.attributes.communities,
      accepted?.attributes.communities,
    ]),
    [
      ['p1', '10.1.0.0/16', undefined, [0xfde80009]],
      ['', '192.0.2.0/24', undefined, undefined],
    ],
  )
})

test('peers that come and go do not use up the indices for peers', t => {
  const world = new World()
  const b = aPeer(2)
  world.up(b)
  for (let i = 0; i < 300; i++) {
    const a = aPeer(1, { key: `dynamic ${i}` })
    world.up(a)
    world.send(a, { announce: ['10.1.0.0/16'] })
    world.settle()
    world.lost(a)
    world.settle()
  }
  t.is(world.held(b).size, 0)
  t.deepEqual(world.rib.sizes(), { ...world.rib.sizes(), sets: 0, prefixes: 0, paths: 0 })
})

test('peers that come and go while a monitor reads nothing use up no indices: the monitor is told to go', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a)
  world.send(a, { announce: ['10.1.0.0/16'] })
  world.settle()
  const follow = () =>
    world.rib.followOffered({
      wake: () => undefined,
      overflowed: waiting => told.push(waiting),
      most: 1e6,
    })
  const told: string[] = []
  let feed = follow()
  for (let i = 0; i < 2 ** 16; i++) {
    world.rib.peerUp(b)
    world.rib.peerDown('p2', { retain: false })
    if (told.length === 0) continue
    // of each family
    t.deepEqual(new Set(told.splice(0)), new Set(['changes of 16383 peers that are gone']))
    feed.close()
    world.rib.peerUp(b)
    world.rib.peerDown('p2', { retain: false })
    feed = follow()
  }
  feed.close()
})

test('a long queue that holds nothing for a peer is worked off in steps', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  world.settle()
  const prefixes = many(50_000)
  for (let at = 0; at < prefixes.length; at += 500) world.send(a, { announce: prefixes.slice(at, at + 500) })
  while (world.rib.work());
  t.deepEqual(world.rib.pull(a.key, 4096), [])
  while (world.rib.pull(a.key, 4096) !== undefined);
  world.settle(b.key)
  t.is(world.held(b).size, prefixes.length)
})

test('a route that goes to nobody wakes nobody, and leaves nothing behind when it goes', t => {
  const world = new World()
  const internal = Array.from({ length: 20 }, (_, i) => aPeer(i + 1, { peerType: 'ibgp' }))
  const outside = aPeer(50)
  world.up(...internal)
  world.settle()
  const woken: string[] = []
  world.rib.onPending(key => woken.push(key))
  const attributes = someAttributes([], { localPref: 100 })
  world.send(internal[0]!, { announce: ['10.1.0.0/16'], attributes })
  world.settle()
  t.deepEqual(woken, [])
  world.send(internal[0]!, { withdraw: ['10.1.0.0/16'] })
  world.settle()
  t.deepEqual(woken, [])
  t.is(world.rib.explain('10.1.0.0/16'), undefined)
  // who came later gets what goes to it
  world.send(internal[0]!, { announce: ['10.2.0.0/16'], attributes })
  world.up(outside)
  world.settle()
  t.deepEqual([...world.held(outside).keys()].map(String), ['10.2.0.0/16'])
  t.is(world.held(internal[1]!).size, 0)
})

test('a prefix that went before the only peer of a group had read of it is forgotten with the peer', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  world.settle()
  for (const change of [{ announce: ['10.9.0.0/16'] }, { withdraw: ['10.9.0.0/16'] }]) {
    world.send(a, change)
    while (world.rib.work());
  }
  world.lost(b)
  world.lost(a)
  world.settle()
  t.is(world.rib.sizes().prefixes, 0)
})

test('peers that come up together are each sent the table once', t => {
  const world = new World()
  const [a, b, c] = [aPeer(1), aPeer(2), aPeer(3)]
  world.up(a)
  world.send(a, { announce: many(50) })
  world.settle()
  world.up(b, c)
  world.settle()
  // one UPDATE and the two End-of-RIB
  t.deepEqual(
    [b, c].map(peer => [world.held(peer).size, world.down.get(peer.key)!.messages]),
    [
      [50, 3],
      [50, 3],
    ],
  )
})
