// The registry of header fields that nft has names for: where they lie (octets from the start of their header) and what
// type they are of. Everything else is printed as raw octets of a header (@nh,bit,bits).
import type { NftPayloadBase } from '../../port/nftables.ts'
import { type DataType, dataType, integerType } from './datatypes.ts'

type FieldRow = { protocol: string; name: string; offset: number; length: number; type: DataType }

const row = (protocol: string, name: string, offset: number, length: number, type?: string): FieldRow => ({
  protocol,
  name,
  offset,
  length,
  type: type === undefined ? integerType(length, 'big') : dataType(type),
})

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
    row('ip', 'protocol', 9, 1, 'inet_proto'),
    row('ip', 'saddr', 12, 4, 'ipv4_addr'),
    row('ip', 'daddr', 16, 4, 'ipv4_addr'),
    row('ip6', 'nexthdr', 6, 1, 'inet_proto'),
    row('ip6', 'saddr', 8, 16, 'ipv6_addr'),
    row('ip6', 'daddr', 24, 16, 'ipv6_addr'),
  ],
  transport: [
    ...['tcp', 'udp', 'udplite', 'sctp', 'th'].flatMap(ports),
    row('icmp', 'type', 0, 1, 'icmp_type'),
    row('icmpv6', 'type', 0, 1, 'icmpv6_type'),
  ],
}

const BASES = { link: 'll', network: 'nh', transport: 'th' } as const

type HeaderField = { text: string; type: DataType; protocol?: string }

/**
 * The field that `length` octets at `offset` are, or that they are the first octets of when it is an address. `protocol`
 * is that of the header where it is known; ports have names without it, too.
 */
export function headerField(base: NftPayloadBase, offset: number, length: number, protocol?: string): HeaderField {
  const candidates = FIELDS[base].filter(field => field.offset === offset)
  const fits = (field: FieldRow) => field.length === length || (field.type.prefixes === true && length < field.length)
  const wanted = base === 'link' ? 'ether' : protocol
  const found =
    candidates.find(field => field.protocol === wanted && fits(field)) ??
    candidates.find(field => field.protocol === 'th' && fits(field))
  if (found === undefined)
    return { text: `@${BASES[base]},${8 * offset},${8 * length}`, type: integerType(length, 'big') }
  return { text: `${found.protocol} ${found.name}`, type: found.type, protocol: found.protocol }
}
