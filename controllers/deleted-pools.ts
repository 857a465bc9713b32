// Lets deleted pools go when no pod or Service has an address of them any more. The nodes do the same; here it happens also when no node
// is left that would look, and soon after the blocks of a gone node were freed.
import type { IpPool } from '../api/pools.ts'
import type { Store, Watch, WatchEvent } from '../datastore/port.ts'
import { isHeld, releaseEmptyPool } from '../ipam/pool-release.ts'
import type { Log } from '../lib/log.ts'

export type DeletedPoolsDeps = {
  store: Store
  log: Log
  /** A pool was deleted. */
  deleted(): void
  /** Some pool is another one than before. */
  changed(): void
}

/** Pods give addresses back without a word to this program. */
const LOOK_MS = 60_000
const IDLE_MS = 600_000
/** Blocks that are freed one after the other share a look, which lists the blocks for each pool that is being deleted. */
const REST_MS = 10_000

export class DeletedPools {
  readonly name = 'pools'
  readonly restMs = REST_MS
  readonly #deps: DeletedPoolsDeps
  readonly #all = new Map<string, IpPool>()
  #synced = false
  #waiting: readonly { pool: string; block: string }[] = []
  #watch: Watch | undefined

  constructor(deps: DeletedPoolsDeps) {
    this.#deps = deps
  }

  start(): void {
    const { store, deleted, changed } = this.#deps
    const follow = (event: WatchEvent<'IPPool'>): void => {
      const items: readonly IpPool[] = event.type === 'sync' ? event.items : event.type === 'set' ? [event.item] : []
      if (event.type === 'sync') this.#all.clear()
      this.#synced = true
      if (event.type === 'gone') this.#all.delete(event.item.metadata.name)
      for (const item of items) this.#all.set(item.metadata.name, item)
      if (items.some(isHeld)) deleted()
      changed()
    }
    this.#watch = store.watch('IPPool', { event: follow })
  }

  close(): void {
    this.#watch?.close()
  }

  /** Whether the pools were listed. */
  get synced(): boolean {
    return this.#synced
  }

  /** Every IPPool, as the watch told it last. */
  all(): IpPool[] {
    return [...this.#all.values()]
  }

  /** Pools that wait for their last pods or Services, each with a block that is in use. */
  get waiting(): readonly { pool: string; block: string }[] {
    return this.#waiting
  }

  /** Looks at each pool that is being deleted. Resolves with the time until the next look. Rejects as the store. */
  async run(): Promise<number> {
    const { store } = this.#deps
    const waiting: { pool: string; block: string }[] = []
    for (const pool of (await store.list('IPPool')).filter(isHeld)) {
      const block = await releaseEmptyPool(pool, this.#deps)
      if (block !== undefined) waiting.push({ pool: pool.metadata.name, block })
    }
    this.#waiting = waiting
    return waiting.length > 0 ? LOOK_MS : IDLE_MS
  }
}
