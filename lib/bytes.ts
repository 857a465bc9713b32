// Big-endian reading and writing of byte strings, for everything that network protocols put on a wire.
// The reader never reads past its window and the writer never writes past its buffer: both throw `BytesError`
// instead, so that a parser above is total without a bounds check of its own.

/** Thrown when a read or write would leave the window; `need` and `have` are octets. */
export class BytesError extends Error {
  override readonly name = 'BytesError'
  readonly code = 'too-short'
  readonly need: number
  readonly have: number
  constructor(need: number, have: number) {
    super(`needs ${need} octets, has ${have}`)
    this.need = need
    this.have = have
  }
}

/** A cursor over a window of bytes. Slices are views: whoever keeps one past the call copies it. */
export class Reader {
  readonly bytes: Uint8Array
  #at: number
  readonly #end: number

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes
    this.#at = start
    this.#end = end
  }

  /** Absolute offset of the next octet in `bytes`. */
  get offset(): number {
    return this.#at
  }

  /** Octets left in the window. */
  get left(): number {
    return this.#end - this.#at
  }

  u8(): number {
    return this.bytes[this.#advance(1)]!
  }

  u16(): number {
    const at = this.#advance(2)
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!
  }

  u24(): number {
    const at = this.#advance(3)
    return (this.bytes[at]! << 16) | (this.bytes[at + 1]! << 8) | this.bytes[at + 2]!
  }

  u32(): number {
    const at = this.#advance(4)
    const b = this.bytes
    return ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32())
  }

  /** The next `length` octets as a view. */
  take(length: number): Uint8Array {
    const at = this.#advance(length)
    return this.bytes.subarray(at, at + length)
  }

  /** A reader of its own over the next `length` octets; this one moves past them. */
  sub(length: number): Reader {
    const at = this.#advance(length)
    return new Reader(this.bytes, at, at + length)
  }

  /** Everything that is left, as a view. */
  rest(): Uint8Array {
    return this.take(this.left)
  }

  skip(length: number): void {
    this.#advance(length)
  }

  #advance(count: number): number {
    if (count > this.#end - this.#at) throw new BytesError(count, this.#end - this.#at)
    const at = this.#at
    this.#at += count
    return at
  }
}

/** Writes into a fixed buffer it owns or is lent; `done()` is a view of what was written. */
export class Writer {
  readonly bytes: Uint8Array
  #at = 0

  constructor(capacityOrBuffer: number | Uint8Array = 4096) {
    this.bytes = typeof capacityOrBuffer === 'number' ? new Uint8Array(capacityOrBuffer) : capacityOrBuffer
  }

  /** Octets written so far. */
  get length(): number {
    return this.#at
  }

  get left(): number {
    return this.bytes.length - this.#at
  }

  u8(value: number): this {
    this.bytes[this.#advance(1)] = value
    return this
  }

  u16(value: number): this {
    const at = this.#advance(2)
    this.bytes[at] = value >>> 8
    this.bytes[at + 1] = value
    return this
  }

  u24(value: number): this {
    const at = this.#advance(3)
    this.bytes[at] = value >>> 16
    this.bytes[at + 1] = value >>> 8
    this.bytes[at + 2] = value
    return this
  }

  u32(value: number): this {
    const at = this.#advance(4)
    this.bytes[at] = value >>> 24
    this.bytes[at + 1] = value >>> 16
    this.bytes[at + 2] = value >>> 8
    this.bytes[at + 3] = value
    return this
  }

  u64(value: bigint): this {
    return this.u32(Number((value >> 32n) & 0xffffffffn)).u32(Number(value & 0xffffffffn))
  }

  put(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#advance(bytes.length))
    return this
  }

  /** Writes `body`, then its length in the `width` (1 or 2) octets before it. Throws when the length does not fit. */
  prefixed(width: 1 | 2, body: () => void): this {
    const at = this.#advance(width)
    body()
    const length = this.#at - at - width
    if (length >= 1 << (8 * width)) throw new BytesError(length, (1 << (8 * width)) - 1)
    if (width === 1) this.bytes[at] = length
    else {
      this.bytes[at] = length >>> 8
      this.bytes[at + 1] = length
    }
    return this
  }

  /** Forgets everything from octet `length` on. */
  truncate(length: number): this {
    this.#at = Math.min(this.#at, length)
    return this
  }

  done(): Uint8Array {
    return this.bytes.subarray(0, this.#at)
  }

  #advance(count: number): number {
    const at = this.#at
    if (at + count > this.bytes.length) throw new BytesError(count, this.bytes.length - at)
    this.#at = at + count
    return at
  }
}

/** Lower-case hex of `bytes`, no separators. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

/** The octets of a hex string; blanks and colons are ignored. Throws on anything else. */
export function fromHex(hex: string): Uint8Array {
  const digits = hex.replaceAll(/[\s:]/g, '')
  if (!/^([0-9a-fA-F]{2})*$/.test(digits)) throw new Error(`not hex: ${hex}`)
  return new Uint8Array(Buffer.from(digits, 'hex'))
}
