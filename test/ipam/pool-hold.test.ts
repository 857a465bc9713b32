// Pools that are deleted, made again or edited while addresses of them are in use.
import test from 'ava'
import { POOL_FINALIZER } from '../../api/pools.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { Refused, type Store, Unreachable, type WatchEvent } from '../../datastore/port.ts'
import { releaseEmptyPool } from '../../ipam/pool-release.ts'
import type { Assigned, AssignRefusal } from '../../ipam/port.ts'
import { overlaps } from '../../lib/ip.ts'
import { type Log, silentLog } from '../../lib/log.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

async function aStore(...pools: ReturnType<typeof aPool>[]): Promise<FakeStore> {
  const store = createFakeStore()
  for (const pool of pools) await store.create('IPPool', pool)
  return store
}

async function started(store: Store & Pick<FakeStore, 'settled'>, name = 'n1'): Promise<TestNode> {
  const node = aNode(store, name)
  node.start()
  await converge(store, node)
  return node
}

const addressOf = (answer: readonly Assigned[] | AssignRefusal) =>
  'refused' in answer ? answer.message : answer[0]!.address

const poolNames = async (store: FakeStore) => (await store.list('IPPool')).map(({ metadata }) => metadata.name)
const blockNames = async (store: FakeStore) => (await store.list('IPAMBlock')).map(({ spec }) => spec.cidr)

test('a deleted pool stays while a pod has an address of it, gives no more, and goes with the last one', async t => {
  const store = await aStore(aPool('a', '10.0.0.0/24', 28))
  const node = await started(store)
  t.regex(addressOf(await node.allocator.assign(aPod('one'))), /^10\.0\.0\./)
  await converge(store, node)
  t.deepEqual((await store.get('IPPool', 'a')).metadata.finalizers, [POOL_FINALIZER])
  await store.delete('IPPool', 'a')
  await store.create('IPPool', aPool('b', '10.1.0.0/24', 28))
  await converge(store, node)
  t.deepEqual(await poolNames(store), ['a', 'b'])
  t.regex(addressOf(await node.allocator.assign(aPod('two'))), /^10\.1\.0\./)
  t.true(node.allocator.blocks().some(({ pool }) => pool === 'a'))
  await node.allocator.release(aPod('one').handle)
  await converge(store, node)
  t.deepEqual(await poolNames(store), ['b'])
  t.true((await blockNames(store)).every(cidr => cidr.startsWith('10.1.')))
})

test('a pool that is made over blocks of an earlier one stays too while a pod has an address of it', async t => {
  const fake = await aStore(aPool('a', '10.0.0.0/24', 28))
  let isAway = false
  let failed = 0
  const patch: FakeStore['patch'] = (kind, ...rest) => {
    if (kind !== 'IPPool' || !isAway) return fake.patch(kind, ...rest)
    failed++
    return Promise.reject(new Unreachable('away'))
  }
  const store = { ...fake, patch }
  const node = await started(store)
  const attributes = { node: 'n1', type: 'vxlanTunnelAddress' }
  await node.allocator.assign({ handle: 'vxlan-tunnel-addr-n1', attributes, families: ['ipv4'], use: 'Tunnel' })
  await converge(store, node)
  await store.delete('IPPool', 'a')
  await converge(store, node)
  t.deepEqual(await poolNames(fake), [], 'the block is left: the address of a tunnel is in it')
  isAway = true
  await store.create('IPPool', aPool('again', '10.0.0.0/24', 28))
  await converge(store, node)
  t.regex(addressOf(await node.allocator.assign(aPod('one'))), /^10\.0\.0\./)
  await converge(store, node)
  t.true(failed > 0)
  isAway = false
  await converge(store, node)
  t.deepEqual((await store.get('IPPool', 'again')).metadata.finalizers, [POOL_FINALIZER])
  await store.delete('IPPool', 'again')
  await converge(store, node)
  t.deepEqual(await poolNames(fake), ['again'])
  await node.allocator.release(aPod('one').handle)
  node.clock.advance(250)
  await fake.settled()
  await converge(store, node)
  t.deepEqual(await poolNames(fake), [])
})

