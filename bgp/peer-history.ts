// What is told of a peer over time: since when it is up or down, how often its session ended, and why it is not up. Every
// step is a line for debugging only: who watches a speaker sums its changes up, as a flapping peer would fill a log.
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { PeerStatus } from './config.ts'
import { DOWN_REASONS } from './down-reasons.ts'
import type { BgpState } from './fsm/step.ts'
import { type DownReason, isWeighty } from './reason.ts'

/** How long a reason that came from the protocol stands against a dial that merely fails. */
const WEIGHT_MS = 60_000

type PeerHistoryDeps = { clock: Clock; log: Log; changed: () => void }

export class PeerHistory {
  readonly #name: string
  readonly #deps: PeerHistoryDeps
  #reason: DownReason & { atMs: number }
  #sinceMs: number
  /** The same on the clock that nobody sets. */
  #changedMs: number
  #flaps = 0
  #state: BgpState = 'Idle'

  /** `changed` is called after the state or the reason changed. */
  constructor(name: string, deps: PeerHistoryDeps) {
    this.#name = name
    this.#deps = deps
    this.#sinceMs = deps.clock.wallMs()
    this.#changedMs = deps.clock.monotonicMs()
    this.#reason = { code: 'never-tried', detail: 'not tried yet', atMs: deps.clock.monotonicMs() }
  }

  /** Milliseconds since the epoch of the last change into or out of Established. */
  get sinceMs(): number {
    return this.#sinceMs
  }

  /** Why the peer is not up, or was not when it last was not. */
  get reason(): DownReason {
    return this.#reason
  }

  /** How long ago the last change into or out of Established was, in milliseconds. */
  get ageMs(): number {
    return this.#deps.clock.monotonicMs() - this.#changedMs
  }

  status(state: BgpState): Pick<PeerStatus, 'state' | 'sinceMs' | 'reason' | 'lastReason' | 'flaps'> {
    const { code, detail } = this.#reason
    const { remedy } = DOWN_REASONS[code]
    return {
      state,
      sinceMs: this.#sinceMs,
      reason: state === 'Established' ? undefined : { code, detail, remedy },
      ...(code !== 'never-tried' && { lastReason: code }),
      flaps: this.#flaps,
    }
  }

  up(): void {
    this.#change()
  }

  down(): void {
    this.#flaps++
    this.#change()
  }

  #change(): void {
    this.#sinceMs = this.#deps.clock.wallMs()
    this.#changedMs = this.#deps.clock.monotonicMs()
  }

  /** The peer is not up because of `reason`. */
  tell(reason: DownReason): void {
    const changed = reason.code !== this.#reason.code || reason.detail !== this.#reason.detail
    this.#reason = { ...reason, atMs: this.#deps.clock.monotonicMs() }
    if (!changed) return
    this.#deps.log.debug({ peer: this.#name, reason: reason.code, detail: reason.detail }, 'peer is not up')
    this.#deps.changed()
  }

  /** A dial failed: says less than what the protocol said before, and does not replace it at once. */
  dialFailed(reason: DownReason): void {
    const stands = isWeighty(this.#reason) && this.#deps.clock.monotonicMs() - this.#reason.atMs < WEIGHT_MS
    if (!stands) this.tell(reason)
  }

  /** The state may have changed. */
  moved(to: BgpState): void {
    const from = this.#state
    if (to === from) return
    this.#state = to
    const line = { peer: this.#name, from, to, reason: to === 'Established' ? undefined : this.#reason.code }
    this.#deps.log.debug(line, 'session changed')
    this.#deps.changed()
  }
}
