// One peer: connects its two sessions (session-pair.ts) with the RIB, its configuration and its history. Pure decisions are in
// fsm/, change.ts, reason.ts and session-end.ts.
// Over 400 lines: what its sessions call and what the speaker calls share one private state.
import { isDeepStrictEqual } from 'node:util'
import { formatIpv4 } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { BfdChange } from './bfd/config.ts'
import { isPathFailure } from './bfd/failure.ts'
import { type BfdPaths, bfdSessionOf } from './bfd-paths.ts'
import type { MonitoredSession, SessionWatcher } from './bmp/session-watcher.ts'
import { resetReasons } from './change.ts'
import { BGP_PORT, familiesOf, nameOf, type PeerConfig, type PeerStatus, type SpeakerConfig } from './config.ts'
import { type AddressFamily, familyOfNumbers, numbersOfFamily } from './family.ts'
import { type Negotiated, negotiate, ownOpen } from './fsm/negotiate.ts'
import type { BgpState } from './fsm/step.ts'
import { NOTHING_WITHHELD, type Withheld, withheldAfter } from './fsm/withheld.ts'
import { type Heard, Hearing } from './hearing.ts'
import { PeerHistory } from './peer-history.ts'
import { dampedReason, limitReason, PeerHold } from './peer-hold.ts'
import type { BgpConnection, DialOptions, Discover, SocketOptions } from './port.ts'
import { type DownReason, lostPathDetail, reasonOf } from './reason.ts'
import type { Rib } from './rib/rib.ts'
import { ribPeerOf } from './rib-peer.ts'
import type { Session, SessionDeps, SessionOwner } from './session.ts'
import { fallen, NO_PENALTY } from './session-damping.ts'
import { isFault, retention, type SessionEnd } from './session-end.ts'
import { SessionPair } from './session-pair.ts'
import { Sightings } from './sightings.ts'
import { socketOptionsOf } from './socket-options.ts'
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
  /** Whether our own graceful restart goes on (the R bit of our OPEN). */
  restarting(): boolean
  discover?: Discover
  bfd: BfdPaths
  /** The status changed: state, reason, or the end of a session. */
  changed(peer: Peer): void
  /** Told of every session and its UPDATEs (BMP). */
  watchers: ReadonlySet<SessionWatcher>
  /** Our own restart need not wait for the peer: it keeps no routes of ours. */
  restartDone(peer: Peer): void
  /** Its session ended, and it keeps our routes. */
  lost(peer: Peer): void
  /** The peer cannot be reached. */
  unreachable(peer: Peer): void
  /** An unnumbered peer has another address than `before`. */
  moved(peer: Peer, before: string | undefined): void
  /** Answers a peer once what it announced so far stands where the speaker's routes go. Of one key the last answer is given. */
  answer(key: string, answer: () => void): void
}

/** What an operator may ask of a session: end it, or work through the routes again without ending it. */
export type ClearKind = 'hard' | 'soft-in' | 'soft-out'

/** The end of a connection that is known to the kernel is known here after so many turns of the event loop at most. */
const READ_TURNS = 4
/** What BFD says may be heard so much later, on a busy machine. */
const LATE_MS = 500
const PULL_OCTETS = 64 * 1024
/** After so many failed dials our own restart does not wait for a peer. */
const PATIENT_DIALS = 3

export class Peer implements SessionOwner {
  readonly name: string
  readonly #deps: PeerDeps
  readonly #sessions: SessionPair
  readonly #history: PeerHistory
  readonly #hold: PeerHold
  /** Of faults since an operator or another configuration began again. */
  #penalty = NO_PENALTY
  readonly #hearing = new Hearing()
  #config: PeerConfig
  #address: string | undefined
  /** Our end of the last connection. */
  #near: { local: string; interface?: string } | undefined
  /** Of an unnumbered peer: who was seen on the interface. */
  readonly #sightings: Sightings
  /** The session that is Established. */
  #up: Session | undefined
  /** What of our OPENs the peer refused, until a session was there or an operator begins again. */
  #withheld: Withheld = NOTHING_WITHHELD
  #started = false
  #failedDials = 0
  /** What BFD said, while the session ends for it. */
  #lostPath: string | undefined
  /** When a session ended while BFD may have been up, which it has been since; on the monotonic clock. */
  #endedMs: number | undefined
  #updatesOut = 0
  readonly #pull = () => this.#push()

