// ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2, with the peers `nodes` and `domainNames` of its experimental
// channel. What it does not know is closed: an Accept rule with an unknown peer or protocol matches nothing, a Deny or
// Pass rule with one denies everything.
import { contains, sameAddress, Unreadable } from './addresses.ts'
import { endpointsOf, has, isChosenNamespace, nodeAddresses, protocolOf } from './endpoints.ts'
import type { Direction, Flow, Found, Verdict } from './flow.ts'
import {
  type ClusterNetworkPolicy,
  type ClusterPeer,
  type ClusterProtocol,
  type ClusterRule,
  type ClusterSubject,
  type LabelSelector,
  ofKind,
  type World,
} from './objects.ts'
import { matchesLabels } from './selectors.ts'

/** The tier that stands for `spec.tier`; undefined for one that is unknown: such a policy counts for nothing. */
export function clusterTier({ spec }: ClusterNetworkPolicy): 'kube-admin' | 'kube-baseline' | undefined {
  return spec.tier === 'Admin' ? 'kube-admin' : spec.tier === 'Baseline' ? 'kube-baseline' : undefined
}

/** Whether it selects the pod. Pods in the network of their host are never asked about. */
export function clusterSelects(
  world: World,
  { spec }: ClusterNetworkPolicy,
  pod: { namespace?: string; own: NonNullable<LabelSelector['matchLabels']> },
): boolean {
  return isOfSubject(world, spec.subject, pod)
}

/** The first rule that matches. */
export function clusterFinds(world: World, { spec }: ClusterNetworkPolicy, flow: Flow, direction: Direction): Found {
  for (const [rule, each] of (spec[direction] ?? []).entries()) {
    const verdict = judge(world, each, flow, direction)
    if (verdict !== undefined) return { rule, verdict }
  }
  return undefined
}

const VERDICTS: Readonly<Record<string, Verdict>> = { Accept: 'allow', Deny: 'deny', Pass: 'pass' }

function judge(world: World, rule: ClusterRule, flow: Flow, direction: Direction): Verdict | undefined {
  const peers = (direction === 'ingress' ? rule.from : rule.to) ?? []
  const protocols = rule.protocols ?? []
  const verdict = VERDICTS[rule.action]
  const isKnown =
    verdict !== undefined && peers.every(peer => isKnownPeer(peer, rule, direction)) && protocols.every(isKnownProtocol)
  if (!isKnown) return rule.action === 'Accept' ? undefined : 'deny'
  const matches = peers.some(
    peer =>
      isOfPeer(world, peer, flow, direction) &&
      (protocols.length === 0 || protocols.some(protocol => isOfProtocol(world, protocol, peer, flow))),
  )
  return matches ? verdict : undefined
}

function isKnownPeer(peer: ClusterPeer, { action }: ClusterRule, direction: Direction): boolean {
  if (peer.namespaces !== undefined || peer.pods !== undefined) return true
  if (direction === 'ingress') return false
  if (peer.networks !== undefined) return peer.networks.every(isCidr)
  return peer.nodes !== undefined || (peer.domainNames !== undefined && action === 'Accept')
}

function isCidr(cidr: string): boolean {
  try {
    contains(cidr, '0.0.0.0')
    return cidr.includes('/')
  } catch (error) {
    if (error instanceof Unreadable) return false
    throw error
  }
}

function isKnownProtocol({ tcp, udp, sctp, destinationNamedPort }: ClusterProtocol): boolean {
  if (destinationNamedPort !== undefined) return true
  const ports = tcp ?? udp ?? sctp
  if (ports === undefined) return false
  const { destinationPort } = ports
  return destinationPort === undefined || destinationPort.number !== undefined || destinationPort.range !== undefined
}

function isOfSubject(
  world: World,
  { namespaces, pods }: ClusterSubject,
  pod: { namespace?: string; own: NonNullable<LabelSelector['matchLabels']> },
): boolean {
  const { namespace = '', own } = pod
  if (namespaces !== undefined) return isChosenNamespace(world, namespaces, namespace)
  if (pods === undefined) return false
  return isChosenNamespace(world, pods.namespaceSelector ?? {}, namespace) && matchesLabels(pods.podSelector ?? {}, own)
}

function isOfPeer(world: World, peer: ClusterPeer, flow: Flow, direction: Direction): boolean {
  const { address } = direction === 'ingress' ? flow.from : flow.to
  if (peer.namespaces !== undefined || peer.pods !== undefined)
    return endpointsOf(world).some(each => each.kind === 'Pod' && has(each, address) && isOfSubject(world, peer, each))
  if (peer.networks !== undefined) return peer.networks.some(network => contains(network, address))
  if (peer.nodes !== undefined)
    return ofKind(world, 'Node').some(
      node =>
        matchesLabels(peer.nodes!, node.metadata.labels ?? {}) &&
        nodeAddresses(node).some(each => sameAddress(each, address)),
    )
  return (peer.domainNames ?? []).some(pattern => wasTold(world, pattern, flow))
}

/** Whether the sender got the destination as an answer for a name of the pattern. */
function wasTold({ answers = [] }: World, pattern: string, { from, to }: Flow): boolean {
  const { name, namespace } = from.pod!.metadata
  return answers.some(
    answer =>
      answer.pod === `${namespace}/${name}` &&
      isOfPattern(pattern, answer.name) &&
      answer.addresses.some(address => sameAddress(address, to.address)),
  )
}

function isOfPattern(pattern: string, name: string): boolean {
  const [wanted, asked] = [pattern, name].map(each => each.toLowerCase().replace(/\.$/, ''))
  return wanted!.startsWith('*.') ? asked!.endsWith(wanted!.slice(1)) && asked! !== wanted!.slice(1) : wanted === asked
}

function isOfProtocol(world: World, protocol: ClusterProtocol, peer: ClusterPeer, flow: Flow): boolean {
  const { destinationPort } = flow
  const { destinationNamedPort } = protocol
  if (destinationNamedPort !== undefined)
    // names are of ports of pods: beside addresses they mean nothing
    return (
      (peer.namespaces !== undefined || peer.pods !== undefined) &&
      endpointsOf(world).some(
        each =>
          each.kind === 'Pod' &&
          has(each, flow.to.address) &&
          each.ports.some(
            port =>
              port.name === destinationNamedPort && port.protocol === flow.protocol && port.port === destinationPort,
          ),
      )
    )
  for (const name of ['tcp', 'udp', 'sctp'] as const) {
    const ports = protocol[name]
    if (ports === undefined || protocolOf(name) !== flow.protocol) continue
    const wanted = ports.destinationPort
    if (wanted === undefined) return true
    if (destinationPort === undefined) return false
    if (wanted.number !== undefined) return wanted.number === destinationPort
    return wanted.range!.start <= destinationPort && destinationPort <= wanted.range!.end
  }
  return false
}
