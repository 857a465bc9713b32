// The conditions of an object as Kubernetes has them (metav1.Condition).
import { instant, matching, object, once, oneOf, text } from './shape.ts'

const condition = once(() =>
  object({
    'lastTransitionTime!': instant,
    'message!': text(32768),
    observedGeneration: { format: 'int64', minimum: 0, type: 'integer' },
    'reason!': matching('^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$', { maxLength: 1024, minLength: 1 }),
    'status!': oneOf('True', 'False', 'Unknown'),
    'type!': matching(
      String.raw`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$`,
      { maxLength: 316 },
    ),
  }),
)

/** The status of a kind that has conditions and nothing else. */
export const withConditions = once(() =>
  object({
    conditions: {
      type: 'array',
      items: condition(),
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['type'],
    },
  }),
)
