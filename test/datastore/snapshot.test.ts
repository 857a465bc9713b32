import test from 'ava'
import { update } from '../../datastore/cas.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { Conflict } from '../../datastore/port.ts'
import { withSnapshot } from '../../datastore/snapshot.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { aBlock, aPool, Recorded } from './objects.ts'

test('a node that starts while its server is away knows what it knew, and the first sync replaces it', async t => {
  const [fake, db, clock] = [createFakeStore(), openDatabase(':memory:'), new ManualClock()]
  const before = withSnapshot(fake, db, clock)
  await fake.create('IPPool', aPool('a'))
  const first = new Recorded(before, 'IPPool')
  await fake.settled()
  await fake.create('IPPool', aPool('b'))
  await fake.delete('IPPool', 'a')
  await fake.settled()
  clock.advance(1000)
  first.watch.close()

  fake.disconnect()
  const after = withSnapshot(fake, db, clock)
  const second = new Recorded(after, 'IPPool')
  await fake.settled()
  t.deepEqual(second.lines(), ['sync b'])
  t.deepEqual(second.connections, [false])
  fake.reconnect()
  await fake.settled()
  t.deepEqual(second.lines(), ['sync b', 'sync b'])
})

test('without a memory nothing is said until the server answers', async t => {
  const fake = createFakeStore()
  fake.disconnect()
  const store = withSnapshot(fake, openDatabase(':memory:'), new ManualClock())
  const seen = new Recorded(store, 'IPPool')
  await fake.settled()
  t.deepEqual(seen.lines(), [])
  fake.reconnect()
  await fake.settled()
  t.deepEqual(seen.lines(), ['sync '])
})

test('many changes cost one write, and a close loses none of them', async t => {
  const [fake, db, clock] = [createFakeStore(), openDatabase(':memory:'), new ManualClock()]
  const store = withSnapshot(fake, db, clock)
  const seen = new Recorded(store, 'IPAMBlock')
  await fake.settled()
  for (let i = 0; i < 50; i++)
    await fake.create('IPAMBlock', aBlock(`10.0.${i}.0/31`, { sequenceNumber: 1_766_000_000_123_456_789n }))
  await fake.settled()
  const count = (): unknown => db.prepare('SELECT count(*) AS n FROM snapshot').get()?.['n']
  t.is(count(), 0)
  seen.watch.close()
  t.is(count(), 50)
  t.is(clock.pending, 0)
})

test('each selection is remembered by itself', async t => {
  const [fake, db, clock] = [createFakeStore(), openDatabase(':memory:'), new ManualClock()]
  const store = withSnapshot(fake, db, clock)
  await fake.create('IPPool', aPool('a', {}, { labels: { on: 'yes' } }))
  await fake.create('IPPool', aPool('b'))
  const all = new Recorded(store, 'IPPool')
  const some = new Recorded(store, 'IPPool', { labelSelector: 'on=yes' })
  await fake.settled()
  t.deepEqual([all.lines(), some.lines()], [['sync a,b'], ['sync a']])
  const rows = db.prepare('SELECT scope, count(*) AS n FROM snapshot GROUP BY scope ORDER BY n').all()
  t.deepEqual(
    rows.map(row => row['n']),
    [1, 2],
  )
})

test('a writer that always loses gives up after its attempts with Conflict', async t => {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('a'))
  let tries = 0
  const store = {
    ...fake,
    update: async () => {
      tries++
      throw new Conflict('lost')
    },
  }
  const change = update(store, 'IPPool', 'a', pool => ({ ...pool }), { attempts: 3 })
  await t.throwsAsync(change, { instanceOf: Conflict })
  t.is(tries, 3)
})

test('a change that returns undefined writes nothing', async t => {
  const fake = createFakeStore()
  const made = await fake.create('IPPool', aPool('a'))
  t.deepEqual(await update(fake, 'IPPool', 'a', () => undefined), made)
})

test('a full disk does not stop the watches, and what they saw is written when there is room again', async t => {
  const [fake, db, clock] = [createFakeStore(), openDatabase(':memory:'), new ManualClock()]
  const store = withSnapshot(fake, db, clock)
  db.exec('PRAGMA max_page_count = 1') // no lower than what is there: as full as it gets
  const name = 'p'.repeat(200)
  for (let i = 0; i < 60; i++) await fake.create('IPPool', aPool(`${name}${i}`))
  const seen = new Recorded(store, 'IPPool')
  await fake.settled()
  await fake.create('IPPool', aPool('late'))
  await fake.settled()
  t.notThrows(() => clock.advance(1000))
  t.is(seen.lines().length, 2)
  t.regex(seen.lines()[1]!, /late/)

  db.exec('PRAGMA max_page_count = 100000')
  clock.advance(10_000)
  seen.watch.close()
  fake.disconnect()
  const after = new Recorded(withSnapshot(fake, db, clock), 'IPPool')
  await fake.settled()
  t.regex(after.lines()[0]!, /^sync .*late/)
})
