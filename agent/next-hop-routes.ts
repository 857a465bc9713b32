// What routes of the kernel say of next hops that they lead to, and the search along routes that lead to each other's. Pure.
import type { NextHop, Route } from '../kernel/port/routes.ts'
import type { NamedNextHop } from '../kernel/reconcile/objects.ts'

/** What is on a link of this host costs nothing, nor does a route with its family's default metric. */
export function costOf({ gateway, nextHops, metric = 0 }: Route): number {
  return gateway === undefined && nextHops === undefined ? 0 : metric
}

/**
 * Whether `look` finds something at a prefix or at those that it has followed from there. Each is looked at once, however many
 * next hops lead to it.
 */
export function isFoundOnWay(
  prefix: string,
  look: (prefix: string, follow: (over: string) => void) => boolean,
): boolean {
  const way = new Set([prefix])
  for (const each of way) if (look(each, over => way.add(over))) return true
  return false
}

/** The next hops by which a route leads to an address: on a link of the route itself that address. Those of links without a name are none. */
export function waysTo(
  address: string,
  route: Route,
  nameOf: (ifindex: number) => string | undefined,
): readonly NamedNextHop[] {
  const hops: readonly Partial<NextHop>[] = route.nextHops ?? [route]
  return hops.flatMap(({ gateway = address, ifindex, onlink, weight }) => {
    const interfaceName = ifindex === undefined ? undefined : nameOf(ifindex)
    if (interfaceName === undefined) return []
    return [{ gateway, interfaceName, ...(onlink && { onlink }), ...(weight !== undefined && { weight }) }]
  })
}

/** Where packets go by a route. */
export function wayOf(route: Route | undefined): string {
  const { gateway, ifindex, nextHops, protocol } = route ?? {}
  return JSON.stringify([gateway, ifindex, nextHops, protocol])
}

export function lengthOf(prefix: string): number {
  return Number(prefix.split('/')[1])
}

/** The identity of a next hop: a link-local one is another on each interface. */
export function keyOf(nextHop: string, link: string | undefined): string {
  return link === undefined ? nextHop : `${nextHop}%${link}`
}
