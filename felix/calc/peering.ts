// Where pods find the BGP speaker of their node: an address that no interface has, and that the local table leads here. Pure.
// On an interface it would become the source of what the node sends to pods there (inet_select_addr, RFC 6724), and be one of its
// addresses to all programs that list them.
import { ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import { type Family, hostPrefix } from '../../lib/ip.ts'
import type { Peering } from '../input.ts'

/** `local ADDRESS dev lo table local`, of each family in which some pod is a peer. */
export function peeringRoutes(
  { ipv4, ipv6 }: Peering,
  protocol: number,
  pods: { hasPeer(family: Family): boolean },
): NamedRoute[] {
  const common = { table: ROUTE_TABLE.local, type: 'local', protocol, interfaceName: 'lo' } as const
  return [
    ...(ipv4 !== undefined && pods.hasPeer('ipv4')
      ? [{ ...common, dst: hostPrefix(ipv4), scope: ROUTE_SCOPE.host }]
      : []),
    // IPv6 routes have no scope
    ...(ipv6 !== undefined && pods.hasPeer('ipv6')
      ? [{ ...common, dst: hostPrefix(ipv6), scope: ROUTE_SCOPE.universe }]
      : []),
  ]
}
