// Where the map draws nodes.
import test from 'ava'
import { around, placesOf } from '../../ui/layout.ts'

const nodes = (lan: string, count: number, prefix = lan) =>
  Array.from({ length: count }, (_, i) => ({ name: `${prefix}-${String(i).padStart(4, '0')}`, lan }))

test('no two nodes are in one place, in one LAN or in many, of few nodes or of a thousand', t => {
  for (const world of [
    nodes('a', 1),
    nodes('a', 2),
    nodes('a', 1_000),
    [...nodes('a', 3), ...nodes('b', 200), ...nodes('', 9, 'x')],
  ]) {
    const places = [...placesOf(world).nodes.values()]
    t.is(places.length, world.length)
    let nearest = Infinity
    for (const [i, a] of places.entries())
      for (const b of places.slice(i + 1)) nearest = Math.min(nearest, Math.hypot(a.x - b.x, a.y - b.y))
    t.true(nearest > 4, `${world.length}: ${nearest}`)
  }
})

test('LANs do not reach into each other', t => {
  const world = [...nodes('a', 300), ...nodes('b', 20), ...nodes('c', 5), ...nodes('d', 80)]
  const { nodes: places, lans } = placesOf(world)
  const reach = (lan: string) =>
    Math.max(
      ...world
        .filter(each => each.lan === lan)
        .map(({ name }) =>
          Math.hypot(places.get(name)!.x - lans.get(lan)!.middle.x, places.get(name)!.y - lans.get(lan)!.middle.y),
        ),
    )
  for (const one of ['a', 'b', 'c', 'd'])
    for (const other of ['a', 'b', 'c', 'd'])
      if (one < other) {
        const [a, b] = [lans.get(one)!.middle, lans.get(other)!.middle]
        t.true(Math.hypot(a.x - b.x, a.y - b.y) > reach(one) + reach(other), `${one} ${other}`)
      }
})

test('the same nodes have the same places in any order, and a few things are a ring', t => {
  const world = [...nodes('a', 12), ...nodes('b', 7)]
  t.deepEqual(placesOf(world.toReversed()).nodes, new Map([...placesOf(world).nodes]))
  const radii = [0, 1, 2, 3].map(at =>
    Math.hypot(around({ x: 0, y: 0 }, at, 4, 5).x, around({ x: 0, y: 0 }, at, 4, 5).y),
  )
  t.true(radii.every(radius => Math.abs(radius - radii[0]!) < 1e-9))
})
