// Connections that peers opened and that wait to be taken. What a connection costs is paid in slices of work, after what the
// sessions that are further on need: where a thousand peers connect at once, each session that is up has its routes in
// time, and no KEEPALIVE waits for all of them. They are not read meanwhile, so none of them can end unseen.
import type { BgpConnection, SocketOptions } from './port.ts'
import type { WorkQueue } from './work-queue.ts'

/** `checked`: what the listening socket knew of its address when it came. */
export type Arrival = { connection: BgpConnection; checked: SocketOptions | undefined }

export class Arrivals {
  readonly #workQueue: WorkQueue
  readonly #take: (arrival: Arrival) => void
  /** By where they come from, oldest first: a newer one from there is the one that counts, so there are never many. */
  readonly #waiting = new Map<string, Arrival>()

  constructor(workQueue: WorkQueue, take: (arrival: Arrival) => void) {
    this.#workQueue = workQueue
    this.#take = take
  }

  /** `take` is called with it, at once where there is time for it in this turn of the event loop. */
  add(arrival: Arrival): void {
    if (this.#waiting.size === 0 && this.#workQueue.mayRunNow) {
      this.#take(arrival)
      return
    }
    const { connection } = arrival
    const from = `${connection.remoteAddress} ${connection.interface ?? ''}`
    this.#waiting.get(from)?.connection.destroy()
    this.#waiting.delete(from)
    this.#waiting.set(from, arrival)
    this.#workQueue.enqueue(this.#next)
  }

  /** Resets those that still wait. */
  close(): void {
    for (const { connection } of this.#waiting.values()) connection.destroy()
    this.#waiting.clear()
  }

  readonly #next = (): boolean => {
    for (const [from, arrival] of this.#waiting) {
      this.#waiting.delete(from)
      this.#take(arrival)
      break
    }
    return this.#waiting.size > 0
  }
}
