// What routes of the kernel say of next hops that they lead to, and the search along routes that lead to each other's. Pure.
import type { Route } from '../kernel/port/routes.ts'

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

/** Where packets go by a route. */
export function wayOf(route: Route | undefined): string {
  const { gateway, ifindex, nextHops, protocol } = route ?? {}
  return JSON.stringify([gateway, ifindex, nextHops, protocol])
}

export function lengthOf(prefix: string): number {
  return Number(prefix.split('/')[1])
}
