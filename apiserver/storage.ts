// All objects: in memory for reading (stored.ts), and in SQLite so that they survive. A write is answered only after
// its transaction is on disk; writes that arrive together share one fsync. Reads wait for a commit under way, so nobody
// sees what a crash could take back.
import { type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { type Database, openDatabase, transaction } from '../lib/database.ts'
import { Stored } from './stored.ts'

/** One committed write. Of a DELETED object, `after` is its last state under the version of its deletion. */
export type StoredChange = {
  readonly version: number
  readonly kind: Kind
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly before?: Stored
  readonly after: Stored
}

/** How much of the past a watch can ask for: changes, and characters of JSON they hold. */
export type HistoryLimits = { changes: number; characters: number }

export type StorageOptions = { path: string; history: HistoryLimits }

/** What a write may do. Everything it did is undone when it throws, or when the disk refuses. */
export type StorageWriter = {
  put(kind: Kind, object: AnyObject): Stored
  /** `last` is the object's last state where that is another one than `stored`. */
  remove(kind: Kind, stored: Stored, last?: AnyObject): Stored
}

type Waiting = { settle: (failure?: Error) => void }

/** What one commit may write, about; a single object may be larger. */
const COMMIT_CHARACTERS = 2 * 1024 * 1024

const SCHEMA = `
CREATE TABLE IF NOT EXISTS objects (
  kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, json TEXT NOT NULL,
  PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS server (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
`

export class Storage {
  readonly #db: Database
  readonly #history: HistoryLimits
  readonly #objects = new Map<Kind, Map<string, Stored>>()
  readonly #keys = new Map<Kind, readonly string[]>()
  readonly #listeners = new Set<(changes: readonly StoredChange[]) => void>()
  #version = 0
  #committed = 0
  #past: StoredChange[] = []
  #pastCharacters = 0
  #forgotten = 0
  #batch: StoredChange[] = []
  #batchCharacters = 0
  #waiting: Waiting[] = []
  #commit: Promise<void> | undefined

  constructor({ path, history }: StorageOptions) {
    this.#db = openDatabase(path)
    this.#history = history
    this.#db.exec(SCHEMA)
    for (const kind of Object.keys(kinds) as Kind[]) this.#objects.set(kind, new Map())
    this.#load()
  }

  /** The version of the last write that is on disk. */
  get version(): number {
    return this.#committed
  }

  /** Whether everything that is in memory is on disk. */
  get isSettled(): boolean {
    return this.#commit === undefined
  }

  /** Whether the next commit is as large as one may be: it holds up everybody while it is written. */
  get isFull(): boolean {
    return this.#batchCharacters >= COMMIT_CHARACTERS
  }

  /** The oldest version a watch can still start from. */
  get oldest(): number {
    return this.#forgotten
  }

  get(kind: Kind, name: string, namespace = ''): Stored | undefined {
    return this.#objects.get(kind)!.get(keyOf(namespace, name))
  }

  /** All objects of a kind, by namespace and name. */
  list(kind: Kind, namespace?: string): Stored[] {
    const objects = this.#objects.get(kind)!
    const prefix = namespace === undefined ? '' : keyOf(namespace, '')
    const keys = this.#keysOf(kind)
    return (prefix === '' ? keys : keys.filter(key => key.startsWith(prefix))).map(key => objects.get(key)!)
  }

  /** The names of all objects of a cluster-wide kind. */
  *names(kind: Kind): Generator<string> {
    for (const { metadata } of this.#objects.get(kind)!.values()) yield metadata.name
  }

  /** The keys in order, kept until one comes or goes: a list of 5,000 objects is asked for in many pages. */
  #keysOf(kind: Kind): readonly string[] {
    const known = this.#keys.get(kind)
    if (known !== undefined) return known
    const keys = [...this.#objects.get(kind)!.keys()].sort()
    this.#keys.set(kind, keys)
    return keys
  }

  /** Changes after `version`, oldest first; undefined when they are forgotten or `version` was never reached. */
  since(version: number): readonly StoredChange[] | undefined {
    if (version < this.#forgotten || version > this.#committed) return undefined
    return this.#past.filter(change => change.version > version)
  }

  /** Calls `listener` after every commit, in order. */
  listen(listener: (changes: readonly StoredChange[]) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Runs `body` when nothing uncommitted is in memory. */
  async read<T>(body: () => T): Promise<T> {
    while (this.#commit !== undefined) await this.#commit
    return body()
  }

  /** Runs `body` at once; resolves with its result when all it wrote is on disk. */
  write<T>(body: (writer: StorageWriter) => T): Promise<T> {
    const from = this.#batch.length
    let answer: () => T
    try {
      const result = body({ put: (k, o) => this.#put(k, o), remove: (k, s, last) => this.#remove(k, s, last) })
      answer = () => result
    } catch (error) {
      this.#undo(from)
      answer = () => {
        throw error
      }
    }
    // a refusal may rest on what others wrote a moment ago, so it waits for the same commit
    if (this.#batch.length === 0) return new Promise(resolve => resolve(answer()))
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ settle: failure => (failure === undefined ? resolve(promised(answer)) : reject(failure)) })
      this.#commit ??= new Promise(done => setImmediate(() => done(this.#flush())))
    })
  }

  /** Waits for what is under way and closes the file. */
  async close(): Promise<void> {
    await this.read(() => this.#db.close())
  }

  #load(): void {
    const row = this.#db.prepare("SELECT value FROM server WHERE key = 'version'").get()
    this.#version = Number(row?.['value'] ?? 0)
    this.#committed = this.#version
    this.#forgotten = this.#version
    for (const { kind, namespace, name, version, json } of this.#db.prepare('SELECT * FROM objects').iterate()) {
      const stored = Stored.parse(String(json), Number(version))
      this.#objects.get(kind as Kind)?.set(keyOf(String(namespace), String(name)), stored)
    }
  }

  #put(kind: Kind, object: AnyObject): Stored {
    const { name, namespace = '' } = object.metadata
    const before = this.get(kind, name, namespace)
    const after = Stored.of(object, ++this.#version)
    this.#objects.get(kind)!.set(keyOf(namespace, name), after)
    if (before === undefined) this.#keys.delete(kind)
    const type = before === undefined ? 'ADDED' : 'MODIFIED'
    this.#batchCharacters += after.text.length
    this.#batch.push({ version: after.version, kind, type, ...(before === undefined ? {} : { before }), after })
    return after
  }

  #remove(kind: Kind, before: Stored, last = before.read()): Stored {
    const { name, namespace = '' } = before.metadata
    const after = Stored.of(last, ++this.#version)
    this.#objects.get(kind)!.delete(keyOf(namespace, name))
    this.#keys.delete(kind)
    this.#batchCharacters += after.text.length
    this.#batch.push({ version: after.version, kind, type: 'DELETED', before, after })
    return after
  }

  #undo(from: number): void {
    for (const { kind, before, after } of this.#batch.splice(from).reverse()) {
      this.#batchCharacters -= after.text.length
      const { name, namespace = '' } = after.metadata
      const objects = this.#objects.get(kind)!
      this.#keys.delete(kind)
      if (before === undefined) objects.delete(keyOf(namespace, name))
      else objects.set(keyOf(namespace, name), before)
      this.#version--
    }
  }

  #flush(): void {
    const [changes, waiting] = [this.#batch, this.#waiting]
    try {
      this.#persist(changes)
    } catch (cause) {
      this.#undo(0)
      this.#waiting = []
      this.#commit = undefined
      const failure = new Error('the write did not reach the disk', { cause })
      for (const { settle } of waiting) settle(failure)
      return
    }
    this.#batch = []
    this.#batchCharacters = 0
    this.#waiting = []
    this.#commit = undefined
    this.#committed = this.#version
    this.#remember(changes)
    for (const { settle } of waiting) settle()
    for (const listener of this.#listeners) listener(changes)
  }

  #persist(changes: readonly StoredChange[]): void {
    const put = this.#db.prepare('INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)')
    const remove = this.#db.prepare('DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?')
    const advance = this.#db.prepare("INSERT OR REPLACE INTO server VALUES ('version', ?)")
    transaction(this.#db, () => {
      for (const { kind, type, after } of changes) {
        const { name, namespace = '' } = after.metadata
        if (type === 'DELETED') remove.run(kind, namespace, name)
        else put.run(kind, namespace, name, after.version, after.text)
      }
      advance.run(String(this.#version))
    })
  }

  #remember(changes: readonly StoredChange[]): void {
    for (const change of changes) this.#past.push(change)
    for (const { after } of changes) this.#pastCharacters += after.text.length
    let drop = 0
    while (
      this.#past.length - drop > this.#history.changes ||
      (this.#pastCharacters > this.#history.characters && drop < this.#past.length)
    )
      this.#pastCharacters -= this.#past[drop++]!.after.text.length
    if (drop === 0) return
    this.#forgotten = this.#past[drop - 1]!.version
    this.#past = this.#past.slice(drop)
  }
}

/** U+0000 cannot be part of a name, and sorts before all that can. */
function keyOf(namespace: string, name: string): string {
  return `${namespace}\0${name}`
}

function promised<T>(answer: () => T): Promise<T> {
  return new Promise(resolve => resolve(answer()))
}
