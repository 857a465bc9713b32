// One peer: its two sessions (RFC 4271 §8.2.1), the collision between them, and what the rest of the speaker sees of
// it. Everything that is decided by values alone lives in fsm/, change.ts and reason.ts.
import { isDeepStrictEqual } from 'node:util'
import { formatIpv4, ipv4Number } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { MonitoredSession, SessionWatcher } from './bmp/session-watcher.ts'
import { resetReasons } from './change.ts'
import { familiesOf, nameOf, type PeerConfig, type PeerStatus, type SpeakerConfig } from './config.ts'
import { familyOfNumbers, numbersOfFamily } from './family.ts'
import { resolveCollision } from './fsm/collision.ts'
import { type Negotiated, negotiate, ownOpen, relation } from './fsm/negotiate.ts'
import type { BgpState, FsmRules } from './fsm/step.ts'
import type { BgpConnection, DialOptions, Discover, SocketOptions } from './port.ts'
import { type DownReason, isWeighty, reasonOf } from './reason.ts'
import type { Rib } from './rib/rib.ts'
import { ribPeerOf } from './rib-peer.ts'
import { Session, type SessionDeps, type SessionOwner } from './session.ts'
import { retention, type SessionEnd } from './session-end.ts'
import { ProtocolError } from './wire/errors.ts'
import { CEASE, ERROR, REFRESH } from './wire/iana.ts'
import { HEADER } from './wire/message.ts'
import { cease, hardReset, type Notification } from './wire/notification.ts'
import type { Open } from './wire/open.ts'
import type { RouteRefresh } from './wire/route-refresh.ts'

export type PeerDeps = SessionDeps & {
  speaker: SpeakerConfig
  rib: Rib
  log: Log
  /** Whether our own restart is not over yet (the R bit). */
  restarting(): boolean
  discover?: Discover
  /** The status changed: state, reason, or the end of a session. */
  changed(peer: Peer): void
  /** Who sees every session from its beginning to its end. */
  watchers: ReadonlySet<SessionWatcher>
  /** The peer cannot be waited for any longer, or gave all its routes: our own restart may end. */
  settled(peer: Peer): void
}

/** What an operator may ask of a session: end it, or work through the routes again without ending it. */
export type ClearKind = 'hard' | 'soft-in' | 'soft-out'

const PHASES: readonly BgpState[] = ['Idle', 'Active', 'Connect', 'OpenSent', 'OpenConfirm', 'Established']
const PULL_OCTETS = 64 * 1024
/** After so many failed dials our own restart does not wait for a peer. */
const PATIENT_DIALS = 3
/** How long a reason that came from the protocol stands against a dial that merely fails. */
const WEIGHT_MS = 60_000

export class Peer implements SessionOwner {
  readonly name: string
  readonly #deps: PeerDeps
  readonly #sessions: { outgoing: Session; incoming: Session }
  #config: PeerConfig
  #address: string | undefined
  #cancelDiscovery: (() => void) | undefined
  /** An incoming connection that came while IdleHoldTime runs: it is taken when that is over. */
  #waiting: BgpConnection | undefined
  #up: Session | undefined
  #ending: 'no' | 'for-good' = 'no'
  #started = false
  #limited = false
  #cancelLimit: () => void = () => undefined
  #reason: DownReason & { atMs: number }
  #sinceMs: number
  #flaps = 0
  #failedDials = 0
  #updatesOut = 0
  #reported: BgpState = 'Idle'
  readonly #pull = () => this.#push()

