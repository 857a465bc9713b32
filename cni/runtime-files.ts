// Files in the folders of a runtime: read, and written under another name, to the disk, and renamed, so that a runtime
// never reads half of one, whenever the writer is killed or two run at once. A file that would not change is not written.
// Hazard: a renamed file has the label (SELinux) of a new one, so that of the file in its place is kept.
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type ConfFile, isConfName } from './conflist.ts'

/** What stands behind the name of a file that is being written; earlier versions named no process. */
const LEFTOVER = /^(?:(\d+)-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.new$/

/** Security labels of files. */
export type FileLabels = {
  /** The label of a file; undefined when it has none, or is not there. */
  read(path: string): Uint8Array | undefined
  /** Gives a file a label. Throws `KernelError`. */
  write(path: string, label: Uint8Array): void
}

/** An installer of another container cannot see that we live, and may remove our new file before it has its name. */
const ATTEMPTS = 5

/** The network configurations of a folder; none where there is no folder. Throws what the file system throws. */
export function confFiles(confDir: string): ConfFile[] {
  return namesIn(confDir)
    .filter(isConfName)
    .flatMap(name => {
      const content = contentOf(join(confDir, name))
      return content === undefined ? [] : [{ name, text: content.toString() }]
    })
}

/**
 * Writes a file as a whole or not at all, to the disk, with the label of what was there; nothing when it is there already.
 * Throws what the file system throws.
 */
export function replaceFile(
  path: string,
  content: string | Uint8Array,
  { mode, labels }: { mode: number; labels?: FileLabels | undefined },
): void {
  const wanted = Buffer.from(content)
  if (contentOf(path)?.equals(wanted) === true && (statSync(path).mode & 0o777) === mode) return
  const label = labels?.read(path)
  for (let attempt = 1; ; attempt++) {
    const beside = `${path}.${process.pid}-${randomUUID()}.new`
    try {
      writeDurably(beside, wanted, mode)
      if (label !== undefined) labels?.write(beside, label)
      renameSync(beside, path)
      syncFolder(dirname(path))
      return
    } catch (error) {
      rmSync(beside, { force: true })
      if (codeOf(error) !== 'ENOENT' || attempt === ATTEMPTS) throw error
    }
  }
}

/**
 * Removes what killed writers left beside a file of ours: nothing else has such names. Another process that lives is still
 * about to rename its own. Throws what the file system throws.
 */
export function removeLeftovers(path: string): void {
  const folder = dirname(path)
  const start = `${basename(path)}.`
  for (const name of namesIn(folder)) {
    const found = name.startsWith(start) ? LEFTOVER.exec(name.slice(start.length)) : null
    if (found === null) continue
    const [, pid] = found
    const isWriting = pid !== undefined && pid !== `${process.pid}` && existsSync(`/proc/${pid}`)
    if (!isWriting) rmSync(join(folder, name), { force: true })
  }
}

/** Removes a file, on the disk too. Throws what the file system throws. */
export function removeFile(path: string): void {
  rmSync(path, { force: true })
  syncFolder(dirname(path))
}

/** The names in a folder; none where there is no folder. Throws what the file system throws. */
function namesIn(folder: string): string[] {
  return orAbsent(() => readdirSync(folder)) ?? []
}

/** Undefined when there is no file, or something that is none. Throws what the file system throws. */
export function contentOf(path: string): Buffer | undefined {
  return orAbsent(() => (statSync(path).isFile() ? readFileSync(path) : undefined))
}

function writeDurably(path: string, content: Buffer, mode: number): void {
  const fd = openSync(path, 'wx', mode)
  try {
    writeFileSync(fd, content)
    fchmodSync(fd, mode) // whatever the umask is
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** The new name is on the disk when this returns. */
function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function orAbsent<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && Reflect.get(error, 'code')
}
