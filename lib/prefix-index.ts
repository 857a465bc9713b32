// Values under CIDRs, changed in place: the longest CIDR that holds a prefix, and all that lie inside a CIDR. One map
// per prefix length, so a look-up costs one probe per length in use. IPv4 works on plain numbers.
import { addressBytes, parseCidr } from './ip.ts'

/** A CIDR as a number: host bits are zero. */
export type Prefix = { family: 'ipv4'; bits: number; length: number } | { family: 'ipv6'; bits: bigint; length: number }

/** The prefix of a CIDR or of a single address; undefined when `text` is neither. Host bits are cleared. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/')
  if (!text.includes(':')) {
    const bits = parseQuad(text, slash < 0 ? text.length : slash)
    const length = slash < 0 ? 32 : parseLength(text, slash + 1)
    if (bits < 0 || length < 0 || length > 32) return undefined
    return { family: 'ipv4', bits: mask4(bits, length), length }
  }
  const parsed = parseCidr(slash < 0 ? `${text}/128` : text)
  if (parsed?.family !== 'ipv6') return undefined
  const bits = addressBytes(parsed.address).reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n)
  return { family: 'ipv6', bits: mask6(bits, parsed.length), length: parsed.length }
}

/** Four decimal numbers before `end` as one of 32 bits; -1 when there is anything else. */
function parseQuad(text: string, end: number): number {
  let bits = 0
  let octet = -1
  let dots = 0
  for (let i = 0; i < end; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit === -2 && octet >= 0) {
      bits = bits * 256 + octet
      octet = -1
      dots++
    } else if (digit >= 0 && digit <= 9 && octet !== 0) octet = octet < 0 ? digit : octet * 10 + digit
    else return -1
    if (octet > 255) return -1
  }
  return dots === 3 && octet >= 0 ? bits * 256 + octet : -1
}

/** One or two digits from `from` to the end; -1 when there is anything else. */
function parseLength(text: string, from: number): number {
  let length = -1
  if (text.length > from + 2) return -1
  for (let i = from; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return -1
    length = length < 0 ? digit : length * 10 + digit
  }
  return length
}

export class PrefixIndex<T> {
  readonly #ipv4 = new Lengths<number, T>(mask4, (bits, length, n) => bits + n * 2 ** (32 - length))
  readonly #ipv6 = new Lengths<bigint, T>(mask6, (bits, length, n) => bits + (BigInt(n) << BigInt(128 - length)))

  set(prefix: Prefix, value: T): this {
    if (prefix.family === 'ipv4') this.#ipv4.set(prefix.bits, prefix.length, value)
    else this.#ipv6.set(prefix.bits, prefix.length, value)
    return this
  }

  delete(prefix: Prefix): void {
    if (prefix.family === 'ipv4') this.#ipv4.delete(prefix.bits, prefix.length)
    else this.#ipv6.delete(prefix.bits, prefix.length)
  }

  /** The value of exactly this CIDR. */
  get(prefix: Prefix): T | undefined {
    if (prefix.family === 'ipv4') return this.#ipv4.get(prefix.bits, prefix.length)
    return this.#ipv6.get(prefix.bits, prefix.length)
  }

  /** The value of the longest CIDR that is equal to `prefix` or holds it. */
  match(prefix: Prefix): T | undefined {
    if (prefix.family === 'ipv4') return this.#ipv4.match(prefix.bits, prefix.length)
    return this.#ipv6.match(prefix.bits, prefix.length)
  }

  /**
   * The values of all CIDRs that are equal to `prefix` or lie inside it, in no order. Costs per length in use the
   * number of possible CIDRs or that of stored ones, whichever is smaller.
   */
  within(prefix: Prefix): T[] {
    if (prefix.family === 'ipv4') return this.#ipv4.within(prefix.bits, prefix.length)
    return this.#ipv6.within(prefix.bits, prefix.length)
  }
}

/** The CIDRs of one family. `B` is the type of an address as a number. */
class Lengths<B, T> {
  readonly #byLength = new Map<number, Map<B, T>>()
  readonly #mask: (bits: B, length: number) => B
  /** The `n`th CIDR of a length, counted from the one at `bits`. */
  readonly #nth: (bits: B, length: number, n: number) => B

  constructor(mask: (bits: B, length: number) => B, nth: (bits: B, length: number, n: number) => B) {
    this.#mask = mask
    this.#nth = nth
  }

  set(bits: B, length: number, value: T): void {
    const values = this.#byLength.get(length) ?? new Map<B, T>()
    this.#byLength.set(length, values.set(bits, value))
  }

  delete(bits: B, length: number): void {
    const values = this.#byLength.get(length)
    values?.delete(bits)
    if (values?.size === 0) this.#byLength.delete(length)
  }

  get(bits: B, length: number): T | undefined {
    return this.#byLength.get(length)?.get(bits)
  }

  match(bits: B, length: number): T | undefined {
    let best = -1
    let found: T | undefined
    for (const [of, values] of this.#byLength) {
      if (of > length || of <= best) continue
      const value = values.get(this.#mask(bits, of))
      if (value !== undefined) [best, found] = [of, value]
    }
    return found
  }

  within(bits: B, length: number): T[] {
    const found: T[] = []
    for (const [of, values] of this.#byLength) {
      if (of < length) continue
      const possible = 2 ** (of - length)
      if (possible > values.size) {
        for (const [at, value] of values) if (this.#mask(at, length) === bits) found.push(value)
      } else
        for (let n = 0; n < possible; n++) {
          const value = values.get(this.#nth(bits, of, n))
          if (value !== undefined) found.push(value)
        }
    }
    return found
  }
}

function mask4(bits: number, length: number): number {
  return length === 0 ? 0 : (bits & (0xffffffff << (32 - length))) >>> 0
}

function mask6(bits: bigint, length: number): bigint {
  const shift = BigInt(128 - length)
  return (bits >> shift) << shift
}
