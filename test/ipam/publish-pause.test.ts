// How often the blocks of a node are written while pods come and go, and what is written at once all the same.
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { NotFound } from '../../datastore/port.ts'
import { isPublished } from '../../ipam/block.ts'
import { Journal } from '../../ipam/journal.ts'
import { tunnelRequest } from '../../ipam/tunnel.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

/** How many writes per pod are allowed (issue: load on the API server). */
const MOST_PER_POD = 0.1

type World = { fake: FakeStore; nodes: readonly TestNode[]; writes: { count: number } }

/** Nodes that have a block with a tunnel's address each. Writes to anything are counted from then on. */
async function world(count: number): Promise<World> {
  const fake = createFakeStore()
  const writes = { count: 0 }
  const counting: FakeStore = {
    ...fake,
    create: (kind, object) => fake.create(kind, object).finally(() => writes.count++),
    update: (kind, object) => fake.update(kind, object).finally(() => writes.count++),
    patch: (kind, ...rest) => fake.patch(kind, ...rest).finally(() => writes.count++),
    delete: (kind, ...rest) => fake.delete(kind, ...rest).finally(() => writes.count++),
  }
  await fake.create('IPPool', aPool('p', '10.0.0.0/16', 26))
  const nodes = Array.from({ length: count }, (_, i) => aNode(counting, `n${i}`))
  for (const node of nodes) node.start()
  await converge(fake, ...nodes)
  for (const { allocator, name } of nodes) await allocator.assign(tunnelRequest('ipip', name))
  await converge(fake, ...nodes)
  writes.count = 0
  return { fake, nodes, writes }
}

async function settle(fake: FakeStore): Promise<void> {
  for (let i = 0; i < 6; i++) await new Promise(setImmediate)
  await fake.settled()
}

async function pass({ fake, nodes }: World, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 250) {
    for (const { clock } of nodes) clock.advance(Math.min(left, 250))
    await settle(fake)
  }
}

async function come(t: ExecutionContext, { nodes }: World, i: number): Promise<void> {
  t.false('refused' in (await nodes[i % nodes.length]!.allocator.assign(aPod(`p${i}`))))
}

async function go({ nodes }: World, i: number): Promise<void> {
  await nodes[i % nodes.length]!.allocator.release(aPod(`p${i}`).handle)
}

const close = ({ nodes }: World) => Promise.all(nodes.map(node => node.close()))

/** The handles of pods that the blocks at the API server have. */
async function handles(fake: FakeStore): Promise<string[]> {
  const attributes = (await fake.list('IPAMBlock')).flatMap(({ spec }) => spec.attributes)
  return attributes.flatMap(({ handle_id, secondary }) => (secondary?.['type'] === undefined ? [handle_id ?? ''] : []))
}

/** The blocks of a node that the API server does not have as the journal has them. */
async function behind(fake: FakeStore, { name, db }: TestNode): Promise<string[]> {
  const journal = new Journal(db)
  const objects = (await fake.list('IPAMBlock')).filter(({ spec }) => spec.affinity === `host:${name}`)
  const wrong = journal.blocks().filter(({ block }) => {
    const item = objects.find(({ spec }) => spec.cidr === block.cidr)
    return item === undefined || !isPublished(block, item, journal)
  })
  return wrong.map(({ block }) => block.cidr)
}

test('40 pods that come in ten seconds to three nodes, and go again, cost fewer than 0.1 writes each', async t => {
  const at = await world(3)
  for (let i = 0; i < 40; i++) {
    await come(t, at, i)
    await pass(at, 250)
  }
  await pass(at, 8_000)
  for (let i = 0; i < 40; i++) await go(at, i)
  await pass(at, 30_000)
  t.log(`${at.writes.count / 40} writes per pod`)
  t.true(at.writes.count / 40 < MOST_PER_POD, `${at.writes.count} writes`)
  await converge(at.fake, ...at.nodes)
  for (const node of at.nodes) t.deepEqual(await behind(at.fake, node), [])
  await close(at)
})

for (const [nodes, where] of [
  [1, 'on one node'],
  [3, 'on one of three nodes'],
] as const)
  test(`one pod that comes ${where} each second, and goes after half a minute, costs fewer than 0.1 writes`, async t => {
    const at = await world(nodes)
    for (let i = 0; i < 600; i++) {
      await come(t, at, i)
      if (i >= 30) await go(at, i - 30)
      await pass(at, 1_000)
    }
    t.log(`${at.writes.count / 600} writes per pod`)
    t.true(at.writes.count / 600 < MOST_PER_POD, `${at.writes.count} writes`)
    await close(at)
  })

