// What the kernel of a node says of a packet: rules, routes, reverse path, forwarding. The answer of the look-up with source and
// device is the truth of what happens; its error alone is no cause, since several faults give the same one (a reverse path filter, a
// blackhole: EINVAL; forwarding off, an unreachable route: EHOSTUNREACH). Each cause needs a second fact. Pure.
import type { LookupFacts, RouteFacts, RuleFacts, SettingFact, WayFacts } from '../api/explain.ts'
import type { Evidence, StepName } from '../api/explanation.ts'
import { parseCidr } from '../lib/ip.ts'
import type { Found } from './causes.ts'
import {
  absenceOf,
  type Crossing,
  evidence,
  type Finding,
  known,
  nameOf,
  type Place,
  passes,
  stopped,
  unknown,
} from './crossing.ts'
import { noWay } from './no-way.ts'

type At = Extract<StepName, 'rule' | 'route' | 'reversePath' | 'forwarding'>
type Judged = { at: At; finding: Finding }

/** In the order of the kernel. What comes after the one that stops is not met. */
const ORDER: readonly At[] = ['rule', 'route', 'reversePath', 'forwarding']
const KEPT: Readonly<Record<At, string>> = {
  rule: 'no rule of others takes it elsewhere',
  route: 'the kernel has the way',
  reversePath: 'the reverse path filter lets it in',
  forwarding: 'the node forwards it',
}

/** One of the four steps, at the node where the packet begins (`near`) or where it comes in (`far`). */
export function routeStep(c: Crossing, at: At, which: 'near' | 'far'): Finding | undefined {
  const place = c[which]
  if (place === undefined || (which === 'far' && c.isOneNode)) return undefined
  const way = which === 'near' ? c.way : c.arrival
  if (way === undefined) return at === 'route' ? unknown(`${place.node} does not say what its kernel does`) : undefined
  const judged = judge(c, place, way)
  if (judged.at === at) return judged.finding
  return ORDER.indexOf(at) < ORDER.indexOf(judged.at) || judged.finding.verdict === 'passes'
    ? passes(KEPT[at])
    : undefined
}

function judge(c: Crossing, place: Place, way: WayFacts): Judged {
  const said = known(way.lookup)
  if (said === undefined)
    return at('route', unknown(`${place.node} was not asked for a route: ${absenceOf(way.lookup)}`))
  return 'route' in said ? byRoute(c, place, way, said.route) : byError(c, place, way, said)
}

function byRoute(c: Crossing, place: Place, way: WayFacts, route: RouteFacts): Judged {
  const { target } = c
  const { node } = place
  const says = evidence(way.lookup, `${target.address}: ${routeText(route)}`)
  if (route.type === 'local') {
    if (target.role !== 'pod') return at('route', passes(`${node} has ${target.address}`, says))
    const device = route.device === undefined || route.device === 'lo' ? 'its interface' : route.device
    return at(
      'route',
      stopped(
        {
          code: 'RouteLocalHere',
          node,
          object: { kind: 'Address', name: target.address },
          message: `${node} itself has ${target.address}, the address of ${nameOf(target)}${device === 'its interface' ? '' : `, on ${device}`}`,
          values: { address: target.address, device },
        },
        says,
      ),
    )
  }
  const wanted = way.wanted?.route
  if (isDropping(route)) return dropped(c, place, way, says)
  if (wanted === undefined) {
    const origin = way.wanted?.origin
    if (origin?.of === 'none' && target.role === 'pod') return at('route', noWay(c, place, origin, route, says))
    return at('route', passes(`leaves ${node} by ${hopText(route)}`, says))
  }
  if (isSameWay(route, wanted)) return at('route', passes(routeText(route), says))
  const rule = diverting(way, wanted)
  if (rule !== undefined)
    return at('rule', diverted(place, way, rule, `${routeText(route)} of table ${route.table}`, says))
  const plain = routeOf(known(way.plain))
  if (plain === undefined || !isSameWay(plain, route))
    return at(
      'rule',
      unknown(`${node} sends it ${hopText(route)}, not ${hopText(wanted)}; which rule does that is not known`, says),
    )
  const length = (each: RouteFacts) => parseCidr(each.prefix)?.length ?? 0
  const object = { kind: 'Route', name: route.prefix }
  const is = `${node} sends it by the route ${routeText(route)} of protocol ${route.protocol}`
  const values = { route: deletable(route) }
  if (length(route) < length(wanted))
    return at('route', missing(place, way, wanted, `packets take ${routeText(route)}`, says))
  const code = length(route) > length(wanted) ? 'RouteShadowed' : 'RouteElsewhere'
  return at(
    'route',
    stopped({ code, node, object, message: `${is}, not by ${routeText(wanted)}`, values, ...setBy(route) }, says),
  )
}

