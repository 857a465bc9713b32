// One BMP collector (RFC 7854): dials it, tells it of every session and of the tables that it is to follow, UPDATEs as they
// were received (Adj-RIB-In before policy), UPDATEs as they are sent (Adj-RIB-Out, RFC 8671) and what is selected (Loc-RIB, RFC 9069), and sends them whole again after every
// new connection. The queue for a collector is limited: one
// that reads too slowly is disconnected, so that no session waits for it.

import { Backoff } from '../../lib/backoff.ts'
import { Writer } from '../../lib/bytes.ts'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { type Log, silentLog } from '../../lib/log.ts'
import { type AddressFamily, FAMILIES } from '../family.ts'
import type { BgpConnection, Transport } from '../port.ts'
import type { LocRibFeed } from '../rib/loc-rib.ts'
import type { SessionEnd } from '../session-end.ts'
import type { Speaker } from '../speaker.ts'
import { type BmpMessage, emitBmp, MAX_BMP_MESSAGE } from '../wire/bmp.ts'
import { MESSAGE } from '../wire/iana.ts'
import {
  bmpInitiation,
  bmpPeerDown,
  bmpPeerUp,
  bmpStats,
  bmpTermination,
  emitMonitoring,
  endOfRibOf,
  locRibDown,
  locRibHead,
  locRibStats,
  locRibUp,
  monitoringHead,
  sentHead,
  wholeMessages,
} from './messages.ts'
import type { MonitoredSession, SessionWatcher } from './session-watcher.ts'

/** A table that a collector can follow: of each session what is received, or what is sent; or the selected route of each prefix. */
export type MonitoredTable = SessionTable | 'loc-rib'
type SessionTable = 'adj-rib-in-pre' | 'adj-rib-out-post'

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

const DEFAULT_MONITOR: readonly MonitoredTable[] = ['adj-rib-in-pre']
const DIAL_MS = 10_000
const BUFFER_OCTETS = 16 << 20
/** Octets that a prefix of the Loc-RIB counts for that changed and was not told. */
const WAITING_PREFIX = 16
/** Messages are gathered into blocks of this size, with room for one more of any length. */
const BLOCK = 64 * 1024

/** `heads`: the headers before every UPDATE. */
type Watched = { session: MonitoredSession; heads: Readonly<Record<SessionTable, Uint8Array>> }

const SESSION_TABLES = ['adj-rib-in-pre', 'adj-rib-out-post'] as const

export class BmpCollector implements SessionWatcher {
  readonly #config: BmpConfig
  readonly #speaker: Speaker
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #log: Log
  readonly #backoff: Backoff
  readonly #sessions = new Map<string, Watched>()
  #block = new Writer(BLOCK + MAX_BMP_MESSAGE)
  #connection: BgpConnection | undefined
  #dialing: AbortController | undefined
  #replay: Iterator<undefined> | undefined
  #locRib: LocRibFeed | undefined
  readonly #locRibHead: Uint8Array
  #state: BmpStatus['state'] = 'waiting'
  #reason: string | undefined
  #octets = 0
  #full = false
  #flushing = false
  #stepping = false
  #closed = false
  #unwatch: () => void = () => undefined
  #cancelStats: () => void = () => undefined
  #cancelRetry: () => void = () => undefined

  constructor(config: BmpConfig, { speaker, transport, clock = systemClock, log = silentLog, random }: BmpDeps) {
    const { retrySeconds = 30, maxRetrySeconds = 720 } = config
    this.#config = config
    this.#speaker = speaker
    this.#locRibHead = locRibHead(speaker.config)
    this.#transport = transport
    this.#clock = clock
    this.#log = log.child({ collector: `${config.collector} port ${config.port}` })
    this.#backoff = new Backoff({ firstMs: retrySeconds * 1000, maxMs: maxRetrySeconds * 1000, random })
  }

  /** Begins to dial, and goes on until `close`. */
  start(): void {
    this.#dial()
  }

  status(): BmpStatus {
    const { collector, port } = this.#config
    return {
      collector: `${collector} port ${port}`,
      state: this.#state,
      reason: this.#reason,
      octets: this.#octets,
      waiting: this.#waiting,
    }
  }

