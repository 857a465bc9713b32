// The server as a thing that starts and stops: storage, socket, limits. `main.ts` is its program; tests start it here.
import { createServer as createHttpServer, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type Clock, systemClock } from '../lib/clock.ts'
import { splitHostPort } from '../lib/ip.ts'
import { type Log, silentLog } from '../lib/log.ts'
import { isLoopback } from './access.ts'
import { answer, type RequestDeps } from './requests.ts'
import { Resources } from './resources.ts'
import { type HistoryLimits, Storage } from './storage.ts'
import { WatchHub } from './watch-hub.ts'
import type { WatchLimits } from './watch-stream.ts'

export type ApiServerOptions = {
  /** Where the database lies; absent: in memory, gone with the process. */
  dataDir?: string
  /** `address:port`, IPv6 in brackets; port 0 picks a free one. Default 127.0.0.1:0. */
  listen?: string
  /** PEM text. Needed, with a token, on any address but loopback. */
  tls?: { cert: string | Buffer; key: string | Buffer }
  token?: string
  log?: Log
  clock?: Clock
  history?: HistoryLimits
  watchLimits?: WatchLimits
}

export type ApiServer = {
  /** Where it answers, such as `http://127.0.0.1:6480`. */
  url: string
  /** Ends watches in order, lets requests under way finish, closes the database. */
  close(): Promise<void>
}

/** The options cannot be used together; the message says what to change. */
export class OptionsError extends Error {
  override readonly name = 'OptionsError'
}

const BODY_BYTES = 3 * 1024 * 1024
const HISTORY: HistoryLimits = { changes: 10_000, characters: 64 * 1024 * 1024 }
const WATCH_LIMITS: WatchLimits = { bookmarkMs: 10_000, bufferBytes: 8 * 1024 * 1024 }
const HEADERS_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 60_000
const KEEP_ALIVE_MS = 75_000
const MAX_CONNECTIONS = 10_000
const DRAIN_MS = 5_000

/** Starts a server; rejects with OptionsError, or with the socket's or the database's error. */
export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const { clock = systemClock, log = silentLog, token, tls } = options
  const { host, port } = parseListen(options.listen ?? '127.0.0.1:0')
  checkOptions(host, options)
  const path = options.dataDir === undefined ? ':memory:' : join(options.dataDir, 'api.db')
  const storage = new Storage({ path, history: options.history ?? HISTORY })
  const resources = new Resources(storage, clock)
  const watches = new WatchHub(storage, clock, options.watchLimits ?? WATCH_LIMITS)
  const deps: RequestDeps = { resources, clock, log, token, bodyBytes: BODY_BYTES, watches }

  await resources.prepare()
  const server = tls === undefined ? createHttpServer() : createHttpsServer({ ...tls, minVersion: 'TLSv1.2' })
  server.headersTimeout = HEADERS_TIMEOUT_MS
  server.requestTimeout = REQUEST_TIMEOUT_MS
  server.keepAliveTimeout = KEEP_ALIVE_MS
  server.maxConnections = MAX_CONNECTIONS
  server.on('request', (request, response) => void answer(request, response, deps))
  try {
    await listen(server, port, host)
  } catch (error) {
    await storage.close()
    throw error
  }
  const bound = (server.address() as AddressInfo).port
  const name = host.includes(':') ? `[${host}]` : host
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${name}:${bound}`,
    close: () => stop(server, watches, storage, clock),
  }
}

/** `address:port` or `[address]:port`. Throws OptionsError. */
function parseListen(text: string): { host: string; port: number } {
  const { host, port } = splitHostPort(text) ?? {}
  if (host === undefined || port === undefined)
    throw new OptionsError(`cannot listen on ${JSON.stringify(text)}: give ADDRESS:PORT, such as 127.0.0.1:6480`)
  return { host, port }
}

function checkOptions(host: string, { tls, token }: ApiServerOptions): void {
  if (token === '') throw new OptionsError('the token is empty: write one into the token file')
  if (isLoopback(host) || (tls !== undefined && token !== undefined)) return
  throw new OptionsError(
    `${host} can be reached from other machines: give --tls-cert, --tls-key and --token-file, or listen on 127.0.0.1`,
  )
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

async function stop(server: Server, watches: WatchHub, storage: Storage, clock: Clock): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  watches.close()
  server.closeIdleConnections()
  const cancel = clock.after(DRAIN_MS, () => server.closeAllConnections())
  await closed
  cancel()
  await storage.close()
}
