// A node that gets no block: what is told, and when it asks again.
import test from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { Refused } from '../../datastore/port.ts'
import { aNode, aPod, aPool, converge } from './world.ts'

async function aRefusedNode() {
  const store = createFakeStore()
  let refusal: Error | undefined = new Refused(403, 'forbidden: create ipamblocks: no rule')
  let asked = 0
  const create: FakeStore['create'] = async (kind, object) => {
    if (kind === 'IPAMBlock') asked++
    if (kind === 'IPAMBlock' && refusal !== undefined) throw refusal
    return store.create(kind, object)
  }
  const node = aNode({ ...store, create } as FakeStore, 'n1')
  await store.create('IPPool', aPool('a', '10.0.0.0/30', 30))
  node.start()
  await converge(store, node)
  return {
    ...{ store, node },
    allow: () => {
      refusal = undefined
    },
    asked: () => asked,
    told: () => node.allocator.conditions().map(({ type, reason }) => `${type} ${reason}`),
    pass: async (ms: number) => {
      for (let i = 0; i < ms; i += 1000) {
        node.clock.advance(1000)
        for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate)
      }
    },
  }
}

test('a node that may create no block is not ready, says which right it lacks, asks seldom, and is cured by the right', async t => {
  const { node, told, pass, asked, allow } = await aRefusedNode()
  t.deepEqual(told(), ['PoolsUsable NoBlock'])
  const [condition] = node.allocator.conditions()
  t.regex(condition!.message, /no ipv4 block for this node: forbidden: create ipamblocks/)
  t.regex(condition!.remedy, /may create IPAMBlocks/)
  await pass(600_000)
  t.true(asked() > 5 && asked() < 30, `${asked()} in ten minutes`)
  allow()
  await pass(60_000)
  t.deepEqual(told(), [])
  await node.allocator.close()
  t.is(node.clock.pending, 0)
})

test('a pool that is added gives a node without addresses a block at once', async t => {
  const { store, node, told, pass, allow } = await aRefusedNode()
  allow()
  await pass(60_000)
  for (let i = 0; i < 4; i++) t.false('refused' in (await node.allocator.assign(aPod(`p${i}`))))
  await pass(1000)
  t.deepEqual(told(), ['AddressesLeft AllInUse'], 'the pods that run are served: the node stays ready')
  await store.create('IPPool', aPool('b', '10.1.0.0/24'))
  await pass(1000)
  t.deepEqual(told(), [])
  t.is(node.allocator.blocks().length, 2)
  await node.allocator.close()
})

test('an address that comes back ends the condition', async t => {
  const { node, told, pass, allow } = await aRefusedNode()
  allow()
  await pass(60_000)
  for (let i = 0; i < 4; i++) await node.allocator.assign(aPod(`p${i}`))
  await pass(1000)
  t.deepEqual(told(), ['AddressesLeft AllInUse'])
  await node.allocator.release(aPod('p0').handle)
  await pass(1000)
  t.deepEqual(told(), [])
  await node.allocator.close()
})
