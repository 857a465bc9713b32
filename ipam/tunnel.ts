// Tunnel endpoints take one address each from the same blocks as pods, under Calico's handle ids and type words, so
// that a node that changes sides finds its tunnel address again.
import type { AssignRequest } from './port.ts'

/** The addresses that a node's tunnels have; that of IPv6 is one for VXLAN over either family. */
export type TunnelKind = 'ipip' | 'vxlan' | 'vxlanV6'

const REQUESTS = {
  ipip: { word: 'ipip', family: 'ipv4', tunnel: 'ipip' },
  vxlan: { word: 'vxlan', family: 'ipv4', tunnel: 'vxlan' },
  vxlanV6: { word: 'vxlan-v6', family: 'ipv6', tunnel: 'vxlan' },
} as const

/** The request for an address of a node's tunnels; asking again gives the same address. */
export function tunnelRequest(kind: TunnelKind, node: string): AssignRequest {
  const { word, family, tunnel } = REQUESTS[kind]
  return {
    handle: `${word}-tunnel-addr-${node}`,
    attributes: { node, type: `${kind}TunnelAddress` },
    families: [family],
    use: 'Tunnel',
    tunnel,
  }
}
