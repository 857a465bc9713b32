// The registry of expressions: one row each with its attributes, from which emit and parse follow, and with the words
// that nft has for it. An expression without a row here, or with attributes or values that its row does not have, is
// kept as `opaque` with its octets. Source: linux/netfilter/nf_tables.h.
import { fromHex, toHex } from '../../../lib/bytes.ts'
import type { NftExpression } from '../../port/nftables.ts'
import { NLA_F } from '../numbers.ts'
import { data, valueOctets, verdictText } from './data.ts'
import { dataType, integerType } from './datatypes.ts'
import {
  absentIf,
  bits,
  type Codec,
  listOf,
  oneIsTrue,
  optional,
  record,
  required,
  text,
  Unknown,
  u8,
  u32,
  u64,
  word,
} from './fields.ts'
import { headerField } from './headers.ts'
import {
  CMP_OP,
  CT_DIRECTION,
  CT_KEY,
  FIB_F,
  FIB_RESULT,
  MASQ_F,
  META_KEY,
  NAT_F,
  NAT_FAMILY,
  NAT_TYPE,
  PAYLOAD_BASE,
} from './numbers.ts'
import { assigned, compared, counterText, fibOperand, lookedUp, masked, natText } from './statement-text.ts'
import type { Operand, TextState } from './text-state.ts'

/** NFTA_EXPR_DATA. */
const EXPR_DATA = 2

type Name = Exclude<NftExpression['type'], 'opaque'>
type Named<N extends Name> = Extract<NftExpression, { type: N }>
type Content<N extends Name> = Omit<Named<N>, 'type'>

type Row<N extends Name> = {
  attributes: Codec<Content<N>>
  text(expression: Content<N>, state: TextState): void
}

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
}
/** Octets of numbers that are not 4. */
const CT_LENGTHS: Partial<Record<Named<'ct'>['key'], number>> = { packets: 8, bytes: 8, zone: 2 }

const closed = { closed: true }

