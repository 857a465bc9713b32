// Which of Calico's API groups a server has, and what is known of it after a restart.
import test from 'ava'
import type { ApiGroup } from '../../api/api-group.ts'
import { type Caches, openCaches } from '../../datastore/cache.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { GroupFinder } from '../../datastore/group-finder.ts'
import { NotFound, Refused, Unreachable } from '../../datastore/port.ts'
import { silentLog } from '../../lib/log.ts'
import { aPool } from './objects.ts'
import { aWorld } from './world.ts'

const list = (...names: string[]) => ({ kind: 'APIGroupList', groups: names.map(name => ({ name })) })

function finder(...answers: (object | Error)[]): { groups: GroupFinder; asked: () => number } {
  let asked = 0
  const ask = async () => {
    const answer = answers[Math.min(asked++, answers.length - 1)]
    if (answer instanceof Error) throw answer
    return answer
  }
  return { groups: new GroupFinder({ log: silentLog, ask }), asked: () => asked }
}

test('the server is asked once, however many want to know', async t => {
  const { groups, asked } = finder(list('apps', 'crd.projectcalico.org', 'projectcalico.org'))
  t.deepEqual(await Promise.all([groups.find(), groups.find('v3'), groups.find()]), ['v1', 'v1', 'v1'])
  t.is(await groups.find(), 'v1')
  t.is(asked(), 1)
})

test('without an answer no group is taken for the one: whoever asks hears why, and the server is asked again', async t => {
  const { groups, asked } = finder(
    new Unreachable('away'),
    new Refused(403, 'no'),
    { kind: 'Status' },
    list('apps'),
    list('projectcalico.org'),
  )
  await t.throwsAsync(groups.find(), { instanceOf: Unreachable, message: 'away' })
  await t.throwsAsync(groups.find(), { instanceOf: Refused })
  await t.throwsAsync(groups.find(), { instanceOf: Unreachable, message: /is this an API server/ })
  await t.throwsAsync(groups.find(), { instanceOf: NotFound, message: /apply the CRDs first/ })
  t.is(await groups.find(), 'v3')
  t.is(asked(), 5)
})

test('without an answer the group of the last start counts, for the whole run', async t => {
  const { groups, asked } = finder(new Refused(403, 'no'), list('projectcalico.org'))
  t.is(await groups.find('v1'), 'v1')
  t.is(await groups.find(), 'v1')
  t.is(asked(), 1)
})

test('a group that a person names is not asked about', async t => {
  const groups = new GroupFinder({ given: 'v1', log: silentLog, ask: () => Promise.reject(new Error('asked')) })
  t.is(await groups.find(), 'v1')
})

test('objects of another API group than that of the last run are listed, and believed only where they fit', async t => {
  const { fake, database, clock, asked, open } = aWorld()
  await fake.create('Namespace', { metadata: { name: 'default' } })
  await fake.create('IPPool', aPool('p1'))
  const run = async (apiGroup?: ApiGroup): Promise<readonly string[]> => {
    asked.length = 0
    const caches = apiGroup === undefined ? open() : openAs(apiGroup)
    const pools = caches.of('IPPool')
    caches.start()
    await fake.settled()
    const names = pools.all().map(({ metadata }) => metadata.name)
    clock.advance(20_000)
    caches.close()
    return names
  }
  const openAs = (apiGroup: ApiGroup): Caches => {
    const watch: FakeStore['watch'] = (kind, handlers, options) => {
      asked.push(`${kind} from ${options?.since === undefined ? 'the start' : 'a version'}`)
      return fake.watch(kind, handlers, options)
    }
    return openCaches({ ...fake, watch, apiGroup: async () => apiGroup }, { database, clock, log: silentLog })
  }
  t.deepEqual(await run(), ['p1'])
  t.deepEqual(await run('v3'), ['p1'])
  t.deepEqual(asked, ['IPPool from a version'])
  t.deepEqual(await run('v1'), ['p1'])
  t.deepEqual(asked, ['IPPool from the start'])
  t.deepEqual(await run('v1'), ['p1'])
  t.deepEqual(asked, ['IPPool from a version'])
  fake.forget([['IPPool', 'p1']])
  t.deepEqual(await run('v3'), ['p1'], 'a group without pools is not believed')
})

test('a doubt about the objects of another API group outlives restarts, and ends where the group is believed', async t => {
  const { fake: v3, database, clock } = aWorld()
  const v1 = createFakeStore()
  for (const store of [v3, v1]) await store.create('Namespace', { metadata: { name: 'default', uid: 'same' } })
  await v3.create('IPPool', aPool('live'))
  for (const name of ['a', 'b', 'c']) await v1.create('Tier', { metadata: { name }, spec: {} })
  const asked: string[] = []
  const run = async (fake: FakeStore, apiGroup: ApiGroup, look = async (_caches: Caches): Promise<void> => {}) => {
    asked.length = 0
    const watch: FakeStore['watch'] = (kind, handlers, options) => {
      asked.push(`${kind} from ${options?.since === undefined ? 'the start' : 'a version'}`)
      return fake.watch(kind, handlers, options)
    }
    const get: FakeStore['get'] = (...words) => (words[0] === 'Namespace' ? v3.get(...words) : fake.get(...words))
    const caches = openCaches(
      { ...fake, get, watch, apiGroup: async () => apiGroup },
      { database, clock, log: silentLog },
    )
    const pools = caches.of('IPPool')
    caches.start()
    await fake.settled()
    await v3.settled()
    caches.of('Tier')
    await fake.settled()
    await look(caches)
    clock.advance(20_000)
    await fake.settled()
    const state = [
      pools
        .all()
        .map(({ metadata }) => metadata.name)
        .join(),
      caches.doubt !== undefined,
      asked.join(),
    ]
    caches.close()
    return state
  }
  const [anew, on] = ['IPPool from the start,Tier from the start', 'IPPool from a version,Tier from a version']
  t.deepEqual(await run(v3, 'v3'), ['live', false, anew])
  for (let i = 0; i < 3; i++) t.deepEqual(await run(v1, 'v1'), ['live', true, anew], `start ${i}`)
  const mixed = 'IPPool from the start,Tier from a version'
  t.deepEqual(await run(v3, 'v3'), ['live', false, mixed], 'rows that were written meanwhile may be of both groups')
  t.deepEqual(await run(v3, 'v3'), ['live', false, on])
  t.deepEqual(await run(v1, 'v1', caches => caches.accept()), ['', false, anew])
  t.deepEqual(await run(v1, 'v1'), ['', false, on])
})

test('a server that does not tell its API groups has that of the last run', async t => {
  const { fake, database, clock, open } = aWorld()
  await fake.create('Namespace', { metadata: { name: 'default' } })
  const first = open()
  first.start()
  await fake.settled()
  first.close()
  const given: (ApiGroup | undefined)[] = []
  const apiGroup: FakeStore['apiGroup'] = async lastKnown => {
    given.push(lastKnown)
    if (lastKnown === undefined) throw new Unreachable('it does not tell')
    return lastKnown
  }
  const second = openCaches({ ...fake, apiGroup }, { database, clock, log: silentLog })
  second.of('Node')
  second.start()
  await fake.settled()
  t.deepEqual(given, ['v3'])
  t.true(second.of('Node').synced)
  second.close()
})
