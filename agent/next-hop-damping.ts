// Damping of a next hop that is lost again and again, as when a link goes up and down each second: each change decides all prefixes
// that have it. A change for the worse (it cannot be reached any more, or costs more) always counts at once; one for the better
// has to last where there were many losses. Pure: time is an argument, in milliseconds of one clock.
import type { NextHopState } from '../bgp/port.ts'

/** So many losses within this time damp a next hop. */
const LOSSES = 3
const WITHIN_MS = 60_000
/** How long a damped one must stay better until that counts. */
export const STABLE_MS = 10_000

const WHY = `damped: it was lost ${LOSSES} times within ${WITHIN_MS / 1000} s, and counts again once it stayed for ${STABLE_MS / 1000} s`

export class NextHopDamping {
  /** When it was lost, the last times, the oldest first. */
  readonly #lostMs: number[] = []
  #losses = 0
  /** What it is damped from, and since when it is that. */
  #better: { state: NextHopState; sinceMs: number } | undefined

  /** How often it got worse since it is followed, also while it was damped. */
  get losses(): number {
    return this.#losses
  }

  /** It is better than what counts. */
  get damped(): boolean {
    return this.#better !== undefined
  }

  /** What counts after `counted` now that `found` is so; `waitMs`: it must be asked again after so long if nothing changes. */
  take(counted: NextHopState, found: NextHopState, nowMs: number): { state: NextHopState; waitMs?: number } {
    const better = this.#better
    this.#better = undefined
    const isLost = priceOf(found) > priceOf(better?.state ?? counted)
    if (isLost) this.#lost(nowMs)
    if (priceOf(found) >= priceOf(counted)) return { state: found }
    const sinceMs = isLost || better === undefined ? nowMs : better.sinceMs
    const waitMs = this.#waitMs(sinceMs, nowMs)
    if (waitMs === 0) return { state: found }
    this.#better = { state: found, sinceMs }
    return { state: counted.reachable ? counted : { reachable: false, why: WHY }, waitMs }
  }

  #lost(nowMs: number): void {
    // what is worked out in steps may be worse in some of them
    if (this.#lostMs.at(-1) === nowMs) return
    this.#losses++
    this.#lostMs.push(nowMs)
    if (this.#lostMs.length > LOSSES) this.#lostMs.shift()
  }

  #waitMs(sinceMs: number, nowMs: number): number {
    const [first = 0, last = 0] = [this.#lostMs[0], this.#lostMs.at(-1)]
    if (this.#lostMs.length < LOSSES || last - first > WITHIN_MS) return 0
    return Math.max(0, sinceMs + STABLE_MS - nowMs)
  }
}

/** Infinite: it cannot be reached. */
function priceOf(state: NextHopState): number {
  return state.reachable ? state.cost : Number.POSITIVE_INFINITY
}
