// The prefixes of Services that this node announces, kept up with the cluster. Services and readiness of endpoints change often, and
// thousands of agents would hear of each: they are watched from when a BGPConfiguration names ranges, until the agent ends.
// A prefix that this node leaves is announced for a moment longer as one to avoid, so that nobody is without a way meanwhile.
// Hazard: without an API server nothing leaves: what is announced is what the caches have, those of the last run too.
import { isDeepStrictEqual } from 'node:util'
import type { Kind } from '../api/kinds.ts'
import type { Cache } from '../datastore/kind-cache.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { allRanges, type ServiceRanges, Services, type Standing } from './cluster/services.ts'
import type { ClusterView } from './cluster-view.ts'

export type ServiceFeedDeps = {
  nodeName: string
  view: Pick<ClusterView, 'services' | 'endpointReadiness'>
  clock: Clock
  /** `take` has something else to give. */
  changed: () => void
}

/** Enough for routers to take another way: an UPDATE on its way through a reflector and a rack, of what they know already. */
const LEAVING_MS = 1000

export class ServiceFeed {
  readonly #deps: ServiceFeedDeps
  readonly #services: Services
  #ranges: ServiceRanges | undefined
  #excluded = false
  #cancels: Cancel[] | undefined
  /** What was given last, and of what leaves when it is gone, by the monotonic clock. */
  #given: ReadonlyMap<string, number | undefined> = new Map()
  #cancelLeaving: Cancel = () => undefined

  constructor(deps: ServiceFeedDeps) {
    this.#deps = deps
    this.#services = new Services(deps.nodeName)
  }

  setRanges(ranges: ServiceRanges): void {
    if (isDeepStrictEqual(ranges, this.#ranges)) return
    this.#ranges = ranges
    this.#services.setRanges(ranges)
    if (allRanges(ranges).length > 0) this.#follow()
  }

  /** Whether this node takes no traffic for Services from outside. */
  setExcluded(excluded: boolean): void {
    if (excluded === this.#excluded) return
    this.#excluded = excluded
    this.#services.setExcluded(excluded)
    this.#deps.changed()
  }

  /** What is to be announced now. */
  take(): ReadonlyMap<string, Standing> {
    const { clock, changed } = this.#deps
    const nowMs = clock.monotonicMs()
    const prefixes = this.#services.prefixes()
    const given = new Map<string, number | undefined>()
    let nextMs = Number.POSITIVE_INFINITY
    for (const [prefix, standing] of prefixes) {
      if (standing === 'stays') {
        given.set(prefix, undefined)
        continue
      }
      const goneMs = this.#given.has(prefix) ? (this.#given.get(prefix) ?? nowMs + LEAVING_MS) : nowMs
      if (goneMs <= nowMs) {
        prefixes.delete(prefix)
        continue
      }
      given.set(prefix, goneMs)
      nextMs = Math.min(nextMs, goneMs)
    }
    this.#given = given
    this.#cancelLeaving()
    if (nextMs !== Number.POSITIVE_INFINITY) this.#cancelLeaving = clock.after(nextMs - nowMs, changed)
    return prefixes
  }

  close(): void {
    this.#cancelLeaving()
    for (const cancel of this.#cancels ?? []) cancel()
  }

  #follow(): void {
    if (this.#cancels !== undefined) return
    const { view } = this.#deps
    this.#cancels = [
      this.#take(view.services(), (key, service) => this.#services.setService(key, service)),
      this.#take(view.endpointReadiness(), (key, slice) => this.#services.setSlice(key, slice)),
    ]
  }

  #take<K extends Kind>(cache: Cache<K>, set: (key: string, object: ReturnType<Cache<K>['get']>) => void): Cancel {
    // one that is asked for late has the last run's objects already
    for (const object of cache.all()) set(`${object.metadata.namespace}/${object.metadata.name}`, object)
    return cache.onChange(({ key, after }) => {
      set(key, after)
      this.#deps.changed()
    })
  }
}
