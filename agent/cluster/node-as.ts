// The AS number of a node: that of its annotation, else that of its label where the BGPConfiguration `default` names one (an AS for
// each rack, from labels that the nodes have anyway), else the cluster's. Pure.
import { BGP_ANNOTATION } from '../../api/core.ts'
import { asNumberField } from '../../api/fields.ts'
import { broken, type Condition } from '../../api/status.ts'
import type { NodeFacts } from './nodes.ts'

/** What AS numbers depend on besides the nodes; `asLabel` is the key of the label. */
export type AsOf = { config: { asNumber: number }; asLabel?: string | undefined }

/** The key of the label that the BGPConfiguration `default` names. */
export function askedAsLabel({ annotations = {} }: { annotations?: Record<string, string> } = {}): string | undefined {
  return annotations[BGP_ANNOTATION.asNumberLabel]?.trim() || undefined
}

export function asNumberOf(facts: NodeFacts | undefined, { config, asLabel }: AsOf): number {
  return facts?.asn ?? ofLabel(facts, asLabel) ?? config.asNumber
}

function ofLabel(facts: NodeFacts | undefined, asLabel: string | undefined): number | undefined {
  const text = asLabel === undefined ? undefined : facts?.labels[asLabel]
  return text === undefined ? undefined : asNumberField.safeParse(text).data
}

/** What is wrong where a node's label is there and no AS number. */
export function badAsLabel(facts: NodeFacts | undefined, { config, asLabel }: AsOf): Condition | undefined {
  const text = asLabel === undefined ? undefined : facts?.labels[asLabel]
  if (text === undefined || facts?.asn !== undefined || ofLabel(facts, asLabel) !== undefined) return undefined
  return broken('PeersConfigured', {
    object: { kind: 'Node', name: facts!.name },
    reason: 'BadASNumber',
    message: `label ${asLabel} is ${JSON.stringify(text)}, which is no AS number; the node has that of the cluster, ${config.asNumber}`,
    remedy: 'write a number from 1 to 4294967295 into the label',
  })
}
