// Two network namespaces with one link between them: `margay-bgp` in the one, somebody else's BGP daemon in the other.
// A daemon is one row: how its configuration is written, how it is started, and how it is asked what it learned.
// Every test has its own namespaces and its own folder; daemons run in the foreground and are killed by their pid.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RouteAnswer } from '../../api/answers.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'
import { programUnderTest } from '../program-file.ts'
import { ANSWER_MS } from '../slowness.ts'
import type { Carried } from './carried.ts'

const PROGRAM = programUnderTest('agent/margay-bgp')
/** Our side and theirs; the addresses are the same in every link. */
export const OURS = { ipv4: '192.0.2.1', ipv6: '2001:db8:1::1' } as const
export const THEIRS = { ipv4: '192.0.2.2', ipv6: '2001:db8:1::2' } as const

/** What a daemon is told, for both of its sessions (one per family). */
export type Wanted = {
  asn: number
  peerAsn: number
  holdSeconds: number
  ipv4: readonly string[]
  ipv6: readonly string[]
  password?: string
  /** Restart time announced; absent: the daemon's default. */
  restartSeconds?: number
  passive?: boolean
  addPath?: boolean
  /** What its routes carry. */
  carried?: Carried
  /** Lines in its own language: in both sessions, in their families, and where routes and further sessions belong. */
  lines?: { session?: (peer: string) => string; family?: (peer: string) => string; end?: string }
}

export type Command = { command: string; args: readonly string[]; env?: NodeJS.ProcessEnv }

/** One kind of daemon. */
export type DaemonKind = {
  name: string
  program: string
  /** Writes the configuration into `link.folder` and says how to start it. */
  prepare(link: Link, wanted: Wanted): Command
  /** A program that it needs beside it, started once per link and before it. */
  beside?(link: Link): Command
  /** What is left to do once it runs, tried until it does not throw: routes that only a command can add. */
  begin?(link: Link, wanted: Wanted): void
  /** What this daemon, or Debian's build of it, cannot do; the reason is printed instead of the test. */
  cannot: Partial<Record<'md5' | 'listen' | 'restart' | 'refresh' | 'hurry', string>>
  /** Prefixes that it learned from us. */
  learned(link: Link): string[]
  /** The states of both sessions, for messages. */
  sessions(link: Link): string
  /** What of a route's attributes it cannot be told to announce. */
  unsaid?: readonly (keyof Carried)[]
  /** Asks us for a route refresh. */
  refresh?(link: Link): void
}

/** The two ends; `folder` holds configurations, sockets and logs. */
export type Link = { ours: ScratchNetns; theirs: ScratchNetns; folder: string; [Symbol.asyncDispose](): Promise<void> }

/** Two namespaces joined by one link `e0`, addressed; what `run` started in them is killed in the end. */
export function makeLink(): Link & { run(side: 'ours' | 'theirs', what: Started): Program } {
  const ours = scratchNetns()
  const theirs = scratchNetns()
  const folder = mkdtempSync(join(tmpdir(), 'mgt-bgp-'))
  const programs: Program[] = []
  ip('link', 'add', 'e0', 'netns', ours.name, 'type', 'veth', 'peer', 'name', 'e0', 'netns', theirs.name)
  for (const [netns, ends] of [
    [ours.name, OURS],
    [theirs.name, THEIRS],
  ] as const) {
    ip('-n', netns, 'link', 'set', 'lo', 'up')
    ip('netns', 'exec', netns, systemProgram('sysctl'), '-qw', 'net.ipv6.conf.e0.accept_dad=0')
    ip('-n', netns, 'link', 'set', 'e0', 'up')
    ip('-n', netns, 'addr', 'add', `${ends.ipv4}/24`, 'dev', 'e0')
    ip('-n', netns, 'addr', 'add', `${ends.ipv6}/64`, 'dev', 'e0', 'nodad')
  }
  const link = { ours, theirs, folder }
  return {
    ...link,
    run(side, what) {
      const program = new Program(link[side], folder, what)
      programs.push(program)
      return program
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(programs.map(program => program.stop('SIGKILL')))
      ours[Symbol.dispose]()
      theirs[Symbol.dispose]()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export type TestLink = ReturnType<typeof makeLink>
export type Started = Command & { name: string }

/** A program in a namespace, with its output in a file of the folder. */
export class Program {
  readonly log: string
  readonly #child: ChildProcess
  readonly #exited: Promise<void>

  constructor(netns: ScratchNetns, folder: string, { name, command, args, env }: Started) {
    this.log = join(folder, `${name}.log`)
    const out = openSync(this.log, 'a')
    this.#child = spawn(systemProgram('nsenter'), [`--net=${netns.path}`, systemProgram(command), ...args], {
      // a group of its own: some daemons are several processes, and a signal is meant for all
      detached: true,
      stdio: ['ignore', out, out],
      env: { ...process.env, ...env },
    })
    closeSync(out)
    const last = () => this.signal('SIGKILL')
    process.once('exit', last)
    this.#exited = new Promise(resolve =>
      this.#child.once('exit', () => {
        process.off('exit', last)
        resolve()
      }),
    )
  }

  signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child
    try {
      if (pid !== undefined) process.kill(-pid, signal)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
    }
  }

  /** Sends `signal` and waits until the process is gone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.signal(signal)
    await this.#exited
  }

  output(): string {
    return existsSync(this.log) ? readFileSync(this.log, 'utf8') : ''
  }
}

/** `margay-bgp` at our end of a link, driven by its file and asked by its control socket. */
export class Margay {
  readonly #link: TestLink
  readonly #config: string
  readonly #socket: string
  program: Program

