import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { adoptEarlierEvents } from '../../../agent/recorder/earlier-events.ts'
import { recorded } from '../../../agent/recorder/query.ts'
import { Recorder } from '../../../agent/recorder/recorder.ts'
import type { Recorded } from '../../../api/changes.ts'
import type { EventRecord } from '../../../api/status.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { openDatabase } from '../../../lib/database.ts'
import { silentLog } from '../../../lib/log.ts'

function aFolder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'margay-recorder-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return join(path, 'recorder')
}

function aRecorder(t: ExecutionContext, folder = aFolder(t), clock = new ManualClock(0)) {
  const recorder = new Recorder({ nodeName: 'n1', folder, clock, log: silentLog })
  return { recorder, folder, clock, all: () => everything(recorder) }
}

const everything = async (recorder: Recorder, asked = {}): Promise<Recorded[]> =>
  Array.fromAsync(recorded(recorder, asked, recorder.seq))

const event = (name: string, message = ''): EventRecord => ({
  ...{ type: 'Healed', object: { kind: 'Link', name } },
  ...{ reason: 'Tested', message },
})
const route = (recorder: Recorder, name: string, type: 'Came' | 'Went' = 'Came') =>
  recorder.note(type, 'Route', 'learned', () => ({ name, text: 'via 192.0.2.1 dev eth0' }))

test('the newest events come first, with the object that each is about, and changes are none of them', t => {
  const { recorder, clock } = aRecorder(t)
  recorder.record(event('cali1', 'put back'))
  route(recorder, '10.0.0.0/24')
  clock.advance(1500)
  recorder.record({ ...event('web'), object: { kind: 'Pod', namespace: 'shop', name: 'web' } })
  t.deepEqual(recorder.last(10), [
    {
      ...{ at: '1970-01-01T00:00:01.500Z', type: 'Healed', reason: 'Tested', message: '' },
      object: { kind: 'Pod', name: 'web', namespace: 'shop' },
    },
    {
      ...{ at: '1970-01-01T00:00:00.000Z', type: 'Healed', reason: 'Tested', message: 'put back' },
      object: { kind: 'Link', name: 'cali1' },
    },
  ])
  t.is(recorder.last(1).length, 1)
  t.deepEqual([...recorder.counts], [['Healed', 2]])
})

test('records are one list in the order in which things happened, whatever the clock said, also over an end of the program', async t => {
  const { recorder, folder, clock } = aRecorder(t)
  clock.setWall(1_000_000)
  route(recorder, '10.0.0.0/24')
  clock.setWall(5000)
  recorder.record(event('cali1'))
  route(recorder, '10.0.0.0/24', 'Went')
  recorder.close()
  const next = aRecorder(t, folder, clock)
  clock.setWall(9_000_000)
  route(next.recorder, '10.0.1.0/24')
  const all = await next.all()
  t.deepEqual(
    all.map(({ seq, at, type, object: { name } }) => `${seq} ${at.slice(11, 19)} ${type} ${name}`),
    [
      '1 00:16:40 Came 10.0.0.0/24',
      '2 00:00:05 Healed cali1',
      '3 00:00:05 Went 10.0.0.0/24',
      '4 02:30:00 Came 10.0.1.0/24',
    ],
  )
  t.deepEqual(
    (await everything(next.recorder, { object: { kind: 'route', name: '10.0.0.0/24' } })).map(({ seq }) => seq),
    [1, 3],
  )
  t.deepEqual(
    (await everything(next.recorder, { sinceMs: 900_000 })).map(({ seq }) => seq),
    [1, 4],
  )
  next.recorder.close()
})

test('what waits is on disk 200 ms later', t => {
  const { recorder, folder, clock } = aRecorder(t)
  recorder.record(event('cali1'))
  t.deepEqual(readdirSync(folder), [])
  clock.advance(200)
  t.true(readFileSync(join(folder, 'events-00000001.seg'), 'latin1').includes('cali1'))
  t.is(statSync(join(folder, 'events-00000001.seg')).mode & 0o777, 0o600)
  recorder.close()
  t.is(clock.pending, 0)
})

test('what an earlier run did not write whole is cut off, and a file that is damaged at its head is left behind', async t => {
  const { recorder, folder } = aRecorder(t)
  recorder.record(event('a'))
  recorder.close()
  const path = join(folder, 'events-00000001.seg')
  const octets = statSync(path).size
  appendFileSync(path, readFileSync(path).subarray(8, -3))
  const second = aRecorder(t, folder)
  t.is(statSync(path).size, octets)
  second.recorder.record(event('b'))
  t.deepEqual(
    (await second.all()).map(({ seq, object }) => [seq, object.name]),
    [
      [1, 'a'],
      [2, 'b'],
    ],
  )
  second.recorder.close()
  writeFileSync(path, 'no record')
  const third = aRecorder(t, folder)
  third.recorder.record(event('c'))
  t.deepEqual(
    (await third.all()).map(({ object }) => object.name),
    ['c'],
  )
  t.is(readdirSync(folder).length, 2)
})

