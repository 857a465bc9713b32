import test from 'ava'
import type { PeerDown } from '../../../bgp/rib/types.ts'
import { COMMUNITY } from '../../../bgp/wire/iana.ts'
import { anUpdate, aPeer, someAttributes, World } from './sessions.ts'

const restarting = { restarting: true, families: ['ipv4-unicast'], forwarding: ['ipv4-unicast'] } as const
const retained: PeerDown = { retain: true, families: ['ipv4-unicast'], staleSeconds: 120 }
const longLived: PeerDown = { ...retained, longLivedSeconds: { 'ipv4-unicast': 600 } }

/** Peer 1 announced two prefixes of each family and peer 2 holds them. */
function established() {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  world.send(a, { announce: ['10.1.0.0/16', '10.2.0.0/16', '2001:db8::/32'] })
  world.settle()
  return { world, a, b, held: () => [...world.held(b).keys()].sort() }
}

test('when a session ends, routes of retained families stay and the others are removed at once', t => {
  const { world, a, held } = established()
  world.lost(a, retained)
  world.settle()
  t.deepEqual(held(), ['10.1.0.0/16', '10.2.0.0/16'])
  t.is(world.rib.counts('p1')?.stale, 2)
})

test('routes that a peer announces again before its End-of-RIB stay, and other peers get no message about them', t => {
  const { world, a, held } = established()
  world.lost(a, retained)
  world.settle()
  world.up(aPeer(1, { gracefulRestart: restarting }))
  const before = world.down.get('p2')!.messages
  world.send(a, { announce: ['10.1.0.0/16'] })
  world.settle()
  t.is(world.down.get('p2')!.messages, before)
  t.is(world.rib.counts('p1')?.stale, 1)
  world.send(a, {})
  world.settle()
  t.deepEqual(held(), ['10.1.0.0/16'])
  t.is(world.clock.pending, 0)
  const swept = { type: 'stale-removed', key: 'p1', family: 'ipv4-unicast', count: 1 } as const
  t.deepEqual(world.events, [swept, { type: 'end-of-rib', key: 'p1', family: 'ipv4-unicast' }])
})

test('a peer that does not come back within its restart time loses its routes', t => {
  const { world, a, held } = established()
  world.lost(a, retained)
  world.clock.advance(119_999)
  world.settle()
  t.is(held().length, 2)
  world.clock.advance(1)
  world.settle()
  t.deepEqual(held(), [])
  t.is(world.rib.counts('p1'), undefined)
  t.is(world.clock.pending, 0)
})

test('a peer that comes back without having kept its forwarding state loses its stale routes at once', t => {
  const { world, a, held } = established()
  world.lost(a, retained)
  world.up(aPeer(1, { gracefulRestart: { ...restarting, forwarding: [] } }))
  world.settle()
  t.deepEqual(held(), [])
})

test('a second restart removes what is still stale from the first one', t => {
  const { world, a, held } = established()
  world.lost(a, retained)
  world.up(aPeer(1, { gracefulRestart: restarting }))
  world.send(a, { announce: ['10.1.0.0/16'] })
  world.lost(a, retained)
  world.settle()
  t.deepEqual(held(), ['10.1.0.0/16'])
})

test('a second restart before the first UPDATE removes what is stale too', t => {
  const { world, a, held } = established()
  world.lost(a, retained)
  world.up(aPeer(1, { gracefulRestart: restarting }))
  world.lost(a, retained)
  world.settle()
  t.deepEqual(held(), [])
  t.is(world.clock.pending, 0)
})

test('an End-of-RIB alone takes stale routes back, also where the session ends right after it', t => {
  const { world, a, held } = established()
  world.lost(a, retained)
  world.up(aPeer(1, { gracefulRestart: restarting }))
  world.send(a, {})
  world.lost(a, retained)
  world.settle()
  t.deepEqual(held(), [])
})

test('the restart time of a session that ended without routes ends no later session of the peer, whose routes are replaced and not doubled', t => {
  const { world, a, b, held } = established()
  const again = aPeer(1, { gracefulRestart: restarting })
  world.lost(a, retained)
  world.up(again)
  world.send(again, {})
  world.lost(again, retained)
  world.settle()
  t.deepEqual(held(), [])
  t.is(world.clock.pending, 0, 'nothing is waited for')
  world.up(again)
  world.send(again, { announce: ['10.1.0.0/16'] })
  world.settle()
  world.clock.advance(120_000)
  world.settle()
  t.is(world.rib.counts('p1')?.received, 1)
  world.lost(again, retained)
  world.up(again)
  world.send(again, { announce: ['10.1.0.0/16'], attributes: someAttributes([65001, 65009]) })
  world.settle()
  t.is(world.rib.explain('10.1.0.0/16')?.candidates.length, 1)
  t.deepEqual([...world.held(b).keys()], ['10.1.0.0/16'])
})

