// `margay-bgp` in one network namespace, a crowd of addresses in another, and a witness: a well-behaved second session
// that must stay untouched whatever the crowd does.

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { RouteAnswer } from '../../../api/answers.ts'
import type { PeerStatus } from '../../../bgp/config.ts'
import { fromHex } from '../../../lib/bytes.ts'
import { systemProgram } from '../../../lib/system-program.ts'
import { programUnderTest } from '../../program-file.ts'
import { makeLink, OURS, type Program, type TestLink, THEIRS, until } from '../interop.ts'
import { anUpdate } from '../wire/wire.ts'
import { attributes, type Place, RawListener, RawPeer, TYPE } from './raw-peer.ts'

const PROGRAM = programUnderTest('agent/margay-bgp')
/** The witness: AS 65100 at the crowd's first address. */
export const WITNESS = { name: 'witness', address: '198.18.0.1', asn: 65100 } as const
const WITNESS_HOLD_SECONDS = 9
/** How late a keepalive may come, beside its interval: a busy machine, and this process reads it. */
const LATE_MS = 2500

export type Neighbor = Record<string, unknown> & { address?: string; asn: number | string }

export class Arena {
  readonly link: TestLink
  readonly program: Program
  readonly control: string
  witness!: RawPeer
  #sinceMs = 0
  readonly #config: string
  readonly #crowd = new Set<RawPeer>()
  readonly #listeners: RawListener[] = []

