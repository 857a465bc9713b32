// Our own graceful restart (RFC 4724 §4.1): routes are selected only when every peer that kept ours has sent its table
// again, or cannot be waited for. The longest restart time of all peers bounds the wait.
import type { Cancel, Clock } from '../lib/clock.ts'
import type { PeerConfig } from './config.ts'
import type { Negotiated } from './fsm/negotiate.ts'

/** How long a restart waits when no peer says how long. */
const DEFAULT_RESTART_MS = 120_000

export class OwnRestart {
  readonly #clock: Clock
  readonly #over: () => void
  /** Names of the peers whose table is missing, each with the families whose End-of-RIB is; undefined: not up yet. */
  readonly #waited = new Map<string, Set<string> | undefined>()
  readonly #listeners = new Set<() => void>()
  #cancel: Cancel = () => undefined
  #active: boolean

  /** `over` is called once when a restart that is `active` ends. */
  constructor(clock: Clock, { active, over }: { active: boolean; over: () => void }) {
    this.#clock = clock
    this.#active = active
    this.#over = over
    if (active) this.#cancel = clock.after(DEFAULT_RESTART_MS, () => this.#end())
  }

  get active(): boolean {
    return this.#active
  }

  /** Calls `listen` when the restart is over; at once when there is none. */
  onOver(listen: () => void): void {
    if (this.#active) this.#listeners.add(listen)
    else listen()
  }

  /** Waits for a peer with graceful restart; `all` are the configurations of all peers. */
  waitFor(name: string, all: readonly PeerConfig[]): void {
    if (!this.#active) return
    this.#waited.set(name, undefined)
    const seconds = Math.max(...all.map(({ gracefulRestart: g }) => (g ? g.restartSeconds : 0)))
    this.#cancel()
    this.#cancel = this.#clock.after(seconds * 1000, () => this.#end())
  }

  /** A session came up. Peers that restart themselves, and those that kept nothing of ours, are not waited for. */
  sessionUp(name: string, { gracefulRestart: graceful }: Negotiated): void {
    if (!this.#waited.has(name)) return
    if (graceful === undefined || graceful.restarting || graceful.families.length === 0) this.done(name)
  }

  /** A peer has sent all of a family; `families` are those that it kept ours of. */
  endOfRib(name: string, family: string, families: readonly string[]): void {
    if (!this.#waited.has(name)) return
    const missing = this.#waited.get(name) ?? new Set(families)
    missing.delete(family)
    this.#waited.set(name, missing)
    if (missing.size === 0) this.done(name)
  }

  /** A peer is not waited for any longer. */
  done(name: string): void {
    if (this.#waited.delete(name) && this.#waited.size === 0) this.#end()
  }

  /** Stops without telling anybody. */
  close(): void {
    this.#cancel()
    this.#listeners.clear()
    this.#waited.clear()
  }

  #end(): void {
    if (!this.#active) return
    this.#active = false
    const listeners = [...this.#listeners]
    this.close()
    this.#over()
    for (const listen of listeners) listen()
  }
}
