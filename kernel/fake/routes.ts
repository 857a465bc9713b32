// Routes of the fake as the kernel tells them, and which one a deletion means. Pure.
import { addressBits, type Family, familyOf, maskAddress } from '../../lib/ip.ts'
import type { Address } from '../port/addresses.ts'
import {
  defaultMetric,
  drops,
  type NextHop,
  ROUTE_PROTOCOL,
  ROUTE_SCOPE,
  ROUTE_TABLE,
  type Route,
} from '../port/routes.ts'

/** A route with the fields that the kernel tells, and no others. */
export function canonical({ ...route }: Route): Route {
  const [first, second] = route.nextHops ?? []
  if (first !== undefined && second === undefined) {
    const { weight: _, ...only } = first
    Object.assign(route, only, { nextHops: undefined })
  }
  if (route.metric === defaultMetric(route.dst)) delete route.metric
  if (!isIpv4(route.dst)) route.scope = ROUTE_SCOPE.universe
  if (!route.onlink) delete route.onlink
  if (drops(route.type)) delete route.ifindex
  for (const [field, value] of Object.entries(route)) if (value === undefined) delete route[field as keyof Route]
  return route
}

function sameNextHops(some: readonly NextHop[], others: readonly NextHop[]): boolean {
  const texts = (hops: readonly NextHop[]) =>
    hops
      .map(hop => `${hop.gateway} ${hop.ifindex}`)
      .toSorted()
      .join()
  return texts(some) === texts(others)
}

/** Whether a route is the one that a deletion means. */
export function describes(wanted: Route, found: Route): boolean {
  return (
    wanted.type === found.type &&
    wanted.protocol === found.protocol &&
    (wanted.scope === found.scope || !isIpv4(found.dst)) &&
    (wanted.nextHopId === undefined || wanted.nextHopId === found.nextHopId) &&
    (wanted.gateway === undefined || wanted.gateway === found.gateway) &&
    (wanted.ifindex === undefined || drops(found.type) || wanted.ifindex === found.ifindex) &&
    (wanted.nextHops === undefined || !isIpv4(found.dst) || sameNextHops(wanted.nextHops, found.nextHops ?? []))
  )
}

/** What an address brings along: itself in the local table, and its subnet in the main one. */
export function addressRoutes({ ifindex, address, length }: Address): Route[] {
  const family: Family = familyOf(address)
  const bits = addressBits(family)
  const common = { protocol: ROUTE_PROTOCOL.kernel, ifindex }
  const v4 = family === 'ipv4'
  const own: Route = {
    ...common,
    dst: `${address}/${bits}`,
    table: ROUTE_TABLE.local,
    type: 'local',
    scope: v4 ? ROUTE_SCOPE.host : ROUTE_SCOPE.universe,
    ...(v4 ? { source: address } : { metric: 0 }),
  }
  if (v4 && length === bits) return [own]
  const subnet: Route = {
    ...common,
    dst: `${maskAddress(address, length)}/${length}`,
    table: ROUTE_TABLE.main,
    type: 'unicast',
    scope: v4 ? ROUTE_SCOPE.link : ROUTE_SCOPE.universe,
    ...(v4 ? { source: address } : { metric: 256 }),
  }
  return [own, subnet]
}

export function isIpv4(text: string): boolean {
  return familyOf(text) === 'ipv4'
}
