// The node's data directory: two databases, and a lock that one agent holds for its life. A second agent is locked out
// even when both start in the same millisecond. Nothing is opened or written before the lock is taken.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Database, openDatabase } from '../lib/database.ts'
import { lockFile } from './file-lock.ts'
import { checkOwner, type JournalOwner } from './journal-owner.ts'

export type DataDirectory = {
  /** Journal and snapshot: what must survive a power cut. */
  node: Database
  /** Events: the last seconds may be lost. */
  events: Database
  /** Calls `lost` when this agent does not have the directory any more. Before every write of the databases it is called too. */
  check(): void
  close(): void
}

/**
 * Makes the directory where it is missing, locks it and opens its databases. `lost` must not return: it ends the program
 * when the lock is lost, because the directory was removed or replaced. Throws `FileInUse` when another agent
 * has it, `ForeignJournal` when it belongs to another node or machine, `DatabaseError` when its disk cannot be used.
 */
export function openDataDirectory(
  path: string,
  { owner, lost }: { owner: JournalOwner; lost: (message: string) => void },
): DataDirectory {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const lock = lockFile(join(path, 'lock'), `${path}: another agent uses this directory; stop it first`)
  const check = (): void => {
    if (!lock.isHeld())
      lost(`${path} was removed or replaced while this agent had it: another agent may have this node now`)
  }
  try {
    const node = openDatabase(join(path, 'node.db'), check)
    checkOwner(node, owner, path)
    const events = openDatabase(join(path, 'events.db'), check)
    return {
      node,
      events,
      check,
      close: () => {
        node.close()
        events.close()
        lock.release()
      },
    }
  } catch (error) {
    lock.release() // for any error: the directory was not opened
    throw error
  }
}
