// Shares the event loop between the jobs of a speaker. Timers and sockets run between two slices of work, so that
// keepalives leave on time while a million routes are processed.

/** Does a few milliseconds of work at most and says whether more is waiting. */
export type Job = () => boolean

/** Length of a slice: how long jobs run before timers and sockets do. */
const SLICE_MS = 5

/**
 * Runs jobs in turn. New jobs run before jobs that already had a slice, so that a new session does not wait for a million
 * routes of others. A job that is enqueued twice before it runs keeps its place.
 */
export class WorkQueue {
  readonly #fresh = new Set<Job>()
  /** Jobs that returned true in their last slice. */
  readonly #long = new Set<Job>()
  #scheduled = false
  #turnStartMs: number | undefined
  #closed = false

  /** Runs `job` in later slices until it returns false. */
  enqueue(job: Job): void {
    if (this.#closed) return
    if (!this.#long.has(job)) this.#fresh.add(job)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#run())
  }

  cancel(job: Job): void {
    this.#fresh.delete(job)
    this.#long.delete(job)
  }

  /**
   * Whether input that just arrived may be processed at once. Such work counts against the slice, too; a new slice begins
   * with every round of the event loop.
   */
  get mayRunNow(): boolean {
    const nowMs = performance.now()
    if (this.#turnStartMs === undefined) {
      this.#turnStartMs = nowMs
      setImmediate(() => {
        this.#turnStartMs = undefined
      })
    }
    return nowMs - this.#turnStartMs < SLICE_MS
  }

  /** Whether no job waits. */
  get idle(): boolean {
    return this.#fresh.size + this.#long.size === 0
  }

  /** Removes all jobs and ignores new ones. */
  close(): void {
    this.#closed = true
    this.#fresh.clear()
    this.#long.clear()
  }

  #run(): void {
    this.#scheduled = false
    const untilMs = performance.now() + SLICE_MS
    this.#runSome(this.#fresh, untilMs)
    // at least one, even when new jobs keep coming
    this.#runSome(this.#long, untilMs)
    while (this.#fresh.size + this.#long.size > 0 && performance.now() < untilMs) {
      this.#runSome(this.#fresh, untilMs)
      this.#runSome(this.#long, untilMs)
    }
    if (this.#fresh.size + this.#long.size === 0 || this.#closed) return
    this.#scheduled = true
    setImmediate(() => this.#run())
  }

  /** Runs each job that waits now, at least one of them, until the time is over. */
  #runSome(jobs: Set<Job>, untilMs: number): void {
    for (let left = jobs.size; left > 0 && jobs.size > 0; left--) {
      const [job] = jobs as Iterable<Job> as [Job]
      jobs.delete(job)
      if (job()) this.#long.add(job)
      if (performance.now() >= untilMs) return
    }
  }
}
