// One watch: what there is (or what changed since a version), then every change as it is committed, as lines of JSON.
// A client that reads too slowly is disconnected, so that the server's memory does not grow; it can list and watch again.
import type { ServerResponse } from 'node:http'
import { emitJson } from '../api/json.ts'
import { apiVersion, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Selection } from './selection.ts'
import { expired, failureStatus } from './status.ts'
import type { Storage, StoredChange } from './storage.ts'
import type { Stored } from './stored.ts'
import { type TableOptions, tableOf } from './tables.ts'

export type WatchRequest = {
  kind: Kind
  namespace?: string
  selection: Selection
  /** Changes after this version; absent or 0: all there is first. */
  since?: number
  /** The client asked for the state first and a bookmark after it (a streaming list). */
  initialEvents: boolean
  bookmarks: boolean
  timeoutMs: number
  table?: Omit<TableOptions, 'withColumns' | 'nowMs'>
}

export type WatchLimits = { bookmarkMs: number; bufferBytes: number }

type Deps = { storage: Storage; clock: Clock; limits: WatchLimits }
type EventType = StoredChange['type'] | 'BOOKMARK' | 'ERROR'

/** The lines of one change, one for each type of event, each encoded when the first watch needs it. */
export class EventLines {
  readonly #text: string
  readonly #lines = new Map<EventType, Buffer>()

  constructor({ text }: Stored) {
    this.#text = text
  }

  of(type: EventType): Buffer {
    const known = this.#lines.get(type)
    if (known !== undefined) return known
    const line = Buffer.from(lineOf(type, this.#text))
    this.#lines.set(type, line)
    return line
  }
}

function lineOf(type: EventType, object: string): string {
  return `{"type":"${type}","object":${object}}\n`
}

/** One client's watch. Made inside `Storage.read`; from then on `change` must be called with every change of the kind. */
export class WatchStream {
  readonly #request: WatchRequest
  readonly #response: ServerResponse
  readonly #deps: Deps
  readonly #cancels: Cancel[] = []
  #columnsSent = false
  #allowance: number
  #closed = false

  constructor(request: WatchRequest, response: ServerResponse, deps: Deps) {
    this.#request = request
    this.#response = response
    this.#deps = deps
    this.#allowance = deps.limits.bufferBytes
    this.#start()
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Ends the stream in order. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const cancel of this.#cancels) cancel()
    this.#response.end()
  }

  /** A committed change of the kind; `lines` are shared with the other watches. */
  change({ before, after, type }: StoredChange, lines: EventLines): void {
    const { selection, namespace } = this.#request
    if (namespace !== undefined && after.metadata.namespace !== namespace) return
    const was = before !== undefined && selection(before)
    const is = type !== 'DELETED' && selection(after)
    if (is) this.#sendStored(was ? 'MODIFIED' : 'ADDED', after, lines)
    else if (was) this.#sendStored('DELETED', after, lines)
  }

  #start(): void {
    const { storage, clock } = this.#deps
    const { since = 0, kind, namespace, selection, initialEvents, timeoutMs } = this.#request
    this.#response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' })
    this.#response.flushHeaders()
    const past = since === 0 || initialEvents ? undefined : storage.since(since)
    if (since !== 0 && !initialEvents && past === undefined) {
      this.#send(lineOf('ERROR', emitJson(failureStatus(expired()))))
      this.close()
      return
    }
    for (const change of past ?? []) if (change.kind === kind) this.change(change, new EventLines(change.after))
    if (past === undefined)
      for (const stored of storage.list(kind, namespace))
        if (selection(stored)) this.#sendStored('ADDED', stored, new EventLines(stored))
    if (initialEvents) this.#bookmark({ 'k8s.io/initial-events-end': 'true' })
    // the state sent at the start does not count towards the limit
    this.#allowance += this.#response.writableLength
    this.#cancels.push(clock.after(timeoutMs, () => this.close()))
    if (this.#request.bookmarks) this.#bookmarkLater()
  }

  #sendStored(type: EventType, stored: Stored, lines: EventLines): void {
    const { table, kind } = this.#request
    if (table === undefined) {
      this.#send(lines.of(type))
      return
    }
    const options = { ...table, withColumns: !this.#columnsSent, nowMs: this.#deps.clock.wallMs() }
    this.#columnsSent = true
    const { resourceVersion } = stored.metadata
    this.#send(lineOf(type, emitJson(tableOf(kind, [stored.read()], { resourceVersion }, options))))
  }

  #bookmarkLater(): void {
    const cancel = this.#deps.clock.after(this.#deps.limits.bookmarkMs, () => {
      this.#cancels.splice(this.#cancels.indexOf(cancel), 1)
      this.#bookmark()
      if (!this.#closed) this.#bookmarkLater()
    })
    this.#cancels.push(cancel)
  }

  #bookmark(annotations?: Record<string, string>): void {
    const { kind, table } = this.#request
    const metadata = { resourceVersion: String(this.#deps.storage.version), creationTimestamp: null, annotations }
    const object = { kind, apiVersion: apiVersion(kinds[kind]), metadata } as unknown as AnyObject
    if (table === undefined) this.#send(lineOf('BOOKMARK', emitJson(object)))
  }

  #send(line: string | Buffer): void {
    if (this.#closed) return
    this.#response.write(line)
    if (this.#response.writableLength <= this.#allowance) return
    this.#closed = true
    for (const cancel of this.#cancels) cancel()
    this.#response.destroy()
  }
}
