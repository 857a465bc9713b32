// The lock of the datastore (`margayctl datastore lock`) as an agent heeds it: no block is claimed, written or given back. An
// agent that sees it come publishes first what is not yet published, since somebody is about to export the blocks. Hazard:
// the cluster may be another one soon, so that ends after a time, done or not, and an agent that finds the lock there at its
// start publishes nothing.
import { isLocked, LOCK_SAYS } from '../api/datastore-lock.ts'
import type { Resource } from '../api/kinds.ts'
import type { Clock } from '../lib/clock.ts'

/** How long an agent may still write after it saw the lock. `margayctl datastore lock` waits for longer. */
const LAST_WRITES_MS = 2_000

type Deps = {
  cluster: { readonly synced: boolean; get(name: string): Resource<'ClusterInformation'> | undefined }
  clock: Clock
  /** Publishes all that waits. Never rejects. */
  publish: () => Promise<void>
}

export class DatastoreLock {
  readonly #deps: Deps
  #state: 'unknown' | 'open' | 'closing' | 'locked' = 'unknown'
  /** How many locks came while this agent ran. */
  #locks = 0

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** Whether the datastore is locked, as far as this node knows, also while it still publishes. */
  get isThere(): boolean {
    return isLocked(this.#deps.cluster.get('default'))
  }

  /** To be called when the ClusterInformation, or what is known of it, changed. */
  follow(): void {
    if (!this.isThere) {
      if (this.#deps.cluster.synced) this.#state = 'open'
    } else if (this.#state === 'open') this.#close()
    else if (this.#state === 'unknown') this.#state = 'locked'
  }

  /** Why no block is claimed, written or given back now, though the API server may be written: somebody moves all of it. */
  why(): string | undefined {
    if (!this.isThere || this.#state === 'open' || this.#state === 'closing') return undefined
    return `the datastore is locked (${LOCK_SAYS}); 'margayctl datastore unlock' ends that`
  }

  #close(): void {
    this.#state = 'closing'
    const lock = ++this.#locks
    const end = () => {
      cancel()
      // an earlier lock does not end the time of this one
      if (this.#state === 'closing' && this.#locks === lock) this.#state = 'locked'
    }
    const cancel = this.#deps.clock.after(LAST_WRITES_MS, end)
    void this.#deps.publish().then(end)
  }
}
