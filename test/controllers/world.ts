// What the tests of the controllers build on: a clock that can be stopped like its process, and a store whose requests are
// lost and whose answers are, as chance has it.
import { type Store, Unreachable } from '../../datastore/port.ts'
import { type Cancel, type Clock, ManualClock } from '../../lib/clock.ts'

/** The clock of one process: while that is stopped (SIGSTOP) time passes, and no timer fires. */
export class ProcessClock implements Clock {
  readonly #inner = new ManualClock()
  #missedMs = 0

  monotonicMs(): number {
    return this.#inner.monotonicMs() + this.#missedMs
  }

  wallMs(): number {
    return this.#inner.wallMs() + this.#missedMs
  }

  after(delayMs: number, fire: () => void): Cancel {
    return this.#inner.after(delayMs + this.#missedMs, fire)
  }

  /** Time passes; what fell due while the process was stopped fires first. */
  advance(ms: number): void {
    const missedMs = this.#missedMs
    this.#missedMs = 0
    this.#inner.advance(missedMs + ms)
  }

  /** Time passes while the process is stopped. */
  advanceStopped(ms: number): void {
    this.#missedMs += ms
  }
}

/** Whether something happens, by chance in tests of one seed. */
export type Chance = (share: number) => boolean

/** Numbers of one seed (Lehmer). */
export function chanceOf(seed: number): Chance {
  let state = (seed % 2147483646) + 1
  return share => {
    state = (state * 48271) % 2147483647
    return state / 2147483647 < share
  }
}

/** The same store over a bad network: a request is lost on its way there, or its answer on the way back. */
export function lossyStore(store: Store, lost: Chance, share: number): Store {
  const over = async <T>(call: () => Promise<T>): Promise<T> => {
    if (lost(share)) throw new Unreachable('the request is lost')
    const answer = await call()
    if (lost(share)) throw new Unreachable('the answer is lost')
    return answer
  }
  return {
    ...store,
    get: (kind, name, namespace) => over(() => store.get(kind, name, namespace)),
    list: (kind, options) => over(() => store.list(kind, options)),
    create: (kind, object) => over(() => store.create(kind, object)),
    update: (kind, object) => over(() => store.update(kind, object)),
    patch: (kind, name, patch, options) => over(() => store.patch(kind, name, patch, options)),
    delete: (kind, name, options) => over(() => store.delete(kind, name, options)),
  }
}
