// A packet of the reference evaluator as the hooks of nodes see it: one hop at the node of its sender, one at that of its
// receiver, or a single one where both are on one node.
import type { ConnectionState, HookPacket } from './interpreter/packet.ts'
import { octetsOf } from './packets.ts'
import { sameAddress } from './reference/addresses.ts'
import { isJudged, nodeAddresses, podOfAddress } from './reference/endpoints.ts'
import { ofKind, type Pod, type World } from './reference/objects.ts'
import { addressOf, type Packet, type Party } from './reference.ts'

export type Hop = { node: string; packet: HookPacket }

type Options = {
  /** The interface of a pod on its node. */
  interfaceOf: (pod: Pod) => string
  /** The interface of every node that leads to others. */
  uplink?: string
  state?: ConnectionState
}

/**
 * The hops of a packet at the nodes of the world, in order. Throws as `judge` does. None for what never leaves a pod, or
 * passes between others than pods.
 */
export function hopsOf(world: World, packet: Packet, { interfaceOf, uplink = 'eth0', state = 'new' }: Options): Hop[] {
  const [from, to] = [packet.from, packet.to].map(party => addressOf(world, party, packet.family)) as [string, string]
  if (sameAddress(from, to) && packet.viaService !== true) return []
  const sender = placeOf(world, packet.from, from)
  const receiver = placeOf(world, packet.to, to)
  const { protocol, sourcePort, destinationPort, icmp } = packet
  const bytes = octetsOf({ from, to, protocol, sourcePort, destinationPort, icmp })
  const base = { bytes, state, original: { from, to, sourcePort, destinationPort } }
  const iif = sender.pod && interfaceOf(sender.pod)
  const oif = receiver.pod && interfaceOf(receiver.pod)
  if (sender.node !== undefined && sender.node === receiver.node)
    return iif === undefined && oif === undefined ? [] : [{ node: sender.node, packet: { ...base, iif, oif } }]
  const hops: Hop[] = []
  if (sender.node !== undefined && iif !== undefined)
    hops.push({ node: sender.node, packet: { ...base, iif, oif: uplink } })
  if (receiver.node !== undefined && oif !== undefined)
    hops.push({ node: receiver.node, packet: { ...base, iif: uplink, oif } })
  return hops
}

function placeOf(world: World, party: Party, address: string): { node?: string; pod?: Pod } {
  if ('node' in party) return { node: party.node }
  const pod =
    'pod' in party
      ? ofKind(world, 'Pod').find(({ metadata }) => `${metadata.namespace}/${metadata.name}` === party.pod)
      : podOfAddress(world, address)
  if (pod !== undefined) return { node: pod.spec.nodeName, pod: isJudged(pod) ? pod : undefined }
  const node = ofKind(world, 'Node').find(each => nodeAddresses(each).some(own => sameAddress(own, address)))
  return { node: node?.metadata.name }
}
