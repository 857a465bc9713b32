// Limits CNI requests: one per pod, 16 at once per node. The specification forbids a runtime to call twice at once for
// one container, but a runtime that was killed and started again does it.
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import { CNI_CODE, CniError } from './error.ts'

/** `running`: requests that run at the same time. `waiting`: how many more may wait; above that they are refused. */
type Limits = { running: number; waiting: number }

export class Limiter {
  readonly #mutex = new KeyedMutex()
  readonly #limits: Limits
  readonly #waiters: (() => void)[] = []
  #running = 0
  #waiting = 0

  constructor(limits: Limits = { running: 16, waiting: 2_000 }) {
    this.#limits = limits
  }

  /**
   * Runs `body` while no other one with this key runs, and returns what it returns. Rejects with `CniError` tryLater when too
   * many wait already.
   */
  async run<T>(key: string, body: () => Promise<T>): Promise<T> {
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
      return await this.#mutex.run(key, async () => {
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

  /** Gives this request's place to the next one that waits. */
  #release(): void {
    const next = this.#waiters.shift()
    if (next === undefined) this.#running--
    else next()
  }
}
