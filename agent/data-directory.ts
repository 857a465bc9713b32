// The node's data directory: two databases, and a lock that one agent holds for its life. A second agent is locked out
// even when both start in the same millisecond.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Database, openDatabase } from '../lib/database.ts'
import { lockFile } from './file-lock.ts'

export type DataDirectory = {
  /** Journal and snapshot: what must survive a power cut. */
  node: Database
  /** Events: the last seconds may be lost. */
  events: Database
  close(): void
}

/**
 * Makes the directory where it is missing, locks it and opens its databases. Throws `FileInUse` when another agent
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
