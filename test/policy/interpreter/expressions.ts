// What each expression of a rule does with the registers, a row each: it goes on, or it breaks the rule off, or it gives a
// verdict. A type without a row is an error. Source: net/netfilter/nft_*.c of Linux.

import type { NftExpression, NftObject, NftVerdict } from '../../../kernel/port/nftables.ts'
import { fromHex } from '../../../lib/bytes.ts'
import { addressBytes, formatAddress } from '../../../lib/ip.ts'
import { type ConnectionState, type HookPacket, isV6, type Transport, transportOf } from './packet.ts'
import type { Registers } from './registers.ts'
import type { LookupSet } from './sets.ts'

/** The packet at one hook, while rules look at it. */
export type Run = {
  packet: HookPacket
  /** Of this hook: rules may write into them. */
  bytes: Uint8Array
  registers: Registers
  iif: string | undefined
  oif: string | undefined
  mark: number
  ctMark: number
  /** undefined: connection tracking has not seen it yet. */
  state: ConnectionState | undefined
  /** The set of a name or, for one of the same transaction, of an id. */
  set(name: string, id?: number): LookupSet
  object(name: string): NftObject
}

/** `break`: the rule does not match. */
export type Effect = 'next' | 'break' | NftVerdict

type Rows = {
  readonly [N in NftExpression['type']]: (expression: Extract<NftExpression, { type: N }>, run: Run) => Effect
}

export function execute(expression: NftExpression, run: Run): Effect {
  const row = Object.hasOwn(rows, expression.type) ? rows[expression.type] : undefined
  if (row === undefined) throw new Error(`no row for the expression ${expression.type}`)
  return (row as (expression: NftExpression, run: Run) => Effect)(expression, run)
}

function within(over: true | undefined, { isOverLimits }: HookPacket): Effect {
  return (isOverLimits === true) === (over === true) ? 'next' : 'break'
}

