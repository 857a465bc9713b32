// The BGP finite state machine of one connection, RFC 4271 §8.2.2, as a pure function: `session.ts` has the socket and the
// timers and performs the actions in order. A peer has two of these, one that dials and one that waits (§8.2.1); the event
// `dump` tells the one that lost a collision.
// Three differences from the RFC's text, the same as in other daemons: after a failed dial the machine waits in Active for
// ConnectRetryTimer; a waiting machine never dials; IdleHoldTime begins after a fault, not after a connection that ended.
import type { ProtocolError } from '../wire/errors.ts'

/** The states of §8.2.2. */
export type BgpState = 'Idle' | 'Connect' | 'Active' | 'OpenSent' | 'OpenConfirm' | 'Established'
export type FsmTimer = 'connectRetry' | 'hold' | 'keepalive' | 'delayOpen' | 'idleHold' | 'stable'

/** The session attributes of §8.1.1 that are configuration; seconds. */
export type FsmRules = {
  /** Never dials: PassiveTcpEstablishment, and the half of a peer that takes incoming connections. */
  passive: boolean
  connectRetrySeconds: number
  /** The first IdleHoldTime; doubles per fault up to `mostIdleHoldSeconds`. */
  idleHoldSeconds: number
  mostIdleHoldSeconds: number
  /** 0: the OPEN is sent at once. */
  delayOpenSeconds: number
  /** Hold time until the peer's OPEN is there (§8.2.2 suggests four minutes). */
  openHoldSeconds: number
}

export type FsmState = {
  readonly phase: BgpState
  readonly rules: FsmRules
  /** ConnectRetryCounter: faults since the last manual start or the last session that stayed up. */
  readonly failures: number
  /** DelayOpenTimer runs: the TCP connection is there and our OPEN is not yet sent. */
  readonly delaying: boolean
  /** IdleHoldTimer runs (Idle only). */
  readonly held: boolean
  readonly keepaliveSeconds: number
  readonly holdSeconds: number
}

/** A message body, `bytes[start..end)`, valid only while the event is handled; `type` as in `MESSAGE`. */
export type ReceivedMessage = { type: number; bytes: Uint8Array; start: number; end: number }

/** The events of §8.1 by what they mean to the machine; numbers in brackets are the RFC's. */
export type FsmEvent =
  /** [1, 3-7] A manual start forgets earlier faults and does not wait for IdleHoldTimer. */
  | { type: 'start'; manual: boolean }
  /** [2, 8] Ends until the next `start`; `error` (a Cease) is sent when our OPEN was sent before. */
  | { type: 'stop'; error?: ProtocolError }
  /** [9-13] and the end of the time after which a session counts as stable. */
  | { type: 'timer'; timer: FsmTimer }
  /** [16, 17] */
  | { type: 'connected' }
  /** [18] The connection ended or could not be made. */
  | { type: 'disconnected' }
  /** [19, 20] An acceptable OPEN, with the hold and keepalive times that follow from both OPENs. */
  | { type: 'open'; holdSeconds: number; keepaliveSeconds: number }
  /** [21, 22, 28] What arrived ends the session with this error. */
  | { type: 'fault'; error: ProtocolError }
  /** [23] Another connection of the same peer was chosen. */
  | { type: 'dump'; error?: ProtocolError }
  /** [24, 25] */
  | { type: 'notification' }
  /** [26] */
  | { type: 'keepalive' }
  /** [27] An UPDATE or ROUTE-REFRESH whose framing was right. */
  | { type: 'update'; message: ReceivedMessage }

export type FsmAction =
  | { do: 'dial' }
  | { do: 'drop' }
  | { do: 'send'; message: 'open' | 'keepalive' }
  | { do: 'notify'; error: ProtocolError }
  /** The message is not allowed in this state: NOTIFICATION 5 with the subcode of RFC 6608. */
  | { do: 'notify-fsm-error'; phase: 'OpenSent' | 'OpenConfirm' | 'Established' }
  /** NOTIFICATION 4. */
  | { do: 'notify-hold-expired' }
  | { do: 'arm'; timer: FsmTimer; seconds: number }
  | { do: 'disarm'; timer: FsmTimer }
  | { do: 'established' }
  | { do: 'deliver'; message: ReceivedMessage }
  | { do: 'ended' }

export type FsmStep = readonly [FsmState, ...FsmAction[]]

/** After a session was up for so long, earlier faults are forgotten. */
const STABLE_SECONDS = 60

