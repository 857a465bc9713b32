// Keys and data of sets: a type is one data type or several that are joined, as `ipv4_addr . inet_service`. nft numbers
// a joined type with 6 bits per part, and each part of its octets fills up to a multiple of 4. In sets of intervals
// numbers are always big-endian, because the kernel compares octets there.
import type { NftSetTypes } from '../../port/nftables.ts'
import { type DataType, dataType, dataTypeOf, formatEnd, formatWord, parseWord } from './datatypes.ts'
import { Malformed } from './fields.ts'

const JOINT = ' . '
/** At the end of an interface's name, in sets of intervals: all names that begin so. */
const WILDCARD = '*'
const BITS = 6

export type KeyType = {
  /** What the kernel keeps of it for nft. */
  number: number
  /** One, too, for a joined type of which some part is not in the registry. */
  parts: readonly DataType[]
  /** Octets of a key as a whole. */
  length: number
  interval: boolean
}

type TypeOptions = { length?: number; interval?: boolean }

const padded = (octets: number) => (octets + 3) & ~3

/** The type that nft's words name. Throws when they name none. `length` is given where the type does not tell it. */
export function keyType(words: string, { length, interval = false }: TypeOptions = {}): KeyType {
  const parts = words.split(JOINT).map(dataType)
  const number = parts.reduce((sum, part) => ((sum << BITS) | part.number) >>> 0, 0)
  if (parts.length === 1) return { number, parts, length: length ?? parts[0]!.length ?? 0, interval }
  const lengths = parts.map(part => part.length)
  if (lengths.some(each => each === undefined)) return { number, parts: [dataTypeOf(0)], length: length ?? 0, interval }
  const own = lengths.reduce<number>((sum, each) => sum + padded(each!), 0)
  return { number, parts, length: length ?? own, interval }
}

/** The types of a set's keys and data; verdicts have none. */
export function setTypes(of: NftSetTypes): {
  key: KeyType
  data?: KeyType
} {
  const key = keyType(of.type, { length: of.keyLength, interval: of.flags?.includes('interval') })
  if (of.data === undefined || of.data === 'verdict') return { key }
  return { key, data: keyType(of.data, { length: of.dataLength }) }
}

/** nft's words for a type number. */
export function typeWords(number: number): string {
  const parts: string[] = []
  for (let left = number; left !== 0; left >>>= BITS) parts.unshift(dataTypeOf(left & ((1 << BITS) - 1)).name)
  return parts.length === 0 ? dataTypeOf(0).name : parts.join(JOINT)
}

/** The octets of a key, one word per part. Throws when a word is none of its type. */
export function parseKey(type: KeyType, words: readonly string[]): Uint8Array {
  return join(
    type,
    wordsOf(type, words).map(({ part, word }) => ordered(type, part, parseWord(part, word, lengthOf(type, part)))),
  )
}

/** The first and the last key of what the words name; they are the same for a single one. */
export function parseKeyRange(type: KeyType, words: readonly string[]): { from: Uint8Array; to: Uint8Array } {
  const ranges = wordsOf(type, words).map(({ part, word }) => parseRange(type, part, word))
  const ends = (end: 'from' | 'to') =>
    join(
      type,
      ranges.map(range => range[end]),
    )
  return { from: ends('from'), to: ends('to') }
}

/** The words of the keys from `from` to `to`, part by part. Throws `Malformed` when they are not as long as the type. */
export function formatKey(type: KeyType, from: Uint8Array, to: Uint8Array = from): string[] {
  if (from.length !== type.length || to.length !== type.length)
    throw new Malformed(`a key of ${from.length} octets in a set of ${type.length}`)
  const { parts } = type
  if (parts.length === 1) return [formatRange(type, parts[0]!, from, to)]
  let at = 0
  return parts.map(part => {
    const end = at + (part.length ?? 0)
    const word = formatRange(type, part, from.subarray(at, end), to.subarray(at, end))
    at = padded(end)
    return word
  })
}

function wordsOf({ parts }: KeyType, words: readonly string[]): { part: DataType; word: string }[] {
  if (words.length !== parts.length) throw new Error(`${words.length} words for a key of ${parts.length} parts`)
  return parts.map((part, i) => ({ part, word: words[i]! }))
}

/** A set of one part says itself how long its keys are. */
function lengthOf({ parts, length }: KeyType, part: DataType): number | undefined {
  return parts.length === 1 ? length : part.length
}

