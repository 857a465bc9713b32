// Automatic route reflectors on paper: no node lacks a route while leaders and reflectors end at any point, nor where somebody deletes,
// edits or restores what the leader wrote.
import test, { type ExecutionContext } from 'ava'
import { formatReflectors, type ReflectorState } from '../../api/reflectors.ts'
import { type Agent, NONE, WISHES, World } from './reflector-world.ts'
import { chanceOf } from './world.ts'

async function shake(world: World): Promise<void> {
  const { chance } = world
  const all = [...world.agents.values()]
  const one = all.find(() => chance(1 / all.length)) ?? all[0]!
  if (chance(0.15)) world.dethrone()
  if (chance(0.1) && all.length < 14) await world.join()
  if (chance(0.08) && all.length > 5 && world.spares(one)) return world.leave(one)
  if (chance(0.06) && world.spares(one)) one.isDead = true
  if (chance(one.isReady ? 0.05 : 0.5))
    await world.change(one, { isReady: !one.isReady, sinceMs: world.clock.wallMs() })
  // its agent starts with what there is by now
  for (const each of all)
    if (each.isDead && chance(0.15)) {
      each.isDead = false
      await world.begin(each)
    }
  if (chance(one.isCordoned ? 0.5 : 0.05)) await world.change(one, { isCordoned: !one.isCordoned })
  if (chance(0.05)) await world.change(one, { rack: `r${chance(0.5) ? 0 : 1}` })
  if (chance(0.08)) world.wish = ['', ...WISHES].find(() => chance(0.3)) ?? WISHES[2]!
}

/** Clusters of other seeds, one after the other, each for so many steps. */
async function walk(
  t: ExecutionContext,
  { factor, steps, meddling = 0 }: { factor: number; steps: number; meddling?: number },
): Promise<Record<'moves' | 'thin' | 'meddled', number>> {
  const sum = { moves: 0, thin: 0, meddled: 0 }
  for (let seed = 1; seed <= 12; seed++) {
    const world = new World(chanceOf(seed * factor))
    await world.start()
    for (let step = 0; step < steps; step++) {
      world.clock.advance(world.chance(0.1) ? 130_000 : 2_000)
      if (world.chance(0.4)) await shake(world)
      if (meddling > 0 && world.chance(meddling)) await world.meddle()
      await world.hear(world.chance(0.5) ? 1 : 0.3)
      await world.work()
      if (world.faults.length > 0) break
    }
    t.deepEqual(world.faults.slice(0, 3), [], `seed ${seed}`)
    for (const name of ['moves', 'thin', 'meddled'] as const) sum[name] += world[name]
    world.close()
  }
  return sum
}

test('reflectors are moved one at a time, never fewer than two, and no node lacks a route, whatever ends between two steps', async t => {
  const { moves, thin } = await walk(t, { factor: 7919, steps: 250 })
  t.true(moves > 200 && thin > 40, `${moves} moves, ${thin} of them while the mesh was thin`)
})

test('where what the leader wrote is deleted, edited or put back from a backup no node lacks a route, and it goes on from there', async t => {
  const { moves, thin, meddled } = await walk(t, { factor: 6271, steps: 250, meddling: 0.02 })
  t.true(meddled > 30 && thin > 40, `${moves} moves, ${thin} of them while the mesh was thin, ${meddled} mishaps`)
})

test('what is left alone comes to rest: with reflectors in each rack, and after the wish goes without any', async t => {
  for (const seed of [1, 2, 3]) {
    const world = new World(chanceOf(seed))
    await world.start()
    const rest = async () => {
      for (let step = 0; step < 200; step++) {
        world.clock.advance(2_000)
        await world.hear(0.6)
        await world.work()
      }
      return world.now()
    }
    const { mesh, nodes } = await rest()
    t.is(mesh, 'thin')
    t.is(nodes.length, 6)
    const racks = nodes.map(name => world.agents.get(name)!.rack).sort()
    t.deepEqual(racks, ['r0', 'r0', 'r1', 'r1', 'r2', 'r2'])
    // one that is about to be rebooted is replaced, and the others stay
    await world.change(world.agents.get(nodes[0]!)!, { isCordoned: true })
    const after = await rest()
    t.false(after.nodes.includes(nodes[0]!))
    t.deepEqual(
      nodes.filter(name => !after.nodes.includes(name)),
      [nodes[0]],
    )
    world.wish = ''
    t.deepEqual(await rest(), NONE)
    t.deepEqual(world.faults, [])
    world.close()
  }
})

/** Two reflectors for all. */
const TWO = 'above=4'

const stateOf = ({ step, mesh, nodes }: ReflectorState, change: Partial<ReflectorState>) =>
  formatReflectors({ step, mesh, nodes, ...change })

