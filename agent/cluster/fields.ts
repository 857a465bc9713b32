// Fields of configuration objects, and annotations of pods, that are set and have no effect, as a condition of the object. Pure.
import { POD_ANNOTATION } from '../../api/core.ts'
import type { Kind, Resource } from '../../api/kinds.ts'
import { broken, type Condition, type ConditionCause } from '../../api/status.ts'
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

/** What a Pod asks for that no pod has. (Calico refuses to start it where floating addresses are off, as they are by default.) */
export function podFieldsCondition({ metadata }: Resource<'Pod'>): Condition | undefined {
  const { annotations = {}, name, namespace = '' } = metadata
  const { floatingAddresses: annotation } = POD_ANNOTATION
  if (['', '[]'].includes(annotations[annotation]?.trim() ?? '')) return undefined
  return broken('FieldsSupported', {
    reason: 'NoEffect',
    message: `${annotation} is not supported: nothing leads to the pod but its own addresses`,
    remedy: `take ${annotation} away, and use a Service of type LoadBalancer or ipAddrs in its place; the pod runs`,
    object: { kind: 'Pod', namespace, name },
  })
}

/** Why what an object asks for is not done; undefined when nothing stands against it. */
export function closedCause<K extends Kind>(kind: K, object: Resource<K>): ConditionCause | undefined {
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
