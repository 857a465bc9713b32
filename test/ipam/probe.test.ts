import test from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import type { Assigned } from '../../ipam/port.ts'
import { probeRequest } from '../../ipam/probe.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

async function started(...pools: Parameters<typeof aPool>[]): Promise<{ store: FakeStore; node: TestNode }> {
  const store = createFakeStore()
  for (const args of pools) await store.create('IPPool', aPool(...args))
  const node = aNode(store, 'n1')
  node.start()
  await converge(store, node)
  return { store, node }
}

const request = probeRequest('n1', 'ipv4')

test('the address of probes is of a block that pods have addresses of, and is served and given back as any', async t => {
  const { store, node } = await started(['p', '10.0.0.0/24'])
  t.like(await node.allocator.assign(request), { refused: 'exhausted' })
  t.like(await node.allocator.assign(aPod('a')), { length: 1 })
  const [assigned] = (await node.allocator.assign(request)) as readonly Assigned[]
  t.deepEqual(await node.allocator.assign(request), [assigned], 'the same again')
  t.is(assigned!.block, node.allocator.blocks()[0]!.cidr)
  t.is(node.allocator.holder(request.handle)?.type, 'probeAddress')
  t.true(node.allocator.isServed(request))
  t.true(node.allocator.isAmongPods(request.handle))
  await node.allocator.release(aPod('a').handle)
  t.false(node.allocator.isAmongPods(request.handle))
  await converge(store, node)
  t.deepEqual(await node.allocator.release(request.handle), [assigned!.address])
  await converge(store, node)
})

test('no block is claimed for it, and none of fewer than sixteen addresses has one', async t => {
  const { store, node } = await started(['p', '10.0.0.0/24', 29])
  await node.allocator.assign(aPod('a'))
  await converge(store, node)
  const before = node.allocator.blocks().map(({ cidr }) => cidr)
  t.like(await node.allocator.assign(request), { refused: 'exhausted' })
  await converge(store, node)
  t.deepEqual(
    node.allocator.blocks().map(({ cidr }) => cidr),
    before,
  )
  await node.allocator.release(aPod('a').handle)
})

test('where all addresses are in use pods have them, and none is taken for it', async t => {
  const { node } = await started(['p', '10.0.0.0/28', 28])
  for (let i = 0; i < 16; i++) t.like(await node.allocator.assign(aPod(`pod${i}`)), { length: 1 })
  t.like(await node.allocator.assign(request), { refused: 'exhausted' })
  for (let i = 0; i < 16; i++) await node.allocator.release(aPod(`pod${i}`).handle)
})
