// Which namespaces an IPPool's namespaceSelector chooses. Namespaces are watched only where a pool has such a selector.
import { matchesSelector } from '../api/selector.ts'
import type { Caches } from '../datastore/cache.ts'

/**
 * Whether the labels of a namespace match a selector. A namespace that is not known, as before the first answer of the API
 * server, matches nothing: its pods get no address of a pool that may not be theirs.
 */
export function namespaceSelects(caches: Pick<Caches, 'of'>): (selector: string, namespace: string) => boolean {
  const pools = caches.of('IPPool')
  pools.onChange(({ after }) => {
    if ((after?.spec.namespaceSelector ?? '') !== '') caches.of('Namespace')
  })
  return (selector, name) => {
    const namespace = caches.of('Namespace').get(name)
    return namespace !== undefined && matchesSelector(selector, namespace.metadata.labels ?? {})
  }
}
