// Keeps the status of the CalicoNodeStatus objects that name this node: written when an object comes or changes, and again
// every `updatePeriodSeconds`, where that is not 0. Hazard: neither many nodes nor many objects may become a load for the API
// server. So only this node's objects are watched (in Calico's stored form, which a server selects by name alone, the one that
// has the node's name), one write is under way at a time, and of all that were refused one is tried after each pause.
import { sameJson } from '../api/json.ts'
import type { Resource } from '../api/kinds.ts'
import { isStoreError, type Store, type Watch, type WatchHandlers } from '../datastore/port.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { calicoNodeStatus, type Observed } from './status/calico-node-status.ts'

type Wanted = Resource<'CalicoNodeStatus'>

export type NodeStatusesDeps = {
  nodeName: string
  store: Pick<Store, 'watch' | 'patch'>
  clock: Clock
  log: Log
  observe: () => Observed
}

/** How many objects are written every `updatePeriodSeconds`: where there are more, the newest. */
const MOST_REPEATED = 16
/** Bounds of `updatePeriodSeconds`; Calico's schema has the upper one. */
const LEAST_SECONDS = 5
const MOST_SECONDS = 86_400
/** Between two tries of what was refused. */
const FIRST_RETRY_MS = 5000
const MOST_RETRY_MS = 300_000

export class NodeStatuses {
  readonly #deps: NodeStatusesDeps
  readonly #objects = new Map<string, Wanted>()
  readonly #timers = new Map<string, Cancel>()
  #due: string[] = []
  /** Names whose last write was refused: the first is tried next. */
  readonly #refused = new Set<string>()
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MOST_RETRY_MS })
  #retry: Cancel | undefined
  #writing = false
  #closed = false
  #watch: Watch | undefined

  constructor(deps: NodeStatusesDeps) {
    this.#deps = deps
  }

  start(): void {
    const { store, nodeName } = this.#deps
    const handlers: WatchHandlers<'CalicoNodeStatus'> = {
      event: event => {
        if (event.type === 'gone') this.#forget(event.item.metadata.name)
        else if (event.type === 'set') this.#take(event.item)
        else this.#takeAll(event.items)
      },
    }
    this.#watch = store.watch('CalicoNodeStatus', handlers, {
      fieldSelector: `spec.node=${nodeName}`,
      storedName: nodeName,
      // the status is left out, so that nobody is told of what this node writes itself
      fields: { metadata: { name: true, uid: true, creationTimestamp: true }, spec: true },
      held: name => this.#objects.get(name),
    })
  }

  close(): void {
    this.#closed = true
    this.#watch?.close()
    this.#retry?.()
    for (const cancel of this.#timers.values()) cancel()
  }

  /** The server may be written again: what was refused waits no longer. */
  retryNow(): void {
    this.#retry?.()
    this.#retry = undefined
    const [first] = this.#refused
    if (first !== undefined && !this.#closed) this.#ask(first)
  }

  #takeAll(items: readonly Wanted[]): void {
    const names = new Set(items.map(({ metadata }) => metadata.name))
    for (const name of this.#objects.keys()) if (!names.has(name)) this.#forget(name)
    for (const item of items) this.#take(item)
  }

  #take(item: Wanted): void {
    // a server that does not know the selector sends those of other nodes too
    const { name } = item.metadata
    if (item.spec.node === this.#deps.nodeName) {
      const known = this.#objects.get(name)
      this.#objects.set(name, item)
      // a new list tells again what is known
      if (known === undefined || !sameJson(known, item)) this.#ask(name)
    } else this.#forget(name)
  }

  #forget(name: string): void {
    this.#objects.delete(name)
    this.#refused.delete(name)
    this.#stopTimer(name)
  }

  #stopTimer(name: string): void {
    this.#timers.get(name)?.()
    this.#timers.delete(name)
  }

  #ask(name: string): void {
    if (!this.#due.includes(name)) this.#due.push(name)
    if (!this.#writing) void this.#write()
  }

  async #write(): Promise<void> {
    this.#writing = true
    for (let name = this.#due.shift(); name !== undefined && !this.#closed; name = this.#due.shift()) {
      const object = this.#objects.get(name)
      if (object === undefined) continue
      this.#stopTimer(name)
      const wasRefused = this.#refused.delete(name)
      if (await this.#writeOne(name, object)) {
        this.#repeatLater(name)
        if (wasRefused) this.#due = [...new Set([...this.#due, ...this.#refused])]
      } else if (this.#objects.has(name)) this.#refused.add(name)
    }
    this.#writing = false
    this.#retryLater()
  }

  /** Whether it is written, or will never be. */
  async #writeOne(name: string, { spec }: Wanted): Promise<boolean> {
    const { store, clock, log, observe } = this.#deps
    const status = calicoNodeStatus(spec.classes, observe(), clock.wallMs())
    try {
      await store.patch('CalicoNodeStatus', name, { status }, { subresource: 'status' })
      return true
    } catch (error) {
      if (!isStoreError(error)) throw error
      if (error.name === 'NotFound') return true // its deletion is on the way
      log.warn({ name, error: error.message }, 'the status of a CalicoNodeStatus cannot be written; it is tried again')
      return false
    }
  }

  #repeatLater(name: string): void {
    const object = this.#objects.get(name)
    const periodMs = object && periodOf(object)
    if (periodMs === undefined || this.#closed || !this.#repeats(name)) return
    this.#timers.set(
      name,
      this.#deps.clock.after(periodMs, () => this.#ask(name)),
    )
  }

  /** After a pause one of those that were refused is tried: when it is written, the others are tried at once. */
  #retryLater(): void {
    if (this.#refused.size === 0) this.#backoff.reset()
    if (this.#refused.size === 0 || this.#closed || this.#retry !== undefined) return
    this.#retry = this.#deps.clock.after(this.#backoff.next(), () => this.retryNow())
  }

  #repeats(name: string): boolean {
    const born = ({ metadata }: Wanted): string => `${metadata.creationTimestamp ?? ''} ${metadata.name}`
    const repeated = [...this.#objects.values()].filter(object => periodOf(object) !== undefined)
    const newest = repeated.toSorted((a, b) => (born(a) < born(b) ? 1 : -1)).slice(0, MOST_REPEATED)
    return newest.some(({ metadata }) => metadata.name === name)
  }
}

/** In ms; undefined: once. */
function periodOf({ spec: { updatePeriodSeconds = 0 } }: Wanted): number | undefined {
  if (updatePeriodSeconds <= 0) return undefined
  return Math.min(Math.max(updatePeriodSeconds, LEAST_SECONDS), MOST_SECONDS) * 1000
}
