// The server as a thing that starts and stops: storage, socket, limits. `main.ts` is its program; tests start it here.
import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { type Clock, systemClock } from '../lib/clock.ts'
import { splitHostPort } from '../lib/ip.ts'
import { type Log, silentLog } from '../lib/log.ts'
import { isLoopback } from './access.ts'
import { BodyBudget } from './body-budget.ts'
import { ownCertificate, selfSigned } from './certificate.ts'
import { Front, type FrontLimits } from './front.ts'
import { Identities } from './identity.ts'
import { answer } from './requests.ts'
import { Resources } from './resources.ts'
import { type HistoryLimits, Storage } from './storage.ts'
import { Turns } from './turns.ts'
import { WatchHub } from './watch-hub.ts'
import type { WatchLimits } from './watch-stream.ts'
import { YamlReader } from './yaml-reader.ts'

export type ApiServerOptions = {
  /** Where the database lies; absent: in memory, gone with the process. */
  dataDir?: string
  /** `address:port`, IPv6 in brackets; port 0 picks a free one. Default 127.0.0.1:0. */
  listen?: string
  /** PEM text. Needed on any address but loopback; there one is made for as long as the server runs. */
  tls?: { cert: string | Buffer; key: string | Buffer }
  /** The administrator's. Absent: a fresh one, which the started server tells. */
  token?: string
  /** File with the tokens of other users; it may come later. */
  usersFile?: string
  log?: Log
  clock?: Clock
  history?: HistoryLimits
  watchLimits?: WatchLimits
}

export type ApiServer = {
  /** Where it answers, such as `http://127.0.0.1:6480`; without plain HTTP the same as `secureUrl`. */
  url: string
  /** Where it answers by TLS, on the same port. */
  secureUrl: string
  /** Its certificate, PEM. */
  authority: string
  /** The administrator's. */
  token: string
  /** Ends watches in order, lets requests under way finish, closes the database. */
  close(): Promise<void>
}

/** The options cannot be used together; the message says what to change. */
export class OptionsError extends Error {
  override readonly name = 'OptionsError'
}

const HISTORY: HistoryLimits = { changes: 10_000, characters: 64 * 1024 * 1024 }
const WATCH_LIMITS: WatchLimits = { bookmarkMs: 10_000, bufferBytes: 8 * 1024 * 1024 }
const HEADERS_TIMEOUT_MS = 20_000
const REQUEST_TIMEOUT_MS = 60_000
/** How often Node looks for requests that exceed these times. */
const CHECK_MS = 1000
const KEEP_ALIVE_MS = 75_000
const MAX_CONNECTIONS = 10_000
const DRAIN_MS = 5_000
const FRONT_LIMITS: FrontLimits = {
  ...{ helloMs: 20_000, handshakeMs: 10_000 },
  ...{ strangers: 2_000, newcomers: 5_000, perUser: 4_000 },
}
const LOOPBACK_HOSTS = ['localhost', '127.0.0.1', '::1']

/** Starts a server; rejects with OptionsError, or with the socket's or the database's error. */
export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const { clock = systemClock, log = silentLog, usersFile } = options
  const token = options.token ?? randomBytes(32).toString('base64url')
  const { host, port } = checkedAddress(options)
  const tls = options.tls ?? certificateFor(options.dataDir, host, clock)
  const path = options.dataDir === undefined ? ':memory:' : join(options.dataDir, 'api.db')
  const storage = new Storage({ path, history: options.history ?? HISTORY })
  const resources = new Resources(storage, clock)
  const watches = new WatchHub(storage, clock, options.watchLimits ?? WATCH_LIMITS)
  const turns = new Turns(clock, storage)
  const yaml = new YamlReader(clock)
  const identities = new Identities({ adminToken: token, file: usersFile, clock, log })
  const deps = { resources, clock, log, identities, watches, turns, body: { budget: new BodyBudget(), yaml } }

  await resources.prepare()
  const http = createServer({
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: CHECK_MS,
  })
  http.maxConnections = MAX_CONNECTIONS
  const front = new Front({
    ...{ http, tls, plain: options.tls === undefined, clock, limits: FRONT_LIMITS },
    arrived: () => turns.arrived(),
  })
  http.on('request', (request, response) => {
    void answer(request, response, { ...deps, isKnown: user => front.known(request.socket, user.name) })
  })
  try {
    const bound = await front.listen(port, host)
    const address = `${host.includes(':') ? `[${host}]` : host}:${bound}`
    return {
      ...{ url: `${options.tls === undefined ? 'http' : 'https'}://${address}`, token },
      ...{ secureUrl: `https://${address}`, authority: String(tls.cert) },
      close: () => stop({ http, front, watches, yaml, storage, clock }),
    }
  } catch (error) {
    await storage.close()
    throw error
  }
}

/** A certificate for kubectl, which shows no token over plain HTTP; it stays the same over restarts. */
function certificateFor(dataDir: string | undefined, host: string, clock: Clock): { cert: string; key: string } {
  const hosts = [...new Set([...LOOPBACK_HOSTS, host])]
  return dataDir === undefined ? selfSigned(hosts, clock.wallMs()) : ownCertificate(dataDir, hosts, clock.wallMs())
}

/** `address:port` or `[address]:port`. Throws OptionsError. */
function parseListen(text: string): { host: string; port: number } {
  const { host, port } = splitHostPort(text) ?? {}
  if (host === undefined || port === undefined)
    throw new OptionsError(`cannot listen on ${JSON.stringify(text)}: give ADDRESS:PORT, such as 127.0.0.1:6480`)
  return { host, port }
}

/** Where to listen. Throws OptionsError for options that cannot be used; touches neither the disk nor the network. */
export function checkedAddress({ listen = '127.0.0.1:0', tls, token }: ApiServerOptions): {
  host: string
  port: number
} {
  const address = parseListen(listen)
  const { host } = address
  if (token === '') throw new OptionsError('the token is empty: write one into the token file')
  if (isLoopback(host) || tls !== undefined) return address
  throw new OptionsError(
    `${host} can be reached from other machines, who would read the tokens: give --tls-cert and --tls-key, or listen on 127.0.0.1`,
  )
}

type Parts = {
  http: Server
  front: Front
  watches: WatchHub
  yaml: YamlReader
  storage: Storage
  clock: Clock
}

async function stop({ http, front, watches, yaml, storage, clock }: Parts): Promise<void> {
  const closed = new Promise<void>(resolve => http.close(() => resolve()))
  watches.close()
  yaml.close()
  front.closeStrangers()
  http.closeIdleConnections()
  const cancel = clock.after(DRAIN_MS, () => http.closeAllConnections())
  await closed
  cancel()
  await storage.close()
}
