// The objects of one kind as a map, fed by one watch, and which of them the file on disk lacks.
import { keepFixedFields } from '../api/fixed-fields.ts'
import { sameJson } from '../api/json.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import type { RefusedObject } from '../api/validate.ts'
import type { Cancel } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { MAY_BE_ABSENT } from './fields.ts'
import { type Fields, NotFound, type RefusedEvent, type Store, type Watch, type WatchEvent } from './port.ts'
import type { SnapshotRow } from './snapshot.ts'

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
  /** The version of the server that the objects stand for, where it is known; it moves on without a change of an object too. */
  readonly version: string | undefined
  /** Whether the watch is connected to a server now. */
  readonly connected: boolean
  /** Why it is not connected, as far as is known. */
  readonly cause: Error | undefined
  /** What the server holds and is not valid. Such an object counts as it was when it was valid, or not at all. */
  readonly refused: readonly RefusedObject[]
  /** Calls `listen` for each object that appeared, changed in a field that is kept, or went. Returns how to stop. */
  onChange(listen: (change: CacheChange<K>) => void): Cancel
  /** Calls `listen` when `known`, `synced`, `connected` or `refused` changed; after the changes of a sync. Returns how to stop. */
  onState(listen: () => void): Cancel
}

/** `key` is the name, in a namespace `namespace/name`. `before` is absent for a new object, `after` for one that went. */
export type CacheChange<K extends Kind> = { key: string; before?: Resource<K>; after?: Resource<K> }

/** Changes are written together, so that a busy cluster does not cost a node an fsync per event. */
const WRITE_DELAY_MS = 1000
/** How long a version alone, without a changed object, waits to be written. */
const VERSION_DELAY_MS = 10_000

type KindDeps = {
  log: Log
  later(delayMs: number): void
  /** The server told what may not be believed: `believe` or `doubt` follows. */
  judge(): void
  /** The watch is connected, and was not; `isNew`: the server did not serve the kind before. */
  back(isNew: boolean): void
}

/** Which objects of a kind, and what of them. `name` is what the file calls them. */
type KindPart<K extends Kind> = { kind: K; name: string; fields: Fields; fieldSelector?: string }

/** The cache of one kind, or of a part of it, driven by `Caches`. */
export class KindCache<K extends Kind> implements Cache<K> {
  readonly kind: K
  readonly name: string
  /** Those that are kept, as a text to compare. */
  readonly fields: string
  readonly #part: KindPart<K>
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
  #cause: Error | undefined
  #wasConnected = false
  readonly #refused = new Map<string, RefusedObject>()
  /** The version that the items stand for, and the one on disk. */
  #version: string | undefined
  #versionOnDisk: string | undefined
  #watch: Watch | undefined
  /** What the server says, while it is not believed yet, or not any more; `#items` is what it said before. */
  #claimed: { items: Map<string, Resource<K>>; version: string | undefined } | undefined

