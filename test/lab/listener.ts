// Programs that a test of the lab listens to while they run, and what the lines of ping tell.
import type { ChildProcess } from 'node:child_process'
import { netnsPath, spawnInNetns } from '../../kernel/netns.ts'

/** A program in a namespace whose words are read while it runs; it ends with its scope. */
export class Listener implements AsyncDisposable {
  readonly lines: string[] = []
  readonly #child: ChildProcess
  readonly #name: string
  readonly #ended: Promise<void>
  /** Each is told where the new lines begin. */
  readonly #lookers = new Set<(from: number) => void>()

  constructor(netns: string, argv: readonly string[]) {
    this.#name = argv.join(' ')
    const [program, ...args] = argv
    this.#child = spawnInNetns(netnsPath(netns), program!, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      let rest = ''
      stream.setEncoding('utf8').on('data', text => {
        const lines = (rest + text).split('\n')
        rest = lines.pop()!
        const from = this.lines.length
        this.lines.push(...lines)
        for (const look of this.#lookers) look(from)
      })
    }
    this.#ended = new Promise(resolve => this.#child.on('close', () => resolve()))
  }

  async saw(isIt: (line: string) => boolean, what: string, limitMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const look = (from: number) => {
      if (this.lines.slice(from).some(isIt)) resolve(true)
    }
    this.#lookers.add(look)
    const timer = setTimeout(() => resolve(false), limitMs)
    look(0)
    const seen = await promise
    clearTimeout(timer)
    this.#lookers.delete(look)
    if (!seen)
      throw new Error(`${this.#name}: no ${what} in ${limitMs} ms; it said:\n${this.lines.slice(-5).join('\n')}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill('SIGINT')
    await this.#ended
  }
}

/** The number of the request that a line of ping tells the answer to; 0 for any other line. */
export function sequenceOf(line: string): number {
  return Number(/ icmp_seq=(\d+) .* time=/.exec(line)?.[1] ?? 0)
}

export function lastAnswered({ lines }: Listener): number {
  return lines.reduce((last, line) => Math.max(last, sequenceOf(line)), 0)
}

export function unanswered(listener: Listener): number[] {
  const seen = new Set(listener.lines.map(sequenceOf))
  return Array.from({ length: lastAnswered(listener) }, (_, i) => i + 1).filter(number => !seen.has(number))
}