  /** Sends a Termination message and stops. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#dialing?.abort()
    this.#cancelRetry()
    const connection = this.#connection
    if (connection === undefined) return
    if (this.#locRib !== undefined) this.#put(locRibDown(this.#speaker.config, this.#clock.wallMs()))
    this.#put(bmpTermination())
    this.#flush()
    this.#forget()
    connection.close()
  }

  // Called by the speaker's sessions.

  up(session: MonitoredSession): void {
    const heads = { 'adj-rib-in-pre': monitoringHead(session), 'adj-rib-out-post': sentHead(session) }
    this.#sessions.set(session.name, { session, heads })
    this.#put(bmpPeerUp(session))
  }

  update(name: string, bytes: Uint8Array, start: number, end: number): void {
    this.#monitoring('adj-rib-in-pre', name, bytes, [start, end])
  }

  sent(name: string, bytes: Uint8Array): void {
    this.#messages('adj-rib-out-post', name, bytes)
  }

  refreshed(name: string, family: AddressFamily): void {
    this.#messages('adj-rib-in-pre', name, this.#speaker.rib.unrefreshed(name, family))
  }

  down(name: string, cause: SessionEnd): void {
    const watched = this.#sessions.get(name)
    if (watched === undefined) return
    this.#sessions.delete(name)
    this.#put(bmpPeerDown(watched.session, cause, this.#clock.wallMs()))
  }

  // The connection.

  #dial(): void {
    const { collector: address, port, source } = this.#config
    const attempt = new AbortController()
    this.#dialing = attempt
    this.#state = 'connecting'
    this.#transport.dial({ address, port, source, timeoutMs: DIAL_MS }, attempt.signal).then(
      connection => {
        if (attempt.signal.aborted) connection.destroy()
        else this.#begin(connection)
      },
      (error: Error) => {
        if (!attempt.signal.aborted) this.#retry(`no connection: ${error.message}`)
      },
    )
  }

  #begin(connection: BgpConnection): void {
    this.#dialing = undefined
    this.#connection = connection
    this.#octets = 0
    this.#state = 'table'
    connection.handlers = {
      data: () => undefined,
      drain: () => {
        this.#full = false
        this.#nextStep()
      },
      closed: error => this.#lost(error?.message ?? 'the collector closed the connection'),
    }
    this.#log.info('the BMP collector is connected and gets the table')
    this.#put(bmpInitiation(this.#config.name, this.#config.description))
    this.#unwatch = this.#speaker.watchSessions(this)
    if (this.#monitors('loc-rib')) this.#beginLocRib()
    this.#replay = this.#tables()
    this.#step()
    this.#planStats()
  }

  #monitors(table: MonitoredTable): boolean {
    return (this.#config.monitor ?? DEFAULT_MONITOR).includes(table)
  }

  #beginLocRib(): void {
    this.#put(locRibUp(this.#speaker.config, this.#clock.wallMs()))
    const most = this.#bufferOctets / WAITING_PREFIX
    const feed = this.#speaker.rib.followSelected({
      most,
      wake: () => this.#nextStep(),
      overflowed: () =>
        setImmediate(() => {
          if (this.#locRib === feed) this.#tooSlow(`more than ${Math.floor(most)} prefixes`)
        }),
    })
    this.#locRib = feed
  }

  /** Writes the tables of the sessions, each with an End-of-RIB for every session that was up at the start and still is. */
  *#tables(): Generator<undefined> {
    const { rib } = this.#speaker
    const first = [...this.#sessions.values()]
    for (const table of SESSION_TABLES.filter(each => this.#monitors(each))) {
      for (const family of FAMILIES)
        for (const step of table === 'adj-rib-in-pre' ? rib.replay(family) : rib.replaySent(family)) {
          if (step !== undefined) this.#messages(table, step.key, step.bytes)
          yield
        }
      for (const watched of first) {
        const { name, families } = watched.session
        if (this.#sessions.get(name) === watched)
          for (const family of families) this.#messages(table, name, endOfRibOf(family))
        yield
      }
    }
  }

  /** Sends the tables step by step, one per round of the event loop, while the collector reads; then what else is selected. */
  #step(): void {
    let more = true
    if (this.#replay !== undefined) {
      if (this.#replay.next().done === true) this.#replay = undefined
    } else {
      const bytes = this.#locRib?.take()
      more = bytes !== undefined
      if (bytes !== undefined) this.#selected(bytes)
    }
    if (this.#state === 'table' && this.#replay === undefined && this.#locRib?.complete !== false) this.#live()
    if (more) this.#nextStep()
  }

  #nextStep(): void {
    if (this.#stepping) return
    this.#stepping = true
    setImmediate(() => {
      this.#stepping = false
      if (this.#connection !== undefined && !this.#full) this.#step()
    })
  }

  #live(): void {
    this.#state = 'live'
    this.#backoff.reset()
    this.#log.info({ octets: this.#octets }, 'the BMP collector has the table and gets what changes')
  }

  /** UPDATEs among whole messages: BoRR and EoRR are no routes. */
  #messages(table: SessionTable, name: string, bytes: Uint8Array): void {
    if (!this.#monitors(table)) return
    for (const place of wholeMessages(bytes))
      if (bytes[place[0] + 18] === MESSAGE.update) this.#monitoring(table, name, bytes, place)
  }

  #monitoring(table: SessionTable, name: string, bytes: Uint8Array, place: [start: number, end: number]): void {
    const watched = this.#sessions.get(name)
    if (watched === undefined || !this.#monitors(table)) return
    emitMonitoring(this.#block, watched.heads[table], bytes, place, this.#clock.wallMs())
    this.#written()
  }

  /** The RIB keeps no time of a selection, so none is told. */
  #selected(bytes: Uint8Array): void {
    for (const place of wholeMessages(bytes)) {
      emitMonitoring(this.#block, this.#locRibHead, bytes, place, 0)
      this.#written()
    }
  }

  #put(message: BmpMessage): void {
    if (this.#connection === undefined) return
    emitBmp(this.#block, message)
    this.#written()
  }

  /** Something was added to the block. */
  #written(): void {
    if (this.#block.length >= BLOCK) this.#flush()
    else if (!this.#flushing) {
      this.#flushing = true
      setImmediate(() => {
        this.#flushing = false
        this.#flush()
      })
    }
  }

  #flush(): void {
    const connection = this.#connection
    const { length } = this.#block
    if (connection === undefined || length === 0) return
    if (this.#waiting > this.#bufferOctets) {
      this.#tooSlow(`${this.#waiting} octets`)
      return
    }
    this.#octets += length
    if (!connection.write(this.#block.done().slice())) this.#full = true
    this.#block = new Writer(this.#block.bytes)
  }

  #tooSlow(waiting: string): void {
    const connection = this.#connection
    this.#log.warn({ waiting }, 'the BMP collector reads too slowly: it gets a fresh table later')
    this.#lost(`it read too slowly: ${waiting} were waiting`)
    connection?.destroy()
  }

  get #bufferOctets(): number {
    return this.#config.bufferOctets ?? BUFFER_OCTETS
  }

  get #waiting(): number {
    return this.#connection === undefined ? 0 : this.#connection.buffered + this.#block.length
  }

  #planStats(): void {
    const { statsSeconds = 60 } = this.#config
    if (statsSeconds === 0) return
    const connection = this.#connection
    this.#cancelStats = this.#clock.after(statsSeconds * 1000, () => {
      for (const { session } of this.#sessions.values()) {
        const counts = this.#speaker.rib.counts(session.name)
        const out = this.#monitors('adj-rib-out-post') ? this.#speaker.rib.familyCounts(session.name) : undefined
        if (counts !== undefined) this.#put(bmpStats(session, counts, out, this.#clock.wallMs()))
      }
      if (this.#locRib !== undefined) {
        const counts = FAMILIES.map(family => [family, this.#speaker.rib.selectedCount(family)] as const)
        this.#put(locRibStats(this.#speaker.config, counts, this.#clock.wallMs()))
      }
      if (this.#connection === connection) this.#planStats()
    })
  }

  #lost(reason: string): void {
    this.#forget()
    this.#retry(reason)
  }

  #forget(): void {
    this.#unwatch()
    this.#locRib?.close()
    this.#locRib = undefined
    this.#cancelStats()
    this.#sessions.clear()
    this.#replay = undefined
    this.#connection = undefined
    this.#full = false
    this.#block = new Writer(this.#block.bytes)
  }

  #retry(reason: string): void {
    if (this.#closed) return
    const again = reason === this.#reason
    this.#state = 'waiting'
    this.#reason = reason
    this.#dialing = undefined
    const delayMs = this.#backoff.next()
    this.#log[again ? 'debug' : 'warn']({ reason, retrySeconds: Math.round(delayMs / 1000) }, 'no BMP collector')
    this.#cancelRetry = this.#clock.after(delayMs, () => this.#dial())
  }
}
