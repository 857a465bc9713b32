// What policies say of a packet, by the model of the node that enforces them, and whether its kernel has that state. Answers of a known
// connection pass without being judged again, so that on the way back only what comes before connection tracking counts. Pure.
import type { PolicyDecision, PolicyFacts } from '../api/explain.ts'
import type { NamedObject } from '../api/status-answers.ts'
import { type Crossing, type Finding, isToItself, nameOf, type Place, passes, stopped, unknown } from './crossing.ts'

const HOST: readonly PolicyFacts['at'][] = ['host forward', 'host in', 'host out', 'pre-DNAT', 'untracked']

/** Of the pod that sends (`egress`) or gets it (`ingress`). */
export function podPolicy(c: Crossing, at: 'egress' | 'ingress'): Finding | undefined {
  const [place, end] = at === 'egress' ? [c.near, c.source] : [c.far, c.target]
  if (end.role !== 'pod' || place === undefined) return undefined
  if (place.facts === undefined) return unknown(`${place.node} does not say what policies let pass`)
  if (c.direction === 'back') return passes('answers of a known connection pass')
  if (isToItself(c)) return passes('what a pod sends to itself is judged by nobody')
  const found = place.facts.policies.filter(each => each.direction === c.direction && each.at === at)
  if (found.length === 0 && c.isOneNode && c.source.role === 'node')
    return passes('what a node sends to its own pods is judged by no policy')
  if (found.length === 0) return unknown(`${place.node} says nothing of the policies of ${nameOf(end)}`)
  return judged(c, place, found, 'PolicyDenies')
}

/** Of the interfaces of a node itself; a node without such policies has none to say. */
export function hostPolicy(c: Crossing, place: Place | undefined): Finding | undefined {
  const found = place?.facts?.policies.filter(
    each =>
      each.direction === c.direction && HOST.includes(each.at) && (c.direction === 'there' || each.at === 'untracked'),
  )
  return found === undefined || found.length === 0 ? undefined : judged(c, place!, found, 'HostPolicyDenies')
}

function judged(
  c: Crossing,
  { node }: Place,
  all: readonly PolicyFacts[],
  code: 'PolicyDenies' | 'HostPolicyDenies',
): Finding {
  const evidence = all.map(({ at, endpoint, decision }) => ({
    of: 'model' as const,
    text: `${at} of ${endpoint}: ${decision.action} by ${decision.by.text}`,
  }))
  const late = all.find(({ enforced }) => enforced !== 'kernel')
  if (late !== undefined) {
    const what = late.enforced === 'refused' ? 'refused the present policies' : 'has an older state of the policies'
    return unknown(
      `the kernel of ${node} ${what} of ${late.endpoint}${late.message === undefined ? '' : `: ${late.message}`}`,
      ...evidence,
    )
  }
  const denied = all.find(({ decision }) => decision.action === 'deny')
  if (denied === undefined) return passes(all.map(({ decision }) => decision.by.text).join('; '), ...evidence)
  const { by } = denied.decision
  const policies = decidersOf(denied.decision)
  const names = namesOf(policies)
  const object = policies.length === 1 ? objectOf(policies[0]!) : by.tier && { kind: 'Tier', name: by.tier }
  // who ends a tier has no rule that says so
  const text = by.of === 'tier end' && names !== '' ? `${by.text}: no rule of ${names} lets it pass` : by.text
  return stopped(
    {
      code,
      node,
      ...(object && { object }),
      message: `${denied.at} of ${denied.endpoint} on ${node} denies it: ${text}`,
      setBy: { who: 'policy', text: names || by.text },
      values: { source: denied.at === 'egress' ? nameOf(c.target) : nameOf(c.source), policy: names || by.text },
    },
    ...evidence,
  )
}

/** The policy whose rule it is; at the end of a tier those of it that select the endpoint, since without them it would not end there. */
function decidersOf({ by, passed }: PolicyDecision): string[] {
  if (by.policy !== undefined) return [by.policy]
  if (by.of !== 'tier end') return []
  return [
    ...new Set(
      passed.flatMap(({ tier, policy, why }) => (tier === by.tier && why === 'no match' ? (policy ?? []) : [])),
    ),
  ]
}

const MOST_NAMED = 3

function namesOf(policies: readonly string[]): string {
  const more = policies.length - MOST_NAMED
  return `${policies.slice(0, MOST_NAMED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

/** `NetworkPolicy default/web` as an object. */
function objectOf(policy: string): NamedObject {
  const [kind = '', name = ''] = policy.split(' ')
  const [first = '', second] = name.split('/')
  return second === undefined ? { kind, name: first } : { kind, namespace: first, name: second }
}
