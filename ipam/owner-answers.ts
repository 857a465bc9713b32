// Says that this node lives where somebody asks before it frees a block of it (`askOwner`). The answer is written also while
// nothing else may be: without a Node object, and while the server is not believed. A block of this node at a server is
// reason enough to keep it there. Who is asked to free what no pod of this node has (`askCollect`) looks before it answers, and
// who is asked for an empty block (`askBlock`) gives it back instead of an answer, where it can. Single addresses that other nodes ask
// for (`api/address-wishes.ts`) are lent to them.
import { wishesOf } from '../api/address-wishes.ts'
import type { Resource } from '../api/kinds.ts'
import { blockName } from '../api/names.ts'
import { isStoreError, NotFound, type Store } from '../datastore/port.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { Log } from '../lib/log.ts'
import { answerAsked, isBlockWanted, isCollectAsked, ownerAsked } from './block.ts'

type BlockObject = Resource<'IPAMBlock'>

export type OwnerAnswersDeps = {
  store: Store
  clock: Clock
  log: Log
  /** One job at a time works on a block. */
  mutex: KeyedMutex
  /** Whether a block is of this node, and of no other agent of its name. */
  mine(item: BlockObject): boolean
  /** Frees what no pod of this node has, in all blocks. Absent: nobody knows the pods. */
  collect?: () => Promise<unknown>
  /** Gives a block back as it is here, where nothing speaks against that; whether the server has it no more, as far as it says. */
  give(item: BlockObject): Promise<boolean>
  /** Does what other nodes ask for in a block (`lending.ts`), and writes it as it is then. Whether it did: not while that cannot be told. */
  lend(item: BlockObject): Promise<boolean>
  /** The server has the block as it was written, of which nothing changed but the question. */
  answered(written: BlockObject): void
}

/** How soon an answer that the server did not take is tried again. Whoever asks waits for a minute. */
const FIRST_RETRY_MS = 200
const MOST_RETRY_MS = 10_000

export class OwnerAnswers {
  readonly #deps: OwnerAnswersDeps
  readonly #waiting = new Map<string, Cancel>()
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MOST_RETRY_MS })
  #closed = false

  constructor(deps: OwnerAnswersDeps) {
    this.#deps = deps
  }

  /** Answers where a block that was just seen has the question in it. */
  follow(item: BlockObject): void {
    if (isAsked(item) && this.#deps.mine(item)) void this.#answer(item.spec.cidr)
  }

  close(): void {
    this.#closed = true
    for (const cancel of this.#waiting.values()) cancel()
  }

  async #answer(cidr: string): Promise<void> {
    this.#waiting.get(cidr)?.()
    this.#waiting.delete(cidr)
    await this.#deps.mutex.run(cidr, async () => {
      if (this.#closed) return
      let isDone = false
      try {
        isDone = await this.#answerOnce(cidr)
      } catch (error) {
        if (!isStoreError(error)) throw error
        if (error instanceof NotFound) return
      }
      if (isDone) this.#backoff.reset()
      else if (!this.#closed) {
        this.#waiting.get(cidr)?.()
        this.#waiting.set(
          cidr,
          this.#deps.clock.after(this.#backoff.next(), () => void this.#answer(cidr)),
        )
      }
    })
  }

  /** Whether nothing is left to be answered. Rejects as the store. */
  async #answerOnce(cidr: string): Promise<boolean> {
    const { store, log, mine, answered, collect, give, lend } = this.#deps
    const item = await store.get('IPAMBlock', blockName(cidr))
    if (!isAsked(item) || !mine(item)) return true
    if (isBlockWanted(item) && (await give(item))) {
      log.info({ cidr }, 'another node has no address left and asked for this empty block: it is given back')
      return true
    }
    const collected = isCollectAsked(item)
    if (collected) await collect?.()
    const hasWishes = wishesOf(item).size > 0
    const isWritten = hasWishes && (await lend(item))
    const isOther = ownerAsked(item) !== undefined || collected || isBlockWanted(item)
    if (!isWritten && isOther) answered(await store.update('IPAMBlock', answerAsked(item)))
    if (!isOther) return isWritten
    if (collected) log.info({ cidr }, 'somebody asked to free what no pod of this node has: it is freed')
    else if (ownerAsked(item) !== undefined)
      log.info({ cidr }, 'somebody asked whether the owner of this block lives: it does')
    else log.info({ cidr }, 'another node asked for this block, which is in use or was a moment ago: it stays')
    return isWritten || !hasWishes
  }
}

function isAsked(item: BlockObject): boolean {
  return ownerAsked(item) !== undefined || isCollectAsked(item) || isBlockWanted(item) || wishesOf(item).size > 0
}
