// BMP version 3 (RFC 7854): version u8 | length u32 | type u8 | body, from a router to a collector. Most bodies begin
// with a header that names the peer. One row per message type reads and writes it.
import { BytesError, Reader, type Writer } from '../../lib/bytes.ts'
import { addressBytes, formatAddress } from '../../lib/ip.ts'
import type { AfiSafi } from './capabilities.ts'
import { HEADER, MAX_EXTENDED_MESSAGE } from './message.ts'
import { StreamSplitter } from './splitter.ts'

/** Octets of the common header. */
export const BMP_HEADER = 6
/** The longest message that is read: two extended OPENs and more text than anybody writes. */
export const MAX_BMP_MESSAGE = 4 * MAX_EXTENDED_MESSAGE

const VERSION = 3

/** Information types of initiation (RFC 7854 §4.4) and Peer Up (RFC 9069 §4.4), and of termination (§4.5). */
export const BMP_INFORMATION = { text: 0, description: 1, name: 2, table: 3 } as const
export const BMP_TERMINATION = { text: 0, reason: 1 } as const
/** Why a peer went down (RFC 7854 §4.9, RFC 9069 §5.3); the data is a NOTIFICATION, a u16 FSM event, TLVs of Peer Up, or nothing. */
export const BMP_DOWN = {
  localNotification: 1,
  localEvent: 2,
  remoteNotification: 3,
  remoteClosed: 4,
  removed: 5,
  localClosed: 6,
} as const
/** Statistics (RFC 7854 §4.8, RFC 8671 §6.2): counters have 4 octets, gauges 8, gauges of a family 11. */
export const BMP_STAT = {
  rejectedByPolicy: 0,
  duplicatePrefixes: 1,
  duplicateWithdraws: 2,
  loopsByClusterList: 3,
  loopsByAsPath: 4,
  loopsByOriginator: 5,
  loopsByConfederation: 6,
  routesIn: 7,
  routesSelected: 8,
  routesInOfFamily: 9,
  routesSelectedOfFamily: 10,
  treatedAsWithdraw: 11,
  routesOutBeforePolicy: 14,
  routesOut: 15,
  routesOutBeforePolicyOfFamily: 16,
  routesOutOfFamily: 17,
} as const

/** `kind` of the header of a Loc-RIB (RFC 9069 §4.1), which has flags of its own. */
export const BMP_LOC_RIB = 3

/** The per-peer header (RFC 7854 §4.2). */
export type BmpPeer = {
  /** 0 global, 1 with route distinguisher, 2 local, 3 Loc-RIB (RFC 9069), whose address is 0.0.0.0. */
  kind: number
  distinguisher: bigint
  address: string
  asn: number
  routerId: number
  /** The route after import policy, not before. */
  postPolicy: boolean
  /** AS paths have two-octet numbers. */
  as2: boolean
  /** The route is one that we send (RFC 8671). */
  ribOut: boolean
  /** Of a Loc-RIB, which has no other flag: not all of it is told (RFC 9069 §4.2). */
  filtered: boolean
  /** When it happened, since the Unix epoch; 0 when unknown. */
  seconds: number
  microseconds: number
}

export type BmpTlv = { type: number; value: Uint8Array }
export type BmpStat =
  | { type: number; counter: number }
  | ({ type: number; gauge: bigint } & Partial<AfiSafi>)
  | { type: number; value: Uint8Array }

/** BGP messages inside are whole, header included. */
export type BmpMessage =
  | { kind: 'routeMonitoring'; peer: BmpPeer; update: Uint8Array }
  | { kind: 'statsReport'; peer: BmpPeer; stats: readonly BmpStat[] }
  | { kind: 'peerDown'; peer: BmpPeer; reason: number; data: Uint8Array }
  | {
      kind: 'peerUp'
      peer: BmpPeer
      localAddress: string
      localPort: number
      remotePort: number
      sentOpen: Uint8Array
      receivedOpen: Uint8Array
      information: readonly BmpTlv[]
    }
  | { kind: 'initiation'; information: readonly BmpTlv[] }
  | { kind: 'termination'; information: readonly BmpTlv[] }

