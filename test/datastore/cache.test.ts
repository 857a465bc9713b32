import test from 'ava'
import fc from 'fast-check'
import { type Caches, openCaches } from '../../datastore/cache.ts'
import type { FakeStore } from '../../datastore/fake.ts'
import type { CacheChange } from '../../datastore/kind-cache.ts'
import { NotFound } from '../../datastore/port.ts'
import type { Clock, ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool, aResource } from './objects.ts'
import { aWorld } from './world.ts'

const names = (caches: Caches): string[] =>
  caches
    .of('Node')
    .all()
    .map(node => node.metadata.name)
const shown = ({ key, before, after }: CacheChange<'Node'>): string =>
  `${before === undefined ? '+' : after === undefined ? '-' : '~'}${key}`

test('a kind has one watch, however many ask for it', async t => {
  const { fake, asked, open } = aWorld()
  await fake.create('Node', aNode('a'))
  const caches = open()
  const [first, second] = [caches.of('Node'), caches.of('Node')]
  caches.start()
  await fake.settled()
  t.is(first, second)
  t.is(caches.of('Node').get('a')?.metadata.name, 'a')
  t.deepEqual(asked, ['Node from the start'])
  caches.of('IPPool')
  t.deepEqual(asked, ['Node from the start', 'IPPool from the start'])
  caches.close()
})

test('a heartbeat, which changes nothing that is used, is no change', async t => {
  const { fake, open } = aWorld()
  await fake.create('Node', aNode('a', { labels: { rack: '1' } }))
  const caches = open()
  const changes: string[] = []
  caches.of('Node').onChange(change => changes.push(shown(change)))
  caches.start()
  await fake.settled()
  const before = caches.of('Node').get('a')
  const status = { conditions: [{ type: 'Ready', at: '12:00' }], images: [{ names: ['x'] }] }
  await fake.patch('Node', 'a', { status }, { subresource: 'status' })
  await fake.patch('Node', 'a', { metadata: { annotations: { 'example.org/other': 'x' } } })
  await fake.settled()
  t.is(caches.of('Node').get('a'), before)
  await fake.patch('Node', 'a', { metadata: { labels: { rack: '2' } } })
  await fake.patch('Node', 'a', { metadata: { annotations: { 'projectcalico.org/ASNumber': '65001' } } })
  await fake.settled()
  t.deepEqual(changes, ['+a', '~a', '~a'])
  t.is(caches.of('Node').get('a')?.status, undefined)
  caches.close()
})

test('what controllers write into the status of a ClusterNetworkPolicy is no change for who enforces it', async t => {
  const { fake, open } = aWorld()
  const spec = { tier: 'Admin', priority: 10, subject: { namespaces: {} }, ingress: [] }
  await fake.create('ClusterNetworkPolicy', aResource('ClusterNetworkPolicy', { metadata: { name: 'deny' }, spec }))
  const caches = open()
  let changes = 0
  caches.of('ClusterNetworkPolicy').onChange(() => changes++)
  caches.start()
  await fake.settled()
  const before = caches.of('ClusterNetworkPolicy').get('deny')
  const status = { conditions: [{ type: 'Ready', status: 'True', reason: 'Enforced', message: '' }] }
  await fake.patch('ClusterNetworkPolicy', 'deny', { status }, { subresource: 'status' })
  await fake.settled()
  t.deepEqual([changes, caches.of('ClusterNetworkPolicy').get('deny') === before], [1, true])
  await fake.patch('ClusterNetworkPolicy', 'deny', { spec: { priority: 11 } })
  await fake.settled()
  t.is(changes, 2)
  caches.close()
})

test('all() is sorted by name, and the same array until something changes', async t => {
  const { fake, open } = aWorld()
  for (const name of ['b', 'a']) await fake.create('Node', aNode(name))
  const caches = open()
  caches.of('Node')
  caches.start()
  await fake.settled()
  const all = caches.of('Node').all()
  t.deepEqual(names(caches), ['a', 'b'])
  t.is(caches.of('Node').all(), all)
  await fake.create('Node', aNode('aa'))
  await fake.settled()
  t.deepEqual(names(caches), ['a', 'aa', 'b'])
  caches.close()
})

test('a restart goes on from the version of the last run, without a list', async t => {
  const { fake, clock, asked, open } = aWorld()
  for (const name of ['a', 'b']) await fake.create('Node', aNode(name))
  const first = open()
  first.of('Node')
  first.start()
  await fake.settled()
  clock.advance(1000)
  first.close()
  await fake.delete('Node', 'a')
  await fake.create('Node', aNode('c'))

  const second = open()
  const changes: string[] = []
  second.of('Node').onChange(change => changes.push(shown(change)))
  second.start()
  t.deepEqual(names(second), ['a', 'b'])
  t.false(second.of('Node').synced)
  await fake.settled()
  t.true(second.of('Node').synced)
  t.deepEqual(names(second), ['b', 'c'])
  t.deepEqual(changes, ['+a', '+b', '-a', '+c'])
  t.deepEqual(asked, ['Node from the start', 'Node from 2'])
  second.close()
})

