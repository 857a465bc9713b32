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

/** A clock that stands still until `advance` is called; timers fire in order of their time, then of their making. */
export class ManualClock implements Clock {
  #nowMs = 0
  #epochMs: number
  #timers: { atMs: number; fire: () => void }[] = []

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
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), fire }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter(t => t !== timer)
    }
  }

  /** Sets the wall clock alone, as a person or NTP does: milliseconds since the epoch. */
  setWall(epochMs: number): void {
    this.#epochMs = epochMs - this.#nowMs
  }

  /** How many timers are waiting: zero shows that something closed cleanly. */
  get pending(): number {
    return this.#timers.length
  }

  /** Moves time on, firing what falls due, including timers that those set. */
  advance(ms: number): void {
    const until = this.#nowMs + ms
    for (;;) {
      const due = this.#timers.filter(t => t.atMs <= until)
      if (due.length === 0) break
      const next = due.reduce((a, b) => (b.atMs < a.atMs ? b : a))
      this.#timers = this.#timers.filter(t => t !== next)
      this.#nowMs = next.atMs
      next.fire()
    }
    this.#nowMs = until
  }
}
