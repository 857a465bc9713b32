// The registry of nft's data types: what the octets of a key, of data or of a register mean, and the words that nft
// prints and reads for them. Numbers are nft's own (enum datatypes of its datatype.h): the kernel only keeps them.
// Host order is little-endian here (see message.ts).

import { fromHex, toHex } from '../../../lib/bytes.ts'
import { addressBytes, formatAddress } from '../../../lib/ip.ts'
import { formatMac, macBytes } from '../mac.ts'

export type DataType = {
  /** nft's word for the type. */
  name: string
  number: number
  /** Octets of a value; undefined where it is not the type that says so. */
  length?: number
  /** The order of a number's octets; `none` where nft has none for a single one. */
  order: 'host' | 'big' | 'none'
  /** Values are sets of bits. */
  bitmask?: true
  /** Ranges of whole prefixes are printed as such. */
  prefixes?: true
  /** Every value has a word of its own. */
  exact?: true
  /** The octets of a word. Throws when it is none of this type. */
  parse(word: string): Uint8Array
  format(octets: Uint8Array): string
  /** The same without words, as nft has the ends of ranges. */
  formatNumber?(octets: Uint8Array): string
}

type Words = Readonly<Record<string, number>>

function numberOf(octets: Uint8Array, order: DataType['order']): number {
  let value = 0
  for (const octet of order === 'host' ? octets.toReversed() : octets) value = value * 256 + octet
  return value
}

function octetsOf(value: number, length: number, order: DataType['order']): Uint8Array {
  const out = new Uint8Array(length)
  for (let i = length - 1, left = value; i >= 0; i--, left = Math.floor(left / 256)) out[i] = left % 256
  return order === 'host' ? out.reverse() : out
}

type NumberOptions = { length: number; order: DataType['order']; words?: Words; hex?: boolean; prefixes?: true }

/** A number of `length` octets, with words for some values. */
function numbers(
  name: string,
  number: number,
  { length, order, words = {}, hex = false, prefixes }: NumberOptions,
): DataType {
  const names = new Map(Object.entries(words).map(([text, value]) => [value, text]))
  const formatNumber = (octets: Uint8Array) => {
    const value = numberOf(octets, order)
    return hex ? `0x${value.toString(16).padStart(2 * length, '0')}` : `${value}`
  }
  return {
    name,
    number,
    length,
    order,
    prefixes,
    parse(word) {
      const value = words[word] ?? (/^(0x[0-9a-f]+|\d+)$/.test(word) ? Number(word) : -1)
      if (value < 0 || value >= 256 ** length) throw new Error(`not a value of ${name}: ${word}`)
      return octetsOf(value, length, order)
    },
    format(octets) {
      return names.get(numberOf(octets, order)) ?? formatNumber(octets)
    },
    formatNumber,
  }
}

/** Bits with words, joined by commas. */
function bitmask(name: string, number: number, words: Words, length = 4): DataType {
  return {
    name,
    number,
    length,
    order: 'host',
    bitmask: true,
    parse(word) {
      const value = word.split(',').reduce((sum, each) => sum | (words[each] ?? Number(each)), 0)
      return octetsOf(value >>> 0, length, 'host')
    },
    format(octets) {
      const value = numberOf(octets, 'host')
      const known = Object.entries(words).filter(([, bit]) => value & bit)
      const rest = known.reduce((left, [, bit]) => left & ~bit, value)
      return value === 0 || rest !== 0 ? `0x${value.toString(16)}` : known.map(([text]) => text).join(',')
    },
  }
}

function address(name: string, number: number, length: number): DataType {
  return {
    name,
    number,
    length,
    order: 'big',
    prefixes: true,
    exact: true,
    parse(word) {
      const octets = addressBytes(word)
      if (octets.length !== length) throw new Error(`not a value of ${name}: ${word}`)
      return octets
    },
    format: formatAddress,
  }
}

const IFNAMSIZ = 16
const ifname: DataType = {
  name: 'ifname',
  number: 41,
  length: IFNAMSIZ,
  order: 'host',
  parse(word) {
    const octets = new Uint8Array(IFNAMSIZ)
    const name = Buffer.from(word)
    if (name.length === 0 || name.length >= IFNAMSIZ) throw new Error(`not a name of an interface: ${word}`)
    octets.set(name)
    return octets
  },
  format(octets) {
    const end = octets.indexOf(0)
    return Buffer.from(end < 0 ? octets : octets.subarray(0, end)).toString()
  },
}

