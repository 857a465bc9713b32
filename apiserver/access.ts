// Who may speak to the server: whoever shows a token, on loopback too, since every user and every pod with the host's
// network is local. Nothing but the answer "I am alive" is given without one.
import type { IncomingMessage } from 'node:http'
import type { Identities, User } from './identity.ts'
import { ApiError } from './status.ts'

const OPEN_PATHS = new Set(['/healthz', '/livez', '/readyz'])

/** The user who asks; undefined where none is needed. Throws Unauthorized. */
export function authenticated(request: IncomingMessage, path: string, identities: Identities): User | undefined {
  if (OPEN_PATHS.has(path)) return undefined
  const given = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1]
  const user = given === undefined ? undefined : identities.userOf(given)
  if (user === undefined) throw new ApiError('Unauthorized', 'a valid bearer token is needed')
  return user
}

/** Whether an address to listen on can be reached from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}