test('a pool over blocks of an earlier one is held with the first pod, before it can run, and only then without a wait', async t => {
  const store = await aStore(aPool('a', '10.0.0.0/24', 28))
  const node = await started(store)
  const attributes = { node: 'n1', type: 'vxlanTunnelAddress' }
  await node.allocator.assign({ handle: 'vxlan-tunnel-addr-n1', attributes, families: ['ipv4'], use: 'Tunnel' })
  await converge(store, node)
  await store.delete('IPPool', 'a')
  await converge(store, node)
  await store.create('IPPool', aPool('again', '10.0.0.0/24', 28))
  await store.settled()
  const finalizers = async () => (await store.get('IPPool', 'again')).metadata.finalizers ?? []
  t.deepEqual(await finalizers(), [], 'the address of a tunnel holds no pool')
  for (const [name, held] of [
    ['one', [POOL_FINALIZER]],
    ['two', []],
  ] as const) {
    t.regex(addressOf(await node.allocator.assign(aPod(name))), /^10\.0\.0\./)
    node.clock.advance(0)
    await store.settled()
    t.deepEqual(await finalizers(), held, name)
    await store.patch('IPPool', 'again', { metadata: { finalizers: [] } })
    await store.settled()
  }
})

test('a pool whose finalizer somebody takes away again and again is held again, a second later at the soonest', async t => {
  const store = await aStore(aPool('a', '10.0.0.0/24', 28))
  const node = await started(store)
  await node.allocator.assign(aPod('one'))
  await converge(store, node)
  for (let turn = 0; turn < 3; turn++) {
    await store.patch('IPPool', 'a', { metadata: { finalizers: [] } })
    await store.settled()
    node.clock.advance(999)
    await store.settled()
    t.deepEqual((await store.get('IPPool', 'a')).metadata.finalizers ?? [], [])
    node.clock.advance(1001)
    await store.settled()
    t.deepEqual((await store.get('IPPool', 'a')).metadata.finalizers, [POOL_FINALIZER])
  }
})

test('an agent that has ended holds no pool any more, nor one whose hold failed while it ended', async t => {
  const fake = await aStore(aPool('a', '10.0.0.0/24', 28))
  const failed = Promise.withResolvers<never>()
  let asked = 0
  const get: FakeStore['get'] = (kind, ...rest) => {
    if (kind !== 'IPPool' || asked === 0) return fake.get(kind, ...rest)
    asked++
    return failed.promise
  }
  for (const underWay of [false, true]) {
    const node = await started({ ...fake, get })
    await node.allocator.assign(aPod('one'))
    await converge(fake, node)
    await fake.patch('IPPool', 'a', { metadata: { finalizers: [] } })
    await fake.settled()
    if (underWay) {
      asked = 1
      node.clock.advance(2000)
      await fake.settled()
      t.is(asked, 2)
    }
    await node.close()
    if (underWay) failed.reject(new Unreachable('away'))
    node.clock.advance(60_000)
    await fake.settled()
    node.clock.advance(60_000)
    await fake.settled()
    t.deepEqual((await fake.get('IPPool', 'a')).metadata.finalizers ?? [], [])
    t.is(asked, underWay ? 2 : 0)
  }
})

test('a pool that overlaps an older one is not held for the blocks of that one', async t => {
  const store = await aStore(aPool('a', '10.0.0.0/16', 28)) // of the same age the name decides
  const node = await started(store)
  await node.allocator.assign(aPod('one'))
  await converge(store, node)
  await store.create('IPPool', aPool('b', '10.0.0.0/15', 28))
  await converge(store, node)
  t.deepEqual((await store.get('IPPool', 'b')).metadata.finalizers ?? [], [])
  t.deepEqual((await store.get('IPPool', 'a')).metadata.finalizers, [POOL_FINALIZER])
})

test('a deleted pool goes when only tunnel addresses are left, and another finalizer of it stays', async t => {
  const pool = aPool('a', '10.0.0.0/24', 28)
  const store = await aStore({ ...pool, metadata: { ...pool.metadata, finalizers: ['example.com/other'] } })
  const node = await started(store)
  const attributes = { node: 'n1', type: 'vxlanTunnelAddress' }
  await node.allocator.assign({ handle: 'vxlan-tunnel-addr-n1', attributes, families: ['ipv4'], use: 'Tunnel' })
  await converge(store, node)
  await store.delete('IPPool', 'a')
  await converge(store, node)
  t.deepEqual((await store.get('IPPool', 'a')).metadata.finalizers, ['example.com/other'])
})

