// Pools, reservations and settings as this node last saw them, from the caches: after a restart without an API server
// they are those of the last run, so that the node gives addresses from the same pools.
import type { Caches } from '../datastore/cache.ts'
import type { Cache } from '../datastore/kind-cache.ts'
import type { Cancel } from '../lib/clock.ts'
import { type Inputs, inputsOf } from './inputs.ts'

export class InputWatch {
  readonly #pools: Cache<'IPPool'>
  readonly #reservations: Cache<'IPReservation'>
  readonly #settings: Cache<'IPAMConfiguration'>
  #cancels: readonly Cancel[] = []
  #current: Inputs | undefined
  #waiting = false

  constructor(caches: Pick<Caches, 'of'>) {
    this.#pools = caches.of('IPPool')
    this.#reservations = caches.of('IPReservation')
    this.#settings = caches.of('IPAMConfiguration')
  }

  /** Undefined until all three kinds were seen once in the life of this node. */
  get current(): Inputs | undefined {
    if (!this.#pools.known || !this.#reservations.known || !this.#settings.known) return undefined
    this.#current ??= inputsOf(this.#pools.all(), this.#reservations.all(), this.#settings.all())
    return this.#current
  }

  /** Follows the caches; `changed` is called after each burst of changes. */
  start(changed: () => void): void {
    const tell = (): void => {
      this.#current = undefined
      if (this.#waiting) return
      this.#waiting = true
      // a sync changes objects one by one: what lies between is no state of the cluster
      queueMicrotask(() => {
        this.#waiting = false
        changed()
      })
    }
    const caches = [this.#pools, this.#reservations, this.#settings]
    this.#cancels = caches.flatMap(cache => [cache.onChange(tell), cache.onState(tell)])
    if (this.current !== undefined) tell()
  }

  close(): void {
    for (const cancel of this.#cancels) cancel()
  }
}
