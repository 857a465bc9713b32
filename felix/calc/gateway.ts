// The node's own route to the address that all pods have as their gateway.
import { GATEWAY } from '../../kernel/pod-interface.ts'
import { ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'

/** The destination of the route that `gatewayRoute` makes. */
export const GATEWAY_DST = `${GATEWAY.ipv4}/32`
/** Any metric but 0: a route to this address that somebody else made (a node behind such a gateway itself) wins. */
const GATEWAY_METRIC = 1024

/**
 * `169.254.1.1 dev UPLINK scope link`: proxy ARP on pod interfaces answers only for an address that the node has a route
 * to over another interface (arp_process in net/ipv4/arp.c), and a node may have no default route. The uplink itself never
 * answers: the route leads back to it. Not over `lo`, which would forward a packet to this address until its TTL ends.
 */
export function gatewayRoute(uplink: string, protocol: number): NamedRoute | undefined {
  if (uplink === 'lo') return undefined
  return {
    dst: GATEWAY_DST,
    table: ROUTE_TABLE.main,
    type: 'unicast',
    protocol,
    scope: ROUTE_SCOPE.link,
    interfaceName: uplink,
    metric: GATEWAY_METRIC,
  }
}