function byError(c: Crossing, place: Place, way: WayFacts, said: { errno: string; message: string }): Judged {
  const { target } = c
  const { node } = place
  const says = evidence(way.lookup, `${target.address}: ${said.errno} (${said.message})`)
  const off = forwardingOff(place, way, said.errno)
  if (off !== undefined) return at('forwarding', stopped(off, says))
  const filtered = reversePath(c, place, way, said.errno)
  if (filtered !== undefined) return at('reversePath', stopped(filtered, says))
  const plain = known(way.plain)
  if (plain === undefined)
    return at(
      'route',
      unknown(`${node} answers ${said.errno} for ${target.address}; why is not known: ${absenceOf(way.plain)}`, says),
    )
  const wanted = way.wanted?.route
  if ('route' in plain && !isDropping(plain.route)) {
    const rule = onlyMatch(way)
    if (rule !== undefined) return at('rule', diverted(place, way, rule, said.errno, says))
    return at(
      'rule',
      unknown(
        `${node} answers ${said.errno} for this packet and has a route for others; which rule or setting does that is not known`,
        says,
      ),
    )
  }
  if (way.wanted?.divergence !== 'missing' && wanted !== undefined) {
    const rule = onlyMatch(way)
    if (rule !== undefined) return at('rule', diverted(place, way, rule, said.errno, says))
  }
  if ('route' in plain || plain.errno !== 'ENETUNREACH') return dropped(c, place, way, says)
  const origin = way.wanted?.origin
  if (origin?.of === 'none' && target.role === 'pod') return at('route', noWay(c, place, origin, undefined, says))
  if (wanted !== undefined && (known(way.rules) ?? [undefined]).some(each => each === undefined || each.matches))
    return at('route', unknown(`${node} has no route to ${target.address}, and rules of others that may be why`, says))
  if (wanted !== undefined) return at('route', missing(place, way, wanted, 'there is no other', says))
  return at('route', stopped(noRoute(place, target.address), says))
}

/** The agent wants it, and the kernel has it not. One whose device is down or gone went with it: the step of the device says so. */
function missing({ node }: Place, way: WayFacts, wanted: RouteFacts, but: string, says: Evidence): Finding {
  const link = known(way.leavesBy)
  if (link?.up !== true) {
    const why = link === undefined ? 'whether its device is there is not known' : `${link.name} is down`
    return unknown(`${node} has lost the route ${routeText(wanted)}: ${why}`, says)
  }
  return stopped(
    {
      code: 'RouteMissing',
      node,
      object: { kind: 'Route', name: wanted.prefix },
      message: `${node} has lost the route ${routeText(wanted)}: ${but}`,
      values: { route: deletable(wanted) },
    },
    says,
  )
}

/** Nobody wants one, and there is none: `address` is one outside, or the end of a tunnel, as `use` says. */
export function noRoute({ node, facts }: Place, address: string, use = ''): Found {
  const gone = facts?.conditions.find(({ type, status }) => type === 'DefaultRouteKept' && status === 'False')
  return {
    code: 'RouteMissing',
    node,
    object: { kind: 'Route', name: gone?.object?.name ?? address },
    message: `${node} has no route to ${address}${use}${gone === undefined ? '' : `: ${gone.message}`}`,
    values: { route: gone === undefined ? `${address} via ROUTER` : 'default via ROUTER' },
  }
}

function dropped({ target }: Crossing, { node }: Place, way: WayFacts, says: Evidence): Judged {
  const wanted = way.wanted?.route
  if (wanted !== undefined && isDropping(wanted)) {
    if (way.wanted?.divergence !== undefined)
      return at('route', unknown(`${node} drops packets to ${target.address}`, says))
    return at(
      'route',
      stopped(
        {
          code: 'PodGone',
          node,
          object: { kind: 'Address', name: target.address },
          message: `${node} has the block ${wanted.prefix} and no pod with ${target.address} in it`,
        },
        says,
      ),
    )
  }
  const rule = onlyMatch(way)
  if (rule !== undefined)
    return at('rule', unknown(`${node} drops packets to ${target.address}, by a route or by rule ${rule.text}`, says))
  if ((known(way.rules) ?? [{ matches: true }]).some(({ matches }) => matches))
    return at('rule', unknown(`${node} drops packets to ${target.address}, by a route or by one of its rules`, says))
  return at(
    'route',
    stopped(
      {
        code: 'RouteDrops',
        node,
        object: { kind: 'Route', name: routeOf(known(way.lookup))?.prefix ?? target.address },
        message: `a route of ${node} drops or refuses packets to ${target.address}`,
        values: { address: target.address },
      },
      says,
    ),
  )
}

/** EHOSTUNREACH alone may be an unreachable route as well; the setting says which. IPv6 has one setting for all interfaces. */
function forwardingOff({ node }: Place, way: WayFacts, errno: string): Found | undefined {
  const device = known(way.entersBy)?.name
  if (way.from === 'host' || device === undefined) return undefined
  const off = settings(way).find(
    ({ name, is }) =>
      is === '0' &&
      (settingIs(name, 'ipv4', device, 'forwarding') ||
        settingIs(name, 'ipv6', 'all', 'forwarding') ||
        /\bip_forward$/.test(name)),
  )
  if (off === undefined || (familyOfSetting(off.name) === 'ipv4' && errno !== 'EHOSTUNREACH')) return undefined
  return {
    code: 'ForwardingOff',
    node,
    object: { kind: 'Sysctl', name: off.name },
    message: `${node} does not forward what comes in by ${device}: ${off.name} is 0`,
    values: { setting: off.name },
  }
}

