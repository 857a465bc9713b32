// The two sessions of a peer (RFC 4271 §8.2.1): one dials, one waits for the peer to dial. Which of them runs, what happens
// to a connection that comes while IdleHoldTime runs, and which one is kept when both are open (§6.8).
import { ipv4Number } from '../lib/ip.ts'
import type { PeerConfig } from './config.ts'
import { resolveCollision } from './fsm/collision.ts'
import type { Negotiated } from './fsm/negotiate.ts'
import type { BgpState, FsmRules } from './fsm/step.ts'
import type { BgpConnection, SocketOptions } from './port.ts'
import { Session, type SessionDeps, type SessionOwner } from './session.ts'
import { ProtocolError } from './wire/errors.ts'
import { CEASE, ERROR } from './wire/iana.ts'
import type { Open } from './wire/open.ts'

/** In the order of progress. */
const STATES: readonly BgpState[] = ['Idle', 'Active', 'Connect', 'OpenSent', 'OpenConfirm', 'Established']

export class SessionPair {
  readonly outgoing: Session
  readonly incoming: Session
  /** An incoming connection that came while IdleHoldTime runs: it is taken when that is over. */
  #waiting: BgpConnection | undefined

  constructor(config: PeerConfig, owner: SessionOwner, deps: SessionDeps) {
    this.outgoing = new Session('outgoing', rulesOf(config, false), owner, deps)
    this.incoming = new Session('incoming', rulesOf(config, true), owner, deps)
  }

  /** The state of the session that has made more progress. */
  get state(): BgpState {
    const [a, b] = [this.outgoing.state.phase, this.incoming.state.phase]
    return rank(a) >= rank(b) ? a : b
  }

  other(session: Session): Session {
    return session.side === 'outgoing' ? this.incoming : this.outgoing
  }

  /** New timers; those that run keep their time. */
  configure(config: PeerConfig): void {
    this.outgoing.setRules(rulesOf(config, false))
    this.incoming.setRules(rulesOf(config, true))
  }

  /** Begins at once, forgetting earlier faults. */
  start({ mayDial }: { mayDial: boolean }): void {
    this.incoming.event({ type: 'start', manual: true })
    if (mayDial) this.outgoing.event({ type: 'start', manual: true })
  }

  /** Starts what should run: the incoming session always waits, the outgoing one dials while no incoming one is open. */
  proceed({ mayDial }: { mayDial: boolean }): void {
    const { outgoing, incoming } = this
    if (incoming.state.phase === 'Idle') incoming.event({ type: 'start', manual: false })
    const waiting = this.#waiting
    if (waiting !== undefined && incoming.state.phase === 'Active' && incoming.connection === undefined) {
      this.#waiting = undefined
      incoming.accept(waiting)
    }
    const incomingStands = rank(incoming.state.phase) >= rank('OpenConfirm')
    const dials = outgoing.state.phase === 'Connect' || outgoing.state.phase === 'Active'
    if (dials && (incomingStands || !mayDial)) outgoing.event({ type: 'dump' })
    else if (outgoing.state.phase === 'Idle' && !incomingStands && !incoming.state.held && mayDial)
      // a fault on the one session keeps the other from trying at once: IdleHoldTime is the peer's
      outgoing.event({ type: 'start', manual: false })
  }

  /** Takes a connection that the peer made, at once or when IdleHoldTime is over. */
  accept(connection: BgpConnection): void {
    if (this.incoming.state.phase === 'Active') this.incoming.accept(connection)
    else this.#wait(connection)
  }

  /** Forgets a connection that waits. */
  dropWaiting(): void {
    this.#waiting?.destroy()
    this.#waiting = undefined
  }

  /** Ends both; `errorFor` is what each sends, when it has opened. */
  stop(errorFor: (session: Session) => ProtocolError | undefined): void {
    for (const session of [this.outgoing, this.incoming]) session.event({ type: 'stop', error: errorFor(session) })
  }

  /** An OPEN came on `session`: ends the one that loses the collision, which may be that one. */
  resolveCollision(session: Session, open: Open, { localAs, remoteAs }: Negotiated, localId: string): void {
    const other = this.other(session)
    const loser = resolveCollision({
      opened: session.side,
      otherPhase: other.state.phase,
      otherSentMs: other.openSentMs,
      localId: ipv4Number(localId),
      remoteId: open.routerId,
      localAs,
      remoteAs,
    })
    if (loser !== undefined) this[loser].event({ type: 'dump', error: new ProtocolError(ERROR.cease, CEASE.collision) })
  }

  /** Changes the options of living connections. Throws what the transport throws. */
  setSocketOptions(options: SocketOptions): void {
    this.outgoing.connection?.configure(options)
    this.incoming.connection?.configure(options)
  }

  #wait(connection: BgpConnection): void {
    this.dropWaiting()
    this.#waiting = connection
    const forget = () => {
      if (this.#waiting === connection) this.#waiting = undefined
    }
    connection.handlers = { data: () => undefined, drain: () => undefined, closed: forget }
    // nothing may be lost of what arrives before a session takes it
    connection.pause()
  }
}

function rank(state: BgpState): number {
  return STATES.indexOf(state)
}

function rulesOf({ timers = {} }: PeerConfig, passive: boolean): FsmRules {
  const { connectRetrySeconds = 5, idleHoldSeconds = 1, mostIdleHoldSeconds = 60 } = timers
  const { delayOpenSeconds = 0, openHoldSeconds = 240 } = timers
  return { passive, connectRetrySeconds, idleHoldSeconds, mostIdleHoldSeconds, delayOpenSeconds, openHoldSeconds }
}