  constructor(link: TestLink, config: MargayConfig) {
    this.#link = link
    this.#config = join(link.folder, 'margay.yaml')
    this.#socket = join(link.folder, 'margay.sock')
    this.write(config)
    this.program = this.start()
  }

  /** Starts it, or starts it again. */
  start(): Program {
    const args = [PROGRAM, '--config', this.#config, '--log-level', 'debug']
    this.program = this.#link.run('ours', { name: 'margay', command: process.execPath, args })
    return this.program
  }

  /** Replaces the file; JSON is YAML. */
  write(config: MargayConfig): void {
    const whole = {
      asn: 65001,
      routerId: OURS.ipv4,
      listen: [`${OURS.ipv4}:179`, `[${OURS.ipv6}]:179`],
      control: this.#socket,
      ...config,
    }
    writeFileSync(this.#config, JSON.stringify(whole, undefined, 2))
  }

  async reload(config: MargayConfig): Promise<Record<string, unknown>> {
    this.write(config)
    return (await this.#ask('POST', '/reload')) as Record<string, unknown>
  }

  /** What a reload of the file as it is now would do. */
  async plan(): Promise<Record<string, unknown>> {
    return (await this.#ask('POST', '/reload', { dryRun: true })) as Record<string, unknown>
  }

  async peers(): Promise<PeerStatus[]> {
    return (await this.#ask('GET', '/peers')) as PeerStatus[]
  }

  async route(prefix: string): Promise<RouteAnswer> {
    return (await this.#ask('GET', `/route?prefix=${encodeURIComponent(prefix)}`)) as RouteAnswer
  }

  async clear(peer: string, kind: 'hard' | 'soft-in' | 'soft-out'): Promise<void> {
    await this.#ask('POST', '/clear', { peer, kind })
  }

  #ask(method: string, path: string, body?: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.#socket, method, path, timeout: ANSWER_MS }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', chunk => {
          text += chunk
        })
        response.on('end', () => {
          if (response.statusCode === 200) resolve(JSON.parse(text))
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`))
        })
      })
      asked.on('error', reject)
      asked.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }
}

export type MargayConfig = Record<string, unknown>

/** Both sessions of a daemon as our configuration sees them; the names are `v4` and `v6`. */
export function neighbors(wanted: Wanted, more: Record<string, unknown> = {}): Record<string, unknown>[] {
  const both = { asn: wanted.asn, holdTime: wanted.holdSeconds, password: wanted.password, connectRetry: 1 }
  return (['ipv4', 'ipv6'] as const).map(family => ({
    name: family === 'ipv4' ? 'v4' : 'v6',
    address: THEIRS[family],
    import: 'accept',
    export: 'accept',
    ...both,
    ...more,
  }))
}

/** Waits until `condition` holds, asking every 50 ms. Rejects with what `why` says when the time is over. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  why: () => string = () => '',
  timeoutMs = 30_000,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs
  for (;;) {
    const held = await (async () => condition())().catch(() => false)
    if (held) return
    if (performance.now() > deadlineMs) throw new Error(`not in ${timeoutMs} ms: ${what}\n${why()}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

/** Whether a daemon's tests can run here: root, and the program is installed. */
export function runnable(kind: DaemonKind): boolean {
  return isRoot && existsSync(kind.program)
}

/** What a query program says inside their namespace. */
export function say(link: Link, command: string, ...args: readonly string[]): string {
  return execFileSync(systemProgram('nsenter'), [`--net=${link.theirs.path}`, systemProgram(command), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: ANSWER_MS,
  })
}

function ip(...args: readonly string[]): void {
  execFileSync(systemProgram('ip'), args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
