// What the kernel of a node says of a packet: rules, routes, reverse path, forwarding. The answer of the look-up with source and
// device is the truth of what happens; its error alone is no cause, since several faults give the same one (a reverse path filter, a
// blackhole: EINVAL; forwarding off, an unreachable route: EHOSTUNREACH). Each cause needs a second fact. Pure.
import type { RouteFacts, WayFacts } from '../api/explain.ts'
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
import { decidingRule, diverted, isAnotherHop, isSameWay, mainRuleGone, routeOf, toldRule } from './rules.ts'
import { forwardingOff, ipv6ForwardingOff, ipv6Off, isWayBackWrong, reversePath } from './settings.ts'

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
  const off = ipv6Off(c, place, way)
  if (off !== undefined) return at('forwarding', stopped(off))
  if (said === undefined)
    return at('route', unknown(`${place.node} was not asked for a route: ${absenceOf(way.lookup)}`))
  return 'route' in said ? byRoute(c, place, way, said.route) : byError(c, place, way, said)
}

function byRoute(c: Crossing, place: Place, way: WayFacts, route: RouteFacts): Judged {
  const { target } = c
  const { node } = place
  const says = evidence(way.lookup, `${target.address}: ${routeText(route)}`)
  if (route.type === 'local') {
    // several nodes may share an address for services of their own
    if (target.role === 'node' && target.node !== undefined && target.node !== node)
      return at('route', unknown(`${node} itself has ${target.address}, an address of ${nameOf(target)} too`, says))
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
  const off = ipv6ForwardingOff(c, place, way)
  if (off !== undefined) return at('forwarding', stopped(off, says))
  const wanted = way.wanted?.route
  if (isDropping(route)) return dropped(c, place, way, says)
  if (wanted === undefined) {
    const origin = way.wanted?.origin
    if (origin?.of === 'none' && target.role === 'pod') return at('route', noWay(c, place, origin, route, says))
    return at('route', passes(`leaves ${node} by ${hopText(route)}`, says))
  }
  if (isSameWay(route, wanted) || isAnotherHop(way, route, wanted)) return at('route', passes(routeText(route), says))
  // lengths of prefixes, and what is lost, only mean something within one table
  if (route.table !== wanted.table) {
    const rule = decidingRule(place, way)
    if (rule !== undefined)
      return at('rule', diverted(c, place, way, rule, `${routeText(route)} of table ${route.table}`, says))
    return at('rule', unknown(`${node} sends it ${hopText(route)} by table ${route.table}; why is not known`, says))
  }
  const plain = routeOf(known(way.plain))
  if (plain === undefined || !isSameWay(plain, route))
    return at(
      'rule',
      unknown(`${node} sends it ${hopText(route)}, not ${hopText(wanted)}; which rule does that is not known`, says),
    )
  const length = (each: RouteFacts) => parseCidr(each.prefix)?.length ?? 0
  const object = { kind: 'Route', name: route.prefix }
  const is = `${node} sends it by the route ${routeText(route)} of protocol ${route.protocol}`
  const values = { route: inWords(route) }
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
  const gone = mainRuleGone(c, place, way, says)
  if (gone !== undefined && said.errno === 'ENETUNREACH') return at('rule', gone)
  const off = forwardingOff(place, way, said.errno) ?? ipv6ForwardingOff(c, place, way)
  if (off !== undefined) return at('forwarding', stopped(off, says))
  if (isWayBackWrong(place, way, said.errno))
    return at(
      'reversePath',
      unknown(`${node} refuses ${c.packet.source}, to which it has not the right way back itself`, says),
    )
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
    const rule = decidingRule(place, way)
    if (rule !== undefined) return at('rule', diverted(c, place, way, rule, said.errno, says))
    return at(
      'rule',
      unknown(
        `${node} answers ${said.errno} for this packet and has a route for others; which rule or setting does that is not known`,
        says,
      ),
    )
  }
  if (way.wanted?.divergence !== 'missing' && wanted !== undefined) {
    const rule = decidingRule(place, way)
    if (rule !== undefined) return at('rule', diverted(c, place, way, rule, said.errno, says))
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
      // the next hop of a tunnel is in no subnet of its device
      values: { route: `${inWords(wanted)}${way.outer === undefined ? '' : ' onlink'}` },
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

function dropped(c: Crossing, place: Place, way: WayFacts, says: Evidence): Judged {
  const { target } = c
  const { node } = place
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
  const rule = toldRule(place, way)
  if (rule !== undefined) return at('rule', diverted(c, place, way, rule, 'nowhere', says))
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

function at(at: At, finding: Finding): Judged {
  return { at, finding }
}

function isDropping({ type }: RouteFacts): boolean {
  return type === 'unreachable' || type === 'blackhole' || type === 'prohibit'
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

/** As `ip route` takes it, which knows our protocol by its number alone on most hosts. */
function inWords(route: RouteFacts): string {
  const { protocol } = route
  return `${routeText(route)}${/^\w+$/.test(protocol) && protocol !== 'margay' ? ` proto ${protocol}` : ''}`
}

function setBy({ protocol }: RouteFacts): Pick<Found, 'setBy'> {
  return { setBy: { who: 'foreign', text: `whoever writes routes of protocol ${protocol}` } }
}
