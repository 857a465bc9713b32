// A store that remembers on disk what its watches last saw, and hands that out at start while the API server is away:
// a node that reboots without its server still knows its pools and peers. The first real sync replaces it. A disk that
// takes nothing costs the memory alone: the watches go on, and the write is tried again.
import { emitJson, parseJson } from '../api/json.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { validate } from '../api/validate.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { type Database, DatabaseError, transaction } from '../lib/database.ts'
import { type Log, silentLog } from '../lib/log.ts'
import type { ListOptions, Store, Watch, WatchHandlers } from './port.ts'

const SCHEMA = `
CREATE TABLE IF NOT EXISTS snapshot (
  scope TEXT NOT NULL, object TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (scope, object)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshot_version (scope TEXT PRIMARY KEY, version TEXT NOT NULL) WITHOUT ROWID;
`

/** Changes are written together, so that a busy cluster does not cost a node an fsync per event. */
const WRITE_DELAY_MS = 1000
/** How long after a refused write it is tried again. */
const RETRY_MS = 10_000

/**
 * `store` with its watches remembered in `db`. A watch whose server cannot be reached at first gets one `sync` from the
 * last run's memory (if there is one), after `connection` said that it is not connected. All other calls go through.
 */
export function withSnapshot(store: Store, db: Database, clock: Clock, log: Log = silentLog): Store {
  db.exec(SCHEMA)
  const memories = new Set<Memory<Kind>>()
  return {
    get: (kind, name, namespace) => store.get(kind, name, namespace),
    list: (kind, options) => store.list(kind, options),
    create: (kind, object) => store.create(kind, object),
    update: (kind, object) => store.update(kind, object),
    updateStatus: (kind, object) => store.updateStatus(kind, object),
    patch: (kind, name, patch, options) => store.patch(kind, name, patch, options),
    delete: (kind, name, options) => store.delete(kind, name, options),
    watch<K extends Kind>(kind: K, handlers: WatchHandlers<K>, options: ListOptions = {}): Watch {
      const memory = new Memory({ db, clock, log }, kind, options)
      memories.add(memory as unknown as Memory<Kind>)
      const watch = store.watch(kind, remembering(memory, handlers), options)
      return {
        close: () => {
          watch.close()
          memory.close()
          memories.delete(memory as unknown as Memory<Kind>)
        },
      }
    },
    async close() {
      await store.close()
      for (const memory of memories) memory.close()
    },
  }
}

function remembering<K extends Kind>(memory: Memory<K>, handlers: WatchHandlers<K>): WatchHandlers<K> {
  let served = false
  return {
    event(event) {
      served = true
      if (event.type === 'sync') memory.replace(event.items, event.resourceVersion)
      else memory.note(event.item, event.type === 'gone')
      handlers.event(event)
    },
    connection(state) {
      handlers.connection?.(state)
      if (state.connected || served) return
      served = true
      const last = memory.recall()
      if (last !== undefined) handlers.event({ type: 'sync', ...last })
    },
  }
}

/** What one watch last saw. */
class Memory<K extends Kind> {
  readonly #db: Database
  readonly #clock: Clock
  readonly #log: Log
  readonly #kind: K
  readonly #scope: string
  readonly #dirty = new Map<string, Resource<K> | undefined>()
  /** A whole state that is not on disk yet; `#dirty` comes on top of it. */
  #whole: { items: readonly Resource<K>[]; version: string } | undefined
  #cancel: Cancel | undefined
  #refused = false
  #closed = false

  constructor(
    { db, clock, log }: { db: Database; clock: Clock; log: Log },
    kind: K,
    { namespace, labelSelector, fieldSelector }: ListOptions,
  ) {
    this.#db = db
    this.#clock = clock
    this.#log = log
    this.#kind = kind
    this.#scope = JSON.stringify([kind, namespace ?? '', labelSelector ?? '', fieldSelector ?? ''])
  }

  /** The last state on disk; undefined when this was never in sync. An object that is no longer valid is left out. */
  recall(): { items: Resource<K>[]; resourceVersion: string } | undefined {
    const row = this.#db.prepare('SELECT version FROM snapshot_version WHERE scope = ?').get(this.#scope)
    if (row === undefined) return undefined
    const rows = this.#db.prepare('SELECT json FROM snapshot WHERE scope = ? ORDER BY object').all(this.#scope)
    const items = rows.flatMap(({ json }) => {
      const item = validate(this.#kind, parseJson(String(json)))
      return Array.isArray(item) ? [] : [item as Resource<K>]
    })
    return { items, resourceVersion: String(row['version']) }
  }

  replace(items: readonly Resource<K>[], version: string): void {
    this.#dirty.clear()
    this.#whole = { items, version }
    this.#flush()
  }

  note(item: Resource<K>, gone: boolean): void {
    this.#dirty.set(keyOf(item), gone ? undefined : item)
    this.#cancel ??= this.#clock.after(WRITE_DELAY_MS, () => this.#flush())
  }

  close(): void {
    this.#closed = true
    this.#flush()
  }

  #flush(): void {
    this.#cancel?.()
    this.#cancel = undefined
    if (this.#whole === undefined && this.#dirty.size === 0) return
    try {
      transaction(this.#db, () => this.#write())
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      if (!this.#refused)
        this.#log.error({ err: error, kind: this.#kind }, 'what was watched cannot be written; is the disk full?')
      this.#refused = true
      if (!this.#closed) this.#cancel = this.#clock.after(RETRY_MS, () => this.#flush())
      return
    }
    this.#refused = false
    this.#whole = undefined
    this.#dirty.clear()
  }

  #write(): void {
    if (this.#whole !== undefined) {
      this.#db.prepare('DELETE FROM snapshot WHERE scope = ?').run(this.#scope)
      for (const item of this.#whole.items) this.#put(item)
      this.#db.prepare('INSERT OR REPLACE INTO snapshot_version VALUES (?, ?)').run(this.#scope, this.#whole.version)
    }
    const remove = this.#db.prepare('DELETE FROM snapshot WHERE scope = ? AND object = ?')
    for (const [key, item] of this.#dirty)
      if (item === undefined) remove.run(this.#scope, key)
      else this.#put(item)
  }

  #put(item: Resource<K>): void {
    const put = this.#db.prepare('INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)')
    put.run(this.#scope, keyOf(item), emitJson(item))
  }
}

function keyOf({ metadata }: { metadata: { name: string; namespace?: string } }): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`
}
