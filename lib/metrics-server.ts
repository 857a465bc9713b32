// GET /metrics over plain HTTP at a port that anybody may reach, pods too: so it reads no body, answers one request for each
// connection, has few connections at a time, of one address very few, and makes the text at most once a second. A new
// connection takes the place of an old one: clients that only hold theirs keep nobody out. The port may be another program's
// for a while: it is tried again.
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Cancel, Clock } from './clock.ts'
import { createServer } from './http.ts'
import type { Log } from './log.ts'
import { METRICS_TYPE } from './metrics-text.ts'

/** Without a host all addresses of the machine. */
export type MetricsAddress = { host?: string; port: number }

export type MetricsServerDeps = {
  clock: Clock
  log: Log
  text(): string | Promise<string>
  /** It cannot listen, and why; undefined: it can again, or need not. */
  problem(error: (Error & { code?: string }) | undefined): void
}

const MOST_CONNECTIONS = 32
/** Of one address. */
const MOST_OF_ONE = 4
/** How long a connection may last, whatever it does. */
const CONNECTION_MS = 20_000
const HEADERS_MS = 5_000
const MOST_HEADER_OCTETS = 8192
/** A text is as good as new for so long. */
const FRESH_MS = 1_000
const RETRY_MS = 5_000

export class MetricsServer {
  readonly #deps: MetricsServerDeps
  /** The oldest first. */
  readonly #connections = new Map<Socket, { address: string; cancel: Cancel }>()
  #wanted: MetricsAddress | undefined
  #server: Server | undefined
  #cancel: Cancel = () => undefined
  #text: { made: Promise<string>; atMs: number } | undefined

  constructor(deps: MetricsServerDeps) {
    this.#deps = deps
  }

  /** The port that it listens at; undefined while it does not. */
  get port(): number | undefined {
    const address = this.#server?.address()
    return typeof address === 'object' ? address?.port : undefined
  }

  /** Serves at `address`, or nowhere. Resolves after the first try. */
  async want(address: MetricsAddress | undefined): Promise<void> {
    if (address?.host === this.#wanted?.host && address?.port === this.#wanted?.port) return
    this.close()
    this.#wanted = address
    await this.#open()
  }

  /** Serves nowhere. */
  close(): void {
    this.#wanted = undefined
    this.#cancel()
    this.#server?.close()
    this.#server = undefined
    for (const socket of this.#connections.keys()) socket.destroy()
    this.#deps.problem(undefined)
  }

  async #open(): Promise<void> {
    const wanted = this.#wanted
    if (wanted === undefined) return
    const limits = { headersTimeout: HEADERS_MS, requestTimeout: HEADERS_MS, connectionsCheckingInterval: 1000 }
    const server = createServer(
      { ...limits, maxHeaderSize: MOST_HEADER_OCTETS },
      (request, response) => void this.#answer(request, response),
    )
    server.on('connection', socket => this.#take(socket))
    const { promise: error, resolve } = Promise.withResolvers<Error | undefined>()
    server.on('error', resolve)
    server.listen(wanted, () => resolve(undefined))
    const failure = await error
    if (this.#wanted !== wanted) return void server.close()
    this.#deps.problem(failure)
    if (failure === undefined) this.#server = server
    else this.#cancel = this.#deps.clock.after(RETRY_MS, () => void this.#open())
  }

  #take(socket: Socket): void {
    const address = socket.remoteAddress ?? ''
    const ofOne = [...this.#connections].filter(([, other]) => other.address === address)
    const [oldest] = ofOne.length >= MOST_OF_ONE ? ofOne : this.#connections
    if (ofOne.length >= MOST_OF_ONE || this.#connections.size >= MOST_CONNECTIONS) oldest?.[0].destroy()
    const cancel = this.#deps.clock.after(CONNECTION_MS, () => socket.destroy())
    this.#connections.set(socket, { address, cancel })
    socket.on('close', () => {
      cancel()
      this.#connections.delete(socket)
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // what a client sends after its request is not read: the connection ends with the answer
    response.setHeader('connection', 'close')
    const isAsked = request.method === 'GET' && /^\/metrics(\?|$)/.test(request.url ?? '')
    if (!isAsked) return void response.writeHead(404).end()
    try {
      const text = await this.#fresh()
      response.writeHead(200, { 'content-type': METRICS_TYPE }).end(text)
    } catch (error) {
      this.#deps.log.error({ err: error }, 'the metrics cannot be made')
      response.writeHead(500).end()
    }
  }

  #fresh(): Promise<string> {
    const nowMs = this.#deps.clock.monotonicMs()
    if (this.#text === undefined || nowMs - this.#text.atMs >= FRESH_MS)
      this.#text = { made: Promise.resolve().then(this.#deps.text), atMs: nowMs }
    return this.#text.made
  }
}
