// One BFD session at work: its state machine with a clock, a socket to send with, its authentication and its counters.
import { isDeepStrictEqual } from 'node:util'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { type Authentication, authenticationFault, emitSigned } from './authentication.ts'
import { type BfdChange, type BfdSessionConfig, type BfdSessionStatus, type DropReason, rulesOf } from './config.ts'
import type { ControlPacket } from './packet.ts'
import type { BfdSender } from './port.ts'
import { type FsmState, initialState } from './state.ts'
import { type FsmAction, type FsmEvent, step } from './step.ts'
import { detectionDueMs, detectionTimeMs, nextDueMs, remoteDetectionTimeMs, transmitIntervalMs } from './timers.ts'

/** The neighbour reads the same change later, or earlier: from the same object at the API server, by hand, or from a file. */
const SIGNS_MS = 10_000

export type SessionDeps = {
  clock: Clock
  /** A whole number of 0-4294967295, each as likely as any other and foreseen by nobody. */
  random32: () => number
  /** Opens a socket to send with. Throws the kernel's error. */
  sender: () => BfdSender
  /** Delivers the packets that wait in sockets. */
  drain: () => void
  changed: (change: BfdChange) => void
}

export class Session {
  readonly name: string
  readonly #deps: SessionDeps
  #config: BfdSessionConfig
  #state: FsmState
  #timer: { wakesMs: number; cancel: Cancel } | undefined
  #sender: BfdSender | undefined
  #fault: string | undefined
  /** bfd.XmitAuthSeq: grows with every packet, as Keyed SHA1 may and Meticulous Keyed SHA1 must. */
  #sequence: number
  /** bfd.RcvAuthSeq, and when it came. */
  #heard: { sequence: number; atMs: number } | undefined
  /** What the neighbour knows until it has the new keys, too. */
  #former: { authentication: Authentication; atMs: number } | undefined
  #sent = 0
  #received = 0
  #ups = 0
  #losses = 0
  /** The neighbour's discriminator when the session came Up. */
  #upWith = 0
  readonly #dropped: Partial<Record<DropReason, number>> = {}

  constructor(name: string, config: BfdSessionConfig, discriminator: number, deps: SessionDeps) {
    this.name = name
    this.#config = config
    this.#deps = deps
    this.#state = initialState(rulesOf(config), discriminator)
    this.#sequence = deps.random32()
  }

  get config(): BfdSessionConfig {
    return this.#config
  }

  get discriminator(): number {
    return this.#state.discriminator
  }

  /** Sends the first packet, where the session is not passive. */
  start(): void {
    this.#do({ type: 'due' })
  }

