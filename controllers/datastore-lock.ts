// Whether the chores must wait because somebody moves the datastore: `datastoreReady: false` of the ClusterInformation `default`,
// which agents heed too. Hazards: under the lock no agent answers for its blocks nor publishes its pods, so that after the
// unlock they need time for that; and nothing may be done before it was read whether there is a lock.
import { isLocked, LOCK_SAYS } from '../api/datastore-lock.ts'
import type { Store } from '../datastore/port.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { DefaultObject, type UnknownObject } from './default-object.ts'

export type DatastoreLockDeps = {
  store: Store
  clock: Clock
  /** How long after an unlock agents have to publish what they kept. */
  publishMs: number
  /** It is locked, or is not any more, or nobody can tell. */
  changed(): void
  /** The chores may go on after a lock: what they knew is old. */
  ended(): void
}

/** Why nothing is done. */
export type Hold = { reason: 'Locked' | 'JustUnlocked'; message: string }

export class DatastoreLock {
  readonly #deps: DatastoreLockDeps
  readonly #object = new DefaultObject<'ClusterInformation'>()
  #state: 'open' | 'locked' | 'unlocked' = 'open'
  #cancel: Cancel = () => undefined

  constructor(deps: DatastoreLockDeps) {
    this.#deps = deps
  }

  start(): void {
    const { store } = this.#deps
    this.#object.start(
      handlers => store.watch('ClusterInformation', handlers),
      () => this.#look(),
    )
  }

  close(): void {
    this.#cancel()
    this.#object.close()
  }

  /** Why it cannot be told whether there is a lock; undefined when it can. */
  get unknown(): UnknownObject | undefined {
    return this.#object.unknown
  }

  /** The lock that was seen last, with the time after it. */
  get hold(): Hold | undefined {
    if (this.#state === 'open') return undefined
    if (this.#state === 'locked') return { reason: 'Locked', message: LOCK_SAYS }
    return { reason: 'JustUnlocked', message: 'agents have time to publish what they kept while it was locked' }
  }

  /** Why nothing may be done now; undefined when it may. */
  get why(): string | undefined {
    if (this.unknown !== undefined) return `nobody knows whether the datastore is locked: ${this.unknown.message}`
    return this.hold && `the datastore is or was locked: ${this.hold.message}`
  }

  #look(): void {
    if (this.unknown === undefined) this.#follow(isLocked(this.#object.current))
    this.#deps.changed()
  }

  #follow(isThere: boolean): void {
    if (isThere) {
      this.#cancel()
      this.#state = 'locked'
    } else if (this.#state === 'locked') {
      const { clock, publishMs, ended, changed } = this.#deps
      this.#state = 'unlocked'
      this.#cancel = clock.after(publishMs, () => {
        this.#state = 'open'
        ended()
        changed()
      })
    }
  }
}
