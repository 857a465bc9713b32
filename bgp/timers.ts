// The named timers of one connection. Every message sets the hold timer again, so arming only moves a deadline: a timer that
// fires before its deadline waits for the rest.
import type { Cancel, Clock } from '../lib/clock.ts'
import type { FsmTimer } from './fsm/step.ts'

type Entry = { deadlineMs: number; wakesMs: number; cancel: Cancel }

/** A timer this late means that the process was busy: messages of the peer may be waiting to be read. */
const LATE_MS = 500
const GRACE_MS = 1000

export class Timers {
  readonly #clock: Clock
  readonly #fire: (timer: FsmTimer) => void
  readonly #entries = new Map<FsmTimer, Entry>()

  constructor(clock: Clock, fire: (timer: FsmTimer) => void) {
    this.#clock = clock
    this.#fire = fire
  }

  arm(timer: FsmTimer, delayMs: number): void {
    const nowMs = this.#clock.monotonicMs()
    const deadlineMs = nowMs + delayMs
    const entry = this.#entries.get(timer)
    if (entry !== undefined && entry.wakesMs <= deadlineMs) {
      entry.deadlineMs = deadlineMs
      return
    }
    entry?.cancel()
    this.#sleep(timer, deadlineMs, delayMs)
  }

  disarm(timer: FsmTimer): void {
    this.#entries.get(timer)?.cancel()
    this.#entries.delete(timer)
  }

  disarmAll(): void {
    for (const { cancel } of this.#entries.values()) cancel()
    this.#entries.clear()
  }

  /** Milliseconds until `timer` fires; undefined when it does not run. */
  leftMs(timer: FsmTimer): number | undefined {
    const entry = this.#entries.get(timer)
    return entry === undefined ? undefined : Math.max(0, entry.deadlineMs - this.#clock.monotonicMs())
  }

  #sleep(timer: FsmTimer, deadlineMs: number, delayMs: number): void {
    const wakesMs = this.#clock.monotonicMs() + delayMs
    const cancel = this.#clock.after(delayMs, () => this.#wake(timer))
    this.#entries.set(timer, { deadlineMs, wakesMs, cancel })
  }

  #wake(timer: FsmTimer): void {
    const entry = this.#entries.get(timer)
    if (entry === undefined) return
    const nowMs = this.#clock.monotonicMs()
    // a timer may fire a fraction of a millisecond early
    const leftMs = entry.deadlineMs - nowMs
    if (leftMs >= 1) this.#sleep(timer, entry.deadlineMs, leftMs)
    else if (timer === 'hold' && nowMs - entry.wakesMs > LATE_MS) this.#sleep(timer, nowMs + GRACE_MS, GRACE_MS)
    else {
      this.#entries.delete(timer)
      this.#fire(timer)
    }
  }
}
