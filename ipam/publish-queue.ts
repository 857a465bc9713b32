// Which blocks wait to be brought together with the API server, and when that is tried: changes gather, for a moment or as long
// as `publish-pause.ts` says, one pass runs at a time, and after a failure passes come further and further apart.
import { isStoreError, Unreachable } from '../datastore/port.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'
import type { Log } from '../lib/log.ts'
import { PublishPauses } from './publish-pause.ts'
import type { Urgency } from './urgency.ts'

/** How long changes gather at the least before a block is published. */
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
  readonly #pauses = new PublishPauses()
  /** From when on each block may be published, on the monotonic clock, and whether later changes may put that off. */
  readonly #waiting = new Map<string, { dueMs: number; canWait: boolean }>()
  #timer: { cancel: Cancel; atMs: number } | undefined
  #running: Promise<void> | undefined
  #failure: Error | undefined
  #state: 'not started' | 'started' | 'closed' = 'not started'

  constructor(deps: PublishQueueDeps) {
    this.#deps = deps
  }

  /** Blocks not yet published as the journal has them, and the last reason why not. */
  unpublished(): { blocks: readonly string[]; cause?: Error } {
    return { blocks: [...this.#waiting.keys()], cause: this.#failure }
  }

  /** The block is published in a moment. */
  add(cidr: string): void {
    const delayMs = this.#state === 'not started' ? 0 : PUBLISH_DELAY_MS
    this.#wait(cidr, { dueMs: this.#nowMs() + delayMs, canWait: false })
  }

  /** The block changed: it is published in a moment, or in its time, within two minutes. */
  change(cidr: string, urgency: Urgency): void {
    if (urgency === 'published') return
    const nowMs = this.#nowMs()
    const dueMs = this.#pauses.changed(cidr, nowMs, { emptied: urgency === 'emptied' })
    if (urgency === 'now') this.add(cidr)
    else this.#wait(cidr, { dueMs: Math.max(dueMs, nowMs + PUBLISH_DELAY_MS), canWait: true })
  }

  delete(cidr: string): void {
    this.#waiting.delete(cidr)
  }

  /** The block is not this node's any more. */
  forget(cidr: string): void {
    this.#waiting.delete(cidr)
    this.#pauses.forget(cidr)
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
    await this.#publish([...this.#waiting.keys()])
    if (this.#waiting.size > 0) throw this.#failure ?? new Error('blocks changed while they were published')
  }

  /** Ends after the pass under way. */
  async close(): Promise<void> {
    this.#state = 'closed'
    this.#timer?.cancel()
    await this.#running
  }

  #nowMs(): number {
    return this.#deps.clock.monotonicMs()
  }

  #wait(cidr: string, { dueMs, canWait }: { dueMs: number; canWait: boolean }): void {
    const before = this.#waiting.get(cidr)
    if (before !== undefined && !before.canWait) return
    this.#waiting.set(cidr, { dueMs, canWait })
    // after a failure the next pass comes in its time, with whatever waits by then
    if (this.#running === undefined && this.#failure === undefined) this.#scheduleNext()
  }

  /** The next pass comes when the first block is due. */
  #scheduleNext(): void {
    if (this.#waiting.size === 0) return
    const firstMs = this.#waiting.values().reduce((first, { dueMs }) => Math.min(first, dueMs), Infinity)
    this.#schedule(Math.max(0, firstMs - this.#nowMs()))
  }

  #schedule(delayMs: number): void {
    if (this.#state !== 'started') return
    const atMs = this.#nowMs() + delayMs
    if (this.#timer?.atMs === atMs) return
    this.#timer?.cancel()
    const cancel = this.#deps.clock.after(delayMs, () => {
      this.#timer = undefined
      const nowMs = this.#nowMs()
      void this.#publish([...this.#waiting].flatMap(([cidr, { dueMs }]) => (dueMs <= nowMs ? [cidr] : [])))
    })
    this.#timer = { cancel, atMs }
  }

  /** Publishes blocks, once at a time. Never rejects: what fails stays waiting, and `unpublished` says why. */
  async #publish(cidrs: readonly string[]): Promise<void> {
    if (this.#running !== undefined) return this.#running
    this.#running = this.#publishAll(cidrs).then(failure => this.#published(failure))
    return this.#running
  }

  #published(failure: Error | undefined): void {
    this.#running = undefined
    if (failure !== undefined && this.#failure === undefined)
      this.#deps.log.warn({ err: failure, blocks: this.#waiting.size }, 'blocks wait to be published')
    this.#failure = failure
    if (failure === undefined) {
      this.#backoff.reset()
      this.#scheduleNext()
    } else this.#schedule(this.#backoff.next())
  }

  /**
   * One pass over `cidrs`; the last failure. A block that is refused, or that the journal cannot take, does not
   * stop the next one; an unreachable server does.
   */
  async #publishAll(cidrs: readonly string[]): Promise<Error | undefined> {
    let failure: Error | undefined
    for (const cidr of cidrs) {
      if (!this.#waiting.delete(cidr)) continue
      try {
        // before the write: changes that come while it is under way wait for the next one
        this.#pauses.published(cidr, this.#nowMs())
        await this.#deps.publish(cidr)
      } catch (error) {
        if (!(isStoreError(error) || error instanceof DatabaseError)) throw error
        this.#waiting.set(cidr, { dueMs: this.#nowMs(), canWait: false })
        failure = error
        if (error instanceof Unreachable) return failure
      }
    }
    return failure
  }
}