test('there are 64 MiB at the most, the oldest go, and a flood of changes takes no event along', async t => {
  const { recorder, folder, clock } = aRecorder(t)
  recorder.record(event('first'))
  const name = 'x'.repeat(400)
  for (let i = 0; i < 110_000; i++) {
    // each kind and cause has its own measure: time passes for it
    if (i % 1000 === 0) clock.advance(300_000)
    recorder.note('Came', 'Route', 'learned', () => ({ name, text: name }))
  }
  recorder.flush()
  const octets = readdirSync(folder).map(file => statSync(join(folder, file)).size)
  const sum = octets.reduce((a, b) => a + b, 0)
  t.true(sum <= 64 << 20 && sum > 50 << 20, `${sum}`)
  t.is(recorder.last(10).at(-1)?.object.name, 'first')
  const [first] = (await everything(recorder)).filter(({ type }) => type === 'Came')
  t.true(first!.seq > 1000)
})

test('of a million changes of one kind the first are kept, the others are one sum, and those of other kinds are kept', async t => {
  const { recorder, clock, all } = aRecorder(t)
  let texts = 0
  for (let i = 0; i < 1_000_000; i++)
    recorder.note(i % 2 === 0 ? 'Came' : 'Went', 'Route', 'learned', () => {
      texts++
      return { name: `${i}` }
    })
  recorder.note('Came', 'Route', 'foreign', () => ({ name: 'theirs', text: 'by ip (process 7)' }))
  recorder.note('Came', 'Link', 'kernel', () => ({ name: 'eth1' }))
  t.is(texts, 1000)
  clock.advance(10_000)
  const found = await all()
  t.is(found.length, 1003)
  const { type, object, reason, message } = found.at(-1)!
  t.deepEqual(
    { type, object, reason, message },
    {
      ...{ type: 'Summed', object: { kind: 'Route', name: '*' } },
      ...{ reason: 'learned', message: '499500 Came, 499500 Went' },
    },
  )
  t.deepEqual(
    (await everything(recorder, { object: { kind: 'Route', name: 'theirs' } })).map(({ type }) => type),
    ['Came', 'Summed'],
    'what is asked for may be in the sum',
  )
  recorder.close()
})

test('secrets that stand in a text are removed, whatever file it is in', t => {
  const { recorder, folder } = aRecorder(t)
  const planted = [
    'hunter2hunter2',
    'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl',
    'ghp_0123456789abcdef01234',
  ]
  recorder.record(event('a', `refused: password=${planted[0]} Authorization: Bearer ${planted[1]}`))
  recorder.note('Came', 'Route', 'foreign', () => ({ name: `token=${planted[2]}`, text: `"md5Key": "${planted[0]}"` }))
  recorder.close()
  for (const file of readdirSync(folder))
    for (const secret of planted) t.false(readFileSync(join(folder, file), 'latin1').includes(secret), secret)
})

test('a text is cut where it is too long for a record, whatever characters it has', t => {
  const { recorder } = aRecorder(t)
  recorder.record({ ...event('\u0000'.repeat(40_000), '\u0000'.repeat(40_000)), reason: '\u0000'.repeat(4000) })
  t.is(recorder.last(1).length, 1)
})

test('who follows hears of what is kept, sixteen of them at the most', t => {
  const { recorder } = aRecorder(t)
  const heard: string[] = []
  const following = recorder.follow(({ seq, type }) => heard.push(`${seq} ${type}`))!
  recorder.record(event('a'))
  route(recorder, '10.0.0.0/24')
  following.close()
  recorder.record(event('b'))
  t.deepEqual(heard, ['1 Healed', '2 Came'])
  for (let i = 0; i < 16; i++) t.truthy(recorder.follow(() => undefined))
  t.is(
    recorder.follow(() => undefined),
    undefined,
  )
})

test('events of an earlier version are taken over once, with their times', async t => {
  const db = openDatabase(':memory:')
  db.exec(`CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, type TEXT NOT NULL,
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL)`)
  const insert = db.prepare(
    "INSERT INTO event (at_ms, type, kind, namespace, name, reason, message) VALUES (?, 'Healed', 'Pod', 'shop', ?, 'Tested', '')",
  )
  for (let i = 0; i < 300; i++) insert.run(i * 1000, `p${i}`)
  const { recorder, folder, clock } = aRecorder(t)
  adoptEarlierEvents(db, recorder)
  t.deepEqual(
    recorder.last(1000).map(({ at, object }) => `${at} ${object.namespace}/${object.name}`)[1],
    '1970-01-01T00:04:58.000Z shop/p298',
  )
  t.is(recorder.last(1000).length, 300)
  t.is(db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'event'").get()?.['n'], 0)
  recorder.close()
  const next = aRecorder(t, folder, clock).recorder
  adoptEarlierEvents(db, next)
  t.is(next.last(1000).length, 300)
  t.is((await everything(next)).length, 300)
})
