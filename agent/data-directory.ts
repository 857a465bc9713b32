// The node's data directory: two databases, a folder for the recorder, and a lock that one agent holds for its life. A second agent is locked out
// even when both start in the same millisecond. Nothing is opened or written before the lock is taken. A damaged database is
// set aside and made anew: what it knew comes back from the kernel and the API server. Hazard: a database may be damaged
// where nobody looks at the start, so both are checked then (a few milliseconds for a cluster of 5,000 nodes).
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
} from 'node:fs'
import { join } from 'node:path'
import { broken, type Condition } from '../api/status.ts'
import { type Database, DatabaseError, openDatabase } from '../lib/database.ts'
import { type FileLock, lockFile } from './file-lock.ts'
import { checkOwner, type JournalOwner } from './journal-owner.ts'

export type DataDirectory = {
  /** Journal and snapshot: what must survive a power cut. */
  node: Database
  /** What is worth less: the last seconds may be lost. */
  events: Database
  /** The folder of the recorder. */
  recorder: string
  /** Whether this is the fallback. */
  isFallback: boolean
  /** Calls `lost` when this agent does not have the directory any more. Before every write of the databases it is called too. */
  check(): void
  /** What is wrong with it now. */
  conditions(): Condition[]
  close(): void
}

export type DataDirectoryOptions = {
  owner: JournalOwner
  /** Must not return: it ends the program when the lock is lost, because the directory was removed or replaced. */
  lost: (message: string) => void
  /** Where the databases are kept when the disk of the directory cannot be written: on another disk, until the next boot. */
  fallback?: string
}

/** SQLITE_CORRUPT and SQLITE_NOTADB. */
const DAMAGED: readonly unknown[] = [11, 26]
/** SQLITE_BUSY and SQLITE_LOCKED: somebody else reads the database for long. */
const BUSY: readonly unknown[] = [5, 6]
/** SQLITE_FULL. */
const FULL: readonly unknown[] = [13]
/** A disk with less than this has no room for a journal that grows. */
const LEAST_KIB = 1024
/** Between the name of a database and the time when it was set aside. */
const ASIDE = '.damaged-'

/**
 * Makes the directory where it is missing, locks it and opens its databases, in the fallback where the directory cannot be
 * written. Throws `FileInUse` when another agent has it, `ForeignJournal` when it belongs to another node or machine,
 * `DatabaseError` when no disk can be used.
 */
export function openDataDirectory(path: string, options: DataDirectoryOptions): DataDirectory {
  const { fallback } = options
  try {
    return openAt(path, options, fallback)
  } catch (error) {
    if (fallback === undefined || !isUnusable(error)) throw error
    copyJournal(path, fallback)
    const opened = openAt(fallback, options)
    const moved = fellBack(path, fallback, error as Error)
    return { ...opened, isFallback: true, conditions: () => [moved] }
  }
}

/** So that pods and blocks are known, where the journal can be read. What is there from an earlier start is newer. */
function copyJournal(from: string, to: string): void {
  mkdirSync(to, { recursive: true, mode: 0o700 })
  if (existsSync(join(to, 'node.db'))) return
  try {
    for (const name of ['node.db-wal', 'node.db'])
      if (existsSync(join(from, name))) copyFileSync(join(from, name), join(to, name))
  } catch {
    // it cannot be read either: the kernel and the API server have what it knew
    for (const name of ['node.db-wal', 'node.db']) rmSync(join(to, name), { force: true })
  }
}

/** The disk can be written again: what was journaled in the fallback meanwhile is newer. Whole or not at all. */
function bringBack(fallback: string, path: string): void {
  if (existsSync(join(fallback, 'node.db'))) {
    const source = openDatabase(join(fallback, 'node.db'))
    source.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    source.close()
    copyFileSync(join(fallback, 'node.db'), join(path, 'node.db.new'))
    for (const beside of ['node.db-wal', 'node.db-shm']) rmSync(join(path, beside), { force: true })
    renameSync(join(path, 'node.db.new'), join(path, 'node.db'))
  }
  rmSync(fallback, { recursive: true, force: true })
}

