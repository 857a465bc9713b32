// Fields of configuration objects that are set and have no effect, as a condition of the object. Pure.
import type { Kind, Resource } from '../../api/kinds.ts'
import { broken, type Condition } from '../../api/status.ts'
import { ineffectiveFields } from '../../api/unsupported.ts'

/** One condition for all such fields of an object; undefined when there are none. */
export function fieldsCondition<K extends Kind>(kind: K, object: Resource<K>): Condition | undefined {
  const fields = ineffectiveFields(kind, object)
  if (fields.length === 0) return undefined
  return broken('FieldsSupported', {
    reason: 'NoEffect',
    message: fields.map(({ field, instead }) => `${field} has no effect: ${instead}`).join('; '),
    remedy: `remove ${fields.map(({ field }) => field).join(', ')}, or do not rely on it`,
    object: { kind, name: object.metadata.name },
  })
}
