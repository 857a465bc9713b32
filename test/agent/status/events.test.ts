import test from 'ava'
import { EventRing } from '../../../agent/status/events.ts'
import type { EventRecord } from '../../../api/status.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { openDatabase } from '../../../lib/database.ts'
import { silentLog } from '../../../lib/log.ts'

const about = (type: EventRecord['type'], name: string, message = ''): EventRecord => ({
  type,
  object: { kind: 'Link', name },
  reason: 'Tested',
  message,
})

test('the newest events come first, with the object that each is about', t => {
  const clock = new ManualClock(0)
  const ring = new EventRing(openDatabase(':memory:'), clock, silentLog)
  ring.record(about('Healed', 'cali1', 'put back'))
  clock.advance(1500)
  ring.record({ ...about('Healed', 'web'), object: { kind: 'Pod', namespace: 'shop', name: 'web' } })
  t.deepEqual(ring.last(10), [
    {
      at: '1970-01-01T00:00:01.500Z',
      type: 'Healed',
      object: { kind: 'Pod', name: 'web', namespace: 'shop' },
      reason: 'Tested',
      message: '',
    },
    {
      at: '1970-01-01T00:00:00.000Z',
      type: 'Healed',
      object: { kind: 'Link', name: 'cali1' },
      reason: 'Tested',
      message: 'put back',
    },
  ])
  t.is(ring.last(1).length, 1)
})

test('the oldest events go first when the ring is full', t => {
  const ring = new EventRing(openDatabase(':memory:'), new ManualClock(), silentLog)
  for (let i = 0; i < 10_752; i++) ring.record(about('Healed', String(i)))
  const kept = ring.last(20_000)
  t.is(kept.length, 10_000)
  t.is(kept.at(-1)!.object.name, '752')
})

test('a full disk costs records, never the one who records; with room again new ones are kept', t => {
  const db = openDatabase(':memory:')
  const ring = new EventRing(db, new ManualClock(), silentLog)
  ring.record(about('Started', 'n1'))
  db.exec('PRAGMA max_page_count = 1') // no lower than what is there: as full as it gets
  t.notThrows(() => ring.record(about('Healed', 'route', 'x'.repeat(100_000))))
  db.exec('PRAGMA max_page_count = 100000')
  ring.record(about('SessionChanged', 'rack'))
  t.deepEqual(
    ring.last(10).map(({ type }) => type),
    ['SessionChanged', 'Started'],
  )
})
