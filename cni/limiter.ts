// Limits CNI requests: one per pod, 16 ADDs at once per node, and 16 others that never wait for a place of an ADD. The
// specification forbids a runtime to call twice at once for one container, but a runtime that was killed and started again
// does it.
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import { CNI_CODE, CniError } from './error.ts'

/** `running`: requests that run at the same time. `waiting`: how many more may wait; above that they are refused. Per lane. */
type Limits = { running: number; waiting: number }

/** What takes away (DEL, GC) or only looks never waits for a place behind what makes: a full node must become empty. */
export type Lane = 'ADD' | 'other'

export class Limiter {
  readonly #mutex = new KeyedMutex()
  readonly #limits: Limits
  readonly #lanes: Record<Lane, { running: number; waiting: number; waiters: (() => void)[] }> = {
    ADD: { running: 0, waiting: 0, waiters: [] },
    other: { running: 0, waiting: 0, waiters: [] },
  }

  constructor(limits: Limits = { running: 16, waiting: 2_000 }) {
    this.#limits = limits
  }

  /**
   * Runs `body` while no other one with this key runs, and returns what it returns. Rejects with `CniError` tryLater when too
   * many wait in this lane already.
   */
  async run<T>(key: string, body: () => Promise<T>, lane: Lane = 'other'): Promise<T> {
    const at = this.#lanes[lane]
    if (at.waiting >= this.#limits.waiting)
      throw new CniError(
        CNI_CODE.tryLater,
        `${at.waiting} requests are waiting already`,
        'the node is overloaded: the runtime will try again',
      )
    at.waiting++
    let entered = false
    const enter = (): void => {
      if (!entered) at.waiting--
      entered = true
    }
    try {
      return await this.#mutex.run(key, async () => {
        await this.#acquire(lane)
        enter()
        try {
          return await body()
        } finally {
          this.#release(lane)
        }
      })
    } finally {
      enter()
    }
  }

  async #acquire(lane: Lane): Promise<void> {
    const at = this.#lanes[lane]
    if (at.running < this.#limits.running) at.running++
    else await new Promise<void>(resolve => at.waiters.push(resolve))
  }

  /** Gives this request's place to the next one that waits. */
  #release(lane: Lane): void {
    const at = this.#lanes[lane]
    const next = at.waiters.shift()
    if (next === undefined) at.running--
    else next()
  }
}
