// What a BMP collector is to be told, and how it stands with it.
import type { Clock } from '../../lib/clock.ts'
import type { Log } from '../../lib/log.ts'
import type { Transport } from '../port.ts'
import type { Speaker } from '../speaker.ts'

/**
 * The tables that a collector can follow: of each session what is received, and what of it is accepted; what it would be sent if policy accepted all, and what it is sent; and the selected
 * route of each prefix.
 */
export const MONITORED_TABLES = [
  'adj-rib-in-pre',
  'adj-rib-in-post',
  'loc-rib',
  'adj-rib-out-pre',
  'adj-rib-out-post',
] as const

export type MonitoredTable = (typeof MONITORED_TABLES)[number]

export type BmpConfig = {
  /** IP address and port of the collector. */
  collector: string
  port: number
  /** Our address of the connection. */
  source?: string
  /** sysName and sysDescr of the initiation. */
  name: string
  description: string
  /** What it gets beside the sessions. Default: `adj-rib-in-pre`. */
  monitor?: readonly MonitoredTable[]
  /** Seconds between statistics reports; 0: none. Default 60. */
  statsSeconds?: number
  /** First and longest wait before another attempt, seconds. Default 30 and 720 (RFC 7854 §3.2). */
  retrySeconds?: number
  maxRetrySeconds?: number
  /** Octets that may wait for the collector. Default 16 MiB. */
  bufferOctets?: number
}

export type BmpStatus = {
  collector: string
  state: 'waiting' | 'connecting' | 'table' | 'live'
  /** Why the last connection or attempt ended. */
  reason?: string
  /** Octets written since the connection began, and those of them that wait. */
  octets: number
  waiting: number
}

export type BmpDeps = { speaker: Speaker; transport: Transport; clock?: Clock; log?: Log; random?: () => number }

export const DEFAULT_MONITOR: readonly MonitoredTable[] = ['adj-rib-in-pre']
