// Longest-prefix match over a few hundred CIDRs, asked once per learned route: a full table is looked up in some ten
// milliseconds, where parsing both sides of every comparison would take seconds. IPv4 works on plain numbers.
import { addressBytes, type Family, parseCidr } from './ip.ts'

/** A CIDR as a number: host bits are zero. */
export type Prefix = { family: Family; bits: bigint; length: number }

const CANONICAL_V4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\/(\d{1,2}))?$/

/** The prefix of a CIDR or of a single address; undefined when `text` is neither. Host bits are cleared. */
export function parsePrefix(text: string): Prefix | undefined {
  const v4 = CANONICAL_V4.exec(text)
  if (v4 !== null) {
    const [a, b, c, d] = [Number(v4[1]), Number(v4[2]), Number(v4[3]), Number(v4[4])]
    const length = v4[5] === undefined ? 32 : Number(v4[5])
    if (a > 255 || b > 255 || c > 255 || d > 255 || length > 32) return undefined
    return { family: 'ipv4', bits: BigInt(mask4(((a << 24) | (b << 16) | (c << 8) | d) >>> 0, length)), length }
  }
  const parsed = parseCidr(text.includes('/') ? text : `${text}/128`)
  if (parsed?.family !== 'ipv6') return undefined
  const bits = addressBytes(parsed.address).reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n)
  return { family: 'ipv6', bits, length: parsed.length }
}

/** Values under CIDRs; a question is answered by the longest CIDR that holds all of what was asked for. */
export class PrefixIndex<T> {
  readonly #byLength = { ipv4: new Map<number, Map<number, T>>(), ipv6: new Map<number, Map<bigint, T>>() }

  /** The first value given to a CIDR stays. Text that is no CIDR or address is ignored. */
  add(text: string, value: T): this {
    const prefix = parsePrefix(text)
    if (prefix === undefined) return this
    const { family, bits, length } = prefix
    if (family === 'ipv4') put(this.#byLength.ipv4, length, Number(bits), value)
    else put(this.#byLength.ipv6, length, bits, value)
    return this
  }

  /** The value of the longest CIDR that is equal to `prefix` or holds it. */
  match({ family, bits, length }: Prefix): T | undefined {
    let best = -1
    let found: T | undefined
    if (family === 'ipv4') {
      const number = Number(bits)
      for (const [of, values] of this.#byLength.ipv4) {
        if (of > length || of <= best) continue
        const value = values.get(mask4(number, of))
        if (value !== undefined) [best, found] = [of, value]
      }
      return found
    }
    for (const [of, values] of this.#byLength.ipv6) {
      if (of > length || of <= best) continue
      const shift = BigInt(128 - of)
      const value = values.get((bits >> shift) << shift)
      if (value !== undefined) [best, found] = [of, value]
    }
    return found
  }
}

function mask4(number: number, length: number): number {
  return length === 0 ? 0 : (number & (0xffffffff << (32 - length))) >>> 0
}

function put<K, T>(lengths: Map<number, Map<K, T>>, length: number, key: K, value: T): void {
  const values = lengths.get(length) ?? new Map<K, T>()
  if (!values.has(key)) values.set(key, value)
  lengths.set(length, values)
}
