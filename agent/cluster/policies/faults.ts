// What becomes of an object that makes no sense in part: it is closed there, and a condition says where and why. Pure.
// What is stored may be older than a rule, or of a newer version, so nothing here refuses an object: one that is not there opens.
import type { Kind } from '../../../api/kinds.ts'
import { broken, type Condition, formatRef, type ObjectRef } from '../../../api/status.ts'
import { formatProblems, type Problem } from '../../../api/validate.ts'
import type { Policy, PolicyRule, RuleSide } from '../../../felix/policy/model.ts'

/** `value` undefined: the object says nothing to policy. */
export type Converted<T> = { value?: T; refused: readonly Condition[] }

/** What of an object makes no sense, while it is read. */
export class Faults {
  readonly problems: Problem[] = []

  /** Returns undefined, as what cannot be read is. */
  add(path: string, message: string): undefined {
    this.problems.push({ path, message })
    return undefined
  }

  addAll(problems: readonly Problem[]): undefined {
    for (const problem of problems) this.problems.push(problem)
    return undefined
  }

  get count(): number {
    return this.problems.length
  }
}

/** Whether a spec has only fields that this version knows: any other may narrow whom or what it is for. The others are told. */
export function isKnown(spec: Readonly<Record<string, unknown>>, fields: readonly string[], faults: Faults): boolean {
  const unknown = Object.keys(spec).filter(field => spec[field] !== undefined && !fields.includes(field))
  for (const field of unknown) faults.add(`spec.${field}`, 'is not known to this version')
  return unknown.length === 0
}

/** The name and namespace of an object, as the core kinds have them. */
export type Named = { metadata: { name: string; namespace?: string | undefined } }

export function refOf(kind: Kind, { metadata: { name, namespace } }: Named): ObjectRef {
  return namespace === undefined || namespace === '' ? { kind, name } : { kind, name, namespace }
}

/** Most rules of one policy, and most networks, ports and names in all its rules. */
const MOST_RULES = 8192
const MOST_WORDS = 65_536

/** A policy as it was read. `unclear`: it is closed as a whole, for whatever reason `faults` has. */
type Draft = { policy: Policy; faults: Faults; unclear?: boolean; instead: readonly PolicyRule[] }

/**
 * The policy, and a condition for what of it made no sense. One that is unclear as a whole, or has more rules or words than this
 * program takes, has the rules `instead` in its directions.
 */
export function finished({ policy, faults, unclear = false, instead }: Draft): Converted<Policy> {
  const rules = [...(policy.ingress ?? []), ...(policy.egress ?? [])]
  const words = rules.reduce((sum, { source, destination }) => sum + wordsOf(source) + wordsOf(destination), 0)
  const isTooLarge = rules.length > MOST_RULES || words > MOST_WORDS
  if (isTooLarge)
    faults.add(
      'spec',
      `makes ${rules.length} rules with ${words} networks, ports and names; at most ${MOST_RULES} and ${MOST_WORDS} are taken`,
    )
  const isClosed = unclear || isTooLarge
  const closed: Policy = {
    ...policy,
    ...(policy.ingress !== undefined && { ingress: instead }),
    ...(policy.egress !== undefined && { egress: instead }),
  }
  return { value: isClosed ? closed : policy, refused: conditionsOf(policy.ref, faults, isClosed ? 'whole' : 'part') }
}

function wordsOf({ nets = [], notNets = [], ports, notPorts, domains = [] }: RuleSide): number {
  const inPorts = [ports, notPorts].reduce(
    (sum, each) => sum + (each?.ranges.length ?? 0) + (each?.names.length ?? 0),
    0,
  )
  return nets.length + notNets.length + domains.length + inPorts
}

/** Most problems and characters that a condition tells: an object can have a megabyte of them. */
const MOST_PROBLEMS = 5
const MOST_CHARACTERS = 500

const EFFECTS = {
  part: 'what they are part of is closed',
  whole: 'the whole of it is closed',
  'left out': 'what cannot be read is left out',
} as const

type Effect = keyof typeof EFFECTS

/** One condition for all that is wrong with an object, and what holds instead; none when nothing is. */
export function conditionsOf(object: ObjectRef, { problems }: Faults, effect: Effect = 'part'): Condition[] {
  if (problems.length === 0) return []
  const told = problems.slice(0, MOST_PROBLEMS)
  const more = problems.length > told.length ? `; and ${problems.length - told.length} more` : ''
  const fields = [...new Set(told.map(({ path }) => path))].join(', ')
  return [
    broken('PoliciesEnforced', {
      reason: 'Closed',
      message: `${short(formatProblems(told))}${more}; ${EFFECTS[effect]}`,
      remedy: `correct ${short(fields)}, or delete ${formatRef(object)}`,
      object,
    }),
  ]
}

function short(text: string): string {
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text
}

const ANY: RuleSide = {}

/** Denies everything of its direction. */
export const DENY_ALL: PolicyRule = { action: 'deny', source: ANY, destination: ANY }

/** What stands for a rule that cannot be read: nothing is allowed by it, and all is denied where it could have been. */
export function closedRule(action: 'allow' | 'deny' | 'pass' | 'log' | undefined): PolicyRule {
  return action === 'allow' || action === 'log' ? { action, source: ANY, destination: ANY, never: true } : DENY_ALL
}