test('a pool that is deleted while a block is claimed from it leaves no block behind', async t => {
  const fake = await aStore()
  let deleteOnce = true
  const create: FakeStore['create'] = async (kind, object) => {
    const made = await fake.create(kind, object)
    if (kind === 'IPAMBlock' && deleteOnce) await fake.delete('IPPool', 'a')
    if (kind === 'IPAMBlock') deleteOnce = false
    return made
  }
  const store = { ...fake, create }
  const node = await started(store)
  await fake.create('IPPool', aPool('a', '10.0.0.0/24', 28))
  await converge(store, node)
  t.deepEqual(await blockNames(fake), [])
  t.deepEqual(await poolNames(fake), [])
  t.deepEqual(node.allocator.blocks(), [])
})

test('a node that has not heard of a pool of another block size claims nothing across the blocks of others', async t => {
  const fake = await aStore(aPool('a', '10.0.0.0/28', 30))
  let told = true
  const held: (() => void)[] = []
  const deaf: Store = {
    ...fake,
    watch: (kind, handlers, options) =>
      fake.watch(
        kind,
        {
          ...handlers,
          event: (event: WatchEvent<typeof kind>) => {
            if (told || kind !== 'IPPool') handlers.event(event)
            else held.push(() => handlers.event(event))
          },
        },
        options,
      ),
  }
  const late = aNode(deaf, 'late')
  late.start()
  await converge(fake, late)
  told = false
  for (const { cidr } of late.allocator.blocks()) t.true(cidr.endsWith('/30'))
  // by hand: the finalizer of the first pool is taken away
  const { resourceVersion } = (await fake.get('IPPool', 'a')).metadata
  await fake.patch('IPPool', 'a', { metadata: { resourceVersion, finalizers: [] } })
  await fake.delete('IPPool', 'a')
  await fake.create('IPPool', aPool('a', '10.0.0.0/28', 29))
  const other = await started(fake, 'other')
  for (let i = 0; i < 12; i++) {
    await late.allocator.assign(aPod(`l${i}`))
    await other.allocator.assign(aPod(`o${i}`))
    await converge(fake, late, other)
  }
  const blocks = await blockNames(fake)
  for (const [i, block] of blocks.entries())
    for (const next of blocks.slice(i + 1)) t.false(overlaps(block, next), `${block} ${next}`)
})

test('an address that is asked for by name gets no block across one of another size', async t => {
  const store = await aStore(aPool('a', '10.0.0.0/28', 30))
  const other = await started(store, 'other')
  const [block] = other.allocator.blocks()
  await other.allocator.assign(aPod('x'))
  await converge(store, other)
  await store.patch('IPPool', 'a', { spec: { blockSize: 28 } })
  const node = await started(store)
  const address = block!.cidr.split('/')[0]!.replace(/\d+$/, n => `${Number(n) + 3}`)
  const answer = await node.allocator.assign({ ...aPod('y'), addresses: [address] })
  t.like(answer, { refused: 'address-taken' })
})

test('a changed block size or CIDR of a pool in use changes nothing for its nodes', async t => {
  const store = await aStore(aPool('a', '10.0.0.0/26', 30))
  const node = await started(store)
  for (const spec of [{ blockSize: 28 }, { cidr: '10.9.0.0/26', blockSize: 30 }]) {
    await store.patch('IPPool', 'a', { spec })
    await converge(store, node)
    for (let i = 0; i < 6; i++)
      t.regex(addressOf(await node.allocator.assign(aPod(`${JSON.stringify(spec).length}-${i}`))), /^10\.0\.0\./)
    await converge(store, node)
    t.true((await blockNames(store)).every(cidr => /^10\.0\.0\.\d+\/30$/.test(cidr)))
  }
  t.true(node.allocator.blocks().every(({ pool }) => pool === 'a'))
})

