// The speaker's share of the event loop. Work is cut into jobs that take turns, and between two turns timers and other
// sockets run, so that no keepalive waits behind a million routes.

/** Does a few milliseconds of work at most and says whether more is waiting. */
export type Job = () => boolean

/** How long jobs may run before the event loop gets its turn. */
const SLICE_MS = 5

/**
 * Round robin over jobs; a job that is enqueued again before it ran keeps its place. What was just enqueued goes before
 * what is in the middle of much, so that a new session does not wait for a million routes of others.
 */
export class WorkQueue {
  readonly #fresh = new Set<Job>()
  /** Jobs that had more to do after their last turn. */
  readonly #long = new Set<Job>()
  #scheduled = false
  #turnStartMs: number | undefined
  #closed = false

  /** Runs `job` in a turn to come, again and again until it has nothing left. */
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
   * Whether input that just arrived may be worked on at once: work done straight from the sockets counts against the
   * same slice, which begins anew with every round of the event loop.
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

  /** Forgets every job, now and later. */
  close(): void {
    this.#closed = true
    this.#fresh.clear()
    this.#long.clear()
  }

  #run(): void {
    this.#scheduled = false
    const untilMs = performance.now() + SLICE_MS
    this.#runSome(this.#fresh, untilMs)
    // at least one, whatever came in meanwhile
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
