// A packet of the reference evaluator as the hooks of nodes see it: one hop at the node of its sender, one at that of its
// receiver, or a single one where both are on one node. What is between nodes, or with strangers, passes the uplinks.

import { ethernet } from '../felix/frames.ts'
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

/** The hops of a packet at the nodes of the world, in order. Throws as `judge` does. None for what never leaves a pod or a node. */
export function hopsOf(world: World, packet: Packet, options: Options): Hop[] {
  const { interfaceOf, uplink = 'eth0', state = 'new' } = options
  const from = addressOf(world, packet.from, packet.family)
  const to = addressOf(world, packet.to, packet.family)
  if (sameAddress(from, to) && packet.viaService !== true) return []
  const sender = placeOf(world, packet.from, from)
  const receiver = placeOf(world, packet.to, to)
  const { protocol, sourcePort, destinationPort, icmp } = packet
  const base = {
    bytes: octetsOf({ from, to, protocol, sourcePort, destinationPort, icmp }),
    link: ethernet({ from: '02:00:00:00:00:01', to: 'ee:ee:ee:ee:ee:ee' }, packet.family === 4 ? 0x800 : 0x86dd, NONE),
    ...{ state, status: 0 },
    original: { from, to, sourcePort, destinationPort },
  }
  const at = (node: string, iif: string | undefined, oif: string | undefined): Hop => {
    return { node, packet: { ...base, iif, oif, routes: routesOf(world, node, options) } }
  }
  const iif = sender.pod && interfaceOf(sender.pod)
  const oif = receiver.pod && interfaceOf(receiver.pod)
  if (sender.node !== undefined && sender.node === receiver.node)
    return iif === undefined && oif === undefined ? [] : [at(sender.node, iif, oif)]
  const hops: Hop[] = []
  if (sender.node !== undefined) hops.push(at(sender.node, iif, uplink))
  if (receiver.node !== undefined) hops.push(at(receiver.node, uplink, oif))
  return hops
}

const NONE = new Uint8Array(0)

/** The routes of a node: to its pods by their interfaces, to itself, and to all others by the uplink. */
function routesOf(world: World, name: string, { interfaceOf, uplink = 'eth0' }: Options): HookPacket['routes'] {
  return ({ address, flags, iif, oif }) => {
    const pod = podOfAddress(world, address)
    const node = ofKind(world, 'Node').find(({ metadata }) => metadata.name === name)
    const isOwn = node !== undefined && nodeAddresses(node).some(own => sameAddress(own, address))
    const device = isOwn ? 'lo' : pod?.spec.nodeName === name ? interfaceOf(pod) : uplink
    // asked for one interface, the routes over others are not seen
    const wanted = flags.includes('iif') ? iif : flags.includes('oif') ? oif : undefined
    if (wanted !== undefined && wanted !== device) return {}
    return { oif: device, type: isOwn ? 'local' : 'unicast' }
  }
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
