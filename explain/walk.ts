// The walk: both ends' answers to one question, made into steps in the order in which a packet and its answer meet things, and the first
// that stops them. Total: whatever facts lack or contradict, it ends with a word, and without proof that word is `unknown`. Pure.
import type { Question } from '../api/explain.ts'
import type { Asked, Cause, Explanation, Step, StepName } from '../api/explanation.ts'
import type { TraceFacts } from '../api/trace.ts'
import { conntrackStep, fabricStep, listenerStep, serviceStep, sourceNatStep } from './between-steps.ts'
import { causeOf } from './causes.ts'
import { type Crossing, crossing, type Finding, type NodeAnswer, type Place, passes, unknown } from './crossing.ts'
import { mtuStep, neighbourStep, tunnelStep, uplinkStep } from './link-steps.ts'
import { sessionBetween } from './no-way.ts'
import { notesOf } from './notes.ts'
import {
  endpointStep,
  podAddress,
  podFilter,
  podGateway,
  podLink,
  podReceives,
  podRoute,
  podStep,
} from './pod-steps.ts'
import { hostPolicy, podPolicy } from './policy-steps.ts'
import { routeStep } from './route-steps.ts'
import { foreignStep } from './traced-steps.ts'

type Row = { name: StepName; place: 'near' | 'far' | 'between'; run: (c: Crossing) => Finding | undefined }

/** In the order of the packet. `fabric` is judged last, since it is only guilty where nobody else is. */
const ROWS: readonly Row[] = [
  { name: 'ask', place: 'near', run: c => askStep(c.near) },
  { name: 'endpoint', place: 'near', run: c => endpointStep(c.near, c.source, c.target) },
  { name: 'podLink', place: 'near', run: c => podStep(c.near, c.source, podLink) },
  { name: 'podAddress', place: 'near', run: c => podStep(c.near, c.source, podAddress) },
  { name: 'podRoute', place: 'near', run: c => podStep(c.near, c.source, podRoute) },
  { name: 'podGateway', place: 'near', run: c => podStep(c.near, c.source, podGateway) },
  { name: 'podFilter', place: 'near', run: c => podStep(c.near, c.source, podFilter) },
  { name: 'policyEgress', place: 'near', run: c => podPolicy(c, 'egress') },
  { name: 'hostPolicy', place: 'near', run: c => hostPolicy(c, c.near) },
  { name: 'service', place: 'near', run: serviceStep },
  { name: 'rule', place: 'near', run: c => routeStep(c, 'rule', 'near') },
  { name: 'route', place: 'near', run: c => routeStep(c, 'route', 'near') },
  { name: 'reversePath', place: 'near', run: c => routeStep(c, 'reversePath', 'near') },
  { name: 'forwarding', place: 'near', run: c => routeStep(c, 'forwarding', 'near') },
  { name: 'foreign', place: 'near', run: c => foreignStep(c, c.near) },
  { name: 'sourceNat', place: 'near', run: sourceNatStep },
  { name: 'tunnel', place: 'near', run: tunnelStep },
  { name: 'neighbour', place: 'near', run: neighbourStep },
  { name: 'mtu', place: 'near', run: mtuStep },
  { name: 'uplink', place: 'near', run: uplinkStep },
  { name: 'conntrack', place: 'near', run: c => conntrackStep(c.near) },
  { name: 'fabric', place: 'between', run: () => undefined },
  { name: 'ask', place: 'far', run: c => (c.isOneNode ? undefined : askStep(c.far)) },
  { name: 'farRule', place: 'far', run: c => routeStep(c, 'rule', 'far') },
  { name: 'farRoute', place: 'far', run: c => routeStep(c, 'route', 'far') },
  { name: 'farReversePath', place: 'far', run: c => routeStep(c, 'reversePath', 'far') },
  { name: 'farForwarding', place: 'far', run: c => routeStep(c, 'forwarding', 'far') },
  { name: 'farForeign', place: 'far', run: c => (c.isOneNode ? undefined : foreignStep(c, c.far)) },
  { name: 'farHostPolicy', place: 'far', run: c => (c.isOneNode ? undefined : hostPolicy(c, c.far)) },
  { name: 'policyIngress', place: 'far', run: c => podPolicy(c, 'ingress') },
  { name: 'conntrack', place: 'far', run: c => (c.isOneNode ? undefined : conntrackStep(c.far)) },
  {
    name: 'farPod',
    place: 'far',
    run: c => stopOf(endpointStep(c.far, c.target, c.source)) ?? podStep(c.far, c.target, podReceives),
  },
  { name: 'listener', place: 'far', run: listenerStep },
  { name: 'session', place: 'near', run: sessionStep },
]

