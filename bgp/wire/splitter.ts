// Cuts a byte stream into records that begin with their length. A record that is whole in a chunk is visited in place; only
// a record in several chunks is copied, into a buffer of its length.

/** Gets one record: `bytes[start..end)`, header included, valid only during the call. */
export type RecordVisitor = (bytes: Uint8Array, start: number, end: number) => void

/**
 * `measure` gets a whole header of `header` octets at `at`. It returns the length of the record, header included, or what
 * is wrong, which ends the stream.
 */
export class StreamSplitter<Failure extends object> {
  readonly #header: Uint8Array
  readonly #measure: (bytes: Uint8Array, at: number) => number | Failure
  #record: Uint8Array
  #have = 0
  #stopped = false

  constructor(header: number, measure: (bytes: Uint8Array, at: number) => number | Failure) {
    this.#header = new Uint8Array(header)
    this.#record = this.#header
    this.#measure = measure
  }

  /** Visits every record that `chunk` completes, in order, until a failure. Keeps no reference to `chunk`. */
  push(chunk: Uint8Array, visit: RecordVisitor): Failure | undefined {
    let at = 0
    while (at < chunk.length && !this.#stopped) {
      if (this.#have > 0) {
        const next = this.#complete(chunk, at, visit)
        if (typeof next !== 'number') return this.#fail(next)
        at = next
        continue
      }
      if (chunk.length - at < this.#header.length) return this.#keep(chunk, at, this.#header)
      const length = this.#measure(chunk, at)
      if (typeof length !== 'number') return this.#fail(length)
      if (chunk.length - at < length) return this.#keep(chunk, at, new Uint8Array(length))
      visit(chunk, at, at + length)
      at += length
    }
    return undefined
  }

  /** Nothing is visited any more, not even the rest of the chunk that is being read. */
  stop(): void {
    this.#stopped = true
    this.#record = this.#header
    this.#have = 0
  }

  /** Octets that wait for the rest of their record. */
  get waiting(): number {
    return this.#have
  }

  /** Continues a record that began in an earlier chunk. Returns the offset after what it took from this chunk. */
  #complete(chunk: Uint8Array, at: number, visit: RecordVisitor): number | Failure {
    const take = Math.min(this.#record.length - this.#have, chunk.length - at)
    this.#record.set(chunk.subarray(at, at + take), this.#have)
    this.#have += take
    if (this.#have < this.#record.length) return at + take
    if (this.#record === this.#header) {
      const length = this.#measure(this.#header, 0)
      if (typeof length !== 'number') return length
      if (length > this.#header.length) {
        this.#record = new Uint8Array(length)
        this.#record.set(this.#header)
        return at + take
      }
    }
    const record = this.#record
    this.#record = this.#header
    this.#have = 0
    visit(record, 0, record.length)
    return at + take
  }

  #keep(chunk: Uint8Array, at: number, into: Uint8Array): undefined {
    into.set(chunk.subarray(at))
    this.#record = into
    this.#have = chunk.length - at
  }

  #fail(failure: Failure): Failure {
    this.stop()
    return failure
  }
}