  private constructor(neighbors: readonly Neighbor[], more: Record<string, unknown>, limits: readonly string[]) {
    this.link = makeLink()
    const { ours, theirs, folder } = this.link
    // every address of the crowd is the other namespace's own, behind one neighbour entry
    ip('-n', theirs.name, 'route', 'add', 'local', '198.18.0.0/15', 'dev', 'lo')
    ip('-n', ours.name, 'route', 'add', '198.18.0.0/15', 'via', THEIRS.ipv4)
    // a peer that does not read is felt by the speaker, not swallowed by the kernels between them
    sysctl(ours.name, 'net.ipv4.tcp_wmem=4096 16384 65536')
    sysctl(theirs.name, 'net.ipv4.tcp_rmem=4096 16384 65536')
    this.control = join(folder, 'margay.sock')
    this.#config = join(folder, 'margay.yaml')
    this.configure(neighbors, more)
    const args = [process.execPath, PROGRAM, '--config', this.#config, '--log-level', 'debug']
    const [command = '', ...rest] = [...limits, ...args]
    this.program = this.link.run('ours', { name: 'margay', command, args: rest })
  }

  /** Starts the speaker (after the words of `limits`) and the witness. */
  static async start(
    neighbors: readonly Neighbor[],
    { more = {}, limits = [] }: { more?: Record<string, unknown>; limits?: readonly string[] } = {},
  ): Promise<Arena> {
    const arena = new Arena(neighbors, more, limits)
    try {
      await until(
        'the speaker answers',
        async () => (await arena.peers()).length > 0,
        () => arena.program.output(),
      )
      await arena.#summonWitness()
    } catch (error) {
      await arena.link[Symbol.asyncDispose]()
      throw error
    }
    return arena
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#crowd) peer.destroy()
    for (const listener of this.#listeners) listener.close()
    await this.link[Symbol.asyncDispose]()
  }

  /** Writes the configuration file: the witness, and `neighbors` with defaults that suit a test. */
  configure(neighbors: readonly Neighbor[], more: Record<string, unknown> = {}): void {
    const open = { import: 'accept', export: 'accept' }
    const whole = {
      asn: 65001,
      routerId: OURS.ipv4,
      listen: [`${OURS.ipv4}:179`],
      control: this.control,
      ...more,
      neighbors: [
        { ...WITNESS, ...open, holdTime: WITNESS_HOLD_SECONDS, passive: true },
        ...neighbors.map(neighbor => ({ ...open, passive: true, idleHold: 0, ...neighbor })),
      ],
    }
    writeFileSync(this.#config, JSON.stringify(whole, undefined, 2))
  }

  /** A place in the crowd's namespace. */
  at(address: string, password?: string): Place {
    return { netns: this.link.theirs.path, address, password }
  }

  async dial(address: string, more: Pick<Place, 'password' | 'stubborn'> = {}): Promise<RawPeer> {
    const peer = await RawPeer.dial({ ...this.at(address), ...more }, { address: OURS.ipv4 })
    this.#crowd.add(peer)
    peer.onGone(() => this.#crowd.delete(peer))
    return peer
  }

  /** A listener that the speaker can dial. */
  listen(address: string, password?: string): RawListener {
    const listener = new RawListener(this.at(address, password), OURS.ipv4)
    this.#listeners.push(listener)
    return listener
  }

  async peers(): Promise<PeerStatus[]> {
    return (await this.ask('GET', '/peers')) as PeerStatus[]
  }

  async peer(name: string): Promise<PeerStatus> {
    const found = (await this.peers()).find(peer => peer.name === name)
    if (found === undefined) throw new Error(`no peer ${name}`)
    return found
  }

  /** Names of the peers that the route for a prefix was learned from. */
  async sources(prefix: string): Promise<string[]> {
    const { candidates } = (await this.ask('GET', `/route?prefix=${encodeURIComponent(prefix)}`)) as RouteAnswer
    return candidates.map(({ peer }) => peer)
  }

  /** Waits until `name` is down with this reason; the detail. */
  async reason(name: string, code: string): Promise<string> {
    let last: PeerStatus | undefined
    const down = async () => {
      last = await this.peer(name)
      return last.reason?.code === code
    }
    await until(`${name} is down because of ${code}`, down, () => JSON.stringify(last), 20_000)
    return last?.reason?.detail ?? ''
  }

  /** Asks the control socket. */
  ask(method: string, path: string, body?: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.control, method, path }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', chunk => {
          text += chunk
        })
        response.on('end', () => {
          if (response.statusCode === 200) resolve(JSON.parse(text))
          else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`))
        })
      })
      asked.setTimeout(10_000, () => asked.destroy(new Error(`${path}: no answer in 10 s`)))
      asked.on('error', reject)
      asked.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }

  get alive(): boolean {
    return existsSync(`/proc/${this.#pid}`)
  }

  /** Resident memory of the speaker, in MiB. */
  get memoryMiB(): number {
    const [, kib] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.#pid}/status`, 'utf8')) ?? []
    return Number(kib) / 1024
  }

  /** Descriptors that the speaker has open. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.#pid}/fd`).length
  }

  /** The speaker lives, and the witness noticed nothing. */
  async assertUnharmed(t: ExecutionContext): Promise<void> {
    if (!this.alive) t.fail(`the speaker is dead:\n${this.program.output().slice(-3000)}`)
    const { state, flaps, sinceMs } = await this.peer(WITNESS.name)
    t.deepEqual([state, flaps, sinceMs], ['Established', 0, this.#sinceMs], this.program.output().slice(-2000))
    t.is(this.witness.ended, undefined)
    t.false(this.witness.heard.some(({ type }) => type === TYPE.notification))
    t.deepEqual(await this.sources('10.99.0.0/24'), [WITNESS.name])
    const limitMs = (WITNESS_HOLD_SECONDS * 1000) / 3 + LATE_MS
    t.true(this.witness.longestSilenceMs < limitMs, `${Math.round(this.witness.longestSilenceMs)} ms of silence`)
  }

  async #summonWitness(): Promise<void> {
    this.witness = await this.dial(WITNESS.address)
    const { asn } = WITNESS
    await this.witness.establish({ asn, holdTime: WITNESS_HOLD_SECONDS, routerId: 'c6120001' })
    this.witness.send(anUpdate({ attributes: attributes(asn), nlri: '18 0a6300' }))
    await until('the route of the witness is there', async () => (await this.sources('10.99.0.0/24')).length === 1)
    this.#sinceMs = (await this.peer(WITNESS.name)).sinceMs
  }

  get #pid(): number {
    return Number(readFileSync(`${this.control}.running`, 'utf8'))
  }
}

/** The prefix that `nlri` (hex) names, as text. */
export function prefixOf(nlri: string): string {
  const [length = 0, ...octets] = fromHex(nlri)
  return `${[...octets, 0, 0, 0].slice(0, 4).join('.')}/${length}`
}

function sysctl(netns: string, assignment: string): void {
  ip('netns', 'exec', netns, systemProgram('sysctl'), '-qw', assignment)
}

function ip(...args: readonly string[]): void {
  execFileSync(systemProgram('ip'), args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
