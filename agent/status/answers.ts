// What `GET /status` says of a peer and of a pod's interface. Pure.
import { type AgentStatus, MESH_PEER, type RuleCount } from '../../api/answers.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import type { PodEndpoint } from '../../cni/endpoints.ts'
import type { FloatingTarget } from '../../felix/calc/floating.ts'
import { parseRuleText } from '../../felix/policy/rule-text.ts'
import type { PeerOrigin } from '../cluster/sessions.ts'

/** Calico's words for where a session comes from. */
const PEER_TYPE: Readonly<Record<PeerOrigin, PeerAnswer['type']>> = {
  mesh: MESH_PEER,
  node: 'node specific',
  global: 'global',
  workload: 'local workload',
}

/** Calico's word for where a session comes from; one of no BGPPeer is for all nodes. */
export function peerType(origin: PeerOrigin | undefined): string {
  return PEER_TYPE[origin ?? 'global']
}

type PeerAnswer = AgentStatus['peers'][number]
type EndpointAnswer = NonNullable<AgentStatus['endpoints']>[number]

/** A peer in the words of `calicoctl node status`, with the reason when it is not up. */
export function peerAnswer({ origin, ...peer }: PeerStatus & { origin?: PeerOrigin }): PeerAnswer {
  const { name, address, asn, state, sinceMs, reason, flaps, prefixes, bfd } = peer
  return {
    ...{ name, address, type: peerType(origin), asn, state, since: new Date(sinceMs).toISOString() },
    ...{ reason: reason?.code ?? '', detail: reason?.detail ?? '', remedy: reason?.remedy ?? '', flaps, prefixes },
    ...(bfd !== undefined && { bfd }),
  }
}

/** A pod's interface as the operator knows it; `floating` leads to it. */
export function endpointAnswer(
  { id, interfaceName, addresses, pod }: PodEndpoint,
  floating: readonly FloatingTarget[],
): EndpointAnswer {
  const ipNATs = floating.map(({ address, to }) => ({ internalIP: to, externalIP: address }))
  return { id, interface: interfaceName, addresses: [...addresses], pod, ...(ipNATs.length > 0 && { ipNATs }) }
}

/** Packets that the pod filter dropped, in the order of its rules. */
export function droppedAnswer(dropped: ReadonlyMap<string, number>): NonNullable<AgentStatus['dropped']> {
  return [...dropped].map(([reason, packets]) => ({ reason, packets }))
}

/** What rules of policies counted, by their texts. */
export function ruleCountAnswer(counts: ReadonlyMap<string, { packets: number; octets: number }>): RuleCount[] {
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([text, counted]) => {
      const rule = parseRuleText(text)
      const staged = rule?.of === 'policy' && rule.staged === true ? 'staged-' : ''
      return {
        rule: text,
        ...(rule?.of === 'policy' && { policy: rule.policy }),
        ...(rule !== undefined && { direction: rule.direction, outcome: `${staged}${rule.outcome}` }),
        ...counted,
      }
    })
}