function join({ parts, length }: KeyType, octets: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) {
    if (octets[0]!.length !== length) throw new Error(`a key of ${octets[0]!.length} octets in a set of ${length}`)
    return octets[0]!
  }
  const out = new Uint8Array(length)
  let at = 0
  for (const part of octets) {
    out.set(part, at)
    at += padded(part.length)
  }
  return out
}

/** Octets of a part as they lie in the key, or back. */
function ordered({ interval }: KeyType, part: DataType, octets: Uint8Array): Uint8Array {
  return interval && part.order === 'host' && octets.length <= 4 ? octets.toReversed() : octets
}

function parseRange(type: KeyType, part: DataType, word: string): { from: Uint8Array; to: Uint8Array } {
  const octetsOf = (each: string) => ordered(type, part, parseWord(part, each, lengthOf(type, part)))
  if (part.name === 'ifname' && word.length > 1 && word.endsWith(WILDCARD))
    return allBeginningWith(part, word.slice(0, -1))
  const slash = part.prefixes ? word.indexOf('/') : -1
  if (slash >= 0) return prefix(octetsOf(word.slice(0, slash)), Number(word.slice(slash + 1)))
  // a dash may belong to the word itself (echo-request)
  for (let dash = word.indexOf('-'); dash > 0; dash = word.indexOf('-', dash + 1)) {
    const ends = [word.slice(0, dash), word.slice(dash + 1)].map(end => attempt(() => octetsOf(end)))
    if (ends[0] !== undefined && ends[1] !== undefined) return { from: ends[0], to: ends[1] }
  }
  const octets = octetsOf(word)
  return { from: octets, to: octets }
}

function attempt<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch {
    // parseWord throws for what is no word of the type, and that is the question here
    return undefined
  }
}

function prefix(octets: Uint8Array, bits: number): { from: Uint8Array; to: Uint8Array } {
  if (!(bits >= 0 && bits <= 8 * octets.length)) throw new Error(`a prefix of ${bits} bits`)
  const host = octets.map((_, i) => 0xff >> Math.min(8, Math.max(0, bits - 8 * i)))
  return { from: octets.map((octet, i) => octet & ~host[i]!), to: octets.map((octet, i) => octet | host[i]!) }
}

/** The length of the prefix that holds exactly the values of a range; undefined when there is none. */
export function prefixLength(from: Uint8Array, to: Uint8Array): number | undefined {
  let bits = 0
  while (bits < 8 * from.length && bit(from, bits) === bit(to, bits)) bits++
  for (let i = bits; i < 8 * from.length; i++) if (bit(from, i) !== 0 || bit(to, i) !== 1) return undefined
  return bits
}

function bit(octets: Uint8Array, index: number): number {
  return (octets[index >> 3]! >> (7 - (index & 7))) & 1
}

function formatRange(type: KeyType, part: DataType, from: Uint8Array, to: Uint8Array): string {
  const wordOf = (octets: Uint8Array) => formatWord(part, ordered(type, part, octets))
  if (Buffer.compare(from, to) === 0) return wordOf(from)
  const begun = part.name === 'ifname' ? beginning(from, to) : undefined
  if (begun !== undefined) return `${begun}${WILDCARD}`
  const bits = part.prefixes && from.length === part.length ? prefixLength(from, to) : undefined
  if (bits !== undefined) return `${wordOf(from)}/${bits}`
  const [first, last] = [from, to].map(octets => formatEnd(part, ordered(type, part, octets)))
  return `${first}-${last}`
}

/** What the names of a range begin with; undefined where they begin with nothing in common, or it is another range. */
function beginning(from: Uint8Array, to: Uint8Array): string | undefined {
  const length = from.indexOf(0)
  const isWhole = from.every((octet, i) => (i < length ? octet === to[i] : octet === 0 && to[i] === 0xff))
  const name = Buffer.from(from.subarray(0, length)).toString()
  return length > 0 && isWhole && Buffer.from(name).equals(from.subarray(0, length)) ? name : undefined
}

/** The names of interfaces that begin with `name`. */
function allBeginningWith(part: DataType, name: string): { from: Uint8Array; to: Uint8Array } {
  const from = parseWord(part, name)
  return { from, to: from.map((octet, i) => (i < Buffer.byteLength(name) ? octet : 0xff)) }
}
