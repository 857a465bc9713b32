// Which of several programs leads: one Lease object, taken by compare-and-swap and renewed (as client-go's leaderelection
// does). Hazards: a leader that was stopped and goes on (SIGSTOP, a paused machine) must not write, so whoever asks is told
// by the monotonic clock and not by a timer; clocks of two machines differ, so the times in the object are for people, and a
// lease has ended when it was seen unchanged for its whole duration here; the answer to a write may be lost.
import type { Resource } from '../api/kinds.ts'
import { Conflict, isStoreError, NotFound, type Store, type StoreError } from '../datastore/port.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'

type LeaseObject = Resource<'Lease'>

export type LeaseDeps = {
  store: Store
  clock: Clock
  log: Log
  /** Of this run of the program alone: no other process, before or after, may have the same. */
  identity: string
  namespace: string
  name: string
  /** How long a lease counts after its last renewal; absent: `LEASE_SECONDS`. Whole seconds, 3 at least. */
  seconds?: number
  /** It leads now, or does not any more. Called when that is found out; `leads` knows it at once. */
  changed(leads: boolean): void
}

/** How long a lease counts where nobody says. */
export const LEASE_SECONDS = 30
/** The leader calls itself one only for this part of the lease after it sent its last renewal: the rest is for writes under way. */
const LEAD_PART = 2 / 3
/** How often the leader renews, and the others look. */
const RENEW_PART = 1 / 6

export class Lease {
  readonly #deps: LeaseDeps
  readonly #seconds: number
  readonly #leadMs: number
  readonly #renewMs: number
  /** When the last renewal that the server took was sent; undefined: somebody else leads, or nobody. */
  #renewedMs: number | undefined
  /** The object as it was last seen, and since when it has not changed. */
  #seen: { version: string | undefined; sinceMs: number } | undefined
  #holder: string | undefined
  /** Since when the API server gives no answer about the lease, and why. */
  #failure: { error: StoreError; sinceMs: number } | undefined
  #told = false
  #closed = false
  #cancel: Cancel = () => undefined
  #cancelEnd: Cancel = () => undefined
  #turn: Promise<void> | undefined

  constructor(deps: LeaseDeps) {
    this.#deps = deps
    this.#seconds = deps.seconds ?? LEASE_SECONDS
    this.#leadMs = this.#seconds * 1000 * LEAD_PART
    this.#renewMs = this.#seconds * 1000 * RENEW_PART
  }

  /** Whether this program leads in this moment. To be asked before every write. */
  get leads(): boolean {
    const { clock } = this.#deps
    return !this.#closed && this.#renewedMs !== undefined && clock.monotonicMs() - this.#renewedMs < this.#leadMs
  }

  /** Why the lease can be neither read nor written, since before its duration; undefined while it can. */
  get failure(): StoreError | undefined {
    const { clock } = this.#deps
    if (this.#failure === undefined || clock.monotonicMs() - this.#failure.sinceMs < this.#leadMs) return undefined
    return this.#failure.error
  }

  start(): void {
    this.#turn = this.#next()
  }

  /** Stops, and gives the lease back so that another program leads at once. Takes as long as the API server's answer. */
  async close(): Promise<void> {
    if (this.#closed) return
    const led = this.leads
    this.#closed = true
    this.#cancel()
    this.#cancelEnd()
    await this.#turn
    if (led) await this.#giveBack()
    this.#tell(false)
  }

  async #next(): Promise<void> {
    const { clock, log } = this.#deps
    try {
      await this.#try()
      this.#failure = undefined
    } catch (error) {
      if (!isStoreError(error)) throw error
      if (this.#failure === undefined) log.warn({ err: error }, 'the lease can be neither read nor written')
      this.#failure ??= { error, sinceMs: clock.monotonicMs() }
    }
    if (this.#closed) return
    this.#tell(this.leads)
    this.#cancel = clock.after(this.#renewMs, () => {
      this.#turn = this.#next()
    })
  }

  /** Reads the lease, and takes or renews it where that may be done. */
  async #try(): Promise<void> {
    const { store, namespace, name, identity, clock } = this.#deps
    const found = await this.#read()
    const sentMs = clock.monotonicMs()
    try {
      if (found === undefined) {
        this.#took(await store.create('Lease', { metadata: { name, namespace }, spec: this.#spec() }), sentMs)
        return
      }
      this.#note(found)
      const { holderIdentity: holder = '' } = found.spec
      if (holder !== identity) this.#renewedMs = undefined
      if (holder !== identity && holder !== '' && !this.#ended(found)) return
      const spec = this.#spec(found)
      this.#took(await store.update('Lease', { ...found, spec: { ...found.spec, ...spec } }), sentMs)
    } catch (error) {
      // somebody was quicker; what it is now the next look tells
      if (!(error instanceof Conflict)) throw error
    }
  }

  async #read(): Promise<LeaseObject | undefined> {
    const { store, name, namespace } = this.#deps
    try {
      return await store.get('Lease', name, namespace)
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
  }

  #note({ metadata, spec }: LeaseObject): void {
    const { resourceVersion: version } = metadata
    this.#holder = spec.holderIdentity
    if (this.#seen === undefined || this.#seen.version !== version)
      this.#seen = { version, sinceMs: this.#deps.clock.monotonicMs() }
  }

  /** Whether it was seen unchanged for its whole duration. */
  #ended({ spec }: LeaseObject): boolean {
    const { clock } = this.#deps
    const durationMs = Math.max(spec.leaseDurationSeconds ?? this.#seconds, 1) * 1000
    return this.#seen !== undefined && clock.monotonicMs() - this.#seen.sinceMs >= durationMs
  }

  #spec(before?: LeaseObject): LeaseObject['spec'] {
    const { identity, clock } = this.#deps
    const now = microTime(clock.wallMs())
    const { holderIdentity, acquireTime, leaseTransitions = 0 } = before?.spec ?? {}
    const own = holderIdentity === identity
    return {
      holderIdentity: identity,
      leaseDurationSeconds: this.#seconds,
      acquireTime: own ? (acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: before === undefined ? 0 : leaseTransitions + (own ? 0 : 1),
    }
  }

  #took(written: LeaseObject, sentMs: number): void {
    this.#note(written)
    this.#renewedMs = sentMs
    this.#cancelEnd()
    const leftMs = Math.max(0, sentMs + this.#leadMs - this.#deps.clock.monotonicMs())
    this.#cancelEnd = this.#deps.clock.after(leftMs, () => this.#tell(this.leads))
  }

  #tell(leads: boolean): void {
    if (leads === this.#told) return
    this.#told = leads
    this.#deps.log.info({ holder: this.#holder }, leads ? 'this program leads' : 'this program does not lead any more')
    this.#deps.changed(leads)
  }

  async #giveBack(): Promise<void> {
    const { store, log, identity } = this.#deps
    try {
      const found = await this.#read()
      if (found?.spec.holderIdentity !== identity) return
      // one second is the shortest duration that Kubernetes takes
      const spec = { ...found.spec, holderIdentity: '', leaseDurationSeconds: 1 }
      await store.update('Lease', { ...found, spec })
    } catch (error) {
      if (!isStoreError(error)) throw error
      log.warn({ err: error }, 'the lease cannot be given back: another program leads when it has ended')
    }
  }
}

/** The only form of a time that Kubernetes takes in a Lease. */
function microTime(wallMs: number): string {
  return new Date(wallMs).toISOString().replace('Z', '000Z')
}
