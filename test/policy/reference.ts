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
import { addressesOf, endpointsOf, isJudged, nodeAddresses, podOfAddress } from './reference/endpoints.ts'
import type { Direction, End, Flow } from './reference/flow.ts'
import { ofKind, type Pod, type World } from './reference/objects.ts'
import { byProfiles, type Decision, throughTiers } from './reference/tiers.ts'

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

/** `allowed`: both ends let it pass. */
export type Judgement = { egress: Decision; ingress: Decision; allowed: boolean }

/** What the policies say of the first packet of a connection. Throws when the world has no such pod, node or address. */
export function judge(world: World, packet: Packet): Judgement {
  const flow = flowOf(world, packet)
  const toItself = sameAddress(flow.from.address, flow.to.address) && packet.viaService !== true
  const egress = toItself ? notJudged('to its own address') : judgeEnd(world, flow, 'egress')
  const ingress = toItself ? notJudged('to its own address') : judgeEnd(world, flow, 'ingress')
  return { egress, ingress, allowed: egress.verdict === 'allow' && ingress.verdict === 'allow' }
}

/** The packet with what the world knows of its ends. Throws as `judge`. */
export function flowOf(world: World, packet: Packet): Flow {
  return {
    ...packet,
    from: endOf(world, packet.from, packet.family),
    to: endOf(world, packet.to, packet.family),
  }
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
  return (
    throughTiers(world, { endpoint, flow, direction, stages: ['normal', 'forward'] }) ??
    byProfiles(world, [`kns.${metadata.namespace}`])
  )
}
