// Writes Events about this node's Node object (core/v1), each a new object, since the right to change Events would be one on
// those of all others. What happens again within minutes is counted in the next one of its reason. There are a few writes a
// minute whatever happens, few Events wait, and none is tried for ever: one that is lost costs nothing but itself, since
// conditions and the agent's own events have the same. Hazard: thousands of nodes see the same outage in the same second.
import { NODE_EVENTS, type NodeEventReason } from '../../api/node-events.ts'
import { type AnyWrite, isStoreError, type Store, type StoreError, Unreachable } from '../../datastore/port.ts'
import { type Cancel, type Clock, formatSeconds } from '../../lib/clock.ts'
import type { Log } from '../../lib/log.ts'
import { type News, NodeNews } from './node-news.ts'

export type KubernetesEventsDeps = {
  store: Pick<Store, 'writeAny'>
  clock: Clock
  log: Log
  nodeName: string
  /** Of the Node object; undefined while there is none: then nothing is written. */
  nodeUid(): string | undefined
  random?: () => number
}

/** Kubernetes takes Events about objects without a namespace in this one. */
const NAMESPACE = 'default'
const KIND = { group: '', version: 'v1', plural: 'events', kind: 'Event' } as const
const COMPONENT = 'margay-node'
/** What happens together is told together; and not all nodes at once. */
const LEAST_COLLECT_MS = 2_000
const MOST_COLLECT_MS = 10_000
const MINUTE_MS = 60_000
/** Between two Events of one reason. */
const REST_MS = 300_000
/** Most writes in a minute, refused ones included. */
const MOST_WRITES = 5
/** Of one Event: what the server did not answer is sent once more, and then forgotten. */
const MOST_TRIES = 2
/** A server that has no Events, or lets this node write none. */
const PAUSE_MS = 600_000
/** As a server takes it. */
const LONGEST_MESSAGE = 1000

type Waiting = { message: string; count: number; firstMs: number; lastMs: number; tries: number }

export class KubernetesEvents {
  /** Decides what is told. */
  readonly news: NodeNews
  readonly #deps: KubernetesEventsDeps
  /** One for each reason at the most. */
  readonly #waiting = new Map<NodeEventReason, Waiting>()
  /** When the last Event of each reason was written, on the monotonic clock. */
  readonly #written = new Map<NodeEventReason, number>()
  #made = 0
  #writesMs: number[] = []
  /** Until then nothing is written. */
  #pausedUntilMs = 0
  #timer: { dueMs: number; cancel: Cancel } | undefined
  #writing = false
  #closed = false

  constructor(deps: KubernetesEventsDeps) {
    this.#deps = deps
    this.news = new NodeNews({ clock: deps.clock, tell: news => this.#tell(news) })
  }

  /** Takes one piece of news; it is written in a few seconds, together with others of its reason. */
  #tell({ reason, message }: News): void {
    const nowMs = this.#deps.clock.wallMs()
    const { count = 0, firstMs = nowMs } = this.#waiting.get(reason) ?? {}
    const text = message.slice(0, LONGEST_MESSAGE).toWellFormed()
    this.#waiting.delete(reason)
    this.#waiting.set(reason, { message: text, count: count + 1, firstMs, lastMs: nowMs, tries: 0 })
    const { random = Math.random } = this.#deps
    this.#wait(LEAST_COLLECT_MS + random() * (MOST_COLLECT_MS - LEAST_COLLECT_MS))
  }

  /** What waits is lost. */
  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  /** Writes after a pause, or earlier where that was wanted before. */
  #wait(delayMs: number): void {
    const { clock } = this.#deps
    const dueMs = clock.monotonicMs() + delayMs
    if (this.#closed || this.#writing || (this.#timer !== undefined && this.#timer.dueMs <= dueMs)) return
    this.#timer?.cancel()
    const cancel = clock.after(delayMs, () => {
      this.#timer = undefined
      void this.#writeAll()
    })
    this.#timer = { dueMs, cancel }
  }

  async #writeAll(): Promise<void> {
    this.#writing = true
    for (const [reason, waiting] of this.#waiting) {
      if (this.#closed || this.#pauseMs() > 0) break
      if (this.#restMs(reason) > 0) continue
      this.#waiting.delete(reason)
      const failure = await this.#write(reason, waiting)
      if (failure !== undefined) this.#failed(failure, reason, waiting)
    }
    this.#writing = false
    const rests = [...this.#waiting.keys()].map(reason => this.#restMs(reason))
    if (rests.length > 0) this.#wait(Math.max(this.#pauseMs(), Math.min(...rests), LEAST_COLLECT_MS))
  }

  #failed(failure: StoreError, reason: NodeEventReason, waiting: Waiting): void {
    const { clock, log } = this.#deps
    if (failure instanceof Unreachable) {
      const isLast = waiting.tries + 1 >= MOST_TRIES
      if (!isLast && !this.#waiting.has(reason)) this.#waiting.set(reason, { ...waiting, tries: waiting.tries + 1 })
      log.debug({ err: failure, reason, lost: isLast }, 'an Event could not be written')
      this.#pausedUntilMs = clock.monotonicMs() + MINUTE_MS
      return
    }
    this.#waiting.clear()
    log.info({ err: failure, reason }, 'Events cannot be written; conditions and margayctl events tell the same')
    this.#pausedUntilMs = clock.monotonicMs() + PAUSE_MS
  }

  /** How long nothing may be written yet. */
  #pauseMs(): number {
    const nowMs = this.#deps.clock.monotonicMs()
    this.#writesMs = this.#writesMs.filter(atMs => nowMs - atMs < MINUTE_MS)
    const fullMs = this.#writesMs.length < MOST_WRITES ? 0 : this.#writesMs[0]! + MINUTE_MS - nowMs
    return Math.max(fullMs, this.#pausedUntilMs - nowMs)
  }

  /** How long no Event of a reason is written yet. */
  #restMs(reason: NodeEventReason): number {
    const writtenMs = this.#written.get(reason)
    return writtenMs === undefined ? 0 : writtenMs + REST_MS - this.#deps.clock.monotonicMs()
  }

  async #write(reason: NodeEventReason, waiting: Waiting): Promise<StoreError | undefined> {
    const uid = this.#deps.nodeUid()
    if (uid === undefined) return undefined
    const failure = await this.#send(this.#event(reason, waiting, uid))
    if (failure === undefined) this.#written.set(reason, this.#deps.clock.monotonicMs())
    return failure
  }

  async #send(object: AnyWrite): Promise<StoreError | undefined> {
    this.#writesMs.push(this.#deps.clock.monotonicMs())
    try {
      await this.#deps.store.writeAny(KIND, object)
      return undefined
    } catch (error) {
      if (isStoreError(error)) return error
      throw error
    }
  }

  #event(reason: NodeEventReason, { message, count, firstMs, lastMs }: Waiting, uid: string) {
    const { nodeName, clock } = this.#deps
    return {
      metadata: {
        name: `${nodeName}.${Math.round(clock.wallMs()).toString(16)}.${++this.#made}`,
        namespace: NAMESPACE,
      },
      involvedObject: { apiVersion: 'v1', kind: 'Node', name: nodeName, uid },
      ...{ reason, message, type: NODE_EVENTS[reason].type, count },
      ...{ firstTimestamp: formatSeconds(firstMs), lastTimestamp: formatSeconds(lastMs) },
      source: { component: COMPONENT, host: nodeName },
      ...{ reportingComponent: COMPONENT, reportingInstance: nodeName },
    }
  }
}
