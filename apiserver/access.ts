// Who may speak to the server. With a token: whoever holds it. Without one the server listens on loopback only, and a
// request must name loopback as its host and come from no web page, so that a browser here cannot be made to write.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { ApiError } from './status.ts'

const OPEN_PATHS = new Set(['/healthz', '/livez', '/readyz'])
const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i

/** Refuses by throwing Unauthorized or Forbidden; answers in the same time whatever part of a token is right. */
export function checkAccess(request: IncomingMessage, path: string, token: string | undefined): void {
  if (token === undefined) {
    if (!LOOPBACK_HOST.test(request.headers.host ?? ''))
      throw new ApiError('Forbidden', 'this server serves loopback only: ask for 127.0.0.1 or localhost')
    if (request.headers.origin !== undefined)
      throw new ApiError('Forbidden', 'this server has no token and takes nothing from web pages')
    return
  }
  if (OPEN_PATHS.has(path)) return
  const given = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? ''
  // hashes are of one length, so that the comparison says nothing about the token's
  if (!timingSafeEqual(digest(given), digest(token)))
    throw new ApiError('Unauthorized', 'a valid bearer token is needed')
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** Whether an address to listen on can be reached from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}