const ether: DataType = { name: 'ether_addr', number: 9, length: 6, order: 'big', parse: macBytes, format: formatMac }

const PROTOCOLS = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  ah: 51,
  'ipv6-icmp': 58,
  sctp: 132,
  udplite: 136,
} as const

/** Class selectors (RFC 2474), assured forwarding (RFC 2597), expedited (3246), admitted voice (5865), less than best effort (8622). */
const DSCP = {
  cs0: 0,
  lephb: 1,
  cs1: 8,
  af11: 10,
  af12: 12,
  af13: 14,
  cs2: 16,
  af21: 18,
  af22: 20,
  af23: 22,
  cs3: 24,
  af31: 26,
  af32: 28,
  af33: 30,
  cs4: 32,
  af41: 34,
  af42: 36,
  af43: 38,
  cs5: 40,
  va: 44,
  ef: 46,
  cs6: 48,
  cs7: 56,
} as const

const TYPES: readonly DataType[] = [
  numbers('nf_proto', 2, { length: 1, order: 'host', words: { ipv4: 2, ipv6: 10 } }),
  address('ipv4_addr', 7, 4),
  address('ipv6_addr', 8, 16),
  ether,
  numbers('ether_type', 10, { length: 2, order: 'big', words: { ip: 0x800, arp: 0x806, ip6: 0x86dd }, hex: true }),
  numbers('inet_proto', 12, { length: 1, order: 'none', words: PROTOCOLS }),
  numbers('inet_service', 13, { length: 2, order: 'big' }),
  numbers('icmp_type', 14, {
    length: 1,
    order: 'big',
    words: {
      'echo-reply': 0,
      'destination-unreachable': 3,
      'source-quench': 4,
      redirect: 5,
      'echo-request': 8,
      'router-advertisement': 9,
      'router-solicitation': 10,
      'time-exceeded': 11,
      'parameter-problem': 12,
      'timestamp-request': 13,
      'timestamp-reply': 14,
      'info-request': 15,
      'info-reply': 16,
      'address-mask-request': 17,
      'address-mask-reply': 18,
    },
  }),
  bitmask('tcp_flag', 15, { fin: 0x1, syn: 0x2, rst: 0x4, psh: 0x8, ack: 0x10, urg: 0x20, ecn: 0x40, cwr: 0x80 }, 1),
  numbers('mark', 19, { length: 4, order: 'host', hex: true, prefixes: true }),
  numbers('iface_index', 20, { length: 4, order: 'host' }),
  numbers('iface_type', 21, { length: 2, order: 'host', words: { ether: 1, ppp: 512, ipip: 768, loopback: 772 } }),
  numbers('uid', 24, { length: 4, order: 'host' }),
  numbers('gid', 25, { length: 4, order: 'host' }),
  bitmask('ct_state', 26, { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 }),
  numbers('ct_dir', 27, { length: 1, order: 'host', words: { original: 0, reply: 1 } }),
  bitmask('ct_status', 28, {
    expected: 0x1,
    'seen-reply': 0x2,
    assured: 0x4,
    confirmed: 0x8,
    snat: 0x10,
    dnat: 0x20,
    dying: 0x200,
  }),
  numbers('icmpv6_type', 29, {
    length: 1,
    order: 'big',
    words: {
      'destination-unreachable': 1,
      'packet-too-big': 2,
      'time-exceeded': 3,
      'parameter-problem': 4,
      'echo-request': 128,
      'echo-reply': 129,
      'mld-listener-query': 130,
      'mld-listener-report': 131,
      'mld-listener-done': 132,
      'nd-router-solicit': 133,
      'nd-router-advert': 134,
      'nd-neighbor-solicit': 135,
      'nd-neighbor-advert': 136,
      'nd-redirect': 137,
      'router-renumbering': 138,
      'ind-neighbor-solicit': 141,
      'ind-neighbor-advert': 142,
      'mld2-listener-report': 143,
    },
  }),
  numbers('pkt_type', 31, { length: 1, order: 'host', words: { host: 0, broadcast: 1, multicast: 2, other: 3 } }),
  numbers('icmp_code', 32, {
    length: 1,
    order: 'big',
    words: {
      'net-unreachable': 0,
      'host-unreachable': 1,
      'prot-unreachable': 2,
      'port-unreachable': 3,
      'frag-needed': 4,
      'net-prohibited': 9,
      'host-prohibited': 10,
      'admin-prohibited': 13,
    },
  }),
  numbers('icmpv6_code', 33, {
    length: 1,
    order: 'big',
    words: {
      'no-route': 0,
      'admin-prohibited': 1,
      'addr-unreachable': 3,
      'port-unreachable': 4,
      'policy-fail': 5,
      'reject-route': 6,
    },
  }),
  numbers('icmpx_code', 34, {
    length: 1,
    order: 'big',
    words: { 'no-route': 0, 'port-unreachable': 1, 'host-unreachable': 2, 'admin-prohibited': 3 },
  }),
  numbers('dscp', 36, { length: 1, order: 'big', words: DSCP, hex: true }),
  numbers('ecn', 37, { length: 1, order: 'big', words: { 'not-ect': 0, ect1: 1, ect0: 2, ce: 3 } }),
  numbers('fib_addrtype', 38, {
    length: 4,
    order: 'host',
    words: {
      unspec: 0,
      unicast: 1,
      local: 2,
      broadcast: 3,
      anycast: 4,
      multicast: 5,
      blackhole: 6,
      unreachable: 7,
      prohibit: 8,
    },
  }),
  ifname,
]

