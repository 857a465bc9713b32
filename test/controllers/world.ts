// What the tests of the controllers build on: a clock that can be stopped like its process, and a store whose requests are
// lost and whose answers are, as chance has it.
import { type Store, Unreachable, type Watch } from '../../datastore/port.ts'
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

/** The same store over a bad network: a request is late, or lost on its way there, or its answer on the way back. */
export function lossyStore(store: Store, lost: Chance, share: number): Store {
  const over = async <T>(call: () => Promise<T>): Promise<T> => {
    if (lost(share)) throw new Unreachable('the request is lost')
    if (lost(2 * share)) for (let turn = 0; turn < 12; turn++) await new Promise(setImmediate)
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

/** The same store over a line that can be cut: for requests, or for watches alone, which then show an old state. */
export class Line {
  readonly store: Store
  #calls = true
  #watching = true
  readonly #watches = new Set<{ open(): void; shut(): void }>()

  constructor(store: Store) {
    const over = async <T>(call: () => Promise<T>): Promise<T> => {
      if (!this.#calls) throw new Unreachable('the line is cut')
      return call()
    }
    const check = () => {
      if (!this.#calls) throw new Unreachable('the line is cut')
    }
    this.store = {
      ...store,
      get: (kind, name, namespace) => over(() => store.get(kind, name, namespace)),
      list: (kind, options) => over(() => store.list(kind, options)),
      async *pages(kind, options) {
        check()
        yield* store.pages(kind, options)
      },
      create: (kind, object) => over(() => store.create(kind, object)),
      update: (kind, object) => over(() => store.update(kind, object)),
      patch: (kind, name, patch, options) => over(() => store.patch(kind, name, patch, options)),
      delete: (kind, name, options) => over(() => store.delete(kind, name, options)),
      watch: (kind, handlers, options) => {
        let inner: Watch | undefined
        const entry = {
          open: () => {
            inner ??= store.watch(kind, handlers, options)
          },
          shut: () => {
            inner?.close()
            inner = undefined
          },
        }
        this.#watches.add(entry)
        if (this.#watching) entry.open()
        const close = () => {
          entry.shut()
          this.#watches.delete(entry)
        }
        return { close, hurry: () => undefined }
      },
    }
  }

  get whole(): boolean {
    return this.#calls && this.#watching
  }

  set(state: 'whole' | 'cut' | 'no watches'): void {
    this.#calls = state !== 'cut'
    this.#watching = state === 'whole'
    for (const watch of this.#watches)
      if (this.#watching) watch.open()
      else watch.shut()
  }

  /** The process behind it ended: none of its requests is answered any more, and none gets out. */
  end(): void {
    this.set('cut')
    this.#watches.clear()
  }
}
