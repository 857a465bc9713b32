// BFD of a program that may need none: its thread starts with the first session. Hazard: where the kernel gives that thread no
// priority, a busy machine delays it for longer than a short detection time, and a good path is taken for a lost one.
import { broken, type Condition } from '../api/status.ts'
import { type BfdChange, type BfdSessionConfig, type BfdStatus, configFault } from '../bgp/bfd/config.ts'
import { BfdError } from '../bgp/bfd/error.ts'
import type { BfdThread } from '../bgp/bfd/thread.ts'
import type { BfdPort } from '../bgp/port.ts'

/** The least interval of a thread without priority. */
const LEAST_USUAL_MS = 300

type Thread = Pick<BfdThread, 'setSession' | 'removeSession' | 'onChange' | 'status' | 'close'>

export class BfdOnDemand implements BfdPort {
  readonly #start: () => Thread
  readonly #asked = new Map<string, BfdSessionConfig>()
  readonly #listeners = new Set<(change: BfdChange) => void>()
  #thread: Thread | undefined
  /** Of the thread; undefined until it has said so. */
  #scheduling: BfdStatus['scheduling'] | undefined

  constructor(start: () => Thread) {
    this.#start = start
  }

  /** As `BfdThread` has it; without priority an interval below 300 ms is one of 300 ms. */
  setSession(name: string, config: BfdSessionConfig): void {
    const fault = configFault(config)
    if (fault !== undefined) throw new BfdError('bad-session', fault)
    this.#thread ??= this.#open()
    this.#thread.setSession(name, this.#held(config))
    this.#asked.set(name, config)
  }

  removeSession(name: string): void {
    if (this.#asked.delete(name)) this.#thread?.removeSession(name)
  }

  onChange(listener: (change: BfdChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** All sessions with their counters. */
  async status(): Promise<BfdStatus> {
    return (await this.#thread?.status()) ?? { scheduling: 'usual', sessions: [], dropped: {} }
  }

  /** Why sessions may be lost while their paths are good. */
  condition(): Condition | undefined {
    if (this.#scheduling !== 'usual' || this.#asked.size === 0) return undefined
    const slowed = [...this.#asked.values()].filter(config => this.#held(config) !== config).length
    return broken('BfdOnTime', {
      reason: 'NoPriority',
      message:
        'the thread of BFD has no priority, so that a busy machine delays it and good paths may be taken for lost ones' +
        (slowed === 0
          ? ''
          : `; ${slowed} sessions that ask for less than ${LEAST_USUAL_MS} ms have ${LEAST_USUAL_MS} ms`),
      remedy: 'give this program CAP_SYS_NICE (SYS_NICE among the capabilities of its container)',
    })
  }

  /** Tells every neighbour that its session ends on purpose. Resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#asked.clear()
    await this.#thread?.close()
  }

  #open(): Thread {
    const thread = this.#start()
    thread.onChange(change => {
      for (const listener of this.#listeners) listener(change)
    })
    thread.status().then(
      ({ scheduling }) => {
        this.#scheduling = scheduling
        for (const [name, config] of this.#asked) thread.setSession(name, this.#held(config))
      },
      (error: unknown) => {
        if (!(error instanceof BfdError)) throw error // else it was closed before it had begun
      },
    )
    return thread
  }

  /** What a session has of what it asks for. */
  #held(config: BfdSessionConfig): BfdSessionConfig {
    const { desiredMinTxMs = LEAST_USUAL_MS, requiredMinRxMs = LEAST_USUAL_MS } = config
    const isSlow = desiredMinTxMs >= LEAST_USUAL_MS && requiredMinRxMs >= LEAST_USUAL_MS
    if (isSlow || (this.#scheduling !== undefined && this.#scheduling !== 'usual')) return config
    return {
      ...config,
      desiredMinTxMs: Math.max(LEAST_USUAL_MS, desiredMinTxMs),
      requiredMinRxMs: Math.max(LEAST_USUAL_MS, requiredMinRxMs),
    }
  }
}