  constructor(part: KindPart<K>, deps: KindDeps) {
    this.kind = part.kind
    this.name = part.name
    this.fields = JSON.stringify(part.fields)
    this.#part = part
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

  get version(): string | undefined {
    return this.#version
  }

  get connected(): boolean {
    return this.#connected === true
  }

  get cause(): Error | undefined {
    return this.#cause
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

  /** The versions are those of another server: the watch begins with a list, and the file is written anew. */
  listAnew(): void {
    this.#version = undefined
    this.writeAnew()
  }

  /** The file has nothing any more. */
  writeAnew(): void {
    this.#versionOnDisk = undefined
    for (const key of this.#items.keys()) this.#dirty.add(key)
  }

  /** The versions may be those of another server: the watch begins anew with a list, where it did not. */
  followAnew(store: Store): void {
    if (this.#version === undefined) return
    this.#version = undefined
    this.follow(store)
  }

  follow(store: Store): void {
    this.#watch?.close()
    this.#watch = store.watch(
      this.kind,
      {
        event: event => this.#event(event),
        refused: event => this.#refuse(event),
        version: version => this.#told(version),
        connection: state => this.connection(state),
      },
      {
        fields: this.#part.fields,
        fieldSelector: this.#part.fieldSelector,
        mayBeAbsent: MAY_BE_ABSENT.has(this.kind),
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
    const isNew = connected && this.#cause instanceof NotFound
    const otherCause = this.#cause?.message !== cause?.message
    this.#cause = cause
    const back = connected && news && this.#wasConnected
    this.#wasConnected ||= connected
    if (usable) this.#state = 'synced'
    if (news || usable || otherCause) this.#tellState()
    // it may be another server that answers now
    if (back) this.#deps.judge()
    if (connected && news) this.#deps.back(isNew)
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

  /** What was known, and what the server says now, where that is another state and not believed yet. */
  get claim(): { before: Iterable<Resource<K>>; after: Iterable<Resource<K>> } | undefined {
    return this.#claimed && { before: this.#items.values(), after: this.#claimed.items.values() }
  }

  /** From now on what the server says is only noted; what was known before counts. */
  doubt(): void {
    this.#claimed ??= { items: new Map(this.#items), version: undefined }
    this.stopWaiting()
    this.#tellState()
  }

  /** Takes what the server says. */
  believe(): void {
    const claimed = this.#claimed
    if (claimed === undefined) return
    this.#claimed = undefined
    const complete = this.#state !== 'empty' || claimed.version !== undefined
    if (complete) this.#sync(claimed.items.values())
    if (claimed.version !== undefined) this.#told(claimed.version)
    this.#tellState()
  }

  /** At most `limit` rows that the file lacks, and the version when the file has all rows with them. */
  waiting(limit: number): { rows: SnapshotRow[]; version: string | undefined; more: boolean } {
    const rows: SnapshotRow[] = []
    for (const key of this.#dirty) {
      if (rows.length === limit) return { rows, version: undefined, more: true }
      rows.push({ kind: this.name, key, object: this.#items.get(key) })
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
      if (this.#claimed === undefined) this.#set(event.item)
      else this.#claimed.items.set(keyOfObject(event.item), event.item)
    } else if (event.type === 'gone') this.#gone(keyOfObject(event.item))
    else if (this.#state === 'empty' && this.#claimed === undefined) this.#sync(event.items)
    else {
      const items = new Map(event.items.map(item => [keyOfObject(item), item]))
      for (const key of this.#refused.keys()) {
        const kept = this.#items.get(key)
        if (kept !== undefined) items.set(key, kept)
      }
      this.#claimed = { items, version: event.resourceVersion }
    }
    if (this.#claimed !== undefined) this.#deps.judge()
  }

  #sync(items: Iterable<Resource<K>>): void {
    const gone = new Set(this.#items.keys())
    for (const item of items) {
      gone.delete(keyOfObject(item))
      this.#set(item)
    }
    for (const key of gone) this.#remove(key)
    const first = this.#state !== 'synced'
    this.#state = 'synced'
    if (first) this.#tellState()
  }

  #gone(key: string): void {
    this.#accept(key)
    if (this.#claimed === undefined) this.#remove(key)
    else this.#claimed.items.delete(key)
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
    } else this.#gone(key)
  }

  /** The object is valid again, or gone. */
  #accept(key: string): void {
    if (this.#refused.delete(key)) this.#tellState()
  }

  /** An event about an object that was not valid is news even where the object is again what it was. */
  #held(key: string): Resource<K> | undefined {
    return this.#refused.has(key) ? undefined : (this.#claimed?.items ?? this.#items).get(key)
  }

  #told(version: string): void {
    if (this.#claimed !== undefined) {
      this.#claimed.version = version
      return
    }
    this.#version = version
    this.#deps.later(VERSION_DELAY_MS)
  }

  #set(object: Resource<K>, { toDisk = true } = {}): void {
    const key = keyOfObject(object)
    const before = this.#items.get(key)
    const { item: after, problems } = keepFixedFields(this.kind, before, object)
    if (problems.length > 0) {
      this.#refused.set(key, { name: object.metadata.name, problems })
      this.#tellState()
    }
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