/** What packets met that were sent: that of the question, and one to the address of its Service. */
export type Followed = { traces?: readonly TraceFacts[]; toService?: TraceFacts | undefined }

/** `near` and `far`: what the nodes of `from` and `to` said; absent for an end outside of the cluster. On one node the same answer twice. */
export function walk(
  question: Question,
  near: NodeAnswer | undefined,
  far: NodeAnswer | undefined,
  { traces = [], toService }: Followed = {},
): Explanation {
  const crossings = (['there', 'back'] as const).map(direction =>
    crossing(direction, question, { near, far }, { traces, toService }),
  )
  const before = crossings.map(stepsOf)
  const isAlone = before.flat().every(step => step === undefined || isInnocent(step))
  const steps = before.flatMap((each, i) => withFabric(each, crossings[i]!, isAlone))
  const isAnswered = traces.some(({ outcome, direction }) => outcome === 'answered' && direction === 'there')
  // a packet that was answered was not stopped; it may still be changed, or have been a small one
  const causes = steps.flatMap(({ name, cause }) =>
    // what was answered went to a pod and not to its Service
    cause === undefined || (isAnswered && cause.effect === 'all' && name !== 'service') ? [] : [cause],
  )
  const [first, ...others] = withoutCopies(causes)
  const isOpen = steps.some(({ name, verdict }) => verdict !== 'passes' && (!isAnswered || name === 'service'))
  return {
    question,
    verdict: first !== undefined ? 'stopped' : isOpen ? 'unknown' : 'passes',
    ...(first !== undefined && { first }),
    others,
    steps,
    notes: notesOf(crossings[0]!),
    asked: askedOf(near, far),
  }
}

/**
 * Chains of others are not read, so that they are open wherever there are some, and a packet that did not arrive was not answered; all else
 * must be known before the network is blamed.
 */
const OPEN_ANYWAY: readonly StepName[] = ['foreign', 'farForeign', 'listener']

function isInnocent({ name, verdict }: Step): boolean {
  return verdict === 'passes' || (verdict === 'unknown' && OPEN_ANYWAY.includes(name))
}

/** All but the fabric, which has its place in the order and is judged by the others. */
function stepsOf(c: Crossing): (Step | undefined)[] {
  return ROWS.map(row => (row.name === 'fabric' ? undefined : stepOf(row, c, row.run(c))))
}

function withFabric(steps: readonly (Step | undefined)[], c: Crossing, isAlone: boolean): Step[] {
  return ROWS.flatMap((row, i) => {
    const step = row.name === 'fabric' ? stepOf(row, c, fabricStep(c, isAlone)) : steps[i]
    return step === undefined ? [] : [step]
  })
}

function stepOf({ name, place }: Row, c: Crossing, finding: Finding | undefined): Step | undefined {
  if (finding === undefined) return undefined
  const { verdict, says, evidence = [], found } = finding
  return {
    name,
    node: (place === 'between' ? undefined : c[place]?.node) ?? 'between',
    direction: c.direction,
    verdict,
    says,
    evidence,
    ...(found !== undefined && { cause: causeOf(found) }),
  }
}

/** Whether the node told anything. That it is silent stops nothing by itself: its kernel goes on. */
function askStep(place: Place | undefined): Finding | undefined {
  if (place === undefined) return undefined
  return place.facts === undefined ? unknown(`${place.node} does not answer`) : passes(`${place.node} answers`)
}

function stopOf(finding: Finding | undefined): Finding | undefined {
  return finding?.verdict === 'passes' ? undefined : finding
}

/** Packets go by routes, so that a session that ended stops nothing while they last. */
function sessionStep(c: Crossing): Finding | undefined {
  const session = sessionBetween(c.near, c.far)
  if (session === undefined || c.isOneNode) return undefined
  return passes(
    session.state === 'Established'
      ? `the session with ${session.peer} is up`
      : `the session with ${session.peer} is ${session.state}`,
  )
}

function withoutCopies(causes: readonly Cause[]): Cause[] {
  const seen = new Set<string>()
  return causes.filter(({ code, node, message }) => {
    const key = `${code} ${node} ${message}`
    return !seen.has(key) && seen.add(key)
  })
}

function askedOf(...answers: (NodeAnswer | undefined)[]): Asked[] {
  const known = answers.filter(each => each !== undefined)
  return known
    .filter(({ node }, i) => known.findIndex(each => each.node === node) === i)
    .map(each => ({ node: each.node, ms: each.ms, ...('silent' in each && { silent: each.silent }) }))
}