test('a deleted pool goes within seconds after the API server can be read again', async t => {
  const fake = await aStore(aPool('a', '10.0.0.0/24', 28))
  let [away, asked] = [false, 0]
  const store: FakeStore = {
    ...fake,
    async *pages(kind, options) {
      if (kind === 'IPAMBlock' && away) {
        asked++
        throw new Unreachable('away')
      }
      yield* fake.pages(kind, options)
    },
  }
  const node = await started(store)
  await node.allocator.assign(aPod('one'))
  await node.allocator.release(aPod('one').handle)
  away = true
  await fake.delete('IPPool', 'a')
  const pass = async () => {
    node.clock.advance(5000)
    for (let i = 0; i < 10; i++) await fake.settled()
  }
  for (let i = 0; i < 4; i++) await pass()
  t.true(asked > 1)
  t.deepEqual(await poolNames(fake), ['a'])
  away = false
  for (let i = 0; i < 2; i++) await pass()
  t.deepEqual(await poolNames(fake), [])
})

test('a deleted pool that nobody could write about stays for a minute more, in which other nodes publish their pods', async t => {
  const fake = await aStore(aPool('a', '10.0.0.0/24', 28))
  let [writable, lists] = [true, 0]
  const store: FakeStore = {
    ...fake,
    async *pages(kind, options) {
      if (kind === 'IPAMBlock') lists++
      yield* fake.pages(kind, options)
    },
  }
  const node = aNode(store, 'n1', undefined, () => writable)
  node.start()
  await converge(store, node)
  await fake.patch('IPPool', 'a', { spec: { disabled: true } })
  await converge(store, node)
  t.deepEqual(node.allocator.blocks(), [])
  writable = false
  await fake.delete('IPPool', 'a')
  const before = lists
  const pass = async (seconds: number) => {
    for (let passed = 0; passed < seconds; passed++) {
      node.clock.advance(1000)
      await fake.settled()
    }
  }
  await pass(30)
  t.is(lists, before)
  writable = true
  node.allocator.retryNow()
  await pass(59)
  t.deepEqual(await poolNames(fake), ['a'])
  await pass(12)
  t.deepEqual(await poolNames(fake), [])
})

/** Whoever may not write pools. */
function readOnly(fake: FakeStore): FakeStore & { refused: number } {
  const store = {
    ...fake,
    refused: 0,
    patch: ((kind, ...rest) => {
      if (kind !== 'IPPool') return fake.patch(kind, ...rest)
      store.refused++
      return Promise.reject(new Refused(403, 'pools are not for you'))
    }) as FakeStore['patch'],
  }
  return store
}

test('who may not write pools claims from them all the same, and asks for a deleted one every ten minutes', async t => {
  const fake = await aStore(aPool('a', '10.0.0.0/24', 28))
  const store = readOnly(fake)
  const node = await started(store)
  t.regex(addressOf(await node.allocator.assign(aPod('one'))), /^10\.0\.0\./)
  await node.allocator.release(aPod('one').handle)
  await converge(store, node)
  await fake.patch('IPPool', 'a', { metadata: { finalizers: [POOL_FINALIZER] } })
  await fake.delete('IPPool', 'a')
  await converge(store, node)
  const before = store.refused
  t.true(before > 0)
  node.clock.advance(440_000)
  await fake.settled()
  t.is(store.refused, before)
  await converge(store, node)
  t.is(store.refused, before + 1)
  t.deepEqual(await poolNames(fake), ['a'])
})

test('a pool that may not be let go is told as refused, not as gone', async t => {
  const fake = await aStore(aPool('a', '10.0.0.0/24', 28))
  await fake.patch('IPPool', 'a', { metadata: { finalizers: [POOL_FINALIZER] } })
  await fake.delete('IPPool', 'a')
  const deleted = await fake.get('IPPool', 'a')
  const told: string[] = []
  const log = { ...silentLog, info: (_: object, message: string) => told.push(message) } as unknown as Log
  await t.throwsAsync(releaseEmptyPool(deleted, { store: readOnly(fake), log }), { name: 'Refused' })
  t.deepEqual(told, [])
  t.is(await releaseEmptyPool(deleted, { store: fake, log }), undefined)
  t.is(told.length, 1)
  // and one of the same name that was made since is another pool
  await fake.create('IPPool', {
    ...aPool('a', '10.0.0.0/24', 28),
    metadata: { name: 'a', finalizers: [POOL_FINALIZER] },
  })
  await releaseEmptyPool(deleted, { store: fake, log })
  t.deepEqual((await fake.get('IPPool', 'a')).metadata.finalizers, [POOL_FINALIZER])
  t.is(told.length, 1)
})
