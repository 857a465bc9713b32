// The agent's unix socket: CNI requests from the plugin, questions from the command line. HTTP, so that anybody can
// ask with a common client; 0600 from the moment it exists, since whoever may connect may change the node's network.
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { dirname } from 'node:path'
import type { Log } from '../lib/log.ts'

/** Largest request body taken: a CNI configuration with a prevResult is a few KiB. */
const MAX_BODY = 1 << 20

/** Answers one request: `body` is the parsed JSON, or undefined without one. What it returns is sent as JSON. */
export type Route = (input: { body: unknown; query: URLSearchParams }) => unknown

/** A text answer instead of JSON. */
export class Text {
  readonly text: string
  readonly status: number
  constructor(text: string, status = 200) {
    this.text = text
    this.status = status
  }
}

export type AgentSocket = { close(): Promise<void> }

/** Serves `routes` (keys such as `GET /status`) on a unix socket at `path`. Throws when another agent answers there. */
export async function serveSocket(
  path: string,
  routes: Readonly<Record<string, Route>>,
  log: Log,
): Promise<AgentSocket> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  if (await answers(path)) throw new Error(`${path}: another agent answers on this socket; stop it first`)
  rmSync(path, { force: true }) // left behind by a killed agent
  const server = createServer({ requestTimeout: 120_000 }, (req, res) => void serve(req, res, routes, log))
  await listen(server, path)
  return {
    close: () =>
      new Promise<void>(resolve => {
        server.close(() => resolve())
        server.closeIdleConnections()
      }),
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    const before = process.umask(0o177) // bind happens inside listen(): the socket is never open to others
    server.listen(path, () => resolve())
    process.umask(before)
  }).then(() => chmodSync(path, 0o600))
}

function answers(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const probe = request({ socketPath: path, path: '/healthz', timeout: 1000 }, res => {
      res.resume()
      resolve(true)
    })
    probe.on('timeout', () => probe.destroy())
    probe.on('error', () => resolve(false))
    probe.end()
  })
}

async function serve(req: IncomingMessage, res: ServerResponse, routes: Readonly<Record<string, Route>>, log: Log) {
  const url = new URL(req.url ?? '/', 'http://agent')
  const route = routes[`${req.method} ${url.pathname}`]
  try {
    if (route === undefined) return send(res, 404, { error: `no ${req.method} ${url.pathname} here` })
    const text = await readBody(req)
    if (text === undefined) return send(res, 413, { error: `body larger than ${MAX_BODY} octets` })
    const answer = await route({ body: text === '' ? undefined : JSON.parse(text), query: url.searchParams })
    if (answer instanceof Text)
      res.writeHead(answer.status, { 'content-type': 'text/plain; version=0.0.4' }).end(answer.text)
    else send(res, 200, answer)
  } catch (error) {
    log.error({ err: error, path: url.pathname }, 'request failed')
    send(res, error instanceof SyntaxError ? 400 : 500, {
      error: error instanceof Error ? error.message : String(error),
    })
  }
}

async function readBody(req: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of req as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function send(res: ServerResponse, status: number, answer: unknown): void {
  if (res.headersSent) return void res.destroy()
  res.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(answer)}\n`)
}
