// The HostEndpoints of Nodes over a fake API server.
import test from 'ava'
import fc from 'fast-check'
import type { Resource } from '../../api/kinds.ts'
import { Chores } from '../../controllers/chores.ts'
import { HostEndpoints } from '../../controllers/host-endpoints.ts'
import { hostEndpointSettings } from '../../controllers/settings.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { NotFound, Refused, type Store } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aResource } from '../datastore/objects.ts'
import { Line } from './world.ts'

const AUTO = { 'projectcalico.org/created-by': 'calico-kube-controllers' }
const ENABLED = { autoCreate: 'Enabled' }

function aConfiguration(hostEndpoint: object): Resource<'KubeControllersConfiguration'> {
  const spec = { controllers: { node: { hostEndpoint } } }
  return aResource('KubeControllersConfiguration', { metadata: { name: 'default' }, spec })
}

function aHostEndpoint(name: string, labels: object, spec: object = {}): Resource<'HostEndpoint'> {
  return aResource('HostEndpoint', { metadata: { name, labels }, spec: { node: 'n1', interfaceName: 'eth0', ...spec } })
}

function aNodeAt(name: string, address: string, metadata: object = {}): Resource<'Node'> {
  return { ...aNode(name, metadata), status: { addresses: [{ type: 'InternalIP', address }] } }
}

/** The chore alone, with what it writes counted. */
class World {
  readonly clock = new ManualClock()
  readonly line: Line
  readonly chore: HostEndpoints
  readonly #chores: Chores
  #configuration: Resource<'KubeControllersConfiguration'> | undefined
  writes = 0

  constructor(store: FakeStore, hostEndpoint?: object) {
    this.line = new Line(store)
    const inner = this.line.store
    const counted: Store = {
      ...inner,
      create: (kind, object) => this.#counted(() => inner.create(kind, object)),
      update: (kind, object) => this.#counted(() => inner.update(kind, object)),
      delete: (kind, name, options) => this.#counted(() => inner.delete(kind, name, options)),
    }
    this.chore = new HostEndpoints({
      ...{ store: counted, log: silentLog },
      settings: () => this.#configuration && hostEndpointSettings(this.#configuration),
      changed: () => this.#chores.hurry(this.chore.name),
    })
    this.#chores = new Chores([this.chore], { clock: this.clock, log: silentLog })
    if (hostEndpoint !== undefined) this.#configuration = aConfiguration(hostEndpoint)
    this.#chores.lead(true)
  }

  async #counted<T>(write: () => Promise<T>): Promise<T> {
    this.writes++
    return write()
  }

  configure(hostEndpoint: object | undefined): void {
    this.#configuration = hostEndpoint && aConfiguration(hostEndpoint)
    this.#chores.hurry(this.chore.name)
  }

  failures(): string[] {
    return this.#chores.failures().map(({ error }) => error.message)
  }

  async pass(seconds: number): Promise<void> {
    for (let i = 0; i < seconds; i++) {
      this.clock.advance(1_000)
      for (let turn = 0; turn < 8; turn++) await new Promise(setImmediate)
    }
  }

  async close(): Promise<void> {
    this.chore.close()
    await this.#chores.close()
  }
}

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

const NODES = ['n1', 'n1-x', 'n2'] as const
const TEMPLATES = [
  [],
  [{ generateName: 'x', interfaceCIDRs: ['192.0.2.0/24'] }],
  [{ generateName: 'x', nodeSelector: "rack == 'a'", interfaceCIDRs: ['192.0.2.1', '198.51.100.0/24'] }, {}],
] as const

type Op =
  | { do: 'put'; node: (typeof NODES)[number]; address: string; rack: string }
  | { do: 'remove'; node: (typeof NODES)[number] }
  | { do: 'configure'; hostEndpoint: object }
  | { do: 'spoil' | 'restart' }
  | { do: 'cut' | 'join' }
  | { do: 'wait'; seconds: number }

const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      ...{ do: fc.constant('put' as const), node: fc.constantFrom(...NODES), rack: fc.constantFrom('a', 'b') },
      address: fc.constantFrom('192.0.2.1', '192.0.2.2', '198.51.100.1'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), node: fc.constantFrom(...NODES) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('configure' as const),
      hostEndpoint: fc.record({
        autoCreate: fc.constantFrom('Enabled', 'Enabled', 'Disabled'),
        createDefaultHostEndpoint: fc.constantFrom('Enabled', 'Disabled'),
        templates: fc.constantFrom(...TEMPLATES),
      }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('spoil' as const, 'restart' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('cut' as const, 'join' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 0, max: 4 }) }) },
)

/** What the objects say, without what the server gives them. */
async function told(store: Store): Promise<unknown[]> {
  const all = await store.list('HostEndpoint')
  return all
    .map(({ metadata: { name, labels, annotations = {} }, spec }) => ({ name, labels, annotations, spec }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

test('whatever the order in which Nodes and configuration change, in the end the objects are those of a program that sees the end alone', async t => {
  let made = 0
  await fc.assert(
    fc.asyncProperty(fc.array(op, { minLength: 5, maxLength: 30 }), async history => {
      const store = createFakeStore()
      await store.create('Node', aNodeAt('n9', '203.0.113.9'))
      await store.create('HostEndpoint', aHostEndpoint('n2-auto-hep', { owner: 'somebody' }))
      let hostEndpoint: object = ENABLED
      let world = new World(store, hostEndpoint)
      for (const step of history)
        switch (step.do) {
          case 'put': {
            const node = aNodeAt(step.node, step.address, { labels: { rack: step.rack } })
            const isNew = (await store.get('Node', step.node).catch(() => undefined)) === undefined
            await (isNew ? store.create('Node', node) : store.update('Node', node))
            break
          }
          case 'remove':
            await store.delete('Node', step.node).catch(() => undefined)
            break
          case 'configure':
            hostEndpoint = step.hostEndpoint
            world.configure(hostEndpoint)
            break
          case 'spoil': {
            const [first] = (await store.list('HostEndpoint')).filter(({ metadata }) => metadata.labels?.['rack'])
            if (first === undefined) break
            const spoiled = { ...first, metadata: { ...first.metadata, annotations: { a: 'b' } }, spec: { node: 'n9' } }
            await store.update('HostEndpoint', spoiled as typeof first)
            break
          }
          case 'restart':
            world.line.end()
            await world.close()
            world = new World(store, hostEndpoint)
            break
          case 'cut':
          case 'join':
            world.line.set(step.do === 'cut' ? 'cut' : 'whole')
            break
          case 'wait':
            await world.pass(step.seconds)
        }
      world.line.set('whole')
      await world.pass(130)
      const { writes } = world
      await world.pass(70)
      if (world.writes !== writes) throw new Error('it writes although nothing changes')
      await world.close()
      const fresh = createFakeStore()
      await fresh.create('HostEndpoint', aHostEndpoint('n2-auto-hep', { owner: 'somebody' }))
      for (const { metadata, ...rest } of (await store.list('Node')).toReversed()) {
        const { name, labels } = metadata
        await fresh.create('Node', { ...rest, metadata: { name, ...(labels && { labels }) } })
      }
      const other = new World(fresh, hostEndpoint)
      await other.pass(15)
      await other.close()
      const [ours, right] = [await told(store), await told(fresh)]
      made += right.length - 1
      t.deepEqual(ours, right)
    }),
    { numRuns: Number(process.env['MARGAY_RUNS'] ?? 40), endOnFailure: true },
  )
  t.true(made > 0)
})
