// Connections that peers opened and that wait to be taken. What a connection costs is paid in slices of work, after what the
// sessions that are further on need: where a thousand peers connect at once, each session that is up has its routes in
// time, and no KEEPALIVE waits for all of them. They are not read meanwhile, so none of them can end unseen.
import type { BgpConnection, SocketOptions } from './port.ts'
import type { WorkQueue } from './work-queue.ts'

/** `checked`: what the listening socket knew of its address when it came. */
export type Arrival = { connection: BgpConnection; checked: SocketOptions | undefined }

/** `Peer`: whatever has one session; a newer connection for it is the one that counts. */
export class Arrivals<Peer extends object> {
  readonly #workQueue: WorkQueue
  readonly #take: (arrival: Arrival) => void
  /** One for each peer, oldest first: whoever has many addresses on the link of an unnumbered peer fills nothing with them. */
  readonly #waiting = new Map<Peer, Arrival>()

  constructor(workQueue: WorkQueue, take: (arrival: Arrival) => void) {
    this.#workQueue = workQueue
    this.#take = take
  }

  /** `take` is called with it, at once where there is time for it in this turn of the event loop. */
  add(peer: Peer, arrival: Arrival): void {
    if (this.#waiting.size === 0 && this.#workQueue.mayRunNow) {
      this.#take(arrival)
      return
    }
    this.#waiting.get(peer)?.connection.destroy()
    this.#waiting.set(peer, arrival)
    this.#workQueue.enqueue(this.#next)
  }

  /** Resets those that still wait. */
  close(): void {
    for (const { connection } of this.#waiting.values()) connection.destroy()
    this.#waiting.clear()
  }

  readonly #next = (): boolean => {
    for (const [peer, arrival] of this.#waiting) {
      this.#waiting.delete(peer)
      this.#take(arrival)
      break
    }
    return this.#waiting.size > 0
  }
}
