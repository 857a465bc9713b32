// The registry of expressions: one row each with its attributes, from which emit and parse follow, and with the words
// that nft has for it. An expression without a row here, or with attributes or values that its row does not have, is
// kept as `opaque` with its octets. Source: linux/netfilter/nf_tables.h.
import { fromHex, toHex } from '../../../lib/bytes.ts'
import type { NftExpression } from '../../port/nftables.ts'
import { NLA_F } from '../numbers.ts'
import { data, valueOctets, verdictText } from './data.ts'
import { dataType, integerType } from './datatypes.ts'
import {
  bits,
  type Codec,
  listOf,
  may,
  need,
  onlyOne,
  record,
  text,
  Unknown,
  u8,
  u32,
  u64,
  unless,
  word,
} from './fields.ts'
import { headerField } from './headers.ts'
import { CMP_OP, CT_DIRECTION, CT_KEY, FIB_F, FIB_RESULT, MASQ_F, META_KEY, PAYLOAD_BASE } from './numbers.ts'
import { assigned, compared, counterText, fibSays, lookedUp, masked } from './phrases.ts'
import type { Scope } from './scope.ts'

/** NFTA_EXPR_DATA. */
const EXPR_DATA = 2

type Name = Exclude<NftExpression['type'], 'opaque'>
type Named<N extends Name> = Extract<NftExpression, { type: N }>
type Content<N extends Name> = Omit<Named<N>, 'type'>

type Row<N extends Name> = {
  attributes: Codec<Content<N>>
  text(expression: Content<N>, scope: Scope): void
}

/** The types of what meta loads, where nft prints them; the others are plain numbers of 4 octets. */
const META_TYPES: Partial<Record<Named<'meta'>['key'], string>> = {
  protocol: 'ether_type',
  mark: 'mark',
  iif: 'iface_index',
  oif: 'iface_index',
  iifname: 'ifname',
  oifname: 'ifname',
  skuid: 'uid',
  skgid: 'gid',
  nfproto: 'nf_proto',
  l4proto: 'inet_proto',
  pkttype: 'pkt_type',
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

const closed = { closed: true }

const rows: { readonly [N in Name]: Row<N> } = {
  meta: {
    attributes: record({ key: need(2, word(META_KEY)), load: may(1, u32), from: may(3, u32) }, closed),
    text({ key, load, from }, scope) {
      const name = PLAIN_META.includes(key) ? key : `meta ${key}`
      const known = META_TYPES[key]
      const type = known === undefined ? integerType(4, 'host') : dataType(known)
      const operand = { text: name, type, length: type.length ?? 4 }
      const tells = key === 'nfproto' ? 'network' : key === 'l4proto' ? 'transport' : undefined
      if (load !== undefined) scope.load(load, tells === undefined ? operand : { ...operand, tells })
      if (from !== undefined) scope.say(`${name} set ${assigned(scope.operand(from), type)}`)
    },
  },
  payload: {
    attributes: record(
      { load: need(1, u32), base: need(2, word(PAYLOAD_BASE)), offset: need(3, u32), length: need(4, u32) },
      closed,
    ),
    text({ base, offset, length, load }, scope) {
      const header = base === 'link' ? undefined : base
      const { text: name, type, protocol } = headerField(base, offset, length, header && scope.known[header])
      if (header !== undefined && protocol !== undefined && protocol !== 'th') scope.imply(header)
      // what the messages of ICMP are about tells the network's protocol as well
      if (protocol === 'icmp' || protocol === 'icmpv6') scope.imply('network')
      const tells = name === 'ip protocol' || name === 'ip6 nexthdr' ? ({ tells: 'transport' } as const) : {}
      scope.load(load, { text: name, type, length, ...tells })
    },
  },
  cmp: {
    attributes: record({ from: need(1, u32), op: need(2, word(CMP_OP)), value: need(3, valueOctets) }, closed),
    text: ({ from, op, value }, scope) => compared(scope, scope.operand(from), op, value),
  },
  lookup: {
    attributes: record(
      { from: need(2, u32), load: may(3, u32), set: need(1, text), setId: may(4, u32), inverted: may(5, onlyOne) },
      closed,
    ),
    text: (expression, scope) => lookedUp(scope, expression),
  },
  bitwise: {
    attributes: record(
      {
        from: need(1, u32),
        load: need(2, u32),
        length: need(3, u32),
        mask: need(4, valueOctets),
        xor: need(5, valueOctets),
      },
      // the operation: mask and xor
      { closed: true, constant: { 6: '00000000' } },
    ),
    text: ({ from, load, mask, xor }, scope) => scope.load(load, masked(scope.operand(from), mask, xor)),
  },
  ct: {
    attributes: record(
      {
        key: need(2, word(CT_KEY)),
        load: may(1, u32),
        direction: may(3, word(CT_DIRECTION, u8)),
        from: may(4, u32),
      },
      closed,
    ),
    text({ key, load, from, direction }, scope) {
      const name = direction === undefined ? `ct ${key}` : `ct ${direction} ${key}`
      const known = CT_TYPES[key]
      const type = known === undefined ? integerType(4, 'host') : dataType(known)
      if (load !== undefined) scope.load(load, { text: name, type, length: type.length ?? 4 })
      if (from !== undefined) scope.say(`${name} set ${assigned(scope.operand(from), type)}`)
    },
  },
  fib: {
    attributes: record({ flags: need(3, bits(FIB_F)), result: need(2, word(FIB_RESULT)), load: need(1, u32) }, closed),
    text: ({ result, flags, load }, scope) => scope.load(load, fibSays(result, flags)),
  },
  immediate: {
    attributes: record({ load: need(1, u32), data: need(2, data) }, closed),
    text({ load, data: value }, scope) {
      if (!('value' in value)) return scope.say(verdictText(value))
      const literal = Buffer.from(value.value, 'hex')
      scope.load(load, {
        text: `0x${value.value}`,
        type: integerType(literal.length, 'host'),
        length: literal.length,
        literal,
      })
    },
  },
  counter: {
    attributes: record({ bytes: may(1, unless(0n, u64)), packets: may(2, unless(0n, u64)) }, closed),
    text: (counter, scope) => scope.say(counterText(counter)),
  },
  masq: {
    attributes: record({ flags: may(1, bits(MASQ_F)), minPort: may(2, u32), maxPort: may(3, u32) }, closed),
    text({ flags = [], minPort, maxPort }, scope) {
      const port = (register: number) => assigned(scope.operand(register), dataType('inet_service'))
      const range = minPort === undefined ? [] : [`to :${port(minPort)}`]
      if (maxPort !== undefined && maxPort !== minPort) range.push(`-${port(maxPort)}`)
      const words = flags.filter(flag => flag !== 'ports')
      scope.say(['masquerade', range.join(''), words.join(',')].filter(part => part !== '').join(' '))
    },
  },
}

function rowOf(name: string): Row<Name> | undefined {
  return Object.hasOwn(rows, name) ? (rows[name as Name] as unknown as Row<Name>) : undefined
}

type WireExpression = { name: string; attributes?: Buffer }
const wire = record<WireExpression>({
  name: need(1, text),
  attributes: may(2, { nested: true, emit: (w, value) => w.put(value), parse: bytes => bytes }),
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
export function describe(of: NftExpression, scope: Scope): void {
  // nft has no words for these either: this is how its debugging output would have it
  if (of.type === 'opaque') scope.say(`[ ${of.name} ${of.octets ?? ''} ]`)
  else rowOf(of.type)!.text(of, scope)
}
