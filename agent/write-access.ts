// Whether this agent may write to the API server: not to one that is not believed, nor where its Node is missing, and no block
// while the datastore is locked. The stores here ask that before each write.
import type { Caches } from '../datastore/cache.ts'
import { guardedStore } from '../datastore/guarded.ts'
import type { Store } from '../datastore/port.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { ClusterView } from './cluster-view.ts'
import { DatastoreLock } from './datastore-lock.ts'

export type WriteAccessDeps = {
  nodeName: string
  store: Store
  caches: Pick<Caches, 'of' | 'doubt'>
  view: Pick<ClusterView, 'onChange' | 'onState'>
  clock: Clock
  log: Log
  /** Publishes all blocks that wait. Rejects when that fails. */
  publish: () => Promise<void>
}

export class WriteAccess {
  /** For all but blocks. */
  readonly store: Store
  /** For blocks, and for the pools that they are of. */
  readonly blockStore: Store
  readonly #deps: WriteAccessDeps
  readonly #lock: DatastoreLock

  constructor(deps: WriteAccessDeps) {
    const { store, caches, clock, log, publish } = deps
    // whatever went wrong: the journal has the blocks, and they wait for the unlock
    const warn = (error: unknown) => log.warn({ err: error }, 'blocks wait for the unlock of the datastore')
    this.#deps = deps
    this.#lock = new DatastoreLock({
      ...{ cluster: caches.of('ClusterInformation'), clock },
      publish: () => publish().catch(warn),
    })
    this.store = guardedStore(store, () => this.#refusal())
    this.blockStore = guardedStore(this.store, () => this.#lock.why())
  }

  /** Whether everything may be written, blocks too, as far as this node knows. */
  get isOpen(): boolean {
    return this.#refusal() === undefined && !this.#lock.isThere
  }

  /** Follows what decides from now on. `opened` is called whenever everything may be written again. */
  follow(opened: () => void): void {
    const { nodeName, caches, view } = this.#deps
    let wasOpen = true
    const look = (): void => {
      this.#lock.follow()
      const { isOpen } = this
      if (isOpen && !wasOpen) opened()
      wasOpen = isOpen
    }
    const cluster = caches.of('ClusterInformation')
    cluster.onChange(look)
    cluster.onState(look)
    view.onState(look)
    view.onChange('Node', ({ key }) => key === nodeName && look())
  }

  /** Why nothing may be written now. */
  #refusal(): string | undefined {
    const { caches, nodeName } = this.#deps
    if (caches.doubt !== undefined) return `the API server is not believed: ${caches.doubt.reason}`
    const nodes = caches.of('Node')
    return nodes.synced && nodes.get(nodeName) === undefined ? `there is no Node ${nodeName}` : undefined
  }
}