const rows: Rows = {
  meta({ key, load, from }, run) {
    if (from !== undefined) {
      const value = run.registers.read(from, 4)
      if (key === 'mark') run.mark = littleEndian(value)
      else if (key !== 'nftrace' && key !== 'priority') throw new Error(`meta ${key} cannot be set here`)
      return 'next'
    }
    const value = metaOf(key, run)
    if (value === undefined) return 'break'
    run.registers.load(load!, value)
    return 'next'
  },
  payload({ base, offset, length, load, from }, run) {
    const start = startOf(base, run)
    if (start === undefined) return 'break'
    const { octets, at } = start
    if (at + offset + length > octets.length) return 'break'
    if (from !== undefined) octets.set(run.registers.read(from, length), at + offset)
    else run.registers.load(load!, octets.slice(at + offset, at + offset + length))
    return 'next'
  },
  cmp({ op, from, value }, run) {
    const wanted = fromHex(value)
    const order = Buffer.compare(run.registers.read(from, wanted.length), wanted)
    const holds = { eq: order === 0, neq: order !== 0, lt: order < 0, lte: order <= 0, gt: order > 0, gte: order >= 0 }
    return holds[op] ? 'next' : 'break'
  },
  lookup({ set: name, setId, from, load, inverted }, run) {
    const set = run.set(name, setId)
    const hit = set.find(run.registers.read(from, set.length))
    if ((hit === undefined) !== (inverted === true)) return 'break'
    if (load === undefined || hit === undefined) return 'next'
    if (hit.data === undefined) throw new Error(`the set ${name} has no data to load`)
    if ('verdict' in hit.data) return hit.data
    run.registers.load(load, hit.data)
    return 'next'
  },
  bitwise({ from, load, length, mask, xor }, run) {
    const [masks, flips] = [fromHex(mask), fromHex(xor)]
    const octets = run.registers.read(from, length)
    run.registers.load(
      load,
      octets.map((octet, i) => (octet & masks[i]!) ^ flips[i]!),
    )
    return 'next'
  },
  ct({ key, load, from, direction }, run) {
    if (from !== undefined) {
      if (key !== 'mark') throw new Error(`ct ${key} cannot be set here`)
      if (run.state === undefined) return 'break'
      run.ctMark = littleEndian(run.registers.read(from, 4))
      return 'next'
    }
    const value = ctOf(key, direction, run)
    if (value === undefined) return 'break'
    run.registers.load(load!, value)
    return 'next'
  },
  fib({ result, flags, load }, run) {
    const { packet, iif, oif, mark } = run
    if (packet.routes === undefined) throw new Error('a rule asks for a route, and the packet has no routes')
    const base = isV6(run.bytes) ? 8 : 12
    const size = isV6(run.bytes) ? 16 : 4
    const at = flags.includes('daddr') ? base + size : base
    const address = formatAddress(run.bytes.subarray(at, at + size))
    const answer = packet.routes({ address, flags, iif, oif, mark })
    if (result === 'type') run.registers.load(load, number(ROUTE_TYPES[answer.type ?? 'unspec']!, 4))
    else if (flags.includes('present')) run.registers.load(load, Uint8Array.of(answer.oif === undefined ? 0 : 1))
    else if (result === 'oifname') run.registers.load(load, name(answer.oif))
    else run.registers.load(load, number(answer.oif === undefined ? 0 : indexOf(answer.oif, packet), 4))
    return 'next'
  },
  immediate({ load, data }, run) {
    if ('verdict' in data) return data
    run.registers.load(load, fromHex(data.value))
    return 'next'
  },
  range({ op, from, first, last }, run) {
    const [low, high] = [fromHex(first), fromHex(last)]
    const octets = run.registers.read(from, low.length)
    const isWithin = Buffer.compare(octets, low) >= 0 && Buffer.compare(octets, high) <= 0
    return isWithin === (op === 'eq') ? 'next' : 'break'
  },
  byteorder({ from, load, length, size }, run) {
    const octets = run.registers.read(from, length)
    const turned = octets.map((_, i) => octets[i - (i % size) + size - 1 - (i % size)]!)
    run.registers.load(load, turned)
    return 'next'
  },
  counter: () => 'next',
  limit: ({ over }, { packet }) => within(over, packet),
  connlimit: ({ over }, { packet }) => within(over, packet),
  objref({ name: called }, run) {
    const { state } = run.object(called)
    return execute(state, run)
  },
  // what it adds counts for packets after this one
  dynset({ set: name, setId, from, inverted, expressions = [] }, run) {
    run.registers.read(from, run.set(name, setId).length)
    if (inverted === true) return 'break'
    const isShort = expressions.some(each => execute(each, run) === 'break')
    return isShort ? 'break' : 'next'
  },
  log: () => 'next',
  reject: () => ({ verdict: 'drop' }),
  notrack(_, run) {
    // of what is tracked already nothing changes
    run.state ??= 'untracked'
    return 'next'
  },
  flow_offload: () => 'next',
  // both end the chain; the translation itself is not followed
  masq: () => ({ verdict: 'accept' }),
  nat: () => ({ verdict: 'accept' }),
  opaque({ name: what }) {
    throw new Error(`no row for the expression ${what}, of which Margay has no words`)
  },
}

const PROTOCOL = { 4: [0x08, 0x00], 6: [0x86, 0xdd] } as const
const FAMILY = { 4: 2, 6: 10 } as const
/** RTN_* of linux/rtnetlink.h. */
const ROUTE_TYPES: Readonly<Record<string, number>> = {
  unspec: 0,
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
}
/** NF_CT_STATE_* of linux/netfilter/nf_conntrack_common.h. */
const STATES: Readonly<Record<ConnectionState, number>> = {
  invalid: 1,
  established: 2,
  related: 4,
  new: 8,
  untracked: 64,
}

/** A number of the machine, which is little-endian. */
function number(value: number, length: number): Uint8Array {
  const octets = new Uint8Array(8)
  new DataView(octets.buffer).setBigUint64(0, BigInt(value), true)
  return octets.slice(0, length)
}

function littleEndian(octets: Uint8Array): number {
  return Buffer.from(octets).readUInt32LE(0)
}

function name(of: string | undefined): Uint8Array {
  const octets = new Uint8Array(16)
  octets.set(Buffer.from(of ?? ''))
  return octets
}

