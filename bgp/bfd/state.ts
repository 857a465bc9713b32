// What a BFD session is at one moment: the state variables of RFC 5880 §6.8.1 as a value. Deadlines are no part of it: they
// follow from it (`timers.ts`), so a value that changes moves its deadline by itself.
import type { BfdState, ControlPacket, Diagnostic } from './packet.ts'

/** Intervals in microseconds. */
export type Intervals = { readonly desiredMinTxUs: number; readonly requiredMinRxUs: number }

/** What is configured. */
export type BfdRules = Intervals & {
  /** Packets that have to be missed in a row until the neighbour takes us for gone, 1-255. */
  readonly multiplier: number
  /** Sends nothing before the neighbour does (RFC 5880 §6.1). */
  readonly passive: boolean
}

/** What the neighbour's last packet said. */
export type Remote = {
  readonly state: BfdState
  readonly diagnostic: Diagnostic
  /** bfd.RemoteDiscr; 0: not known, or not heard of for a detection time. */
  readonly discriminator: number
  readonly demand: boolean
  /** Its BFD goes on without its control plane (the C bit). */
  readonly controlPlaneIndependent: boolean
  readonly multiplier: number
  readonly desiredMinTxUs: number
  readonly requiredMinRxUs: number
}

export type FsmState = {
  /** bfd.SessionState. */
  readonly phase: BfdState
  /** bfd.LocalDiag. */
  readonly diagnostic: Diagnostic
  readonly rules: BfdRules
  /** bfd.LocalDiscr. */
  readonly discriminator: number
  readonly remote: Remote
  /** What packets say: bfd.DesiredMinTxInterval and bfd.RequiredMinRxInterval. */
  readonly announced: Intervals
  /** What the neighbour is known to have heard. */
  readonly confirmed: Intervals
  /** `ended`: the Final is there; another Poll Sequence begins only after a packet without one (RFC 5880 §6.8.3). */
  readonly poll: 'none' | 'active' | 'ended'
  /** The last packet sent, without its P and F bits. */
  readonly sent?: ControlPacket
  /** When the last periodic packet went out; undefined: none yet. */
  readonly sentAtMs?: number
  /** The part of the interval that passes before the next one, drawn anew for each. */
  readonly jitter: number
  /** When the last packet that was not discarded came; undefined: none for a detection time. */
  readonly receivedAtMs?: number
}

/** The least that bfd.DesiredMinTxInterval is while a session is not Up (RFC 5880 §6.8.3). */
const SLOW_US = 1_000_000

/** A session before anything was sent or received. */
export function initialState(rules: BfdRules, discriminator: number): FsmState {
  const announced = wantedIntervals('Down', rules)
  return {
    phase: 'Down',
    diagnostic: 'none',
    rules,
    discriminator,
    remote: {
      state: 'Down',
      diagnostic: 'none',
      discriminator: 0,
      demand: false,
      controlPlaneIndependent: false,
      multiplier: 1,
      desiredMinTxUs: SLOW_US,
      requiredMinRxUs: 1,
    },
    announced,
    confirmed: announced,
    poll: 'none',
    jitter: 1,
  }
}

/** What a session would like to announce in a phase. */
export function wantedIntervals(phase: BfdState, { desiredMinTxUs, requiredMinRxUs }: BfdRules): Intervals {
  return { desiredMinTxUs: phase === 'Up' ? desiredMinTxUs : Math.max(SLOW_US, desiredMinTxUs), requiredMinRxUs }
}
