// One watch per kind, kept as a map, whoever asks for it. Only the fields of `fields.ts` are kept, so that a heartbeat is
// decoded and forgotten. Behind the maps is a file: a restart has the last state at once and watches on from there, and
// without an API server goes on with it. Hazards: a map is handed out as in sync only when the server confirmed the
// version or cannot be reached; a snapshot of another server's versions must never be resumed; a server that knows nothing
// any more must not empty the maps (`trust.ts`); a full disk costs the file alone, never the watch.
import type { ApiGroup } from '../api/api-group.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { type Database, DatabaseError } from '../lib/database.ts'
import type { Log } from '../lib/log.ts'
import { cachedFields, ENDPOINT_READINESS, MAY_BE_ABSENT, OWN_NODE } from './fields.ts'
import { type Cache, KindCache } from './kind-cache.ts'
import { isStoreError, NotFound, Refused, type Store } from './port.ts'
import { type Origin, Snapshot } from './snapshot.ts'
import { type Doubt, Trust } from './trust.ts'

export type CacheDeps = {
  database: Database
  clock: Clock
  log: Log
  /** The name of this node's Node object, which a server that is believed does not lose. */
  self?: string
  /** A person decided that a server is believed after so long, whatever it lost. Absent: a person confirms it. */
  acceptAfterMs?: number
}

/** How long after a refused write it is tried again. */
const RETRY_MS = 10_000
/** How long a start waits for the server before it goes on with the last run's state. */
const PATIENCE_MS = 2000
/** Most rows of one transaction (about 5 ms), and the pause before the next one: a pod's ADD does not wait longer. */
const SLICE_ROWS = 500
const SLICE_PAUSE_MS = 20
const FIRST_RETRY_MS = 200
/** One watch that is connected again lets the others try at once, no more often than this. */
const HURRY_MS = 1000
/** The CRDs of one manifest are served one after another, within seconds: after the first of them the others are asked for again. */
const SERVED_MS = 10_000
const MAX_RETRY_MS = 10_000
/** Every API server has this namespace from its first start on, and it cannot be deleted. */
const FIRST_NAMESPACE = 'default'
/** In place of its uid, of a server that does not have it. */
const NO_NAMESPACE = 'none'

/** The caches of one process. Nothing is asked of the server before `start`. Throws DatabaseError. */
export function openCaches(store: Store, deps: CacheDeps): Caches {
  return new Caches(store, deps)
}

