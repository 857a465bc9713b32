// Routes as the kernel takes them and as we want them: with indices, and with the names of interfaces. Of several next hops the
// kernel gets those whose links carry packets: it takes no route that leads over a link that is down, and goes on using one whose
// link has lost its carrier.
import { familyOf } from '../../lib/ip.ts'
import { drops, type NextHop, ROUTE_SCOPE, type Route, type RouteChange, type RoutePort } from '../port/routes.ts'
import type { LinkView } from './link-view.ts'
import type { NextHopGroups } from './next-hops.ts'
import type { NamedNextHop, NamedRoute } from './objects.ts'
import { failureOf, noInterface, type WriteFailure } from './outcome.ts'
import type { Write } from './table.ts'

/** Routes that need no gateway go first: they may be the way to one. Deletions are never in one batch with others. */
export async function writeRoutes(
  kernel: Pick<RoutePort, 'changeRoutes'>,
  links: LinkView,
  groups: NextHopGroups,
  writes: readonly Write<NamedRoute>[],
): Promise<(WriteFailure | undefined)[]> {
  const failures: (WriteFailure | undefined)[] = writes.map(() => undefined)
  const direct: { i: number; change: RouteChange }[] = []
  const indirect: { i: number; change: RouteChange }[] = []
  for (const [i, write] of writes.entries()) {
    const { verb, value } = write
    const shown =
      value.nextHops === undefined || verb === 'delete' ? value : asShown(value, value.nextHops, links, groups)
    // what was written counts as the wanted route only while the links are as they are now: never the same object
    if (value.nextHops !== undefined) write.shown = shown
    const { interfaceName } = shown
    const link =
      interfaceName === undefined ? undefined : (links.byName(interfaceName) ?? (await links.find(interfaceName)))
    if (interfaceName !== undefined && link === undefined) {
      // what was on an interface went away with it
      if (verb !== 'delete') failures[i] = noInterface(interfaceName)
      continue
    }
    const route: Route = unnamed(shown, link?.index)
    if (shown.nextHops !== undefined) {
      const found = await indexed(shown.nextHops, links)
      if (verb === 'delete' && found.hops.length === 0) continue
      if (verb !== 'delete' && found.missing !== undefined) {
        failures[i] = noInterface(found.missing)
        continue
      }
      route.nextHops = found.hops
    }
    const isDirect = route.gateway === undefined && route.nextHops === undefined && route.nextHopId === undefined
    const list = isDirect ? direct : indirect
    list.push({ i, change: { verb, route } })
  }
  const sent = [...direct, ...indirect]
  if (sent.length === 0) return failures
  const refusals = await kernel.changeRoutes(sent.map(({ change }) => change))
  for (const [n, { i }] of sent.entries()) {
    const refusal = refusals[n]
    if (refusal !== undefined) failures[i] = failureOf(refusal, routeText(writes[i]!.value))
  }
  return failures
}

/** As `ip route` has it, with the interface's name: an index means nothing to a person. `words`: what else of it is said. */
export function routeText({ dst, type, gateway, interfaceName, metric, nextHops }: NamedRoute, words = ''): string {
  const rest = `${metric === undefined ? '' : ` metric ${metric}`}${words}`
  // `ip route` takes nothing after next hops
  const ways = nextHops === undefined ? `${wayText({ gateway, interfaceName })}${rest}` : `${rest}${hopsText(nextHops)}`
  return `${type === 'unicast' ? '' : `${type} `}${dst}${ways}`
}

function hopsText(hops: readonly NamedNextHop[]): string {
  return hops.map(hop => ` nexthop${wayText(hop)}${hop.weight === undefined ? '' : ` weight ${hop.weight}`}`).join('')
}

function wayText({ gateway, interfaceName }: { gateway?: string | undefined; interfaceName?: string | undefined }) {
  return `${gateway === undefined ? '' : ` via ${gateway}`}${interfaceName === undefined ? '' : ` dev ${interfaceName}`}`
}

/** Whether the kernel's route is the wanted one. A wanted route without an interface takes whichever the gateway is on. */
export function sameRoute(wanted: NamedRoute, seen: NamedRoute, links: LinkView, groups: NextHopGroups): boolean {
  return (
    wanted.type === seen.type &&
    wanted.protocol === seen.protocol &&
    wanted.source === seen.source &&
    wanted.mtu === seen.mtu &&
    (wanted.scope === seen.scope || familyOf(seen.dst) === 'ipv6') &&
    leadsAsWanted(wanted, seen, links, groups)
  )
}

function leadsAsWanted(wanted: NamedRoute, seen: NamedRoute, links: LinkView, groups: NextHopGroups): boolean {
  if (seen.nextHopId !== undefined) return groups.leads(seen.nextHopId, wanted)
  if (wanted.nextHops === undefined) return sameWay(wanted, seen)
  return groups.idOf(wanted.nextHops) === undefined && sameNextHops(wanted.nextHops, seen, links)
}

