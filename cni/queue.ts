// Who may work now: one request at a time per container, a few at a time on the node. A runtime is not to call twice
// for one container at once, but a killed runtime that came back does.
import { Turns } from '../lib/turns.ts'
import { CNI_CODE, CniError } from './error.ts'

/** `running`: requests that work at the same time. `waiting`: how many more may wait before they are sent away. */
export type QueueLimits = { running: number; waiting: number }

export class Queue {
  readonly #turns = new Turns()
  readonly #limits: QueueLimits
  readonly #waiters: (() => void)[] = []
  #running = 0
  #waiting = 0

  constructor(limits: QueueLimits = { running: 16, waiting: 2_000 }) {
    this.#limits = limits
  }

  /** Settles as `body` does. Rejects with `CniError` tryLater when too many wait already. */
  async run<T>(turn: string, body: () => Promise<T>): Promise<T> {
    if (this.#waiting >= this.#limits.waiting)
      throw new CniError(
        CNI_CODE.tryLater,
        `${this.#waiting} requests are waiting already`,
        'the node is overloaded: the runtime will try again',
      )
    this.#waiting++
    let entered = false
    const enter = (): void => {
      if (!entered) this.#waiting--
      entered = true
    }
    try {
      return await this.#turns.run(turn, async () => {
        await this.#acquire()
        enter()
        try {
          return await body()
        } finally {
          this.#release()
        }
      })
    } finally {
      enter()
    }
  }

  async #acquire(): Promise<void> {
    if (this.#running < this.#limits.running) this.#running++
    else await new Promise<void>(resolve => this.#waiters.push(resolve))
  }

  /** Hands its place to the next one in line. */
  #release(): void {
    const next = this.#waiters.shift()
    if (next === undefined) this.#running--
    else next()
  }
}
