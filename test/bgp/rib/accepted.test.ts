// The Adj-RIB-In after policy as a monitor reads it (RFC 7854): what import accepts, as it is used.
import test from 'ava'
import type { PolicyRule } from '../../../bgp/policy.ts'
import type { Follower } from '../../../bgp/rib/feed.ts'
import { aPeer, Downstream, World } from './sessions.ts'

/** `begin` at each Peer Up: what was told before is over. */
function monitor(world: World, limits: Partial<Follower> = {}) {
  const feed = world.rib.followAccepted({ wake: () => undefined, overflowed: () => undefined, most: 1e6, ...limits })
  const held = new Map<string, Downstream>()
  return {
    feed,
    begin: (key: string) => held.set(key, new Downstream(aPeer(200, { peerType: 'ibgp' }))),
    read(key: string) {
      for (let told = feed.take(); told !== undefined; told = feed.take()) held.get(told.key)?.apply([told.bytes])
      return [...held.get(key)!.held.keys()].sort()
    },
    attributesOf: (key: string, prefix: string) => held.get(key)!.held.get(prefix)?.attributes,
    markersOf: (key: string) => held.get(key)!.markers.toSorted(),
  }
}

const REFUSED: PolicyRule = { action: 'reject', match: { operator: 'Equal', cidr: '10.2.0.0/16' } }
const MARKED: PolicyRule = { action: 'accept', operations: [{ do: 'add-community', value: '65000:77' }] }

test('what import refuses is not told, what it changes is told as changed, and other rules are told as they take effect', t => {
  const world = new World()
  // what it is told has four-octet AS numbers, whatever the session has
  const a = aPeer(1, { config: { import: [REFUSED, MARKED] }, session: { as4: false } })
  world.up(a)
  world.send(a, { announce: ['10.1.0.0/16', '10.2.0.0/16', '2001:db8:1::/48'] })
  world.settle()
  const told = monitor(world)
  told.begin('p1')
  t.deepEqual(told.read('p1'), ['10.1.0.0/16', '2001:db8:1::/48'])
  t.deepEqual(told.attributesOf('p1', '10.1.0.0/16')?.communities, [0xfde8004d])
  t.deepEqual(told.markersOf('p1'), ['end ipv4', 'end ipv6'])
  t.true(told.feed.complete)
  world.rib.setPolicies('p1', { ...a.config, import: 'accept' })
  world.settle()
  t.deepEqual(told.read('p1'), ['10.1.0.0/16', '10.2.0.0/16', '2001:db8:1::/48'])
  t.is(told.attributesOf('p1', '10.1.0.0/16')?.communities, undefined)
  world.send(a, { withdraw: ['10.1.0.0/16'] })
  world.settle()
  t.deepEqual(told.read('p1'), ['10.2.0.0/16', '2001:db8:1::/48'])
})

test('a peer that comes back after a restart is told with the routes that are kept for it, then without those that it does not send again', t => {
  const world = new World()
  const a = aPeer(1, {
    gracefulRestart: { restarting: true, families: ['ipv4-unicast'], forwarding: ['ipv4-unicast'] },
  })
  world.up(a)
  world.send(a, { announce: ['10.1.0.0/16', '10.2.0.0/16'] })
  world.settle()
  const told = monitor(world)
  told.begin('p1')
  t.deepEqual(told.read('p1'), ['10.1.0.0/16', '10.2.0.0/16'])
  world.rib.peerDown('p1', { retain: true, families: ['ipv4-unicast'], staleSeconds: 120 })
  world.settle()
  told.begin('p1')
  t.deepEqual(told.read('p1'), [])
  world.rib.peerUp(a)
  world.settle()
  t.deepEqual(told.read('p1'), ['10.1.0.0/16', '10.2.0.0/16'])
  world.send(a, { announce: ['10.1.0.0/16'] })
  // End-of-RIB
  world.rib.receive('p1', Uint8Array.of(0, 0, 0, 0), 0, 4)
  world.settle()
  t.deepEqual(told.read('p1'), ['10.1.0.0/16'])
})

