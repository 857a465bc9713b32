// Time as a port: code takes a `Clock`; tests pass a `ManualClock`, advance it, and never sleep.

/** Cancels a timer; calling it again does nothing. */
export type Cancel = () => void

export type Clock = {
  /** Milliseconds on a clock that never goes backwards; its zero is arbitrary. For durations. */
  monotonicMs(): number
  /** Milliseconds since the Unix epoch. For people and records. */
  wallMs(): number
  /** Calls `fire` once, `delayMs` from now at the earliest. A pending timer does not keep the process alive. */
  after(delayMs: number, fire: () => void): Cancel
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, fire) {
    const endMs = performance.now() + delayMs
    let timer: NodeJS.Timeout
    const wait = (leftMs: number): void => {
      const wake = leftMs <= LONGEST_MS ? fire : () => wait(Math.max(0, endMs - performance.now()))
      timer = setTimeout(wake, Math.min(leftMs, LONGEST_MS)).unref()
    }
    wait(delayMs)
    return () => clearTimeout(timer)
  },
}

/** Node fires a timer with a longer delay at once; a long-lived stale time (RFC 9494) may be 194 days. */
const LONGEST_MS = 2 ** 31 - 1

/** RFC 3339 in UTC with whole seconds, as Kubernetes writes times. `ms`: since the Unix epoch. */
export function formatSeconds(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

/** Keeps the process alive until it is called: what else waits may be no reason for Node to go on, timers of a clock least. */
export function keepProcess(): Cancel {
  const timer = setInterval(() => undefined, LONGEST_MS)
  return () => clearInterval(timer)
}

type ManualTimer = { atMs: number; order: number; fire: () => void; isOver: boolean }

/** A clock that stands still until `advance` is called; timers fire in order of their time, then of their making. */
export class ManualClock implements Clock {
  #nowMs = 0
  #epochMs: number
  /** A heap: the first is the next one to fire. Cancelled ones stay in it until then, or until they are most of it. */
  #timers: ManualTimer[] = []
  #made = 0
  #cancelled = 0

  constructor(epochMs = 1_700_000_000_000) {
    this.#epochMs = epochMs
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  wallMs(): number {
    return this.#epochMs + this.#nowMs
  }

  after(delayMs: number, fire: () => void): Cancel {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#made++, fire, isOver: false }
    this.#timers.push(timer)
    this.#rise(this.#timers.length - 1)
    return () => {
      if (timer.isOver) return
      timer.isOver = true
      this.#cancelled++
      if (this.#cancelled > 1000 && this.#cancelled > this.#timers.length / 2) this.#clean()
    }
  }

  /** Sets the wall clock alone, as a person or NTP does: milliseconds since the epoch. */
  setWall(epochMs: number): void {
    this.#epochMs = epochMs - this.#nowMs
  }

  /** How many timers are waiting: zero shows that something closed cleanly. */
  get pending(): number {
    return this.#timers.length - this.#cancelled
  }

  /** Moves time on, firing what falls due, including timers that those set. */
  advance(ms: number): void {
    const until = this.#nowMs + ms
    for (let next = this.#timers[0]; next !== undefined && next.atMs <= until; next = this.#timers[0]) {
      this.#removeFirst()
      if (next.isOver) {
        this.#cancelled--
        continue
      }
      next.isOver = true
      this.#nowMs = next.atMs
      next.fire()
    }
    this.#nowMs = until
  }

  #clean(): void {
    // what is sorted is a heap
    this.#timers = this.#timers.filter(({ isOver }) => !isOver).sort((a, b) => (isBefore(a, b) ? -1 : 1))
    this.#cancelled = 0
  }

  #rise(at: number): void {
    const timers = this.#timers
    const timer = timers[at]!
    for (let above = (at - 1) >> 1; at > 0 && isBefore(timer, timers[above]!); above = (at - 1) >> 1) {
      timers[at] = timers[above]!
      at = above
    }
    timers[at] = timer
  }

  #removeFirst(): void {
    const timers = this.#timers
    const last = timers.pop()!
    if (timers.length === 0) return
    let at = 0
    for (let below = 1; below < timers.length; below = 2 * at + 1) {
      if (below + 1 < timers.length && isBefore(timers[below + 1]!, timers[below]!)) below++
      if (!isBefore(timers[below]!, last)) break
      timers[at] = timers[below]!
      at = below
    }
    timers[at] = last
  }
}

function isBefore(a: ManualTimer, b: ManualTimer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
