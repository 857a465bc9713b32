// One connection with its state machine: performs the actions of `fsm/step.ts`, splits the stream into messages and passes
// them on as events. A peer has two sessions, one that dials and one that waits.
import { Writer } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import type { Side } from './fsm/collision.ts'
import type { Negotiated } from './fsm/negotiate.ts'
import {
  type FsmAction,
  type FsmEvent,
  type FsmRules,
  type FsmState,
  type FsmTimer,
  idleState,
  type ReceivedMessage,
  step,
} from './fsm/step.ts'
import type { BgpConnection, DialOptions, Transport } from './port.ts'
import type { SessionEnd } from './session-end.ts'
import { SessionInput } from './session-input.ts'
import { Timers } from './timers.ts'
import { ProtocolError } from './wire/errors.ts'
import { ERROR, FSM_ERROR, MESSAGE } from './wire/iana.ts'
import { emitKeepalive, HEADER, MAX_MESSAGE, MessageSplitter } from './wire/message.ts'
import { emitNotification, type Notification, parseNotification } from './wire/notification.ts'
import { emitOpen, type Open, parseOpen } from './wire/open.ts'
import { emitRouteRefresh, parseRouteRefresh, type RouteRefresh } from './wire/route-refresh.ts'
import type { WorkQueue } from './work-queue.ts'

/** What a session asks of the peer it belongs to. */
export type SessionOwner = {
  dialOptions(): DialOptions | undefined
  ownOpen(): Open
  /** Negotiates with the peer's OPEN. Also resolves collisions, which may end this session before it returns. */
  opened(session: Session, open: Open): Negotiated | ProtocolError
  established(session: Session): void
  /** An UPDATE body, its header right before it: an error ends the session with it. */
  update(session: Session, bytes: Uint8Array, start: number, end: number): ProtocolError | undefined
  refresh(session: Session, refresh: RouteRefresh): void
  /** The session was Established and is not any more. */
  ended(session: Session, cause: SessionEnd): void
  /** A dial, a connection or a session ended, in any state. */
  failed(session: Session, cause: SessionEnd): void
  /** The phase may have changed. */
  moved(session: Session): void
  writable(session: Session): void
}

/** The whole OPEN messages of a connection: ours once it was sent, the peer's once it was received. */
export type Opens = { sent?: Uint8Array; received?: Uint8Array }

export type SessionDeps = {
  clock: Clock
  transport: Transport
  workQueue: WorkQueue
  /** [0, 1): jitter of timers (RFC 4271 §10). */
  random: () => number
}

const KEEPALIVE = message(emitKeepalive)
/** SendHoldTime (RFC 9687 §3): a peer that reads nothing for so long is down, even if it still sends. */
const SEND_HOLD_MS = 8 * 60_000
const SEND_HOLD_EXPIRED = 8

export class Session {
  readonly side: Side
  readonly #owner: SessionOwner
  readonly #deps: SessionDeps
  readonly #timers: Timers
  #state: FsmState
  #connection: BgpConnection | undefined
  #dialing: AbortController | undefined
  /** Of the connection; most sessions have none. */
  #splitter: MessageSplitter | undefined
  #negotiated: Negotiated | undefined
  #opens: Opens = {}
  /** When our OPEN went out, on the monotonic clock. */
  #openSentAtMs: number | undefined
  #cause: SessionEnd = { how: 'closed' }
  readonly #events: FsmEvent[] = []
  #running = false
  /** What the connection received and nobody has read; with it like the splitter. */
  #input: SessionInput | undefined
  #blockedSinceMs: number | undefined
  #cancelSendHold: () => void = () => undefined
  /** Messages since the connection began, and when the last ones came and went, on the monotonic clock. */
  readonly counts = { in: 0, out: 0, updatesIn: 0, inAtMs: 0, outAtMs: 0 }

  constructor(side: Side, rules: FsmRules, owner: SessionOwner, deps: SessionDeps) {
    this.side = side
    this.#owner = owner
    this.#deps = deps
    this.#state = idleState(rules)
    this.#timers = new Timers(deps.clock, timer => this.#expired(timer))
  }

  get state(): FsmState {
    return this.#state
  }

  get connection(): BgpConnection | undefined {
    return this.#connection
  }

  /** What the OPENs agreed on, from OpenConfirm on. */
  get negotiated(): Negotiated | undefined {
    return this.#negotiated
  }

  get opens(): Opens {
    return this.#opens
  }

  /** Milliseconds since our OPEN of the last connection went out; undefined when it did not. */
  get openSentMs(): number | undefined {
    return this.#openSentAtMs === undefined ? undefined : this.#deps.clock.monotonicMs() - this.#openSentAtMs
  }

