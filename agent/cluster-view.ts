// The cluster as this node last saw it: the kinds that routing depends on, watched for ever. One listener, told after
// a burst and not within it.
import type { Kind, Resource } from '../api/kinds.ts'
import type { Store, Watch } from '../datastore/port.ts'
import type { Log } from '../lib/log.ts'

const WATCHED = [
  'Node',
  'IPPool',
  'BGPConfiguration',
  'BGPPeer',
  'FelixConfiguration',
] as const satisfies readonly Kind[]
type Watched = (typeof WATCHED)[number]

export class ClusterView {
  readonly #items: { [K in Watched]: Map<string, Resource<K>> } = {
    Node: new Map(),
    IPPool: new Map(),
    BGPConfiguration: new Map(),
    BGPPeer: new Map(),
    FelixConfiguration: new Map(),
  }
  readonly #synced = new Set<Kind>()
  readonly #log: Log
  #connected = new Map<Kind, boolean>()
  #watches: Watch[] = []
  #told = false

  constructor(log: Log) {
    this.#log = log
  }

  /** Follows `store`; `changed` is called once after each burst of events, from a fresh turn of the event loop. */
  start(store: Store, changed: () => void): void {
    const tell = () => {
      if (this.#told) return
      this.#told = true
      setImmediate(() => {
        this.#told = false
        changed()
      })
    }
    this.#watches = WATCHED.map(kind => this.#follow(store, kind, tell))
  }

  /** Whether every kind was seen whole once (from the server, or from the snapshot of an earlier run). */
  get synced(): boolean {
    return this.#synced.size === WATCHED.length
  }

  /** Whether every watch is connected to a server right now. */
  get connected(): boolean {
    return WATCHED.every(kind => this.#connected.get(kind) === true)
  }

  all<K extends Watched>(kind: K): Resource<K>[] {
    return [...this.#items[kind].values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  }

  get<K extends Watched>(kind: K, name: string): Resource<K> | undefined {
    return this.#items[kind].get(name)
  }

  close(): void {
    for (const watch of this.#watches) watch.close()
  }

  #follow<K extends Watched>(store: Store, kind: K, tell: () => void): Watch {
    const items: Map<string, Resource<K>> = this.#items[kind]
    return store.watch(kind, {
      event: event => {
        if (event.type === 'sync') {
          items.clear()
          for (const item of event.items) items.set(item.metadata.name, item)
          this.#synced.add(kind)
        } else if (event.type === 'set') items.set(event.item.metadata.name, event.item)
        else items.delete(event.item.metadata.name)
        tell()
      },
      connection: ({ connected, cause }) => {
        if (this.#connected.get(kind) !== connected)
          this.#log[connected ? 'info' : 'warn']({ kind, err: cause }, connected ? 'watch connected' : 'watch lost')
        this.#connected.set(kind, connected)
        tell()
      },
    })
  }
}
