// From sessions and their events to BMP messages (RFC 7854 §4). Pure. Route Monitoring is the most frequent, so its header is
// made once per session.

import { Writer } from '../../lib/bytes.ts'
import { ipv4Number } from '../../lib/ip.ts'
import type { SpeakerConfig } from '../config.ts'
import { type AddressFamily, FAMILIES, numbersOfFamily } from '../family.ts'
import type { PeerCounts } from '../rib/types.ts'
import type { SessionEnd } from '../session-end.ts'
import {
  BMP_DOWN,
  BMP_HEADER,
  BMP_INFORMATION,
  BMP_LOC_RIB,
  BMP_STAT,
  BMP_TERMINATION,
  type BmpMessage,
  type BmpPeer,
  type BmpStat,
  bmpText,
  emitBmp,
} from '../wire/bmp.ts'
import { AFI } from '../wire/iana.ts'
import { MAX_MESSAGE } from '../wire/message.ts'
import { emitNotification } from '../wire/notification.ts'
import { emitOpen } from '../wire/open.ts'
import { emitEndOfRib } from '../wire/update.ts'
import type { MonitoredSession } from './session-watcher.ts'

/** Octets before the UPDATE in a Route Monitoring message: common and per-peer header. */
const MONITORING_HEAD = BMP_HEADER + 42
/** Where the seconds of a per-peer header lie in a message. */
const SECONDS_AT = MONITORING_HEAD - 8
/** RFC 7854 §4.5: closed by the operator. */
const ADMINISTRATIVELY_CLOSED = 0

/** The first message of a connection (§4.3). */
export function bmpInitiation(name: string, description: string): BmpMessage {
  const { name: sysName, description: sysDescr } = BMP_INFORMATION
  return { kind: 'initiation', information: [bmpText(sysDescr, description), bmpText(sysName, name)] }
}

/** The last message of a connection (§4.5). */
export function bmpTermination(): BmpMessage {
  const value = Uint8Array.of(0, ADMINISTRATIVELY_CLOSED)
  return { kind: 'termination', information: [{ type: BMP_TERMINATION.reason, value }] }
}

/** Peer Up (§4.10), at the time when the session came up. */
export function bmpPeerUp(session: MonitoredSession): BmpMessage {
  const { localAddress, localPort, remotePort, sentOpen, receivedOpen, sinceMs } = session
  const opens = { sentOpen, receivedOpen }
  return {
    kind: 'peerUp',
    peer: peerOf(session, sinceMs),
    localAddress,
    localPort,
    remotePort,
    ...opens,
    information: [],
  }
}

/** Peer Down (§4.9) with the NOTIFICATION that ended the session, when one did. */
export function bmpPeerDown(session: MonitoredSession, cause: SessionEnd, atMs: number): BmpMessage {
  const down = (reason: number, data: Uint8Array = new Uint8Array(0)): BmpMessage => ({
    kind: 'peerDown',
    peer: peerOf(session, atMs),
    reason,
    data,
  })
  switch (cause.how) {
    case 'sent':
      return down(BMP_DOWN.localNotification, wholeNotification(cause))
    case 'received':
      return down(BMP_DOWN.remoteNotification, wholeNotification(cause))
    case 'closed':
      // reason 2 needs an FSM event code (RFC 4271 §8.1): 0 means none
      return down(BMP_DOWN.localEvent, new Uint8Array(2))
    case 'dial-failed':
    case 'connection-lost':
      return down(BMP_DOWN.remoteClosed)
  }
}

/** Routes in the Adj-RIB-Out by family; absent: they are not told. */
type RoutesOut = Readonly<Partial<Record<'beforePolicy' | 'afterPolicy', ReadonlyMap<AddressFamily, number>>>>

/**
 * Statistics Report (§4.8): routes in Adj-RIB-In, UPDATEs whose routes were treated as withdrawn (RFC 7606), and routes in
 * Adj-RIB-Out, all and by family (RFC 8671 §6.2).
 */
export function bmpStats(session: MonitoredSession, counts: PeerCounts, out: RoutesOut, atMs: number): BmpMessage {
  const { routesOutBeforePolicy, routesOutBeforePolicyOfFamily, routesOut, routesOutOfFamily } = BMP_STAT
  const gauges = (all: number, ofFamily: number, routes: ReadonlyMap<AddressFamily, number> | undefined) => {
    if (routes === undefined) return []
    const counted = [...routes].filter(([family]) => session.families.includes(family))
    const sum = counted.reduce((before, [, count]) => before + count, 0)
    return [{ type: all, gauge: BigInt(sum) }, ...counted.map(([family, count]) => gaugeOf(ofFamily, family, count))]
  }
  return {
    kind: 'statsReport',
    peer: peerOf(session, atMs),
    stats: [
      { type: BMP_STAT.routesIn, gauge: BigInt(counts.received) },
      { type: BMP_STAT.treatedAsWithdraw, counter: counts.treatedAsWithdrawn },
      ...gauges(routesOutBeforePolicy, routesOutBeforePolicyOfFamily, out.beforePolicy),
      ...gauges(routesOut, routesOutOfFamily, out.afterPolicy),
    ],
  }
}

function gaugeOf(type: number, family: AddressFamily, count: number): BmpStat {
  return { type, ...numbersOfFamily(family), gauge: BigInt(count) }
}

/** The headers before every UPDATE of a session, by the table that it is told of; `emitMonitoring` fills in length and time. */
export function sessionHeads(session: MonitoredSession) {
  const peer = peerOf(session, 0)
  return {
    'adj-rib-in-pre': headOf(peer),
    // sets are stored with AS numbers of four octets
    'adj-rib-in-post': headOf({ ...peer, postPolicy: true, as2: false }),
    'adj-rib-out-pre': headOf({ ...peer, ribOut: true }),
    'adj-rib-out-post': headOf({ ...peer, ribOut: true, postPolicy: true }),
  }
}

