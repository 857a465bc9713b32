// What goes to a BMP collector over one connection: messages are gathered into blocks, one for each turn of the event loop in which
// there are few, and no more may wait than the collector is allowed.
import { Writer } from '../../lib/bytes.ts'
import type { BgpConnection } from '../port.ts'
import { type BmpMessage, emitBmp, MAX_BMP_MESSAGE } from '../wire/bmp.ts'
import { emitMonitoring } from './messages.ts'

/** Octets of a block, with room for one more message of any length. */
const BLOCK = 64 * 1024

export class Outgoing {
  readonly #connection: BgpConnection
  readonly #limit: number
  readonly #tooMuch: (octets: number) => void
  #block = new Writer(BLOCK + MAX_BMP_MESSAGE)
  #flushing = false
  #ended = false
  /** Octets written so far. */
  octets = 0
  /** The connection takes no more until it has drained. */
  full = false

  /** `tooMuch` is told, once, that more than `limit` octets wait; nothing is written any more. */
  constructor(connection: BgpConnection, limit: number, tooMuch: (octets: number) => void) {
    this.#connection = connection
    this.#limit = limit
    this.#tooMuch = tooMuch
  }

  get waiting(): number {
    return this.#connection.buffered + this.#block.length
  }

  put(message: BmpMessage): void {
    emitBmp(this.#block, message)
    this.#written()
  }

  /** Route Monitoring, as of `emitMonitoring`. */
  monitoring(head: Uint8Array, bytes: Uint8Array, place: readonly [start: number, end: number], atMs: number): void {
    emitMonitoring(this.#block, head, bytes, place, atMs)
    this.#written()
  }

  drained(): void {
    this.full = false
  }

  /** Nothing is written any more. */
  end(): void {
    this.#ended = true
  }

  flush(): void {
    const { length } = this.#block
    if (length === 0 || this.#ended) return
    const { waiting } = this
    if (waiting > this.#limit) {
      this.#ended = true
      this.#tooMuch(waiting)
      return
    }
    this.octets += length
    if (!this.#connection.write(this.#block.done().slice())) this.full = true
    this.#block = new Writer(this.#block.bytes)
  }

  /** Something was added to the block. */
  #written(): void {
    if (this.#block.length >= BLOCK) this.flush()
    else if (!this.#flushing) {
      this.#flushing = true
      setImmediate(() => {
        this.#flushing = false
        this.flush()
      })
    }
  }
}
