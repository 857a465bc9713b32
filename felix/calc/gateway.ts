// The node's own route to the address that all pods have as their gateway.
import { GATEWAY } from '../../kernel/pod-interface.ts'
import { ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'

/** The destination of the route that `gatewayRoute` makes. */
export const GATEWAY_DST = `${GATEWAY.ipv4}/32`
/** Any metric but 0: a route to this address that somebody else made (a node behind such a gateway itself) wins. */
const GATEWAY_METRIC = 1024

/**
 * `169.254.1.1 dev lo scope link`: proxy ARP on pod interfaces answers only for an address that the node has a unicast route to
 * over another interface (arp_process and arp_fwd_proxy in net/ipv4/arp.c), and a node may have no default route. `lo` alone is
 * there and up whatever becomes of the uplinks. The pod filter drops what is sent to this address, which would go round over `lo`
 * until its TTL ends. The uplink answers only with a `proxy_arp` of its own. IPv6 needs none: pod interfaces have that address.
 */
export function gatewayRoute(protocol: number): NamedRoute {
  return {
    dst: GATEWAY_DST,
    table: ROUTE_TABLE.main,
    type: 'unicast',
    protocol,
    scope: ROUTE_SCOPE.link,
    interfaceName: 'lo',
    metric: GATEWAY_METRIC,
  }
}
