// Whether the API server is believed. One that suddenly knows nothing (restored from nothing, of another cluster, half a
// list) must not take a running node's network away: while it is in doubt, every cache keeps what it knew and only notes
// what the server says. The doubt ends when the server says again what fits, when a person confirms it, or after a time
// that a person has set.
import type { Kind } from '../api/kinds.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { KindCache } from './kind-cache.ts'
import { implausible } from './plausible.ts'
import { isStoreError } from './port.ts'

/** Why, and since when in milliseconds since the epoch. */
export type Doubt = { reason: string; sinceMs: number }

export type TrustDeps = {
  clock: Clock
  log: Log
  self?: string
  acceptAfterMs?: number
  caches(): readonly KindCache<Kind>[]
  /** Whether the server is another one than that of the file. Rejects as the store. */
  isOther(): Promise<boolean>
  /** Everything is listed again: what was watched so far may be another server's. */
  listAnew(): void
  /** From now on the server is this one. Rejects as the store. */
  adopt(): Promise<void>
}

/** How often a server in doubt is looked at again, at the most twice as often: each node at a time of its own. */
const AGAIN_MS = 10_000

const OTHER_SERVER = 'it is of another cluster, or was made anew: its namespace default has another uid'

export class Trust {
  readonly #deps: TrustDeps
  #doubt: Doubt | undefined
  #judging = false
  /** How often somebody confirmed the server. */
  #accepted = 0
  #again = false
  #closed = false
  #retry: Cancel = () => undefined
  /** The server did not answer when it was looked at. */
  #unanswered = false
  #deadline: Cancel = () => undefined

  constructor(deps: TrustDeps) {
    this.#deps = deps
  }

  get doubt(): Doubt | undefined {
    return this.#doubt
  }

  /** Looks at the server and at all that it says; then it is believed or in doubt. */
  judge(): void {
    this.#again = true
    if (!this.#judging) void this.#judge()
  }

  /** The server may answer again: where it did not, it is asked at once. */
  retryNow(): void {
    if (this.#unanswered) this.judge()
  }

  async accept(): Promise<void> {
    await this.#deps.adopt()
    this.#accepted++
    this.#deps.log.warn({ doubt: this.#doubt?.reason }, 'the API server is believed from now on: somebody confirmed it')
    this.#believe()
  }

  close(): void {
    this.#closed = true
    this.#retry()
    this.#deadline()
  }

  async #judge(): Promise<void> {
    this.#judging = true
    while (this.#again && !this.#closed) {
      this.#again = false
      this.#retry()
      const accepted = this.#accepted
      const verdict = await this.#verdict()
      if (this.#closed) break
      // somebody confirmed the server meanwhile: what was found before is settled
      if (accepted !== this.#accepted) continue
      this.#unanswered = verdict === 'no answer'
      if (verdict === 'no answer') this.#judgeLater()
      else if (verdict === undefined) this.#believe()
      else this.#doubtIt(verdict)
    }
    this.#judging = false
  }

  async #verdict(): Promise<string | undefined> {
    try {
      if (await this.#deps.isOther()) return OTHER_SERVER
    } catch (error) {
      if (!isStoreError(error)) throw error
      return 'no answer'
    }
    const { self } = this.#deps
    for (const cache of this.#deps.caches()) {
      const reason = cache.claim && implausible(cache.kind, { ...cache.claim, self })
      if (reason !== undefined) return reason
    }
    return undefined
  }

  #doubtIt(reason: string): void {
    const { clock, log, acceptAfterMs, caches, listAnew } = this.#deps
    if (this.#doubt === undefined) {
      log.error({ reason }, 'the API server is not believed: this node goes on with what it knew')
      if (acceptAfterMs !== undefined) this.#deadline = clock.after(acceptAfterMs, () => void this.#acceptLater())
    }
    this.#doubt = { reason, sinceMs: this.#doubt?.sinceMs ?? clock.wallMs() }
    for (const cache of caches()) cache.doubt()
    if (reason === OTHER_SERVER) listAnew()
    this.#judgeLater()
  }

  #judgeLater(): void {
    this.#retry = this.#deps.clock.after((AGAIN_MS / 2) * (1 + Math.random()), () => this.judge())
  }

  #believe(): void {
    this.#retry()
    this.#deadline()
    if (this.#doubt !== undefined) this.#deps.log.info({ was: this.#doubt.reason }, 'the API server is believed')
    this.#doubt = undefined
    for (const cache of this.#deps.caches()) cache.believe()
  }

  /** The time that a person has set is over. */
  async #acceptLater(): Promise<void> {
    try {
      await this.accept()
    } catch (error) {
      if (!isStoreError(error)) throw error
      if (!this.#closed) this.#deadline = this.#deps.clock.after(AGAIN_MS, () => void this.#acceptLater())
    }
  }
}
