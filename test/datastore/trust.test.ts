// An API server that suddenly knows nothing is not believed.
import test from 'ava'
import { type Caches, openCaches } from '../../datastore/cache.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { guardedStore } from '../../datastore/guarded.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool, aResource } from './objects.ts'

const KINDS = ['Node', 'IPPool', 'BGPPeer', 'BGPConfiguration'] as const

/** A server of a cluster of three nodes. */
async function aServer(): Promise<FakeStore> {
  const fake = createFakeStore()
  await fake.create('Namespace', { metadata: { name: 'default' } })
  for (const name of ['n1', 'n2', 'n3']) await fake.create('Node', aNode(name))
  await fake.create('IPPool', aPool('a'))
  await fake.create('BGPConfiguration', aResource('BGPConfiguration', { metadata: { name: 'default' }, spec: {} }))
  return fake
}

async function aWorld(server: FakeStore, { acceptAfterMs }: { acceptAfterMs?: number } = {}) {
  const [database, clock] = [openDatabase(':memory:'), new ManualClock()]
  const open = async (at: FakeStore): Promise<Caches> => {
    const caches = openCaches(at, { database, clock, log: silentLog, self: 'n1', acceptAfterMs })
    for (const kind of KINDS) caches.of(kind)
    caches.start()
    await settled(at)
    return caches
  }
  return { clock, open, caches: await open(server) }
}

const settled = async (server: FakeStore) => {
  for (let i = 0; i < 5; i++) await server.settled()
}
const held = (caches: Caches) => KINDS.map(kind => caches.of(kind).size)

/** All of these are gone, and no watch heard of it. */
async function lose(server: FakeStore, ...objects: readonly (readonly [(typeof KINDS)[number], string])[]) {
  server.disconnect()
  server.reconnect()
  server.compact()
  await settled(server)
  server.forget(objects)
  await settled(server)
}

test('a server restored from nothing under a running agent takes nothing away, and says since when it is in doubt', async t => {
  const server = await aServer()
  const { caches, clock } = await aWorld(server)
  const everything = [
    ['Node', 'n1'],
    ['Node', 'n2'],
    ['Node', 'n3'],
    ['IPPool', 'a'],
    ['BGPConfiguration', 'default'],
  ] as const
  await lose(server, ...everything)
  t.deepEqual(held(caches), [3, 1, 0, 1], 'the settings too, though one list alone would have been believed')
  t.regex(caches.doubt!.reason, /lacks this node, n1|IPPools is empty/)
  const { sinceMs } = caches.doubt!
  clock.advance(60_000)
  await settled(server)
  t.is(caches.doubt?.sinceMs, sinceMs)
  caches.close()
})

test('when the server says again what fits, it is believed by itself, with what changed meanwhile', async t => {
  const server = await aServer()
  const { caches } = await aWorld(server)
  await lose(server, ['Node', 'n1'], ['Node', 'n2'])
  t.not(caches.doubt, undefined)
  await server.create('Node', aNode('n1'))
  await server.create('IPPool', aPool('b', { cidr: '10.9.0.0/16' }))
  await settled(server)
  t.is(caches.doubt, undefined)
  t.deepEqual(held(caches), [2, 2, 0, 1])
  caches.close()
})

test('half a list at a restart is held back, and the file keeps what was known', async t => {
  const server = await aServer()
  const { caches, clock, open } = await aWorld(server)
  clock.advance(20_000)
  caches.close()
  server.compact()
  server.forget([['IPPool', 'a']])
  const second = await open(server)
  t.deepEqual(held(second), [3, 1, 0, 1])
  t.true(
    KINDS.every(kind => second.of(kind).synced),
    'it works with what it knew',
  )
  clock.advance(20_000)
  second.close()
  const third = await open(server)
  t.deepEqual(held(third), [3, 1, 0, 1])
  t.not(third.doubt, undefined)
  third.close()
})