/** As what the Loc-RIB is told (RFC 9069): one emulated peer for both families, without a filter. */
export function locRibHead(speaker: SpeakerConfig): Uint8Array {
  return headOf(locRibPeer(speaker, 0))
}

/**
 * Peer Up of the Loc-RIB (RFC 9069 §4.4, §5.2): its OPEN, the same in both directions, says how its UPDATEs are to be read.
 */
export function locRibUp(speaker: SpeakerConfig, atMs: number): BmpMessage {
  const w = new Writer(MAX_MESSAGE)
  const families = FAMILIES.map(numbersOfFamily)
  const { asn, routerId } = speaker
  emitOpen(w, {
    ...{ asn, holdTime: 0, routerId: ipv4Number(routerId) },
    capabilities: [
      ...families.map(numbers => ({ type: 'multiprotocol' as const, ...numbers })),
      { type: 'extendedNextHop', entries: [{ ...numbersOfFamily('ipv4-unicast'), nextHopAfi: AFI.ipv6 }] },
      { type: 'extendedMessage' },
      { type: 'fourOctetAs', asn },
    ],
  })
  const open = w.done()
  return {
    kind: 'peerUp',
    peer: locRibPeer(speaker, atMs),
    ...{ localAddress: UNSPECIFIED, localPort: 0, remotePort: 0, sentOpen: open, receivedOpen: open },
    information: [TABLE],
  }
}

/** Peer Down of the Loc-RIB (RFC 9069 §5.3): it is told no more. */
export function locRibDown(speaker: SpeakerConfig, atMs: number): BmpMessage {
  const { type, value } = TABLE
  const data = Uint8Array.of(type >> 8, type & 255, value.length >> 8, value.length & 255, ...value)
  return { kind: 'peerDown', peer: locRibPeer(speaker, atMs), reason: BMP_DOWN.localClosed, data }
}

/** Statistics of the Loc-RIB (RFC 9069 §5.5): its routes, all and by family. */
export function locRibStats(
  speaker: SpeakerConfig,
  counts: readonly (readonly [AddressFamily, number])[],
  atMs: number,
): BmpMessage {
  const all = counts.reduce((sum, [, count]) => sum + count, 0)
  const stats = [
    { type: BMP_STAT.routesSelected, gauge: BigInt(all) },
    ...counts.map(([family, count]) => gaugeOf(BMP_STAT.routesSelectedOfFamily, family, count)),
  ]
  return { kind: 'statsReport', peer: locRibPeer(speaker, atMs), stats }
}

/** Writes Route Monitoring (§4.6) of the whole UPDATE message in `bytes[start..end)`. `atMs` 0: the time is not known. */
export function emitMonitoring(
  w: Writer,
  head: Uint8Array,
  bytes: Uint8Array,
  [start, end]: readonly [start: number, end: number],
  atMs: number,
): void {
  const at = w.length
  w.put(head).put(bytes.subarray(start, end))
  putU32(w.bytes, at + 1, w.length - at)
  putU32(w.bytes, at + SECONDS_AT, Math.floor(atMs / 1000))
  putU32(w.bytes, at + SECONDS_AT + 4, Math.floor((atMs % 1000) * 1000))
}

function headOf(peer: BmpPeer): Uint8Array {
  const w = new Writer(MONITORING_HEAD)
  emitBmp(w, { kind: 'routeMonitoring', peer, update: new Uint8Array(0) })
  return w.done()
}

function peerOf({ remoteAddress: address, asn, routerId, as4 }: MonitoredSession, atMs: number): BmpPeer {
  return { ...NO_FLAGS, kind: 0, distinguisher: 0n, address, asn, routerId, as2: !as4, ...timeOf(atMs) }
}

function locRibPeer({ asn, routerId }: SpeakerConfig, atMs: number): BmpPeer {
  const numbers = { asn, routerId: ipv4Number(routerId) }
  return { ...NO_FLAGS, kind: BMP_LOC_RIB, distinguisher: 0n, address: UNSPECIFIED, ...numbers, ...timeOf(atMs) }
}

function timeOf(atMs: number): Pick<BmpPeer, 'seconds' | 'microseconds'> {
  return { seconds: Math.floor(atMs / 1000), microseconds: Math.floor((atMs % 1000) * 1000) }
}

const NO_FLAGS = { postPolicy: false, as2: false, ribOut: false, filtered: false }
const UNSPECIFIED = '0.0.0.0'
/** RFC 9069 §5.2.1: the name of the table that has no distinguisher. */
const TABLE = bmpText(BMP_INFORMATION.table, 'global')

function wholeNotification({ notification }: Extract<SessionEnd, { how: 'sent' | 'received' }>): Uint8Array {
  const w = new Writer(MAX_MESSAGE)
  emitNotification(w, notification)
  return w.done()
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = value >>> (24 - 8 * i)
}

/** End-of-RIB of a family as an UPDATE message (RFC 4724 §2). */
export function endOfRibOf(family: AddressFamily): Uint8Array {
  const w = new Writer(MAX_MESSAGE)
  emitEndOfRib(w, numbersOfFamily(family))
  return w.done()
}

/** Where each of the messages in `bytes` begins and ends. */
export function* wholeMessages(bytes: Uint8Array): Generator<[start: number, end: number]> {
  for (let at = 0; at < bytes.length; ) {
    const end = at + ((bytes[at + 16]! << 8) | bytes[at + 17]!)
    yield [at, end]
    at = end
  }
}
