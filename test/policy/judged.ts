// A packet of the tests as policies are asked about it.
import type { JudgedPacket } from '../../felix/policy/verdict.ts'
import { keyOf } from './model.ts'
import { sameAddress } from './reference/addresses.ts'
import { isJudged, podOfAddress } from './reference/endpoints.ts'
import type { World } from './reference/objects.ts'
import { addressOf, type Packet } from './reference.ts'

const ENDS = { egress: 'from', ingress: 'to' } as const
const DIRECTIONS = ['egress', 'ingress'] as const

/** The packet as both its ends see it, with the pods that it is judged for. */
export function judgedOf(world: World, packet: Packet) {
  const [source, destination] = [packet.from, packet.to].map(party => addressOf(world, party, packet.family)) as [
    string,
    string,
  ]
  const { protocol, sourcePort, destinationPort, icmp } = packet
  const ports = sourcePort !== undefined && destinationPort !== undefined
  const seen: JudgedPacket = {
    ...{ source, destination, protocol },
    ...(ports && { ports: { source: sourcePort, destination: destinationPort } }),
    ...(icmp !== undefined && { icmp }),
  }
  const pods = sameAddress(source, destination)
    ? []
    : DIRECTIONS.flatMap(direction => {
        const pod = podOfAddress(world, direction === 'egress' ? source : destination)
        return pod !== undefined && isJudged(pod) && !('node' in packet[ENDS[direction]])
          ? [[direction, keyOf(pod)] as const]
          : []
      })
  return { seen, pods }
}
