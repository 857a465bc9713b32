// A round of questions to the owners of blocks, one after the other. Nodes that ask at the same time begin with different ones, few
// are asked, and whoever did not give is left alone for a while.
import type { Cancel, Clock } from '../lib/clock.ts'
import { turnOf } from './pick.ts'

/** `given`: there is what was asked for. `kept`: its owner gives nothing. `silent`: no answer in time. `refused`: this node may not ask. */
export type Asked = { cidr: string; affinity: string; answer: 'given' | 'kept' | 'silent' | 'refused' }

/** An owner that lives answers within a second. With three that are asked an ADD still ends in its 10 s. */
export const ANSWER_MS = 2_500
export const MOST_ASKED = 3
/** For so long an owner that gave nothing of a block is not asked for the same again, and one that did not answer for anything. */
const AGAIN_MS = 30_000

export class OwnerRound {
  readonly #node: string
  readonly #clock: Clock
  /** When a block was asked for of which nothing was given, on the monotonic clock. */
  readonly #askedMs = new Map<string, number>()
  /** The same of owners that did not answer. */
  readonly #silentMs = new Map<string, number>()
  readonly #pauses = new Set<() => void>()
  #closed = false

  constructor({ node, clock }: { node: string; clock: Clock }) {
    this.#node = node
    this.#clock = clock
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Asks for one block after the other until something is given, `most` at the most. `what`: for what. Rejects as `askOne`. */
  async ask(
    blocks: readonly (readonly [cidr: string, affinity: string])[],
    { what, most = MOST_ASKED }: { what: string; most?: number },
    askOne: (cidr: string, affinity: string) => Promise<Asked['answer']>,
  ): Promise<Asked[]> {
    for (const known of [this.#askedMs, this.#silentMs])
      for (const [key, atMs] of known) if (this.#clock.monotonicMs() - atMs >= AGAIN_MS) known.delete(key)
    const open = blocks.filter(
      ([cidr, affinity]) => !this.#askedMs.has(`${what} ${cidr}`) && !this.#silentMs.has(affinity),
    )
    const first = Math.floor(turnOf(this.#node) * open.length)
    const asked: Asked[] = []
    for (const [cidr, affinity] of [...open.slice(first), ...open.slice(0, first)]) {
      if (this.#closed || asked.length >= most) break
      if (this.#silentMs.has(affinity)) continue
      const answer = await askOne(cidr, affinity)
      asked.push({ cidr, affinity, answer })
      if (answer === 'given') break
      this.#askedMs.set(`${what} ${cidr}`, this.#clock.monotonicMs())
      if (answer === 'silent') this.#silentMs.set(affinity, this.#clock.monotonicMs())
    }
    return asked
  }

  /** Ends after that time, or when nobody is asked any more. */
  async pause(ms: number): Promise<void> {
    const over = Promise.withResolvers<void>()
    const cancel: Cancel = this.#clock.after(ms, over.resolve)
    this.#pauses.add(over.resolve)
    await over.promise
    cancel()
    this.#pauses.delete(over.resolve)
  }

  /** Whoever waits for an owner waits no longer, and nobody is asked any more. */
  close(): void {
    this.#closed = true
    for (const end of this.#pauses) end()
  }
}

/** What a refusal says of an owner that was asked for its empty block, or for an address of one. */
export function inWords({ cidr, affinity, answer }: Asked, what: 'block' | 'address'): string {
  const owner = affinity.replace(/^host:/, '')
  const isBlock = what === 'block'
  if (answer === 'silent') {
    const gives = isBlock ? `gives its empty block ${cidr} back` : `lends an address of ${cidr}`
    return `${owner} did not answer within ${ANSWER_MS / 1000} s whether it ${gives}`
  }
  if (answer === 'refused')
    return `the API server does not let this node ask ${owner} for ${isBlock ? 'its empty block' : 'an address of'} ${cidr}`
  if (isBlock) return `${owner} was asked for its block ${cidr} and keeps it`
  return `${owner} was asked for an address of ${cidr} and lends none`
}
