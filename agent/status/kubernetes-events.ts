// Writes Events about this node's Node object (core/v1). One object for each reason: what happens again raises its count. A few
// writes a minute whatever happens, few that wait, none that is tried for ever: an Event that is lost costs nothing but itself,
// since conditions and the agent's own events have the same. Hazard: thousands of nodes see the same outage in the same second.
import { NODE_EVENTS, type NodeEventReason } from '../../api/node-events.ts'
import {
  type AnyWrite,
  isStoreError,
  NotFound,
  type Store,
  type StoreError,
  Unreachable,
} from '../../datastore/port.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
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
  /** The object that was written last for each reason. */
  readonly #written = new Map<NodeEventReason, { name: string; uid: string; count: number }>()
  #made = 0
  #writesMs: number[] = []
  #timer: Cancel | undefined
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
    this.#timer?.()
  }

  #wait(delayMs: number): void {
    if (this.#closed || this.#writing || this.#timer !== undefined) return
    this.#timer = this.#deps.clock.after(delayMs, () => {
      this.#timer = undefined
      void this.#writeAll()
    })
  }

  async #writeAll(): Promise<void> {
    this.#writing = true
    let pauseMs: number | undefined
    for (const [reason, waiting] of this.#waiting) {
      pauseMs = this.#untilMayWriteMs()
      if (pauseMs > 0 || this.#closed) break
      this.#waiting.delete(reason)
      const failure = await this.#write(reason, waiting)
      if (failure === undefined) continue
      pauseMs = this.#failed(failure, reason, waiting)
      break
    }
    this.#writing = false
    if (this.#waiting.size > 0) this.#wait(Math.max(pauseMs ?? 0, LEAST_COLLECT_MS))
  }

  /** How long nothing is to be written now. */
  #failed(failure: StoreError, reason: NodeEventReason, waiting: Waiting): number {
    const { log } = this.#deps
    if (failure instanceof Unreachable) {
      const isLast = waiting.tries + 1 >= MOST_TRIES
      if (!isLast && !this.#waiting.has(reason)) this.#waiting.set(reason, { ...waiting, tries: waiting.tries + 1 })
      log.debug({ err: failure, reason, lost: isLast }, 'an Event could not be written')
      return MINUTE_MS
    }
    this.#waiting.clear()
    log.info({ err: failure, reason }, 'Events cannot be written; conditions and margayctl events tell the same')
    // for so long nothing is written, whatever happens
    this.#writesMs = Array.from({ length: MOST_WRITES }, () => this.#deps.clock.monotonicMs() + PAUSE_MS - MINUTE_MS)
    return PAUSE_MS
  }

  #untilMayWriteMs(): number {
    const nowMs = this.#deps.clock.monotonicMs()
    this.#writesMs = this.#writesMs.filter(atMs => nowMs - atMs < MINUTE_MS)
    return this.#writesMs.length < MOST_WRITES ? 0 : this.#writesMs[0]! + MINUTE_MS - nowMs
  }

  /** Raises the count of the Event of this reason, or makes one. */
  async #write(reason: NodeEventReason, waiting: Waiting): Promise<StoreError | undefined> {
    const uid = this.#deps.nodeUid()
    if (uid === undefined) return undefined
    const known = this.#written.get(reason)
    if (known?.uid === uid) {
      const count = known.count + waiting.count
      const { message, lastMs } = waiting
      const metadata = { name: known.name, namespace: NAMESPACE }
      const failure = await this.#send({ metadata, message, count, lastTimestamp: timeOf(lastMs) }, { patch: true })
      if (failure === undefined) this.#written.set(reason, { ...known, count })
      // the server forgets Events after an hour
      if (!(failure instanceof NotFound)) return failure
    }
    const event = this.#event(reason, waiting, uid)
    const failure = await this.#send(event)
    if (failure === undefined) this.#written.set(reason, { name: event.metadata.name, uid, count: waiting.count })
    else this.#written.delete(reason)
    return failure
  }

  async #send(object: AnyWrite, options?: { patch: true }): Promise<StoreError | undefined> {
    this.#writesMs.push(this.#deps.clock.monotonicMs())
    try {
      await this.#deps.store.writeAny(KIND, object, options)
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
      ...{ firstTimestamp: timeOf(firstMs), lastTimestamp: timeOf(lastMs) },
      source: { component: COMPONENT, host: nodeName },
      ...{ reportingComponent: COMPONENT, reportingInstance: nodeName },
    }
  }
}

/** RFC 3339 with whole seconds, as Kubernetes writes it. */
function timeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}
