// The Adj-RIB-Out before policy as a monitor reads it (RFC 8671): what the protocol gives a peer, whatever its rules say.
import test from 'ava'
import type { PolicyRule } from '../../../bgp/policy.ts'
import type { RibPeer } from '../../../bgp/rib/types.ts'
import { COMMUNITY } from '../../../bgp/wire/iana.ts'
import { aPeer, Downstream, someAttributes, World } from './sessions.ts'

const NO_LIMIT = { wake: () => undefined, overflowed: () => undefined, most: 1e6 }

/** What a monitor that connects now has of each peer once it has read all. */
function offered(world: World, ...peers: RibPeer[]) {
  const feed = world.rib.followOffered(NO_LIMIT)
  const held = new Map(peers.map(peer => [peer.key, new Downstream(peer)]))
  for (let told = feed.take(); told !== undefined; told = feed.take())
    held.get(told.key)?.apply([new Uint8Array(told.bytes)])
  const counts = peers.map(({ key }) => [...feed.counts(key).values()].reduce((sum, n) => sum + n, 0))
  feed.close()
  return { held: peers.map(({ key }) => held.get(key)!.held), counts }
}

test('rules for export, and the lack of them, change nothing of what is told before policy', t => {
  const world = new World()
  const rules: PolicyRule[] = [
    { action: 'reject', match: { operator: 'Equal', cidr: '10.1.0.0/16' } },
    { action: 'accept', operations: [{ do: 'prepend-as-path', asns: [65000, 65000] }] },
  ]
  const [a, open, strict, closed] = [
    aPeer(1),
    aPeer(2),
    aPeer(3, { config: { export: rules } }),
    aPeer(4, { config: { export: undefined } }),
  ]
  world.up(a, open, strict, closed)
  world.send(a, { announce: ['10.1.0.0/16', '10.2.0.0/16', '2001:db8:1::/48'] })
  world.settle()
  const { held, counts } = offered(world, open, strict, closed)
  t.deepEqual(counts, [3, 3, 3])
  // as the peer without rules is sent it: what an audit compares differs only by the rules
  t.deepEqual(held[0], world.held(open))
  t.deepEqual(held[1], held[0])
  t.deepEqual(held[2], held[0])
  t.deepEqual([world.held(strict).size, world.held(closed).size], [2, 0])
})

test('what the protocol keeps from a peer is not offered to it: its own routes, no-export, what is not reflected', t => {
  const world = new World()
  const [ext, other, first, second, client] = [
    aPeer(1),
    aPeer(2),
    aPeer(3, { peerType: 'ibgp' }),
    aPeer(4, { peerType: 'ibgp' }),
    aPeer(5, { peerType: 'ibgp', config: { reflectorClient: true } }),
  ]
  world.up(ext, other, first, second, client)
  world.send(ext, { announce: ['10.1.0.0/16'] })
  world.send(ext, {
    announce: ['10.2.0.0/16'],
    attributes: someAttributes(undefined, { communities: [COMMUNITY.noExport] }),
  })
  world.send(first, { announce: ['10.3.0.0/16'], attributes: someAttributes([7018], { localPref: 100 }) })
  world.settle()
  const { held } = offered(world, ext, other, second, client)
  t.deepEqual(
    held.map(each => [...each.keys()].sort()),
    [
      ['10.3.0.0/16'],
      ['10.1.0.0/16', '10.3.0.0/16'],
      ['10.1.0.0/16', '10.2.0.0/16'],
      ['10.1.0.0/16', '10.2.0.0/16', '10.3.0.0/16'],
    ],
  )
})

test('a monitor that is gone leaves nothing behind, nor did one that never read', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2, { config: { export: 'reject' } })]
  world.up(a, b)
  world.send(a, { announce: ['10.1.0.0/16', '2001:db8:1::/48'] })
  world.settle()
  const before = world.rib.sizes()
  const silent = world.rib.followOffered(NO_LIMIT)
  offered(world, a, b)
  world.send(a, { withdraw: ['2001:db8:1::/48'] })
  world.settle()
  t.is(world.rib.sizes().prefixes, before.prefixes)
  silent.close()
  t.is(world.rib.sizes().prefixes, before.prefixes - 1)
  world.send(a, { withdraw: ['10.1.0.0/16'] })
  world.settle()
  t.like(world.rib.sizes(), { sets: 0, prefixes: 0 })
})

test('a monitor may read a large table as slowly as it likes; one that keeps more prefixes which are gone than it may is told once', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  world.send(a, { announce: Array.from({ length: 500 }, (_, i) => `10.1.${i >> 8}.${i & 255}/32`) })
  world.settle()
  let overflows = 0
  const feed = world.rib.followOffered({ ...NO_LIMIT, overflowed: () => overflows++, most: 100 })
  for (let round = 0; round < 4; round++) {
    const announce = Array.from({ length: 40 }, (_, i) => `10.2.${round}.${i}/32`)
    world.send(a, { announce })
    world.settle()
    t.is(overflows, round < 3 ? 0 : 1)
    world.send(a, { withdraw: announce })
    world.settle()
  }
  t.is(overflows, 1)
  feed.close()
  t.is(world.rib.sizes().prefixes, 500)
})

test('a monitor of peers with ADD-PATH keeps no more than there is where import refuses a table', t => {
  const world = new World()
  const a = aPeer(1, { config: { import: 'reject' } })
  const b = aPeer(2, { addPath: { send: true } })
  world.up(a, b)
  world.send(a, { announce: Array.from({ length: 500 }, (_, i) => `10.1.${i >> 8}.${i & 255}/32`) })
  world.settle()
  let overflows = 0
  const feed = world.rib.followOffered({ ...NO_LIMIT, overflowed: () => overflows++, most: 100 })
  world.rib.announce({ prefix: '192.0.2.0/24' })
  world.settle()
  t.is(overflows, 0)
  feed.close()
})