for (const [told, announce] of [
  ['nothing', []],
  ['a part', ['10.1.0.0/16']],
] as const)
  test(`a node that told ${told} before it restarts again keeps its routes to the end of the first restart time`, t => {
    const { world, a, held } = established()
    const config = { gracefulRestart: { restartSeconds: 120, keepOverRestarts: true } }
    const again = aPeer(1, { config, gracefulRestart: restarting })
    world.lost(a, retained)
    for (let i = 0; i < 3; i++) {
      world.clock.advance(30_000)
      world.up(again)
      if (announce.length > 0) world.send(again, { announce: [...announce] })
      world.lost(again, retained)
      world.settle()
      t.is(held().length, 2, `after ${i + 2} restarts`)
      t.is(world.rib.counts('p1')?.stale, 2)
    }
    world.clock.advance(29_999)
    world.settle()
    t.is(held().length, 2)
    world.clock.advance(1)
    world.settle()
    t.deepEqual(held(), [])
    t.is(world.clock.pending, 0)
  })

test('after the restart time a long-lived route is marked, is preferred least, and goes only to peers with the capability', t => {
  const { world, a, held } = established()
  const c = aPeer(3, { longLived: [{ family: 'ipv4-unicast', forwarding: true }] })
  world.up(c)
  world.settle()
  world.lost(a, longLived)
  world.clock.advance(120_000)
  world.settle()
  t.deepEqual(held(), [])
  t.deepEqual(world.held(c).get('10.1.0.0/16')?.attributes.communities, [COMMUNITY.llgrStale])
  world.send(c, { announce: ['10.1.0.0/16'], attributes: someAttributes([65003, 9, 9, 9, 9]) })
  world.settle()
  t.deepEqual(held(), ['10.1.0.0/16'])
  t.is(world.rib.explain('10.1.0.0/16')?.candidates[1]?.step, 'stale')
  t.is(world.rib.explain('10.1.0.0/16')?.candidates[1]?.stale, 'long-lived')
  world.clock.advance(600_000)
  world.settle()
  t.is(world.rib.explain('10.2.0.0/16'), undefined)
})

test('a route with NO_LLGR is removed when the restart time ends', t => {
  const { world, a } = established()
  world.send(a, { announce: ['10.1.0.0/16'], attributes: someAttributes([65001], { communities: [COMMUNITY.noLlgr] }) })
  world.lost(a, longLived)
  world.clock.advance(120_000)
  world.settle()
  t.is(world.rib.explain('10.1.0.0/16'), undefined)
  t.is(world.rib.explain('10.2.0.0/16')?.candidates.length, 1)
})

test('a long-lived route that is announced again is an ordinary one', t => {
  const { world, a, held } = established()
  world.lost(a, longLived)
  world.clock.advance(120_000)
  world.up(aPeer(1, { gracefulRestart: restarting }))
  world.send(a, { announce: ['10.1.0.0/16'] })
  world.settle()
  t.deepEqual(held(), ['10.1.0.0/16'])
})

test('routes that a peer does not send again between BoRR and EoRR are removed', t => {
  const { world, a, held } = established()
  world.rib.refresh('p1', 'ipv4-unicast', 'begin')
  world.send(a, { announce: ['10.2.0.0/16'] })
  world.rib.refresh('p1', 'ipv4-unicast', 'end')
  world.settle()
  t.deepEqual(held(), ['10.2.0.0/16', '2001:db8::/32'])
})

test('a peer that asks for a refresh gets its table again, between BoRR and EoRR when it knows them', t => {
  const { world } = established()
  const c = aPeer(3, { enhancedRefresh: true })
  world.up(c)
  world.settle()
  const down = world.down.get('p3')!
  down.held.clear()
  down.markers.length = 0
  world.rib.refresh('p3', 'ipv4-unicast', 'request')
  world.settle()
  t.deepEqual([...down.held.keys()].sort(), ['10.1.0.0/16', '10.2.0.0/16'])
  t.deepEqual(down.markers, ['refresh 1', 'refresh 2'])
})

test('while our own restart defers decisions only our networks are announced, and End-of-RIB follows the rest', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.rib.defer(true)
  world.up(a, b)
  world.rib.announce({ prefix: '192.0.2.0/24' })
  world.feed(a, anUpdate(a, { announce: ['10.1.0.0/16'] }))
  world.settle()
  const down = world.down.get('p2')!
  t.deepEqual([[...down.held.keys()], down.markers], [['192.0.2.0/24'], []])
  world.rib.defer(false)
  world.settle()
  t.deepEqual(
    [[...down.held.keys()], down.markers],
    [
      ['192.0.2.0/24', '10.1.0.0/16'],
      ['end ipv4', 'end ipv6'],
    ],
  )
})
