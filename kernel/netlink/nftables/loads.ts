// The rows of expressions that fill a register, from the packet, its connection, its routes or the rule itself, and of
// those forms of them that write back: meta, payload, ct, fib, immediate.
import { data, verdictText } from './data.ts'
import { dataType, integerType } from './datatypes.ts'
import { CLOSED, type ExpressionRow, type Named } from './expression-row.ts'
import { absentIf, bits, optional, record, required, u8, u32, word } from './fields.ts'
import { type HeaderPart, headerField, joinedFields } from './headers.ts'
import {
  CT_DIRECTION,
  CT_KEY,
  FIB_F,
  FIB_RESULT,
  META_KEY,
  PAYLOAD_BASE,
  PAYLOAD_CHECKSUM,
  PAYLOAD_CHECKSUM_F,
} from './numbers.ts'
import { assigned, assignedField, fibOperand } from './statement-text.ts'
import type { Operand, TextState } from './text-state.ts'

/** The types of what meta loads, where nft prints them; the others are plain numbers of 4 octets. */
const META_TYPES: Partial<Record<Named<'meta'>['key'], string>> = {
  protocol: 'ether_type',
  mark: 'mark',
  iif: 'iface_index',
  oif: 'iface_index',
  iiftype: 'iface_type',
  oiftype: 'iface_type',
  iifname: 'ifname',
  oifname: 'ifname',
  skuid: 'uid',
  skgid: 'gid',
  nfproto: 'nf_proto',
  l4proto: 'inet_proto',
  pkttype: 'pkt_type',
}
/** The keys that say which protocol a header has. */
const META_TELLS: Partial<Record<Named<'meta'>['key'], Operand['tells']>> = {
  iiftype: 'link',
  nfproto: 'network',
  l4proto: 'transport',
}
/** The keys that nft prints without `meta` before them. */
const PLAIN_META: readonly string[] = ['iif', 'oif', 'iifname', 'oifname', 'iifgroup', 'oifgroup']

const CT_TYPES: Partial<Record<Named<'ct'>['key'], string>> = {
  state: 'ct_state',
  direction: 'ct_dir',
  status: 'ct_status',
  mark: 'mark',
  l3proto: 'nf_proto',
  protocol: 'inet_proto',
  'ip saddr': 'ipv4_addr',
  'ip daddr': 'ipv4_addr',
  'ip6 saddr': 'ipv6_addr',
  'ip6 daddr': 'ipv6_addr',
  'proto-src': 'inet_service',
  'proto-dst': 'inet_service',
}
/** Octets of numbers that are not 4. */
const CT_LENGTHS: Partial<Record<Named<'ct'>['key'], number>> = { packets: 8, bytes: 8, zone: 2 }

type LoadName = 'meta' | 'payload' | 'ct' | 'fib' | 'immediate'

export const loadRows: { readonly [N in LoadName]: ExpressionRow<N> } = {
  meta: {
    attributes: record({ key: required(2, word(META_KEY)), load: optional(1, u32), from: optional(3, u32) }, CLOSED),
    text({ key, load, from }, state) {
      const name = PLAIN_META.includes(key) ? key : `meta ${key}`
      const known = META_TYPES[key]
      const type = known === undefined ? integerType(key === 'nftrace' ? 1 : 4, 'host') : dataType(known)
      const operand = { text: name, type, length: type.length ?? 4 }
      if (load !== undefined) state.load(load, { ...operand, tells: META_TELLS[key] })
      if (from !== undefined) state.say(`${name} set ${assigned(state.operand(from), type)}`)
    },
  },
  payload: {
    attributes: record(
      {
        load: optional(1, u32),
        from: optional(5, u32),
        base: required(2, word(PAYLOAD_BASE)),
        offset: required(3, u32),
        length: required(4, u32),
        checksum: optional(6, absentIf('none', word(PAYLOAD_CHECKSUM))),
        checksumOffset: optional(7, absentIf(0, u32)),
        checksumFlags: optional(8, bits(PAYLOAD_CHECKSUM_F)),
      },
      CLOSED,
    ),
    text({ load, from, base, offset, length }, state) {
      const part: HeaderPart = { base, offset, length, protocol: state.known[base] }
      if (load !== undefined) state.load(load, headerOperand(part, state))
      if (from !== undefined) state.say(assignedField(state, part, state.operand(from)))
    },
  },
  ct: {
    attributes: record(
      {
        key: required(2, word(CT_KEY)),
        load: optional(1, u32),
        direction: optional(3, word(CT_DIRECTION, u8)),
        from: optional(4, u32),
      },
      CLOSED,
    ),
    text({ key, load, from, direction }, state) {
      const name = direction === undefined ? `ct ${key}` : `ct ${direction} ${key}`
      const known = CT_TYPES[key]
      const type = known === undefined ? integerType(CT_LENGTHS[key] ?? 4, 'host') : dataType(known)
      if (load !== undefined) state.load(load, { text: name, type, length: type.length ?? 4 })
      if (from !== undefined) state.say(`${name} set ${assigned(state.operand(from), type)}`)
    },
  },
  fib: {
    attributes: record(
      { flags: required(3, bits(FIB_F)), result: required(2, word(FIB_RESULT)), load: required(1, u32) },
      CLOSED,
    ),
    text: ({ result, flags, load }, state) => state.load(load, fibOperand(result, flags)),
  },
  immediate: {
    attributes: record({ load: required(1, u32), data: required(2, data) }, CLOSED),
    text({ load, data: value }, state) {
      if (!('value' in value)) return state.say(verdictText(value))
      const literal = Buffer.from(value.value, 'hex')
      state.load(load, {
        text: `0x${value.value}`,
        type: integerType(literal.length, 'host'),
        length: literal.length,
        literal,
      })
    },
  },
}

function headerOperand(part: HeaderPart, state: TextState): Operand {
  const { base } = part
  const fields = joinedFields(part)
  const field = fields?.[0] ?? headerField(part)
  if (field.protocol !== undefined && field.protocol !== 'th') state.imply(base)
  // what the messages of ICMP are about tells the network's protocol as well
  if (field.protocol === 'icmp' || field.protocol === 'icmpv6') state.imply('network')
  const joined = fields?.map(({ text, type, length }) => ({ text, type, length, ...tellsOf(text) }))
  const { text, type } = fields === undefined ? field : headerField({ ...part, protocol: undefined })
  return { text, type, length: part.length, header: part, ...(joined !== undefined && { joined }), ...tellsOf(text) }
}

function tellsOf(field: string): Pick<Operand, 'tells'> {
  return field === 'ip protocol' || field === 'ip6 nexthdr' ? { tells: 'transport' } : {}
}
