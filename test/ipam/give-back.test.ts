// Blocks that are empty and go back, while the API server does not take them, or must not be written.
import test from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { guardedStore } from '../../datastore/guarded.ts'
import { Conflict, Refused, type Store, Unreachable } from '../../datastore/port.ts'
import { tunnelRequest } from '../../ipam/tunnel.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

const PODS = Array.from({ length: 24 }, (_, i) => `p${i}`)

/** A node with 24 published pods in blocks of eight. */
async function aFullNode(fake: FakeStore, store: Store = fake, mayWrite?: () => boolean): Promise<TestNode> {
  await fake.create('IPPool', aPool('p', '10.0.0.0/24', 29))
  const node = aNode(store, 'n1', undefined, mayWrite)
  node.start()
  await converge(fake, node)
  await assignAll(fake, node)
  await node.allocator.flush()
  return node
}

/** How many of the pods get an address. */
async function assignAll(fake: FakeStore, node: TestNode): Promise<number> {
  let given = 0
  for (const name of PODS) {
    const answer = node.allocator.assign(aPod(name))
    await converge(fake, node)
    if (!('refused' in (await answer))) given++
  }
  return given
}

async function releaseAll({ allocator }: TestNode): Promise<void> {
  for (const name of PODS) await allocator.release(aPod(name).handle)
}

const handlesAt = async (store: Store) =>
  (await store.list('IPAMBlock')).flatMap(({ spec }) => spec.attributes.map(each => each.handle_id))

for (const [name, failure] of [
  ['cannot be reached', new Unreachable('away')],
  ['refuses it', new Refused(403, 'no')],
  ['has another version', new Conflict('changed')],
] as const)
  test(`a block whose give-back fails since the server ${name} comes back without the pods that ended`, async t => {
    const fake = createFakeStore()
    let isFailing = false
    const store: Store = {
      ...fake,
      delete: (kind, ...rest) => (isFailing ? Promise.reject(failure) : fake.delete(kind, ...rest)),
    }
    const node = await aFullNode(fake, store)
    isFailing = true
    await releaseAll(node)
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
    isFailing = false
    await converge(fake, node)
    t.deepEqual([...node.allocator.held().keys()], [])
    t.deepEqual(await handlesAt(fake), [])
    t.true(node.allocator.blocks().length <= 2, 'and they are given back in the end')
    t.is((await fake.list('IPAMBlock')).length, node.allocator.blocks().length)
    await node.close()
  })

test('while the datastore is locked a node keeps the blocks that its next pods need, and gives them back after the unlock', async t => {
  const fake = createFakeStore()
  let isLocked = false
  const store = guardedStore(fake, () => (isLocked ? 'locked' : undefined))
  const node = await aFullNode(fake, store, () => !isLocked)
  isLocked = true
  await releaseAll(node)
  await converge(fake, node)
  t.is(await assignAll(fake, node), PODS.length)
  await releaseAll(node)
  isLocked = false
  node.allocator.retryNow()
  await converge(fake, node)
  t.true(node.allocator.blocks().length <= 2, JSON.stringify(node.allocator.blocks()))
  t.deepEqual(await handlesAt(fake), [])
  await node.close()
})

test('while the API server is away a node keeps the blocks that its next pods need, and gives them back later', async t => {
  const fake = createFakeStore()
  const node = await aFullNode(fake)
  fake.disconnect()
  await releaseAll(node)
  await converge(fake, node)
  t.is(await assignAll(fake, node), PODS.length)
  await releaseAll(node)
  fake.reconnect()
  await converge(fake, node)
  t.true(node.allocator.blocks().length <= 2, JSON.stringify(node.allocator.blocks()))
  await node.close()
})

test('a pod that comes while the write is under way that says "no pods" is published at once: a deleted pool waits for it', async t => {
  const fake = createFakeStore()
  let gate: PromiseWithResolvers<void> | undefined
  let writes = 0
  const store: Store = {
    ...fake,
    update: async (kind, object) => {
      writes++
      await gate?.promise
      return fake.update(kind, object)
    },
  }
  await fake.create('IPPool', aPool('p', '10.0.0.0/24', 26))
  const node = aNode(store, 'n1')
  node.start()
  await converge(fake, node)
  await node.allocator.assign(tunnelRequest('ipip', 'n1'))
  // a node whose pods come and go publishes seldom
  for (let i = 0; i < 12; i++) {
    await node.allocator.assign(aPod(`p${i}`))
    await node.allocator.release(aPod(`p${i}`).handle)
  }
  await node.allocator.assign(aPod('last'))
  await converge(fake, node)
  const turn = async (ms: number) => {
    node.clock.advance(ms)
    for (let i = 0; i < 20; i++) await new Promise(setImmediate)
  }
  await node.allocator.release(aPod('last').handle)
  gate = Promise.withResolvers()
  const before = writes
  for (let s = 0; s < 130 && writes === before; s++) await turn(1_000)
  t.is(writes, before + 1, 'the write that says "no pods" is under way')
  await node.allocator.assign(aPod('next'))
  const { resolve } = gate
  gate = undefined
  resolve()
  await turn(0)
  t.false((await handlesAt(fake)).includes(aPod('next').handle))
  await turn(1_000)
  t.true((await handlesAt(fake)).includes(aPod('next').handle))
  await node.close()
})
