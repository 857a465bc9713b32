// Files that hold tokens: 0600, of this user, never read or written through a symbolic link.
import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** A file with a secret cannot be used; the message names it, the cause and the remedy. */
export class SecretFileError extends Error {
  override readonly name = 'SecretFileError'
}

const TOKEN_OCTETS = 32

/** The administrator's token of a data directory; made when there is none yet. Throws SecretFileError. */
export function ownToken(path: string): string {
  try {
    return readSecret(path).trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw translated(path, error)
  }
  const token = newToken()
  writeNew(path, `${token}\n`)
  return token
}

/** The text of a secret that only this user, or root, can read. Throws SecretFileError, or ENOENT when it is not there. */
export function readSecret(path: string): string {
  const file = opened(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const { mode, uid } = fstatSync(file)
    if ((mode & constants.S_IFMT) !== constants.S_IFREG)
      throw new SecretFileError(`${path} is no plain file: remove it, or name another`)
    if ((mode & 0o077) !== 0)
      throw new SecretFileError(`${path} may be read or written by others: chmod 600 ${path}, and change its tokens`)
    if (uid !== process.geteuid?.() && uid !== 0)
      throw new SecretFileError(`${path} belongs to user ${uid}: remove it, or chown it to the user of margay-api`)
    return readFileSync(file, 'utf8')
  } finally {
    closeSync(file)
  }
}

/** A token that nobody can guess, without blanks or commas. */
export function newToken(): string {
  return randomBytes(TOKEN_OCTETS).toString('base64url')
}

/** Writes a file that is not there yet, and makes its folder, for this user alone. Throws EEXIST when the file is there. */
export function writeNew(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const file = opened(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW)
  try {
    writeFileSync(file, text, { flush: true })
  } finally {
    closeSync(file)
  }
}

/** Opens a file that nobody else may read; a new one is 0600. */
export function opened(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o600)
  } catch (error) {
    throw translated(path, error)
  }
}

function translated(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ELOOP') return new SecretFileError(`${path} is a symbolic link: remove it, or name the file itself`)
  return error
}
