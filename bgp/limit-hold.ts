// A peer that announced more prefixes than it may is kept down: for a time, or until an operator clears it.
import type { Cancel, Clock } from '../lib/clock.ts'
import type { DownReason } from './reason.ts'
import type { ProtocolError } from './wire/errors.ts'

export class LimitHold {
  readonly #clock: Clock
  #active = false
  #cancel: Cancel = () => undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get active(): boolean {
    return this.#active
  }

  /** Begins to hold; after `restartSeconds`, when there are any, `restart` is called. */
  begin(restartSeconds: number | undefined, restart: () => void): void {
    this.end()
    this.#active = true
    if (restartSeconds !== undefined) this.#cancel = this.#clock.after(restartSeconds * 1000, restart)
  }

  end(): void {
    this.#cancel()
    this.#active = false
  }
}

/** Why the peer is down, and what to do. */
export function limitReason(error: ProtocolError, restartSeconds: number | undefined): DownReason {
  const remedy =
    restartSeconds === undefined
      ? 'raise the limit, or find out why and clear the peer'
      : `tried again in ${restartSeconds} s`
  return { code: 'prefix-limit', detail: `${error.message}; ${remedy}` }
}
