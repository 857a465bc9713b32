// The reference evaluator: what the policies of a cluster say of one packet, by the objects of the API themselves. Written
// from the specifications alone, slow and separate: nothing of felix/, agent/ or api/ is used, so that it can be wrong
// only in its own ways.
//
// In order, per pod and direction (https://docs.tigera.io/calico/latest/network-policy/policy-tiers/tiered-policy):
// tiers by `order`, those without one after all others, then by name; a tier that is no object comes behind all that are.
// In a tier, policies that select the pod by `order`, then by the string name/namespace/kind. In a policy, rules as
// listed. Allow and Deny are final, Pass leaves the tier, Log says nothing. A tier of which some policy was asked and said
// nothing ends with its default action. What no tier decided is for the profile of the pod's namespace, which allows.
import { familyOf, sameAddress } from './reference/addresses.ts'
import { calicoFinds, calicoHas, calicoSelects } from './reference/calico.ts'
import { clusterFinds, clusterSelects, clusterTier } from './reference/cluster.ts'
import {
  addressesOf,
  type Endpoint,
  endpointsOf,
  isJudged,
  nodeAddresses,
  podOfAddress,
} from './reference/endpoints.ts'
import type { Direction, End, Flow, Found } from './reference/flow.ts'
import { kubernetesFinds, kubernetesHas, kubernetesSelects } from './reference/kubernetes.ts'
import { type CalicoPolicy, ofKind, type Pod, type World } from './reference/objects.ts'

/** Pods are named `namespace/name`. A node sends from its first address of the packet's family unless one is given. */
export type Party = { pod: string } | { node: string; address?: string } | { address: string }

export type Packet = {
  from: Party
  to: Exclude<Party, { node: string }>
  family: 4 | 6
  /** The number of the protocol of IP. */
  protocol: number
  sourcePort?: number
  destinationPort?: number
  icmp?: { type: number; code: number }
  /** It came back to its sender by the translation of a Service. */
  viaService?: true
}

export type Reason =
  | { by: 'rule'; kind: string; namespace?: string; name: string; tier: string; rule: number }
  | { by: 'tier'; tier: string }
  | { by: 'profile'; profile: string }
  | { by: 'not judged'; why: string }

export type Decision = { verdict: 'allow' | 'deny'; reason: Reason }

/** `allowed`: both ends let it pass. */
export type Judgement = { egress: Decision; ingress: Decision; allowed: boolean }

/** What the policies say of the first packet of a connection. Throws when the world has no such pod, node or address. */
export function judge(world: World, packet: Packet): Judgement {
  const flow: Flow = {
    ...packet,
    from: endOf(world, packet.from, packet.family),
    to: endOf(world, packet.to, packet.family),
  }
  const toItself = sameAddress(flow.from.address, flow.to.address) && packet.viaService !== true
  const egress = toItself ? notJudged('to its own address') : judgeEnd(world, flow, 'egress')
  const ingress = toItself ? notJudged('to its own address') : judgeEnd(world, flow, 'ingress')
  return { egress, ingress, allowed: egress.verdict === 'allow' && ingress.verdict === 'allow' }
}

/** The address that a packet to or from the party has. Throws when it has none. */
export function addressOf(world: World, party: Party, family: 4 | 6): string {
  if ('address' in party && party.address !== undefined) return party.address
  const addresses = 'pod' in party ? podAddresses(podNamed(world, party.pod), world) : addressesOfNode(world, party)
  const address = addresses.find(each => familyOf(each) === family)
  if (address === undefined) throw new Error(`no address of IPv${family}: ${JSON.stringify(party)}`)
  return address
}

function podNamed(world: World, name: string): Pod {
  const pod = ofKind(world, 'Pod').find(({ metadata }) => `${metadata.namespace}/${metadata.name}` === name)
  if (pod === undefined) throw new Error(`no pod ${name}`)
  return pod
}

function podAddresses(pod: Pod, world: World): readonly string[] {
  const own = addressesOf(pod)
  return own.length === 0 && !isJudged(pod) ? addressesOfNode(world, { node: pod.spec.nodeName ?? '' }) : own
}

function addressesOfNode(world: World, party: Party): string[] {
  const name = 'node' in party ? party.node : ''
  return ofKind(world, 'Node')
    .filter(({ metadata }) => metadata.name === name)
    .flatMap(nodeAddresses)
}

function endOf(world: World, party: Party, family: 4 | 6): End {
  const address = addressOf(world, party, family)
  if ('node' in party) return { address, node: party.node }
  if ('pod' in party) {
    const pod = podNamed(world, party.pod)
    return isJudged(pod) ? { address, pod } : { address, node: pod.spec.nodeName }
  }
  const node = ofKind(world, 'Node').find(each => nodeAddresses(each).some(own => sameAddress(own, address)))
  return { address, pod: podOfAddress(world, address), node: node?.metadata.name }
}

const notJudged = (why: string): Decision => ({ verdict: 'allow', reason: { by: 'not judged', why } })

