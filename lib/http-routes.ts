// What an HTTP server of a program answers: one function per method and path. Answers are JSON unless a route says otherwise.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Log } from './log.ts'

/** Answers one request: it owns the response. What it throws is answered with 500 and logged. */
export type HttpRoute = (
  request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
) => void | Promise<void>

/** A route that answers a question with JSON. */
export function asJson(answer: (query: URLSearchParams) => unknown): HttpRoute {
  return async (_request, response, query) => send(response, 200, await answer(query))
}

/** Answers one request by `routes` (keys such as `GET /status`); what is not there is a 404. */
export async function answerRoute(
  req: IncomingMessage,
  res: ServerResponse,
  routes: Readonly<Record<string, HttpRoute>>,
  log: Log,
): Promise<void> {
  // not every target is a URL: `//` is none
  const url = URL.parse(req.url ?? '/', 'http://agent')
  const path = url?.pathname ?? req.url
  const route = routes[`${req.method} ${path}`]
  try {
    if (url === null || route === undefined) send(res, 404, { error: `no ${req.method} ${path} here` })
    else await route(req, res, url.searchParams)
  } catch (error) {
    log.error({ err: error, path }, 'request failed')
    send(res, 500, { error: error instanceof Error ? error.message : String(error) })
  }
}

/** The text of a request's body; undefined where it has more than `most` octets. Rejects where the asker went away. */
export async function bodyText(request: IncomingMessage, most: number): Promise<string | undefined> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of request as AsyncIterable<Buffer>) {
    size += piece.length
    // the rest is read, and kept nowhere: whoever sends it hears the answer
    if (size <= most) pieces.push(piece)
  }
  return size <= most ? Buffer.concat(pieces).toString('utf8') : undefined
}

/** Sends JSON, unless an answer is under way already. */
export function send(res: ServerResponse, status: number, answer: unknown): void {
  if (res.headersSent) return void res.destroy()
  const text = JSON.stringify(answer) // before the head is sent: a value that has no JSON must become a 500
  res.writeHead(status, { 'content-type': 'application/json' }).end(`${text}\n`)
}

/** Sends plain text for people. */
export function sendText(res: ServerResponse, status: number, text: string): void {
  res.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(text)
}
