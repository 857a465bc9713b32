// MRT (RFC 6396, RFC 8050): seconds u32 | type u16 | subtype u16 | length u32 | body. Reads recorded messages, state
// changes and table dumps, and writes them. AS numbers in a table dump have four octets, and its MP_REACH_NLRI is cut
// down to the next hop, except in dumps of old collectors that kept the whole attribute: both are read.
import { BytesError, Reader, type Writer } from '../../lib/bytes.ts'
import { addressBytes, cidr, familyOf, formatAddress, formatCidr, maskAddress } from '../../lib/ip.ts'
import {
  type AddressFamily,
  addPathSwitches,
  FAMILY,
  familyOfNumbers,
  numbersOfFamily,
  unicastFamily,
} from '../family.ts'
import type { Attributes } from './attribute-values.ts'
import { emitAttributes, emitKnown, parseAttributes } from './attributes.ts'
import type { CodecSession } from './codec-session.ts'
import type { UpdateFault } from './errors.ts'
import { ATTRIBUTE, SAFI } from './iana.ts'
import { parseMpReach } from './multiprotocol.ts'
import { StreamSplitter } from './splitter.ts'
import { MpOffsets, scanAttributes } from './update.ts'

/** Octets of a record header. */
const MRT_HEADER = 12
/** The longest record that is read: more than the largest that 65535 entries of a real table make. */
export const MAX_MRT_RECORD = 1 << 24

const TYPE = { tableDumpV2: 13, bgp4mp: 16, bgp4mpEt: 17 } as const
const AS4 = 1
const LOCAL = 2
const ADD_PATH = 4
/** Subtypes of BGP4MP that hold a message, and the properties of each. */
const MESSAGES: readonly (readonly [subtype: number, traits: number])[] = [
  [1, 0],
  [4, AS4],
  [6, LOCAL],
  [7, AS4 | LOCAL],
  [8, ADD_PATH],
  [9, AS4 | ADD_PATH],
  [10, LOCAL | ADD_PATH],
  [11, AS4 | LOCAL | ADD_PATH],
]
const STATE_CHANGE = 0
const STATE_CHANGE_AS4 = 5
const PEER_INDEX_TABLE = 1
/** Subtypes of TABLE_DUMP_V2 that hold a prefix. */
const RIBS: readonly { subtype: number; family: AddressFamily; addPath: boolean }[] = [
  { subtype: 2, family: 'ipv4-unicast', addPath: false },
  { subtype: 4, family: 'ipv6-unicast', addPath: false },
  { subtype: 8, family: 'ipv4-unicast', addPath: true },
  { subtype: 10, family: 'ipv6-unicast', addPath: true },
]

/** Whose session, in a recorded message or state change. */
export type MrtSession = {
  peerAs: number
  localAs: number
  interfaceIndex: number
  peerAddress: string
  localAddress: string
  /** AS numbers of the record, and of AS paths in its message, have four octets. */
  as4: boolean
}

export type MrtPeer = { routerId: number; address: string; asn: number }

/** One path of a prefix in a table dump. `peer` indexes the peers of the PEER_INDEX_TABLE before it. */
export type MrtRibEntry = {
  peer: number
  /** Seconds since the Unix epoch. */
  originatedSeconds: number
  /** Exactly when the record is an ADD-PATH one (RFC 8050). */
  pathId?: number
  attributes: Attributes
  /** Next hop of MP_REACH_NLRI: 4, 16 or 32 octets. IPv4 ones are usually in `attributes` instead. */
  mpNextHop?: Uint8Array
  /** What is wrong with the attributes; only for reading. */
  faults?: readonly UpdateFault[]
}

export type MrtBody =
  | ({ kind: 'message'; fromUs: boolean; addPath: boolean; message: Uint8Array } & MrtSession)
  /** States as in RFC 6396 §4.4.1: 1 Idle to 6 Established. */
  | ({ kind: 'state'; from: number; to: number } & MrtSession)
  | { kind: 'peers'; collectorId: number; view: string; peers: readonly MrtPeer[] }
  | { kind: 'rib'; sequence: number; prefix: string; entries: readonly MrtRibEntry[] }
  /** A type that is not read here, or a record with wrong lengths; the stream goes on after it. */
  | { kind: 'unread'; type: number; subtype: number; reason: string }

