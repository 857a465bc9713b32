// Says that this node lives where somebody asks before addresses that it borrowed are freed (`api/borrower-questions.ts`). Blocks of other
// nodes are not watched, so those with such addresses are looked at, often enough for who asks. As `owner-answers.ts` it
// answers also while nothing else may be written: without a Node object, which is when it is asked.
import { borrowerAsked, keepBorrowersAsked } from '../api/borrower-questions.ts'
import { blockName } from '../api/names.ts'
import { Conflict, isStoreError, type Store } from '../datastore/port.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'

export type BorrowerAnswersDeps = {
  node: string
  store: Pick<Store, 'get' | 'update'>
  clock: Clock
  log: Log
  /** The blocks of other nodes with addresses of this one. */
  lenders(): readonly string[]
}

/** Who asks waits for `BORROWER_ANSWER_MS`. */
const LOOK_EVERY_MS = 20_000
/** How often one answer begins anew because the block changed meanwhile. */
const ATTEMPTS = 4

export class BorrowerAnswers {
  readonly #deps: BorrowerAnswersDeps
  #cancel: Cancel = () => undefined
  #looking: Promise<void> = Promise.resolve()
  #closed = false

  constructor(deps: BorrowerAnswersDeps) {
    this.#deps = deps
  }

  /** Looks at once, and from now on. */
  start(): void {
    this.#looking = this.#look().finally(() => {
      if (!this.#closed) this.#cancel = this.#deps.clock.after(LOOK_EVERY_MS, () => this.start())
    })
  }

  /** Nothing is written any more when this resolves. */
  async close(): Promise<void> {
    this.#closed = true
    this.#cancel()
    await this.#looking
  }

  async #look(): Promise<void> {
    for (const lender of this.#deps.lenders())
      try {
        await this.#answer(lender)
      } catch (error) {
        if (!isStoreError(error)) throw error
      }
  }

  /** Rejects as the store. */
  async #answer(lender: string): Promise<void> {
    const { node, store, log } = this.#deps
    for (let attempt = 1; !this.#closed; attempt++)
      try {
        const item = await store.get('IPAMBlock', blockName(lender))
        if (this.#closed || borrowerAsked(item, node) === undefined) return
        const answered = keepBorrowersAsked(item, asked => asked !== node)
        await store.update('IPAMBlock', answered)
        log.info({ lender }, 'somebody asked whether this node, which has addresses of the block, lives: it does')
        return
      } catch (error) {
        if (!(error instanceof Conflict) || attempt === ATTEMPTS) throw error
      }
  }
}
