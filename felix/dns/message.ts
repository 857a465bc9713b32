// One answer of a DNS server (RFC 1035 §4), read for the addresses that it gives to the name that was asked. Pure, and for
// octets of anybody: it never throws, and its work is bounded by what it is given. Hazards: an address counts for the name of
// the question alone, since whoever serves another name may put records of any name beside its own; a message may be cut
// off, by the server or by whoever copied it, and what is whole in it was told; a pointer that leads forward is no name.
import { formatAddress, isHostAddress } from '../../lib/ip.ts'

/** What a name was said to be: in lower case, without the dot at the end. `ttlSeconds`: the lowest of all records that lead to them. */
export type NameAddresses = { name: string; addresses: readonly string[]; ttlSeconds: number }

/** There may be nothing more to read, or what is there makes no sense. */
type Failure = 'cut' | 'bad'
/** `text` is undefined of a name with octets that names of hosts do not have: no pattern of a policy is about it. */
type Name = { text: string | undefined; next: number }
type Alias = { target: string; ttl: number }

const HEADER_OCTETS = 12
/** QR, OPCODE and RCODE: a standard query was answered without an error. TC is no fault: see above. */
const JUDGED_FLAGS = 0xf80f
const ANSWERED = 0x8000
const TYPE = { a: 1, cname: 5, aaaa: 28 } as const
const INTERNET = 1
const ADDRESS_OCTETS: Readonly<Record<number, number>> = { [TYPE.a]: 4, [TYPE.aaaa]: 16 }
/** A label is at most 63 octets; two high bits say that a pointer follows (RFC 1035 §4.1.4). */
const POINTER = 0xc0
const MOST_NAME_OCTETS = 255
/** Answers to one question, of which people have seen hundreds. */
const MOST_RECORDS = 1024
/** Aliases in a row. Resolvers follow 8 to 16. */
const MOST_ALIASES = 16

/** The addresses in one message; undefined of what is no answer with some to a question for addresses of an ordinary name. */
export function readAnswer(octets: Uint8Array): NameAddresses | undefined {
  if (octets.length < HEADER_OCTETS) return undefined
  const view = new DataView(octets.buffer, octets.byteOffset, octets.length)
  if ((view.getUint16(2) & JUDGED_FLAGS) !== ANSWERED || view.getUint16(4) !== 1) return undefined
  const question = readName(octets, HEADER_OCTETS)
  if (typeof question === 'string' || question.text === undefined || question.next + 4 > octets.length) return undefined
  const type = view.getUint16(question.next)
  if (ADDRESS_OCTETS[type] === undefined || view.getUint16(question.next + 2) !== INTERNET) return undefined
  const records = readRecords(octets, view, question.next + 4, type)
  return records && follow(question.text, records)
}

type Records = { aliases: ReadonlyMap<string, Alias>; addresses: ReadonlyMap<string, { all: string[]; ttl: number }> }

/** The aliases, and the addresses of the type that was asked for, by their owners. Undefined when some record makes no sense. */
function readRecords(octets: Uint8Array, view: DataView, from: number, asked: number): Records | undefined {
  const aliases = new Map<string, Alias>()
  const addresses = new Map<string, { all: string[]; ttl: number }>()
  const count = Math.min(view.getUint16(6), MOST_RECORDS)
  for (let i = 0, at = from; i < count; i++) {
    const owner = readName(octets, at)
    if (owner === 'bad') return undefined
    if (owner === 'cut' || owner.next + 10 > octets.length) break
    const data = owner.next + 10
    const end = data + view.getUint16(owner.next + 8)
    if (end > octets.length) break
    at = end
    if (owner.text === undefined || view.getUint16(owner.next + 2) !== INTERNET) continue
    const type = view.getUint16(owner.next)
    const ttl = ttlOf(view.getUint32(owner.next + 4))
    if (type === TYPE.cname) {
      const target = readName(octets, data)
      if (typeof target === 'string' || target.next !== end) return undefined
      if (target.text !== undefined && !aliases.has(owner.text)) aliases.set(owner.text, { target: target.text, ttl })
    }
    if (type !== asked) continue
    if (end - data !== ADDRESS_OCTETS[type]) return undefined
    const address = formatAddress(octets.subarray(data, end))
    if (!isHostAddress(address)) continue
    const known = addresses.get(owner.text)
    if (known === undefined) addresses.set(owner.text, { all: [address], ttl })
    else {
      known.all.push(address)
      known.ttl = Math.min(known.ttl, ttl)
    }
  }
  return { aliases, addresses }
}

/** What a name leads to within one answer. The TTLs of one set of records that differ are all the lowest (RFC 2181 §5.2). */
function follow(name: string, { aliases, addresses }: Records): NameAddresses | undefined {
  let at = name
  let lowest = Number.POSITIVE_INFINITY
  for (let i = 0; i <= MOST_ALIASES; i++) {
    const alias = aliases.get(at)
    if (alias === undefined) {
      const found = addresses.get(at)
      if (found === undefined) return undefined
      return { name, addresses: [...new Set(found.all)], ttlSeconds: Math.min(lowest, found.ttl) }
    }
    lowest = Math.min(lowest, alias.ttl)
    at = alias.target
  }
  return undefined
}

/** Seconds; one with the highest bit is none (RFC 2181 §8). */
function ttlOf(value: number): number {
  return value > 0x7fffffff ? 0 : value
}

/** A name from an offset, and where what follows it begins. Each pointer leads before all that was read, so it ends. */
function readName(octets: Uint8Array, from: number): Name | Failure {
  let next: number | undefined
  let isPlain = true
  let text = ''
  let before = from
  for (let at = from, length = 1; ; ) {
    const octet = octets[at]
    if (octet === undefined) return next === undefined ? 'cut' : 'bad'
    if (octet === 0) return { text: isPlain && text !== '' ? text : undefined, next: next ?? at + 1 }
    if (octet >= POINTER) {
      const low = octets[at + 1]
      if (low === undefined) return next === undefined ? 'cut' : 'bad'
      next ??= at + 2
      at = ((octet & ~POINTER) << 8) | low
      if (at >= before) return 'bad'
      before = at
      continue
    }
    length += octet + 1
    if (octet > 63 || length > MOST_NAME_OCTETS) return 'bad'
    if (at + octet >= octets.length) return next === undefined ? 'cut' : 'bad'
    if (text !== '') text += '.'
    for (const end = at + octet; at < end; ) {
      const character = plainCharacter(octets[++at]!)
      if (character === undefined) isPlain = false
      else text += character
    }
    at++
  }
}

const PLAIN = Array.from({ length: 256 }, (_, octet) => {
  const character = String.fromCharCode(octet).toLowerCase()
  return octet < 128 && /[-_a-z0-9]/.test(character) ? character : undefined
})

function plainCharacter(octet: number): string | undefined {
  return PLAIN[octet]
}