  constructor(config: PeerConfig, deps: PeerDeps) {
    this.name = nameOf(config)
    this.#config = config
    this.#deps = deps
    this.#address = config.address
    this.#sinceMs = deps.clock.wallMs()
    this.#reason = { code: 'never-tried', detail: 'not tried yet', atMs: deps.clock.monotonicMs() }
    this.#sessions = {
      outgoing: new Session('outgoing', rulesOf(config, false), this, deps),
      incoming: new Session('incoming', rulesOf(config, true), this, deps),
    }
  }

  get config(): PeerConfig {
    return this.#config
  }

  /** The peer's address, canonical; undefined while an unnumbered neighbour is not known yet. */
  get address(): string | undefined {
    return this.#address
  }

  get state(): BgpState {
    return this.#both.reduce<BgpState>(
      (best, { state }) => (rank(state.phase) > rank(best) ? state.phase : best),
      'Idle',
    )
  }

  /** What was agreed with the peer; only while Established. */
  get negotiated(): Negotiated | undefined {
    return this.#up?.negotiated
  }

  /** The session as monitors see it; only while Established. */
  get monitored(): MonitoredSession | undefined {
    const { negotiated, connection, opens } = this.#up ?? {}
    if (negotiated === undefined || connection === undefined || opens?.sent === undefined) return undefined
    const { remoteAs: asn, routerId, families, receive } = negotiated
    const { localAddress, localPort, remoteAddress, remotePort } = connection
    return {
      ...{ name: this.name, asn, routerId, families, as4: receive.as4, sinceMs: this.#sinceMs },
      ...{ localAddress, localPort, remoteAddress, remotePort },
      sentOpen: opens.sent,
      receivedOpen: opens.received ?? new Uint8Array(0),
    }
  }

  /** Begins, or begins again after `stop` or a prefix limit; forgets earlier faults. */
  start(): void {
    this.#cancelLimit()
    this.#limited = false
    if (this.#config.disabled) {
      this.#tell({ code: 'admin-down', detail: 'disabled by configuration' })
      return
    }
    this.#started = true
    if (this.#config.interface !== undefined && this.#config.address === undefined) this.#find(this.#config.interface)
    this.#sessions.incoming.event({ type: 'start', manual: true })
    if (this.#mayDial) this.#sessions.outgoing.event({ type: 'start', manual: true })
  }

  /** Ends both sessions with a Cease and stays down; without a subcode it just closes, so the peer keeps our routes. */
  stop(subcode: number | undefined, reason: DownReason): void {
    this.#started = false
    this.#cancelDiscovery?.()
    this.#cancelDiscovery = undefined
    this.#waiting?.destroy()
    this.#waiting = undefined
    this.#cancelLimit()
    this.#end(subcode)
    this.#tell(reason)
  }

  /** Ends what runs and begins again at once. */
  reset(subcode: number): void {
    this.#end(subcode)
    this.start()
  }

  /** Takes a connection from the peer's address; the Cease to reject it with when it cannot. */
  accept(connection: BgpConnection): Notification | undefined {
    if (this.#limited) return cease(CEASE.maximumPrefixes)
    if (!this.#started) return cease(CEASE.shutdown, this.#config.shutdownMessage)
    if (this.#config.address === undefined) this.#address = connection.remoteAddress
    const { incoming } = this.#sessions
    const up = this.#up
    if (up !== undefined) {
      // RFC 4724 §5: a peer that connects again while its session stands has restarted
      const restarted = (up.negotiated?.gracefulRestart?.families.length ?? 0) > 0
      if (restarted) up.lose('the peer opened a new connection: it restarted')
      else if (up === incoming) return cease(CEASE.collision)
    } else if (incoming.connection !== undefined) incoming.lose('the peer opened a newer connection')
    if (incoming.state.phase === 'Active') incoming.accept(connection)
    else this.#wait(connection)
    return undefined
  }

  /** Applies a new configuration; answers why the session was reset, empty when it was not. */
  configure(next: PeerConfig): string[] {
    const old = this.#config
    const reasons = resetReasons(old, next)
    this.#config = next
    this.#sessions.outgoing.setRules(rulesOf(next, false))
    this.#sessions.incoming.setRules(rulesOf(next, true))
    const moved = !isDeepStrictEqual([old.address, old.interface], [next.address, next.interface])
    if (moved) {
      this.#cancelDiscovery?.()
      this.#cancelDiscovery = undefined
      this.#address = next.address
    }
    this.#deps.rib.setPolicies(this.name, next)
    this.pending()
    if (next.disabled) this.stop(CEASE.shutdown, { code: 'admin-down', detail: 'disabled by configuration' })
    else if (!this.#started) this.start()
    else if (reasons.length > 0) this.reset(CEASE.configurationChange)
    else this.#followOptions(old)
    return reasons
  }

  /** Soft kinds do nothing while the session is down. */
  clear(kind: ClearKind): void {
    if (kind === 'hard') {
      this.#tell({ code: 'admin-down', detail: 'cleared by an operator' })
      this.reset(CEASE.reset)
    } else if (kind === 'soft-out') {
      this.#deps.rib.soft(this.name, 'out')
      this.pending()
    } else {
      this.#deps.rib.soft(this.name, 'in')
      const { routeRefresh = false, families = [] } = this.negotiated ?? {}
      if (routeRefresh)
        for (const family of families) this.#up?.sendRefresh({ ...numbersOfFamily(family), subtype: REFRESH.request })
    }
  }

  /** The Rib has something for this peer. */
  pending(): void {
    if (this.#up !== undefined && !this.#up.full) this.#deps.workQueue.enqueue(this.#pull)
  }

  /** Socket options of connections with this peer; what only an established session knows is guessed like a dial. */
  socketOptions(): SocketOptions {
    const { password, ttlSecurity, multihop } = this.#config
    if (ttlSecurity !== undefined) return { password, ttlSecurity }
    const { speaker } = this.#deps
    const remoteAs = typeof this.#config.asn === 'number' ? this.#config.asn : 0
    const internal = this.#config.asn === 'internal' || relation(speaker, this.#config, remoteAs).peerType === 'ibgp'
    return { password, ttl: multihop ?? (internal ? 255 : 1) }
  }

  status(): PeerStatus {
    const { name, state } = this
    const negotiated = this.negotiated
    const counts = this.#deps.rib.counts(name)
    const { in: messagesIn, out, updatesIn } = (this.#up ?? this.#sessions.outgoing).counts
    const zone = this.#config.interface === undefined ? '' : `%${this.#config.interface}`
    return {
      name,
      address: this.#address === undefined ? zone : `${this.#address}${zone}`,
      asn: negotiated?.remoteAs ?? (typeof this.#config.asn === 'number' ? this.#config.asn : undefined),
      state,
      sinceMs: this.#sinceMs,
      reason: state === 'Established' ? undefined : { code: this.#reason.code, detail: this.#reason.detail },
      flaps: this.#flaps,
      routerId: negotiated === undefined ? undefined : formatIpv4(negotiated.routerId),
      holdTimeSeconds: negotiated?.holdSeconds,
      families: negotiated?.families ?? familiesOf(this.#config),
      prefixes: {
        received: counts?.received ?? 0,
        accepted: counts?.accepted ?? 0,
        announced: counts?.announced ?? 0,
      },
      messages: { in: messagesIn, out, updatesIn, updatesOut: this.#updatesOut },
    }
  }

  // What the sessions ask.

  dialOptions(): DialOptions | undefined {
    if (this.#address === undefined) return undefined
    const { port = 179, source, interface: interfaceName } = this.#config
    // the machine's ConnectRetryTimer gives the attempt up first
    const timeoutMs = 2000 * Math.max(1, this.#sessions.outgoing.state.rules.connectRetrySeconds)
    return { ...this.socketOptions(), address: this.#address, port, source, interface: interfaceName, timeoutMs }
  }

  ownOpen(): Open {
    return ownOpen(this.#localSide())
  }

  opened(session: Session, open: Open): Negotiated | ProtocolError {
    const verdict = negotiate(this.#localSide(), open)
    if (verdict instanceof ProtocolError) return verdict
    const other = this.#other(session)
    const loser = resolveCollision({
      opened: session.side,
      otherPhase: other.state.phase,
      localId: ipv4Number(this.#deps.speaker.routerId),
      remoteId: open.routerId,
      localAs: verdict.localAs,
      remoteAs: verdict.remoteAs,
    })
    if (loser !== undefined)
      this.#sessions[loser].event({ type: 'dump', error: new ProtocolError(ERROR.cease, CEASE.collision) })
    return verdict
  }

  established(session: Session): void {
    const { negotiated, connection } = session
    if (negotiated === undefined || connection === undefined) return
    this.#up = session
    this.#failedDials = 0
    this.#updatesOut = 0
    this.#sinceMs = this.#deps.clock.wallMs()
    const side = { key: this.name, config: this.#config, negotiated }
    this.#deps.rib.peerUp(ribPeerOf(side, connection, this.#deps.transport.addresses?.() ?? []))
    const { monitored } = this
    if (monitored !== undefined) for (const watcher of this.#deps.watchers) watcher.up(monitored)
    this.pending()
  }

  update(_session: Session, bytes: Uint8Array, start: number, end: number): ProtocolError | undefined {
    const { rib, watchers } = this.#deps
    const error = rib.receive(this.name, bytes, start, end)
    if (error === undefined && watchers.size > 0)
      for (const watcher of watchers) watcher.update(this.name, bytes, start - HEADER, end)
    if (error === undefined || error.code !== ERROR.cease || error.subcode !== CEASE.maximumPrefixes) return error
    this.#limit(error)
    return undefined
  }

  refresh(_session: Session, { afi, safi, subtype }: RouteRefresh): void {
    const family = familyOfNumbers(afi, safi)?.name
    if (family === undefined || !this.negotiated?.families.includes(family)) return
    const kind = REFRESH_KINDS[subtype]
    if (kind === 'end') for (const watcher of this.#deps.watchers) watcher.refreshed(this.name, family)
    if (kind !== undefined) this.#deps.rib.refresh(this.name, family, kind)
    if (kind === 'request') this.pending()
  }

  ended(session: Session, cause: SessionEnd): void {
    if (this.#up !== session || session.negotiated === undefined) return
    const down =
      this.#ending === 'for-good' || this.#limited ? { retain: false as const } : retention(cause, session.negotiated)
    this.#up = undefined
    this.#flaps++
    this.#sinceMs = this.#deps.clock.wallMs()
    this.#deps.workQueue.cancel(this.#pull)
    this.#deps.rib.peerDown(this.name, down)
    for (const watcher of this.#deps.watchers) watcher.down(this.name, cause)
    if (!down.retain) this.#deps.settled(this)
  }

  failed(session: Session, cause: SessionEnd): void {
    const holdSeconds = session.negotiated?.holdSeconds ?? 0
    const remote = this.#address ?? this.name
    const reason = reasonOf(cause, { remote, password: this.#config.password !== undefined, holdSeconds })
    // what went over the limit was told already, with the remedy
    if (reason === undefined || this.#limited) return
    if (cause.how === 'dial-failed' && ++this.#failedDials >= PATIENT_DIALS) this.#deps.settled(this)
    // the losing half of a collision says nothing about a peer whose other half goes on
    if (reason.code === 'collision' && this.#other(session).state.phase !== 'Idle') return
    const stands = isWeighty(this.#reason) && this.#deps.clock.monotonicMs() - this.#reason.atMs < WEIGHT_MS
    if (stands && cause.how === 'dial-failed') return
    this.#tell(reason)
  }

  moved(): void {
    this.#settle()
    const { state } = this
    if (state === this.#reported) return
    const before = this.#reported
    this.#reported = state
    const line = {
      peer: this.name,
      from: before,
      to: state,
      reason: state === 'Established' ? undefined : this.#reason.code,
    }
    this.#deps.log.debug(line, 'session changed')
    this.#deps.changed(this)
  }

  writable(session: Session): void {
    if (session === this.#up) this.pending()
  }

  // Inside.

  get #both(): readonly Session[] {
    return [this.#sessions.outgoing, this.#sessions.incoming]
  }

  get #mayDial(): boolean {
    return this.#started && !this.#limited && !this.#config.passive && this.#address !== undefined
  }

  #other(session: Session): Session {
    return session.side === 'outgoing' ? this.#sessions.incoming : this.#sessions.outgoing
  }

  /** Brings both sessions to where they belong: waiting always, dialling while no incoming session stands. */
  #settle(): void {
    if (!this.#started || this.#limited) return
    const { outgoing, incoming } = this.#sessions
    if (incoming.state.phase === 'Idle') incoming.event({ type: 'start', manual: false })
    const waiting = this.#waiting
    if (waiting !== undefined && incoming.state.phase === 'Active' && incoming.connection === undefined) {
      this.#waiting = undefined
      incoming.accept(waiting)
    }
    const incomingStands = rank(incoming.state.phase) >= rank('OpenConfirm')
    const dials = outgoing.state.phase === 'Connect' || outgoing.state.phase === 'Active'
    if (dials && (incomingStands || !this.#mayDial)) outgoing.event({ type: 'dump' })
    else if (outgoing.state.phase === 'Idle' && !incomingStands && !incoming.state.held && this.#mayDial)
      // a fault on the one session keeps the other from trying at once: IdleHoldTime is the peer's
      outgoing.event({ type: 'start', manual: false })
  }

  #wait(connection: BgpConnection): void {
    this.#waiting?.destroy()
    this.#waiting = connection
    const forget = () => {
      if (this.#waiting === connection) this.#waiting = undefined
    }
    connection.handlers = { data: () => undefined, drain: () => undefined, closed: forget }
    // nothing may be lost of what arrives before a session takes it
    connection.pause()
  }

  #end(subcode: number | undefined): void {
    this.#ending = subcode === undefined || subcode === CEASE.configurationChange ? 'no' : 'for-good'
    for (const session of this.#both) session.event({ type: 'stop', error: this.#ceaseFor(session, subcode) })
    this.#ending = 'no'
  }

  #ceaseFor(session: Session, subcode: number | undefined): ProtocolError | undefined {
    if (subcode === undefined) return undefined
    const plain = cease(subcode, this.#config.shutdownMessage)
    // RFC 8538 §3.1: what is meant for good must not look like a restart
    const wrapped = this.#ending === 'for-good' && session.negotiated?.notification === true ? hardReset(plain) : plain
    return protocolError(wrapped)
  }

  #limit(error: ProtocolError): void {
    this.#limited = true
    const { restartSeconds } = this.#config.prefixLimit ?? {}
    const notification = this.negotiated?.notification ? hardReset(error) : error
    for (const session of this.#both) session.event({ type: 'stop', error: protocolError(notification) })
    const remedy =
      restartSeconds === undefined
        ? 'raise the limit or find out why, then clear the peer'
        : `tried again in ${restartSeconds} s`
    this.#tell({ code: 'prefix-limit', detail: `${error.message}; ${remedy}` })
    if (restartSeconds !== undefined)
      this.#cancelLimit = this.#deps.clock.after(restartSeconds * 1000, () => this.start())
  }

  #push(): boolean {
    const session = this.#up
    if (session === undefined || session.full) return false
    const messages = this.#deps.rib.pull(this.name, PULL_OCTETS)
    if (messages === undefined) return false
    for (const bytes of messages) session.write(bytes, 0)
    const sent = this.#deps.rib.counts(this.name)?.messagesOut ?? 0
    session.counts.out += sent - this.#updatesOut
    this.#updatesOut = sent
    return !session.full
  }

  #followOptions(old: PeerConfig): void {
    const before = [old.password, old.multihop, old.ttlSecurity]
    const { password, multihop, ttlSecurity } = this.#config
    if (!isDeepStrictEqual(before, [password, multihop, ttlSecurity])) {
      const options = { ...this.socketOptions(), password: password ?? '' }
      try {
        for (const { connection } of this.#both) connection?.configure(options)
      } catch (error) {
        this.#deps.log.warn({ peer: this.name, error }, 'cannot change socket options of a living connection')
        this.reset(CEASE.configurationChange)
      }
    }
    this.#settle()
  }

  #find(interfaceName: string): void {
    this.#cancelDiscovery ??= this.#deps.discover?.(interfaceName, address => {
      if (this.#address === address) return
      this.#address = address
      if (this.#up === undefined) this.#sessions.outgoing.event({ type: 'dump' })
      this.#settle()
    })
    if (this.#address === undefined)
      this.#tell({ code: 'never-tried', detail: `no neighbour was seen on ${interfaceName} yet` })
  }

  #localSide() {
    const { speaker } = this.#deps
    return { speaker, peer: this.#config, families: familiesOf(this.#config), restarting: this.#deps.restarting() }
  }

  #tell(reason: DownReason): void {
    const changed = reason.code !== this.#reason.code || reason.detail !== this.#reason.detail
    this.#reason = { ...reason, atMs: this.#deps.clock.monotonicMs() }
    if (!changed) return
    this.#deps.log.debug({ peer: this.name, reason: reason.code, detail: reason.detail }, 'peer is not up')
    this.#deps.changed(this)
  }
}

const REFRESH_KINDS: Readonly<Record<number, 'request' | 'begin' | 'end'>> = {
  [REFRESH.request]: 'request',
  [REFRESH.begin]: 'begin',
  [REFRESH.end]: 'end',
}

function rulesOf({ timers = {} }: PeerConfig, passive: boolean): FsmRules {
  const { connectRetrySeconds = 5, idleHoldSeconds = 1, delayOpenSeconds = 0, openHoldSeconds = 240 } = timers
  return { passive, connectRetrySeconds, idleHoldSeconds, delayOpenSeconds, openHoldSeconds }
}

function protocolError({ code, subcode, data }: Notification): ProtocolError {
  return new ProtocolError(code, subcode, data)
}

function rank(phase: BgpState): number {
  return PHASES.indexOf(phase)
}