/** `newer`: a directory whose journal counts instead of the one in `path`, where there is one; it goes. */
function openAt(path: string, { owner, lost }: DataDirectoryOptions, newer?: string): DataDirectory {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  // SQLite opens a database on a read-only disk without a word, and refuses the first write
  accessSync(path, constants.W_OK)
  const lock = lockFile(join(path, 'lock'), `${path}: another agent uses this directory; stop it first`)
  const check = (): void => {
    if (!lock.isHeld())
      lost(`${path} was removed or replaced while this agent had it: another agent may have this node now`)
  }
  try {
    if (newer !== undefined) bringBack(newer, path)
    const node = openSound(join(path, 'node.db'), check)
    checkOwner(node, owner, path)
    tryToWrite(node)
    const events = openEvents(path, check)
    const close = (): void => closeAll(node, events, lock)
    const aside = damagedFiles(path)
    const conditions = (): Condition[] => [...setAside(aside), ...notWritten(path, node)]
    return { node, events, recorder: join(path, 'recorder'), isFallback: false, check, conditions, close }
  } catch (error) {
    lock.release() // for any error: the directory was not opened
    throw error
  }
}

/** Throws DatabaseError on a disk that takes no write. A full one is no such disk: it may have room in a moment. */
function tryToWrite(node: Database): void {
  try {
    node.prepare("INSERT OR REPLACE INTO owner (key, value) VALUES ('started', ?)").run(new Date().toISOString())
  } catch (error) {
    if (!(error instanceof DatabaseError) || !FULL.includes(plainCode(error))) throw error
  }
}

function closeAll(node: Database, events: Database, lock: FileLock): void {
  node.close()
  events.close()
  lock.release()
}

/** Without a disk for them events are kept in memory: they are worth less than the agent. */
function openEvents(path: string, check: () => void): Database {
  try {
    return openSound(join(path, 'events.db'), check)
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    return openDatabase(':memory:')
  }
}

/** Opens a database; one that is damaged is renamed and made anew. Throws DatabaseError for any other fault. */
function openSound(path: string, check: () => void): Database {
  try {
    const database = openDatabase(path, check)
    const found = database.prepare('PRAGMA quick_check(1)').get()?.['quick_check']
    if (found === 'ok') return database
    database.close()
  } catch (error) {
    if (!(error instanceof DatabaseError) || !DAMAGED.includes(plainCode(error))) throw error
  }
  const at = new Date().toISOString().replace(/[:.]/g, '-')
  for (const end of ['', '-wal', '-shm'])
    if (existsSync(`${path}${end}`)) renameSync(`${path}${end}`, `${path}${ASIDE}${at}${end}`)
  return openDatabase(path, check)
}

/** The extended code has the plain one in its low octet. */
function plainCode({ sqliteCode = 0 }: DatabaseError): number {
  return sqliteCode & 0xff
}

/** A file system that is read-only, full, or fails: not a lock, and not a journal of somebody else. */
function isUnusable(error: unknown): boolean {
  if (error instanceof DatabaseError) return !BUSY.includes(plainCode(error))
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
}

function damagedFiles(path: string): string[] {
  const names = readdirSync(path).filter(name => name.includes(ASIDE) && !/-(wal|shm)$/.test(name))
  return names.map(name => join(path, name))
}

function setAside(files: readonly string[]): Condition[] {
  if (files.length === 0) return []
  return [
    broken('JournalKept', {
      reason: 'Damaged',
      message: `${files.join(', ')}: damaged, and set aside; what it held was taken from the kernel and the API server`,
      remedy: 'check the disk, and remove the file: the next start of the agent does not tell of it any more',
    }),
  ]
}

/** The disk may become read-only, or fail, under a running agent. */
function notWritten(path: string, { failure }: Database): Condition[] {
  const full = spaceLeft(path)
  if (full.length > 0 || failure === undefined || [...FULL, ...BUSY].includes(plainCode(failure))) return full
  return [
    broken('JournalWritable', {
      reason: 'NotWritable',
      message: `${path} cannot be written (${failure.message}): ADD is refused, DEL works`,
      remedy: `look at its disk (dmesg, findmnt ${path}) and make it writable; until then a restart of the agent keeps the journal elsewhere`,
    }),
  ]
}

function spaceLeft(path: string): Condition[] {
  const left = freeKiB(path)
  if (left === undefined || left >= LEAST_KIB) return []
  return [
    broken('JournalWritable', {
      reason: 'DiskFull',
      message: `the disk of ${path} is full: ADD is refused when the journal cannot be written, DEL works`,
      remedy: `make room on that disk: at least ${LEAST_KIB / 1024} MiB`,
    }),
  ]
}

function freeKiB(path: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(path)
    return (bavail * bsize) / 1024
  } catch {
    return undefined // removed, or its disk failed: whoever writes finds out
  }
}

function fellBack(path: string, fallback: string, { message }: Error): Condition {
  return broken('JournalKept', {
    reason: 'NotWritable',
    message: `${path} cannot be written (${message}): the journal is in ${fallback} until the next boot`,
    remedy: `make ${path} writable, then restart the agent`,
  })
}
