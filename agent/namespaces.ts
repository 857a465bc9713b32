// Which namespaces an IPPool's namespaceSelector chooses. Namespaces are watched only where a pool has such a selector.
import { matchesSelector } from '../api/selector.ts'
import type { Caches } from '../datastore/cache.ts'

/** Whether the labels of a namespace match a selector; undefined for one that is not known, as before the first answer of the API server. */
export function namespaceSelects(
  caches: Pick<Caches, 'of'>,
): (selector: string, namespace: string) => boolean | undefined {
  const pools = caches.of('IPPool')
  pools.onChange(({ after }) => {
    if ((after?.spec.namespaceSelector ?? '') !== '') caches.of('Namespace')
  })
  return (selector, name) => {
    const namespace = caches.of('Namespace').get(name)
    return namespace && matchesSelector(selector, namespace.metadata.labels ?? {})
  }
}
