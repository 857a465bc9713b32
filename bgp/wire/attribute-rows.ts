// The registry of path attributes. The row of an attribute holds its flags, the peers that may send it, what a malformed
// value costs (RFC 7606 §7), and how it is read and written. Values are copies, except that multiprotocol ones are views.
import type { Writer } from '../../lib/bytes.ts'
import { type AsPath, emitAsPath, isConfed, parseAsPath, withoutConfed } from './as-path.ts'
import type { Aggregator, Attributes } from './attribute-values.ts'
import type { CodecSession } from './codec-session.ts'
import type { Cost, UpdateFault } from './errors.ts'
import { AS_TRANS, ATTRIBUTE, FLAG } from './iana.ts'
import {
  emitMpReach,
  emitMpUnreach,
  isUsableNextHop,
  type MpReach,
  type MpUnreach,
  parseMpReach,
  parseMpUnreach,
} from './multiprotocol.ts'

/** The type of every attribute's value, those that `parseAttributes` resolves or locates included. */
export type Values = Required<Omit<Attributes, 'unknown' | 'partial'>> & {
  as4Path: AsPath
  as4Aggregator: Aggregator
  mpReach: MpReach
  mpUnreach: MpUnreach
}

/** One attribute. `parse` returns undefined, or a more exact fault, for a malformed value. */
export type Row<T> = {
  code: number
  /** Optional and Transitive as the attribute's specification has them. */
  flags: number
  /** What a value that `parse` refuses costs. */
  ifMalformed: Cost
  /** What wrong flags cost (RFC 7606 §3 c, f). */
  ifFlagsWrong: Cost
  /** Whether a peer of this session may send it; from others it is discarded without being read. */
  taken(session: CodecSession): boolean
  parse(bytes: Uint8Array, start: number, end: number, session: CodecSession): T | UpdateFault | undefined
  emit(w: Writer, value: T, session: CodecSession): void
}

type Codec<T> = Pick<Row<T>, 'parse' | 'emit'>

const u32At = (b: Uint8Array, at: number) =>
  ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0

const u32: Codec<number> = {
  parse: (bytes, start, end) => (end - start === 4 ? u32At(bytes, start) : undefined),
  emit: (w, value) => w.u32(value),
}

/** A list of `size` octets each; an empty one is malformed (RFC 7606 §7.8). */
const list = <T>(
  size: number,
  one: (bytes: Uint8Array, at: number) => T,
  emit: (w: Writer, value: T) => void,
): Codec<readonly T[]> => ({
  parse(bytes, start, end) {
    if (end === start || (end - start) % size !== 0) return undefined
    const values: T[] = []
    for (let at = start; at < end; at += size) values.push(one(bytes, at))
    return values
  },
  emit(w, values) {
    for (const value of values) emit(w, value)
  },
})

const u32s = list(4, u32At, (w, value) => w.u32(value))
const anybody = () => true

const row = <T>(
  code: number,
  flags: number,
  ifMalformed: Cost,
  codec: Codec<T>,
  rest: Partial<Pick<Row<T>, 'ifFlagsWrong' | 'taken'>> = {},
): Row<T> => ({ code, flags, ifMalformed, ifFlagsWrong: 'withdraw', taken: anybody, ...codec, ...rest })

const aggregator = (width: (session: CodecSession) => 2 | 4): Codec<Aggregator> => ({
  parse(bytes, start, end, session) {
    const octets = width(session)
    if (end - start !== octets + 4) return undefined
    const asn = octets === 4 ? u32At(bytes, start) : (bytes[start]! << 8) | bytes[start + 1]!
    // RFC 7607 §2
    return asn === 0 ? undefined : { asn, address: u32At(bytes, start + octets) }
  },
  emit(w, { asn, address }, session) {
    if (width(session) === 4) w.u32(asn).u32(address)
    else w.u16(asn > 0xffff ? AS_TRANS : asn).u32(address)
  },
})

const { optional: O, transitive: T } = FLAG
const fromOld = (s: CodecSession) => !s.as4
const fromInternal = (s: CodecSession) => s.peerType === 'ibgp'

