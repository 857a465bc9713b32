// Runs what the leader does, each chore by itself and once at a time, for as long as this program leads. A chore that fails
// is tried again after a growing pause; whatever it did so far must be right to do again.
import { isStoreError, type StoreError } from '../datastore/port.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'

export type Chore = {
  name: string
  /** The least time between the starts of two runs, whatever hurries them: for one that costs the API server much. Absent: none. */
  restMs?: number
  /** Called where this program leads from now on, before the first run. */
  begin?(): void
  /** Does what is to be done now; resolves with the milliseconds after which it wants to be run again. Rejects as the store. */
  run(): Promise<number>
}

const FIRST_RETRY_MS = 1_000
const MOST_RETRY_MS = 60_000

export class Chores {
  readonly #rows: readonly ChoreRun[]

  constructor(chores: readonly Chore[], deps: { clock: Clock; log: Log }) {
    this.#rows = chores.map(chore => new ChoreRun(chore, deps))
  }

  /** From now on this program leads, or does not. */
  lead(leads: boolean): void {
    for (const row of this.#rows) row.lead(leads)
  }

  /** Something changed that a chore waits for. */
  hurry(name: string): void {
    for (const row of this.#rows) if (row.name === name) row.hurry()
  }

  /** The chores that failed when they last ran. */
  failures(): { name: string; error: StoreError }[] {
    return this.#rows.flatMap(({ name, failure }) => (failure === undefined ? [] : [{ name, error: failure }]))
  }

  /** Resolves when nothing runs any more. */
  async close(): Promise<void> {
    this.lead(false)
    await Promise.all(this.#rows.map(row => row.idle()))
  }
}

class ChoreRun {
  readonly #chore: Chore
  readonly #clock: Clock
  readonly #log: Log
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MOST_RETRY_MS })
  #leads = false
  #again = false
  #startedMs: number | undefined
  #running: Promise<void> | undefined
  #cancel: Cancel = () => undefined
  failure: StoreError | undefined

  constructor(chore: Chore, { clock, log }: { clock: Clock; log: Log }) {
    this.#chore = chore
    this.#clock = clock
    this.#log = log
  }

  get name(): string {
    return this.#chore.name
  }

  lead(leads: boolean): void {
    this.#leads = leads
    this.#cancel()
    if (leads) {
      this.#chore.begin?.()
      this.hurry()
    } else this.failure = undefined
  }

  hurry(): void {
    if (!this.#leads) return
    if (this.#running === undefined) this.#runAfter(0)
    else this.#again = true
  }

  async idle(): Promise<void> {
    await this.#running
  }

  /** Runs after a pause, which is never shorter than what is left of the chore's rest. */
  #runAfter(pauseMs: number): void {
    this.#cancel()
    const { restMs = 0 } = this.#chore
    const leftMs = this.#startedMs === undefined ? 0 : this.#startedMs + restMs - this.#clock.monotonicMs()
    const delayMs = Math.max(pauseMs, leftMs)
    if (delayMs <= 0) this.#running = this.#run()
    else this.#cancel = this.#clock.after(delayMs, () => this.hurry())
  }

  async #run(): Promise<void> {
    this.#startedMs = this.#clock.monotonicMs()
    this.#again = false
    const pauseMs = await this.#once()
    this.#running = undefined
    if (this.#leads) this.#runAfter(this.#again ? 0 : pauseMs)
  }

  async #once(): Promise<number> {
    try {
      const pauseMs = await this.#chore.run()
      if (this.failure !== undefined) this.#log.info({ chore: this.name }, 'a chore that failed is done')
      this.failure = undefined
      this.#backoff.reset()
      return pauseMs
    } catch (error) {
      if (!isStoreError(error)) throw error
      if (this.failure === undefined && this.#leads)
        this.#log.warn({ chore: this.name, err: error }, 'a chore failed; it is tried again')
      this.failure = this.#leads ? error : undefined
      return this.#backoff.next()
    }
  }
}