export class Caches {
  readonly #store: Store
  readonly #clock: Clock
  readonly #log: Log
  readonly #snapshot: Snapshot
  readonly #caches = new Map<string, KindCache<Kind>>()
  /** Of what was recalled of a kind. */
  readonly #recalledFrom = new Map<string, Origin>()
  /** The group of the server; before it is known, that of the last run. */
  #group: ApiGroup
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MAX_RETRY_MS })
  #started = false
  /** The server is known, and whether the snapshot is its own: the watches run. */
  #open = false
  #closed = false
  #writing: { cancel: Cancel; dueMs: number } | undefined
  #retrying: Cancel = () => undefined
  #patience: Cancel = () => undefined
  #serving: Cancel = () => undefined
  #connecting = false
  #hurriedMs = Number.NEGATIVE_INFINITY
  #refused = false
  readonly #trust: Trust

  constructor(store: Store, { database, clock, log, self, acceptAfterMs }: CacheDeps) {
    this.#store = store
    this.#clock = clock
    this.#log = log
    this.#snapshot = new Snapshot(database)
    this.#group = this.#snapshot.apiGroup ?? 'v3'
    this.#trust = new Trust({
      ...{ clock, log, self, acceptAfterMs },
      caches: () => [...this.#caches.values()],
      // a server whose identity may not be read is judged by its lists alone
      isOther: async () => {
        const uid = await this.#serverUid()
        return uid !== undefined && this.#isNamed && uid !== this.#snapshot.server
      },
      listAnew: () => {
        for (const cache of this.#caches.values()) if (this.#open) cache.followAnew(this.#store)
      },
      adopt: async () => {
        const uid = await this.#serverUid()
        if (uid === this.#snapshot.server) return
        this.#adopt(uid ?? '')
        for (const cache of this.#caches.values()) cache.writeAnew()
      },
    })
  }

  /** Why the server is not believed, and since when (milliseconds since the epoch); undefined when it is. */
  get doubt(): Doubt | undefined {
    return this.#trust.doubt
  }

  /**
   * Whether each watch is connected, and if not why, as one of them was told. A kind that the server is without counts as
   * connected unless objects of it are in use here.
   */
  get connection(): { connected: boolean; cause?: Error } {
    const lost = [...this.#caches.values()].filter(
      ({ kind, size, connected, cause }) =>
        !connected && !(size === 0 && MAY_BE_ABSENT.has(kind) && cause instanceof NotFound),
    )
    const cause = lost.find(cache => cache.cause !== undefined)?.cause
    return { connected: lost.length === 0, ...(cause && { cause }) }
  }

  /** A person confirms that the server is right: what it says is taken. Rejects as the store. */
  accept(): Promise<void> {
    return this.#trust.accept()
  }

  /** The cache of a kind; the first who asks starts its one watch. */
  of<K extends Kind>(kind: K): Cache<K> {
    return this.#cache({ kind, name: kind, fields: cachedFields(kind) })
  }

  /** Whether anybody asked for the cache of a kind: to look at it costs no watch. */
  asked(kind: Kind): boolean {
    return this.#caches.has(kind)
  }

  /** One Node with more of its fields than `of('Node')` has: that of the node that this program runs for. */
  ownNode(name: string): Cache<'Node'> {
    return this.#cache({
      ...{ kind: 'Node', name: `Node ${name}`, fields: OWN_NODE, fieldSelector: `metadata.name=${name}` },
    })
  }

  /** EndpointSlices with which endpoints are ready, and on which nodes, in place of addresses and ports. */
  endpointReadiness(): Cache<'EndpointSlice'> {
    return this.#cache({ kind: 'EndpointSlice', name: 'EndpointSlice readiness', fields: ENDPOINT_READINESS })
  }

  #cache<K extends Kind>(part: ConstructorParameters<typeof KindCache<K>>[0]): Cache<K> {
    const known = this.#caches.get(part.name)
    if (known !== undefined) return known as unknown as Cache<K>
    const cache = new KindCache<Kind>(part, {
      ...{ log: this.#log, later: delayMs => this.#writeLater(delayMs), judge: () => this.#trust.judge() },
      back: isNew => this.#hurryOthers(isNew),
    })
    this.#caches.set(part.name, cache)
    if (this.#started) this.#recall(cache)
    if (this.#open) {
      if (this.#trust.doubt !== undefined || this.#isOfOtherOrigin(cache)) cache.listAnew()
      cache.follow(this.#store)
    }
    if (this.#trust.doubt !== undefined) cache.doubt()
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

  /** The server, or the way to it, may be there again: nothing waits any longer for its next attempt. */
  retryNow(): void {
    if (!this.#started || this.#closed) return
    this.#store.retryNow()
    this.#trust.retryNow()
    if (!this.#open) void this.#connect()
  }

  /** Ends the watches and writes what waits. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#retrying()
    this.#patience()
    this.#serving()
    this.#trust.close()
    for (const cache of this.#caches.values()) cache.close()
    while (this.#write());
    this.#writing?.cancel()
    this.#writing = undefined
  }

  #recall(cache: KindCache<Kind>): void {
    const last = this.#snapshot.read(cache.name)
    if (last === undefined) return
    this.#recalledFrom.set(cache.name, last.origin)
    cache.recall(last.objects as Resource<Kind>[], last.version)
  }

  /** Learns which server this is, trying until it answers; then starts the watches. */
  async #connect(): Promise<void> {
    if (this.#connecting) return
    this.#connecting = true
    this.#retrying()
    try {
      const uid = await this.#serverUid()
      await this.#learnGroup()
      if (this.#closed) return
      const known = this.#snapshot.server
      const isOther = uid === undefined || uid !== known
      for (const cache of this.#caches.values()) if (isOther || this.#isOfOtherOrigin(cache)) cache.listAnew()
      if (isOther) {
        if (uid === undefined || !this.#isNamed || !this.#caches.values().some(cache => cache.known))
          this.#adopt(uid ?? '')
        else this.#trust.judge()
      }
      this.#open = true
      for (const cache of this.#caches.values()) cache.follow(this.#store)
    } catch (error) {
      if (!isStoreError(error)) throw error
      if (this.#closed) return
      for (const cache of this.#caches.values()) cache.connection({ connected: false, cause: error })
      this.#retrying = this.#clock.after(this.#backoff.next(), () => void this.#connect())
    } finally {
      this.#connecting = false
    }
  }

  /** In which API group the server has Calico's resources. One that does not tell has that of the last run. Rejects as the store where there was none. */
  async #learnGroup(): Promise<void> {
    const last = this.#snapshot.apiGroup
    try {
      const group = await this.#store.apiGroup(last)
      this.#group = group
      if (group !== last) this.#saved(() => this.#snapshot.noteApiGroup(group))
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
    }
  }

  /**
   * Whether what the last run saw of a kind are other objects than those of the server, with other versions, or other parts of
   * them: a watch that begins there tells neither.
   */
  #isOfOtherOrigin({ name, fields }: KindCache<Kind>): boolean {
    const from = this.#recalledFrom.get(name)
    return from !== undefined && (from.group !== this.#group || from.fields !== fields)
  }

  /** The server answers one watch: the others need not wait. Seldom, as a server may break all watches again and again. */
  #hurryOthers(isNew: boolean): void {
    if (isNew && !this.#closed) {
      this.#serving()
      this.#serving = this.#clock.after(SERVED_MS, () => this.retryNow())
    }
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#hurriedMs < HURRY_MS) return
    this.#hurriedMs = nowMs
    this.retryNow()
  }

  /** Whether the server of the file has said which one it is. */
  get #isNamed(): boolean {
    return !['', NO_NAMESPACE].includes(this.#snapshot.server)
  }

  /**
   * Undefined where it may not be read: then nothing is resumed. A store without namespaces is always the same; of a server
   * that has had the namespace NotFound is no answer, and rejects as the store.
   */
  async #serverUid(): Promise<string | undefined> {
    try {
      return (await this.#store.get('Namespace', FIRST_NAMESPACE)).metadata.uid
    } catch (error) {
      if (error instanceof NotFound && !this.#isNamed) return NO_NAMESPACE
      if (error instanceof Refused) return undefined
      throw error
    }
  }

  #adopt(uid: string): void {
    this.#saved(() => this.#snapshot.adopt(uid))
  }

  #saved(write: () => void): void {
    try {
      write()
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
      parts.flatMap(({ cache, version }) => (version === undefined ? [] : [[cache.name, version]])),
    )
    const rows = parts.flatMap(part => part.rows)
    if (rows.length === 0 && versions.size === 0) return false
    try {
      this.#snapshot.write(rows, versions, {
        group: this.#group,
        fieldsOf: name => this.#caches.get(name)!.fields,
      })
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
