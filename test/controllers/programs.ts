// margay-controllers as processes of their own, and a line between one of them and its API server that shows and holds requests.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'

const MAIN = new URL('../../controllers/main.ts', import.meta.url).pathname
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export type Run = { child: ChildProcess; ended: Promise<[number | null]>; log(): string }

export function start(args: readonly string[]): Run {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  running.add(child)
  let log = ''
  child.stderr!.on('data', chunk => {
    log += chunk
  })
  const ended = once(child, 'close') as Promise<[number | null]>
  child.once('exit', () => running.delete(child))
  return { child, ended, log: () => log }
}

export async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

/** Asks until `done` says that the answer is the one; rejects after half a minute. */
export async function until<T>(ask: () => Promise<T>, done: (answer: T | undefined) => boolean): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    const answer = await ask().catch(() => undefined)
    if (done(answer)) return answer as T
    if (attempt === 150) throw new Error(`still ${JSON.stringify(answer)}`)
    await new Promise(resolve => setTimeout(resolve, 200))
  }
}

type Hold = { pattern: RegExp; what: 'request' | 'answer'; caught: () => void; go: Promise<void> }

/** A request as `METHOD /path`, and the status of its answer when there is one. */
export type Seen = { what: string; status?: number }

/** Passes requests on to an API server at a port of this machine. */
export class Wiretap {
  readonly seen: Seen[] = []
  readonly #server = createServer()
  readonly #ready: Promise<unknown>
  readonly #holds = new Set<Hold>()

  constructor(apiPort: string) {
    this.#server.on('request', async (incoming, answer) => {
      const { method = '', url = '', headers } = incoming
      const entry: Seen = { what: `${method} ${url.split('?')[0]}` }
      this.seen.push(entry)
      await this.#held(entry.what, 'request')
      const onward = request({ host: '127.0.0.1', port: apiPort, method, path: url, headers }, async response => {
        entry.status = response.statusCode!
        await this.#held(entry.what, 'answer')
        answer.writeHead(response.statusCode!, response.headers)
        response.pipe(answer)
      })
      onward.on('error', () => answer.destroy())
      answer.on('close', () => onward.destroy())
      incoming.pipe(onward)
    })
    this.#server.listen(0, '127.0.0.1')
    this.#ready = once(this.#server, 'listening')
  }

  /** Writes a kubeconfig by which a program comes over this line, and returns its path. */
  async kubeconfig(dir: string, token: string): Promise<string> {
    await this.#ready
    const { port } = this.#server.address() as AddressInfo
    const path = join(dir, `kubeconfig-${port}`)
    const cluster = { name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }
    const user = { name: 'u', user: { token } }
    const context = { name: 'x', context: { cluster: 'c', user: 'u' } }
    const rest = { clusters: [cluster], users: [user], contexts: [context], 'current-context': 'x' }
    writeFileSync(path, JSON.stringify({ apiVersion: 'v1', kind: 'Config', ...rest }))
    return path
  }

  /** Holds the next request that matches, before the server has it or before its answer comes back. `caught`: when it is held. */
  hold(what: 'request' | 'answer', pattern: RegExp): { caught: Promise<void>; release: () => void } {
    const caught = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    this.#holds.add({ pattern, what, caught: caught.resolve, go: go.promise })
    return { caught: caught.promise, release: go.resolve }
  }

  async #held(seen: string, what: 'request' | 'answer'): Promise<void> {
    for (const hold of this.#holds)
      if (hold.what === what && hold.pattern.test(seen)) {
        this.#holds.delete(hold)
        hold.caught()
        await hold.go
      }
  }

  /** Requests that change something, from the one at `from` on. */
  writes(from = 0): Seen[] {
    return this.seen.slice(from).filter(({ what }) => !what.startsWith('GET '))
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