/** What fib says of a route when it is asked whether there is one. */
export const presence: DataType = numbers('boolean', 39, { length: 4, order: 'host', words: { missing: 0, exists: 1 } })

const byName = new Map(TYPES.map(type => [type.name, type]))
const byNumber = new Map(TYPES.map(type => [type.number, type]))

/** How a type that is not in the registry is called, and a value that its type has no word for. */
const UNKNOWN_TYPE = /^type(\d+)$/
const RAW = 'hex:'

function unknownType(number: number, length?: number): DataType {
  const parse = (word: string): never => {
    throw new Error(`type ${number} of nft has no words: ${word}`)
  }
  return { name: `type${number}`, number, length, order: 'big', parse, format: octets => `0x${toHex(octets)}` }
}

/** The type with nft's word for it (also `type12` for one that is not in the registry). Throws on anything else. */
export function dataType(name: string): DataType {
  const number = UNKNOWN_TYPE.exec(name)?.[1]
  const found = byName.get(name) ?? (number === undefined ? undefined : unknownType(Number(number)))
  if (found === undefined) throw new Error(`not a data type of nft: ${name}`)
  return found
}

export function dataTypeOf(number: number): DataType {
  return byNumber.get(number) ?? unknownType(number)
}

/** A plain number: of the machine in decimal, of a header in hex. */
export function integerType(length: number, order: 'host' | 'big'): DataType {
  return numbers('integer', 4, { length, order, hex: order === 'big' })
}

/** A number of a header that nft has a name for. */
export function decimalType(length: number): DataType {
  return numbers('integer', 4, { length, order: 'big' })
}

/** The octets of a word of `type`. Throws when it is none, or when `length` octets are wanted and it has others. */
export function parseWord(type: DataType, word: string, length = type.length): Uint8Array {
  const octets = word.startsWith(RAW) ? fromHex(word.slice(RAW.length)) : type.parse(word)
  if (length !== undefined && octets.length !== length) throw new Error(`not ${length} octets: ${word}`)
  return octets
}

/** The word for a value of `type`: one that `parseWord` reads back to the same octets. */
export function formatWord(type: DataType, octets: Uint8Array): string {
  if (type.exact && octets.length === type.length) return type.format(octets)
  const raw = `${RAW}${toHex(octets)}`
  if (octets.length !== type.length) return raw
  const word = type.format(octets)
  try {
    return Buffer.compare(type.parse(word), octets) === 0 ? word : raw
  } catch {
    // a name with odd octets in it, or a type without words
    return raw
  }
}

/** The word for one end of a range. */
export function formatEnd(type: DataType, octets: Uint8Array): string {
  return type.formatNumber !== undefined && octets.length === type.length
    ? type.formatNumber(octets)
    : formatWord(type, octets)
}

/** A value as nft prints it; octets that the type has no word for are a number. */
export function printWord(type: DataType, octets: Uint8Array): string {
  const word = formatWord(type, octets)
  if (word.startsWith(RAW)) return `0x${toHex(type.order === 'host' ? octets.toReversed() : octets)}`
  return type.name === 'ifname' ? `"${word}"` : word
}
