// Which Nodes there are, by a watch of their names and labels, and since when a name that somebody asks about has none. Only a reason to
// look: before anything is freed the Node is asked for once more, at the API server. Hazard: a program that waits for the
// leadership for months sees any number of Nodes go, and nobody asks it about one of them.
import type { Resource } from '../api/kinds.ts'
import type { Store, Watch, WatchEvent } from '../datastore/port.ts'
import type { Clock } from '../lib/clock.ts'

export type NodesDeps = {
  store: Store
  clock: Clock
  /** A Node went. */
  gone(name: string): void
}

const FIELDS = { metadata: { name: true, uid: true, labels: true } } as const
const NO_LABELS = {}

export class Nodes {
  readonly #deps: NodesDeps
  readonly #names = new Map<string, Readonly<Record<string, string>>>()
  /** Names that somebody asked about and that have no Node: since when, on the monotonic clock. */
  readonly #gone = new Map<string, number>()
  #synced = false
  #watch: Watch | undefined

  constructor(deps: NodesDeps) {
    this.#deps = deps
  }

  start(): void {
    this.#watch = this.#deps.store.watch('Node', { event: event => this.#follow(event) }, { fields: FIELDS })
  }

  close(): void {
    this.#watch?.close()
  }

  /** Whether the Nodes were listed. */
  get synced(): boolean {
    return this.#synced
  }

  get size(): number {
    return this.#names.size
  }

  /** Every Node with its labels. */
  all(): { name: string; labels: Readonly<Record<string, string>> }[] {
    return [...this.#names].map(([name, labels]) => ({ name, labels }))
  }

  /** How long there has been no Node of a name, as far as this program saw: counted from its first question on. */
  goneMs(name: string): number | undefined {
    if (this.#names.has(name)) return undefined
    const nowMs = this.#deps.clock.monotonicMs()
    const sinceMs = this.#gone.get(name) ?? nowMs
    this.#gone.set(name, sinceMs)
    return nowMs - sinceMs
  }

  /** The Node is there, whatever the watch said: the time without it begins anew. */
  found(name: string): void {
    this.#gone.delete(name)
  }

  /** Forgets since when names are gone that nobody asks about any more. */
  keep(names: ReadonlySet<string>): void {
    for (const name of this.#gone.keys()) if (!names.has(name)) this.#gone.delete(name)
  }

  /** The time without a Node begins anew for all that have none. */
  beginAnew(): void {
    this.#gone.clear()
  }

  #follow(event: WatchEvent<'Node'>): void {
    if (event.type === 'sync') {
      this.#synced = true
      const names = new Set(event.items.map(({ metadata }) => metadata.name))
      for (const name of [...this.#names.keys()]) if (!names.has(name)) this.#remove(name)
      for (const item of event.items) this.#add(item)
    } else if (event.type === 'set') this.#add(event.item)
    else this.#remove(event.item.metadata.name)
  }

  #add({ metadata: { name, labels } }: Pick<Resource<'Node'>, 'metadata'>): void {
    this.#names.set(name, labels ?? NO_LABELS)
    this.#gone.delete(name)
  }

  #remove(name: string): void {
    this.#names.delete(name)
    this.#deps.gone(name)
  }
}
