// A store that for a time writes nothing and gives no lists: blocks and annotations of this node have no business in another
// cluster, or in one that does not know the node, and such lists are no ground for a claim. Watches go on.
import { type Store, Unreachable } from './port.ts'

/** `why`: the reason while nothing may be written. Refusals are `Unreachable`, so that callers try again later. */
export function guardedStore(store: Store, why: () => string | undefined): Store {
  const check = (): void => {
    const reason = why()
    if (reason !== undefined) throw new Unreachable(`nothing is written to the API server: ${reason}`)
  }
  return {
    apiGroup: async lastKnown => store.apiGroup(lastKnown),
    get: async (kind, name, namespace) => store.get(kind, name, namespace),
    list: async (kind, options) => {
      check()
      return store.list(kind, options)
    },
    async *pages(kind, options) {
      check()
      yield* store.pages(kind, options)
    },
    count: async kind => {
      check()
      return store.count(kind)
    },
    writeAny: async (kind, object) => {
      check()
      return store.writeAny(kind, object)
    },
    create: async (kind, object) => {
      check()
      return store.create(kind, object)
    },
    update: async (kind, object) => {
      check()
      return store.update(kind, object)
    },
    updateStatus: async (kind, object) => {
      check()
      return store.updateStatus(kind, object)
    },
    patch: async (kind, name, patch, options) => {
      check()
      return store.patch(kind, name, patch, options)
    },
    delete: async (kind, name, options) => {
      check()
      return store.delete(kind, name, options)
    },
    watch: (kind, handlers, options) => store.watch(kind, handlers, options),
    dropConnections: () => store.dropConnections(),
    retryNow: () => store.retryNow(),
    close: () => store.close(),
  }
}