/** A `rib` record whose attributes are still octets. Everything is a view, valid as long as the record's octets are. */
export type MrtRibFrame = {
  sequence: number
  family: AddressFamily
  /** Bits of the prefix, and the octets that hold them; bits after them may be set. */
  length: number
  prefix: Uint8Array
  entries: readonly MrtEntryFrame[]
}

/** `raw` is the attributes as they stand in the file. */
export type MrtEntryFrame = { peer: number; originatedSeconds: number; pathId?: number; raw: Uint8Array }

/** A record that `emitMrt` cannot write. */
export class MrtUnwritable extends Error {
  override readonly name = 'MrtUnwritable'
  readonly code = 'unwritable'
}

/** `microseconds` only where the record has them (BGP4MP_ET). */
export type MrtRecord = { seconds: number; microseconds?: number } & MrtBody

/** Cuts a file or stream into records; each is parsed by `parseMrt`. A record above `MAX_MRT_RECORD` is a failure. */
export function mrtSplitter(): StreamSplitter<RangeError> {
  return new StreamSplitter(MRT_HEADER, (bytes, at) => {
    const length = new Reader(bytes, at + 8, at + MRT_HEADER).u32()
    return length > MAX_MRT_RECORD ? new RangeError(`an MRT record of ${length} octets`) : MRT_HEADER + length
  })
}

/** The record in `bytes[start..end)`, header included. Total; octets are copies. */
export function parseMrt(bytes: Uint8Array, start: number, end: number): MrtRecord {
  let [seconds, type, subtype] = [0, 0, 0]
  try {
    const r = new Reader(bytes, start, end)
    seconds = r.u32()
    type = r.u16()
    subtype = r.u16()
    const body = r.sub(r.u32())
    if (type === TYPE.bgp4mpEt) return { seconds, microseconds: body.u32(), ...parseBgp4mp(body, type, subtype) }
    if (type === TYPE.bgp4mp) return { seconds, ...parseBgp4mp(body, type, subtype) }
    if (type === TYPE.tableDumpV2) return { seconds, ...parseTableDump(body, subtype) }
    return { seconds, ...unread(type, subtype, 'this type is not read') }
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    return { seconds, ...unread(type, subtype, `it ${error.message}`) }
  }
}

/**
 * The record in `bytes[start..end)` with its attributes as octets; undefined when it is no `rib` record or its lengths
 * are wrong, and `parseMrt` then gives the reason.
 */
export function frameMrtRib(bytes: Uint8Array, start: number, end: number): MrtRibFrame | undefined {
  try {
    const r = new Reader(bytes, start, end)
    r.skip(4)
    const type = r.u16()
    const subtype = r.u16()
    const rib = RIBS.find(row => row.subtype === subtype)
    if (type !== TYPE.tableDumpV2 || rib === undefined) return undefined
    const frame = frameRib(r.sub(r.u32()), rib)
    return typeof frame === 'string' ? undefined : frame
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    return undefined
  }
}

/**
 * The next hop in an MP_REACH_NLRI of a table dump with the value `raw[start..end)` (RFC 6396 §4.3.4): length u8 | next
 * hop. A first octet of 0 is the high one of an AFI: the attribute is whole. Undefined when it is neither.
 */
export function dumpedNextHop(raw: Uint8Array, start: number, end: number): Uint8Array | undefined {
  const size = end - start - 1
  if (raw[start] === size && (size === 4 || size === 16 || size === 32)) return raw.subarray(start + 1, end)
  const mp = parseMpReach(raw, start, end, DUMP)
  return !('cost' in mp) && familyOfNumbers(mp.afi, mp.safi) !== undefined ? mp.nextHop : undefined
}

/**
 * Writes one record. Throws on a kind `unread`, on mixed families, and `BytesError` when the buffer is too small. A
 * `rib` record is an ADD-PATH one when its first entry has a path id: all of them must, or none.
 */
