// Where the programs of the machine are. Hazard: npm puts node_modules/.bin first on the PATH, and a dependency may have
// a program there with the name of a system program (`nft` of @vercel/nft). So the PATH is never asked.
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

/** Where Debian puts programs. The same list is in lab/setup.sh. */
const FOLDERS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin']

/** The PATH for a program that looks for other programs itself. */
export const SYSTEM_PATH = FOLDERS.join(':')

/** The machine does not have a program. `code` is ENOENT, as when Node cannot start it. */
class ProgramMissing extends Error {
  override readonly name = 'ProgramMissing'
  readonly code = 'ENOENT'

  constructor(name: string) {
    super(`${name} is not installed: it is in none of ${FOLDERS.join(', ')}. Install the Debian package that has it`)
  }
}

/** The path of a program that the machine has in Debian's folders; undefined when it has none of that name. */
export function findSystemProgram(name: string): string | undefined {
  return FOLDERS.map(folder => join(folder, name)).find(isExecutable)
}

/** As `findSystemProgram`, but throws `ProgramMissing`. A name with a slash is a path already and stays as it is. */
export function systemProgram(name: string): string {
  const path = name.includes('/') ? name : findSystemProgram(name)
  if (path === undefined) throw new ProgramMissing(name)
  return path
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
