// The node's own database file: what an agent must remember while the API server is away. Rooms bring their own
// tables; this file owns how the file is opened, so that an acknowledged write is on disk.
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export type Database = DatabaseSync

const SETTINGS =
  'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;'

/**
 * Opens (and makes) the database at `path`, or in memory for ':memory:'. A returned write transaction is fsynced. Throws
 * with the path and a remedy when the file cannot be used.
 */
export function openDatabase(path: string): Database {
  try {
    if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const db = new DatabaseSync(path)
    db.exec(SETTINGS)
    return db
  } catch (error) {
    const { message } = error as Error
    throw new Error(`${path} cannot be opened: ${message}; check that its disk has space and can be written`, {
      cause: error,
    })
  }
}

/**
 * Runs `body` in one transaction: all of it is on disk when this returns, none of it when it throws. Within another
 * one it is a part of that.
 */
export function transaction<T>(db: Database, body: () => T): T {
  if (db.isTransaction) return body()
  db.exec('BEGIN IMMEDIATE')
  try {
    const result = body()
    db.exec('COMMIT')
    return result
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK') // a full disk has rolled back by itself
    throw error
  }
}
