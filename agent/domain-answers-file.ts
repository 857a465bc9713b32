// The answers about names of domains that pods have, on disk for the next start: per pod and name the addresses with their
// TTLs (0: it has expired), and no times, since how long nobody listened does not matter. Written a second after a change, so many at a time that
// nothing waits. Hazard: a disk without room costs what the next start would know, and nothing else.
import type { ToldAddress } from '../felix/dns/answers.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { type Database, DatabaseError, transaction } from '../lib/database.ts'
import { parseAddress } from '../lib/ip.ts'

type Told = { name: string; told: { address: string; ttlSeconds: number }[] }

const WRITE_MS = 1000
const RETRY_MS = 10_000
/** Some milliseconds. */
const ROWS_AT_ONCE = 500
const PAUSE_MS = 50

export class DomainAnswersFile {
  readonly #db: Database
  readonly #clock: Clock
  readonly #current: (pod: string, name: string) => readonly ToldAddress[]
  readonly #put
  readonly #delete
  /** What the last run left, by pod, until somebody takes it. */
  readonly #left = new Map<string, Told[]>()
  readonly #changed = new Map<string, readonly [pod: string, name: string]>()
  #cancel: Cancel | undefined
  #isClosed = false

  /** `current`: what counts now, when it is written. Throws DatabaseError. */
  constructor(db: Database, clock: Clock, current: (pod: string, name: string) => readonly ToldAddress[]) {
    this.#db = db
    this.#clock = clock
    this.#current = current
    db.exec(
      'CREATE TABLE IF NOT EXISTS domain_answer (pod TEXT, name TEXT, told TEXT NOT NULL, PRIMARY KEY (pod, name)) STRICT, WITHOUT ROWID',
    )
    this.#put = db.prepare('INSERT OR REPLACE INTO domain_answer (pod, name, told) VALUES (?, ?, ?)')
    this.#delete = db.prepare('DELETE FROM domain_answer WHERE pod = ? AND name = ?')
    for (const row of db.prepare('SELECT pod, name, told FROM domain_answer').iterate()) {
      const pod = String(row['pod'])
      const told = { name: String(row['name']), told: parseTold(String(row['told'])) }
      const known = this.#left.get(pod)
      if (known === undefined) this.#left.set(pod, [told])
      else known.push(told)
    }
  }

  /** What the last run knew of a pod: once. */
  take(pod: string): readonly Told[] {
    const left = this.#left.get(pod) ?? []
    this.#left.delete(pod)
    return left
  }

  /** Nobody takes what is left. */
  forgetOthers(): void {
    for (const [pod, names] of this.#left) for (const { name } of names) this.changed(pod, name)
    this.#left.clear()
  }

  /** What a pod was told of a name is another thing now. */
  changed(pod: string, name: string): void {
    this.#changed.set(`${pod} ${name}`, [pod, name])
    if (this.#cancel === undefined && !this.#isClosed) this.#later(WRITE_MS)
  }

  /** Writes what waits, as far as the disk takes it. */
  close(): void {
    this.#isClosed = true
    this.#cancel?.()
    while (this.#changed.size > 0 && this.#write());
  }

  #later(delayMs: number): void {
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#cancel = undefined
      const delay = this.#write() ? PAUSE_MS : RETRY_MS
      if (this.#changed.size > 0) this.#later(delay)
    })
  }

  /** Whether the disk took it. */
  #write(): boolean {
    const some = [...this.#changed].slice(0, ROWS_AT_ONCE)
    try {
      transaction(this.#db, () => {
        for (const [, [pod, name]] of some) {
          const told = this.#current(pod, name).map(({ address, ttlSeconds }) => [address, ttlSeconds])
          if (told.length === 0) this.#delete.run(pod, name)
          else this.#put.run(pod, name, JSON.stringify(told))
        }
      })
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      return false
    }
    for (const [key] of some) this.#changed.delete(key)
    return true
  }
}

/** A row of a later version, or of a damaged file, says nothing. */
function parseTold(text: string): Told['told'] {
  let read: unknown
  try {
    read = JSON.parse(text)
  } catch {
    return []
  }
  if (!Array.isArray(read)) return []
  return read.flatMap(each => {
    const [address, ttlSeconds] = Array.isArray(each) ? each : []
    const isTold = typeof address === 'string' && parseAddress(address) === address && Number.isInteger(ttlSeconds)
    return isTold ? [{ address, ttlSeconds: Number(ttlSeconds) }] : []
  })
}
