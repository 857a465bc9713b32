// Why this node wants the route that it has to an address, or why it wants none, and whether the kernel goes by it. Pure, but for
// what is asked of the RIB.
import type { RouteAnswer } from '../../api/answers.ts'
import type { RouteOrigin, WayFacts } from '../../api/explain.ts'
import { leadsSame } from '../../felix/foreign-rules.ts'
import type { FelixView } from '../../felix/view.ts'
import { KernelError } from '../../kernel/port/error.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import { contains, familyOf, longestMatch, prefixesOf } from '../../lib/ip.ts'
import type { Host } from './host.ts'

/** What the RIB knows of a prefix. */
export type ExplainRoute = (prefix: string) => RouteAnswer

type Found = { route: NamedRoute } | KernelError | undefined

/**
 * `lookup` and `plain`: the kernel's answers with and without the packet's source and device, where there are some. `route`: the
 * wanted one where the kernel has it not.
 */
export function wantedWay(
  host: Host,
  address: string,
  { lookup, plain, explain }: { lookup: Found; plain: Found; explain: ExplainRoute },
): { wanted: NonNullable<WayFacts['wanted']>; route?: NamedRoute } {
  const { view } = host
  const route = wantedRoute(view, address)
  if (route === undefined) return { wanted: { origin: withoutRoute(view, address, plain, explain) } }
  const divergence = divergenceOf(route, lookup, plain, isShadowed(view, route, address))
  return {
    wanted: {
      route: host.routeFacts(route),
      origin: originOf(view, route, explain),
      ...(divergence !== undefined && { divergence }),
    },
    ...(divergence === 'missing' && { route }),
  }
}

/** The wanted route with the longest prefix that holds an address. */
export function wantedRoute({ wanted }: Pick<FelixView, 'wanted'>, address: string): NamedRoute | undefined {
  return longestMatch(wanted.route, address)
}

function originOf(view: FelixView, route: NamedRoute, explain: ExplainRoute): RouteOrigin {
  const { interfaceName, gateway, type, dst } = route
  if (interfaceName !== undefined && gateway === undefined && view.ownsInterface(interfaceName)) return { of: 'pod' }
  if (type === 'blackhole') return { of: 'block' }
  const best = explain(dst).candidates.find(candidate => candidate.best)
  const nextHop = best?.attributes.nextHop ?? gateway ?? route.nextHops?.[0]?.gateway ?? ''
  return { of: 'learned', peer: best?.peer ?? '', nextHop }
}

function withoutRoute(view: FelixView, address: string, plain: Found, explain: ExplainRoute): RouteOrigin {
  const said = [...view.wanted.condition.values()].find(
    ({ object }) => object?.kind === 'Route' && isIn(object.name, address),
  )
  if (said !== undefined) {
    const { reason, message, remedy, object } = said
    return { of: 'none', reason, message, remedy, ...(object && { object }) }
  }
  if (![...view.wanted.destination.keys()].some(pool => isIn(pool, address))) return beside(plain)
  for (const prefix of prefixesOf(address)) {
    const [refused] = explain(prefix).candidates.filter(each => !each.import.accepted)
    if (refused === undefined) continue
    const { reason, detail } = refused.import
    return {
      ...{ of: 'none', reason: 'NotImported', object: { kind: 'Route', name: prefix } },
      message: `${refused.peer} announces ${prefix}, and this node does not take it: ${detail === '' ? reason : detail}`,
      remedy: `look at margayctl bgp route ${prefix} and at the filters of that peer`,
    }
  }
  return {
    ...{ of: 'none', reason: 'NothingAnnounced' },
    message: `no node has announced a block with ${address} to this node`,
    remedy: 'look at the sessions of this node and of the node that has the address (margayctl bgp peers)',
  }
}

/** What is no pool's is the host's own business. */
function beside(plain: Found): RouteOrigin {
  const isConnected =
    plain !== undefined &&
    !(plain instanceof KernelError) &&
    plain.route.protocol === ROUTE_PROTOCOL.kernel &&
    (plain.route.gateway === undefined || plain.route.scope === ROUTE_SCOPE.link)
  return { of: isConnected ? 'connected' : 'outside' }
}

/**
 * `missing`: the wanted route is not in the table. `shadowed`: another one there comes before it. `elsewhere`: the kernel answers by
 * another table for this packet.
 */
function divergenceOf(
  wanted: NamedRoute,
  lookup: Found,
  plain: Found,
  isHidden: boolean,
): NonNullable<WayFacts['wanted']>['divergence'] | undefined {
  if (plain instanceof KernelError) {
    if (wanted.type === 'unicast') return isHidden ? 'shadowed' : 'missing'
  } else if (plain !== undefined) {
    // while no rules are written the kernel tells of what is in the table local as of the main one
    if (plain.route.table !== ROUTE_TABLE.main || plain.route.type === 'local') return 'elsewhere'
    if (!leadsSame(plain.route, wanted)) return lengthOf(plain.route) < lengthOf(wanted) ? 'missing' : 'shadowed'
  }
  if (lookup === undefined || lookup instanceof KernelError || lookup.route.table === ROUTE_TABLE.main) return undefined
  return leadsSame(lookup.route, wanted) ? undefined : 'elsewhere'
}

/** A route that drops packets is told as an error, whoever wrote it. */
function isShadowed(view: FelixView, { dst }: NamedRoute, address: string): boolean {
  return [...view.shadows()].some(({ route, hides }) => hides.dst === dst && isIn(route.dst, address))
}

function lengthOf({ dst }: NamedRoute): number {
  return Number(dst.split('/')[1])
}

function isIn(cidr: string, address: string): boolean {
  return familyOf(cidr) === familyOf(address) && contains(cidr, address)
}
