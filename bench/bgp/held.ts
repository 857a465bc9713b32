// Which of a span's /24s a test peer holds, as bits: the receiving half of the tester, kept to a few instructions per
// prefix so that it is never what is measured.
import { FIRST_PREFIX } from './places.ts'

export class Held {
  readonly #bits: Uint8Array
  /** Prefixes announced and not withdrawn since. */
  count = 0
  /** Prefixes in all UPDATEs, repeats included. */
  announced = 0

  constructor(prefixes: number) {
    this.#bits = new Uint8Array((prefixes >>> 3) + 1)
  }

  /** One UPDATE body `bytes[start..end)` with /24s only, which is all that the tester's feeders announce. */
  update(bytes: Uint8Array, start: number, end: number): void {
    const withdrawnEnd = start + 2 + ((bytes[start]! << 8) | bytes[start + 1]!)
    for (let at = start + 2; at < withdrawnEnd; at += 4) {
      const n = number(bytes, at)
      const bit = 1 << (n & 7)
      if ((this.#bits[n >>> 3]! & bit) === 0) continue
      this.#bits[n >>> 3]! &= ~bit
      this.count--
    }
    const nlri = withdrawnEnd + 2 + ((bytes[withdrawnEnd]! << 8) | bytes[withdrawnEnd + 1]!)
    this.announced += (end - nlri) >>> 2
    for (let at = nlri; at < end; at += 4) {
      const n = number(bytes, at)
      const bit = 1 << (n & 7)
      if ((this.#bits[n >>> 3]! & bit) !== 0) continue
      this.#bits[n >>> 3]! |= bit
      this.count++
    }
  }
}

function number(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== 24) throw new Error('a prefix that is no /24 of the feeder')
  return ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) - FIRST_PREFIX
}
