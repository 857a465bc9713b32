// What margay-controllers ask all nodes, as agents see it, over API servers with either form of Calico's objects.
import test from 'ava'
import { RECEIPT_ANNOTATION } from '../../api/policy-receipts.ts'
import { startApiServer } from '../../apiserver/server.ts'
import { ReusedAddresses } from '../../controllers/reused-addresses.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { openStore } from '../../datastore/kube.ts'
import type { Store } from '../../datastore/port.ts'
import { ManualClock, systemClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'
import { startStoredFormServer } from '../datastore/stored-form-server.ts'
import { until } from './programs.ts'

const RECEIPT = { worked: {}, enforced: [], failing: [] }

function aChore(store: Store, it: { known: boolean } = { known: true }) {
  const clock = new ManualClock()
  const lines: unknown[] = []
  let changes = 0
  const chore = new ReusedAddresses({
    ...{ store, clock, log: { ...silentLog, warn: (told: unknown) => void lines.push(told) } },
    known: () => it.known,
    changed: () => void changes++,
  })
  return { chore, clock, lines, changes: () => changes }
}

const anInformation = () =>
  aResource('ClusterInformation', {
    metadata: { name: 'default', annotations: { 'example.org/note': 'kept' } },
    spec: { clusterGUID: 'abc', datastoreReady: true },
  })

test('before all receipts are known, and before there is a ClusterInformation, nothing is asked', async t => {
  const store = createFakeStore()
  const it = { known: false }
  const { chore } = aChore(store, it)
  chore.take('n1', { ...RECEIPT, pods: '5', late: '5' })
  await store.create('ClusterInformation', anInformation())
  await chore.run()
  t.deepEqual((await store.get('ClusterInformation', 'default')).metadata.annotations, { 'example.org/note': 'kept' })
  it.known = true
  await store.delete('ClusterInformation', 'default')
  t.is(await chore.run(), 600_000)
})

test('the nodes that have not answered are told in the log once, and again when they are others', async t => {
  const store = createFakeStore()
  await store.create('ClusterInformation', anInformation())
  const { chore, clock, lines, changes } = aChore(store)
  for (const name of ['n1', 'n2', 'n3']) chore.take(name, { ...RECEIPT, pods: '5' })
  chore.take('n1', { ...RECEIPT, pods: '9', late: '9' })
  const before = changes()
  chore.take('n1', { ...RECEIPT, pods: '9', late: '9', enforced: ['other'] })
  t.is(changes(), before, 'what they say of policies does not matter here')
  clock.advance(await chore.run())
  for (let i = 0; i < 3; i++) {
    await chore.run()
    clock.advance(10_000)
  }
  t.deepEqual(chore.behind, ['n2', 'n3'])
  chore.take('n3', { ...RECEIPT, pods: '9' })
  await chore.run()
  chore.take('n2', { ...RECEIPT, pods: '9' })
  await chore.run()
  t.deepEqual(chore.behind, [])
  t.deepEqual(lines, [
    { nodes: ['n2', 'n3'], count: 2 },
    { nodes: ['n2'], count: 1 },
  ])
})

test('what is written names the version that it was made for: what another leader asked meanwhile stays, and has its time', async t => {
  const store = createFakeStore()
  await store.create('ClusterInformation', anInformation())
  const asked = async () =>
    (await store.get('ClusterInformation', 'default')).metadata.annotations?.['margay.io/PodsAsked']
  let isFirst = true
  const patch: Store['patch'] = async (kind, name, value) => {
    if (isFirst) await store.patch(kind, name, { metadata: { annotations: { 'margay.io/PodsAsked': '7' } } })
    isFirst = false
    return store.patch(kind, name, value)
  }
  const { chore, clock } = aChore({ ...store, patch })
  chore.take('n1', { ...RECEIPT, pods: '9', late: '9' })
  t.is(await chore.run(), chore.restMs)
  t.is(await asked(), '7')
  await chore.run()
  clock.advance(600_000)
  await chore.run()
  t.is(await asked(), '9')
})

for (const startServer of [startApiServer, startStoredFormServer])
  test(`what is asked and settled reaches the agents, and the rest of the object stays (${startServer.name})`, async t => {
    const server = await startServer()
    const store = openStore({ server: server.url, token: server.token })
    const caches = openCaches(store, { database: openDatabase(':memory:'), clock: systemClock, log: silentLog })
    t.teardown(async () => {
      caches.close()
      await store.close()
      await server.close()
    })
    const seen = caches.of('ClusterInformation')
    caches.start()
    await store.create('ClusterInformation', anInformation())
    const { chore } = aChore(store)
    chore.take('n1', { ...RECEIPT, pods: '9', late: '9' })
    await chore.run()
    const annotations = { [RECEIPT_ANNOTATION.podsAsked]: '9', [RECEIPT_ANNOTATION.podsSettled]: '9' }
    const now = await store.get('ClusterInformation', 'default')
    t.deepEqual(now.metadata.annotations, { ...annotations, 'example.org/note': 'kept' })
    t.like(now.spec, { clusterGUID: 'abc', datastoreReady: true })
    await until(
      async () => seen.get('default')?.metadata.annotations,
      found => found?.[RECEIPT_ANNOTATION.podsSettled] === '9',
    )
    t.deepEqual(seen.get('default')?.metadata.annotations, annotations)
  })