test('a version that the server no longer has leads to a list, which is taken by difference', async t => {
  const { fake, open } = aWorld()
  for (const name of ['a', 'b']) await fake.create('Node', aNode(name))
  const first = open()
  first.of('Node')
  first.start()
  await fake.settled()
  first.close()
  await fake.delete('Node', 'a')
  fake.compact()

  const second = open()
  const changes: string[] = []
  second.start()
  second.of('Node').onChange(change => changes.push(shown(change)))
  await fake.settled()
  t.deepEqual(changes, ['-a'])
  t.true(second.of('Node').synced)
  second.close()
})

test('a node that starts while its server is away works with what it knew, and goes on from there', async t => {
  const { fake, clock, open } = aWorld()
  await fake.create('Node', aNode('a'))
  const first = open()
  first.of('Node')
  first.start()
  await fake.settled()
  first.close()
  fake.disconnect()

  const second = open()
  const states: string[] = []
  const cache = second.of('Node')
  second.start()
  cache.onState(() => states.push(`synced ${cache.synced}, connected ${cache.connected}`))
  await fake.settled()
  t.deepEqual(names(second), ['a'])
  t.deepEqual(states, ['synced true, connected false'])
  fake.reconnect()
  await fake.create('Node', aNode('b'))
  clock.advance(10_000)
  await fake.settled()
  t.deepEqual(names(second), ['a', 'b'])
  t.deepEqual(states, ['synced true, connected false', 'synced true, connected true'])
  second.close()
})

test('without a last run nothing is in sync until the server answers', async t => {
  const { fake, clock, open } = aWorld()
  fake.disconnect()
  const caches = open()
  caches.of('Node')
  caches.start()
  await fake.settled()
  t.false(caches.of('Node').synced)
  fake.reconnect()
  clock.advance(10_000)
  await fake.settled()
  t.true(caches.of('Node').synced)
  caches.close()
})

test('a server that does not answer in time is taken for away, until it answers', async t => {
  const { fake, database, clock } = aWorld()
  await fake.create('Node', aNode('a'))
  const open = (get: FakeStore['get']): Caches => openCaches({ ...fake, get }, { database, clock, log: silentLog })
  const first = open(fake.get)
  first.of('Node')
  first.start()
  await fake.settled()
  first.close()
  const answer = Promise.withResolvers<never>()
  const second = open(() => answer.promise)
  second.of('Node')
  second.start()
  clock.advance(1999)
  t.deepEqual([second.of('Node').known, second.of('Node').synced], [true, false])
  clock.advance(1)
  t.deepEqual([second.of('Node').synced, second.of('Node').connected], [true, false])
  answer.reject(new NotFound('no namespaces here'))
  await fake.settled()
  t.true(second.of('Node').connected)
  second.close()
})

test('what another server said is not resumed, though its versions look the same', async t => {
  const old = aWorld()
  await old.fake.create('Namespace', { metadata: { name: 'default' } })
  for (const name of ['a', 'b']) await old.fake.create('Node', aNode(name))
  const first = old.open()
  first.of('Node')
  first.start()
  await old.fake.settled()
  first.close()

  const { fake, clock } = aWorld()
  await fake.create('Namespace', { metadata: { name: 'default' } })
  for (const name of ['x', 'b', 'y']) await fake.create('Node', aNode(name))
  const open = (): Caches => openCaches(fake, { database: old.database, clock, log: silentLog })
  const second = open()
  second.of('Node')
  second.start()
  await fake.settled()
  t.deepEqual(names(second), ['a', 'b'], 'nor believed')
  await second.accept()
  t.deepEqual(names(second), ['b', 'x', 'y'])
  second.close()
  const third = open()
  third.start()
  t.deepEqual(names(third), ['b', 'x', 'y'])
  third.close()
})

test('a change writes its own row, and a long list is written in slices', async t => {
  const { fake, clock, database, open } = aWorld()
  const written: number[] = []
  for (let i = 0; i < 1100; i++) await fake.create('Node', aNode(`n${i}`))
  const caches = open()
  caches.of('Node')
  caches.start()
  await fake.settled()
  const rows = (): number => Number(database.prepare('SELECT count(*) AS n FROM cached_objects').get()?.['n'])
  const versions = (): number => database.prepare('SELECT version FROM cached_versions').all().length
  for (const pauseMs of [1000, 20, 20]) {
    t.is(versions(), 0)
    clock.advance(pauseMs)
    written.push(rows())
  }
  t.deepEqual(written, [500, 1000, 1100])
  t.is(versions(), 1)

  database.exec('CREATE TEMP TABLE writes (object TEXT)')
  database.exec(
    'CREATE TEMP TRIGGER seen AFTER INSERT ON main.cached_objects BEGIN INSERT INTO writes VALUES (new.object); END',
  )
  await fake.patch('Node', 'n7', { metadata: { labels: { a: 'b' } } })
  await fake.settled()
  clock.advance(1000)
  t.deepEqual(
    database
      .prepare('SELECT object FROM writes')
      .all()
      .map(row => row['object']),
    ['n7'],
  )
  caches.close()
  t.is(clock.pending, 0)
})

