// Files that other users of the machine must neither read nor lock: SQLite's locks are those of fcntl, and whoever may
// read a file may lock it against its owner. Hazard: a process that closes a file loses its locks on it, so a file that
// is there is never opened here.
import { chmodSync, closeSync, constants, lstatSync, openSync } from 'node:fs'

const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants

/**
 * Makes the file at `path` where it is missing; afterwards this user alone may read and write it. Throws Error when it is
 * a symbolic link, or belongs to a user who is neither this one nor root. What the disk refuses is left to whoever uses it.
 */
export function makePrivate(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) {
    makeNew(path)
    return
  }
  if (found.isSymbolicLink()) throw new Error(`${path} is a symbolic link: remove it, or name the file itself`)
  if (found.uid !== process.geteuid?.() && found.uid !== 0)
    throw new Error(`${path} belongs to user ${found.uid}: remove it, or give it to the user of this program`)
  if ((found.mode & 0o077) === 0) return
  try {
    chmodSync(path, 0o600)
  } catch {
    // a disk that cannot be written
  }
}

function makeNew(path: string): void {
  try {
    closeSync(openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600))
  } catch (error) {
    // another process may have made it meanwhile
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') makePrivate(path)
  }
}
