import test from 'ava'
import { EventRing } from '../../../agent/status/events.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { openDatabase } from '../../../lib/database.ts'
import { silentLog } from '../../../lib/log.ts'

test('a full disk costs records, never the one who records; with room again new ones are kept', t => {
  const db = openDatabase(':memory:')
  const ring = new EventRing(db, new ManualClock(), silentLog)
  ring.record('started', 'n1')
  db.exec('PRAGMA max_page_count = 1') // no lower than what is there: as full as it gets
  t.notThrows(() => ring.record('healed', 'route', 'x'.repeat(100_000)))
  db.exec('PRAGMA max_page_count = 100000')
  ring.record('bgp-peer', 'rack')
  t.deepEqual(
    ring.last(10).map(({ type }) => type),
    ['bgp-peer', 'started'],
  )
})
