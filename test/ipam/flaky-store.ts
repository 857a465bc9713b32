// A store seen over a bad network: calls fail before or after their effect, answers get lost, writes land late and
// twice, events come late (in order). Everything follows from the seed; delayed things happen when a test lets them.
import type { Kind } from '../../api/kinds.ts'
import {
  type Store,
  Unreachable,
  type WatchEvent,
  type WatchHandlers,
  type WatchOptions,
} from '../../datastore/port.ts'

export type Network = {
  /** Lets some of what is delayed happen. */
  tick(): void
  /** From now on nothing fails or waits; what is still under way arrives. */
  heal(): void
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export function flakyStore(store: Store, random: () => number): { store: Store; network: Network } {
  let healed = false
  const delayed: (() => void)[] = []
  const later = (): Promise<void> => new Promise(resolve => delayed.push(resolve))
  const unreachable = (): Unreachable => new Unreachable('the network is bad')

  async function call<T>(perform: () => Promise<T>, isWrite: boolean): Promise<T> {
    if (healed) return perform()
    if (random() < 0.3) await later()
    const fate = random()
    if (fate < 0.1) throw unreachable()
    if (fate < 0.2) {
      // the caller gives up, and the write lands afterwards
      void later()
        .then(perform)
        .catch(() => {})
      throw unreachable()
    }
    const result = await perform()
    if (isWrite && fate < 0.3)
      void later()
        .then(perform)
        .catch(() => {})
    if (fate > 0.9) throw unreachable()
    return result
  }

  const flaky: Store = {
    apiGroup: lastKnown => store.apiGroup(lastKnown),
    get: (...args) => call(() => store.get(...args), false),
    list: (...args) => call(() => store.list(...args), false),
    count: (...args) => call(() => store.count(...args), false),
    writeAny: (...args) => call(() => store.writeAny(...args), true),
    create: (...args) => call(() => store.create(...args), true),
    update: (...args) => call(() => store.update(...args), true),
    updateStatus: (...args) => call(() => store.updateStatus(...args), true),
    patch: (...args) => call(() => store.patch(...args), true),
    delete: (...args) => call(() => store.delete(...args), true),
    async *pages(...args) {
      yield await call(() => store.list(...args), false)
    },
    watch<K extends Kind>(kind: K, handlers: WatchHandlers<K>, options?: WatchOptions<K>) {
      let before: Promise<void> = Promise.resolve()
      const inTurn = (tell: () => void): void => {
        const late = !healed && random() < 0.5
        before = before.then(() => (late && !healed ? later() : undefined)).then(tell)
      }
      return store.watch(
        kind,
        {
          connection: state => handlers.connection?.(state),
          event: (event: WatchEvent<K>) => inTurn(() => handlers.event(event)),
          version: version => inTurn(() => handlers.version?.(version)),
        },
        options,
      )
    },
    dropConnections: () => undefined,
    retryNow: () => undefined,
    close: () => store.close(),
  }
  const release = (count: number): void => {
    for (let i = 0; i < count && delayed.length > 0; i++) delayed.splice(Math.floor(random() * delayed.length), 1)[0]!()
  }
  return {
    store: flaky,
    network: {
      tick: () => release(1 + Math.floor(random() * 3)),
      heal() {
        healed = true
        release(delayed.length)
      },
    },
  }
}
