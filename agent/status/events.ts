// The flight recorder: a bounded ring on disk of what changed on this node and why, so that "who removed my route at
// 12:03?" has an answer after a restart too. It records; it never stops what it records: a full disk costs records only.
import type { Clock } from '../../lib/clock.ts'
import { type Database, DatabaseError } from '../../lib/database.ts'
import type { Log } from '../../lib/log.ts'

/** One record; `object` is what it happened to (a prefix, an interface, a peer), `detail` is for people. */
export type Event = { at: string; type: string; object: string; detail: string }

/** Records kept; the oldest go first. */
const KEEP = 10_000

export class EventRing {
  readonly #clock: Clock
  readonly #insert
  readonly #prune
  readonly #last
  readonly #log: Log
  #failing = false

  /** `db` is a file of its own: losing the last seconds of it in a power cut is cheaper than an fsync per record. */
  constructor(db: Database, clock: Clock, log: Log) {
    db.exec('PRAGMA synchronous = NORMAL')
    db.exec(`CREATE TABLE IF NOT EXISTS events
      (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, type TEXT NOT NULL, object TEXT NOT NULL, detail TEXT NOT NULL)`)
    this.#clock = clock
    this.#log = log
    this.#insert = db.prepare('INSERT INTO events (at_ms, type, object, detail) VALUES (?, ?, ?, ?)')
    this.#prune = db.prepare('DELETE FROM events WHERE id <= ?')
    this.#last = db.prepare('SELECT at_ms, type, object, detail FROM events ORDER BY id DESC LIMIT ?')
  }

  /** Never throws: a record that the disk has no room for is lost, and the log says so once until one fits again. */
  record(type: string, object: string, detail = ''): void {
    try {
      const { lastInsertRowid } = this.#insert.run(Math.round(this.#clock.wallMs()), type, object, detail)
      const id = Number(lastInsertRowid)
      if (id % 256 === 0) this.#prune.run(id - KEEP)
      this.#failing = false
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      if (!this.#failing) this.#log.error({ err: error, type, object }, 'events cannot be recorded; is the disk full?')
      this.#failing = true
    }
  }

  /** The newest `count` records, newest first. */
  last(count: number): Event[] {
    return this.#last.all(count).map(row => ({
      at: new Date(Number(row['at_ms'])).toISOString(),
      type: String(row['type']),
      object: String(row['object']),
      detail: String(row['detail']),
    }))
  }
}
