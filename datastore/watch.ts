// List and watch that goes on until it is closed. After a stream ends or breaks, the watch goes on from the last version:
// the server's history holds what happened meanwhile, deletions too. When the server no longer has that version (410)
// the whole state is listed again and handed on as `sync`. client-node's informer stops on most errors: this never does.
// Only errors of the server and the network are tried again; a fault of this program ends it. A kind that the server may be
// without is asked for more and more rarely: thousands of nodes ask.
import { StringDecoder } from 'node:string_decoder'
import { isObject } from '../api/merge-patch.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { Gone, type WatchStream } from './connection.ts'
import { parseFields } from './parse-fields.ts'
import { type Fields, isStoreError, NotFound, Unreachable, type Watch } from './port.ts'

/** What a watch needs of a server. Its methods reject with errors of the port, or with Gone. */
export type WatchSource<T> = {
  /** The fields of an event's object that `read` needs; the others may be left out of it. */
  fields: Fields
  /** Whether a server may be without the kind: then one that is not served is asked for as rarely as every ten minutes. */
  mayBeAbsent?: boolean
  list(): Promise<{ items: T[]; resourceVersion: string }>
  /** Opens the stream of events after a version. */
  open(resourceVersion: string): Promise<WatchStream>
  /** What an event's object tells; undefined for nothing: it is invalid, is not selected, or was known before. */
  read(object: unknown, type: 'set' | 'gone'): { type: 'set' | 'gone'; item: T } | undefined
}

/** `WatchHandlers` of the port, for any item. */
type Handlers<T> = {
  event(event: { type: 'sync'; items: T[]; resourceVersion: string } | { type: 'set' | 'gone'; item: T }): void
  version?(resourceVersion: string): void
  connection?(state: { connected: boolean; cause?: Error }): void
}

export type WatchTiming = {
  clock: Clock
  /** A stream without data for so long is treated as broken and opened again. Above the server's interval of bookmarks. Default 150 s. */
  idleMs?: number
  random?: () => number
}

/** Kubernetes sends a bookmark about once a minute (defaultBookmarkFrequency): two may be late. TCP finds dead servers sooner. */
const IDLE_MS = 150_000
const FIRST_RETRY_MS = 200
const MAX_RETRY_MS = 10_000
/** Of a kind that the server does not serve and may be without: CRDs are applied in the first seconds, or much later. */
const FIRST_ABSENT_MS = 1000
const MAX_ABSENT_MS = 600_000
/** A stream that stood for so long was served, also when nothing came: the next one is opened at once. */
const STANDS_MS = 10_000
const MAX_LINE = 64 * 1024 * 1024

/** Starts to list and watch, or to watch `since` a version; handlers are called later, never before this returns. */
export function startWatch<T>(
  source: WatchSource<T>,
  handlers: Handlers<T>,
  timing: WatchTiming,
  since?: string,
): Watch {
  const running = new RunningWatch(source, handlers, timing, since)
  queueMicrotask(() => void running.run())
  return running
}

class RunningWatch<T> implements Watch {
  readonly #source: WatchSource<T>
  readonly #handlers: Handlers<T>
  readonly #timing: WatchTiming
  readonly #backoff: Backoff
  readonly #absence: Backoff
  readonly #fields: Fields
  readonly #ended = Promise.withResolvers<void>()
  #closed = false
  #connected: boolean | undefined
  /** Why it is not connected. */
  #cause: string | undefined
  #version: string | undefined
  /** The version is of a list that no stream has followed yet. */
  #isFresh = false
  #stream: WatchStream | undefined
  #endPause: () => void = () => undefined

  constructor(source: WatchSource<T>, handlers: Handlers<T>, timing: WatchTiming, since: string | undefined) {
    this.#source = source
    this.#handlers = handlers
    this.#timing = timing
    this.#fields = eventFields(source.fields)
    this.#version = since
    const random = timing.random === undefined ? {} : { random: timing.random }
    this.#backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MAX_RETRY_MS, ...random })
    this.#absence = new Backoff({ firstMs: FIRST_ABSENT_MS, maxMs: MAX_ABSENT_MS, ...random })
  }

  close(): void {
    this.#closed = true
    this.#stream?.destroy()
    this.#ended.resolve()
  }

  hurry(): void {
    this.#endPause()
  }