test('a pod on a quiet node is published within a second, and one more within some seconds', async t => {
  const at = await world(1)
  await come(t, at, 1)
  await pass(at, 1_000)
  t.deepEqual(await handles(at.fake), [aPod('p1').handle])
  await pass(at, 60_000)
  await come(t, at, 2)
  await pass(at, 1_000)
  t.is((await handles(at.fake)).length, 2)
  await come(t, at, 3)
  await pass(at, 10_000)
  t.is((await handles(at.fake)).length, 3)
  await close(at)
})

test('that pods have addresses of a block, and which the tunnels have, is published within a second', async t => {
  const at = await world(1)
  const [node] = at.nodes as [TestNode]
  for (let i = 0; i < 20; i++) await come(t, at, i)
  for (let i = 0; i < 20; i++) await go(at, i)
  await pass(at, 2_000)
  await converge(at.fake, node)
  t.deepEqual(await handles(at.fake), [])
  await come(t, at, 20)
  await pass(at, 1_000)
  t.is((await handles(at.fake)).length, 1)
  await node.allocator.assign(tunnelRequest('vxlan', 'n0'))
  await pass(at, 1_000)
  t.deepEqual(await behind(at.fake, node), [])
  await node.allocator.release(tunnelRequest('vxlan', 'n0').handle)
  await pass(at, 1_000)
  t.deepEqual(await behind(at.fake, node), [])
  await close(at)
})

test('when the last pod of a deleted pool goes, that is published at once, although its block stays for a tunnel', async t => {
  const at = await world(1)
  for (let i = 0; i < 5; i++) await come(t, at, i)
  await pass(at, 5_000)
  for (let i = 0; i < 4; i++) await go(at, i)
  await at.fake.delete('IPPool', 'p')
  await pass(at, 5_000)
  t.is((await at.fake.list('IPPool')).length, 1)
  await go(at, 4)
  await pass(at, 10_000)
  await t.throwsAsync(at.fake.get('IPPool', 'p'), { instanceOf: NotFound })
  await close(at)
})

test('what waits is published at once by a stop, and by the next start after an end without one', async t => {
  const at = await world(1)
  const [node] = at.nodes as [TestNode]
  for (let i = 0; i < 8; i++) await come(t, at, i)
  await pass(at, 1_000)
  for (let i = 8; i < 10; i++) await come(t, at, i)
  t.not((await behind(at.fake, node)).length, 0)
  await node.allocator.flush()
  t.deepEqual(await behind(at.fake, node), [])
  for (let i = 10; i < 12; i++) await come(t, at, i)
  const again = await node.restart()
  t.is((await handles(at.fake)).length, 10)
  await pass({ ...at, nodes: [again] }, 1_000)
  t.is((await handles(at.fake)).length, 12)
  t.deepEqual(await behind(at.fake, again), [])
  await again.close()
})

test('no change waits longer than two minutes, and no object says that a block has no pods while it has some', async t => {
  const step = fc.record({ pod: fc.integer({ min: 0, max: 20 }), waitMs: fc.constantFrom(0, 50, 500, 3_000, 20_000) })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async steps => {
      const at = await world(1)
      const [node] = at.nodes as [TestNode]
      const held = () => [...node.allocator.held().keys()].filter(handle => handle.startsWith('net.'))
      let publishedMs = node.clock.monotonicMs()
      for (const { pod, waitMs } of steps) {
        if (held().includes(aPod(`p${pod}`).handle)) await go(at, pod)
        else await come(t, at, pod)
        await pass(at, waitMs)
        const nowMs = node.clock.monotonicMs()
        if ((await behind(at.fake, node)).length === 0) publishedMs = nowMs
        t.true(nowMs - publishedMs <= 121_000 + waitMs)
        if (waitMs >= 500 && held().length > 0) t.not((await handles(at.fake)).length, 0)
      }
      await pass(at, 121_000)
      t.deepEqual(await behind(at.fake, node), [])
      t.deepEqual((await handles(at.fake)).sort(), held().sort())
      await close(at)
    }),
    { numRuns: 25 },
  )
})
