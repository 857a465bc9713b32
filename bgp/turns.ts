// The speaker's share of the event loop. Work is cut into jobs that take turns, and between two turns timers and other
// sockets run, so that no keepalive waits behind a million routes.

/** Does a few milliseconds of work at most and says whether more is waiting. */
export type Job = () => boolean

/** How long jobs may run before the event loop gets its turn. */
const SLICE_MS = 10

/** Round robin over jobs; a job that is enqueued again before it ran keeps its place. */
export class Turns {
  readonly #jobs = new Set<Job>()
  #scheduled = false
  #turnStartMs: number | undefined
  #closed = false

  /** Runs `job` in a turn to come, again and again until it has nothing left. */
  enqueue(job: Job): void {
    if (this.#closed) return
    this.#jobs.add(job)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#run())
  }

  cancel(job: Job): void {
    this.#jobs.delete(job)
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
    this.#jobs.clear()
  }

  #run(): void {
    this.#scheduled = false
    const untilMs = performance.now() + SLICE_MS
    while (this.#jobs.size > 0 && performance.now() < untilMs) {
      const [job] = this.#jobs as Iterable<Job> as [Job]
      this.#jobs.delete(job)
      if (job()) this.#jobs.add(job)
    }
    if (this.#jobs.size === 0 || this.#closed) return
    this.#scheduled = true
    setImmediate(() => this.#run())
  }
}
