// From sessions and their events to BMP messages (RFC 7854 §4). Pure. Route Monitoring is the most frequent, so its header is
// made once per session.

import { Writer } from '../../lib/bytes.ts'
import type { PeerCounts } from '../rib/types.ts'
import type { SessionEnd } from '../session-end.ts'
import {
  BMP_DOWN,
  BMP_HEADER,
  BMP_INFORMATION,
  BMP_STAT,
  BMP_TERMINATION,
  type BmpMessage,
  type BmpPeer,
  bmpText,
  emitBmp,
} from '../wire/bmp.ts'
import { MAX_MESSAGE } from '../wire/message.ts'
import { emitNotification } from '../wire/notification.ts'
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

/** Statistics Report (§4.8): routes in Adj-RIB-In, and UPDATEs whose routes were treated as withdrawn (RFC 7606). */
export function bmpStats(session: MonitoredSession, counts: PeerCounts, atMs: number): BmpMessage {
  return {
    kind: 'statsReport',
    peer: peerOf(session, atMs),
    stats: [
      { type: BMP_STAT.routesIn, gauge: BigInt(counts.received) },
      { type: BMP_STAT.treatedAsWithdraw, counter: counts.treatedAsWithdrawn },
    ],
  }
}

/** The headers before every UPDATE of a session; `emitMonitoring` fills in length and time. */
export function monitoringHead(session: MonitoredSession): Uint8Array {
  const w = new Writer(MONITORING_HEAD)
  emitBmp(w, { kind: 'routeMonitoring', peer: peerOf(session, 0), update: new Uint8Array(0) })
  return w.done()
}

/** Writes Route Monitoring (§4.6) of the whole UPDATE message in `bytes[start..end)`. */
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

function peerOf({ remoteAddress: address, asn, routerId, as4 }: MonitoredSession, atMs: number): BmpPeer {
  return {
    ...{ kind: 0, distinguisher: 0n, address, asn, routerId },
    ...{ postPolicy: false, as2: !as4, ribOut: false },
    seconds: Math.floor(atMs / 1000),
    microseconds: Math.floor((atMs % 1000) * 1000),
  }
}

function wholeNotification({ notification }: Extract<SessionEnd, { how: 'sent' | 'received' }>): Uint8Array {
  const w = new Writer(MAX_MESSAGE)
  emitNotification(w, notification)
  return w.done()
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = value >>> (24 - 8 * i)
}
