// One watch: what there is (or what changed since a version), then every change as it is committed, as lines of JSON.
// A client that reads too slowly is disconnected, so that the server's memory does not grow; it can list and watch again.
import type { ServerResponse } from 'node:http'
import { emitJson } from '../api/json.ts'
import { apiVersion, type Kind, kindName, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Selection } from './selection.ts'
import { type Sender, sendPieces } from './send-pieces.ts'
import { metadataText, objectText, type Shown } from './shown.ts'
import { expired, failureStatus } from './status.ts'
import type { Storage, StoredChange } from './storage.ts'
import type { Stored } from './stored.ts'

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
  shown: Shown
}

export type WatchLimits = { bookmarkMs: number; bufferBytes: number }

type Deps = { storage: Storage; clock: Clock; limits: WatchLimits }
type EventType = StoredChange['type'] | 'BOOKMARK' | 'ERROR'

/** What watches share of one change: a line for each type of event and form, encoded when the first watch needs it. */
export class EventLines {
  readonly #stored: Stored
  readonly #lines = new Map<string, Buffer>()

  constructor(stored: Stored) {
    this.#stored = stored
  }

  of(type: EventType, shown: Exclude<Shown, { as: 'table' }>): Buffer {
    const form = shown.as === 'metadata' ? `${type} ${shown.version}` : type
    const known = this.#lines.get(form)
    if (known !== undefined) return known
    const { text, metadata } = this.#stored
    const line = Buffer.from(lineOf(type, shown.as === 'object' ? text : metadataText(metadata, shown.version)))
    this.#lines.set(form, line)
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
  readonly #sender: Sender
  readonly #deps: Deps
  readonly #cancels: Cancel[] = []
  /** Changes that came while what was before is sent; undefined afterwards. */
  #early: [StoredChange, EventLines][] | undefined = []
  #earlyCharacters = 0
  #columnsSent = false
  #allowance: number
  #closed = false

  constructor(request: WatchRequest, sender: Sender, deps: Deps) {
    this.#request = request
    this.#sender = sender
    this.#response = sender.response
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
  change(change: StoredChange, lines: EventLines): void {
    if (this.#early === undefined) {
      this.#send(this.#lineFor(change, lines))
      return
    }
    this.#early.push([change, lines])
    this.#earlyCharacters += change.after.text.length
    if (this.#earlyCharacters > this.#deps.limits.bufferBytes) this.#cutOff()
  }

  /** What the client is told of a change: nothing when it is about none of the objects that it watches. */
  #lineFor({ before, after, type }: StoredChange, lines?: EventLines): string | Buffer | undefined {
    const { selection, namespace } = this.#request
    if (namespace !== undefined && after.metadata.namespace !== namespace) return undefined
    const was = before !== undefined && selection(before)
    const is = type !== 'DELETED' && selection(after)
    if (is) return this.#lineOf(was ? 'MODIFIED' : 'ADDED', after, lines)
    return was ? this.#lineOf('DELETED', after, lines) : undefined
  }

  #start(): void {
    const { storage } = this.#deps
    const { since = 0, kind, namespace, initialEvents } = this.#request
    this.#response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' })
    this.#response.flushHeaders()
    const past = since === 0 || initialEvents ? undefined : storage.since(since)
    if (since !== 0 && !initialEvents && past === undefined) {
      this.#send(lineOf('ERROR', emitJson(failureStatus(expired()))))
      this.close()
      return
    }
    void this.#catchUp(this.#earlierLines(past ?? storage.list(kind, namespace)))
  }

  /** The state, or the changes since a version, as lines. */
  *#earlierLines(earlier: readonly (Stored | StoredChange)[]): Generator<string> {
    const { kind, selection } = this.#request
    for (const each of earlier)
      if ('after' in each) yield each.kind === kind ? String(this.#lineFor(each) ?? '') : ''
      else yield selection(each) ? String(this.#lineOf('ADDED', each)) : ''
  }

  /** Sends what was before, as fast as the client reads it; changes that come meanwhile follow. */
  async #catchUp(lines: Iterator<string>): Promise<void> {
    this.#cancels.push(this.#deps.clock.after(this.#request.timeoutMs, () => this.close()))
    if (!(await sendPieces(lines, this.#sender)) || this.#closed) return
    if (this.#request.initialEvents) this.#bookmark({ 'k8s.io/initial-events-end': 'true' })
    // what was sent so far does not count towards the limit
    this.#allowance += this.#response.writableLength
    const early = this.#early ?? []
    this.#early = undefined
    for (const [change, shared] of early) this.#send(this.#lineFor(change, shared))
    if (this.#request.bookmarks && !this.#closed) this.#bookmarkLater()
  }

  #lineOf(type: EventType, stored: Stored, lines?: EventLines): string | Buffer {
    const { shown, kind } = this.#request
    if (shown.as !== 'table') return lines?.of(type, shown) ?? lineOf(type, objectText(kind, stored, shown))
    const options = { ...shown, withColumns: !this.#columnsSent, nowMs: this.#deps.clock.wallMs() }
    this.#columnsSent = true
    return lineOf(type, objectText(kind, stored, options))
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
    const { kind, shown } = this.#request
    const version = String(this.#deps.storage.version)
    const metadata = {
      resourceVersion: version,
      creationTimestamp: null,
      annotations,
    } as unknown as AnyObject['metadata']
    if (shown.as === 'metadata') this.#send(lineOf('BOOKMARK', metadataText(metadata, shown.version)))
    if (shown.as === 'object')
      this.#send(lineOf('BOOKMARK', emitJson({ kind: kindName(kind), apiVersion: apiVersion(kinds[kind]), metadata })))
  }

  #send(line: string | Buffer | undefined): void {
    if (this.#closed || line === undefined) return
    this.#response.write(line)
    if (this.#response.writableLength > this.#allowance) this.#cutOff()
  }

  /** The client reads too slowly: it can list and watch again. */
  #cutOff(): void {
    this.#closed = true
    for (const cancel of this.#cancels) cancel()
    this.#response.destroy()
  }
}
