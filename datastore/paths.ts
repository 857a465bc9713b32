// Where a kind stands at a Kubernetes API server, by the table of kinds.
import { type Kind, type KindRow, kinds } from '../api/kinds.ts'
import type { AnyKind, ListOptions } from './port.ts'

/** The path of an object, of its status, or without a name of a list. Throws when a namespaced one has no namespace. */
export function pathOf(
  kind: Kind,
  { name, namespace, subresource }: { name?: string; namespace?: string; subresource?: 'status' },
): string {
  const { namespaced, ...row }: KindRow = kinds[kind]
  if (namespaced && namespace === undefined && name !== undefined)
    throw new Error(`${kind} ${name} was asked for without its namespace`)
  return anyPath(row, { name, namespace: namespaced ? namespace : undefined, subresource })
}

/** The same for a kind that the table may not have. */
export function anyPath(
  { group, version, plural }: AnyKind,
  { name, namespace, subresource }: { name?: string; namespace?: string; subresource?: 'status' },
): string {
  const scope = namespace === undefined ? [] : ['namespaces', namespace]
  const parts = [...(group === '' ? ['api', version] : ['apis', group, version]), ...scope, plural, name, subresource]
  return parts.map(part => (part === undefined ? '' : `/${encodeURIComponent(part)}`)).join('')
}

/** The selectors of a list or a watch. */
export function queryOf({ labelSelector, fieldSelector }: ListOptions): URLSearchParams {
  const query = new URLSearchParams()
  if (labelSelector !== undefined) query.set('labelSelector', labelSelector)
  if (fieldSelector !== undefined) query.set('fieldSelector', fieldSelector)
  return query
}
