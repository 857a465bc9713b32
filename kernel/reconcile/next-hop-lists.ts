// Lists of next hops, which routes share, and how they are told apart. Pure.
import type { GroupMember } from '../port/next-hops.ts'
import type { NamedNextHop, RouteWay } from './objects.ts'

export type NextHops = readonly NamedNextHop[]

/** Where packets go by a wanted route, as a list; undefined: nowhere that an object could lead to. */
export function hopsOf({ nextHops, gateway, interfaceName, onlink }: RouteWay): NextHops | undefined {
  if (nextHops !== undefined) return nextHops
  if (gateway === undefined || interfaceName === undefined) return undefined
  return [{ gateway, interfaceName, ...(onlink && { onlink }) }]
}

/** What a group has, as a key. */
export function contentOf(group: readonly GroupMember[]): string {
  return group.map(({ id, weight = 1 }) => `${id}*${weight}`).join()
}

/** The same next hops in any order have the same key. */
export function keyOf(hops: NextHops): string {
  return hops.map(textOf).sort().join()
}

/** As `ip nexthop` has it. */
export function textOf({ gateway, interfaceName, onlink, weight = 1 }: NamedNextHop): string {
  const share = weight === 1 ? '' : ` weight ${weight}`
  return `${gateway} dev ${interfaceName}${onlink ? ' onlink' : ''}${share}`
}
