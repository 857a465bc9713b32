// List and watch that goes on until it is closed. A clean end of a stream (its time is up, or it fell silent) goes on
// from the last version; after anything else, and after 410, the whole state is listed again and handed on as `sync`,
// so that a deletion nobody told us about is seen. client-node's informer stops on most errors: this never does.
import { StringDecoder } from 'node:string_decoder'
import { parseJson } from '../api/json.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { Gone } from './connection.ts'
import { Unreachable, type Watch, type WatchEvent, type WatchHandlers } from './port.ts'

/** What a watch needs of a server. */
export type WatchSource<K extends Kind> = {
  list(): Promise<{ items: Resource<K>[]; resourceVersion: string }>
  /** Opens the stream of events after a version. */
  open(resourceVersion: string): Promise<AsyncIterable<Buffer> & { destroy(): void }>
  /** A resource from an event's object; undefined when it is invalid, which the source has then logged. */
  read(object: unknown): Resource<K> | undefined
}

export type WatchTiming = {
  clock: Clock
  /** A stream that says nothing for so long is taken for half-open. Above the server's interval of bookmarks. */
  idleMs: number
  random?: () => number
}

const FIRST_RETRY_MS = 200
const MAX_RETRY_MS = 10_000
const MAX_LINE = 64 * 1024 * 1024

/** Starts to list and watch; handlers are called from then on, never before this returns. */
export function startWatch<K extends Kind>(
  source: WatchSource<K>,
  handlers: WatchHandlers<K>,
  timing: WatchTiming,
): Watch {
  const running = new RunningWatch(source, handlers, timing)
  queueMicrotask(() => void running.run())
  return running
}

class RunningWatch<K extends Kind> implements Watch {
  readonly #source: WatchSource<K>
  readonly #handlers: WatchHandlers<K>
  readonly #timing: WatchTiming
  readonly #backoff: Backoff
  readonly #ended = Promise.withResolvers<void>()
  #closed = false
  #connected: boolean | undefined
  #version: string | undefined
  #stream: { destroy(): void } | undefined

  constructor(source: WatchSource<K>, handlers: WatchHandlers<K>, timing: WatchTiming) {
    this.#source = source
    this.#handlers = handlers
    this.#timing = timing
    const random = timing.random === undefined ? {} : { random: timing.random }
    this.#backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MAX_RETRY_MS, ...random })
  }

  close(): void {
    this.#closed = true
    this.#stream?.destroy()
    this.#ended.resolve()
  }

  async run(): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#turn()
      } catch (error) {
        if (this.#closed) return
        this.#version = undefined
        if (!(error instanceof Gone)) this.#tell({ connected: false, cause: error as Error })
        await this.#pause()
      }
    }
  }

  /** Syncs if needed, then follows one stream to its end. */
  async #turn(): Promise<void> {
    if (this.#version === undefined) {
      const { items, resourceVersion } = await this.#source.list()
      if (this.#closed) return
      this.#tell({ connected: true })
      this.#version = resourceVersion
      this.#emit({ type: 'sync', items, resourceVersion })
    }
    const stream = await this.#source.open(this.#version)
    if (this.#closed) {
      stream.destroy()
      return
    }
    this.#stream = stream
    const seen = await this.#follow(stream)
    // a server that ends every stream at once must not be asked without pause
    if (seen) this.#backoff.reset()
    else await this.#pause()
  }

  /** True when the stream carried anything; throws when it broke off or the server reported an error in it. */
  async #follow(stream: AsyncIterable<Buffer> & { destroy(): void }): Promise<boolean> {
    let seen = false
    let silent = false
    let cancel: Cancel = () => {}
    const rearm = (): void => {
      cancel()
      cancel = this.#timing.clock.after(this.#timing.idleMs, () => {
        silent = true
        stream.destroy()
      })
    }
    rearm()
    try {
      for await (const line of linesOf(stream, rearm)) {
        if (this.#closed) return seen
        seen = true
        this.#line(line)
      }
    } catch (error) {
      if (!silent) throw error
    } finally {
      cancel()
      stream.destroy()
    }
    return seen
  }

  #line(line: string): void {
    const event = parseJson(line)
    if (!isObject(event) || !isObject(event['object'])) throw new Unreachable('the watch sent what is no event')
    const { type, object } = event as { type: unknown; object: Record<string, unknown> }
    if (type === 'ERROR') {
      const message = String(object['message'] ?? 'the watch failed')
      throw object['code'] === 410 ? new Gone(message) : new Unreachable(message)
    }
    const version = isObject(object['metadata']) ? object['metadata']['resourceVersion'] : undefined
    if (typeof version === 'string' && version !== '') this.#version = version
    if (type === 'BOOKMARK') return
    const item = this.#source.read(object)
    if (item !== undefined) this.#emit({ type: type === 'DELETED' ? 'gone' : 'set', item })
  }

  #emit(event: WatchEvent<K>): void {
    this.#callOut(() => this.#handlers.event(event))
  }

  #tell(state: { connected: boolean; cause?: Error }): void {
    if (state.connected === this.#connected) return
    this.#connected = state.connected
    this.#callOut(() => this.#handlers.connection?.(state))
  }

  /** A handler's exception is a bug in it: it must end the process, not pass for a broken stream. */
  #callOut(call: () => void): void {
    try {
      call()
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }

  #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const cancel = this.#timing.clock.after(this.#backoff.next(), resolve)
    return Promise.race([promise, this.#ended.promise]).finally(cancel)
  }
}

async function* linesOf(stream: AsyncIterable<Buffer>, onBytes: () => void): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  for await (const chunk of stream) {
    onBytes()
    const parts = (rest + decoder.write(chunk)).split('\n')
    rest = parts.pop()!
    if (rest.length > MAX_LINE) throw new Unreachable('the watch sent an event without end')
    for (const line of parts) if (line !== '') yield line
  }
}