function judgeEnd(world: World, flow: Flow, direction: Direction): Decision {
  const { pod } = direction === 'egress' ? flow.from : flow.to
  if (pod === undefined) return notJudged('no pod')
  // a node reaches its own pods: its kubelet must, and it could take the rules away
  if (direction === 'ingress' && flow.from.node !== undefined && flow.from.node === pod.spec.nodeName)
    return notJudged('from its own node')
  const { metadata } = pod
  const endpoint = endpointsOf(world).find(
    ({ kind, name, namespace }) => kind === 'Pod' && name === metadata.name && namespace === metadata.namespace,
  )!
  for (const tier of tiersOf(world)) {
    const asked = policiesOf(world, tier.name).filter(policy => policy.has(direction) && policy.selects(endpoint))
    if (asked.length === 0) continue
    let passes = tier.action === 'pass'
    for (const policy of asked) {
      const found = policy.finds(flow, direction)
      if (found === undefined) continue
      const { kind, name, namespace } = policy
      const reason: Reason = { by: 'rule', kind, name, namespace, tier: tier.name, rule: found.rule }
      if (found.verdict !== 'pass') return { verdict: found.verdict, reason }
      passes = true
      break
    }
    if (!passes) return { verdict: 'deny', reason: { by: 'tier', tier: tier.name } }
  }
  // the profile of a namespace is made of it: none without the other
  const profile = `kns.${metadata.namespace}`
  const isThere = ofKind(world, 'Namespace').some(({ metadata: { name } }) => name === metadata.namespace)
  return { verdict: isThere ? 'allow' : 'deny', reason: { by: 'profile', profile } }
}

type TierPlace = { name: string; order: number; action: 'deny' | 'pass'; isObject: boolean }

/** What every cluster has, whatever objects of these names say. */
const BUILT_IN: readonly TierPlace[] = [
  { name: 'kube-admin', order: 1000, action: 'pass', isObject: true },
  { name: 'default', order: 1_000_000, action: 'deny', isObject: true },
  { name: 'kube-baseline', order: 10_000_000, action: 'pass', isObject: true },
]

/** All tiers, in the order in which they are asked. */
export function tiersOf(world: World): TierPlace[] {
  const tiers = [...BUILT_IN]
  const add = (tier: TierPlace) => {
    if (!tiers.some(({ name }) => name === tier.name)) tiers.push(tier)
  }
  for (const { metadata, spec } of ofKind(world, 'Tier'))
    add({
      name: metadata.name,
      order: spec.order ?? Number.POSITIVE_INFINITY,
      action: spec.defaultAction === 'Pass' ? 'pass' : 'deny',
      isObject: true,
    })
  for (const { spec } of calicoPolicies(world))
    add({ name: tierOf(spec.tier), order: Number.POSITIVE_INFINITY, action: 'deny', isObject: false })
  return tiers.sort(
    (a, b) => Number(b.isObject) - Number(a.isObject) || compare(a.order, b.order) || compare(a.name, b.name),
  )
}

type Asked = {
  kind: string
  name: string
  namespace?: string
  order: number
  has(direction: Direction): boolean
  selects(pod: Endpoint): boolean
  finds(flow: Flow, direction: Direction): Found
}

/** The policies of a tier that are enforced, in the order in which they are asked. */
function policiesOf(world: World, tier: string): Asked[] {
  const asked: Asked[] = []
  for (const policy of calicoPolicies(world))
    if (tierOf(policy.spec.tier) === tier)
      asked.push({
        kind: policy.kind,
        name: policy.metadata.name,
        namespace: policy.kind === 'NetworkPolicy' ? policy.metadata.namespace : undefined,
        order: policy.spec.order ?? Number.POSITIVE_INFINITY,
        has: direction => calicoHas(policy.spec, direction),
        selects: pod => calicoSelects(policy, pod),
        finds: (flow, direction) => calicoFinds(world, policy, flow, direction),
      })
  for (const policy of ofKind(world, 'NetworkPolicy', 'networking.k8s.io/v1'))
    if (tier === 'default')
      asked.push({
        kind: 'KubernetesNetworkPolicy',
        name: policy.metadata.name,
        namespace: policy.metadata.namespace,
        order: 1000,
        has: direction => kubernetesHas(policy, direction),
        selects: pod => kubernetesSelects(policy, pod),
        finds: (flow, direction) => kubernetesFinds(world, policy, flow, direction),
      })
  for (const policy of ofKind(world, 'ClusterNetworkPolicy'))
    if (clusterTier(policy) === tier)
      asked.push({
        kind: 'KubernetesClusterNetworkPolicy',
        name: policy.metadata.name,
        order: policy.spec.priority,
        has: direction => (policy.spec[direction] ?? []).length > 0,
        selects: pod => clusterSelects(world, policy, pod),
        finds: (flow, direction) => clusterFinds(world, policy, flow, direction),
      })
  const place = ({ name, namespace = '', kind }: Asked) => `${name}/${namespace}/${kind}`
  return asked.sort((a, b) => compare(a.order, b.order) || compare(place(a), place(b)))
}

function calicoPolicies(world: World): CalicoPolicy[] {
  const versions = ['projectcalico.org/v3', 'crd.projectcalico.org/v1'] as const
  return [...ofKind(world, 'NetworkPolicy', ...versions), ...ofKind(world, 'GlobalNetworkPolicy', ...versions)]
}

const tierOf = (tier: string | undefined) => (tier === undefined || tier === '' ? 'default' : tier)

function compare<T>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}
