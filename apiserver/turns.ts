// The server's one thread is given away in short turns, fairly, and goes back to the sockets after each few milliseconds:
// whatever waits here, a question about health is answered between two turns.
import type { Clock } from '../lib/clock.ts'
import { FairQueue } from './fair-queue.ts'
import { ApiError } from './status.ts'

/** Who asks: turns go round between users, then between the connections of one. */
export type Asker = { user: string; connection: string }

const TURN_MS = 5
const WAITING_PER_USER = 2_000

/** What is written and not on disk yet: nothing, or so much that no more may be added. */
type Disk = { readonly isSettled: boolean; readonly isFull: boolean }

type Job = { act: () => void; isRead: boolean }

export class Turns {
  readonly #clock: Clock
  readonly #disk: Disk
  readonly #queue = new FairQueue<Job>(WAITING_PER_USER)
  /** A job whose turn came while it had to wait for the disk: it is the first of the next round. */
  #held: Job | undefined
  #running = false
  /** A connection came since the last turn. */
  #arrived = false
  #endedMs = Number.NEGATIVE_INFINITY

  constructor(clock: Clock, disk: Disk) {
    this.#clock = clock
    this.#disk = disk
  }

  /**
   * To be called with each new connection. Node takes one in each round of its event loop, so behind a hundred that come at once
   * another one would wait for a hundred turns: while they come, rounds have no turn, for as long as a turn at most.
   */
  arrived(): void {
    this.#arrived = true
  }

  /** Runs `job` in the asker's turn; its result. Rejects with TooManyRequests when this user waits with too many. */
  run<T>(asker: Asker, job: () => T | Promise<T>): Promise<T> {
    return this.#enter(asker, job, false)
  }

  /** The same for a job that reads: it runs when nothing is written and not on disk yet. */
  read<T>(asker: Asker, job: () => T | Promise<T>): Promise<T> {
    return this.#enter(asker, job, true)
  }

  #enter<T>({ user, connection }: Asker, job: () => T | Promise<T>, isRead: boolean): Promise<T> {
    return new Promise((resolve, reject) => {
      const act = (): void => {
        try {
          resolve(job())
        } catch (error) {
          reject(error)
        }
      }
      if (!this.#queue.push(user, connection, { act, isRead }))
        return reject(new ApiError('TooManyRequests', `${user} waits for ${WAITING_PER_USER} answers: ask more slowly`))
      if (this.#running) return
      this.#running = true
      setImmediate(() => this.#serve())
    })
  }

  #serve(): void {
    const startMs = this.#clock.monotonicMs()
    const yields = this.#arrived && startMs - this.#endedMs < TURN_MS
    this.#arrived = false
    if (yields) {
      setImmediate(() => this.#serve())
      return
    }
    const endMs = startMs + TURN_MS
    do {
      const job = this.#held ?? this.#queue.shift()
      this.#held = undefined
      if (job === undefined) {
        this.#running = false
        return
      }
      if (this.#disk.isFull || (job.isRead && !this.#disk.isSettled)) {
        this.#held = job
        break
      }
      job.act()
    } while (this.#clock.monotonicMs() < endMs)
    this.#endedMs = this.#clock.monotonicMs()
    setImmediate(() => this.#serve())
  }
}
