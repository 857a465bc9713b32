// What a connection received and nobody has read yet. Large input is read in slices of the work queue, so that one peer's
// table does not hold up the keepalives of the others; too much of it stops the connection from reading.
import type { BgpConnection } from './port.ts'
import type { WorkQueue } from './work-queue.ts'

const MAX_QUEUED_OCTETS = 256 * 1024
/** So little input, an OPEN or a KEEPALIVE, is worked on faster than it is put aside. */
const SHORT_OCTETS = 512

export class SessionInput {
  readonly #workQueue: WorkQueue
  readonly #read: (chunk: Uint8Array) => void
  readonly #job = () => this.next()
  readonly #connection: BgpConnection
  #chunks: Uint8Array[] = []
  #octets = 0
  #paused = false

  /** `read` gets every chunk, in order; it may call `close`. */
  constructor(connection: BgpConnection, workQueue: WorkQueue, read: (chunk: Uint8Array) => void) {
    this.#connection = connection
    this.#workQueue = workQueue
    this.#read = read
  }

  /** The connection is gone, and with it what was not read. */
  close(): void {
    this.#chunks = []
    this.#octets = 0
    this.#paused = false
    this.#workQueue.cancel(this.#job)
  }

  /** Something of the peer waits here or in the kernel. */
  get waiting(): boolean {
    return this.#octets > 0 || this.#paused
  }

  /** A chunk came: it is read now or in a slice to come. */
  add(chunk: Uint8Array): void {
    if (this.#octets === 0 && (chunk.length <= SHORT_OCTETS || this.#workQueue.mayRunNow)) {
      this.#read(chunk)
      return
    }
    this.#chunks.push(chunk)
    this.#octets += chunk.length
    this.#workQueue.enqueue(this.#job)
    if (this.#octets < MAX_QUEUED_OCTETS || this.#paused) return
    this.#paused = true
    this.#connection.pause()
  }

  /** Reads the next chunk; whether more waits. */
  next(): boolean {
    const chunk = this.#chunks.shift()
    if (chunk === undefined) return false
    this.#octets -= chunk.length
    this.#read(chunk)
    if (this.#octets > 0) return true
    if (this.#paused) {
      this.#paused = false
      this.#connection.resume()
    }
    return false
  }
}
