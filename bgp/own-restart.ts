// Our own graceful restart (RFC 4724 §4.1), in two stages. Routes are selected when every peer that kept ours has sent its
// table again, or cannot be reached: that must not wait for a dead peer. The tables count as complete only when those that
// cannot be reached have sent theirs, too, or the restart time is over: until then what they announced before may be good.
// The longest restart time of all peers bounds both, from the beginning on. A range is a peer that never comes: which neighbours it had nobody
// knows, so its dynamic neighbours have the time that one has that only dials, and stale routes stay to the end of the restart time.
import type { Cancel, Clock } from '../lib/clock.ts'
import type { PeerConfig } from './config.ts'
import type { Negotiated } from './fsm/negotiate.ts'

/** How long a restart waits when no peer says how long. */
const DEFAULT_RESTART_MS = 120_000
/** How long a peer that dials, and is not dialled, may take: several tries of its, which come every few seconds. */
const SILENT_MS = 15_000

/**
 * A peer whose table is missing. `families`: those whose End-of-RIB is; undefined: none has come yet. `isPassive`: here, so that it alone
 * dials. `cancelPatience`: while such a one stays away, for a while yet.
 */
type Waited = { families?: Set<string>; isUnreachable: boolean; isPassive: boolean; cancelPatience?: Cancel }

export class OwnRestart {
  readonly #clock: Clock
  readonly #over: () => void
  readonly #beganMs: number
  readonly #waited = new Map<string, Waited>()
  readonly #listeners = new Set<() => void>()
  #cancel: Cancel = () => undefined
  #active: boolean
  #complete: boolean

  /** `over` is called once when a restart that is `active` ends. */
  constructor(clock: Clock, { active, over }: { active: boolean; over: () => void }) {
    this.#clock = clock
    this.#beganMs = clock.monotonicMs()
    this.#active = active
    this.#complete = !active
    this.#over = over
    if (active) this.#cancel = clock.after(DEFAULT_RESTART_MS, () => this.#timeIsOver())
  }

  /** Whether routes are not selected yet. */
  get active(): boolean {
    return this.#active
  }

  /** Calls `listen` when the tables of all peers are complete, or will not come; at once when there is no restart. */
  onComplete(listen: () => void): void {
    if (this.#complete) listen()
    else this.#listeners.add(listen)
  }

  /** Waits for a peer with graceful restart, which dials alone where it is passive here; `all` are the configurations of all peers. */
  waitFor(name: string, all: readonly PeerConfig[], { isPassive = false }: { isPassive?: boolean } = {}): void {
    if (!this.#active) return
    this.#waited.get(name)?.cancelPatience?.()
    const waited: Waited = { isUnreachable: false, isPassive }
    this.#waited.set(name, waited)
    this.#bePatient(name, waited)
    const seconds = Math.max(...all.map(({ gracefulRestart: g }) => (g ? g.restartSeconds : 0)))
    this.#cancel()
    // from the beginning: whoever dials again and again must not put the end off
    const leftMs = Math.max(0, this.#beganMs + seconds * 1000 - this.#clock.monotonicMs())
    this.#cancel = this.#clock.after(leftMs, () => this.#timeIsOver())
  }

  /** A session came up. Peers that restart themselves, and those without graceful restart, are not waited for. */
  sessionUp(name: string, { gracefulRestart: graceful }: Negotiated): void {
    const waited = this.#waited.get(name)
    if (waited === undefined) return
    waited.isUnreachable = false
    waited.cancelPatience?.()
    if (graceful === undefined || graceful.restarting) this.done(name)
  }

  /** A session ended, and its peer keeps our routes: it is to come again. */
  sessionLost(name: string): void {
    const waited = this.#waited.get(name)
    if (waited !== undefined) this.#bePatient(name, waited)
  }

  /** A peer has sent all of a family; `families` are those of which it sends that. */
  endOfRib(name: string, family: string, families: readonly string[]): void {
    const waited = this.#waited.get(name)
    if (waited === undefined) return
    waited.families ??= new Set(families)
    waited.families.delete(family)
    if (waited.families.size === 0) this.done(name)
  }

  /** A peer cannot be reached: routes are selected without it. */
  unreachable(name: string): void {
    const waited = this.#waited.get(name)
    if (waited === undefined) return
    waited.isUnreachable = true
    this.#ask()
  }

  /** A peer is not waited for any longer. */
  done(name: string): void {
    if (this.#waited.delete(name)) this.#ask()
  }

  /** Stops without telling anybody. */
  close(): void {
    this.#cancel()
    for (const { cancelPatience } of this.#waited.values()) cancelPatience?.()
    this.#listeners.clear()
    this.#waited.clear()
  }

  /** No failed dial tells of one that alone dials that it is dead. */
  #bePatient(name: string, waited: Waited): void {
    waited.cancelPatience?.()
    if (waited.isPassive) waited.cancelPatience = this.#clock.after(SILENT_MS, () => this.unreachable(name))
  }

  #ask(): void {
    if (this.#waited.values().every(({ isUnreachable }) => isUnreachable)) this.#end()
    if (this.#waited.size === 0) this.#end({ complete: true })
  }

  #timeIsOver(): void {
    this.#end({ complete: true })
  }

  #end({ complete = false }: { complete?: boolean } = {}): void {
    if (this.#active) {
      this.#active = false
      this.#over()
    }
    if (!complete || this.#complete) return
    this.#complete = true
    const listeners = [...this.#listeners]
    this.close()
    for (const listen of listeners) listen()
  }
}