  /** New timer values; those that run keep their time. */
  setRules(rules: FsmRules): void {
    this.#state = { ...this.#state, rules }
  }

  /** Handles an event. Events that occur meanwhile are handled after it. */
  event(event: FsmEvent): void {
    if (this.#running) {
      this.#events.push(event)
      return
    }
    this.#running = true
    try {
      this.#handle(event)
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) this.#handle(next)
    } finally {
      this.#running = false
    }
  }

  /** Takes an incoming connection; the machine must be Active. */
  accept(connection: BgpConnection): void {
    this.#adopt(connection)
    this.event({ type: 'connected' })
  }

  /** Handles the connection as lost. */
  lose(message: string): void {
    this.#fail({ how: 'connection-lost', message })
    this.event({ type: 'disconnected' })
  }

  /** Queues a whole message, or several; false when the connection is full and `writable` will be called. */
  write(bytes: Uint8Array, messages: number): boolean {
    if (this.#connection === undefined) return false
    this.counts.out += messages
    this.counts.outAtMs = this.#deps.clock.monotonicMs()
    const more = this.#connection.write(bytes)
    if (!more && this.#blockedSinceMs === undefined) {
      this.#blockedSinceMs = this.#deps.clock.monotonicMs()
      this.#cancelSendHold = this.#deps.clock.after(SEND_HOLD_MS, () =>
        this.event({ type: 'fault', error: new ProtocolError(SEND_HOLD_EXPIRED, 0) }),
      )
    }
    return more
  }

  /** Whether the peer takes no more octets for now. */
  get full(): boolean {
    return this.#blockedSinceMs !== undefined
  }

  sendRefresh(refresh: RouteRefresh): void {
    this.write(
      message(w => emitRouteRefresh(w, refresh)),
      1,
    )
  }

  #handle(event: FsmEvent): void {
    const before = this.#state
    if (event.type === 'timer' && event.timer === 'connectRetry' && this.#dialing !== undefined)
      this.#fail({ how: 'dial-failed', code: 'ETIMEDOUT', message: 'nothing answered' })
    const result = step(before, event)
    const [state] = result
    this.#state = state
    // by index: this runs for every UPDATE, and a rest array costs more than the step
    for (let i = 1; i < result.length; i++) this.#perform(result[i] as FsmAction)
    if (state.phase !== before.phase || state.held !== before.held) this.#owner.moved(this)
  }

  #perform(action: FsmAction): void {
    switch (action.do) {
      case 'dial':
        this.#dial()
        break
      case 'drop':
        this.#drop()
        break
      case 'send':
        this.write(action.message === 'open' ? this.#ownOpen() : KEEPALIVE, 1)
        break
      case 'notify':
        this.#notify(action.error)
        break
      case 'notify-fsm-error':
        this.#notify(new ProtocolError(ERROR.fsm, FSM_SUBCODES[action.phase]))
        break
      case 'notify-hold-expired':
        this.#notify(new ProtocolError(ERROR.holdTimer, 0))
        break
      case 'arm':
        this.#timers.arm(action.timer, this.#delayMs(action.timer, action.seconds))
        break
      case 'disarm':
        this.#timers.disarm(action.timer)
        break
      case 'established':
        this.#owner.established(this)
        break
      case 'ended':
        this.#owner.ended(this, this.#cause)
        break
      case 'deliver':
        this.#deliver(action.message)
        break
    }
  }

  #ownOpen(): Uint8Array {
    const open = message(w => emitOpen(w, this.#owner.ownOpen()))
    this.#opens.sent = open
    this.#openSentAtMs = this.#deps.clock.monotonicMs()
    return open
  }

  #delayMs(timer: FsmTimer, seconds: number): number {
    const jittered = timer === 'hold' || timer === 'stable' ? 1 : 0.75 + 0.25 * this.#deps.random()
    return seconds * 1000 * jittered
  }

  #expired(timer: FsmTimer): void {
    // do not expire the hold timer while received data waits to be read
    if (timer === 'hold' && this.#input?.waiting === true) this.#timers.arm('hold', 1000)
    else this.event({ type: 'timer', timer })
  }

  #dial(): void {
    const options = this.#owner.dialOptions()
    if (options === undefined) return
    const attempt = new AbortController()
    this.#dialing = attempt
    this.#deps.transport.dial(options, attempt.signal).then(
      connection => {
        if (attempt.signal.aborted) {
          connection.destroy()
          return
        }
        this.#dialing = undefined
        this.#adopt(connection)
        this.event({ type: 'connected' })
      },
      (error: Error & { code?: string }) => {
        if (attempt.signal.aborted) return
        this.#dialing = undefined
        this.#fail({ how: 'dial-failed', code: error.code, message: error.message })
        this.event({ type: 'disconnected' })
      },
    )
  }

  #adopt(connection: BgpConnection): void {
    this.#connection = connection
    const input = new SessionInput(connection, this.#deps.workQueue, chunk => this.#split(chunk))
    this.#input = input
    this.#splitter = new MessageSplitter()
    this.#negotiated = undefined
    this.#opens = {}
    this.#openSentAtMs = undefined
    this.#cause = { how: 'closed' }
    const nowMs = this.#deps.clock.monotonicMs()
    Object.assign(this.counts, { in: 0, out: 0, updatesIn: 0, inAtMs: nowMs, outAtMs: nowMs })
    connection.handlers = {
      data: chunk => {
        if (this.#connection === connection) input.add(chunk)
      },
      drain: () => {
        this.#blockedSinceMs = undefined
        this.#cancelSendHold()
        this.#owner.writable(this)
      },
      closed: error => {
        // read what the peer sent before it closed: it may be a NOTIFICATION
        while (this.#connection === connection && input.next());
        if (this.#connection !== connection) return
        const message = error?.message ?? 'the peer closed the connection'
        this.#fail({ how: 'connection-lost', code: error?.code, message })
        this.event({ type: 'disconnected' })
      },
    }
  }

  #drop(): void {
    this.#dialing?.abort()
    this.#dialing = undefined
    this.#splitter?.stop()
    this.#splitter = undefined
    this.#input?.close()
    this.#input = undefined
    this.#blockedSinceMs = undefined
    this.#cancelSendHold()
    const connection = this.#connection
    this.#connection = undefined
    connection?.close()
  }

  #notify(error: ProtocolError): void {
    const notification: Notification = { code: error.code, subcode: error.subcode, data: error.data }
    this.write(
      message(w => emitNotification(w, notification)),
      1,
    )
    this.#fail({ how: 'sent', notification, detail: error.message })
  }

  #fail(cause: SessionEnd): void {
    this.#cause = cause
    this.#owner.failed(this, cause)
  }

  #split(chunk: Uint8Array): void {
    this.counts.inAtMs = this.#deps.clock.monotonicMs()
    const error = this.#splitter?.push(chunk, (type, bytes, start, end) => this.#message(type, bytes, start, end))
    if (error !== undefined) this.event({ type: 'fault', error })
  }

  #message(type: number, bytes: Uint8Array, start: number, end: number): void {
    this.counts.in++
    switch (type) {
      case MESSAGE.open:
        this.#opens.received = bytes.slice(start - HEADER, end)
        this.#open(bytes, start, end)
        break
      case MESSAGE.keepalive:
        this.event({ type: 'keepalive' })
        break
      case MESSAGE.notification:
        this.#fail({ how: 'received', notification: parseNotification(bytes, start, end) })
        this.event({ type: 'notification' })
        break
      default:
        if (type === MESSAGE.update) this.counts.updatesIn++
        this.event({ type: 'update', message: { type, bytes, start, end } })
    }
  }

  #open(bytes: Uint8Array, start: number, end: number): void {
    const { phase, delaying } = this.#state
    const connection = this.#connection
    const expected = phase === 'OpenSent' || ((phase === 'Connect' || phase === 'Active') && delaying)
    const open = expected ? parseOpen(bytes, start, end) : undefined
    if (open === undefined) this.event({ type: 'open', holdSeconds: 0, keepaliveSeconds: 0 })
    else {
      const verdict = open instanceof ProtocolError ? open : this.#owner.opened(this, open)
      // this connection may have lost a collision
      if (this.#connection !== connection) return
      if (verdict instanceof ProtocolError) this.event({ type: 'fault', error: verdict })
      else {
        this.#negotiated = verdict
        if (this.#splitter !== undefined) this.#splitter.extended = verdict.receive.extendedMessage
        this.event({ type: 'open', holdSeconds: verdict.holdSeconds, keepaliveSeconds: verdict.keepaliveSeconds })
      }
    }
  }

  #deliver({ type, bytes, start, end }: ReceivedMessage): void {
    if (type === MESSAGE.update) {
      const error = this.#owner.update(this, bytes, start, end)
      if (error !== undefined) this.event({ type: 'fault', error })
      return
    }
    const refresh = parseRouteRefresh(bytes, start, end)
    if (refresh instanceof ProtocolError) this.event({ type: 'fault', error: refresh })
    else this.#owner.refresh(this, refresh)
  }
}

const FSM_SUBCODES = {
  OpenSent: FSM_ERROR.openSent,
  OpenConfirm: FSM_ERROR.openConfirm,
  Established: FSM_ERROR.established,
} as const

function message(emit: (w: Writer) => void): Uint8Array {
  const w = new Writer(MAX_MESSAGE)
  emit(w)
  // a copy of the right size, since it may stay in a socket's queue
  return w.done().slice()
}