/** The machine before its first `start`. */
export function idleState(rules: FsmRules): FsmState {
  return { phase: 'Idle', rules, failures: 0, delaying: false, held: false, keepaliveSeconds: 0, holdSeconds: 0 }
}

/** The next state and what is to be done, in order. Total: every phase has an answer to every event. */
export function step(state: FsmState, event: FsmEvent): FsmStep {
  return phases[state.phase](state, event)
}

const phases: Record<BgpState, (state: FsmState, event: FsmEvent) => FsmStep> = {
  Idle(s, e) {
    if (e.type === 'start') return s.held && !e.manual ? [s] : begin(e.manual ? { ...s, failures: 0 } : s)
    if (e.type === 'timer' && e.timer === 'idleHold') return begin(s)
    if (e.type === 'stop' || e.type === 'dump')
      return [
        { ...s, held: false, failures: e.type === 'stop' ? 0 : s.failures },
        { do: 'disarm', timer: 'idleHold' },
      ]
    if (e.type === 'connected') return [s, { do: 'drop' }]
    return [s]
  },

  Connect(s, e) {
    if (e.type === 'timer' && e.timer === 'connectRetry') {
      const retry = arm('connectRetry', s.rules.connectRetrySeconds)
      return [{ ...s, delaying: false }, { do: 'drop' }, { do: 'disarm', timer: 'delayOpen' }, retry, { do: 'dial' }]
    }
    return unopened(s, e)
  },

  Active(s, e) {
    if (e.type === 'timer' && e.timer === 'connectRetry' && !s.rules.passive) {
      const retry = arm('connectRetry', s.rules.connectRetrySeconds)
      if (!s.delaying) return [{ ...s, phase: 'Connect' }, retry, { do: 'dial' }]
      return [{ ...s, delaying: false, phase: 'Connect' }, { do: 'drop' }, retry, { do: 'dial' }]
    }
    return unopened(s, e)
  },

  OpenSent(s, e) {
    if (e.type === 'open') return confirm(s, e)
    if (e.type === 'disconnected') return retryLater(s)
    return opened(s, e, 'OpenSent')
  },

  OpenConfirm(s, e) {
    if (e.type === 'keepalive')
      return [
        { ...s, phase: 'Established' },
        ...armHold(s),
        { do: 'arm', timer: 'stable', seconds: STABLE_SECONDS },
        { do: 'established' },
      ]
    if (e.type === 'timer' && e.timer === 'keepalive') return beat(s)
    return opened(s, e, 'OpenConfirm')
  },

  Established(s, e) {
    if (e.type === 'update') {
      const deliver: FsmAction = { do: 'deliver', message: e.message }
      return s.holdSeconds === 0 ? [s, deliver] : [s, arm('hold', s.holdSeconds), deliver]
    }
    if (e.type === 'keepalive') return [s, ...armHold(s)]
    if (e.type === 'timer' && e.timer === 'keepalive') return beat(s)
    if (e.type === 'timer' && e.timer === 'stable') return [{ ...s, failures: 0 }]
    return opened(s, e, 'Established')
  },
}

/** Events in Connect and Active, except ConnectRetryTimer: our OPEN was not sent yet. */
function unopened(s: FsmState, e: FsmEvent): FsmStep {
  switch (e.type) {
    case 'start':
      return [s]
    case 'stop':
    case 'dump':
      return toIdle(s, { hold: false, forget: e.type === 'stop' })
    case 'connected': {
      const noRetry: FsmAction = { do: 'disarm', timer: 'connectRetry' }
      if (s.rules.delayOpenSeconds > 0)
        return [{ ...s, delaying: true }, noRetry, arm('delayOpen', s.rules.delayOpenSeconds)]
      return [
        { ...s, phase: 'OpenSent' },
        noRetry,
        { do: 'send', message: 'open' },
        arm('hold', s.rules.openHoldSeconds),
      ]
    }
    case 'disconnected':
      return retryLater(s)
    case 'timer':
      if (e.timer !== 'delayOpen' || !s.delaying) return [s]
      return [
        { ...s, phase: 'OpenSent', delaying: false },
        { do: 'send', message: 'open' },
        arm('hold', s.rules.openHoldSeconds),
      ]
    case 'open': {
      if (!s.delaying) return toIdle(s, { hold: true })
      const [next, ...actions] = confirm({ ...s, delaying: false }, e)
      return [next, { do: 'disarm', timer: 'delayOpen' }, { do: 'send', message: 'open' }, ...actions]
    }
    case 'fault':
      return toIdle(s, { hold: true, notify: s.delaying ? { do: 'notify', error: e.error } : undefined })
    case 'notification':
    case 'keepalive':
    case 'update':
      return toIdle(s, { hold: true })
  }
}

