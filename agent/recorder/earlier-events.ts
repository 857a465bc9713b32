// Earlier versions kept events in a table of `events.db`: they go into the recorder once, and the table is removed.
import type { Recorded } from '../../api/changes.ts'
import type { ObjectRef } from '../../api/status.ts'
import { type Database, DatabaseError } from '../../lib/database.ts'
import type { Recorder } from './recorder.ts'

export function adoptEarlierEvents(db: Database, recorder: Pick<Recorder, 'adopt'>): void {
  try {
    const found = db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'event'").get()
    if (found === undefined) return
    const events = db.prepare('SELECT * FROM event ORDER BY id').all()
    const isKept = recorder.adopt(
      events.map(row => {
        const object: ObjectRef = { kind: String(row['kind']) as ObjectRef['kind'], name: String(row['name']) }
        if (row['namespace'] !== '') object.namespace = String(row['namespace'])
        const at = new Date(Number(row['at_ms'])).toISOString()
        const type = String(row['type']) as Recorded['type']
        return { at, type, object, reason: String(row['reason']), message: String(row['message']) }
      }),
    )
    if (isKept) db.exec('DROP TABLE event')
  } catch (error) {
    // events of before are worth less than the agent
    if (!(error instanceof DatabaseError)) throw error
  }
}
