// One watch per kind, kept as a map, whoever asks for it. Only the fields of `fields.ts` are kept, so that a heartbeat is
// decoded and forgotten. Behind the maps is a file: a restart has the last state at once and watches on from there, and
// without an API server goes on with it. Hazards: a map is handed out as in sync only when the server confirmed the
// version or cannot be reached; a snapshot of another server's versions must never be resumed; a full disk costs the
// file alone, never the watch.
import { sameJson } from '../api/json.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { type Database, DatabaseError } from '../lib/database.ts'
import type { Log } from '../lib/log.ts'
import { cachedFields } from './fields.ts'
import {
  isStoreError,
  NotFound,
  Refused,
  type RefusedEvent,
  type RefusedObject,
  type Store,
  type Watch,
  type WatchEvent,
} from './port.ts'
import { Snapshot, type SnapshotRow } from './snapshot.ts'

/**
 * The objects of one kind, as far as their fields are used: never write one back to the store. Objects are not changed
 * in place: an object that is the same value as before has not changed.
 */
export type Cache<K extends Kind> = {
  get(name: string, namespace?: string): Resource<K> | undefined
  /** Every object, by namespace and name. The same array until something changes. */
  all(): readonly Resource<K>[]
  readonly size: number
  /** Whether this is the whole state: the server's, or while it cannot be reached that of the last run. */
  readonly synced: boolean
  /** Whether there is a whole state at all: `synced`, or at the start that of the last run, not yet confirmed. */
  readonly known: boolean
  /** Whether the watch is connected to a server now. */
  readonly connected: boolean
  /** What the server holds and is not valid. Such an object counts as it was when it was valid, or not at all. */
  readonly refused: readonly RefusedObject[]
  /** Calls `listen` for each object that appeared, changed in a field that is kept, or went. Returns how to stop. */
  onChange(listen: (change: CacheChange<K>) => void): Cancel
  /** Calls `listen` when `known`, `synced`, `connected` or `refused` changed; after the changes of a sync. Returns how to stop. */
  onState(listen: () => void): Cancel
}

/** `key` is the name, in a namespace `namespace/name`. `before` is absent for a new object, `after` for one that went. */
export type CacheChange<K extends Kind> = { key: string; before?: Resource<K>; after?: Resource<K> }

export type CacheDeps = { database: Database; clock: Clock; log: Log }

/** Changes are written together, so that a busy cluster does not cost a node an fsync per event. */
const WRITE_DELAY_MS = 1000
/** How long a version alone, without a changed object, waits to be written. */
const VERSION_DELAY_MS = 10_000
/** How long after a refused write it is tried again. */
const RETRY_MS = 10_000
/** How long a start waits for the server before it goes on with the last run's state. */
const PATIENCE_MS = 2000
/** Most rows of one transaction (about 5 ms), and the pause before the next one: a pod's ADD does not wait longer. */
const SLICE_ROWS = 500
const SLICE_PAUSE_MS = 20
const FIRST_RETRY_MS = 200
const MAX_RETRY_MS = 10_000
/** Every API server has this namespace from its first start on, and it cannot be deleted. */
const FIRST_NAMESPACE = 'default'

/** The caches of one process. Nothing is asked of the server before `start`. Throws DatabaseError. */
export function openCaches(store: Store, deps: CacheDeps): Caches {
  return new Caches(store, deps)
}

