// Read, change, write; on Conflict all of it again. The only place that retries on Conflict.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kind, Resource } from '../api/kinds.ts'
import { Backoff } from '../lib/backoff.ts'
import { Conflict, type Store } from './port.ts'

export type UpdateOptions = { namespace?: string; subresource?: 'status'; attempts?: number }

const ATTEMPTS = 8
const FIRST_RETRY_MS = 5
const MAX_RETRY_MS = 500

/**
 * The object after `change`, written over exactly what `change` was given. `change` may run several times, must not
 * alter its argument, and leaves the object alone by returning undefined. Rejects with Conflict when every one of
 * `attempts` (8) lost, and with the store's other errors at once.
 */
export async function update<K extends Kind>(
  store: Store,
  kind: K,
  name: string,
  change: (current: Resource<K>) => Resource<K> | undefined,
  { namespace, subresource, attempts = ATTEMPTS }: UpdateOptions = {},
): Promise<Resource<K>> {
  const backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MAX_RETRY_MS })
  for (let attempt = 1; ; attempt++) {
    const current = await store.get(kind, name, namespace)
    const next = change(current)
    if (next === undefined) return current
    const { resourceVersion } = current.metadata
    const object = { ...next, metadata: { ...next.metadata, resourceVersion } }
    try {
      return await (subresource === 'status' ? store.updateStatus(kind, object) : store.update(kind, object))
    } catch (error) {
      if (!(error instanceof Conflict) || attempt >= attempts) throw error
    }
    await sleep(backoff.next())
  }
}
