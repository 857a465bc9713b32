// The kinds that routing depends on, as the caches have them. One listener, told after a burst of changes and not within
// it.
import type { Kind, Resource } from '../api/kinds.ts'
import type { Caches } from '../datastore/cache.ts'
import type { Cancel } from '../lib/clock.ts'

const WATCHED = [
  'Node',
  'IPPool',
  'BGPConfiguration',
  'BGPPeer',
  'FelixConfiguration',
] as const satisfies readonly Kind[]
type Watched = (typeof WATCHED)[number]

export class ClusterView {
  readonly #caches: Caches
  #cancels: readonly Cancel[] = []
  #told = false

  constructor(caches: Caches) {
    this.#caches = caches
    for (const kind of WATCHED) caches.of(kind)
  }

  /** `changed` is called once after each burst of changes, from a fresh turn of the event loop. */
  start(changed: () => void): void {
    const tell = () => {
      if (this.#told) return
      this.#told = true
      setImmediate(() => {
        this.#told = false
        changed()
      })
    }
    const caches = WATCHED.map(kind => this.#caches.of(kind))
    this.#cancels = caches.flatMap(cache => [cache.onChange(tell), cache.onState(tell)])
    tell()
  }

  /** Whether every kind was seen whole (at the server, or while it is away in the last run). */
  get synced(): boolean {
    return WATCHED.every(kind => this.#caches.of(kind).synced)
  }

  /** Whether every watch is connected to a server right now. */
  get connected(): boolean {
    return WATCHED.every(kind => this.#caches.of(kind).connected)
  }

  all<K extends Watched>(kind: K): readonly Resource<K>[] {
    return this.#caches.of(kind).all()
  }

  get<K extends Watched>(kind: K, name: string): Resource<K> | undefined {
    return this.#caches.of(kind).get(name)
  }

  close(): void {
    for (const cancel of this.#cancels) cancel()
  }
}
