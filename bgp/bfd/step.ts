// The BFD state machine, RFC 5880 §6.2 and §6.8, as a pure function: `session.ts` has the clock and the socket and performs
// the actions in order. Demand mode is answered and never asked for, echo is never offered. Packets come here after their
// authentication.
// Two choices where the RFC leaves one: Poll Sequences run only while a session is Up, because before nothing waits for their
// answer; and the diagnostic of the last failure stays until the next one, as the procedure of §6.8.6 has it, so that both
// ends can still read it when the session is Up again.
import type { BfdState, ControlPacket, Diagnostic } from './packet.ts'
import { type BfdRules, type FsmState, type Intervals, wantedIntervals } from './state.ts'
import { detectionDueMs, isRemoteDemanding, jitterOf, mayTransmit, transmitDueMs } from './timers.ts'

export type FsmEvent =
  /** A packet of the neighbour that is authentic. */
  | { type: 'packet'; packet: ControlPacket }
  /** Time has passed: what is due is done. The first one begins the session. */
  | { type: 'due' }
  /** Other rules from now on. The session stays as it is (§6.8.3). */
  | { type: 'configure'; rules: BfdRules }
  /** §6.8.16. */
  | { type: 'disable' }
  | { type: 'enable' }

export type FsmAction =
  | { do: 'send'; packet: ControlPacket }
  /** The session has another state. */
  | { do: 'changed'; from: BfdState; to: BfdState }

export type FsmStep = readonly [FsmState, ...FsmAction[]]

/** When a step happens: on a clock that never goes backwards; `chance` is a number of [0, 1) drawn for this step. */
export type Moment = { nowMs: number; chance: number }

/** The next state and what is to be done, in order. Total: every phase has an answer to every event. */
export function step(state: FsmState, event: FsmEvent, moment: Moment): FsmStep {
  switch (event.type) {
    case 'packet': {
      const { packet } = event
      const next = received(state, packet, moment.nowMs)
      // a session that is AdminDown discards it after it took note of it (§6.8.6)
      return finish(state, next, moment, packet.poll && state.phase !== 'AdminDown')
    }
    case 'due':
      return finish(state, expired(state, moment.nowMs), moment)
    case 'configure':
      return finish(state, { ...state, rules: event.rules }, moment)
    case 'disable':
      return finish(state, { ...state, phase: 'AdminDown', diagnostic: 'administratively-down' }, moment)
    case 'enable':
      return finish(state, state.phase === 'AdminDown' ? { ...state, phase: 'Down' } : state, moment)
  }
}

/** The order of §6.8.6, from where the packet is known to be authentic. */
function received(state: FsmState, packet: ControlPacket, nowMs: number): FsmState {
  const next: FsmState = {
    ...state,
    receivedAtMs: nowMs,
    remote: {
      state: packet.state,
      diagnostic: packet.diagnostic,
      discriminator: packet.myDiscriminator,
      demand: packet.demand,
      controlPlaneIndependent: packet.controlPlaneIndependent,
      multiplier: packet.multiplier,
      desiredMinTxUs: packet.desiredMinTxUs,
      requiredMinRxUs: packet.requiredMinRxUs,
    },
  }
  return phases[state.phase](polled(next, packet), packet)
}

function polled(state: FsmState, { final }: ControlPacket): FsmState {
  if (final) return state.poll === 'active' ? { ...state, poll: 'ended', confirmed: state.announced } : state
  return state.poll === 'ended' ? { ...state, poll: 'none' } : state
}

/** What a packet changes in each phase. */
const phases: Record<BfdState, (state: FsmState, packet: ControlPacket) => FsmState> = {
  AdminDown: state => state,
  Down(state, { state: said }) {
    if (said === 'Down') return { ...state, phase: 'Init' }
    return said === 'Init' ? { ...state, phase: 'Up' } : state
  },
  Init(state, { state: said }) {
    if (said === 'AdminDown') return down(state, 'neighbor-signaled-down')
    return said === 'Down' ? state : { ...state, phase: 'Up' }
  },
  Up(state, { state: said }) {
    return said === 'Down' || said === 'AdminDown' ? down(state, 'neighbor-signaled-down') : state
  },
}

