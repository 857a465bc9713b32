// What the policies of this node say of the first packet of a question, and which rule says it: of the pods that send and receive it
// here, and of host endpoints. Of answers nothing is asked: they belong to a known connection.
import type { AskedPacket, PolicyDecision, PolicyFacts, Question } from '../../api/explain.ts'
import type { Slot } from '../../felix/policy/active.ts'
import type { Decision } from '../../felix/policy/verdicts.ts'
import type { FelixView } from '../../felix/view.ts'
import type { Crossing } from './crossing.ts'
import { judged } from './packets.ts'

const AT: Readonly<Record<Slot, PolicyFacts['at']>> = {
  ingress: 'host in',
  egress: 'host out',
  forwardIngress: 'host forward',
  forwardEgress: 'host forward',
  preDnatIngress: 'pre-DNAT',
  untrackedIngress: 'untracked',
  untrackedEgress: 'untracked',
}

/**
 * `translated`: the packet behind translations of its destination here. `interfaceOf`: that of the pod here which has an address;
 * `nameOf`: what people call the endpoint of an interface.
 */
export function policyFacts(
  view: FelixView,
  { packet }: Question,
  crossings: readonly Crossing[],
  {
    translated,
    interfaceOf,
    nameOf,
  }: {
    translated: AskedPacket
    interfaceOf(address: string): string | undefined
    nameOf(interfaceName: string): string
  },
): PolicyFacts[] {
  const { policy } = view
  const crossing = crossings.find(({ direction }) => direction === 'there')
  if (policy === undefined || crossing === undefined) return []
  const [sent, seen] = [judged(packet), judged(translated)]
  const { from, entersBy, leavesBy } = crossing
  const facts: PolicyFacts[] = []
  const add = (at: PolicyFacts['at'], endpoint: string, { decision, policies }: Decision) =>
    facts.push({ direction: 'there', at, endpoint, decision, ...enforcementOf(view, policies) })
  const ofPod = (at: 'egress' | 'ingress', interfaceName: string) =>
    add(at, nameOf(interfaceName), policy.verdicts.decision(interfaceName, at, seen))
  const sender = from === 'pod' ? entersBy?.name : undefined
  if (sender !== undefined && sender !== interfaceOf(translated.destination)) ofPod('egress', sender)
  const way = { from: entersBy?.name, to: leavesBy }
  for (const { slot, interfaceName, ...of } of policy.verdicts.hostDecisions(way, { sent, translated: seen }))
    add(AT[slot], nameOf(interfaceName), of)
  if (from === 'pod' && crossing.endsHere && view.hosts?.podsToHost === 'drop')
    add('host in', 'the host', { decision: TO_HOST, policies: [] })
  const receiver = interfaceOf(translated.destination)
  // what this host itself sends to its pods is judged by nobody, nor what a pod sends to itself
  if (receiver !== undefined && from !== 'host' && receiver !== sender) ofPod('ingress', receiver)
  return facts
}

/** What becomes of packets of pods to their own host that their policies allow. */
const TO_HOST: PolicyDecision = {
  action: 'deny',
  by: { of: 'no policy', text: 'defaultEndpointToHostAction of FelixConfiguration is Drop' },
  passed: [],
}

/** Whether the kernel judges as these policies say. */
function enforcementOf(
  { policy, isApplied }: FelixView,
  policies: readonly string[],
): Pick<PolicyFacts, 'enforced' | 'message'> {
  const failing = policy?.failing
  const failure = policies.map(key => failing?.get(key)).find(each => each !== undefined)
  if (failure !== undefined) return { enforced: 'refused', message: failure.message }
  return { enforced: failing === undefined || !isApplied ? 'lagging' : 'kernel' }
}
