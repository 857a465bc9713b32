// The node's data directory: two databases, and a lock that one agent holds for its life. The lock is one of the kernel
// on a file, taken by SQLite: of two agents that start in the same millisecond one gets it, and when its holder is
// killed nothing is left behind that has to be cleaned up.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Database, openDatabase } from '../lib/database.ts'

/** SQLITE_BUSY: somebody else has the lock. */
const BUSY = 5

/** Keeps the locks from garbage collection, which would close the file and so release the lock. */
const held = new Set<DatabaseSync>()

/** Another agent uses the directory. */
export class DirectoryInUse extends Error {
  override readonly name = 'DirectoryInUse'
}

export type DataDirectory = {
  /** Journal and snapshot: what must survive a power cut. */
  node: Database
  /** Events: the last seconds may be lost. */
  events: Database
  close(): void
}

/**
 * Makes the directory where it is missing, locks it and opens its databases. Throws `DirectoryInUse` when another agent
 * has it, `DatabaseError` when its disk cannot be used.
 */
export function openDataDirectory(path: string): DataDirectory {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const unlock = lockFile(join(path, 'lock'), `${path}: another agent uses this directory; stop it first`)
  try {
    const node = openDatabase(join(path, 'node.db'))
    const events = openDatabase(join(path, 'events.db'))
    return {
      node,
      events,
      close: () => {
        node.close()
        events.close()
        unlock()
      },
    }
  } catch (error) {
    unlock() // for any error: the directory was not opened
    throw error
  }
}

/** Locks a file for the life of this process, or until the result is called. Throws `DirectoryInUse` with `message`. */
function lockFile(path: string, message: string): () => void {
  const lock = new DatabaseSync(path)
  try {
    lock.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if (error instanceof Error && 'errcode' in error && error.errcode === BUSY)
      throw new DirectoryInUse(message, { cause: error })
    throw error
  }
  held.add(lock)
  return () => {
    held.delete(lock)
    lock.close()
  }
}