function sameWay(wanted: NamedRoute, seen: NamedRoute): boolean {
  return (
    seen.nextHops === undefined &&
    wanted.gateway === seen.gateway &&
    (wanted.onlink ?? false) === (seen.onlink ?? false) &&
    (wanted.interfaceName === seen.interfaceName ||
      drops(seen.type) ||
      (wanted.interfaceName === undefined && seen.gateway !== undefined))
  )
}

/** Whether packets take the wanted next hops: all that carry packets, and beside them only those that the kernel leaves out itself. */
function sameNextHops(wanted: readonly NamedNextHop[], seen: NamedRoute, links: LinkView): boolean {
  const live = liveHops(wanted, links)
  const isAlone = seen.nextHops === undefined
  const found: readonly Partial<NamedNextHop>[] = seen.nextHops ?? [seen]
  const isAmong = (hop: Partial<NamedNextHop>, hops: readonly Partial<NamedNextHop>[]) =>
    hops.some(other => sameHop(hop, other, { weighs: !isAlone }))
  return (
    live.every(hop => isAmong(hop, found)) &&
    found.every(
      hop => isAmong(hop, live) || (isAmong(hop, wanted) && links.byName(hop.interfaceName ?? '')?.up === false),
    )
  )
}

function sameHop(a: Partial<NamedNextHop>, b: Partial<NamedNextHop>, { weighs }: { weighs: boolean }): boolean {
  return (
    a.gateway === b.gateway &&
    a.interfaceName === b.interfaceName &&
    (a.onlink ?? false) === (b.onlink ?? false) &&
    (!weighs || (a.weight ?? 1) === (b.weight ?? 1))
  )
}

/** Those whose links carry packets; where there is none, those whose links are up; else all. */
function liveHops(hops: readonly NamedNextHop[], links: LinkView): readonly NamedNextHop[] {
  const running = hops.filter(({ interfaceName }) => links.byName(interfaceName)?.running)
  if (running.length > 0) return running
  const up = hops.filter(({ interfaceName }) => links.byName(interfaceName)?.up)
  return up.length > 0 ? up : hops
}

/** The route by its group, or with the next hops that packets can take now. */
function asShown(
  value: NamedRoute,
  nextHops: readonly NamedNextHop[],
  links: LinkView,
  groups: NextHopGroups,
): NamedRoute {
  const { nextHops: _, ...rest } = value
  const nextHopId = groups.idToWrite(nextHops)
  if (nextHopId !== undefined) return { ...rest, nextHopId }
  const live = liveHops(nextHops, links)
  const [first, second] = live
  if (second !== undefined) return { ...value, nextHops: live }
  const { weight: __, ...only } = first!
  return { ...rest, ...only }
}

async function indexed(
  named: readonly NamedNextHop[],
  links: LinkView,
): Promise<{ hops: NextHop[]; missing?: string }> {
  const hops: NextHop[] = []
  let missing: string | undefined
  for (const { interfaceName, ...hop } of named) {
    const link = links.byName(interfaceName) ?? (await links.find(interfaceName))
    if (link === undefined) missing = interfaceName
    else hops.push({ ...hop, ifindex: link.index })
  }
  return missing === undefined ? { hops } : { hops, missing }
}

/** Field by field: of a hundred thousand routes a rest of an object takes longer than the kernel needs for them. */
function unnamed(named: NamedRoute, ifindex: number | undefined): { [K in keyof Required<Route>]: Route[K] } {
  const { dst, table, type, protocol, gateway, onlink, metric, source, mtu, nextHopId } = named
  const [scope, nextHops] = [scopeOf(named), undefined]
  return { dst, table, type, protocol, scope, gateway, onlink, nextHops, nextHopId, metric, source, mtu, ifindex }
}

/** IPv6 has no scopes. */
function scopeOf({ dst, scope }: Pick<Route, 'dst' | 'scope'>): number {
  return familyOf(dst) === 'ipv6' ? ROUTE_SCOPE.universe : scope
}

/** A kernel's route by the names of its interfaces. One that went meanwhile has none, or an empty one among several next hops. */
export function namedRoute(route: Route, nameOf: (ifindex: number) => string | undefined): NamedRoute {
  const { ifindex, nextHops, ...rest } = route
  const interfaceName = ifindex === undefined ? undefined : nameOf(ifindex)
  const out: NamedRoute = rest
  if (interfaceName !== undefined) out.interfaceName = interfaceName
  if (nextHops !== undefined)
    out.nextHops = nextHops.map(({ ifindex: index, ...hop }) => ({ ...hop, interfaceName: nameOf(index) ?? '' }))
  return out
}