export function emitMrt(w: Writer, record: MrtRecord): void {
  const { seconds, microseconds } = record
  const [type, subtype] = numbersOf(record)
  w.u32(seconds).u16(type).u16(subtype)
  const at = w.length
  w.u32(0)
  if (microseconds !== undefined) w.u32(microseconds)
  emitBody(w, record)
  const length = w.length - at - 4
  for (let i = 0; i < 4; i++) w.bytes[at + i] = length >>> (24 - 8 * i)
}

function numbersOf(record: MrtRecord): readonly [type: number, subtype: number] {
  const bgp4mp = record.microseconds === undefined ? TYPE.bgp4mp : TYPE.bgp4mpEt
  switch (record.kind) {
    case 'message': {
      const { as4, fromUs, addPath } = record
      const traits = (as4 ? AS4 : 0) | (fromUs ? LOCAL : 0) | (addPath ? ADD_PATH : 0)
      return [bgp4mp, MESSAGES.find(row => row[1] === traits)![0]]
    }
    case 'state':
      return [bgp4mp, record.as4 ? STATE_CHANGE_AS4 : STATE_CHANGE]
    case 'peers':
      return [TYPE.tableDumpV2, PEER_INDEX_TABLE]
    case 'rib': {
      const family = unicastFamily(familyOf(record.prefix))
      const addPath = record.entries[0]?.pathId !== undefined
      return [TYPE.tableDumpV2, RIBS.find(row => row.family === family && row.addPath === addPath)!.subtype]
    }
    case 'unread':
      throw new MrtUnwritable(`MRT type ${record.type}/${record.subtype} cannot be written`)
  }
}

function emitBody(w: Writer, record: MrtRecord): void {
  switch (record.kind) {
    case 'message':
      emitSession(w, record)
      w.put(record.message)
      break
    case 'state':
      emitSession(w, record)
      w.u16(record.from).u16(record.to)
      break
    case 'peers':
      w.u32(record.collectorId).prefixed(2, () => w.put(new TextEncoder().encode(record.view)))
      w.u16(record.peers.length)
      for (const { routerId, address, asn } of record.peers) {
        const octets = addressBytes(address)
        w.u8(octets.length === 16 ? PEER_IPV6 | PEER_AS4 : PEER_AS4)
          .u32(routerId)
          .put(octets)
          .u32(asn)
      }
      break
    case 'rib': {
      const { address, length } = cidr(record.prefix)
      w.u32(record.sequence)
        .u8(length)
        .put(addressBytes(address).subarray(0, (length + 7) >> 3))
        .u16(record.entries.length)
      for (const entry of record.entries) emitEntry(w, entry)
    }
  }
}

const PEER_IPV6 = 1
const PEER_AS4 = 2

/** Reads every attribute that a dump may hold: from internal sessions, confederations, with IPv6 next hops. */
const DUMP: CodecSession = {
  as4: true,
  peerType: 'ibgp',
  addPath: addPathSwitches(() => false),
  extendedNextHop: true,
  extendedMessage: false,
}

function parseBgp4mp(r: Reader, type: number, subtype: number): MrtBody {
  const traits = MESSAGES.find(row => row[0] === subtype)?.[1]
  const isState = subtype === STATE_CHANGE || subtype === STATE_CHANGE_AS4
  if (traits === undefined && !isState) return unread(type, subtype, 'this subtype is not read')
  const as4 = isState ? subtype === STATE_CHANGE_AS4 : ((traits ?? 0) & AS4) !== 0
  const peerAs = as4 ? r.u32() : r.u16()
  const localAs = as4 ? r.u32() : r.u16()
  const interfaceIndex = r.u16()
  const afi = r.u16()
  const size = familyOfNumbers(afi, SAFI.unicast)?.octets
  if (size === undefined) return unread(type, subtype, `address family ${afi}`)
  const peerAddress = formatAddress(r.take(size))
  const localAddress = formatAddress(r.take(size))
  const session = { peerAs, localAs, interfaceIndex, peerAddress, localAddress, as4 }
  if (traits === undefined) return { kind: 'state', ...session, from: r.u16(), to: r.u16() }
  const fromUs = (traits & LOCAL) !== 0
  return { kind: 'message', ...session, fromUs, addPath: (traits & ADD_PATH) !== 0, message: r.rest().slice() }
}