/** Events after our OPEN was sent, where a state has no line of its own for them. */
function opened(s: FsmState, e: FsmEvent, phase: 'OpenSent' | 'OpenConfirm' | 'Established'): FsmStep {
  switch (e.type) {
    case 'start':
      return [s]
    case 'stop':
    case 'dump': {
      const notify: FsmAction | undefined = e.error === undefined ? undefined : { do: 'notify', error: e.error }
      return toIdle(s, { hold: false, notify, forget: e.type === 'stop' })
    }
    case 'disconnected':
      return toIdle(s, { hold: !s.rules.passive })
    case 'notification':
      return toIdle(s, { hold: true })
    case 'fault':
      return toIdle(s, { hold: true, notify: { do: 'notify', error: e.error } })
    case 'timer':
      // a timer of an earlier state that fired while it was disarmed
      return e.timer === 'hold' ? toIdle(s, { hold: true, notify: { do: 'notify-hold-expired' } }) : [s]
    case 'connected':
      // not asked for: keep the connection that is there
      return [s]
    case 'open':
    case 'keepalive':
    case 'update':
      return toIdle(s, { hold: true, notify: { do: 'notify-fsm-error', phase } })
  }
}

function begin(s: FsmState): FsmStep {
  const noHold: FsmAction = { do: 'disarm', timer: 'idleHold' }
  if (s.rules.passive) return [{ ...s, phase: 'Active', held: false }, noHold]
  const retry = arm('connectRetry', s.rules.connectRetrySeconds)
  return [{ ...s, phase: 'Connect', held: false }, noHold, retry, { do: 'dial' }]
}

/** The connection is gone before the session was confirmed: wait for the next try, dialled or accepted. */
function retryLater(s: FsmState): FsmStep {
  const next: FsmState = { ...s, phase: 'Active', delaying: false }
  const actions: FsmAction[] = [{ do: 'drop' }, { do: 'disarm', timer: 'hold' }, { do: 'disarm', timer: 'delayOpen' }]
  return s.rules.passive ? [next, ...actions] : [next, ...actions, arm('connectRetry', s.rules.connectRetrySeconds)]
}

function confirm(s: FsmState, e: { holdSeconds: number; keepaliveSeconds: number }): FsmStep {
  const next: FsmState = {
    ...s,
    phase: 'OpenConfirm',
    holdSeconds: e.holdSeconds,
    keepaliveSeconds: e.keepaliveSeconds,
  }
  const timers: FsmAction[] =
    e.holdSeconds === 0 ? [{ do: 'disarm', timer: 'hold' }] : [...armHold(next), arm('keepalive', e.keepaliveSeconds)]
  return [next, { do: 'disarm', timer: 'connectRetry' }, { do: 'send', message: 'keepalive' }, ...timers]
}

function beat(s: FsmState): FsmStep {
  return [s, { do: 'send', message: 'keepalive' }, arm('keepalive', s.keepaliveSeconds)]
}

type Ending = { hold: boolean; notify?: FsmAction; forget?: boolean }

function toIdle(s: FsmState, { hold, notify, forget = false }: Ending): FsmStep {
  const holdSeconds = Math.min(s.rules.mostIdleHoldSeconds, s.rules.idleHoldSeconds * 2 ** Math.min(s.failures, 30))
  const held = hold && holdSeconds > 0
  const failures = forget ? 0 : hold ? s.failures + 1 : s.failures
  const next: FsmState = { ...idleState(s.rules), failures, held }
  const actions: FsmAction[] = []
  if (notify !== undefined) actions.push(notify)
  actions.push({ do: 'drop' })
  for (const timer of ['connectRetry', 'hold', 'keepalive', 'delayOpen', 'stable'] as const)
    actions.push({ do: 'disarm', timer })
  if (held) actions.push(arm('idleHold', holdSeconds))
  if (s.phase === 'Established') actions.push({ do: 'ended' })
  return [next, ...actions]
}

function arm(timer: FsmTimer, seconds: number): FsmAction {
  return { do: 'arm', timer, seconds }
}

/** Nothing when the negotiated hold time is zero (RFC 4271 §4.2). */
function armHold(s: FsmState): FsmAction[] {
  return s.holdSeconds === 0 ? [] : [arm('hold', s.holdSeconds)]
}
