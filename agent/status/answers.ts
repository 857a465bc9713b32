// What `GET /status` says of a peer and of a pod's interface. Pure.
import type { AgentStatus } from '../../api/answers.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import type { Endpoint } from '../../cni/endpoints.ts'

type PeerAnswer = AgentStatus['peers'][number]
type EndpointAnswer = NonNullable<AgentStatus['endpoints']>[number]

/** A peer in the words of `calicoctl node status`, with the reason when it is not up. */
export function peerAnswer({ name, address, asn, state, sinceMs, reason, flaps, prefixes }: PeerStatus): PeerAnswer {
  return {
    name,
    address,
    type: peerType(name),
    asn,
    state,
    since: new Date(sinceMs).toISOString(),
    reason: reason?.code ?? '',
    detail: reason?.detail ?? '',
    flaps,
    prefixes,
  }
}

/** Calico's word for where a session comes from; the names are those of `cluster/peers.ts`. */
function peerType(name: string): PeerAnswer['type'] {
  if (name.startsWith('Mesh_')) return 'node-to-node mesh'
  return name.startsWith('Node_') ? 'node specific' : 'global'
}

/** A pod's interface as the operator knows it. */
export function endpointAnswer({ id, interfaceName, addresses, pod }: Endpoint): EndpointAnswer {
  return { id, interface: interfaceName, addresses: [...addresses], pod }
}