/** What could not be read; the stream goes on after it. */
export type BmpUnread = { kind: 'unread'; type: number; reason: string }

type Kind = BmpMessage['kind']
type Of<K extends Kind> = Extract<BmpMessage, { kind: K }>
type Row<K extends Kind> = { type: number; parse(r: Reader): Of<K>; emit(w: Writer, message: Of<K>): void }

const messages: { readonly [K in Kind]: Row<K> } = {
  routeMonitoring: {
    type: 0,
    parse: r => ({ kind: 'routeMonitoring', peer: parsePeer(r), update: r.rest().slice() }),
    emit(w, { peer, update }) {
      emitPeer(w, peer)
      w.put(update)
    },
  },
  statsReport: {
    type: 1,
    parse(r) {
      const peer = parsePeer(r)
      const stats: BmpStat[] = []
      for (let count = r.u32(); count > 0; count--) stats.push(parseStat(r.u16(), r.sub(r.u16())))
      return { kind: 'statsReport', peer, stats }
    },
    emit(w, { peer, stats }) {
      emitPeer(w, peer)
      w.u32(stats.length)
      for (const stat of stats) w.u16(stat.type).prefixed(2, () => emitStat(w, stat))
    },
  },
  peerDown: {
    type: 2,
    parse: r => ({ kind: 'peerDown', peer: parsePeer(r), reason: r.u8(), data: r.rest().slice() }),
    emit(w, { peer, reason, data }) {
      emitPeer(w, peer)
      w.u8(reason).put(data)
    },
  },
  peerUp: {
    type: 3,
    parse(r) {
      const peer = parsePeer(r)
      return {
        kind: 'peerUp',
        peer,
        localAddress: parseAddress(r, peer.address.includes(':')),
        localPort: r.u16(),
        remotePort: r.u16(),
        sentOpen: parseBgp(r),
        receivedOpen: parseBgp(r),
        information: parseTlvs(r),
      }
    },
    emit(w, { peer, localAddress, localPort, remotePort, sentOpen, receivedOpen, information }) {
      emitPeer(w, peer)
      emitAddress(w, localAddress)
      w.u16(localPort).u16(remotePort).put(sentOpen).put(receivedOpen)
      emitTlvs(w, information)
    },
  },
  initiation: {
    type: 4,
    parse: r => ({ kind: 'initiation', information: parseTlvs(r) }),
    emit: (w, { information }) => emitTlvs(w, information),
  },
  termination: {
    type: 5,
    parse: r => ({ kind: 'termination', information: parseTlvs(r) }),
    emit: (w, { information }) => emitTlvs(w, information),
  },
}

const byType: ReadonlyMap<number, (typeof messages)[Kind]> = new Map(
  Object.values(messages).map(row => [row.type, row]),
)

/** Cuts a stream into messages; each is parsed by `parseBmp`. A wrong version or an absurd length is a failure. */
export function bmpSplitter(): StreamSplitter<RangeError> {
  return new StreamSplitter(BMP_HEADER, (bytes, at) => {
    const r = new Reader(bytes, at, at + BMP_HEADER)
    const version = r.u8()
    const length = r.u32()
    if (version !== VERSION) return new RangeError(`BMP version ${version}`)
    return length < BMP_HEADER || length > MAX_BMP_MESSAGE
      ? new RangeError(`a BMP message of ${length} octets`)
      : length
  })
}

/** The message in `bytes[start..end)`, common header included. Total; octets are copies. */
export function parseBmp(bytes: Uint8Array, start: number, end: number): BmpMessage | BmpUnread {
  if (end - start < BMP_HEADER) return { kind: 'unread', type: 0, reason: 'it has no whole header' }
  const type = bytes[start + 5]!
  const row = byType.get(type)
  if (row === undefined) return { kind: 'unread', type, reason: 'this type is not read' }
  try {
    return row.parse(new Reader(bytes, start + BMP_HEADER, end))
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    return { kind: 'unread', type, reason: `it ${error.message}` }
  }
}

