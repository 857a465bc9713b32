// Blocks that the journal has and of which the API server does not say that they are this node's: they give no address until it is
// clear whose they are. A disk may be a copy of last week, and a block that somebody deletes may be another node's in a moment.
import test from 'ava'
import type { Resource } from '../../api/kinds.ts'
import { blockName } from '../../api/names.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { NotFound, type Store } from '../../datastore/port.ts'
import { emitBlock, emptyBlock } from '../../ipam/block.ts'
import type { Assigned } from '../../ipam/port.ts'
import { aNode, aPod, aPool, converge, convergeAll } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

async function aStore(): Promise<FakeStore> {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p', '10.0.0.0/24', 28))
  return store
}

/** The store as a node sees it, but for what `spoil` does. */
const spoilt = (store: FakeStore, spoil: Partial<Store>): Store => ({ ...store, ...spoil })

/** A node that had a block with one pod when it stopped. */
async function stopped(store: FakeStore) {
  const node = aNode(store, 'n1')
  node.start()
  await converge(store, node)
  const [assigned] = (await node.allocator.assign(aPod('a'))) as readonly Assigned[]
  await converge(store, node)
  await node.close()
  return { db: node.db, ...assigned! }
}

test('until the server has said which blocks are this node’s a pod waits, two seconds at the most', async t => {
  const store = await aStore()
  const { db, block } = await stopped(store)
  const silent = spoilt(store, {
    watch: (kind, handlers, options) =>
      kind === 'IPAMBlock' ? { close: () => undefined, hurry: () => undefined } : store.watch(kind, handlers, options),
  })
  const node = aNode(silent, 'n1', db)
  node.start()
  await store.settled()
  const waits = node.allocator.assign(aPod('b'))
  let isAnswered = false
  void waits.then(() => {
    isAnswered = true
  })
  node.clock.advance(1999)
  await store.settled()
  t.false(isAnswered)
  t.like(await node.allocator.assign(aPod('a')), [{ block }], 'what a pod has it is told at once')
  node.clock.advance(1)
  t.like(await waits, [{ block }])
  await node.close()
})

test('a server that is away keeps no pod waiting', async t => {
  const store = await aStore()
  const { db, block } = await stopped(store)
  store.disconnect()
  const node = aNode(store, 'n1', db)
  node.start()
  await store.settled()
  t.like(await node.allocator.assign(aPod('b')), [{ block }])
  await node.close()
})

test('a block that is gone at the server gives no address until it is made again, and its pod keeps its own', async t => {
  const store = await aStore()
  const { db, block, address } = await stopped(store)
  const gate = Promise.withResolvers<void>()
  const slow = spoilt(store, {
    create: async (kind, object) => {
      if (object.metadata.name === blockName(block)) await gate.promise
      return store.create(kind, object)
    },
  })
  const node = aNode(slow, 'n1', db)
  node.start()
  await converge(store, node)
  await store.delete('IPAMBlock', blockName(block))
  await store.settled()
  const [given] = (await node.allocator.assign(aPod('b'))) as readonly Assigned[]
  t.not(given!.block, block)
  gate.resolve()
  await converge(store, node)
  t.like(await node.allocator.assign(aPod('c')), [{ block }])
  t.like(await node.allocator.assign(aPod('a')), [{ address }])
})

test('what a server lacks that may not be written keeps no pod waiting', async t => {
  const store = await aStore()
  const { db, block } = await stopped(store)
  await store.delete('IPAMBlock', blockName(block))
  const node = aNode(store, 'n1', db, () => false)
  node.start()
  await store.settled()
  t.like(await node.allocator.assign(aPod('b')), [{ block }])
  await node.close()
})

test('a block that is gone at the server and lies across one of another node is not made again', async t => {
  const store = await aStore()
  const { db, block } = await stopped(store)
  await store.delete('IPAMBlock', blockName(block))
  const small = emptyBlock(block.replace('/28', '/30'), 1n)
  await store.create('IPAMBlock', emitBlock(small, { node: 'n2', epoch: 'other' }))
  const node = aNode(store, 'n1', db)
  node.start()
  await store.settled()
  node.clock.advance(1000)
  await store.settled()
  await t.throwsAsync(store.get('IPAMBlock', blockName(block)), { instanceOf: NotFound })
  t.like(
    node.allocator.conditions().find(({ type }) => type === 'BlocksOwned'),
    { reason: 'LostBlock', message: `${block} belongs to host:n2 now` },
  )
  await node.close()
})

test('an empty block is forgotten when the server lists it no more, and not when the server answers 404 to all about blocks', async t => {
  const store = await aStore()
  const { db, block } = await stopped(store)
  let isSick = false
  const sick = <T>(call: () => T): T => {
    if (isSick) throw new NotFound('sick')
    return call()
  }
  const node = aNode(
    spoilt(store, {
      get: async (kind, name, namespace) => sick(() => store.get(kind, name, namespace)),
      update: async (kind, object) => sick(() => store.update(kind, object)),
      create: async (kind, object) => sick(() => store.create(kind, object)),
      async *pages(kind, options) {
        yield* sick(() => store.pages(kind, options))
      },
    }),
    'n1',
    db,
  )
  node.start()
  await converge(store, node)
  isSick = true
  await node.allocator.release(aPod('a').handle)
  store.compact()
  await store.delete('IPAMBlock', blockName(block))
  for (let i = 0; i < 20; i++) {
    node.clock.advance(1000)
    await store.settled()
  }
  t.deepEqual(
    node.allocator.blocks().map(({ cidr }) => cidr),
    [block],
  )
  isSick = false
  await converge(store, node)
  t.is(node.allocator.blocks().length, 1, 'a block is there for the next pod')
  const [{ spec }] = (await store.list('IPAMBlock')) as [Resource<'IPAMBlock'>]
  t.is(spec.unallocated[0], 0, 'it is a new claim: in the old one the address that was released is the last')
})
