// Sessions that come up and fall again and again wait longer from time to time, since every try has both ends exchange all
// routes and take them back. Only falls for faults count (`isFault` of session-end.ts). Pure.

/** What earlier falls weigh. */
export type Penalty = {
  readonly points: number
  /** Monotonic; they halve from then on. Ahead of now while the session is damped: it proves nothing then. */
  readonly fromMs: number
}

export const NO_PENALTY: Penalty = { points: 0, fromMs: Number.NEGATIVE_INFINITY }

const HALF_LIFE_MS = 5 * 60_000
/** Falls that are tried again without a pause of this kind: their cure at the other end tells nothing here. */
const FREE_POINTS = 4
/** Keeps the way back short: seven minutes up, and the next fall is free again. */
const MOST_POINTS = 8
const LEAST_WAIT_MS = 30_000
const MOST_WAIT_MS = 5 * 60_000

/** The penalty with one more fall, and how long the next try waits for it, in milliseconds; 0: not at all. */
export function fallen({ points, fromMs }: Penalty, nowMs: number): { penalty: Penalty; waitMs: number } {
  const left = points * 2 ** (-Math.max(0, nowMs - fromMs) / HALF_LIFE_MS)
  const next = Math.min(MOST_POINTS, left + 1)
  const over = next - FREE_POINTS
  const waitMs = over > 0 ? Math.round(Math.min(MOST_WAIT_MS, LEAST_WAIT_MS * 2 ** over)) : 0
  return { penalty: { points: next, fromMs: nowMs + waitMs }, waitMs }
}
