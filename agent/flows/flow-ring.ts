// The flows of late, one record for packets of one rule between the same ends, in the order in which they were last seen. Bounded:
// the one that was not seen for longest makes room. Who follows is told a flow when it comes, and again while it goes on, now
// and then. Pure but for the clock that is an argument.
import { type Flow, MOST_FLOWS } from '../../api/answers.ts'

/** A flow that is seen again after so long is another one. */
const REST_MS = 60_000
/** A flow that goes on is told this often to who follows. */
const TOLD_EVERY_MS = 10_000

type Kept = { readonly key: string; flow: Flow; lastMs: number; toldMs: number }

/** What a copy says, but for when and how often. */
export type Seen = Omit<Flow, 'first' | 'last' | 'packets'>

export class FlowRing {
  readonly #most: number
  /** The one that was not seen for longest first. */
  readonly #all = new Set<Kept>()
  /** The newest of each key. */
  readonly #newest = new Map<string, Kept>()

  constructor(most = MOST_FLOWS) {
    this.#most = most
  }

  /** Takes in one packet. Returns the flow as it is now where who follows is to hear of it. `key`: what tells flows from each other. */
  see(key: string, seen: () => Seen, nowMs: number): Flow | undefined {
    const known = this.#newest.get(key)
    if (known === undefined || nowMs - known.lastMs >= REST_MS) return this.#begin(key, seen(), nowMs)
    known.flow = { ...known.flow, last: timeText(nowMs), packets: known.flow.packets + 1 }
    known.lastMs = nowMs
    this.#all.delete(known)
    this.#all.add(known)
    if (nowMs - known.toldMs < TOLD_EVERY_MS) return undefined
    known.toldMs = nowMs
    return known.flow
  }

  /** At most `count` flows, the one that was seen last behind all. */
  last(count: number): Flow[] {
    return [...this.#all].slice(-count).map(({ flow }) => flow)
  }

  #begin(key: string, seen: Seen, nowMs: number): Flow {
    const at = timeText(nowMs)
    const flow = { first: at, last: at, ...seen, packets: 1 }
    const kept: Kept = { key, flow, lastMs: nowMs, toldMs: nowMs }
    this.#all.add(kept)
    this.#newest.set(key, kept)
    if (this.#all.size > this.#most) {
      const [oldest] = this.#all
      this.#all.delete(oldest!)
      if (this.#newest.get(oldest!.key) === oldest) this.#newest.delete(oldest!.key)
    }
    return flow
  }
}

function timeText(ms: number): string {
  return new Date(ms).toISOString()
}
