// A peer that is kept down for a time, or until an operator clears it: it announced more prefixes than it may, or its session
// is damped.
import type { Cancel, Clock } from '../lib/clock.ts'
import type { DownCode } from './down-reasons.ts'
import type { DownReason } from './reason.ts'
import type { ProtocolError } from './wire/errors.ts'

type HeldFor = Extract<DownCode, 'prefix-limit' | 'damped'>

export class PeerHold {
  readonly #clock: Clock
  #heldFor: HeldFor | undefined
  #cancel: Cancel = () => undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Why the peer is kept down; undefined: it is not. */
  get heldFor(): HeldFor | undefined {
    return this.#heldFor
  }

  /** Begins to hold; after `holdMs`, when there is any, `restart` is called. */
  begin(heldFor: HeldFor, holdMs: number | undefined, restart: () => void): void {
    this.end()
    this.#heldFor = heldFor
    if (holdMs !== undefined) this.#cancel = this.#clock.after(holdMs, restart)
  }

  end(): void {
    this.#cancel()
    this.#heldFor = undefined
  }
}

/** Why the peer is down, and when it is tried again. */
export function limitReason(error: ProtocolError, restartSeconds: number | undefined): DownReason {
  const next =
    restartSeconds === undefined
      ? 'raise the limit, or find out why and clear the peer'
      : `tried again in ${restartSeconds} s`
  return { code: 'prefix-limit', detail: `${error.message}; ${next}` }
}

/** `last`: why the session fell last; `untilMs`: when it is tried next, in milliseconds since the epoch. */
export function dampedReason(last: DownReason, untilMs: number): DownReason {
  const until = new Date(untilMs).toISOString().replace(/\.\d+Z$/, 'Z')
  return {
    code: 'damped',
    detail: `it comes up and falls again and again, last for ${last.code}; next try at ${until} (${last.detail})`,
  }
}
