// The HostEndpoints of Nodes over a fake API server, and over a real one.
import test from 'ava'
import { startApiServer } from '../../apiserver/server.ts'
import { HostEndpoints } from '../../controllers/host-endpoints.ts'
import { hostEndpointSettings } from '../../controllers/settings.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { guardedStore } from '../../datastore/guarded.ts'
import { openStore } from '../../datastore/kube.ts'
import { NotFound, Refused, type Store } from '../../datastore/port.ts'
import { silentLog } from '../../lib/log.ts'
import { startStoredFormServer } from '../datastore/stored-form-server.ts'
import { AUTO, aConfiguration, aHostEndpoint, aNodeAt, ENABLED, World } from './host-endpoint-world.ts'
import { until } from './programs.ts'

const namesIn = async (store: Store) => (await store.list('HostEndpoint')).map(({ metadata }) => metadata.name)

test('each Node gets its HostEndpoint, which follows its labels and addresses and goes with it', async t => {
  const store = createFakeStore()
  await store.create('Node', aNodeAt('n1', '192.0.2.1', { labels: { rack: 'a' } }))
  const world = new World(store, ENABLED)
  await world.pass(15)
  t.like(await store.get('HostEndpoint', 'n1-auto-hep'), {
    metadata: { labels: { rack: 'a', ...AUTO } },
    spec: { node: 'n1', interfaceName: '*', expectedIPs: ['192.0.2.1'], profiles: ['projectcalico-default-allow'] },
  })
  await store.create('Node', aNodeAt('n2', '192.0.2.2'))
  const annotations = { 'projectcalico.org/IPv4Address': '192.0.2.7/24' }
  await store.patch('Node', 'n1', { metadata: { labels: { rack: null, row: 'b' }, annotations } })
  await world.pass(5)
  t.deepEqual(await namesIn(store), ['n1-auto-hep', 'n2-auto-hep'])
  const changed = await store.get('HostEndpoint', 'n1-auto-hep')
  t.deepEqual(changed.metadata.labels, { row: 'b', ...AUTO })
  t.deepEqual((changed.spec as { expectedIPs: unknown }).expectedIPs, ['192.0.2.7', '192.0.2.1'])
  await store.delete('Node', 'n1')
  await world.pass(5)
  t.deepEqual(await namesIn(store), ['n2-auto-hep'])
  t.is(world.writes, 4)
  await world.close()
})

test('nothing is written where nothing changes: by heartbeats, in time, or after a restart', async t => {
  const store = createFakeStore()
  for (const i of [1, 2, 3]) await store.create('Node', aNodeAt(`n${i}`, `192.0.2.${i}`))
  const first = new World(store, ENABLED)
  await first.pass(15)
  t.is(first.writes, 3)
  for (let beat = 0; beat < 20; beat++) {
    await store.patch('Node', 'n1', { status: { conditions: [{ type: 'Ready', lastHeartbeatTime: `${beat}` }] } })
    await first.pass(1)
  }
  for (let hour = 0; hour < 3; hour++) {
    first.clock.advance(3_600_000)
    await first.pass(5)
  }
  t.is(first.writes, 3)
  await first.close()
  const second = new World(store, ENABLED)
  await second.pass(60)
  t.is(second.writes, 0)
  await second.close()
})

test('what somebody changes in one, and one that somebody deletes, is put back', async t => {
  const store = createFakeStore()
  await store.create('Node', aNodeAt('n1', '192.0.2.1'))
  const world = new World(store, ENABLED)
  await world.pass(15)
  const before = await store.get('HostEndpoint', 'n1-auto-hep')
  const ports = [{ name: 'ssh', port: 22, protocol: 'TCP' }]
  await store.patch('HostEndpoint', 'n1-auto-hep', { metadata: { labels: { a: 'b' } }, spec: { ports } })
  await world.pass(5)
  const after = await store.get('HostEndpoint', 'n1-auto-hep')
  t.deepEqual([after.spec, after.metadata.labels], [before.spec, before.metadata.labels])
  await store.delete('HostEndpoint', 'n1-auto-hep')
  await world.pass(5)
  t.deepEqual(await namesIn(store), ['n1-auto-hep'])
  await world.close()
})

test('Disabled deletes those with the label alone, and what nobody says deletes none', async t => {
  const store = createFakeStore()
  await store.create('Node', aNodeAt('n1', '192.0.2.1'))
  await store.create('HostEndpoint', aHostEndpoint('n1-eth0', { side: 'out' }))
  await store.create('HostEndpoint', aHostEndpoint('n1-other-tool', { 'projectcalico.org/created-by': 'somebody' }))
  await store.create('HostEndpoint', aHostEndpoint('n1-auto-hep', AUTO))
  const world = new World(store)
  await world.pass(60)
  t.is(world.writes, 0, 'there is no configuration, or nobody knows it')
  world.configure({})
  await world.pass(5)
  t.deepEqual(await namesIn(store), ['n1-eth0', 'n1-other-tool'])
  world.configure(ENABLED)
  await world.pass(15)
  t.deepEqual(await namesIn(store), ['n1-eth0', 'n1-other-tool', 'n1-auto-hep'])
  world.configure({ autoCreate: 'Disabled' })
  await world.pass(5)
  t.deepEqual(await namesIn(store), ['n1-eth0', 'n1-other-tool'])
  await world.close()
})

