// Locks on files, held for the life of a process: the kernel's own locks, taken by SQLite. Of two processes that try in the
// same moment one gets it, and when its holder is killed nothing is left behind that has to be cleaned up. A holder that is
// stopped (SIGSTOP) keeps it; but whoever removes or replaces the file makes a new lock, so a holder asks from time to time.
import { type Stats, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { makePrivate } from '../lib/private-file.ts'

/** Another process holds the lock. */
export class FileInUse extends Error {
  override readonly name = 'FileInUse'
}

/** A lock that this process holds until `release`, or until its end. */
export type FileLock = {
  /** Whether the file at the path is still the one that was locked: else another process may have a lock of that name. */
  isHeld(): boolean
  release(): void
}

/** SQLITE_BUSY: somebody else has the lock. */
const BUSY = 5

/** Keeps the locks from garbage collection, which would close the file and so release the lock. */
const held = new Set<DatabaseSync>()

/**
 * Makes the file at `path` and locks it. Throws `FileInUse` with `message` when it is locked, Error when the file cannot
 * be made, is a symbolic link or another user's.
 */
export function lockFile(path: string, message: string): FileLock {
  makePrivate(path)
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
  const locked = stat(path)
  return {
    isHeld: () => {
      const found = stat(path)
      if (found === 'unknown' || locked === 'unknown') return true
      return found !== undefined && found.ino === locked?.ino && found.dev === locked.dev
    },
    release: () => {
      held.delete(lock)
      lock.close()
    },
  }
}

/** Undefined when nothing is there; a disk that fails says nothing. */
function stat(path: string): Stats | undefined | 'unknown' {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return 'unknown'
  }
}