test('a full disk does not stop the watch, and what it saw is written when there is room again', async t => {
  const { fake, clock, database, open } = aWorld()
  const caches = open()
  caches.of('IPPool')
  caches.start()
  await fake.settled()
  database.exec('PRAGMA max_page_count = 1') // no lower than what is there: as full as it gets
  for (let i = 0; i < 60; i++) await fake.create('IPPool', aPool(`${'p'.repeat(200)}${i}`))
  await fake.settled()
  t.notThrows(() => clock.advance(1000))
  t.is(caches.of('IPPool').size, 60)
  database.exec('PRAGMA max_page_count = 100000')
  clock.advance(10_000)
  fake.disconnect()
  const again = open()
  again.start()
  t.is(again.of('IPPool').size, 60)
  again.close()
  caches.close()
})

const clockOf = (clock: ManualClock): Pick<Clock, 'monotonicMs' | 'wallMs'> => ({
  monotonicMs: () => clock.monotonicMs(),
  wallMs: () => clock.wallMs(),
})

type Step =
  | 'create'
  | 'change'
  | 'beat'
  | 'delete'
  | 'disconnect'
  | 'reconnect'
  | 'compact'
  | 'crash'
  | 'restart'
  | 'wait'
const steps = fc.array(
  fc.tuple(
    fc.constantFrom<Step>(
      'create',
      'change',
      'beat',
      'delete',
      'disconnect',
      'reconnect',
      'compact',
      'crash',
      'restart',
      'wait',
    ),
    fc.integer({ min: 0, max: 4 }),
  ),
  { maxLength: 30 },
)

test('after any walk of changes, gaps, crashes and restarts the cache says what the server says', async t => {
  await fc.assert(
    fc.asyncProperty(steps, async walk => {
      const { fake, clock, database } = aWorld()
      let mirror = new Map<string, unknown>()
      let kill = (): void => {}
      const begin = (): Caches => {
        // a process that was killed hears nothing more and writes nothing more
        let alive = true
        kill = () => (alive = false)
        const own: Clock = { ...clockOf(clock), after: (delayMs, fire) => clock.after(delayMs, () => alive && fire()) }
        const watch: FakeStore['watch'] = (kind, handlers, options) =>
          fake.watch(
            kind,
            {
              event: event => alive && handlers.event(event),
              version: version => alive && handlers.version?.(version),
              connection: state => alive && handlers.connection?.(state),
            },
            options,
          )
        const caches = openCaches({ ...fake, watch }, { database, clock: own, log: silentLog })
        const seen = new Map<string, unknown>()
        mirror = seen
        caches.of('Node').onChange(({ key, before, after }) => {
          if (seen.get(key) !== before) throw new Error(`${key}: the change begins at another value`)
          if (after === undefined) seen.delete(key)
          else seen.set(key, after)
        })
        caches.start()
        return caches
      }
      let caches = begin()
      for (const [index, [step, n]] of walk.entries()) {
        const name = `n${n}`
        const doing = {
          create: () => fake.create('Node', aNode(name)),
          change: () => fake.patch('Node', name, { metadata: { labels: { at: String(index) } } }),
          beat: () => fake.patch('Node', name, { status: { conditions: [{ at: index }] } }, { subresource: 'status' }),
          delete: () => fake.delete('Node', name),
          disconnect: async () => fake.disconnect(),
          reconnect: async () => fake.reconnect(),
          compact: async () => fake.compact(),
          crash: async () => {
            kill()
            caches = begin()
          },
          restart: async () => {
            caches.close()
            caches = begin()
          },
          wait: async () => clock.advance(1000),
        }[step]
        await doing().catch(() => undefined) // a name that is taken or not there, or a server that is away
        await fake.settled()
      }
      fake.reconnect()
      clock.advance(10_000)
      await fake.settled()
      await fake.settled()
      const wanted = (await fake.list('Node')).map(({ metadata }) => [metadata.name, metadata.labels?.['at']]).sort()
      const has = caches
        .of('Node')
        .all()
        .map(({ metadata }) => [metadata.name, metadata.labels?.['at']])
      t.deepEqual(has, wanted)
      t.deepEqual(
        [...mirror.keys()].sort(),
        wanted.map(([name]) => name),
      )
      t.true(caches.of('Node').synced && caches.of('Node').connected)
      caches.close()
    }),
    { numRuns: 150 },
  )
})