test('another cluster is not believed, whatever it has, until somebody confirms it', async t => {
  const { caches, clock, open } = await aWorld(await aServer())
  clock.advance(20_000)
  caches.close()
  const other = await aServer()
  await other.create('Node', aNode('n4'))
  const second = await open(other)
  t.regex(second.doubt!.reason, /another cluster/)
  t.is(second.of('Node').size, 3)
  await second.accept()
  t.is(second.doubt, undefined)
  t.is(second.of('Node').size, 4)
  clock.advance(20_000)
  second.close()
  const third = await open(other)
  t.is(third.doubt, undefined, 'it is remembered')
  t.is(third.of('Node').size, 4)
  third.close()
})

test('another server behind the same address is found when the connection is back', async t => {
  const server = await aServer()
  const { caches, clock } = await aWorld(server)
  await server.delete('Namespace', 'default')
  await server.create('Namespace', { metadata: { name: 'default' } })
  server.disconnect()
  await settled(server)
  server.reconnect()
  await settled(server)
  t.regex(caches.doubt!.reason, /another cluster/)
  clock.advance(10_000)
  await settled(server)
  t.not(caches.doubt, undefined)
  await caches.accept()
  t.is(caches.doubt, undefined)
  caches.close()
})

test('when one watch is connected again the others try at once, no more often than once a second', async t => {
  const server = await aServer()
  const [database, clock] = [openDatabase(':memory:'), new ManualClock()]
  let [hurried, identified] = [0, 0]
  const counted: FakeStore = {
    ...server,
    retryNow: () => void hurried++,
    get: (...args) => {
      identified++
      return server.get(...args)
    },
  }
  const caches = openCaches(counted, { database, clock, log: silentLog, self: 'n1' })
  for (const kind of KINDS) caches.of(kind)
  server.disconnect()
  caches.start()
  for (let i = 0; i < 8; i++) {
    await settled(server)
    clock.advance(10_000)
  }
  await settled(server)
  server.reconnect()
  const before = identified
  caches.retryNow()
  await settled(server)
  t.is(identified, before + 1, 'which server it is was asked at once')
  t.true(KINDS.every(kind => caches.of(kind).connected))
  hurried = 0
  for (let i = 0; i < 3; i++) {
    server.disconnect()
    await settled(server)
    server.reconnect()
    await settled(server)
  }
  t.true(hurried <= 1, `${hurried}`)
  clock.advance(1000)
  server.disconnect()
  await settled(server)
  server.reconnect()
  await settled(server)
  t.true(hurried >= 1)
  caches.close()
})

test('after the time that a person has set, what the server says is taken', async t => {
  const server = await aServer()
  const { caches, clock } = await aWorld(server, { acceptAfterMs: 3_600_000 })
  await lose(server, ['IPPool', 'a'])
  for (let i = 0; i < 359; i++) clock.advance(10_000)
  await settled(server)
  t.is(caches.of('IPPool').size, 1)
  clock.advance(10_000)
  await settled(server)
  t.is(caches.of('IPPool').size, 0)
  t.is(caches.doubt, undefined)
  caches.close()
})

test('a pool that a person deletes while the watch runs goes at once: that is no list', async t => {
  const server = await aServer()
  const { caches } = await aWorld(server)
  await server.delete('IPPool', 'a')
  await settled(server)
  t.is(caches.of('IPPool').size, 0)
  t.is(caches.doubt, undefined)
  caches.close()
})

test('to a server in doubt nothing is written, and its lists are no ground for a claim', async t => {
  const server = await aServer()
  let why: string | undefined = 'it is of another cluster'
  const store = guardedStore(server, () => why)
  const message = 'nothing is written to the API server: it is of another cluster'
  const node = await store.get('Node', 'n1')
  for (const call of [
    () => store.patch('Node', 'n1', {}),
    () => store.create('Node', aNode('n9')),
    () => store.update('Node', node),
    () => store.updateStatus('Node', node),
    () => store.delete('Node', 'n1'),
    () => store.list('Node'),
    () => Array.fromAsync(store.pages('Node')),
  ])
    await t.throwsAsync(call, { name: 'Unreachable', message })
  why = undefined
  t.is((await store.list('Node')).length, 3)
})
