// Pools, reservations and settings as this node last saw them: watched, and kept in the journal so that a restart
// without an API server gives addresses from the same pools.
import type { Kind, Resource } from '../api/kinds.ts'
import type { Store, Watch } from '../datastore/port.ts'
import type { Log } from '../lib/log.ts'
import type { Inputs, Journal } from './journal.ts'

const DEFAULT_CONFIG = { autoAllocateBlocks: true, maxBlocksPerHost: 0 }

export class InputWatch {
  readonly #journal: Journal
  readonly #watches: Watch[] = []
  #current: Inputs | undefined

  constructor(journal: Journal) {
    this.#journal = journal
    this.#current = journal.inputs()
  }

  /** Undefined until pools were seen once in the life of this node. */
  get current(): Inputs | undefined {
    return this.#current
  }

  /** Follows the API server; `changed` is called after each change that matters. */
  start(store: Store, log: Log, changed: () => void): void {
    const set = (part: Partial<Inputs>): void => {
      const before = this.#current ?? { pools: [], reserved: [], config: DEFAULT_CONFIG }
      const next = { ...before, ...part }
      if (this.#current !== undefined && JSON.stringify(next) === JSON.stringify(before)) return
      this.#current = next
      try {
        this.#journal.saveInputs(next)
      } catch (error) {
        log.error({ err: error }, 'pools cannot be journaled: a restart without the API server would not know them')
      }
      changed()
    }
    this.#follow(store, 'IPPool', pools => set({ pools }))
    this.#follow(store, 'IPReservation', all => {
      // nothing is given away before the pools are known
      if (this.#current !== undefined || all.length > 0) set({ reserved: all.flatMap(r => r.spec.reservedCIDRs) })
    })
    this.#follow(store, 'IPAMConfiguration', all => {
      const spec = all.find(({ metadata }) => metadata.name === 'default')?.spec
      const { autoAllocateBlocks, maxBlocksPerHost } = spec ?? DEFAULT_CONFIG
      if (this.#current !== undefined || spec !== undefined) set({ config: { autoAllocateBlocks, maxBlocksPerHost } })
    })
  }

  close(): void {
    for (const watch of this.#watches) watch.close()
  }

  #follow<K extends Kind>(store: Store, kind: K, changed: (items: Resource<K>[]) => void): void {
    const items = new Map<string, Resource<K>>()
    const watch = store.watch(kind, {
      event: event => {
        if (event.type === 'sync') {
          items.clear()
          for (const item of event.items) items.set(item.metadata.name, item)
        } else if (event.type === 'set') items.set(event.item.metadata.name, event.item)
        else items.delete(event.item.metadata.name)
        changed([...items.values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)))
      },
    })
    this.#watches.push(watch)
  }
}
