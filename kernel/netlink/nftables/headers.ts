// The registry of header fields that nft has names for: where they lie (in bits from the start of their header) and what
// type they are of. Everything else is printed as raw octets of a header (@nh,bit,bits). nft joins comparisons of fields
// that lie side by side (icmp type, code), and reads the octets around a field that is smaller than one (ip dscp).
import type { NftPayloadBase } from '../../port/nftables.ts'
import { type DataType, dataType, decimalType, integerType } from './datatypes.ts'

type FieldRow = { protocol: string; name: string; at: number; bits: number; type: DataType }

const bitRow = (protocol: string, name: string, at: number, bits: number, type?: string): FieldRow => ({
  protocol,
  name,
  at,
  bits,
  type: type === undefined ? decimalType(Math.ceil(bits / 8)) : dataType(type),
})
const row = (protocol: string, name: string, offset: number, length: number, type?: string) =>
  bitRow(protocol, name, 8 * offset, 8 * length, type)

const ports = (protocol: string) => [
  row(protocol, 'sport', 0, 2, 'inet_service'),
  row(protocol, 'dport', 2, 2, 'inet_service'),
]

const FIELDS: Readonly<Record<NftPayloadBase, readonly FieldRow[]>> = {
  link: [
    row('ether', 'daddr', 0, 6, 'ether_addr'),
    row('ether', 'saddr', 6, 6, 'ether_addr'),
    row('ether', 'type', 12, 2, 'ether_type'),
  ],
  network: [
    bitRow('ip', 'dscp', 8, 6, 'dscp'),
    bitRow('ip', 'ecn', 14, 2, 'ecn'),
    row('ip', 'length', 2, 2),
    row('ip', 'ttl', 8, 1),
    row('ip', 'protocol', 9, 1, 'inet_proto'),
    row('ip', 'saddr', 12, 4, 'ipv4_addr'),
    row('ip', 'daddr', 16, 4, 'ipv4_addr'),
    bitRow('ip6', 'dscp', 4, 6, 'dscp'),
    bitRow('ip6', 'ecn', 10, 2, 'ecn'),
    row('ip6', 'length', 4, 2),
    row('ip6', 'nexthdr', 6, 1, 'inet_proto'),
    row('ip6', 'hoplimit', 7, 1),
    row('ip6', 'saddr', 8, 16, 'ipv6_addr'),
    row('ip6', 'daddr', 24, 16, 'ipv6_addr'),
  ],
  transport: [
    ...['tcp', 'udp', 'udplite', 'sctp', 'dccp', 'th'].flatMap(ports),
    row('tcp', 'flags', 13, 1, 'tcp_flag'),
    row('icmp', 'type', 0, 1, 'icmp_type'),
    row('icmp', 'code', 1, 1, 'icmp_code'),
    row('icmpv6', 'type', 0, 1, 'icmpv6_type'),
    row('icmpv6', 'code', 1, 1, 'icmpv6_code'),
  ],
}

const BASES = { link: 'll', network: 'nh', transport: 'th' } as const

/** `length` in octets: one for a field of a few bits. */
export type HeaderField = { text: string; type: DataType; length: number; protocol?: string }
/** Octets of a header whose protocol may be known. */
export type HeaderPart = { base: NftPayloadBase; offset: number; length: number; protocol?: string }

/**
 * The field that the octets are, or that they are the first octets of when it is an address. Ports have names where the
 * protocol is not known, too.
 */
export function headerField({ base, offset, length, protocol }: HeaderPart): HeaderField {
  const candidates = FIELDS[base].filter(({ at }) => at === 8 * offset)
  const fits = ({ bits, type }: FieldRow) => bits === 8 * length || (type.prefixes === true && 8 * length < bits)
  const wanted = base === 'link' ? 'ether' : protocol
  const found =
    candidates.find(field => field.protocol === wanted && fits(field)) ??
    candidates.find(field => field.protocol === 'th' && fits(field))
  if (found !== undefined) return { ...named(found), length }
  return { text: `@${BASES[base]},${8 * offset},${8 * length}`, type: integerType(length, 'big'), length }
}

/** The fields side by side that the octets are, two or more; undefined where they are not. */
export function joinedFields({ base, offset, length, protocol }: HeaderPart): HeaderField[] | undefined {
  const found: FieldRow[] = []
  for (let at = 8 * offset; at < 8 * (offset + length); at += found.at(-1)!.bits) {
    const next = FIELDS[base].find(
      field => field.protocol === protocol && field.at === at && at + field.bits <= 8 * (offset + length),
    )
    if (next === undefined || next.bits % 8 !== 0) return undefined
    found.push(next)
  }
  return found.length > 1 ? found.map(named) : undefined
}

/**
 * The field of which the octets have exactly the bits that `mask` has, and how far from their end it lies; undefined where
 * there is none.
 */
export function maskedField(
  { base, offset, protocol }: HeaderPart,
  mask: Uint8Array,
): (HeaderField & { shift: number }) | undefined {
  const bits = [...mask].map(octet => octet.toString(2).padStart(8, '0')).join('')
  const run = /^(0*)(1+)(0*)$/.exec(bits)
  if (run === null) return undefined
  const [, before, ones, after] = run
  const at = 8 * offset + before!.length
  const found = FIELDS[base].find(
    field => field.protocol === protocol && field.at === at && field.bits === ones!.length,
  )
  return found && { ...named(found), shift: after!.length }
}

function named({ protocol, name, type, bits }: FieldRow): HeaderField {
  return { text: `${protocol} ${name}`, type, protocol, length: Math.ceil(bits / 8) }
}

/** The value that lies `shift` bits from the end of the octets, in `length` octets. */
export function shifted(octets: Uint8Array, shift: number, length: number): Uint8Array {
  let value = 0n
  for (const octet of octets) value = (value << 8n) | BigInt(octet)
  value >>= BigInt(shift)
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(8 * (length - 1 - i))) & 0xffn))
}