  async run(): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#turn()
      } catch (error) {
        if (this.#closed) return
        // takes what the server or the network did; a fault of this program must not be retried for ever
        if (!(error instanceof Gone) && !isStoreError(error)) {
          endProcess(error)
          return
        }
        if (error instanceof Gone) {
          this.#version = undefined
          // the version of its own list: such a server would be listed again and again, and seem to be well in between
          if (this.#isFresh) this.#tell({ connected: false, cause: new Unreachable(error.message, { cause: error }) })
        } else this.#tell({ connected: false, cause: error })
        const isAbsent = error instanceof NotFound && this.#source.mayBeAbsent === true
        await this.#pause(isAbsent ? this.#absence : this.#backoff)
      }
    }
  }

  /** Lists if needed, then follows one stream to its end. */
  async #turn(): Promise<void> {
    const version = this.#version ?? (await this.#list())
    if (this.#closed) return
    const stream = await this.#source.open(version)
    if (this.#closed) {
      stream.destroy()
      return
    }
    this.#isFresh = false
    this.#tell({ connected: true })
    this.#stream = stream
    this.#absence.reset()
    const worked = await this.#follow(stream)
    // a server that ends every stream at once must not be asked without pause
    if (!worked) await this.#pause(this.#backoff)
  }

  /** A method of its own, so that no variable of a waiting function keeps the list alive while the stream runs. */
  async #list(): Promise<string> {
    const { items, resourceVersion } = await this.#source.list()
    if (this.#closed) return resourceVersion
    this.#version = resourceVersion
    this.#isFresh = true
    this.#callOut(() => this.#handlers.event({ type: 'sync', items, resourceVersion }))
    this.#callOut(() => this.#handlers.version?.(resourceVersion))
    return resourceVersion
  }

  /** True when the stream carried anything or stood for a while; throws when it broke off or the server reported an error in it. */
  async #follow(stream: WatchStream): Promise<boolean> {
    let seen = false
    let silent = false
    const { clock, idleMs = IDLE_MS } = this.#timing
    const startMs = clock.monotonicMs()
    let lastMs = startMs
    let cancel: Cancel = () => {}
    // one timer for the stream: a new one for each of its events would cost as much as a tenth of the event
    const wait = (delayMs: number): void => {
      cancel = clock.after(delayMs, () => {
        const leftMs = lastMs + idleMs - clock.monotonicMs()
        if (leftMs > 0) return wait(leftMs)
        silent = true
        stream.destroy()
      })
    }
    const takeLine = (line: string): void => {
      if (this.#closed) return
      this.#line(line)
      // the server works: the delays of an earlier fault are over, however this stream ends
      if (!seen) this.#backoff.reset()
      seen = true
    }
    const takeBytes = linesTo(takeLine)
    wait(idleMs)
    try {
      await stream.each(bytes => {
        lastMs = clock.monotonicMs()
        takeBytes(bytes)
      })
    } catch (error) {
      // the silence was ended from here: the break that follows is no news
      if (!silent || !(error instanceof Unreachable)) throw error
    } finally {
      cancel()
      stream.destroy()
      // nothing happened in the cluster, and the server works
      if (!seen && clock.monotonicMs() - startMs >= STANDS_MS) {
        this.#backoff.reset()
        seen = true
      }
    }
    return seen
  }

  #line(line: string): void {
    const { type, object } = eventOf(line, this.#fields)
    if (type === 'ERROR') {
      const message = String(object['message'] ?? 'the watch failed')
      throw object['code'] === 410 ? new Gone(message) : new Unreachable(message)
    }
    const version = isObject(object['metadata']) ? object['metadata']['resourceVersion'] : undefined
    if (typeof version === 'string' && version !== '') this.#version = version
    if (type !== 'BOOKMARK') {
      const told = this.#source.read(object, type === 'DELETED' ? 'gone' : 'set')
      if (told !== undefined) this.#callOut(() => this.#handlers.event(told))
    }
    const told = this.#version
    if (told !== undefined) this.#callOut(() => this.#handlers.version?.(told))
  }

  #tell(state: { connected: boolean; cause?: Error }): void {
    if (state.connected === this.#connected && state.cause?.message === this.#cause) return
    this.#connected = state.connected
    this.#cause = state.cause?.message
    this.#callOut(() => this.#handlers.connection?.(state))
  }

  /** A handler's exception is a fault in it: it must end the process, not pass for a broken stream. */
  #callOut(call: () => void): void {
    try {
      call()
    } catch (error) {
      endProcess(error) // any exception of a handler
    }
  }

  #pause(backoff: Backoff): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#endPause = resolve
    const cancel = this.#timing.clock.after(backoff.next(), resolve)
    return Promise.race([promise, this.#ended.promise]).finally(cancel)
  }
}

function endProcess(error: unknown): void {
  process.nextTick(() => {
    throw error
  })
}

/** Of a whole event: beside the object's own fields its version, and what an error says. */
function eventFields(fields: Fields): Fields {
  if (fields === true) return true
  const { metadata = {} } = fields
  const withVersion = metadata === true || { ...metadata, resourceVersion: true as const }
  return { type: true, object: { ...fields, metadata: withVersion, code: true, message: true } }
}

function eventOf(line: string, fields: Fields): { type: unknown; object: Record<string, unknown> } {
  let event: unknown
  try {
    event = parseFields(line, fields)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new Unreachable('the watch sent what is not JSON', { cause: error })
  }
  if (!isObject(event) || !isObject(event['object'])) throw new Unreachable('the watch sent what is not an event')
  return { type: event['type'], object: event['object'] }
}

/** Hands each line of the bytes that it is given to `take`, but for empty ones. Throws what `take` throws. */
function linesTo(take: (line: string) => void): (bytes: Buffer) => void {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  return bytes => {
    const parts = (rest + decoder.write(bytes)).split('\n')
    rest = parts.pop()!
    if (rest.length > MAX_LINE) throw new Unreachable('the watch sent an event without end')
    for (const line of parts) if (line !== '') take(line)
  }
}
