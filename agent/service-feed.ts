// The prefixes of Services that this node announces, kept up with the cluster. Services and readiness of endpoints change often, and
// thousands of agents would hear of each: they are watched from when a BGPConfiguration names ranges, until the agent ends.
// A prefix that comes is announced a moment later, when kube-proxy has it in this kernel too; one that this node leaves is announced for
// longer than that as one to avoid, so that nobody is without a way while an endpoint moves from node to node.
// Hazard: without an API server nothing leaves: what is announced is what the caches have, those of the last run too.
import { isDeepStrictEqual } from 'node:util'
import type { Kind } from '../api/kinds.ts'
import type { Condition } from '../api/status.ts'
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

/** kube-proxy gathers changes for up to a second (`minSyncPeriod`), and drops what comes for a Service that it does not know yet. */
const COMING_MS = 1500
/** Of that and of an UPDATE through a reflector and a rack, twice. */
const LEAVING_MS = 3000

export class ServiceFeed {
  readonly #deps: ServiceFeedDeps
  readonly #services: Services
  #ranges: ServiceRanges | undefined
  #excluded = false
  #cancels: Cancel[] | undefined
  /** What was given last, and of what leaves when it is gone, by the monotonic clock; before the first time absent. */
  #given: ReadonlyMap<string, number | undefined> | undefined
  /** When what comes is given, by the same clock. */
  #coming: ReadonlyMap<string, number> = new Map()
  #cancelNext: Cancel = () => undefined

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

  /** What is to be announced now. At the first time all that is known, since it was announced before this run. */
  take(): ReadonlyMap<string, Standing> {
    const { clock, changed } = this.#deps
    const nowMs = clock.monotonicMs()
    const before = this.#given
    const prefixes = this.#services.prefixes()
    const [given, coming] = [new Map<string, number | undefined>(), new Map<string, number>()]
    for (const [prefix, standing] of prefixes) {
      const wasGiven = before?.has(prefix) === true
      const comesMs = wasGiven || before === undefined ? nowMs : (this.#coming.get(prefix) ?? nowMs + COMING_MS)
      const goneMs = wasGiven ? (before.get(prefix) ?? nowMs + LEAVING_MS) : nowMs
      if (standing === 'stays' ? comesMs <= nowMs : goneMs > nowMs)
        given.set(prefix, standing === 'stays' ? undefined : goneMs)
      else prefixes.delete(prefix)
      if (standing === 'stays' && comesMs > nowMs) coming.set(prefix, comesMs)
    }
    this.#given = given
    this.#coming = coming
    this.#cancelNext()
    const nextMs = [...given.values(), ...coming.values()].reduce<number>(
      (least, timeMs = least) => Math.min(least, timeMs),
      Number.POSITIVE_INFINITY,
    )
    if (nextMs !== Number.POSITIVE_INFINITY) this.#cancelNext = clock.after(nextMs - nowMs, changed)
    return prefixes
  }

  /** Services of which not all addresses are announced. */
  refused(): Condition[] {
    return this.#services.refused()
  }

  close(): void {
    this.#cancelNext()
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
