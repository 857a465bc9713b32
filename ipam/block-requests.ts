// Asks the owners of empty blocks to give one back, where a pod waits and no block is free: by an annotation of the block, after
// which its owner deletes it or takes the annotation out (`owner-answers.ts`). Hazards: an owner that is away never answers, and
// blocks of other nodes are not watched: so each is looked at for a time, few are asked at once, and who said no is left alone.
import type { Resource } from '../api/kinds.ts'
import { blockName } from '../api/names.ts'
import { Conflict, NotFound, Refused, type Store } from '../datastore/port.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { askBlock, isBlockWanted } from './block.ts'
import { turnOf } from './pick.ts'

/** `given`: the block is gone. `kept`: its owner uses it, or did a moment ago. `silent`: no answer in time. `refused`: this node may not ask. */
export type Asked = { cidr: string; affinity: string; answer: 'given' | 'kept' | 'silent' | 'refused' }

/** An owner that lives answers within a second. With three that are asked an ADD still ends in its 10 s. */
const ANSWER_MS = 2_500
const LOOK_MS = 250
const MOST_ASKED = 3
/** For so long an owner that kept its block is not asked for it again. */
const AGAIN_MS = 30_000

export class BlockRequests {
  readonly #node: string
  readonly #store: Store
  readonly #clock: Clock
  /** When a block was asked for that was not given, on the monotonic clock. */
  readonly #askedMs = new Map<string, number>()
  readonly #pauses = new Set<() => void>()
  #closed = false

  constructor({ node, store, clock }: { node: string; store: Store; clock: Clock }) {
    this.#node = node
    this.#store = store
    this.#clock = clock
  }

  /** Asks for one block after the other until one is given, three at the most. Rejects as the store. */
  async ask(blocks: readonly (readonly [cidr: string, affinity: string])[]): Promise<Asked[]> {
    const nowMs = this.#clock.monotonicMs()
    for (const [cidr, atMs] of this.#askedMs) if (nowMs - atMs >= AGAIN_MS) this.#askedMs.delete(cidr)
    const open = blocks.filter(([cidr]) => !this.#askedMs.has(cidr))
    // nodes that ask at the same time begin with different ones
    const first = Math.floor(turnOf(this.#node) * open.length)
    const asked: Asked[] = []
    for (const [cidr, affinity] of [...open.slice(first), ...open.slice(0, first)].slice(0, MOST_ASKED)) {
      if (this.#closed) break
      const answer = await this.#askOne(cidr, affinity)
      asked.push({ cidr, affinity, answer })
      if (answer === 'given') break
      this.#askedMs.set(cidr, this.#clock.monotonicMs())
    }
    return asked
  }

  /** Whoever waits for an owner waits no longer, and nobody is asked any more. */
  close(): void {
    this.#closed = true
    for (const end of this.#pauses) end()
  }

  async #askOne(cidr: string, affinity: string): Promise<Asked['answer']> {
    const item = await this.#read(cidr)
    if (item === undefined) return 'given'
    if (item.spec.affinity !== affinity || item.spec.allocations.some(index => index !== null)) return 'kept'
    const by = `${this.#node} at ${new Date(this.#clock.wallMs()).toISOString()}`
    try {
      await this.#store.update('IPAMBlock', askBlock(item, by))
    } catch (error) {
      if (error instanceof NotFound) return 'given'
      if (error instanceof Conflict) return 'kept' // its owner writes it: somebody has an address of it
      if (error instanceof Refused) return 'refused'
      throw error
    }
    for (let waitedMs = 0; waitedMs < ANSWER_MS && !this.#closed; waitedMs += LOOK_MS) {
      await this.#pause()
      const now = await this.#read(cidr)
      if (now === undefined || now.metadata.uid !== item.metadata.uid) return 'given'
      if (!isBlockWanted(now)) return 'kept'
    }
    return 'silent'
  }

  async #read(cidr: string): Promise<Resource<'IPAMBlock'> | undefined> {
    try {
      return await this.#store.get('IPAMBlock', blockName(cidr))
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
  }

  async #pause(): Promise<void> {
    const over = Promise.withResolvers<void>()
    const cancel: Cancel = this.#clock.after(LOOK_MS, over.resolve)
    this.#pauses.add(over.resolve)
    await over.promise
    cancel()
    this.#pauses.delete(over.resolve)
  }
}

/** What a refusal says of an owner that was asked. */
export function inWords({ cidr, affinity, answer }: Asked): string {
  const owner = affinity.replace(/^host:/, '')
  if (answer === 'silent')
    return `${owner} did not answer within ${ANSWER_MS / 1000} s whether it gives its empty block ${cidr} back`
  if (answer === 'refused') return `the API server does not let this node ask ${owner} for its empty block ${cidr}`
  return `${owner} was asked for its block ${cidr} and keeps it`
}
