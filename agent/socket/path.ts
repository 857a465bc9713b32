// What may lie in the way of a socket that a program with many rights makes at a configured path: something that is none of
// ours, such as a link to another file, a file with content, or what belongs to another user. It is refused by name and
// never followed, emptied or removed.
import { lstatSync, type Stats } from 'node:fs'

/** Octets of a socket's path that fit into sockaddr_un, without the final zero (unix(7)). */
const LONGEST = 107

/** Throws when `path` cannot be that of a socket, or when something is there that is no socket of this user. */
export function checkSocketPath(path: string): void {
  const length = Buffer.byteLength(path)
  if (length > LONGEST)
    throw new Error(`${path}: ${length} octets are too long for the path of a socket; choose one of at most ${LONGEST}`)
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new Error(`${path} is ${kindOf(found)} and no socket; remove it, or choose another path`)
  const uid = process.geteuid?.()
  if (uid !== undefined && found.uid !== uid)
    throw new Error(
      `${path} belongs to user ${found.uid}, and this program runs as user ${uid}; remove it, or choose another path`,
    )
}

function kindOf(found: Stats): string {
  if (found.isSymbolicLink()) return 'a symbolic link'
  if (found.isDirectory()) return 'a folder'
  return found.isFile() ? 'a file' : 'a device or pipe'
}