  /**
   * Other intervals, keys or TTL for the same path. The session stays as it is: it signs with the former keys for `SIGNS_MS` more and
   * takes them as long again, so that it lives where the neighbour changes its own within that time.
   */
  configure(config: BfdSessionConfig): void {
    const { authentication } = this.#config
    if (authentication !== undefined && !isDeepStrictEqual(authentication, config.authentication))
      this.#former = { authentication, atMs: this.#deps.clock.monotonicMs() }
    // the numbers of one type of authentication say nothing about those of another
    if (config.authentication?.type !== this.#config.authentication?.type) this.#heard = undefined
    this.#config = config
    this.#do({ type: 'configure', rules: rulesOf(config) })
  }

  disable(): void {
    this.#do({ type: 'disable' })
  }

  enable(): void {
    this.#do({ type: 'enable' })
  }

  /** How long the neighbour is to hear that the session ends; 0: there is none that knows of it. */
  get lingerMs(): number {
    return this.#state.remote.discriminator === 0 ? 0 : remoteDetectionTimeMs(this.#state)
  }

  /** A packet for this session; `bytes` are what it was parsed from. One that is not authentic is counted and dropped. */
  receive(packet: ControlPacket, bytes: Uint8Array): void {
    const sequence = this.#lastSequence()
    let fault = authenticationFault(packet, bytes, this.#config.authentication, sequence)
    const former = this.#formerKeys(2 * SIGNS_MS)
    if (fault !== undefined && former !== undefined) fault = authenticationFault(packet, bytes, former, sequence)
    if (fault !== undefined) {
      this.drop(fault)
      return
    }
    if (packet.authentication !== undefined)
      this.#heard = { sequence: packet.authentication.sequence, atMs: this.#deps.clock.monotonicMs() }
    this.#received++
    this.#do({ type: 'packet', packet })
  }

  /** Counts a packet for this session that was dropped. */
  drop(reason: DropReason): void {
    this.#dropped[reason] = (this.#dropped[reason] ?? 0) + 1
  }

  /** Ends it without a word. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#sender?.close()
    this.#sender = undefined
  }

  status(): BfdSessionStatus {
    const state = this.#state
    return {
      name: this.name,
      state: state.phase,
      diagnostic: state.diagnostic,
      discriminator: state.discriminator,
      remote: remoteStatus(state),
      transmitIntervalMs: transmitIntervalMs(state),
      detectionTimeMs: detectionTimeMs(state),
      sent: this.#sent,
      received: this.#received,
      dropped: { ...this.#dropped },
      ups: this.#ups,
      losses: this.#losses,
      fault: this.#fault,
    }
  }

  /** Known for twice the detection time (RFC 5880 §6.8.1): a neighbour that restarted has another. */
  #lastSequence(): number | undefined {
    if (this.#heard === undefined) return undefined
    const { sequence, atMs } = this.#heard
    return this.#deps.clock.monotonicMs() - atMs < 2 * detectionTimeMs(this.#state) ? sequence : undefined
  }

  /** Those before the last change, where that is less than `ms` ago. */
  #formerKeys(ms: number): Authentication | undefined {
    if (this.#former === undefined) return undefined
    const { authentication, atMs } = this.#former
    return this.#deps.clock.monotonicMs() - atMs < ms ? authentication : undefined
  }

  #wake(): void {
    this.#timer = undefined
    const dueMs = detectionDueMs(this.#state)
    // after this thread had to wait for a processor, packets may wait in the socket: they are heard before the neighbour is given up
    if (dueMs !== undefined && dueMs <= this.#deps.clock.monotonicMs()) this.#deps.drain()
    this.#do({ type: 'due' })
  }

  #do(event: FsmEvent): void {
    const moment = { nowMs: this.#deps.clock.monotonicMs(), chance: this.#deps.random32() / 2 ** 32 }
    const [state, ...actions] = step(this.#state, event, moment)
    this.#state = state
    for (const action of actions) this.#perform(action)
    this.#sleep()
  }

  #perform(action: FsmAction): void {
    if (action.do === 'send') {
      this.#send(action.packet)
      return
    }
    const { from, to } = action
    const { remote } = this.#state
    if (to === 'Up') {
      this.#ups++
      this.#upWith = remote.discriminator
    }
    if (from === 'Up' && to === 'Down') this.#losses++
    const { diagnostic } = this.#state
    this.#deps.changed({
      ...{ name: this.name, from, to, diagnostic, remote: remoteStatus(this.#state) },
      // 0: it was given up
      neighborRestarted: from === 'Up' && remote.discriminator !== 0 && remote.discriminator !== this.#upWith,
      detectionTimeMs: detectionTimeMs(this.#state),
      atMs: this.#deps.clock.wallMs(),
    })
  }

  /** A packet that cannot be sent is lost; the socket is opened again for the next one. */
  #send(packet: ControlPacket): void {
    this.#sequence = (this.#sequence + 1) >>> 0
    const bytes = emitSigned(packet, this.#formerKeys(SIGNS_MS) ?? this.#config.authentication, this.#sequence)
    try {
      this.#sender ??= this.#deps.sender()
      this.#sender.send(bytes)
      this.#sent++
      this.#fault = undefined
    } catch (error) {
      if (!(error instanceof Error && 'code' in error)) throw error
      this.#fault = error.message
      this.#sender?.close()
      this.#sender = undefined
    }
  }

  /** Sets the timer for what is due next. One that wakes earlier is left: packets move their deadline all the time. */
  #sleep(): void {
    const dueMs = nextDueMs(this.#state)
    if (dueMs !== undefined && this.#timer !== undefined && this.#timer.wakesMs <= dueMs) return
    this.#timer?.cancel()
    this.#timer = undefined
    if (dueMs === undefined) return
    const delayMs = Math.max(0, dueMs - this.#deps.clock.monotonicMs())
    this.#timer = { wakesMs: dueMs, cancel: this.#deps.clock.after(delayMs, () => this.#wake()) }
  }
}

function remoteStatus({ remote }: FsmState): BfdSessionStatus['remote'] {
  const { state, diagnostic, discriminator, controlPlaneIndependent, demand } = remote
  return { state, diagnostic, discriminator, controlPlaneIndependent, demand }
}
