// PolicyReceipt and PolicyStatus, Margay's own kinds: what nodes say of policies, and what comes of it.
import { MOST_ENFORCED, MOST_FAILING } from '../receipt-schemas.ts'
import { MOST_REFLECTORS } from '../reflectors.ts'
import { bool, instant, int64, type KindShape, list, mapOf, object, once, text, whole } from './shape.ts'

const reason = { 'reason!': text(64), 'message!': text(1024) }

export const policyReceipt = once(
  (): KindShape => ({
    spec: object({
      'worked!': mapOf(text(64)),
      pods: text(64),
      late: text(64),
      reflection: object({
        'step!': whole,
        'via!': list(text(253), { maxItems: MOST_REFLECTORS }),
        'direct!': bool,
        held: bool,
      }),
      'enforced!': list(text(64), { maxItems: MOST_ENFORCED }),
      'failing!': list(object({ 'policy!': text(512), 'revision!': text(64), ...reason }), { maxItems: MOST_FAILING }),
    }),
  }),
)

export const policyStatus = once(
  (): KindShape => ({
    spec: object({ 'kind!': text(64), namespace: text(253), 'name!': text(253) }),
    status: object({
      generation: int64,
      'revision!': text(64),
      'nodesRequired!': whole,
      'nodesEnforcing!': whole,
      'nodes!': text(32),
      'since!': instant,
      'lagging!': list(object({ 'node!': text(253), ...reason }), { maxItems: 100 }),
      'laggingNodes!': text(4096),
    }),
  }),
)
