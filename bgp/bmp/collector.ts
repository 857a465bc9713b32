// One BMP collector (RFC 7854): dials it, tells it of every session and of the tables that it is to follow, and sends them whole
// again after every new connection. UPDATEs as they were received and as they are sent (Adj-RIB-In before policy, Adj-RIB-Out
// after it) come as they pass, the other tables at the collector's pace. The queue for a collector is limited: one
// that reads too slowly is disconnected, so that no session waits for it.

import { Backoff } from '../../lib/backoff.ts'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { type Log, silentLog } from '../../lib/log.ts'
import { type AddressFamily, FAMILIES } from '../family.ts'
import type { BgpConnection, Transport } from '../port.ts'
import type { Feed, Follower, Replayed } from '../rib/feed.ts'
import type { OfferedFeed } from '../rib/offered.ts'
import type { SessionEnd } from '../session-end.ts'
import type { Speaker } from '../speaker.ts'
import type { BmpMessage } from '../wire/bmp.ts'
import { MESSAGE } from '../wire/iana.ts'
import { type BmpConfig, type BmpDeps, type BmpStatus, DEFAULT_MONITOR, type MonitoredTable } from './config.ts'
import {
  bmpInitiation,
  bmpPeerDown,
  bmpPeerUp,
  bmpStats,
  bmpTermination,
  endOfRibOf,
  locRibDown,
  locRibHead,
  locRibStats,
  locRibUp,
  sessionHeads,
  wholeMessages,
} from './messages.ts'
import { Outgoing } from './outgoing.ts'
import type { MonitoredSession, SessionWatcher } from './session-watcher.ts'

const DIAL_MS = 10_000
const BUFFER_OCTETS = 16 << 20
/** Octets that a prefix of the Loc-RIB counts for that changed and was not told. */
const WAITING_PREFIX = 16
/** `heads`: the headers before every UPDATE. */
type Watched = { session: MonitoredSession; heads: ReturnType<typeof sessionHeads> }

/** Of which the collector gets what passes. */
const PASSING = ['adj-rib-in-pre', 'adj-rib-out-post'] as const

/** A table that is read at the collector's pace. `take` writes its next part; false: there is none now. */
type Followed = { feed: Pick<Feed<unknown>, 'complete' | 'close'>; take(): boolean }

export class BmpCollector implements SessionWatcher {
  readonly #config: BmpConfig
  readonly #speaker: Speaker
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #log: Log
  readonly #backoff: Backoff
  readonly #sessions = new Map<string, Watched>()
  #connection: BgpConnection | undefined
  #out: Outgoing | undefined
  #dialing: AbortController | undefined
  #replay: Iterator<undefined> | undefined
  #followed: Followed[] = []
  #offered: OfferedFeed | undefined
  readonly #locRibHead: Uint8Array
  #state: BmpStatus['state'] = 'waiting'
  #reason: string | undefined
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
      octets: this.#out?.octets ?? 0,
      waiting: this.#out?.waiting ?? 0,
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
    if (this.#monitors('loc-rib')) this.#put(locRibDown(this.#speaker.config, this.#clock.wallMs()))
    this.#put(bmpTermination())
    this.#out?.flush()
    this.#forget()
    connection.close()
  }

  // Called by the speaker's sessions.

  up(session: MonitoredSession): void {
    this.#sessions.set(session.name, { session, heads: sessionHeads(session) })
    this.#put(bmpPeerUp(session))
  }

  update(name: string, bytes: Uint8Array, start: number, end: number): void {
    this.#monitoring('adj-rib-in-pre', name, bytes, [start, end], this.#clock.wallMs())
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
    this.#out = new Outgoing(connection, this.#bufferOctets, waiting => this.#tooSlow(`${waiting} octets`))
    this.#state = 'table'
    connection.handlers = {
      data: () => undefined,
      drain: () => {
        this.#out?.drained()
        this.#nextStep()
      },
      closed: error => this.#lost(error?.message ?? 'the collector closed the connection'),
    }
    this.#log.info('the BMP collector is connected and gets the table')
    this.#put(bmpInitiation(this.#config.name, this.#config.description))
    this.#unwatch = this.#speaker.watchSessions(this)
    if (this.#monitors('loc-rib')) this.#followed.push(this.#locRib())
    if (this.#monitors('adj-rib-in-post'))
      this.#followed.push(this.#ofSessions('adj-rib-in-post', this.#speaker.rib.followAccepted(this.#follower())))
    if (this.#monitors('adj-rib-out-pre')) {
      this.#offered = this.#speaker.rib.followOffered(this.#follower())
      this.#followed.push(this.#ofSessions('adj-rib-out-pre', this.#offered))
    }
    this.#replay = this.#tables()
    this.#step()
    this.#planStats()
  }

  #monitors(table: MonitoredTable): boolean {
    return (this.#config.monitor ?? DEFAULT_MONITOR).includes(table)
  }

  #locRib(): Followed {
    this.#put(locRibUp(this.#speaker.config, this.#clock.wallMs()))
    const feed = this.#speaker.rib.followSelected(this.#follower())
    return {
      feed,
      take: () => {
        const bytes = feed.take()
        if (bytes !== undefined) this.#selected(bytes)
        return bytes !== undefined
      },
    }
  }

  #ofSessions(table: keyof Watched['heads'], feed: Feed<Replayed>): Followed {
    return {
      feed,
      take: () => {
        const told = feed.take()
        if (told !== undefined) this.#messages(table, told.key, told.bytes, 0)
        return told !== undefined
      },
    }
  }