test('a prefix that goes and comes again before it is told is told as it is, and nothing is left when the monitor goes', t => {
  const world = new World()
  const a = aPeer(1)
  world.up(a)
  world.send(a, { announce: ['10.1.0.0/16'] })
  world.settle()
  const told = monitor(world)
  told.begin('p1')
  t.deepEqual(told.read('p1'), ['10.1.0.0/16'])
  for (const change of [{ withdraw: ['10.1.0.0/16'] }, { announce: ['10.1.0.0/16'] }]) {
    world.send(a, change)
    world.settle()
  }
  t.deepEqual(told.read('p1'), ['10.1.0.0/16'])
  for (const change of [{ withdraw: ['10.1.0.0/16'] }, { announce: ['10.1.0.0/16'] }]) {
    world.send(a, change)
    world.settle()
  }
  world.rib.setPolicies('p1', { ...a.config, import: 'reject' })
  world.settle()
  t.deepEqual(told.read('p1'), [])
  world.rib.setPolicies('p1', { ...a.config, import: 'accept' })
  world.settle()
  told.read('p1')
  world.send(a, { withdraw: ['10.1.0.0/16'] })
  world.settle()
  told.feed.close()
  t.like(world.rib.sizes(), { sets: 0, prefixes: 0, paths: 0 })
})

test('a monitor of what is accepted that reads nothing while prefixes come and go is told once that it keeps too many', t => {
  const world = new World()
  const a = aPeer(1)
  world.up(a)
  world.send(a, { announce: Array.from({ length: 500 }, (_, i) => `10.1.${i >> 8}.${i & 255}/32`) })
  world.settle()
  let overflows = 0
  const { feed } = monitor(world, { most: 100, overflowed: () => overflows++ })
  for (let round = 0; round < 4; round++) {
    const announce = Array.from({ length: 40 }, (_, i) => `10.2.${round}.${i}/32`)
    world.send(a, { announce })
    world.settle()
    world.send(a, { withdraw: announce })
    world.settle()
    t.is(overflows, round < 2 ? 0 : 1)
  }
  feed.close()
  t.is(world.rib.sizes().prefixes, 500)
})

test('a monitor that keeps no more than there is loses nothing for it: paths that import refuses, or that are not decided yet', t => {
  const prefixes = Array.from({ length: 500 }, (_, i) => `10.1.${i >> 8}.${i & 255}/32`)
  const refused = new World()
  const a = aPeer(1, { config: { import: 'reject' } })
  refused.up(a)
  refused.send(a, { announce: prefixes })
  refused.settle()
  const restarting = new World()
  restarting.rib.defer(true)
  restarting.up(aPeer(1))
  restarting.send(a, { announce: prefixes })
  restarting.settle()
  let overflows = 0
  const limits = { most: 100, overflowed: () => overflows++ }
  const [first, second] = [monitor(refused, limits), monitor(restarting, limits)]
  refused.rib.soft('p1', 'in')
  refused.settle()
  restarting.rib.announce({ prefix: '192.0.2.0/24' })
  restarting.settle()
  restarting.rib.defer(false)
  restarting.settle()
  t.is(overflows, 0)
  for (const { feed } of [first, second]) feed.close()
})

test('a monitor that is closed twice takes no other one with it', t => {
  const world = new World()
  const a = aPeer(1)
  world.up(a)
  world.settle()
  let woken = 0
  const [gone, other] = [monitor(world), monitor(world, { wake: () => woken++ })]
  other.begin('p1')
  other.read('p1')
  gone.feed.close()
  gone.feed.close()
  world.send(a, { announce: ['10.1.0.0/16'] })
  world.settle()
  t.is(woken, 1)
  t.deepEqual(other.read('p1'), ['10.1.0.0/16'])
  other.feed.close()
})
