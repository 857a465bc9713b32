// The map's server: a page with its files, and what it shows as JSON (docs/map.md). It listens on the loopback address alone, and
// believes no request that a page of another site could make a browser send: the Host must be its own (DNS rebinding), requests come
// from the same origin, and data needs the session. Every name in an answer is somebody's choice: the page writes it as text.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Flow, NodeEvent } from '../api/answers.ts'
import type { Explanation } from '../api/explanation.ts'
import { CONDITION_TYPES } from '../api/status.ts'
import type { Asset } from './assets.ts'
import { linksAt, mapOf, type PolicyPeer, type SeenNode } from './model.ts'
import { Sessions } from './session.ts'

/** Where what is shown comes from. Nothing rejects: what cannot be had says so. */
export type MapSource = {
  /** What every node said last, and who does not answer. */
  seen(): readonly SeenNode[]
  /** The walk between two ends, one for each way that packets may take; `error`: for the person who asked. */
  explain(
    from: string,
    to: string,
    protocol: string | undefined,
  ): Promise<{ explanations: Explanation[] } | { error: string }>
  /** Who may talk to a pod and to whom it may, by policies alone; `more` pods are left out. */
  policy(pod: string, protocol: string | undefined): Promise<{ peers: PolicyPeer[]; more: number } | { error: string }>
  /** Packets that policies denied or logged, and what happened, of all nodes that answer, newest first. */
  flows(): Promise<(Flow & { node: string })[]>
  events(): Promise<(NodeEvent & { node: string })[]>
}

const HOSTS = ['127.0.0.1', 'localhost']
const VITAL = Object.entries(CONDITION_TYPES).flatMap(([type, { vital }]) => (vital === false ? [] : [type]))
/** What a request may carry: a token. */
const MOST_BODY = 1_024
/** Longest name or address in a question. */
const MOST_WORD = 300
/** From this size on answers are compressed. */
const LEAST_GZIP = 2_048

/** Nothing but what this server sends is loaded, run or connected to, and no other page may show this one in a frame. */
const HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const

export type MapServer = {
  /** What a person opens, once. */
  url: string
  close(): Promise<void>
}

/** Listens at 127.0.0.1. `port` 0: any. Rejects as `listen` of node:net. */
export async function serveMap(
  source: MapSource,
  assets: readonly Asset[],
  port: number,
  nowMs: () => number,
): Promise<MapServer> {
  const sessions = new Sessions()
  const files = new Map(assets.map(asset => [asset.path, asset]))
  const server = createServer((request, response) => {
    answer({ request, response, source, files, sessions, nowMs, port: portOf(server) }).catch((error: unknown) => {
      json(request, response, 500, { error: error instanceof Error ? error.message : String(error) })
    })
  })
  // whoever sends half a request has ten seconds for the rest
  server.requestTimeout = 10_000
  server.headersTimeout = 10_000
  server.maxConnections = 64
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${portOf(server)}/#${sessions.token}`,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

type Asked = {
  request: IncomingMessage
  response: ServerResponse
  source: MapSource
  files: ReadonlyMap<string, Asset>
  sessions: Sessions
  nowMs: () => number
  port: number
}

async function answer(asked: Asked): Promise<void> {
  const { request, response, files, sessions, port } = asked
  const { host, origin, cookie } = request.headers
  if (!HOSTS.some(each => host === `${each}:${port}`))
    return json(request, response, 421, { error: `ask for 127.0.0.1:${port}` })
  if (origin !== undefined && !HOSTS.some(each => origin === `http://${each}:${port}`))
    return json(request, response, 403, { error: 'another page asks' })
  const url = URL.parse(request.url ?? '/', 'http://map')
  if (url === null) return json(request, response, 400, { error: 'the address cannot be read' })
  const { pathname, searchParams } = url
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  const file = files.get(pathname === '/' ? '/index.html' : pathname)
  if (isRead && file !== undefined) return sendFile(request, response, file)
  if (pathname === '/session' && request.method === 'POST') return openSession(asked)
  if (!pathname.startsWith('/v1/')) return json(request, response, 404, { error: 'nothing is there' })
  if (!sessions.has(cookie))
    return json(request, response, 401, { error: 'open the address that margayctl ui printed; it counts once' })
  if (!isRead) return json(request, response, 405, { error: 'data can be read alone' })
  await sendData(asked, pathname, searchParams)
}

async function sendData(
  { request, response, source, nowMs }: Asked,
  path: string,
  query: URLSearchParams,
): Promise<void> {
  const word = (name: string) => query.get(name) ?? ''
  if ([...query.values()].some(value => value.length > MOST_WORD))
    return json(request, response, 400, { error: `a word is longer than ${MOST_WORD} characters` })
  switch (path) {
    case '/v1/graph':
      return json(request, response, 200, mapOf(source.seen(), nowMs(), VITAL))
    case '/v1/node': {
      const seen = source.seen()
      const found = seen.find(({ node }) => node === word('name'))
      if (found === undefined) return json(request, response, 404, { error: `there is no node ${word('name')}` })
      return json(request, response, 200, { ...found, links: linksAt(seen, found.node) })
    }
    case '/v1/explain': {
      const told = await source.explain(word('from'), word('to'), word('protocol') || undefined)
      return json(request, response, 'error' in told ? 400 : 200, told)
    }
    case '/v1/policy': {
      const told = await source.policy(word('pod'), word('protocol') || undefined)
      return json(request, response, 'error' in told ? 400 : 200, told)
    }
    case '/v1/flows':
      return json(request, response, 200, await source.flows())
    case '/v1/events':
      return json(request, response, 200, await source.events())
    default:
      return json(request, response, 404, { error: 'nothing is there' })
  }
}

async function openSession({ request, response, sessions }: Asked): Promise<void> {
  let token = ''
  for await (const piece of request) {
    token += String(piece)
    if (token.length > MOST_BODY) return json(request, response, 413, { error: 'too much' })
  }
  const cookie = sessions.open(token)
  if (cookie === undefined)
    return json(request, response, 401, {
      error: 'the address was opened before, or is not whole: start margayctl ui again',
    })
  response.writeHead(204, { ...HEADERS, 'cache-control': 'no-store', 'set-cookie': cookie }).end()
}

function sendFile(request: IncomingMessage, response: ServerResponse, { type, contents, isImmutable }: Asset): void {
  const cache = isImmutable ? 'public, max-age=31536000, immutable' : 'no-cache'
  write(request, response, 200, { 'content-type': type, 'cache-control': cache }, Buffer.from(contents))
}

function json(request: IncomingMessage, response: ServerResponse, status: number, value: unknown): void {
  if (response.headersSent) return void response.destroy()
  const head = { 'content-type': 'application/json', 'cache-control': 'no-cache' }
  write(request, response, status, head, Buffer.from(`${JSON.stringify(value)}\n`))
}

function write(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  head: Record<string, string>,
  body: Buffer,
): void {
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`
  const common = { ...HEADERS, ...head, etag, vary: 'accept-encoding' }
  if (status === 200 && request.headers['if-none-match'] === etag) return void response.writeHead(304, common).end()
  const zipped = body.length >= LEAST_GZIP && /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''))
  const sent = zipped ? gzipSync(body, { level: 1 }) : body
  response.writeHead(status, {
    ...common,
    ...(zipped && { 'content-encoding': 'gzip' }),
    'content-length': sent.length,
  })
  response.end(request.method === 'HEAD' ? undefined : sent)
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo | null)?.port ?? 0
}