/** Writes one message. Throws `BytesError` when the buffer is too small. */
export function emitBmp(w: Writer, message: BmpMessage): void {
  const at = w.length
  // the row of a kind takes exactly the messages of that kind, which the compiler cannot follow through the lookup
  const row = messages[message.kind] as Row<Kind>
  w.u8(VERSION).u32(0).u8(row.type)
  row.emit(w, message)
  const length = w.length - at
  for (let i = 0; i < 4; i++) w.bytes[at + 1 + i] = length >>> (24 - 8 * i)
}

/** A text as the value of an information TLV. */
export function bmpText(type: number, text: string): BmpTlv {
  return { type, value: new TextEncoder().encode(text) }
}

const IPV6 = 0x80
const POST_POLICY = 0x40
const AS2 = 0x20
const RIB_OUT = 0x10
/** Of a Loc-RIB, in the place of `IPV6`. */
const FILTERED = 0x80

function parsePeer(r: Reader): BmpPeer {
  const kind = r.u8()
  const flags = r.u8()
  const locRib = kind === BMP_LOC_RIB
  const has = (bit: number) => !locRib && (flags & bit) !== 0
  return {
    kind,
    distinguisher: r.u64(),
    address: parseAddress(r, has(IPV6)),
    asn: r.u32(),
    routerId: r.u32(),
    ...{ postPolicy: has(POST_POLICY), as2: has(AS2), ribOut: has(RIB_OUT) },
    filtered: locRib && (flags & FILTERED) !== 0,
    seconds: r.u32(),
    microseconds: r.u32(),
  }
}

function emitPeer(w: Writer, p: BmpPeer): void {
  w.u8(p.kind).u8(flagsOf(p))
  w.u64(p.distinguisher)
  emitAddress(w, p.address)
  w.u32(p.asn).u32(p.routerId).u32(p.seconds).u32(p.microseconds)
}

function flagsOf({ kind, address, postPolicy, as2, ribOut, filtered }: BmpPeer): number {
  if (kind === BMP_LOC_RIB) return filtered ? FILTERED : 0
  const ipv6 = address.includes(':') ? IPV6 : 0
  return ipv6 | (postPolicy ? POST_POLICY : 0) | (as2 ? AS2 : 0) | (ribOut ? RIB_OUT : 0)
}

/** 16 octets; an IPv4 address is in the last four (RFC 7854 §4.2). */
function parseAddress(r: Reader, ipv6: boolean): string {
  const octets = r.take(16)
  return formatAddress(ipv6 ? octets : octets.subarray(12))
}

function emitAddress(w: Writer, address: string): void {
  const octets = addressBytes(address)
  w.put(new Uint8Array(16 - octets.length)).put(octets)
}

/** A whole BGP message by the length in its own header. */
function parseBgp(r: Reader): Uint8Array {
  const { bytes, offset } = r
  const length = r.left < HEADER ? 0 : (bytes[offset + 16]! << 8) | bytes[offset + 17]!
  if (length < HEADER) throw new BytesError(HEADER, length)
  return r.take(length).slice()
}

function parseTlvs(r: Reader): BmpTlv[] {
  const found: BmpTlv[] = []
  while (r.left > 0) found.push({ type: r.u16(), value: r.take(r.u16()).slice() })
  return found
}

function emitTlvs(w: Writer, list: readonly BmpTlv[]): void {
  for (const { type, value } of list) w.u16(type).prefixed(2, () => w.put(value))
}

function parseStat(type: number, r: Reader): BmpStat {
  if (r.left === 4) return { type, counter: r.u32() }
  if (r.left === 8) return { type, gauge: r.u64() }
  if (r.left === 11) return { type, afi: r.u16(), safi: r.u8(), gauge: r.u64() }
  return { type, value: r.rest().slice() }
}

function emitStat(w: Writer, stat: BmpStat): void {
  if ('counter' in stat) w.u32(stat.counter)
  else if ('value' in stat) w.put(stat.value)
  else {
    if (stat.afi !== undefined && stat.safi !== undefined) w.u16(stat.afi).u8(stat.safi)
    w.u64(stat.gauge)
  }
}
