// Which blocks wait to be brought together with the API server, and when that is tried: changes gather for a moment, one
// pass runs at a time, and after a failure passes come further and further apart.
import { isStoreError, Unreachable } from '../datastore/port.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'
import type { Log } from '../lib/log.ts'

/** How long changes gather before a block is published. */
const PUBLISH_DELAY_MS = 200

export type PublishQueueDeps = {
  clock: Clock
  log: Log
  /** Publishes one block. Rejects as the store, or with DatabaseError. */
  publish: (cidr: string) => Promise<void>
}

export class PublishQueue {
  readonly #deps: PublishQueueDeps
  readonly #backoff = new Backoff({ firstMs: 200, maxMs: 30_000 })
  readonly #waiting = new Set<string>()
  #timer: Cancel | undefined
  #running: Promise<void> | undefined
  #failure: Error | undefined
  #state: 'not started' | 'started' | 'closed' = 'not started'

  constructor(deps: PublishQueueDeps) {
    this.#deps = deps
  }

  /** Blocks not yet published as the journal has them, and the last reason why not. */
  unpublished(): { blocks: readonly string[]; cause?: Error } {
    return { blocks: [...this.#waiting], cause: this.#failure }
  }

  add(cidr: string): void {
    this.#waiting.add(cidr)
    if (this.#timer === undefined && this.#running === undefined) this.#schedule(PUBLISH_DELAY_MS)
  }

  delete(cidr: string): void {
    this.#waiting.delete(cidr)
  }

  /** From now on passes run, the first one at once. */
  start(): void {
    this.#state = 'started'
    this.#schedule(0)
  }

  /** The server may be back: the next pass comes at once, and soon after a pass under way that began too early. */
  hurry(): void {
    this.#backoff.reset()
    this.#schedule(0)
  }

  /** Publishes all that is waiting, now. Rejects when something could not be published. */
  async flush(): Promise<void> {
    await this.#running
    await this.#publish()
    if (this.#waiting.size > 0) throw this.#failure ?? new Error('blocks changed while they were published')
  }

  /** Ends after the pass under way. */
  async close(): Promise<void> {
    this.#state = 'closed'
    this.#timer?.()
    await this.#running
  }

  #schedule(delayMs: number): void {
    if (this.#state !== 'started') return
    this.#timer?.()
    this.#timer = this.#deps.clock.after(delayMs, () => {
      this.#timer = undefined
      void this.#publish()
    })
  }

  /** Publishes what is waiting, once at a time. Never rejects: what fails stays waiting, and `unpublished` says why. */
  async #publish(): Promise<void> {
    if (this.#running !== undefined) return this.#running
    this.#running = this.#publishAll().then(failure => this.#published(failure))
    return this.#running
  }

  #published(failure: Error | undefined): void {
    this.#running = undefined
    if (failure !== undefined && this.#failure === undefined)
      this.#deps.log.warn({ err: failure, blocks: this.#waiting.size }, 'blocks wait to be published')
    if (failure === undefined) this.#backoff.reset()
    this.#failure = failure
    if (this.#waiting.size > 0) this.#schedule(failure === undefined ? PUBLISH_DELAY_MS : this.#backoff.next())
  }

  /**
   * One pass over what is waiting; the last failure. A block that is refused, or that the journal cannot take, does not
   * stop the next one; an unreachable server does.
   */
  async #publishAll(): Promise<Error | undefined> {
    let failure: Error | undefined
    for (const cidr of [...this.#waiting]) {
      this.#waiting.delete(cidr)
      try {
        await this.#deps.publish(cidr)
      } catch (error) {
        if (!(isStoreError(error) || error instanceof DatabaseError)) throw error
        this.#waiting.add(cidr)
        failure = error
        if (error instanceof Unreachable) return failure
      }
    }
    return failure
  }
}
