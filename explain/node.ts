// Why pods get no network on one node: what its agent says of itself, or that it says nothing. Pure.
import type { Cause, NodeExplanation, Note } from '../api/explanation.ts'
import { CONDITION_TYPES, formatRef } from '../api/status.ts'
import type { ToldCondition } from '../api/status-answers.ts'
import { type CauseCode, causeOf } from './causes.ts'

/** What is known of a node. `isKnown`: whether the cluster has its Node object; absent where nobody could be asked. */
export type AskedNode = { node: string; ms: number; isKnown?: boolean } & (
  | { conditions: readonly ToldCondition[] }
  | { silent: string; away: boolean }
)

/** Conditions that have a cause of their own. */
const CODES: Readonly<Record<string, CauseCode>> = { NodeObjectKnown: 'NodeUnknown', PoolsUsable: 'PoolUnusable' }

/** An agent that is away comes first: what it would say is not known. Then its vital conditions, those of running pods first. */
export function explainNode(asked: AskedNode): NodeExplanation {
  const { node, ms, isKnown } = asked
  const conditions = 'conditions' in asked ? asked.conditions.filter(({ status }) => status !== 'True') : []
  const broken = conditions.filter(({ type, status }) => status === 'False' && vitalOf(type) !== false)
  const causes: Cause[] = [
    ...('away' in asked && asked.away ? [agentSilent(node, asked.silent)] : []),
    ...(isKnown === false && !broken.some(({ type }) => type === 'NodeObjectKnown') ? [nodeUnknown(node)] : []),
    ...broken.toSorted((a, b) => rankOf(a) - rankOf(b)).map(each => causeOfCondition(node, each)),
  ]
  const [first, ...others] = causes
  const isOpen =
    'silent' in asked || conditions.some(({ type, status }) => status === 'Unknown' && vitalOf(type) !== false)
  return {
    node,
    verdict: first !== undefined ? 'stopped' : isOpen ? 'unknown' : 'passes',
    ...(first !== undefined && { first }),
    others,
    notes: conditions.filter(each => !broken.includes(each)).map(each => noteOf(node, each)),
    asked: [{ node, ms, ...('silent' in asked && { silent: asked.silent }) }],
  }
}

function agentSilent(node: string, why: string): Cause {
  const message = `the agent of ${node} does not run: new pods there get no network (${why})`
  return causeOf({ code: 'AgentSilent', node, object: { kind: 'Node', name: node }, message })
}

function nodeUnknown(node: string): Cause {
  const message = `the cluster has no Node ${node}`
  return causeOf({ code: 'NodeUnknown', node, object: { kind: 'Node', name: node }, message })
}

function causeOfCondition(node: string, { type, object, message, remedy }: ToldCondition): Cause {
  return causeOf({
    code: CODES[type] ?? 'ConditionBroken',
    node,
    object: object ?? { kind: 'Node', name: node },
    message: `${type} of ${node} is not kept: ${message}`,
    values: { remedy },
  })
}

function noteOf(node: string, { type, status, reason, object, message }: ToldCondition): Note {
  const about = object === undefined ? '' : ` of ${formatRef(object)}`
  return { node, text: `${type} is ${status} (${reason})${about}: ${message}` }
}

/** A condition of a later version is not vital as far as this one knows. */
function vitalOf(type: string): false | 'running' | 'new' {
  return Object.hasOwn(CONDITION_TYPES, type) ? CONDITION_TYPES[type as keyof typeof CONDITION_TYPES].vital : false
}

function rankOf({ type }: ToldCondition): number {
  return vitalOf(type) === 'running' ? 0 : 1
}
