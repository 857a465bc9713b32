// The files of a database as a power cut may leave them. SQLite asks for one fsync at each commit, of the write-ahead log, for one before that of
// the header of a log that is begun anew, and for one of the database after it wrote pages back: before that a disk may have any of the
// sectors that were written, in any order.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Database } from '../../lib/database.ts'
import type { Chance } from '../controllers/world.ts'

/** `-shm` is memory: it is made anew. */
export type Files = { db: Buffer; wal: Buffer }

const SECTOR = 512
/** Octets of the header of a write-ahead log (fileformat2.html of SQLite, section 4.1). */
const HEADER = 32

export function readFiles(folder: string): Files {
  const read = (name: string) => (existsSync(join(folder, name)) ? readFileSync(join(folder, name)) : Buffer.alloc(0))
  return { db: read('node.db'), wal: read('node.db-wal') }
}

export function writeFiles(folder: string, { db, wal }: Files): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(join(folder, 'node.db'), db)
  if (wal.length > 0) writeFileSync(join(folder, 'node.db-wal'), wal)
}

/** Calls `committed` after each commit. */
export function watched(db: Database, committed: () => void): Database {
  const afterwards = <T>(result: T): T => {
    if (!db.isTransaction) committed()
    return result
  }
  return new Proxy(db, {
    get(target, name) {
      if (name === 'exec') return (sql: string) => afterwards(target.exec(sql))
      if (name === 'prepare')
        return (sql: string) => {
          const statement = target.prepare(sql)
          return new Proxy(statement, {
            get(inner, method) {
              const value: unknown = Reflect.get(inner, method)
              if (typeof value !== 'function') return value
              return (...values: unknown[]) =>
                method === 'run' ? afterwards(value.apply(inner, values)) : value.apply(inner, values)
            },
          })
        }
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
    set: (target, name, value) => Reflect.set(target, name, value, target),
  })
}

/** What the disk may have when the power goes during the commit between these two: the one before it, or the one after it. */
export function cutBetween(before: Files, after: Files, chance: Chance): Map<string, Files> {
  const found = new Map<string, Files>([
    ['nothing of it', { db: before.db, wal: before.wal }],
    ['all of it', after],
  ])
  const wal = withHeader(before.wal, after.wal)
  const sectors = changedSectors(wal, after.wal)
  for (const [i, sector] of sectors.entries())
    if (i % 9 === 4) {
      const db = before.db
      found.set(`its first ${i} sectors`, { db, wal: mixed(wal, after.wal, each => each < sector) })
      found.set(`all but its first ${i} sectors`, { db, wal: mixed(wal, after.wal, each => each >= sector) })
    }
  found.set('some sectors of it', { db: before.db, wal: mixed(wal, after.wal, () => chance(0.5)) })
  found.set('its last sector half', { db: before.db, wal: after.wal.subarray(0, after.wal.length - SECTOR / 2) })
  // the log is on the disk before pages are written back
  if (changedSectors(before.db, after.db).length > 0)
    found.set('its log, and some sectors of the pages', {
      db: mixed(before.db, after.db, () => chance(0.5)),
      wal: after.wal,
    })
  return found
}

/** What no disk should do: it lies about fsync, or somebody puts files together. `middle` is long before `after`. */
export function damage({ middle, after }: { middle: Files; after: Files }, chance: Chance): Map<string, Files> {
  const none = Buffer.alloc(0)
  return new Map([
    ['no log', { db: after.db, wal: none }],
    ['an older database with this log', { db: middle.db, wal: after.wal }],
    ['this database with an older log', { db: after.db, wal: middle.wal }],
    ['garbage in the log', { db: after.db, wal: garbled(after.wal, chance) }],
    ['half of the log', { db: after.db, wal: after.wal.subarray(0, after.wal.length / 2) }],
    ['garbage in the database', { db: garbled(after.db, chance), wal: none }],
    ['half of the database', { db: after.db.subarray(0, after.db.length / 2), wal: none }],
    ['an empty database', { db: none, wal: after.wal }],
    ['nothing', { db: none, wal: none }],
  ])
}

/**
 * A log that is begun anew has its header on the disk before anything else: SQLite waits for that (`syncHeader` in its wal.c), since
 * the first frames of the log before are of commits that were written back, and followed by others, long ago.
 */
function withHeader(before: Buffer, after: Buffer): Buffer {
  const result = Buffer.from(before)
  after.copy(result, 0, 0, Math.min(HEADER, result.length))
  return result
}

function changedSectors(before: Buffer, after: Buffer): number[] {
  const count = Math.ceil(after.length / SECTOR)
  return Array.from({ length: count }, (_, i) => i).filter(i => !sectorOf(before, i).equals(sectorOf(after, i)))
}

function sectorOf(file: Buffer, index: number): Buffer {
  return file.subarray(index * SECTOR, (index + 1) * SECTOR)
}

/** `after` in the sectors that are written, `before` in the others, zeros where that had none. */
function mixed(before: Buffer, after: Buffer, isWritten: (sector: number) => boolean): Buffer {
  const result = Buffer.alloc(Math.max(before.length, after.length))
  before.copy(result)
  for (const sector of changedSectors(before, after))
    if (isWritten(sector)) sectorOf(after, sector).copy(result, sector * SECTOR)
  return result
}

function garbled(file: Buffer, chance: Chance): Buffer {
  const result = Buffer.from(file)
  for (let sector = 0; sector * SECTOR < result.length; sector++) if (chance(0.3)) sectorOf(result, sector).fill(0xa5)
  return result
}
