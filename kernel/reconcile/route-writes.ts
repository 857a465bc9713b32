// Routes as the kernel takes them and as we want them: with indices, and with the names of interfaces. Of several next hops the
// kernel gets those whose links carry packets: it takes no route that leads over a link that is down, and goes on using one whose
// link has lost its carrier.
import { familyOf } from '../../lib/ip.ts'
import { drops, type NextHop, ROUTE_SCOPE, type Route, type RouteChange, type RoutePort } from '../port/routes.ts'
import type { LinkView } from './link-view.ts'
import type { NextHopGroups } from './next-hops.ts'
import { dstOf, type NamedNextHop, type NamedRoute, type RouteWay } from './objects.ts'
import { failureOf, noInterface, type WriteFailure } from './outcome.ts'
import type { Write } from './table.ts'

/** Routes that need no gateway go first: they may be the way to one. Deletions are never in one batch with others. */
export async function writeRoutes(
  kernel: Pick<RoutePort, 'changeRoutes'>,
  links: LinkView,
  groups: NextHopGroups,
  writes: readonly Write<RouteWay>[],
): Promise<(WriteFailure | undefined)[]> {
  const failures: (WriteFailure | undefined)[] = writes.map(() => undefined)
  const direct: { i: number; change: RouteChange }[] = []
  const indirect: { i: number; change: RouteChange }[] = []
  // many routes are alike
  const puts = new Map<RouteWay, ToWrite>()
  const deletions = new Map<RouteWay, ToWrite>()
  for (const [i, write] of writes.entries()) {
    const { verb, key, value } = write
    const known = verb === 'delete' ? deletions : puts
    const way = known.get(value) ?? (await toWrite(value, links, groups, { forDelete: verb === 'delete' }))
    known.set(value, way)
    // what was written counts as the wanted route only while the links are as they are now: never the same object
    if (value.nextHops !== undefined) write.shown = way.shown
    // what was on an interface went away with it
    if (way.missing !== undefined && verb !== 'delete') failures[i] = noInterface(way.missing)
    if (way.route === undefined) continue
    const dst = dstOf(key)
    // IPv6 has no scopes
    const scope = familyOf(dst) === 'ipv6' ? ROUTE_SCOPE.universe : way.route.scope
    const list = way.isDirect ? direct : indirect
    list.push({ i, change: { verb, route: { ...way.route, dst, scope } } })
  }
  const sent = [...direct, ...indirect]
  if (sent.length === 0) return failures
  const refusals = await kernel.changeRoutes(sent.map(({ change }) => change))
  for (const [n, { i }] of sent.entries()) {
    const refusal = refusals[n]
    if (refusal === undefined) continue
    const { key, value } = writes[i]!
    failures[i] = failureOf(refusal, routeText({ ...value, dst: dstOf(key) }))
  }
  return failures
}

/** `route` absent: there is nothing to write; `missing`: an interface that is not there. */
type ToWrite = { shown: RouteWay; route?: Omit<Route, 'dst'>; isDirect?: boolean; missing?: string }

async function toWrite(
  value: RouteWay,
  links: LinkView,
  groups: NextHopGroups,
  { forDelete }: { forDelete: boolean },
): Promise<ToWrite> {
  const shown = value.nextHops === undefined || forDelete ? value : asShown(value, value.nextHops, links, groups)
  const { interfaceName } = shown
  const link =
    interfaceName === undefined ? undefined : (links.byName(interfaceName) ?? (await links.find(interfaceName)))
  if (interfaceName !== undefined && link === undefined) return { shown, missing: interfaceName }
  const { nextHops: named, interfaceName: _, ...rest } = shown
  const route: Omit<Route, 'dst'> = { ...rest, ifindex: link?.index }
  if (named !== undefined) {
    const { hops, missing } = await indexed(named, links)
    if (forDelete ? hops.length === 0 : missing !== undefined) return { shown, missing }
    route.nextHops = hops
  }
  const isDirect = route.gateway === undefined && route.nextHops === undefined && route.nextHopId === undefined
  return { shown, route, isDirect }
}

/** As `ip route` has it, with the interface's name: an index means nothing to a person. `words`: what else of it is said. */
export function routeText({ dst, type, gateway, interfaceName, metric, nextHops }: NamedRoute, words = ''): string {
  const rest = `${metric === undefined ? '' : ` metric ${metric}`}${words}`
  // `ip route` takes nothing after next hops
  const ways = nextHops === undefined ? `${wayText({ gateway, interfaceName })}${rest}` : `${rest}${hopsText(nextHops)}`
  return `${type === 'unicast' ? '' : `${type} `}${dst}${ways}`
}

/** What another program can change of a route, in the words of `ip route`. */
export function wayWords({ metric: _, ...way }: RouteWay): string {
  const { nextHopId, source, mtu, protocol } = way
  const group = nextHopId === undefined ? '' : ` nhid ${nextHopId}`
  const rest = `${source === undefined ? '' : ` src ${source}`}${mtu === undefined ? '' : ` mtu ${mtu}`}`
  return routeText({ ...way, dst: '' }, `${group} proto ${protocol}${rest}`)
    .trim()
    .replace(/ {2,}/g, ' ')
}

function hopsText(hops: readonly NamedNextHop[]): string {
  return hops.map(hop => ` nexthop${wayText(hop)}${hop.weight === undefined ? '' : ` weight ${hop.weight}`}`).join('')
}

function wayText({ gateway, interfaceName }: { gateway?: string | undefined; interfaceName?: string | undefined }) {
  return `${gateway === undefined ? '' : ` via ${gateway}`}${interfaceName === undefined ? '' : ` dev ${interfaceName}`}`
}

/** Whether the kernel's route is the wanted one. A wanted route without an interface takes whichever the gateway is on. */
export function sameRoute(
  key: string,
  wanted: RouteWay,
  seen: RouteWay,
  links: LinkView,
  groups: NextHopGroups,
): boolean {
  return (
    wanted.type === seen.type &&
    wanted.protocol === seen.protocol &&
    wanted.source === seen.source &&
    wanted.mtu === seen.mtu &&
    (wanted.scope === seen.scope || familyOf(key) === 'ipv6') &&
    leadsAsWanted(wanted, seen, links, groups)
  )
}

function leadsAsWanted(wanted: RouteWay, seen: RouteWay, links: LinkView, groups: NextHopGroups): boolean {
  if (seen.nextHopId !== undefined) return groups.leads(seen.nextHopId, wanted)
  if (wanted.nextHops === undefined) return sameWay(wanted, seen)
  return groups.idOf(wanted.nextHops) === undefined && sameNextHops(wanted.nextHops, seen, links)
}

function sameWay(wanted: RouteWay, seen: RouteWay): boolean {
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
function sameNextHops(wanted: readonly NamedNextHop[], seen: RouteWay, links: LinkView): boolean {
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
function asShown(value: RouteWay, nextHops: readonly NamedNextHop[], links: LinkView, groups: NextHopGroups): RouteWay {
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
