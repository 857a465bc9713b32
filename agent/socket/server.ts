// The agent's unix socket: CNI requests from the plugin, questions from the command line. HTTP, so that anybody can
// ask with a common client; 0600 from the moment it exists, since whoever may connect may change the node's network.
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import type { Server } from 'node:http'
import { dirname } from 'node:path'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { createServer, request } from '../../lib/http.ts'
import { answerRoute, type HttpRoute } from '../../lib/http-routes.ts'
import type { Log } from '../../lib/log.ts'
import { FileInUse, type FileLock, lockFile } from '../file-lock.ts'
import { checkSocketPath } from './path.ts'

/** `close` lets requests under way finish for at most `graceMs`, then cuts what is left: a client may never finish its own. */
export type AgentSocket = { close(graceMs?: number): Promise<void> }

/** An ADD waits this long for a block. */
const GRACE_MS = 10_000

/**
 * Locks the socket at `path`: to be done before anything is touched that two agents must not share. Throws `FileInUse`
 * when another agent answers there, or has the lock and does not answer, because it is stopped or begins; Error when the
 * path is too long, or something lies there that is no socket of this user.
 */
export async function reserveSocket(path: string): Promise<FileLock> {
  checkSocketPath(path)
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  if (await answers(path)) throw new FileInUse(inUse(path))
  // two that start in the same moment both hear no answer: without a lock the later one would replace the socket
  return lockFile(`${path}.lock`, inUse(path))
}

function inUse(path: string): string {
  return `${path}: another agent has this socket; stop it first`
}

/**
 * Serves `routes` (keys such as `GET /status`) on a unix socket at `path`, whose lock the caller may have already. Throws
 * `FileInUse` when another agent does.
 */
export async function serveSocket(
  path: string,
  routes: Readonly<Record<string, HttpRoute>>,
  log: Log,
  { clock = systemClock, lock }: { clock?: Clock; lock?: FileLock } = {},
): Promise<AgentSocket> {
  const { release: unlock } = lock ?? (await reserveSocket(path))
  checkSocketPath(path)
  rmSync(path, { force: true }) // left behind by a killed agent
  const server = createServer({ requestTimeout: 120_000 }, (req, res) => void answerRoute(req, res, routes, log))
  try {
    await listen(server, path)
  } catch (error) {
    unlock() // whatever the system said: nothing is served here
    throw error
  }
  return {
    close: (graceMs = GRACE_MS) =>
      new Promise<void>(resolve => {
        const cancel = clock.after(graceMs, () => server.closeAllConnections())
        server.close(() => {
          cancel()
          unlock()
          resolve()
        })
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
