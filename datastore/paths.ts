// Where objects stand at a Kubernetes API server.
import type { AnyKind } from './port.ts'

/** What of a kind: an object, its status, or without a name all of them, in a namespace where one is named. */
export type Place = { name?: string; namespace?: string; subresource?: 'status' }

/** The path of an object, of its status, or without a name of a list. */
export function anyPath({ group, version, plural }: AnyKind, { name, namespace, subresource }: Place): string {
  const scope = namespace === undefined ? [] : ['namespaces', namespace]
  const parts = [...(group === '' ? ['api', version] : ['apis', group, version]), ...scope, plural, name, subresource]
  return parts.map(part => (part === undefined ? '' : `/${encodeURIComponent(part)}`)).join('')
}
