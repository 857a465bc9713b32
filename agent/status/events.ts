// A bounded ring on disk of what changed on this node and why, so that "who removed my route at 12:03?" has an answer
// after a restart too. Recording never fails for the caller: a full disk costs records only.
import { MOST_EVENTS } from '../../api/answers.ts'
import {
  EVENT_TYPES,
  type Event,
  type EventRecord,
  type EventType,
  type ObjectKind,
  type ObjectRef,
} from '../../api/status.ts'
import type { Clock } from '../../lib/clock.ts'
import { type Database, DatabaseError } from '../../lib/database.ts'
import type { Log } from '../../lib/log.ts'

export class EventRing {
  readonly #clock: Clock
  readonly #insert
  readonly #prune
  readonly #last
  readonly #log: Log
  readonly #counts = new Map<EventType, number>()
  #failing = false

  /** `db` is a file of its own: losing the last seconds of it in a power cut is cheaper than an fsync per record. */
  constructor(db: Database, clock: Clock, log: Log) {
    db.exec('PRAGMA synchronous = NORMAL')
    db.exec(`CREATE TABLE IF NOT EXISTS event (
      id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, type TEXT NOT NULL,
      kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL)`)
    this.#clock = clock
    this.#log = log
    this.#insert = db.prepare(
      'INSERT INTO event (at_ms, type, kind, namespace, name, reason, message) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    this.#prune = db.prepare('DELETE FROM event WHERE id <= ?')
    this.#last = db.prepare('SELECT * FROM event ORDER BY id DESC LIMIT ?')
  }

  /** How often something happened since this program began, by type. */
  get counts(): ReadonlyMap<EventType, number> {
    return this.#counts
  }

  /** Never throws: a record that the disk has no room for is lost, and the log says so once until one fits again. */
  record({ type, object: { kind, name, namespace = '' }, reason, message }: EventRecord): void {
    this.#counts.set(type, (this.#counts.get(type) ?? 0) + 1)
    try {
      const atMs = Math.round(this.#clock.wallMs())
      const id = Number(this.#insert.run(atMs, type, kind, namespace, name, reason, message).lastInsertRowid)
      if (id % 256 === 0) this.#prune.run(id - MOST_EVENTS)
      this.#failing = false
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      if (!this.#failing) this.#log.error({ err: error, type, name }, 'events cannot be recorded; is the disk full?')
      this.#failing = true
    }
  }

  /** The newest `count` records, newest first. */
  last(count: number): Event[] {
    return this.#last.all(count).flatMap(row => {
      const { type, kind, namespace, name } = row
      if (!isEventType(type)) return [] // of a later version
      const object: ObjectRef = { kind: String(kind) as ObjectKind, name: String(name) }
      if (namespace !== '') object.namespace = String(namespace)
      const at = new Date(Number(row['at_ms'])).toISOString()
      return [{ at, type, object, reason: String(row['reason']), message: String(row['message']) }]
    })
  }
}

function isEventType(type: unknown): type is Event['type'] {
  return typeof type === 'string' && Object.hasOwn(EVENT_TYPES, type)
}