export class Caches {
  readonly #store: Store
  readonly #clock: Clock
  readonly #log: Log
  readonly #snapshot: Snapshot
  readonly #caches = new Map<Kind, KindCache<Kind>>()
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MAX_RETRY_MS })
  #started = false
  /** The server is known, and whether the snapshot is its own: the watches run. */
  #open = false
  #closed = false
  #writing: { cancel: Cancel; dueMs: number } | undefined
  #retrying: Cancel = () => undefined
  #patience: Cancel = () => undefined
  #refused = false

  constructor(store: Store, { database, clock, log }: CacheDeps) {
    this.#store = store
    this.#clock = clock
    this.#log = log
    this.#snapshot = new Snapshot(database)
  }

  /** The cache of a kind; the first who asks starts its one watch. */
  of<K extends Kind>(kind: K): Cache<K> {
    const known = this.#caches.get(kind)
    if (known !== undefined) return known as unknown as Cache<K>
    const cache = new KindCache<Kind>(kind, { log: this.#log, later: delayMs => this.#writeLater(delayMs) })
    this.#caches.set(kind, cache)
    if (this.#started) this.#recall(cache)
    if (this.#open) cache.follow(this.#store)
    return cache as unknown as Cache<K>
  }

  /** Hands out what the last run saw, and begins to watch. */
  start(): void {
    this.#started = true
    for (const cache of this.#caches.values()) this.#recall(cache)
    this.#patience = this.#clock.after(PATIENCE_MS, () => {
      for (const cache of this.#caches.values()) cache.stopWaiting()
    })
    void this.#connect()
  }

  /** Ends the watches and writes what waits. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#retrying()
    this.#patience()
    for (const cache of this.#caches.values()) cache.close()
    while (this.#write());
    this.#writing?.cancel()
    this.#writing = undefined
  }

  #recall(cache: KindCache<Kind>): void {
    const last = this.#snapshot.read(cache.kind)
    if (last !== undefined) cache.recall(last.objects as Resource<Kind>[], last.version)
  }

  /** Learns which server this is, trying until it answers; then starts the watches. */
  async #connect(): Promise<void> {
    try {
      const uid = await this.#serverUid()
      if (this.#closed) return
      if (uid === undefined || uid !== this.#snapshot.server) {
        for (const cache of this.#caches.values()) cache.listAnew()
        this.#adopt(uid ?? '')
      }
      this.#open = true
      for (const cache of this.#caches.values()) cache.follow(this.#store)
    } catch (error) {
      if (!isStoreError(error)) throw error
      if (this.#closed) return
      for (const cache of this.#caches.values()) cache.connection({ connected: false, cause: error })
      this.#retrying = this.#clock.after(this.#backoff.next(), () => void this.#connect())
    }
  }

  /** Undefined where it may not be read: then nothing is resumed. A store without namespaces is always the same. */
  async #serverUid(): Promise<string | undefined> {
    try {
      return (await this.#store.get('Namespace', FIRST_NAMESPACE)).metadata.uid
    } catch (error) {
      if (error instanceof NotFound) return 'none'
      if (error instanceof Refused) return undefined
      throw error
    }
  }

  #adopt(uid: string): void {
    try {
      this.#snapshot.adopt(uid)
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      this.#log.error({ err: error }, 'the snapshot cannot be written; is the disk full?')
    }
  }

  #writeLater(delayMs: number): void {
    if (this.#closed) return
    const dueMs = this.#clock.monotonicMs() + delayMs
    if (this.#writing !== undefined && this.#writing.dueMs <= dueMs) return
    this.#writing?.cancel()
    const cancel = this.#clock.after(delayMs, () => {
      this.#writing = undefined
      if (this.#write()) this.#writeLater(SLICE_PAUSE_MS)
    })
    this.#writing = { cancel, dueMs }
  }

  /** Writes one slice of what waits; whether more is left. A refused write is tried again later. */
  #write(): boolean {
    const parts = [...this.#caches.values()].map(cache => ({ cache, ...cache.waiting(SLICE_ROWS) }))
    const versions = new Map(
      parts.flatMap(({ cache, version }) => (version === undefined ? [] : [[cache.kind, version]])),
    )
    const rows = parts.flatMap(part => part.rows)
    if (rows.length === 0 && versions.size === 0) return false
    try {
      this.#snapshot.write(rows, versions)
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      if (!this.#refused) this.#log.error({ err: error }, 'the snapshot cannot be written; is the disk full?')
      this.#refused = true
      this.#writeLater(RETRY_MS)
      return false
    }
    this.#refused = false
    for (const { cache, rows: written, version } of parts) cache.written(written, version)
    return parts.some(({ more }) => more)
  }
}

type KindDeps = { log: Log; later(delayMs: number): void }

class KindCache<K extends Kind> implements Cache<K> {
  readonly kind: K
  readonly #deps: KindDeps
  readonly #items = new Map<string, Resource<K>>()
  readonly #changed = new Set<(change: CacheChange<K>) => void>()
  readonly #stateChanged = new Set<() => void>()
  /** Keys whose rows on disk are behind. */
  readonly #dirty = new Set<string>()
  #sorted: readonly Resource<K>[] | undefined
  /** Where the items come from: nowhere yet, the file (not yet confirmed), or good enough to work with. */
  #state: 'empty' | 'recalled' | 'synced' = 'empty'
  #connected: boolean | undefined
  readonly #refused = new Map<string, RefusedObject>()
  /** The version that the items stand for, and the one on disk. */
  #version: string | undefined
  #versionOnDisk: string | undefined
  #watch: Watch | undefined

  constructor(kind: K, deps: KindDeps) {
    this.kind = kind
    this.#deps = deps
  }

  get(name: string, namespace?: string): Resource<K> | undefined {
    return this.#items.get(keyOf(name, namespace))
  }

  all(): readonly Resource<K>[] {
    this.#sorted ??= [...this.#items].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item)
    return this.#sorted
  }

  get size(): number {
    return this.#items.size
  }

  get synced(): boolean {
    return this.#state === 'synced'
  }

  get known(): boolean {
    return this.#state !== 'empty'
  }

  get connected(): boolean {
    return this.#connected === true
  }

  get refused(): readonly RefusedObject[] {
    return [...this.#refused.values()]
  }

  onChange(listen: (change: CacheChange<K>) => void): Cancel {
    this.#changed.add(listen)
    return () => void this.#changed.delete(listen)
  }

  onState(listen: () => void): Cancel {
    this.#stateChanged.add(listen)
    return () => void this.#stateChanged.delete(listen)
  }

  /** Takes the state of an earlier run, which is not in sync before the server confirms it or is found to be away. */
  recall(objects: readonly Resource<K>[], version: string): void {
    this.#version = version
    this.#versionOnDisk = version
    for (const object of objects) this.#set(object, { toDisk: false })
    this.#state = 'recalled'
    this.#tellState()
  }

  /** The items came from another server: the watch begins with a list, and the file is written anew. */
  listAnew(): void {
    this.#version = undefined
    this.#versionOnDisk = undefined
    for (const key of this.#items.keys()) this.#dirty.add(key)
  }

  follow(store: Store): void {
    this.#watch = store.watch(
      this.kind,
      {
        event: event => this.#event(event),
        refused: event => this.#refuse(event),
        version: version => this.#told(version),
        connection: state => this.connection(state),
      },
      {
        fields: cachedFields(this.kind),
        held: (name, namespace) => this.#held(keyOf(name, namespace)),
        ...(this.#version === undefined ? {} : { since: this.#version }),
      },
    )
  }

  /** While the server is away, and once it took our version, the items of the last run are good enough. */
  connection({ connected, cause }: { connected: boolean; cause?: Error }): void {
    const news = this.#connected !== connected
    const usable = this.#state === 'recalled' && (!connected || this.#version !== undefined)
    if (news)
      this.#deps.log[connected ? 'info' : 'warn'](
        { kind: this.kind, err: cause },
        connected ? 'watch connected' : 'watch lost',
      )
    this.#connected = connected
    if (usable) this.#state = 'synced'
    if (news || usable) this.#tellState()
  }

  /** The server takes too long to answer: the items of the last run are good enough until it does. */
  stopWaiting(): void {
    if (this.#state !== 'recalled') return
    this.#state = 'synced'
    this.#tellState()
  }

  close(): void {
    this.#watch?.close()
  }

  /** At most `limit` rows that the file lacks, and the version when the file has all rows with them. */
  waiting(limit: number): { rows: SnapshotRow[]; version: string | undefined; more: boolean } {
    const rows: SnapshotRow[] = []
    for (const key of this.#dirty) {
      if (rows.length === limit) return { rows, version: undefined, more: true }
      rows.push({ kind: this.kind, key, object: this.#items.get(key) })
    }
    // from the older version a restart hears of the objects again that are not valid, and can tell of them
    const isNews = this.#version !== this.#versionOnDisk && this.#refused.size === 0
    return { rows, version: isNews ? this.#version : undefined, more: false }
  }

  written(rows: readonly SnapshotRow[], version: string | undefined): void {
    for (const { key } of rows) this.#dirty.delete(key)
    if (version !== undefined) this.#versionOnDisk = version
  }

  #event(event: WatchEvent<K>): void {
    if (event.type === 'set') {
      this.#accept(keyOfObject(event.item))
      this.#set(event.item)
    } else if (event.type === 'gone') {
      this.#accept(keyOfObject(event.item))
      this.#remove(keyOfObject(event.item))
    } else {
      const gone = new Set(this.#items.keys())
      for (const item of event.items) {
        gone.delete(keyOfObject(item))
        this.#set(item)
      }
      for (const key of this.#refused.keys()) gone.delete(key)
      for (const key of gone) this.#remove(key)
      const first = this.#state !== 'synced'
      this.#state = 'synced'
      if (first) this.#tellState()
    }
  }

  /** Objects that are not valid stay what they were before; told once per change. */
  #refuse(event: RefusedEvent): void {
    if (event.type === 'sync') {
      if (event.objects.length === 0 && this.#refused.size === 0) return
      this.#refused.clear()
      for (const object of event.objects) this.#refused.set(keyOf(object.name, object.namespace), object)
      this.#tellState()
      return
    }
    const key = keyOf(event.object.name, event.object.namespace)
    if (event.type === 'set') {
      this.#refused.set(key, event.object)
      this.#tellState()
    } else {
      this.#accept(key)
      this.#remove(key)
    }
  }

  /** The object is valid again, or gone. */
  #accept(key: string): void {
    if (this.#refused.delete(key)) this.#tellState()
  }

  /** An event about an object that was not valid is news even where the object is again what it was. */
  #held(key: string): Resource<K> | undefined {
    return this.#refused.has(key) ? undefined : this.#items.get(key)
  }

  #told(version: string): void {
    this.#version = version
    this.#deps.later(VERSION_DELAY_MS)
  }

  #set(after: Resource<K>, { toDisk = true } = {}): void {
    const key = keyOfObject(after)
    const before = this.#items.get(key)
    if (before !== undefined && sameJson(before, after)) return
    this.#items.set(key, after)
    this.#tell(before === undefined ? { key, after } : { key, before, after }, toDisk)
  }

  #remove(key: string): void {
    const before = this.#items.get(key)
    if (before === undefined) return
    this.#items.delete(key)
    this.#tell({ key, before }, true)
  }

  #tell(change: CacheChange<K>, toDisk: boolean): void {
    this.#sorted = undefined
    if (toDisk) {
      this.#dirty.add(change.key)
      this.#deps.later(WRITE_DELAY_MS)
    }
    for (const listen of this.#changed) listen(change)
  }

  #tellState(): void {
    for (const listen of this.#stateChanged) listen()
  }
}

function keyOf(name: string, namespace: string | undefined): string {
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`
}

function keyOfObject({ metadata }: { metadata: { name: string; namespace?: string } }): string {
  return keyOf(metadata.name, metadata.namespace)
}
