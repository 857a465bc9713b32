// Routes that belong to those who announce them: nobody else announces the same prefix or a part of it, in whatever order.
import test from 'ava'
import fc from 'fast-check'
import type { PolicyRule } from '../../../bgp/policy.ts'
import { contains } from '../../../lib/ip.ts'
import { aPeer, someAttributes, World } from './sessions.ts'

const OWNERS: readonly PolicyRule[] = [
  { action: 'reject', communities: ['65000:9:9'] },
  { action: 'accept', group: 'home' },
]
const TAGGED = { largeCommunities: [{ global: 65000, local1: 9, local2: 9 }] }

const home = (n: number) => aPeer(n, { peerType: 'ibgp', config: { group: 'home' } })
const away = (n: number) => aPeer(n, { config: { group: 'away' } })
const PEERS = [home(1), home(2), away(3), away(4)]

const PREFIXES = [
  ...['10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3/32', '10.2.0.0/16'],
  ...['2001:db8::/32', '2001:db8:1::/48', '2001:db8:1::7/128', '2001:db8:2::/48'],
]

type Step =
  | { do: 'announce'; peer: number; prefixes: string[]; tagged: boolean }
  | { do: 'withdraw'; peer: number; prefixes: string[] }
  | { do: 'flap' | 'move'; peer: number }
  | { do: 'network'; prefix: string; on: boolean }
  | { do: 'settle' }

const peer = fc.nat(PEERS.length - 1)
const prefixes = fc.subarray(PREFIXES, { minLength: 1, maxLength: 3 })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('announce' as const), peer, prefixes, tagged: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('withdraw' as const), peer, prefixes }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('flap' as const, 'move' as const), peer }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('network' as const),
      prefix: fc.constantFrom(...PREFIXES),
      on: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ do: 'settle' as const }) },
)

test('at the end of every walk a path is used exactly when its peer owns it, or nobody owns what holds its prefix', t => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), steps => {
      const world = new World({ owners: OWNERS })
      const peers = [...PEERS]
      world.up(...peers)
      /** What each peer announces, and whether it is tagged; and our own networks. */
      const said = peers.map(() => new Map<string, boolean>())
      const own = new Set<string>()
      for (const s of steps)
        switch (s.do) {
          case 'announce': {
            const from = peers[s.peer]!
            const path = from.peerType === 'ibgp' ? [] : [from.remoteAs]
            const more = { ...(from.peerType === 'ibgp' && { localPref: 100 }), ...(s.tagged && TAGGED) }
            for (const prefix of s.prefixes) {
              world.send(from, { announce: [prefix], attributes: someAttributes(path, more) })
              said[s.peer]!.set(prefix, s.tagged)
            }
            break
          }
          case 'withdraw':
            world.send(peers[s.peer]!, { withdraw: s.prefixes })
            for (const prefix of s.prefixes) said[s.peer]!.delete(prefix)
            break
          case 'flap':
            world.lost(peers[s.peer]!)
            world.up(peers[s.peer]!)
            said[s.peer]!.clear()
            break
          case 'move': {
            const before = peers[s.peer]!
            const group = before.config.group === 'home' ? 'away' : 'home'
            peers[s.peer] = { ...before, config: { ...before.config, group } }
            world.rib.setPolicies(before.key, peers[s.peer]!.config)
            break
          }
          case 'network':
            if (s.on) world.rib.announce({ prefix: s.prefix })
            else world.rib.withdraw(s.prefix)
            if (s.on) own.add(s.prefix)
            else own.delete(s.prefix)
            break
          case 'settle':
            world.settle()
        }
      world.settle()
      const isOwner = (i: number, tagged: boolean) => peers[i]!.config.group === 'home' && !tagged
      const owned = [
        ...own,
        ...said.flatMap((all, i) => [...all].filter(([, tagged]) => isOwner(i, tagged)).map(([prefix]) => prefix)),
      ]
      for (const [i, all] of said.entries())
        for (const [prefix, tagged] of all) {
          const path = world.rib.explain(prefix)?.candidates.find(({ peer: key }) => key === peers[i]!.key)
          const used = isOwner(i, tagged) || !owned.some(cidr => contains(cidr, prefix))
          t.is(path?.import.accepted, used, `${peers[i]!.key} ${prefix}`)
          if (!used) t.is(path?.import.reason, 'owned')
        }
      for (const from of peers) world.lost(from)
      for (const prefix of own) world.rib.withdraw(prefix)
      world.settle()
      t.deepEqual(world.rib.sizes(), new World().rib.sizes())
      t.is(world.sink.routes.size, 0)
    }),
    { numRuns: 100 },
  )
})

test('what is refused names the owner, is not passed on, and is used as soon as the owner takes its route back', t => {
  const world = new World({ owners: OWNERS })
  const [one, other, hears] = [home(1), away(3), away(4)]
  world.up(one, other, hears)
  world.send(other, { announce: ['10.1.2.3/32', '10.0.0.0/8'], attributes: someAttributes([other.remoteAs]) })
  world.settle()
  t.deepEqual([...world.held(hears).keys()].sort(), ['10.0.0.0/8', '10.1.2.3/32'])
  world.send(one, { announce: ['10.1.0.0/16'], attributes: someAttributes([], { localPref: 100 }) })
  world.settle()
  t.deepEqual([...world.held(hears).keys()].sort(), ['10.0.0.0/8', '10.1.0.0/16'])
  t.is(world.rib.explain('10.1.2.3/32')?.candidates[0]?.import.detail, '10.1.0.0/16 belongs to p1')
  t.deepEqual([...world.rib.unused('p3')], ['10.1.2.3/32'])
  world.send(one, { withdraw: ['10.1.0.0/16'] })
  world.settle()
  t.deepEqual([...world.sink.routes.keys()].sort(), ['10.0.0.0/8', '10.1.2.3/32'])
})

test('paths that an owner takes away, or gives back, are judged in steps, however many there are', t => {
  const world = new World({ owners: OWNERS })
  const [one, other] = [home(1), away(3)]
  world.up(one, other)
  for (let n = 0; n < 10; n++) {
    const announce = Array.from({ length: 100 }, (_, i) => `10.1.${n}.${i}/32`)
    world.send(other, { announce, attributes: someAttributes([other.remoteAs]) })
  }
  world.settle()
  const used = () => world.rib.counts('p3')?.accepted ?? 0
  t.is(used(), 1000)
  world.send(one, { announce: ['10.1.0.0/16'], attributes: someAttributes([], { localPref: 100 }) })
  t.true(world.rib.work(400))
  t.true(used() >= 900 && used() < 1000, `${used()}`)
  world.settle()
  t.is(used(), 0)
  world.send(one, { withdraw: ['10.1.0.0/16'] })
  t.true(world.rib.work(400))
  t.true(used() > 0 && used() <= 100, `${used()}`)
  world.send(other, { withdraw: ['10.1.9.99/32', '10.1.0.0/32'] })
  world.settle()
  t.is(used(), 998)
})