const rows: { readonly [N in Name]: Row<N> } = {
  meta: {
    attributes: record({ key: required(2, word(META_KEY)), load: optional(1, u32), from: optional(3, u32) }, closed),
    text({ key, load, from }, state) {
      const name = PLAIN_META.includes(key) ? key : `meta ${key}`
      const known = META_TYPES[key]
      const type = known === undefined ? integerType(4, 'host') : dataType(known)
      const operand = { text: name, type, length: type.length ?? 4 }
      if (load !== undefined) state.load(load, { ...operand, tells: META_TELLS[key] })
      if (from !== undefined) state.say(`${name} set ${assigned(state.operand(from), type)}`)
    },
  },
  payload: {
    attributes: record(
      {
        load: required(1, u32),
        base: required(2, word(PAYLOAD_BASE)),
        offset: required(3, u32),
        length: required(4, u32),
      },
      closed,
    ),
    text({ base, offset, length, load }, state) {
      const { text: name, type, protocol } = headerField(base, offset, length, state.known[base])
      if (protocol !== undefined && protocol !== 'th') state.imply(base)
      // what the messages of ICMP are about tells the network's protocol as well
      if (protocol === 'icmp' || protocol === 'icmpv6') state.imply('network')
      const tells = name === 'ip protocol' || name === 'ip6 nexthdr' ? ({ tells: 'transport' } as const) : {}
      state.load(load, { text: name, type, length, ...tells })
    },
  },
  cmp: {
    attributes: record(
      { from: required(1, u32), op: required(2, word(CMP_OP)), value: required(3, valueOctets) },
      closed,
    ),
    text: ({ from, op, value }, state) => compared(state, state.operand(from), op, value),
  },
  lookup: {
    attributes: record(
      {
        from: required(2, u32),
        load: optional(3, u32),
        set: required(1, text),
        setId: optional(4, u32),
        inverted: optional(5, oneIsTrue),
      },
      closed,
    ),
    text: (expression, state) => lookedUp(state, expression),
  },
  bitwise: {
    attributes: record(
      {
        from: required(1, u32),
        load: required(2, u32),
        length: required(3, u32),
        mask: required(4, valueOctets),
        xor: required(5, valueOctets),
      },
      // the operation: mask and xor
      { closed: true, constant: { 6: '00000000' } },
    ),
    text: ({ from, load, mask, xor }, state) => state.load(load, masked(state.operand(from), mask, xor)),
  },
  ct: {
    attributes: record(
      {
        key: required(2, word(CT_KEY)),
        load: optional(1, u32),
        direction: optional(3, word(CT_DIRECTION, u8)),
        from: optional(4, u32),
      },
      closed,
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
      closed,
    ),
    text: ({ result, flags, load }, state) => state.load(load, fibOperand(result, flags)),
  },
  immediate: {
    attributes: record({ load: required(1, u32), data: required(2, data) }, closed),
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
  counter: {
    attributes: record({ bytes: optional(1, absentIf(0n, u64)), packets: optional(2, absentIf(0n, u64)) }, closed),
    text: (counter, state) => state.say(counterText(counter)),
  },
  masq: {
    attributes: record(
      { flags: optional(1, bits(MASQ_F)), minPort: optional(2, u32), maxPort: optional(3, u32) },
      closed,
    ),
    text: (ports, state) => natText(state, 'masquerade', ports),
  },
  nat: {
    attributes: record(
      {
        of: required(1, word(NAT_TYPE)),
        family: required(2, word(NAT_FAMILY)),
        minAddress: optional(3, u32),
        maxAddress: optional(4, u32),
        minPort: optional(5, u32),
        maxPort: optional(6, u32),
        flags: optional(7, bits(NAT_F)),
      },
      closed,
    ),
    text({ of, family, ...range }, state) {
      const action = of === 'source' ? 'snat' : 'dnat'
      // a table of one family need not say which
      const isKnown = state.known.network === family && state.isOfOneFamily
      natText(state, isKnown ? action : `${action} ${family}`, { ...range, family })
    },
  },
}

function rowOf(name: string): Row<Name> | undefined {
  return Object.hasOwn(rows, name) ? (rows[name as Name] as unknown as Row<Name>) : undefined
}

type WireExpression = { name: string; attributes?: Buffer }
const wire = record<WireExpression>({
  name: required(1, text),
  attributes: optional(2, { nested: true, emit: (w, value) => w.put(value), parse: bytes => bytes }),
})

/** One expression, in a list or wherever there is only one. */
export const expression: Codec<NftExpression> = {
  nested: true,
  emit(w, value) {
    if (value.type === 'opaque') {
      const attributes = value.octets === undefined ? undefined : Buffer.from(fromHex(value.octets))
      return wire.emit(w, { name: value.name, attributes })
    }
    wire.emit(w, { name: value.type })
    w.nest(EXPR_DATA | NLA_F.nested, () => rowOf(value.type)!.attributes.emit(w, value))
  },
  parse(bytes) {
    const { name, attributes } = wire.parse(bytes)!
    if (attributes === undefined) return { type: 'opaque', name }
    try {
      const content = rowOf(name)?.attributes.parse(attributes)
      if (content !== undefined) return { type: name, ...content } as NftExpression
    } catch (error) {
      if (!(error instanceof Unknown)) throw error
    }
    return { type: 'opaque', name, octets: toHex(attributes) }
  },
}

/** Sets and elements have one attribute for a single expression and another for a list of them. */
export function oneOrMore(steps: readonly NftExpression[] = []): {
  expression?: NftExpression
  expressions?: readonly NftExpression[]
} {
  if (steps.length === 0) return {}
  return steps.length === 1 ? { expression: steps[0] } : { expressions: steps }
}

export const expressions: Codec<readonly NftExpression[]> = listOf(1, expression)

/** Adds what the expression says to the words of its rule. */
export function addText(of: NftExpression, state: TextState): void {
  // nft has no words for these either: this is how its debugging output would have it
  if (of.type === 'opaque') state.say(`[ ${of.name} ${of.octets ?? ''} ]`)
  else rowOf(of.type)!.text(of, state)
}