/** From a cluster whose mesh is thin; `lost`: receipts are gone with it. */
const MISHAPS: readonly { what: string; writes: (now: ReflectorState) => string | null; lost?: true; wish?: '' }[] = [
  { what: 'deleted', writes: () => null },
  { what: 'deleted with the wish', writes: () => null, wish: '' },
  { what: 'no state', writes: () => 'thin, please' },
  { what: 'another reflector of the same step', writes: now => stateOf(now, { nodes: [now.nodes[0]!, 'x'] }) },
  { what: 'nodes that nobody has', writes: now => stateOf(now, { nodes: ['x', 'y'], step: now.step + 1 }) },
  {
    what: 'no reflector of a later step',
    writes: now => stateOf(now, { nodes: [], mesh: 'whole', step: now.step + 9 }),
  },
  {
    what: 'an old copy with other reflectors',
    writes: now => stateOf(now, { nodes: ['n6', 'n7'], step: now.step - 40 }),
  },
  {
    what: 'a backup with others',
    writes: now => stateOf(now, { nodes: ['n6', 'n7'], step: now.step - 40 }),
    lost: true,
  },
  { what: 'a backup of the time before', writes: () => null, lost: true },
  {
    what: 'a backup of the last step but one',
    writes: now => stateOf(now, { mesh: 'whole', step: now.step - 1 }),
    lost: true,
  },
]

for (const { what, writes, lost, wish = TWO } of MISHAPS)
  test(`what somebody put in the place of a thin mesh costs no route, and all goes on: ${what}`, async t => {
    const world = new World(chanceOf(5))
    await world.start()
    const rest = async (steps: number, who?: (agent: Agent) => boolean) => {
      for (let step = 0; step < steps; step++) {
        world.clock.advance(2_000)
        await world.hear(0.5, who)
        await world.work()
      }
      return world.now()
    }
    world.wish = TWO
    const before = await rest(100)
    t.deepEqual([before.mesh, before.nodes.length], ['thin', 2])
    await world.write(writes(before))
    if (lost === true) world.loseReceipts()
    world.wish = wish
    // the others hear of it long after
    await rest(5, ({ name }) => before.nodes.includes(name))
    const after = await rest(150)
    t.deepEqual(world.faults, [])
    if (wish === '') t.deepEqual(after, NONE)
    else {
      t.deepEqual([after.mesh, after.nodes.length], ['thin', 2])
      t.true(after.step > before.step)
    }
    t.false(world.isUneasy)
    world.close()
  })

test('a backup of a thin mesh that comes back after its end ends no session before others reflect', async t => {
  const world = new World(chanceOf(8))
  await world.start()
  const rest = async () => {
    for (let step = 0; step < 150; step++) {
      world.clock.advance(2_000)
      await world.hear(0.5)
      await world.work()
    }
    return world.now()
  }
  const thin = await rest()
  world.wish = ''
  t.deepEqual(await rest(), NONE)
  await world.write(formatReflectors(thin))
  t.deepEqual(await rest(), NONE)
  world.wish = WISHES[0]!
  await world.write(formatReflectors(thin))
  t.is((await rest()).mesh, 'thin')
  t.deepEqual(world.faults, [])
  t.false(world.isUneasy)
  world.close()
})

for (const first of ['n0', 'n2', 'n5', 'n8'])
  test(`a backup of the whole API server, receipts with it, costs no route, whoever is heard first: ${first}`, async t => {
    const world = new World(chanceOf(5))
    world.wish = TWO
    await world.start()
    const rest = async (steps: number, share: number, who?: (agent: Agent) => boolean) => {
      for (let step = 0; step < steps; step++) {
        world.clock.advance(2_000)
        await world.hear(share, who)
        await world.work()
      }
      return world.now()
    }
    const before = await rest(100, 0.5)
    const backup = await world.backup()
    const all = [...world.agents.values()]
    const cordon = async (isCordoned: boolean) => {
      for (const each of all.filter(({ name }) => before.nodes.includes(name))) await world.change(each, { isCordoned })
    }
    await cordon(true)
    const others = await rest(100, 0.5)
    await cordon(false)
    t.deepEqual([others.mesh, others.nodes.filter(name => before.nodes.includes(name))], ['thin', []])
    await world.restore(backup)
    await rest(1, 1, ({ name }) => name === first)
    const after = await rest(200, 0.2)
    t.deepEqual(world.faults.slice(0, 3), [])
    t.deepEqual([after.mesh, after.nodes.length], ['thin', 2])
    t.true(after.step > others.step)
    t.false(world.isUneasy)
    world.close()
  })

test('half of the nodes, reflectors among them, that see no API server for an hour and carry packets all the same lose no route', async t => {
  const world = new World(chanceOf(11))
  world.wish = TWO
  await world.start()
  const rest = async (steps: number, who?: (agent: Agent) => boolean) => {
    for (let step = 0; step < steps; step++) {
      world.clock.advance(10_000)
      await world.hear(0.5, who)
      await world.work()
    }
    return world.now()
  }
  const before = await rest(100)
  const all = [...world.agents.values()]
  const cut = [...all.filter(({ name }) => before.nodes.includes(name)), ...all.slice(-2)]
  const ready = async (isReady: boolean) => {
    for (const each of cut) await world.change(each, { isReady, sinceMs: world.clock.wallMs() })
  }
  await ready(false)
  const { mesh, nodes } = await rest(360, each => !cut.includes(each))
  t.deepEqual(world.faults.slice(0, 3), [])
  t.is(mesh, 'thin')
  t.true(before.nodes.every(name => nodes.includes(name)) && nodes.length === 4, 'others reflect beside them')
  await ready(true)
  const after = await rest(100)
  t.deepEqual([after.mesh, after.nodes.length], ['thin', 2])
  t.deepEqual(world.faults.slice(0, 3), [])
  world.close()
})