/** The neighbour is given up when its detection time is over (§6.8.1, §6.8.4). */
function expired(state: FsmState, nowMs: number): FsmState {
  const dueMs = detectionDueMs(state)
  if (dueMs === undefined || dueMs > nowMs) return state
  const next: FsmState = { ...state, receivedAtMs: undefined, remote: { ...state.remote, discriminator: 0 } }
  return state.phase === 'Init' || state.phase === 'Up' ? down(next, 'detection-time-expired') : next
}

function down(state: FsmState, diagnostic: Diagnostic): FsmState {
  return { ...state, phase: 'Down', diagnostic }
}

/** What follows from a new state: what is announced, a Poll Sequence, and the packets that are due. */
function finish(before: FsmState, after: FsmState, moment: Moment, asked = false): FsmStep {
  let state = announce(after)
  const actions: FsmAction[] = []
  if (before.phase !== state.phase) actions.push({ do: 'changed', from: before.phase, to: state.phase })
  const changed = !sameContents(state.sent, contentsOf(state))
  // while the neighbour demands, it has to confirm every change (§6.6)
  if (changed && state.poll === 'none' && isRemoteDemanding(state)) state = { ...state, poll: 'active' }
  if (asked) {
    const packet: ControlPacket = { ...contentsOf(state), final: true }
    // the time of the next periodic packet does not follow from answers (§6.5)
    return [{ ...state, sent: contentsOf(state) }, ...actions, { do: 'send', packet }]
  }
  const dueMs = transmitDueMs(state)
  if ((changed && mayTransmit(state)) || (dueMs !== undefined && dueMs <= moment.nowMs)) {
    const packet: ControlPacket = { ...contentsOf(state), poll: state.poll === 'active' }
    actions.push({ do: 'send', packet })
    const jitter = jitterOf(state.rules.multiplier, moment.chance)
    state = { ...state, sent: contentsOf(state), sentAtMs: moment.nowMs, jitter }
  }
  return [state, ...actions]
}

/** Brings what packets say up to date. While Up each change is confirmed by a Poll Sequence before the next (§6.8.3). */
function announce(state: FsmState): FsmState {
  const wanted = wantedIntervals(state.phase, state.rules)
  if (state.phase !== 'Up') return { ...state, announced: wanted, confirmed: wanted, poll: 'none' }
  if (state.poll !== 'none' || sameIntervals(wanted, state.announced)) return state
  return { ...state, announced: wanted, poll: 'active' }
}

/** A packet of this session without P and F (§6.8.7). */
function contentsOf({ phase, diagnostic, rules, discriminator, remote, announced }: FsmState): ControlPacket {
  return {
    state: phase,
    diagnostic,
    poll: false,
    final: false,
    controlPlaneIndependent: false,
    demand: false,
    multiplier: rules.multiplier,
    myDiscriminator: discriminator,
    yourDiscriminator: remote.discriminator,
    desiredMinTxUs: announced.desiredMinTxUs,
    requiredMinRxUs: announced.requiredMinRxUs,
  }
}

function sameContents(a: ControlPacket | undefined, b: ControlPacket): boolean {
  return (
    a !== undefined &&
    a.state === b.state &&
    a.diagnostic === b.diagnostic &&
    a.multiplier === b.multiplier &&
    a.yourDiscriminator === b.yourDiscriminator &&
    sameIntervals(a, b)
  )
}

function sameIntervals(a: Intervals, b: Intervals): boolean {
  return a.desiredMinTxUs === b.desiredMinTxUs && a.requiredMinRxUs === b.requiredMinRxUs
}
