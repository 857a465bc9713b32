// StagedKubernetesNetworkPolicy: the spec of Kubernetes' NetworkPolicy, and what would be done with it.
import { stagedAction } from './policy.ts'
import { int32, type KindShape, list, mapOf, numberOrText, object, once, set, text } from './shape.ts'

const labelSelector = once(() =>
  object({
    matchExpressions: list(
      object({
        'key!': text(),
        'operator!': text(),
        values: list(text()),
      }),
    ),
    matchLabels: mapOf(text()),
  }),
)

const peer = once(() =>
  object({
    ipBlock: object({
      'cidr!': text(),
      except: list(text()),
    }),
    namespaceSelector: labelSelector(),
    podSelector: labelSelector(),
  }),
)

const ports = once(() =>
  list(
    object({
      endPort: int32,
      port: numberOrText,
      protocol: text(),
    }),
  ),
)

export const stagedKubernetesNetworkPolicy = once(
  (): KindShape => ({
    spec: object({
      egress: list(
        object({
          ports: ports(),
          to: list(peer()),
        }),
      ),
      ingress: list(
        object({
          from: list(peer()),
          ports: ports(),
        }),
      ),
      podSelector: labelSelector(),
      policyTypes: set(text(), { maxItems: 2, minItems: 1 }),
      stagedAction,
    }),
  }),
)
