// NetworkPolicy of networking.k8s.io/v1: which pods and directions it is about, and whether a rule of it allows a flow.
// It only ever allows; what denies is that it selects a pod and nothing allows the flow.
import { contains } from './addresses.ts'
import { endpointsOf, has, isChosenNamespace, protocolOf } from './endpoints.ts'
import type { Direction, Flow, Found } from './flow.ts'
import type { LabelSelector, NetworkPolicy, PolicyPeer, PolicyPort, World } from './objects.ts'
import { matchesLabels } from './selectors.ts'

/** Whether pods that are selected are isolated by this policy in this direction. */
export function kubernetesHas({ spec }: Pick<NetworkPolicy, 'spec'>, direction: Direction): boolean {
  const types = spec.policyTypes ?? []
  if (types.length > 0) return types.includes(direction === 'ingress' ? 'Ingress' : 'Egress')
  return direction === 'ingress' || (spec.egress ?? []).length > 0
}

/** Whether it selects the pod. */
export function kubernetesSelects(
  { metadata, spec }: Pick<NetworkPolicy, 'metadata' | 'spec'>,
  pod: { namespace?: string; own: NonNullable<LabelSelector['matchLabels']> },
): boolean {
  return pod.namespace === metadata.namespace && matchesLabels(spec.podSelector ?? {}, pod.own)
}

/** The first rule that allows the flow. */
export function kubernetesFinds(world: World, policy: NetworkPolicy, flow: Flow, direction: Direction): Found {
  const rules =
    direction === 'ingress'
      ? (policy.spec.ingress ?? []).map(({ from, ports }) => ({ peers: from ?? [], ports: ports ?? [] }))
      : (policy.spec.egress ?? []).map(({ to, ports }) => ({ peers: to ?? [], ports: ports ?? [] }))
  const peer = direction === 'ingress' ? flow.from : flow.to
  const rule = rules.findIndex(
    ({ peers, ports }) =>
      (peers.length === 0 || peers.some(each => isPeer(world, each, policy.metadata.namespace ?? '', peer.address))) &&
      (ports.length === 0 || ports.some(each => isPort(world, each, flow))),
  )
  return rule < 0 ? undefined : { rule, verdict: 'allow' }
}

function isPeer(world: World, peer: PolicyPeer, ownNamespace: string, address: string): boolean {
  const { ipBlock } = peer
  const namespaces = peer.namespaceSelector ?? undefined
  const pods = peer.podSelector ?? undefined
  if (ipBlock)
    return contains(ipBlock.cidr, address) && !(ipBlock.except ?? []).some(except => contains(except, address))
  // a peer with none of the fields that are known
  if (namespaces === undefined && pods === undefined) return false
  return endpointsOf(world).some(
    each =>
      each.kind === 'Pod' &&
      has(each, address) &&
      (namespaces === undefined
        ? each.namespace === ownNamespace
        : isChosenNamespace(world, namespaces, each.namespace ?? '')) &&
      matchesLabels(pods ?? {}, each.own),
  )
}

function isPort(world: World, { protocol = 'TCP', port, endPort }: PolicyPort, flow: Flow): boolean {
  if (protocolOf(protocol) !== flow.protocol) return false
  if (port === undefined || port === null) return true
  const { destinationPort } = flow
  if (destinationPort === undefined) return false
  if (typeof port === 'number') return port <= destinationPort && destinationPort <= (endPort ?? port)
  return endpointsOf(world).some(
    ({ kind, nets, ports }) =>
      kind === 'Pod' &&
      nets.some(net => contains(net, flow.to.address)) &&
      ports.some(each => each.name === port && each.protocol === flow.protocol && each.port === destinationPort),
  )
}
