// Locks on files, held for the life of a process: the kernel's own locks, taken by SQLite. Of two processes that try in the
// same moment one gets it, and when its holder is killed nothing is left behind that has to be cleaned up.
import { DatabaseSync } from 'node:sqlite'

/** Another process holds the lock. */
export class FileInUse extends Error {
  override readonly name = 'FileInUse'
}

/** SQLITE_BUSY: somebody else has the lock. */
const BUSY = 5

/** Keeps the locks from garbage collection, which would close the file and so release the lock. */
const held = new Set<DatabaseSync>()

/**
 * Makes the file at `path` and locks it until the result is called or the process ends. Throws `FileInUse` with `message`
 * when it is locked, Error when the file cannot be made.
 */
export function lockFile(path: string, message: string): () => void {
  const lock = new DatabaseSync(path)
  try {
    lock.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if (error instanceof Error && 'errcode' in error && error.errcode === BUSY)
      throw new FileInUse(message, { cause: error })
    throw error
  }
  held.add(lock)
  return () => {
    held.delete(lock)
    lock.close()
  }
}