  constructor(config: PeerConfig, deps: PeerDeps) {
    this.name = nameOf(config)
    this.#config = config
    this.#deps = deps
    this.#address = config.address
    this.#history = new PeerHistory(this.name, { clock: deps.clock, log: deps.log, changed: () => deps.changed(this) })
    this.#hold = new PeerHold(deps.clock)
    this.#sessions = new SessionPair(config, this, deps)
    this.#sightings = new Sightings(deps, { seen: () => this.#seen(), hindered: () => this.#hindered() })
  }

  get config(): PeerConfig {
    return this.#config
  }

  /** The peer's address, canonical; undefined while an unnumbered neighbour is not known yet. */
  get address(): string | undefined {
    return this.#address
  }

  get state(): BgpState {
    return this.#sessions.state
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
      ...{ name: this.name, asn, routerId, families, as4: receive.as4, sinceMs: this.#history.sinceMs },
      ...{ localAddress, localPort, remoteAddress, remotePort },
      sentOpen: opens.sent,
      receivedOpen: opens.received ?? new Uint8Array(0),
    }
  }

  /** For how long it could have had a session and had none, in milliseconds; only while it has none. */
  get awayMs(): number {
    if (this.#hold.heldFor !== undefined) return 0
    // with whoever is forgotten after it was damped its falls would be
    return Math.min(this.#history.ageMs, this.#deps.clock.monotonicMs() - this.#penalty.fromMs)
  }

  /** Begins, or begins again after `stop` or a pause; forgets earlier faults. */
  start(): void {
    this.#hold.end()
    this.#withheld = NOTHING_WITHHELD
    if (this.#config.disabled) {
      this.#history.tell({ code: 'admin-down', detail: 'disabled by configuration' })
      return
    }
    this.#started = true
    if (this.#config.interface !== undefined && this.#config.address === undefined) this.#look(this.#config.interface)
    this.#watchPath()
    this.#sessions.start({ mayDial: this.#mayDial })
  }

  /** Ends both sessions with a Cease and stays down; without a subcode it just closes, so the peer keeps our routes. */
  stop(subcode: number | undefined, reason: DownReason): void {
    this.#started = false
    this.#sightings.end()
    this.#sessions.dropWaiting()
    this.#watchPath()
    this.#hold.end()
    this.#penalty = NO_PENALTY
    this.#end(subcode)
    this.#history.tell(reason)
  }

  /** Ends what runs and begins again at once. */
  reset(subcode: number): void {
    this.#penalty = NO_PENALTY
    this.#end(subcode)
    this.start()
  }

  /**
   * Takes a connection from the peer's address, or, of an unnumbered peer, its link; `checked`: what the listening socket has seen to, which
   * knows addresses and not links, and no address before somebody was seen. Returns a Cease when it must be rejected.
   */
  accept(connection: BgpConnection, checked: SocketOptions | undefined): Notification | undefined {
    const { heldFor } = this.#hold
    if (heldFor !== undefined) return cease(heldFor === 'damped' ? CEASE.rejected : CEASE.maximumPrefixes)
    if (!this.#started) return cease(CEASE.shutdown, this.#config.shutdownMessage)
    if (this.#config.address === undefined && this.#address !== connection.remoteAddress) {
      // another router of the link; the session is with whom it has until that ends
      if (this.#up !== undefined) return cease(CEASE.rejected)
      this.#moveTo(connection.remoteAddress)
    }
    const { password, tcpAo, ttlSecurity } = this.#config
    const wanted = [password, tcpAo, ttlSecurity]
    if (!isDeepStrictEqual([checked?.password, checked?.tcpAo, checked?.ttlSecurity], wanted))
      return cease(CEASE.rejected)
    const { incoming } = this.#sessions
    const up = this.#up
    if (up !== undefined) {
      // RFC 4724 §5: a peer that connects again while its session stands has restarted
      const restarted = (up.negotiated?.gracefulRestart?.families.length ?? 0) > 0
      if (restarted) up.lose('the peer opened a new connection: it restarted')
      else if (up === incoming) return cease(CEASE.collision)
    } else if (incoming.connection !== undefined) incoming.lose('the peer opened a newer connection')
    this.#sessions.accept(connection)
    return undefined
  }

  /** Applies a new configuration; answers why the session was reset, empty when it was not. */
  configure(next: PeerConfig): string[] {
    const old = this.#config
    const reasons = resetReasons(old, next)
    this.#config = next
    this.#sessions.configure(next)
    const moved = !isDeepStrictEqual([old.address, old.interface], [next.address, next.interface])
    if (moved) {
      this.#sightings.end()
      this.#address = next.address
      this.#near = undefined
    }
    this.#deps.rib.setPolicies(this.name, next)
    this.#watchPath()
    this.pending()
    if (next.disabled) this.stop(CEASE.shutdown, { code: 'admin-down', detail: 'disabled by configuration' })
    else if (!this.#started) this.start()
    else if (reasons.length > 0) this.reset(CEASE.configurationChange)
    // the limit that holds it down is another one now
    else if (this.#hold.heldFor === 'prefix-limit' && !isDeepStrictEqual(old.prefixLimit, next.prefixLimit))
      this.start()
    // whatever changed may be the cure
    else if (this.#hold.heldFor === 'damped' && !isDeepStrictEqual(withoutPolicies(old), withoutPolicies(next)))
      this.reset(CEASE.configurationChange)
    else this.#followOptions(old)
    if (!isDeepStrictEqual(old.bfd, next.bfd)) this.#deps.changed(this)
    return reasons
  }

  /** 'soft-in' and 'soft-out' do nothing while the session is down. */
  clear(kind: ClearKind): void {
    if (kind === 'hard') {
      this.#history.tell({ code: 'admin-down', detail: 'cleared by an operator' })
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

  /** Calls `waiter` once the peer has worked through all that the RIB has for it now, or why it will not say so. */
  hear(family: AddressFamily, waiter: (heard: Heard) => void): void {
    const { negotiated } = this
    if (negotiated === undefined) waiter('gone')
    else if (!negotiated.enhancedRefresh || !negotiated.families.includes(family)) waiter('cannot')
    else {
      this.#hearing.ask(family, waiter)
      this.pending()
    }
  }

  /** The RIB has messages for this peer. */
  pending(): void {
    if (this.#up !== undefined && !this.#up.full) this.#deps.workQueue.enqueue(this.#pull)
  }

  /** Socket options of connections with this peer. */
  socketOptions(): SocketOptions {
    return socketOptionsOf(this.#config, this.#deps.speaker)
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
      ...this.#history.status(state),
      routerId: negotiated === undefined ? undefined : formatIpv4(negotiated.routerId),
      holdTimeSeconds: negotiated?.holdSeconds,
      families: negotiated?.families ?? familiesOf(this.#config),
      prefixes: {
        received: counts?.received ?? 0,
        accepted: counts?.accepted ?? 0,
        announced: counts?.announced ?? 0,
      },
      messages: { in: messagesIn, out, updatesIn, updatesOut: this.#updatesOut },
      ...(this.#up !== undefined && this.#heard(this.#up)),
      bfd: this.#deps.bfd.status(name),
      others: this.#sightings.others(this.#address),
    }
  }

  #heard({ counts: { inAtMs, outAtMs } }: Session): Pick<PeerStatus, 'lastReceivedMs' | 'lastSentMs'> {
    const { clock } = this.#deps
    const sinceMs = clock.wallMs() - clock.monotonicMs()
    return { lastReceivedMs: Math.round(sinceMs + inAtMs), lastSentMs: Math.round(sinceMs + outAtMs) }
  }

  // Called by the sessions.

  dialOptions(): DialOptions | undefined {
    if (this.#address === undefined) return undefined
    const { port = BGP_PORT, source, interface: interfaceName } = this.#config
    // longer than ConnectRetryTime, which ends the attempt first
    const timeoutMs = 2000 * Math.max(1, this.#sessions.outgoing.state.rules.connectRetrySeconds)
    return { ...this.socketOptions(), address: this.#address, port, source, interface: interfaceName, timeoutMs }
  }

  ownOpen(): Open {
    return ownOpen(this.#localSide())
  }

  opened(session: Session, open: Open): Negotiated | ProtocolError {
    const verdict = negotiate(this.#localSide(), open)
    if (verdict instanceof ProtocolError) return verdict
    this.#sessions.resolveCollision(session, open, verdict, this.#deps.speaker.routerId)
    return verdict
  }

  established(session: Session): void {
    const { negotiated, connection } = session
    if (negotiated === undefined || connection === undefined) return
    this.#up = session
    this.#failedDials = 0
    this.#updatesOut = 0
    this.#history.up()
    this.#near = { local: connection.localAddress, interface: connection.interface }
    // others may have come into sight since it began
    if (this.#config.address === undefined) this.#moveTo(connection.remoteAddress)
    this.#watchPath()
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

  refresh(session: Session, { afi, safi, subtype }: RouteRefresh): void {
    const family = familyOfNumbers(afi, safi)?.name
    if (family === undefined || !this.negotiated?.families.includes(family)) return
    const kind = REFRESH_KINDS[subtype]
    if (kind === 'end') for (const watcher of this.#deps.watchers) watcher.refreshed(this.name, family)
    // who asks may do so to know that we have what it announced before
    if (kind === 'request') this.#deps.answer(`${this.name} ${family}`, () => this.#answer(session, family))
    else if (kind !== undefined) this.#deps.rib.refresh(this.name, family, kind)
    if (kind === 'end' && this.#hearing.answered(family)) this.pending()
  }

  ended(session: Session, end: SessionEnd): void {
    if (this.#up !== session || session.negotiated === undefined) return
    const down = retention(end, session.negotiated)
    this.#up = undefined
    this.#endedMs = this.#deps.clock.monotonicMs()
    this.#withheld = NOTHING_WITHHELD
    this.#history.down()
    this.#deps.workQueue.cancel(this.#pull)
    this.#deps.rib.peerDown(this.name, down)
    this.#hearing.lost()
    for (const watcher of this.#deps.watchers) watcher.down(this.name, end)
    if (down.retain) this.#deps.lost(this)
    else this.#deps.restartDone(this)
    // the next one is with whom was seen last
    this.#moveTo(this.#sightings.last)
    // why it ended is told; why it does not come back is this
    if (this.#sightings.hindered !== undefined) this.#tellUnseen()
    if (isFault(end, session.negotiated)) this.#damp()
  }

  failed(session: Session, end: SessionEnd): void {
    const holdSeconds = session.negotiated?.holdSeconds ?? 0
    const remote = this.#address ?? this.name
    const reason = reasonOf(end, {
      remote,
      signed: this.#config.password !== undefined || this.#config.tcpAo !== undefined,
      holdSeconds,
      lostPath: this.#lostPath,
    })
    if (end.how === 'received' && this.#up === undefined) this.#withhold(session, end.notification)
    // why it is held was already reported
    if (reason === undefined || this.#hold.heldFor !== undefined) return
    if (end.how === 'dial-failed' && ++this.#failedDials >= PATIENT_DIALS) this.#deps.unreachable(this)
    // do not report a collision while the other connection is open
    if (reason.code === 'collision' && this.#sessions.other(session).state.phase !== 'Idle') return
    if (end.how === 'dial-failed') this.#history.dialFailed(reason)
    else this.#history.tell(reason)
  }

  moved(): void {
    this.#proceed()
    this.#history.moved(this.state)
  }

  writable(session: Session): void {
    if (session === this.#up) this.pending()
  }

  // Private.

  #answer(session: Session, family: AddressFamily): void {
    if (this.#up !== session) return
    this.#deps.rib.refresh(this.name, family, 'request')
    this.pending()
  }

  get #mayDial(): boolean {
    const isSeen = this.#address !== undefined && this.#sightings.hindered === undefined
    return this.#started && this.#hold.heldFor === undefined && !this.#config.passive && isSeen
  }

  /** Starts what should run. */
  #proceed(): void {
    if (this.#started && this.#hold.heldFor === undefined) this.#sessions.proceed({ mayDial: this.#mayDial })
  }

  /** Ends both sessions with a Cease. Every subcode but a change of the configuration means that we do not come back soon. */
  #end(subcode: number | undefined): void {
    const forGood = subcode !== CEASE.configurationChange
    this.#sessions.stop(session => (subcode === undefined ? undefined : this.#cease(session, subcode, { forGood })))
  }

  /** The peer answered our OPEN: the next one is without the capabilities that it refuses. */
  #withhold(session: Session, notification: Notification): void {
    const side = this.#localSide()
    const { capabilities } = ownOpen({ ...side, withheld: NOTHING_WITHHELD })
    const next = withheldAfter(this.#withheld, notification, { capabilities, families: side.families })
    if (next === undefined) return
    this.#withheld = next
    this.#deps.log.warn(
      { peer: this.name, withheld: next },
      'the peer refuses capabilities; the next OPEN is another one',
    )
    // the other session may wait for the answer to the same OPEN, and both are negotiated with one configuration
    this.#sessions.other(session).event({ type: 'dump' })
  }

  #cease(session: Session, subcode: number, { forGood }: { forGood: boolean }): ProtocolError {
    const plain = cease(subcode, this.#config.shutdownMessage)
    // RFC 8538 §3.1: a Hard Reset, so that the peer does not keep our routes
    return protocolError(forGood && session.negotiated?.notification === true ? hardReset(plain) : plain)
  }

  #limit(error: ProtocolError): void {
    const { restartSeconds } = this.#config.prefixLimit ?? {}
    const holdMs = restartSeconds === undefined ? undefined : restartSeconds * 1000
    this.#hold.begin('prefix-limit', holdMs, () => this.start())
    const notification = this.negotiated?.notification ? hardReset(error) : error
    this.#sessions.stop(() => protocolError(notification))
    this.#history.tell(limitReason(error, restartSeconds))
  }

  /** The session fell for a fault: nothing is tried, and no connection taken, before its pause is over. */
  #damp(): void {
    // without pauses after faults there is none of these either (DampPeerOscillations of RFC 4271 §8.1.1 is off)
    if (this.#config.timers?.idleHoldSeconds === 0) return
    const { clock } = this.#deps
    const { penalty, waitMs } = fallen(this.#penalty, clock.monotonicMs())
    this.#penalty = penalty
    if (waitMs === 0) return
    this.#hold.begin('damped', waitMs, () => this.start())
    this.#sessions.dropWaiting()
    this.#sessions.stop(() => protocolError(cease(CEASE.rejected)))
    this.#history.tell(dampedReason(this.#history.reason, clock.wallMs() + waitMs))
  }

  /** Has BFD watch the path to the peer while both ends are known, or no longer. */
  #watchPath(): void {
    const { bfd, transport } = this.#deps
    const ends = { local: this.#near?.local, interface: this.#near?.interface ?? this.#config.interface }
    const isWanted = this.#started && this.#config.bfd !== undefined && this.#address !== undefined
    const config = isWanted
      ? bfdSessionOf(this.#config, { peer: this.#address!, ...ends }, transport.addresses?.() ?? [])
      : undefined
    bfd.watch(this.name, config, change => this.#pathChanged(change))
  }

  #pathChanged(change: BfdChange): void {
    if (change.to === 'Up') this.#endedMs = undefined
    if (change.from === 'Up' && change.to === 'Down') afterTurns(READ_TURNS, () => this.#pathLost(change))
    this.#deps.changed(this)
  }

  /**
   * RFC 5882 §4.2 and §4.3: a peer that restarts gracefully has ended its connection before, and its routes stay. It may have a new
   * session before its BFD of the old one is missed, which is a detection time after that ended at the latest.
   */
  #pathLost(change: BfdChange): void {
    const excusedMs = (this.#endedMs ?? Number.NEGATIVE_INFINITY) + change.detectionTimeMs + LATE_MS
    const restarting = this.#up === undefined || this.#deps.clock.monotonicMs() <= excusedMs
    if (!this.#started || !isPathFailure(change, { restarting })) return
    if (this.#up === undefined) {
      this.#deps.rib.peerDown(this.name, { retain: false })
      return
    }
    this.#lostPath = lostPathDetail(this.#address ?? this.name, change)
    this.#up.event({ type: 'fault', error: this.#cease(this.#up, CEASE.bfdDown, { forGood: true }) })
    this.#lostPath = undefined
  }

  #push(): boolean {
    const session = this.#up
    if (session === undefined || session.full) return false
    const messages = this.#deps.rib.pull(this.name, PULL_OCTETS)
    if (messages === undefined) {
      for (const family of this.#hearing.take())
        session.sendRefresh({ ...numbersOfFamily(family), subtype: REFRESH.request })
      return false
    }
    for (const bytes of messages) {
      session.write(bytes, 0)
      for (const watcher of this.#deps.watchers) watcher.sent?.(this.name, bytes)
    }
    const sent = this.#deps.rib.counts(this.name)?.messagesOut ?? 0
    session.counts.out += sent - this.#updatesOut
    this.#updatesOut = sent
    return !session.full
  }

  #followOptions(old: PeerConfig): void {
    const before = [old.password, old.tcpAo, old.multihop, old.ttlSecurity]
    const { password, tcpAo, multihop, ttlSecurity } = this.#config
    if (!isDeepStrictEqual(before, [password, tcpAo, multihop, ttlSecurity])) {
      // whoever still waits for an answer to the old options would wait in vain
      if (this.#up === undefined && this.#hold.heldFor === undefined) {
        this.reset(CEASE.configurationChange)
        return
      }
      const options = { ...this.socketOptions(), password: password ?? '' }
      try {
        this.#sessions.setSocketOptions(options)
      } catch (error) {
        this.#deps.log.warn({ peer: this.name, error }, 'cannot change socket options of a living connection')
        this.reset(CEASE.configurationChange)
      }
    }
    this.#proceed()
  }

  #look(interfaceName: string): void {
    this.#sightings.begin(interfaceName, () => this.#deps.unreachable(this))
    if (this.#address === undefined && this.#sightings.hindered === undefined) this.#tellUnseen()
  }

  /** Of several on the link the session is with whom it has, until that ends. */
  #seen(): void {
    if (this.#up !== undefined) return
    if (this.#moveTo(this.#sightings.last)) this.#sessions.outgoing.event({ type: 'dump' })
    this.#proceed()
  }

  #moveTo(address: string | undefined): boolean {
    if (address === undefined || this.#address === address) return false
    const before = this.#address
    this.#address = address
    this.#deps.moved(this, before)
    this.#watchPath()
    return true
  }

  /** What kept the neighbour from being seen is another thing now, or nothing. A session that stands goes on: BFD or its hold timer end it. */
  #hindered(): void {
    if (this.#up === undefined) this.#tellUnseen()
    if (this.#sightings.hindered !== undefined) this.#deps.unreachable(this)
    this.#proceed()
  }

  #tellUnseen(): void {
    const { hindered } = this.#sightings
    const detail = hindered ?? `no neighbour was seen on ${this.#config.interface} yet`
    this.#history.tell({ code: hindered === undefined ? 'never-tried' : 'no-interface', detail })
  }

  #localSide() {
    const { speaker } = this.#deps
    return {
      speaker,
      peer: this.#config,
      families: familiesOf(this.#config),
      restarting: this.#deps.restarting(),
      withheld: this.#withheld,
    }
  }
}

const REFRESH_KINDS: Readonly<Record<number, 'request' | 'begin' | 'end'>> = {
  [REFRESH.request]: 'request',
  [REFRESH.begin]: 'begin',
  [REFRESH.end]: 'end',
}

/** Policies cure no fault of a session, and those of nodes change with every block. */
function withoutPolicies({
  import: _import,
  export: _export,
  ...config
}: PeerConfig): Omit<PeerConfig, 'import' | 'export'> {
  return config
}

function afterTurns(turns: number, then: () => void): void {
  if (turns === 0) then()
  else setImmediate(() => afterTurns(turns - 1, then))
}

function protocolError({ code, subcode, data }: Notification): ProtocolError {
  return new ProtocolError(code, subcode, data)
}
