// When what other programs changed is put back: at once, unless repairs take too much. Each object has a pace of its own, so that
// one that is fought over delays no other; and all of them together, with what is read again after events were lost, take a
// share of a processor at the most, after a credit that any single event stays within. What a repair is charged with is what the
// process took during the pass, the work of others with it: so no repair waits longer than `MOST_WAIT_MS`. Time is an argument.
import { Backoff } from '../lib/backoff.ts'

/** An object that is repaired more often in a second, and again and again, waits for a back-off that grows. */
const MOST_IN_A_SECOND = 20
/** Who undoes a repair does so within this time. */
const REST_MS = 1000
/** Of a processor, over longer times than the credit. */
const SHARE = 0.25
/** What may be spent at once. */
const CREDIT_MS = 250
/** A start or a change of thousands of policies may take many seconds of a processor. */
const MOST_WAIT_MS = 5_000
/** So few objects are not looked through for those that have rest. The interface of each pod that comes is one. */
const FEW = 64

/** `level`: repairs, of which a second takes `MOST_IN_A_SECOND` away. */
type Repairs = { lastMs: number; level: number; backoff?: Backoff; dueMs?: number }

export class RepairPace {
  readonly #of = new Map<string, Repairs>()
  /** Above so many those that have rest are forgotten: half as many again as were left the last time. */
  #most = FEW
  #spentMs = 0
  #atMs = 0

  /** How long a repair of this object has to wait, in milliseconds; the same moment until `repaired`. */
  waitMs(object: string, nowMs: number): number {
    const shareMs = Math.max(0, (this.#spent(nowMs) - CREDIT_MS) / SHARE)
    const repairs = this.#of.get(object)
    if (repairs?.backoff === undefined || hasRest(repairs, nowMs)) return shareMs
    repairs.dueMs ??= nowMs + repairs.backoff.next()
    return Math.max(shareMs, repairs.dueMs - nowMs)
  }

  /** Takes in that a repair of these took so long. Returns those that are repaired more slowly from now on. */
  repaired(objects: Iterable<string>, tookMs: number, nowMs: number): string[] {
    this.#spentMs = Math.min(this.#spent(nowMs) + tookMs, CREDIT_MS + MOST_WAIT_MS * SHARE)
    this.#atMs = nowMs
    const fought: string[] = []
    for (const object of objects) {
      const before = this.#of.get(object)
      const repairs = before === undefined || hasRest(before, nowMs) ? { lastMs: nowMs, level: 0 } : before
      const level = Math.max(0, repairs.level - ((nowMs - repairs.lastMs) * MOST_IN_A_SECOND) / 1000) + 1
      const isFought = level > MOST_IN_A_SECOND && repairs.backoff === undefined
      if (isFought) fought.push(object)
      const backoff = isFought ? new Backoff({ firstMs: 200, maxMs: MOST_WAIT_MS }) : repairs.backoff
      this.#of.set(object, { lastMs: nowMs, level, ...(backoff !== undefined && { backoff }) })
    }
    if (this.#of.size > this.#most) {
      for (const [object, repairs] of this.#of) if (hasRest(repairs, nowMs)) this.#of.delete(object)
      this.#most = Math.max(FEW, Math.floor(1.5 * this.#of.size))
    }
    return fought
  }

  /** Objects that are remembered. */
  get size(): number {
    return this.#of.size
  }

  #spent(nowMs: number): number {
    return Math.max(0, this.#spentMs - (nowMs - this.#atMs) * SHARE)
  }
}

/** Whether nobody undid the last repair. */
function hasRest({ lastMs, dueMs }: Repairs, nowMs: number): boolean {
  return dueMs === undefined && nowMs - lastMs > REST_MS
}
