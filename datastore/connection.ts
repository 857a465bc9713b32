// HTTP to a Kubernetes API server: where it is and how to authenticate comes from credentials.ts; requests are Node's
// own, so that JSON stays lossless and a watch can be timed out.
import type { ClientRequest, Agent as HttpAgent, IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { emitJson, parseJson } from '../api/json.ts'
import { isObject } from '../api/merge-patch.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { Agent, request as httpRequest } from '../lib/http.ts'
import { type Access, type AccessOptions, accessOf } from './credentials.ts'
import { Conflict, NotFound, Refused, Unreachable } from './port.ts'
import { RetryAfter } from './retry-after.ts'

export type ConnectionOptions = AccessOptions & {
  /** The program that asks, as `name/version`: the User-Agent, whose name the server notes beside the fields that it writes. */
  program?: string
  /** How long a server may take to begin its answer, and to finish one that is no watch. Default 30 s. */
  timeoutMs?: number
  /** For the pauses that a server asks for. */
  clock?: Clock
}

/** The bytes of a watch. They are pushed: an iterator costs as much per heartbeat of a node as its decoding. */
export type WatchStream = {
  /**
   * Calls `take` with each piece as it comes. Resolves when the server ended the stream in order. Rejects with
   * `Unreachable` when it broke or was destroyed, or with what `take` threw, which is not called again then.
   */
  each(take: (bytes: Buffer) => void): Promise<void>
  destroy(): void
}

/** The version a watch or a list wanted to go on from is gone (410): list again. */
export class Gone extends Error {
  override readonly name = 'Gone'
}

type Call = {
  method: string
  path: string
  query?: URLSearchParams
  body?: unknown
  contentType?: string
  accept?: string
}

const TIMEOUT_MS = 30_000
const KEEP_ALIVE_PROBE_MS = 15_000

export class ApiConnection {
  readonly #access: Access
  readonly #timeoutMs: number
  readonly #program: string
  readonly #agent: HttpAgent | HttpsAgent
  readonly #underWay = new Set<ClientRequest>()
  readonly #retryAfter: RetryAfter
  #closed = false

  /** Throws when the options name no server, or a kubeconfig that cannot be read. */
  constructor(options: ConnectionOptions) {
    this.#access = accessOf(options)
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS
    this.#program = options.program ?? 'margay'
    this.#retryAfter = new RetryAfter(options.clock ?? systemClock)
    const isPlain = this.#access.server.protocol === 'http:'
    this.#agent = isPlain ? new Agent({ keepAlive: true }) : new HttpsAgent({ keepAlive: true })
  }

  /** One exchange; the parsed body of a 2xx answer. Rejects with the port's errors, or Gone. */
  async call(call: Call): Promise<unknown> {
    const signal = AbortSignal.timeout(this.#timeoutMs)
    try {
      const response = await this.#send(call, signal)
      const text = await textOf(response)
      if (response.statusCode! >= 200 && response.statusCode! < 300) return this.#parsed(text)
      throw this.#failureOf(call, response, text)
    } catch (error) {
      throw this.#translated(error, call, signal)
    }
  }

  /** The body of a watch, as it comes. Destroy it to end the watch. Rejects like `call`; so does reading it. */
  async open(call: Call): Promise<WatchStream> {
    const headers = new AbortController()
    const timer = setTimeout(() => headers.abort(), this.#timeoutMs)
    try {
      const response = await this.#send(call, headers.signal)
      if (response.statusCode === 200) {
        response.socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS)
        return this.#stream(call, response)
      }
      throw this.#failureOf(call, response, await textOf(response))
    } catch (error) {
      throw this.#translated(error, call, headers.signal)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Ends the connections in use; later calls make new ones. */
  drop(): void {
    this.#agent.destroy()
  }

  /** Ends everything: calls under way are rejected at once, whatever the server does, and so is every later one. */
  close(): void {
    this.#closed = true
    for (const request of this.#underWay) request.destroy()
    this.#agent.destroy()
  }

  async #send(call: Call, signal: AbortSignal, again = false): Promise<IncomingMessage> {
    this.#retryAfter.check(attemptOf(call))
    const { method, path, query, body, contentType = 'application/json', accept = 'application/json' } = call
    const text = body === undefined ? undefined : emitJson(body)
    const { server, viaProxy } = this.#access
    const options = await this.#access.authenticate()
    const length = text === undefined ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(text) }
    const url = new URL(server.pathname.replace(/\/$/, '') + path, server)
    url.search = query?.toString() ?? ''
    if (this.#closed) throw new Unreachable(`the connection to the API server at ${server.origin} is closed`)
    return new Promise((resolve, reject) => {
      const send = url.protocol === 'http:' ? httpRequest : httpsRequest
      const request = send(url, {
        ...options,
        method,
        signal,
        headers: { ...options.headers, ...length, accept, 'user-agent': this.#program },
        ...(viaProxy ? {} : { agent: this.#agent }),
      })
      this.#underWay.add(request)
      request.once('close', () => this.#underWay.delete(request))
      request.once('response', resolve)
      request.on('error', (error: NodeJS.ErrnoException) => {
        // the server may close an idle connection in the moment we take it: a read can simply be sent again
        const stale = request.reusedSocket && error.code === 'ECONNRESET' && method === 'GET' && !again
        if (stale) this.#send(call, signal, true).then(resolve, reject)
        else reject(error)
      })
      request.end(text)
    })
  }

  #stream(call: Call, response: IncomingMessage): WatchStream {
    return {
      destroy: () => void response.destroy(),
      each: take =>
        new Promise((resolve, reject) => {
          const fail = (error: unknown): void => {
            response.removeAllListeners('data')
            response.destroy()
            reject(this.#translated(error, call))
          }
          response.on('data', (bytes: Buffer) => {
            try {
              take(bytes)
            } catch (error) {
              fail(error) // whatever it is: the reader hears of it
            }
          })
          const closed = () => fail(Object.assign(new Error('the connection was closed'), { code: 'ECONNRESET' }))
          response.once('end', () => {
            response.off('close', closed) // an end in order is no fault of the network or of the credentials
            resolve()
          })
          response.once('error', fail)
          response.once('close', closed)
        }),
    }
  }

  #parsed(text: string): unknown {
    try {
      return parseJson(text)
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      throw new Unreachable(`${this.#access.server.origin} did not answer with JSON: is it an API server?`, {
        cause: error,
      })
    }
  }

  #failureOf(call: Call, { statusCode: code = 0, headers }: IncomingMessage, text: string): Error {
    if (code === 401) this.#access.forget()
    const failure = failureOf(call, code, text)
    if (failure instanceof Unreachable) this.#retryAfter.refused(attemptOf(call), failure, headers['retry-after'])
    return failure
  }

  /** An error of the network or of TLS as `Unreachable`; one of the port, or of this program, as it is. */
  #translated(error: unknown, { method, path }: Call, signal?: AbortSignal): unknown {
    if (!isNetworkError(error)) return error
    this.#access.forget() // a certificate may have been replaced
    // a server may answer others
    const why = signal?.aborted ? `no answer within ${this.#timeoutMs} ms (${method} ${path})` : error.message
    return new Unreachable(`cannot reach the API server at ${this.#access.server.origin}: ${why}`, { cause: error })
  }
}

/** Node gives its network, TLS and HTTP errors a code; an abort has a name. A fault of this program is a TypeError or so. */
function isNetworkError(error: unknown): error is Error {
  if (!(error instanceof Error) || error instanceof TypeError || error instanceof RangeError) return false
  return error.name === 'AbortError' || error.name === 'TimeoutError' || typeof Reflect.get(error, 'code') === 'string'
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

/** The port's error for an HTTP status; `text` is the Status object, if the server is one. */
function failureOf(call: Call, code: number, text: string): Error {
  const { method, path } = call
  const said = `${messageOf(text) ?? `HTTP ${code}`} (${method} ${path})`
  // whatever a server says, the right that is missing comes first
  const message = code === 403 ? `forbidden: ${attemptOf(call)}: ${said}` : said
  if (code === 404) return new NotFound(message)
  if (code === 409) return new Conflict(message)
  if (code === 410) return new Gone(message)
  return code >= 500 || code === 429 ? new Unreachable(message, { status: code }) : new Refused(code, message)
}

const VERBS: Readonly<Record<string, string>> = { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }

/** A call as a rule of RBAC names it: `patch nodes/status`, `list ippools`. */
function attemptOf({ method, path, query }: Call): string {
  const parts = path.split('/').slice(path.startsWith('/apis/') ? 4 : 3)
  if (parts.length === 0) return `get ${path}`
  const [plural, name, part] = parts[0] === 'namespaces' && parts.length > 2 ? parts.slice(2) : parts
  const read = query?.get('watch') === 'true' ? 'watch' : name === undefined ? 'list' : 'get'
  return `${VERBS[method] ?? read} ${plural}${part === undefined ? '' : `/${part}`}`
}

function messageOf(text: string): string | undefined {
  try {
    const status = JSON.parse(text)
    return isObject(status) && typeof status['message'] === 'string' ? status['message'] : undefined
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return undefined // a proxy's page, for example
  }
}