/** Kernels before 6.13 answer EXDEV, later ones EINVAL, which a blackhole answers too. */
function reversePath({ packet }: Crossing, { node }: Place, way: WayFacts, errno: string): Found | undefined {
  if (errno !== 'EINVAL' && errno !== 'EXDEV') return undefined
  const plain = routeOf(known(way.plain))
  const device = known(way.entersBy)?.name
  const back = known(way.ofSource)
  if (plain === undefined || plain.type !== 'unicast' || device === undefined || back === undefined) return undefined
  const filters = ['all', device].map(each =>
    settings(way).find(({ name }) => settingIs(name, 'ipv4', each, 'rp_filter')),
  )
  const [strongest] = filters.filter(each => each !== undefined).toSorted((a, b) => strictness(b.is) - strictness(a.is))
  if (strongest === undefined || filters[1] === undefined) return undefined
  // the kernel takes the larger of both numbers: 2, which is loose, wins over 1
  const effect = Math.max(...filters.map(each => Number(each?.is ?? 0)))
  const byOther =
    'errno' in back
      ? 'has no way back'
      : back.route.device === device
        ? undefined
        : `answers would go by ${back.route.device}`
  if (effect === 0 || byOther === undefined || (effect === 2 && 'route' in back)) return undefined
  const named = filters.find(each => Number(each?.is) === effect)!
  return {
    code: 'ReversePath',
    node,
    object: { kind: 'Sysctl', name: named.name },
    message: `${node} refuses ${packet.source} on ${device}, since ${byOther === 'has no way back' ? 'it has no way back to it' : byOther}: ${named.name} is ${named.is}`,
    values: { setting: named.name, value: named.wanted ?? 0, source: packet.source, device },
  }
}

function strictness(is: string): number {
  return Number(is)
}

/** The rule that takes the packet away from the table where the wanted route is; undefined unless that is certain. */
function diverting(way: WayFacts, wanted: RouteFacts): RuleFacts | undefined {
  const plain = routeOf(known(way.plain))
  if (plain !== undefined && isSameWay(plain, wanted)) return onlyMatch(way)
  const route = routeOf(known(way.lookup))
  return route !== undefined && route.table !== wanted.table ? onlyMatch(way) : undefined
}

function onlyMatch(way: WayFacts): RuleFacts | undefined {
  const matching = known(way.rules)?.filter(({ matches }) => matches) ?? []
  return matching.length === 1 ? matching[0] : undefined
}

function diverted(
  { node }: Place,
  way: WayFacts,
  { text, priority, by }: RuleFacts,
  result: string,
  says: Evidence,
): Finding {
  return stopped(
    {
      code: 'RuleDiverts',
      node,
      object: { kind: 'Rule', name: text },
      message: `${node} follows the rule ${text}, which leads to ${result}`,
      ...(by !== undefined && { setBy: { who: 'foreign', text: by } }),
      values: { priority },
    },
    says,
    evidence(way.rules, `rule ${text} comes before the main table and matches`),
  )
}

function at(at: At, finding: Finding): Judged {
  return { at, finding }
}

/** By device and next hop; a route to a pod has no gateway. */
function isSameWay(a: RouteFacts, b: RouteFacts): boolean {
  return a.type === b.type && a.device === b.device && a.gateway === b.gateway
}

function isDropping({ type }: RouteFacts): boolean {
  return type === 'unreachable' || type === 'blackhole' || type === 'prohibit'
}

function routeOf(said: LookupFacts | undefined): RouteFacts | undefined {
  return said !== undefined && 'route' in said ? said.route : undefined
}

export function routeText(route: RouteFacts): string {
  return `${route.type === 'unicast' ? '' : `${route.type} `}${route.prefix}${route.type === 'unicast' ? ` ${hopText(route)}` : ''}`
}

function hopText({ gateway, device }: RouteFacts): string {
  return [
    ...(gateway === undefined ? [] : [`via ${gateway}`]),
    ...(device === undefined ? [] : [`dev ${device}`]),
  ].join(' ')
}

/** As `ip route del` takes it. */
function deletable(route: RouteFacts): string {
  return `${routeText(route)}${/^\w+$/.test(route.protocol) ? ` proto ${route.protocol}` : ''}`
}

function setBy({ protocol }: RouteFacts): Pick<Found, 'setBy'> {
  return { setBy: { who: 'foreign', text: `whoever writes routes of protocol ${protocol}` } }
}

function settings(way: WayFacts): SettingFact[] {
  return known(way.settings) ?? []
}

/** Names have dots or slashes between their words, and interfaces may have dots in theirs. */
function settingIs(name: string, family: 'ipv4' | 'ipv6', device: string, leaf: string): boolean {
  return ['.', '/'].some(each => name.endsWith([family, 'conf', device, leaf].join(each)))
}

function familyOfSetting(name: string): 'ipv4' | 'ipv6' {
  return name.includes('ipv6') ? 'ipv6' : 'ipv4'
}
