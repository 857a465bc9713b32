// A database file on node:sqlite: the agent's own, and the API server's. Rooms bring their own tables; this file owns how
// a file is opened, so that an acknowledged write is on disk, and turns SQLite's errors into `DatabaseError`.
import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from 'node:sqlite'
import { makePrivate } from './private-file.ts'

/** SQLite refused: the disk is full or fails, or the file is damaged. `sqliteCode` is its extended result code. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError'
  readonly sqliteCode: number | undefined
  constructor(message: string, sqliteCode: number | undefined, options?: ErrorOptions) {
    super(message, options)
    this.sqliteCode = sqliteCode
  }
}

export type Row = Record<string, SQLOutputValue>

const SETTINGS =
  'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;'

/**
 * Opens (and makes) the database at `path`, or in memory for ':memory:'. A returned write transaction is fsynced.
 * `beforeWrite` is called before everything that may write. Throws DatabaseError with the path and a remedy when the
 * file cannot be used.
 */
export function openDatabase(path: string, beforeWrite?: () => void): Database {
  let opened: DatabaseSync | undefined
  try {
    if (path !== ':memory:') makeFile(path)
    opened = new DatabaseSync(path)
    opened.exec(SETTINGS)
    return new Database(opened, beforeWrite)
  } catch (error) {
    opened?.close()
    const { message, errcode } = error as Error & { errcode?: number }
    throw new DatabaseError(
      `${path} cannot be opened: ${message}; check that its disk has space and can be written`,
      errcode,
      { cause: error },
    )
  }
}

function makeFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  makePrivate(path)
  // SQLite gives new ones the mode of the database; these are of an earlier run
  for (const beside of ['-wal', '-shm']) if (existsSync(path + beside)) makePrivate(path + beside)
}

/** An open database file. Every method throws DatabaseError when SQLite refuses. */
export class Database {
  /** Why the last write failed; undefined when it did not, and before the first. */
  failure: DatabaseError | undefined
  readonly #db: DatabaseSync
  readonly #beforeWrite: (() => void) | undefined

  constructor(db: DatabaseSync, beforeWrite?: () => void) {
    this.#db = db
    this.#beforeWrite = beforeWrite
  }

  exec(sql: string): void {
    this.#beforeWrite?.()
    this.write(() => this.#db.exec(sql))
  }

  prepare(sql: string): Statement {
    return new Statement(
      this,
      translated(() => this.#db.prepare(sql)),
      this.#beforeWrite,
    )
  }

  /** Runs what may write, and notes how that went. */
  write<T>(body: () => T): T {
    try {
      const result = translated(body)
      this.failure = undefined
      return result
    } catch (error) {
      if (error instanceof DatabaseError) this.failure = error
      throw error
    }
  }

  get isTransaction(): boolean {
    return this.#db.isTransaction
  }

  close(): void {
    translated(() => this.#db.close())
  }
}

/** A prepared statement; parameters take the places of `?` in their order. Methods throw DatabaseError. */
class Statement {
  readonly #database: Database
  readonly #statement: StatementSync
  readonly #beforeWrite: (() => void) | undefined

  constructor(database: Database, statement: StatementSync, beforeWrite: (() => void) | undefined) {
    this.#database = database
    this.#statement = statement
    this.#beforeWrite = beforeWrite
  }

  run(...parameters: SQLInputValue[]): { lastInsertRowid: number | bigint } {
    this.#beforeWrite?.()
    return this.#database.write(() => this.#statement.run(...parameters))
  }

  /** The first row; undefined when there is none. */
  get(...parameters: SQLInputValue[]): Row | undefined {
    return translated(() => this.#statement.get(...parameters))
  }

  all(...parameters: SQLInputValue[]): Row[] {
    return translated(() => this.#statement.all(...parameters))
  }

  /** The rows one at a time, for results that should not be in memory together. */
  *iterate(...parameters: SQLInputValue[]): Generator<Row> {
    const rows = translated(() => this.#statement.iterate(...parameters))
    for (;;) {
      const next = translated(() => rows.next())
      if (next.done === true) return
      yield next.value
    }
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
    // whatever it was: nothing of it stays. A full disk has rolled back by itself.
    const { failure } = db
    if (db.isTransaction) db.exec('ROLLBACK')
    db.failure = failure
    throw error
  }
}

function translated<T>(body: () => T): T {
  try {
    return body()
  } catch (error) {
    const { code, errcode, message } = error as Error & { code?: unknown; errcode?: number }
    if (code !== 'ERR_SQLITE_ERROR') throw error
    throw new DatabaseError(message, errcode, { cause: error })
  }
}
