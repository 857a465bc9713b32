// Whether this node serves its pods, for the runtime (CNI STATUS) and for the Node object (NetworkUnavailable). Hazards: a
// kubelet whose runtime says that the network is not ready makes the node NotReady, Services leave its pods out, and after
// minutes they are evicted. So STATUS fails only where running pods have no network either, or where no pod was ever
// served; what keeps new pods from an address makes NetworkUnavailable, which only lets no new pods come. And an agent that
// starts again knows nothing for a moment: what is not known yet is no fault for a minute.
import { CONDITION_TYPES, type Condition, conditionKey } from '../api/status.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'

/** What the Node object says under the type NetworkUnavailable. */
export type NetworkCondition = { status: 'True' | 'False'; reason: string; message: string }

/** Why STATUS fails: `limited` where running pods have no network either. */
export type Unserved = { limited: boolean; cause: Condition }

export type ServingDeps = {
  clock: Clock
  log: Log
  /** How long ago an agent of this boot last served pods, in milliseconds; undefined: none did. */
  servedAgoMs?: number
}

/** For so long after pods were last served an agent may be away, or not know yet what is. The plugin has the same number. */
const RESTART_MS = 70_000
/** What is wrong for a shorter time is not written into the Node object. */
const LASTS_MS = 10_000
const LONGEST_MESSAGE = 500

const SERVED: NetworkCondition = {
  status: 'False',
  reason: 'PodsServed',
  message: 'Margay serves the pods of this node',
}

export class Serving {
  readonly #clock: Clock
  readonly #log: Log
  /** When STATUS last had nothing against new pods but what may pass, by the clock's monotonic time. */
  #servedMs: number | undefined
  #stops: readonly Condition[] = []
  #stopsSinceMs: number | undefined
  #unserved: Unserved | undefined
  #serves = false
  /** What was last logged. */
  #told: string | undefined

  constructor({ clock, log, servedAgoMs }: ServingDeps) {
    this.#clock = clock
    this.#log = log
    this.#servedMs = servedAgoMs === undefined ? undefined : clock.monotonicMs() - servedAgoMs
  }

  /** Takes what stands against it now: the vital conditions that are not True. */
  look(stops: readonly Condition[]): void {
    const nowMs = this.#clock.monotonicMs()
    this.#stops = stops
    this.#stopsSinceMs = stops.length === 0 ? undefined : (this.#stopsSinceMs ?? nowMs)
    const unknown = stops.find(({ status }) => status === 'Unknown')
    this.#serves = false
    const broken = stops.find(({ status, type }) => status === 'False' && CONDITION_TYPES[type].vital === 'running')
    if (broken !== undefined) this.#unserved = { limited: true, cause: broken }
    else if (unknown !== undefined)
      this.#unserved = this.#isRestart(nowMs) ? undefined : { limited: false, cause: unknown }
    else if (stops.length > 0 && this.#servedMs === undefined) this.#unserved = { limited: false, cause: stops[0]! }
    else {
      this.#unserved = undefined
      this.#servedMs = nowMs
      this.#serves = true
    }
    this.#tell()
  }

  /** Why the runtime must give this node no pods; undefined when it may. */
  get unserved(): Unserved | undefined {
    return this.#unserved
  }

  /** Whether pods were served at the last look, which is more than that an agent may begin. */
  get serves(): boolean {
    return this.#serves
  }

  /** What the Node object should say; undefined while what it says may stay. */
  networkCondition(): NetworkCondition | undefined {
    const [first, ...others] = this.#stops
    if (first === undefined) return SERVED
    const nowMs = this.#clock.monotonicMs()
    const isNew = nowMs - (this.#stopsSinceMs ?? nowMs) < LASTS_MS
    const isBeginning = this.#unserved === undefined && this.#stops.some(({ status }) => status === 'Unknown')
    if (isNew || isBeginning) return undefined
    const more = others.length === 0 ? '' : `; and ${others.length} more`
    // as a server stores it: text with half a character in it would never be what the Node object says
    const message = `${first.type}: ${first.message}`.slice(0, LONGEST_MESSAGE).toWellFormed() + more
    const see = first.page === undefined ? '' : `; see ${first.page}`
    return { status: 'True', reason: first.reason, message: message + see }
  }

  #isRestart(nowMs: number): boolean {
    return this.#servedMs !== undefined && nowMs - this.#servedMs <= RESTART_MS
  }

  /** One line for each change: a runtime asks every few seconds. */
  #tell(): void {
    const unserved = this.#unserved
    const told = unserved === undefined ? '' : `${conditionKey(unserved.cause)} ${unserved.cause.reason}`
    if (told === this.#told) return
    this.#told = told
    if (unserved === undefined) this.#log.info('the runtime is told that this node is ready for pods')
    else {
      const { type, reason, message, remedy } = unserved.cause
      this.#log.warn({ type, reason, remedy }, `the runtime is told that this node is not ready for pods: ${message}`)
    }
  }
}