function indexOf(device: string, { indexes = {} }: HookPacket): number {
  const index = indexes[device]
  if (index === undefined) throw new Error(`a rule asks for the number of ${device}, which the packet does not say`)
  return index
}

/** ARPHRD_* of linux/if_arp.h; all but the loopback are taken for Ethernet. */
const linkType = (device: string) => (device === 'lo' ? 772 : 1)

type MetaKey = Extract<NftExpression, { type: 'meta' }>['key']

/** undefined: the kernel breaks the rule off. */
function metaOf(key: MetaKey, run: Run): Uint8Array | undefined {
  const { bytes, iif, oif, packet } = run
  const family = isV6(bytes) ? 6 : 4
  switch (key) {
    case 'length':
      return number(bytes.length, 4)
    case 'protocol':
      return Uint8Array.from(PROTOCOL[family])
    case 'nfproto':
      return Uint8Array.of(FAMILY[family])
    case 'l4proto': {
      const transport = transportOf(bytes)
      return transport && Uint8Array.of(transport.protocol)
    }
    case 'mark':
      return number(run.mark, 4)
    case 'iifname':
      return name(iif)
    case 'oifname':
      return name(oif)
    case 'iif':
      return number(iif === undefined ? 0 : indexOf(iif, packet), 4)
    case 'oif':
      return number(oif === undefined ? 0 : indexOf(oif, packet), 4)
    case 'iiftype':
      return iif === undefined ? undefined : number(linkType(iif), 2)
    case 'oiftype':
      return oif === undefined ? undefined : number(linkType(oif), 2)
    case 'pkttype':
      return Uint8Array.of(0)
    default:
      throw new Error(`meta ${key} is not known of a packet here`)
  }
}

function startOf(base: 'link' | 'network' | 'transport', { bytes, iif, packet }: Run) {
  if (base === 'network') return { octets: bytes, at: 0 }
  if (base === 'link') {
    if (iif === undefined) return undefined
    if (packet.link === undefined)
      throw new Error('a rule asks for the Ethernet header, which the packet does not have')
    return { octets: packet.link, at: 0 }
  }
  const transport: Transport | undefined = transportOf(bytes)
  // only the first fragment has the header
  return transport === undefined || transport.isLaterFragment ? undefined : { octets: bytes, at: transport.at }
}

type CtKey = Extract<NftExpression, { type: 'ct' }>['key']

/** undefined: the kernel breaks the rule off. */
function ctOf(key: CtKey, direction: 'original' | 'reply' | undefined, run: Run): Uint8Array | undefined {
  const { packet, state, bytes } = run
  // a packet that is not tracked, or not yet, has a state all the same
  if (key === 'state') return number(STATES[state ?? 'invalid'], 4)
  if (state === undefined || state === 'untracked' || state === 'invalid') return undefined
  const { original } = packet
  const known: Partial<Record<string, Uint8Array | undefined>> = {
    direction: Uint8Array.of(packet.direction === 'reply' ? 1 : 0),
    mark: number(run.ctMark, 4),
    status: packet.status === undefined ? undefined : number(packet.status, 4),
    l3proto: Uint8Array.of(isV6(bytes) ? FAMILY[6] : FAMILY[4]),
    protocol: Uint8Array.of(transportOf(bytes)?.protocol ?? 0),
  }
  if (direction === 'original' && original !== undefined) {
    const is = (address: string, length: number) => {
      const octets = addressBytes(address)
      return octets.length === length ? octets : undefined
    }
    const port = (value = 0) => Uint8Array.of(value >> 8, value & 0xff)
    const asked: Readonly<Record<string, Uint8Array | undefined>> = {
      'ip saddr': is(original.from, 4),
      'ip daddr': is(original.to, 4),
      'ip6 saddr': is(original.from, 16),
      'ip6 daddr': is(original.to, 16),
      'proto-src': port(original.sourcePort),
      'proto-dst': port(original.destinationPort),
    }
    // of the other family the kernel breaks the rule off
    if (Object.hasOwn(asked, key)) return asked[key]
  }
  const value = known[key]
  if (value === undefined) throw new Error(`ct ${direction ?? ''} ${key} is not known of a packet here`)
  return value
}
