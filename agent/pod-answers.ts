// Answers margay-controllers when they ask how far this node is with Pods (`controllers/roll-call.ts`): has felix work through what
// was told until then, and its receipt written. The watch may bring that version later, or a minute later where nothing happens.
import { isAtLeast, RECEIPT_ANNOTATION } from '../api/policy-receipts.ts'
import type { Caches } from '../datastore/cache.ts'
import type { Cancel, Clock } from '../lib/clock.ts'

export type PodAnswersDeps = {
  caches: Pick<Caches, 'of'>
  clock: Clock
  /** The version of Pods up to which the kernel of this node is. */
  worked: () => string | undefined
  /** Has the kernel brought to what was told. Resolves when that was tried. */
  pass: () => Promise<void>
  /** There is an answer. */
  answered: () => void
}

/** Between two looks whether there is an answer. */
const AGAIN_MS = 5_000

export class PodAnswers {
  readonly #deps: PodAnswersDeps
  #isLooking = false
  #closed = false
  #cancels: Cancel[] = []
  #cancel: Cancel = () => undefined

  constructor(deps: PodAnswersDeps) {
    this.#deps = deps
  }

  start(): void {
    const look = () => void this.#look()
    const cluster = this.#deps.caches.of('ClusterInformation')
    this.#cancels = [cluster.onChange(look), cluster.onState(look)]
    look()
  }

  close(): void {
    this.#closed = true
    for (const cancel of [...this.#cancels, this.#cancel]) cancel()
  }

  /** The version that is asked for; undefined: none is. */
  get asked(): string | undefined {
    return this.#deps.caches.of('ClusterInformation').get('default')?.metadata.annotations?.[
      RECEIPT_ANNOTATION.podsAsked
    ]
  }

  async #look(): Promise<void> {
    const { asked } = this
    if (this.#isLooking || this.#closed || asked === undefined) return
    this.#isLooking = true
    this.#cancel()
    const { caches, clock, pass, worked, answered } = this.#deps
    if (!isAtLeast(worked(), asked) && isAtLeast(caches.of('Pod').version, asked)) await pass()
    this.#isLooking = false
    if (isAtLeast(worked(), asked)) answered()
    else if (!this.#closed) this.#cancel = clock.after(AGAIN_MS, () => void this.#look())
  }
}
