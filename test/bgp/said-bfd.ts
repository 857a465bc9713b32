// BFD that says what a test wants.
import {
  type BfdChange,
  type BfdSessionConfig,
  type BfdStatus,
  configFault,
  type Scheduling,
} from '../../bgp/bfd/config.ts'
import { BfdError } from '../../bgp/bfd/error.ts'
import type { BfdPort } from '../../bgp/port.ts'

export class SaidBfd implements BfdPort {
  readonly sessions = new Map<string, BfdSessionConfig>()
  readonly #listeners = new Set<(change: BfdChange) => void>()

  setSession(name: string, config: BfdSessionConfig): void {
    const fault = configFault(config)
    if (fault !== undefined) throw new BfdError('bad-session', fault)
    this.sessions.set(name, config)
  }

  removeSession(name: string): void {
    this.sessions.delete(name)
  }

  onChange(listener: (change: BfdChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  say(
    from: BfdChange['from'],
    to: BfdChange['to'],
    remote: Partial<BfdChange['remote']> = {},
    name = 'multi 10.0.0.1 10.0.0.2',
    { neighborRestarted = false } = {},
  ): void {
    const diagnostic = to === 'Down' ? 'detection-time-expired' : 'none'
    const said = { state: 'Up', diagnostic: 'none', discriminator: 7, controlPlaneIndependent: false, demand: false }
    const change = {
      name,
      from,
      to,
      diagnostic,
      remote: { ...said, ...remote },
      neighborRestarted,
      detectionTimeMs: 900,
    } as BfdChange
    for (const listener of this.#listeners) listener(change)
  }

  get listeners(): number {
    return this.#listeners.size
  }
}

/** A thread that says what scheduling it has once `start` is called. */
export class SaidThread extends SaidBfd {
  closed = false
  readonly #started = Promise.withResolvers<BfdStatus>()

  start(scheduling: Scheduling): Promise<unknown> {
    this.#started.resolve({ scheduling, sessions: [], dropped: {} })
    return this.#started.promise.then(() => undefined)
  }

  status(): Promise<BfdStatus> {
    return this.#started.promise
  }

  async close(): Promise<void> {
    this.closed = true
  }
}
