// Tunnel endpoints take one address each from the same blocks as pods, under Calico's handle ids and type words, so
// that a node that changes sides finds its tunnel address again.
import type { AssignRequest } from './port.ts'

/** The request for the address of a node's tunnel device; asking again gives the same address. */
export function tunnelRequest(tunnel: 'ipip' | 'vxlan', node: string): AssignRequest {
  return {
    handle: `${tunnel}-tunnel-addr-${node}`,
    attributes: { node, type: `${tunnel}TunnelAddress` },
    families: ['ipv4'],
    use: 'Tunnel',
    tunnel,
  }
}
