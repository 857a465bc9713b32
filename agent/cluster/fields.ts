// Fields of configuration objects that are set and have no effect, as a condition of the object. Pure.
import type { Kind, Resource } from '../../api/kinds.ts'
import { broken, type CauseOf, type Condition } from '../../api/status.ts'
import { formatIneffective, type IneffectiveField, ineffectiveFields } from '../../api/unsupported.ts'

/** One condition for all such fields of an object; undefined when there are none. */
export function fieldsCondition<K extends Kind>(kind: K, object: Resource<K>): Condition | undefined {
  const fields = ineffectiveFields(kind, object)
  if (fields.length === 0) return undefined
  return broken('FieldsSupported', {
    reason: fields.some(({ effect }) => effect === 'closed') ? 'Closed' : 'NoEffect',
    message: fields.map(formatIneffective).join('; '),
    remedy: `remove ${names(fields)}, or do not rely on it`,
    object: { kind, name: object.metadata.name },
  })
}

/** Why what an object asks for is not done; undefined when nothing stands against it. */
export function closedCause<K extends Kind>(kind: K, object: Resource<K>): CauseOf<'PeersConfigured'> | undefined {
  const fields = ineffectiveFields(kind, object).filter(({ effect }) => effect === 'closed')
  if (fields.length === 0) return undefined
  return {
    reason: 'Closed',
    message: fields.map(formatIneffective).join('; '),
    remedy: `remove ${names(fields)} if the session may come up without it`,
  }
}

function names(fields: readonly IneffectiveField[]): string {
  return fields.map(({ field }) => field).join(', ')
}
