// Rules that change under a peer with many routes: judged in slices, while other things go on.
import test from 'ava'
import { aPeer, someAttributes, World } from './sessions.ts'

const ROUTES = 2000
const prefixOf = (i: number) => `10.${i >> 8}.${i & 255}.0/24`
const TAG = [{ action: 'accept', operations: [{ do: 'add-community', value: '65000:7' }] }] as const

/** Two peers, of which the first has announced `ROUTES` with ten different sets. */
function full() {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  for (let i = 0; i < ROUTES; i += ROUTES / 10) {
    const announce = Array.from({ length: ROUTES / 10 }, (_, k) => prefixOf(i + k))
    world.send(a, { announce, attributes: someAttributes([65001, 100 + i]) })
  }
  world.settle()
  return { world, a, b }
}

test('a change of rules judges no route at once, and in each slice no more than its limit', t => {
  const { world, a, b } = full()
  world.rib.setPolicies(a.key, { ...a.config, import: 'reject' })
  const accepted = () => world.rib.counts(a.key)!.accepted
  t.is(accepted(), ROUTES)
  let slices = 0
  for (let before = ROUTES, more = true; more; slices++) {
    more = world.rib.work(400)
    t.true(before - accepted() <= 101, `${before - accepted()} in one slice`)
    before = accepted()
  }
  t.is(accepted(), 0)
  t.true(slices >= ROUTES / 101)
  world.settle()
  t.is(world.held(b).size, 0)
})

test('what is announced and withdrawn meanwhile is as the new rules have it, and as it came last', t => {
  const { world, a, b } = full()
  world.rib.setPolicies(a.key, { ...a.config, import: TAG })
  world.rib.work(400)
  // some of them were judged, others were not
  world.send(a, { withdraw: [prefixOf(0), prefixOf(ROUTES - 1)] })
  world.send(a, {
    announce: [prefixOf(1), prefixOf(ROUTES - 2), '192.0.2.0/24'],
    attributes: someAttributes([65001, 9]),
  })
  world.rib.work(400)
  world.send(a, { announce: [prefixOf(ROUTES - 1)], attributes: someAttributes([65001, 100]) })
  world.settle()
  const held = world.held(b)
  t.is(held.size, ROUTES)
  t.false(held.has(prefixOf(0)))
  for (const [prefix, { attributes }] of held) t.deepEqual(attributes.communities, [65000 * 65536 + 7], prefix)
  const pathOf = (prefix: string) =>
    held
      .get(prefix)!
      .attributes.asPath!.flatMap(({ asns }) => asns)
      .slice(2)
  t.deepEqual(
    [1, 2, ROUTES - 2, ROUTES - 1].map(i => pathOf(prefixOf(i))),
    [[9], [100], [9], [100]],
  )
})

test('rules that change again before all routes are judged count for all of them', t => {
  const { world, a, b } = full()
  world.rib.setPolicies(a.key, { ...a.config, import: 'reject' })
  world.rib.work(400)
  world.rib.setPolicies(a.key, { ...a.config, import: TAG })
  world.settle()
  t.is(world.held(b).size, ROUTES)
  world.rib.setPolicies(a.key, { ...a.config, import: 'reject' })
  world.rib.work(400)
  world.lost(a)
  world.settle()
  t.deepEqual(world.rib.sizes(), { ...world.rib.sizes(), sets: 0, prefixes: 0, paths: 0 })
})