  #follower(): Follower {
    const connection = this.#connection
    const most = this.#bufferOctets / WAITING_PREFIX
    return {
      most,
      wake: () => this.#nextStep(),
      overflowed: waiting =>
        setImmediate(() => {
          if (this.#connection === connection) this.#tooSlow(waiting)
        }),
    }
  }

  /** Writes the tables of which the collector then gets what passes, each with an End-of-RIB for every session that was up at the start and still is. */
  *#tables(): Generator<undefined> {
    const { rib } = this.#speaker
    const first = [...this.#sessions.values()]
    for (const table of PASSING.filter(each => this.#monitors(each))) {
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

  /** Sends the tables step by step, one per round of the event loop, while the collector reads; then what changes in those that it follows. */
  #step(): void {
    let more = true
    if (this.#replay === undefined) more = this.#takeNext()
    else if (this.#replay.next().done === true) this.#replay = undefined
    if (this.#state === 'table' && this.#replay === undefined && this.#followed.every(({ feed }) => feed.complete))
      this.#live()
    if (more) this.#nextStep()
  }

  /** The next part of one of the tables that are followed, in turns; false: none has any. */
  #takeNext(): boolean {
    for (let left = this.#followed.length; left > 0; left--) {
      const next = this.#followed.shift()!
      this.#followed.push(next)
      if (next.take()) return true
    }
    return false
  }

  #nextStep(): void {
    if (this.#stepping) return
    this.#stepping = true
    setImmediate(() => {
      this.#stepping = false
      if (this.#out?.full === false) this.#step()
    })
  }

  #live(): void {
    this.#state = 'live'
    this.#backoff.reset()
    this.#log.info({ octets: this.#out?.octets }, 'the BMP collector has the table and gets what changes')
  }

  /** UPDATEs among whole messages: BoRR and EoRR are no routes. */
  #messages(table: keyof Watched['heads'], name: string, bytes: Uint8Array, atMs = this.#clock.wallMs()): void {
    if (!this.#monitors(table)) return
    for (const place of wholeMessages(bytes))
      if (bytes[place[0] + 18] === MESSAGE.update) this.#monitoring(table, name, bytes, place, atMs)
  }

  /** `atMs` 0: the time is not known. */
  #monitoring(
    table: keyof Watched['heads'],
    name: string,
    bytes: Uint8Array,
    place: [start: number, end: number],
    atMs: number,
  ): void {
    const watched = this.#sessions.get(name)
    if (watched === undefined || !this.#monitors(table)) return
    this.#out?.monitoring(watched.heads[table], bytes, place, atMs)
  }

  /** The RIB keeps no time of a selection, so none is told. */
  #selected(bytes: Uint8Array): void {
    for (const place of wholeMessages(bytes)) this.#out?.monitoring(this.#locRibHead, bytes, place, 0)
  }

  #put(message: BmpMessage): void {
    this.#out?.put(message)
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

  #planStats(): void {
    const { statsSeconds = 60 } = this.#config
    if (statsSeconds === 0) return
    const connection = this.#connection
    this.#cancelStats = this.#clock.after(statsSeconds * 1000, () => {
      this.#putStats()
      if (this.#connection === connection) this.#planStats()
    })
  }

  #putStats(): void {
    const { rib, config } = this.#speaker
    const atMs = this.#clock.wallMs()
    for (const { session } of this.#sessions.values()) {
      const counts = rib.counts(session.name)
      if (counts === undefined) continue
      const byFamily = [...rib.familyCounts(session.name)].map(
        ([family, { announced }]) => [family, announced] as const,
      )
      const out = {
        beforePolicy: this.#offered?.counts(session.name),
        afterPolicy: this.#monitors('adj-rib-out-post') ? new Map(byFamily) : undefined,
      }
      this.#put(bmpStats(session, counts, out, atMs))
    }
    if (!this.#monitors('loc-rib')) return
    this.#put(
      locRibStats(
        config,
        FAMILIES.map(family => [family, rib.selectedCount(family)] as const),
        atMs,
      ),
    )
  }

  #lost(reason: string): void {
    this.#forget()
    this.#retry(reason)
  }

  #forget(): void {
    this.#unwatch()
    for (const { feed } of this.#followed) feed.close()
    this.#followed = []
    this.#offered = undefined
    this.#cancelStats()
    this.#sessions.clear()
    this.#replay = undefined
    this.#connection = undefined
    this.#out?.end()
    this.#out = undefined
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