test('a HostEndpoint of that name without the label is neither changed nor deleted, and told until it goes or gets the label', async t => {
  const store = createFakeStore()
  await store.create('Node', aNodeAt('n1', '192.0.2.1'))
  await store.create('HostEndpoint', aHostEndpoint('n1-auto-hep', { owner: 'somebody' }))
  const before = await store.get('HostEndpoint', 'n1-auto-hep')
  const world = new World(store, ENABLED)
  await world.pass(120)
  t.deepEqual(await store.get('HostEndpoint', 'n1-auto-hep'), before)
  t.deepEqual(world.chore.unmade, [{ name: 'n1-auto-hep', node: 'n1', because: 'foreign' }])
  t.is(world.writes, 0)
  await store.delete('Node', 'n1')
  await store.create('Node', aNodeAt('n2', '192.0.2.2'))
  await world.pass(15)
  t.deepEqual(await store.get('HostEndpoint', 'n1-auto-hep'), before)
  await store.create('Node', aNodeAt('n1', '192.0.2.1'))
  await store.patch('HostEndpoint', 'n1-auto-hep', { metadata: { labels: AUTO } })
  await world.pass(15)
  t.deepEqual(world.chore.unmade, [])
  t.like(await store.get('HostEndpoint', 'n1-auto-hep'), { spec: { interfaceName: '*' } })
  await world.close()
})

test('a HostEndpoint whose Node an old watch does not show, but the API server does, stays', async t => {
  const store = createFakeStore()
  for (const name of ['n1', 'n2']) await store.create('Node', aNodeAt(name, '192.0.2.1'))
  await store.create('HostEndpoint', aHostEndpoint('n1-auto-hep', AUTO))
  const watch: Store['watch'] = (kind, handlers, options) => {
    if (kind !== 'Node') return store.watch(kind, handlers, options)
    return store.watch(kind, { ...handlers, event: event => handlers.event(without(event, 'n1')) }, options)
  }
  const world = new World({ ...store, watch }, ENABLED)
  await world.pass(60)
  t.deepEqual(await namesIn(store), ['n1-auto-hep', 'n2-auto-hep'])
  await store.delete('Node', 'n1')
  await world.pass(15)
  t.deepEqual(await namesIn(store), ['n2-auto-hep'])
  await world.close()
})

/** A `sync` that does not have the object. */
function without<E extends { type: string }>(event: E, name: string): E {
  if (!('items' in event)) return event
  const items = (event.items as { metadata: { name: string } }[]).filter(({ metadata }) => metadata.name !== name)
  return { ...event, items }
}

test('while the cluster has no Node at all, no HostEndpoint goes', async t => {
  const store = createFakeStore()
  await store.create('Node', aNodeAt('n1', '192.0.2.1'))
  const world = new World(store, ENABLED)
  await world.pass(15)
  await store.delete('Node', 'n1')
  await world.pass(60)
  t.deepEqual(await namesIn(store), ['n1-auto-hep'])
  await store.create('Node', aNodeAt('n2', '192.0.2.2'))
  await world.pass(15)
  t.deepEqual(await namesIn(store), ['n2-auto-hep'])
  await world.close()
})

test('one that the API server refuses is told and the others are made; a right that is missing fails the chore', async t => {
  const store = createFakeStore()
  for (const i of [1, 2]) await store.create('Node', aNodeAt(`n${i}`, `192.0.2.${i}`))
  let status = 422
  const create: Store['create'] = async (kind, object) => {
    if (kind === 'HostEndpoint' && (status === 403 || object.metadata.name === 'n1-auto-hep'))
      throw new Refused(status, 'not with me')
    return store.create(kind, object)
  }
  const world = new World({ ...store, create }, ENABLED)
  await world.pass(15)
  t.like(world.chore.unmade, [{ name: 'n1-auto-hep', because: 'refused' }])
  t.deepEqual(await namesIn(store), ['n2-auto-hep'])
  status = 403
  await world.pass(65)
  t.deepEqual(world.failures(), ['not with me'])
  await world.close()
})

test('a cluster that does not know the kind has nothing to delete', async t => {
  const store = createFakeStore()
  // biome-ignore lint/correctness/useYield: it rejects before the first page
  const pages: Store['pages'] = async function* () {
    throw new NotFound('the server has no hostendpoints')
  }
  const world = new World({ ...store, pages }, {})
  await world.pass(15)
  t.deepEqual(world.failures(), [])
  await world.close()
})

test('over a real API server, in both API groups of Calico, they are made and followed, and the next program has nothing to write', async t => {
  for (const startServer of [startApiServer, startStoredFormServer]) {
    const server = await startServer()
    const store = openStore({ server: server.url, token: server.token })
    const node = aNodeAt('n1', '192.0.2.1', { labels: { rack: 'a' } })
    await store.create('Node', node)
    const template = { generateName: 'in', interfaceCIDRs: ['192.0.2.0/24'], annotations: { 'example.org/a': 'b' } }
    const settings = hostEndpointSettings(aConfiguration({ ...ENABLED, templates: [template] }))
    const run = async (): Promise<number> => {
      let writes = 0
      const write = <T>(result: T): T => {
        writes++
        return result
      }
      const counted: Store = {
        ...guardedStore(store, () => undefined),
        create: (kind, object) => write(store.create(kind, object)),
        update: (kind, object) => write(store.update(kind, object)),
      }
      const changed = () => undefined
      const chore = new HostEndpoints({ store: counted, log: silentLog, settings: () => settings, changed })
      await until(
        () => chore.run(),
        pause => pause === 3_600_000,
      )
      chore.close()
      return writes
    }
    t.is(await run(), 2)
    t.is(await run(), 0)
    await store.patch('Node', 'n1', { metadata: { labels: { rack: 'b' } } })
    t.is(await run(), 2)
    const found = await store.get('HostEndpoint', 'n1-in-auto-hep')
    t.deepEqual(found.metadata.labels, { rack: 'b', ...AUTO })
    t.deepEqual(found.metadata.annotations, { 'example.org/a': 'b' })
    await store.close()
    await server.close()
  }
})