/** Every known attribute, in the order of its type code, which is the order of emission. */
export const attributeRows: { readonly [K in keyof Values]: Row<Values[K]> } = {
  origin: row(ATTRIBUTE.origin, T, 'withdraw', {
    parse: (bytes, start, end) => (end - start === 1 && bytes[start]! <= 2 ? bytes[start]! : undefined),
    emit: (w, value) => w.u8(value),
  }),
  asPath: row(ATTRIBUTE.asPath, T, 'withdraw', {
    parse(bytes, start, end, { as4, peerType }) {
      const path = parseAsPath(bytes, start, end, as4 ? 4 : 2)
      // RFC 5065 §5: confederation segments from outside the confederation
      return path !== undefined && peerType === 'ebgp' && path.some(isConfed) ? undefined : path
    },
    emit: (w, path, { as4 }) => emitAsPath(w, path, as4 ? 4 : 2),
  }),
  nextHop: row(ATTRIBUTE.nextHop, T, 'withdraw', {
    parse: (bytes, start, end) =>
      end - start === 4 && isUsableNextHop(bytes.subarray(start, end)) ? u32At(bytes, start) : undefined,
    emit: u32.emit,
  }),
  med: row(ATTRIBUTE.med, O, 'withdraw', u32),
  localPref: row(ATTRIBUTE.localPref, T, 'withdraw', u32, { taken: s => s.peerType !== 'ebgp' }),
  atomicAggregate: row<true>(
    ATTRIBUTE.atomicAggregate,
    T,
    'discard',
    { parse: (_, start, end) => (start === end ? true : undefined), emit: () => undefined },
    { ifFlagsWrong: 'discard' },
  ),
  aggregator: row(
    ATTRIBUTE.aggregator,
    O | T,
    'discard',
    aggregator(s => (s.as4 ? 4 : 2)),
    { ifFlagsWrong: 'discard' },
  ),
  communities: row(ATTRIBUTE.communities, O | T, 'withdraw', u32s),
  originatorId: row(ATTRIBUTE.originatorId, O, 'withdraw', u32, { taken: fromInternal }),
  clusterList: row(ATTRIBUTE.clusterList, O, 'withdraw', u32s, { taken: fromInternal }),
  mpReach: row(ATTRIBUTE.mpReach, O, 'reset', { parse: parseMpReach, emit: emitMpReach }),
  mpUnreach: row(ATTRIBUTE.mpUnreach, O, 'reset', { parse: parseMpUnreach, emit: emitMpUnreach }),
  extendedCommunities: row(
    ATTRIBUTE.extendedCommunities,
    O | T,
    'withdraw',
    list(
      8,
      (bytes, at) => (BigInt(u32At(bytes, at)) << 32n) | BigInt(u32At(bytes, at + 4)),
      (w, value) => w.u64(value),
    ),
  ),
  // RFC 6793 §6: a malformed AS4_PATH is discarded, as is one between two speakers of four-octet numbers (§4.1)
  as4Path: row(
    ATTRIBUTE.as4Path,
    O | T,
    'discard',
    {
      parse(bytes, start, end) {
        const path = parseAsPath(bytes, start, end, 4)
        return path === undefined ? undefined : withoutConfed(path)
      },
      emit: (w, path) => emitAsPath(w, path, 4),
    },
    { taken: fromOld },
  ),
  as4Aggregator: row(
    ATTRIBUTE.as4Aggregator,
    O | T,
    'discard',
    aggregator(() => 4),
    { taken: fromOld },
  ),
  tunnelEncap: row(ATTRIBUTE.tunnelEncap, O | T, 'withdraw', {
    parse: (bytes, start, end) => (areTunnels(bytes, start, end) ? bytes.slice(start, end) : undefined),
    emit: (w, value) => w.put(value),
  }),
  largeCommunities: row(
    ATTRIBUTE.largeCommunities,
    O | T,
    'withdraw',
    list(
      12,
      (bytes, at) => ({ global: u32At(bytes, at), local1: u32At(bytes, at + 4), local2: u32At(bytes, at + 8) }),
      (w, { global, local1, local2 }) => w.u32(global).u32(local1).u32(local2),
    ),
  ),
  otc: row(ATTRIBUTE.otc, O | T, 'withdraw', {
    parse: (bytes, start, end) => (end - start === 4 ? u32At(bytes, start) || undefined : undefined),
    emit: u32.emit,
  }),
}

/** RFC 9012 §2: (type u16 | length u16 | (type u8 | length u8, or u16 from type 128 on | value)*)*, all exactly filled. */
function areTunnels(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start
  while (at < end) {
    if (end - at < 4) return false
    const tunnelEnd = at + 4 + ((bytes[at + 2]! << 8) | bytes[at + 3]!)
    if (tunnelEnd > end) return false
    at += 4
    while (at < tunnelEnd) {
      const head = bytes[at]! < 128 ? 2 : 3
      if (tunnelEnd - at < head) return false
      at += head + (head === 2 ? bytes[at + 1]! : (bytes[at + 1]! << 8) | bytes[at + 2]!)
      if (at > tunnelEnd) return false
    }
  }
  return true
}