function emitSession(w: Writer, session: MrtSession): void {
  const [peer, local] = [addressBytes(session.peerAddress), addressBytes(session.localAddress)]
  if (peer.length !== local.length) throw new MrtUnwritable('the two addresses are of different families')
  if (session.as4) w.u32(session.peerAs).u32(session.localAs)
  else w.u16(session.peerAs).u16(session.localAs)
  w.u16(session.interfaceIndex)
    .u16(numbersOfFamily(unicastFamily(familyOf(session.peerAddress))).afi)
    .put(peer)
    .put(local)
}

function parseTableDump(r: Reader, subtype: number): MrtBody {
  if (subtype === PEER_INDEX_TABLE) return parsePeers(r)
  const rib = RIBS.find(row => row.subtype === subtype)
  if (rib === undefined) return unread(TYPE.tableDumpV2, subtype, 'this subtype is not read')
  const frame = frameRib(r, rib)
  if (typeof frame === 'string') return unread(TYPE.tableDumpV2, subtype, frame)
  const { sequence, family, length, prefix } = frame
  const { ip, octets: size } = FAMILY[family]
  const octets = new Uint8Array(size)
  octets.set(prefix)
  const address = maskAddress(formatAddress(octets), length)
  return {
    kind: 'rib',
    sequence,
    prefix: formatCidr({ family: ip, address, length }),
    entries: frame.entries.map(parseEntry),
  }
}

/** The body of a `rib` record, or why it cannot be one. */
function frameRib(r: Reader, { family, addPath }: (typeof RIBS)[number]): MrtRibFrame | string {
  const sequence = r.u32()
  const length = r.u8()
  if (length > FAMILY[family].bits) return `a prefix of ${length} bits`
  const prefix = r.take((length + 7) >> 3)
  const entries: MrtEntryFrame[] = []
  for (let count = r.u16(); count > 0; count--)
    entries.push({
      peer: r.u16(),
      originatedSeconds: r.u32(),
      pathId: addPath ? r.u32() : undefined,
      raw: r.take(r.u16()),
    })
  return { sequence, family, length, prefix, entries }
}

function parsePeers(r: Reader): MrtBody {
  const collectorId = r.u32()
  const view = new TextDecoder('utf-8', { ignoreBOM: true }).decode(r.take(r.u16()))
  const peers: MrtPeer[] = []
  for (let count = r.u16(); count > 0; count--) {
    const traits = r.u8()
    const routerId = r.u32()
    const address = formatAddress(r.take((traits & PEER_IPV6) !== 0 ? 16 : 4))
    peers.push({ routerId, address, asn: (traits & PEER_AS4) !== 0 ? r.u32() : r.u16() })
  }
  return { kind: 'peers', collectorId, view, peers }
}

function parseEntry({ peer, originatedSeconds, pathId, raw }: MrtEntryFrame): MrtRibEntry {
  const mp = new MpOffsets()
  const framed = scanAttributes(raw, 0, raw.length, mp)
  const { reach, reachValue, reachEnd } = mp
  const others = framed && reach >= 0 ? Buffer.concat([raw.subarray(0, reach), raw.subarray(reachEnd)]) : raw
  const parsed = parseAttributes(others, 0, others.length, DUMP)
  const faults = [...parsed.faults]
  const found = framed && reach >= 0
  const mpNextHop = found ? dumpedNextHop(raw, reachValue, reachEnd)?.slice() : undefined
  const reason = 'no next hop can be read from MP_REACH_NLRI'
  if (found && mpNextHop === undefined) faults.push({ cost: 'withdraw', attribute: ATTRIBUTE.mpReach, reason })
  return { peer, originatedSeconds, pathId, attributes: parsed.attributes, mpNextHop, faults }
}

function emitEntry(w: Writer, { peer, originatedSeconds, pathId, attributes, mpNextHop }: MrtRibEntry): void {
  w.u16(peer).u32(originatedSeconds)
  if (pathId !== undefined) w.u32(pathId)
  w.prefixed(2, () => {
    if (mpNextHop !== undefined) emitKnown(w, 'mpReach', () => w.u8(mpNextHop.length).put(mpNextHop))
    emitAttributes(w, attributes, DUMP)
  })
}

function unread(type: number, subtype: number, reason: string): MrtBody {
  return { kind: 'unread', type, subtype, reason }
}
