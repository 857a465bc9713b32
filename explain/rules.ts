// Rules (`ip rule`) of others that a packet meets before the main table: which of them is the one that decides, where that is certain. Pure.
import type { LookupFacts, RouteFacts, RuleFacts, WayFacts } from '../api/explain.ts'
import type { Evidence } from '../api/explanation.ts'
import { type Crossing, evidence, type Finding, known, type Place, stopped } from './crossing.ts'

/** Of several that match the one that the agent found to take packets of pods. */
export function decidingRule(place: Place, way: WayFacts): RuleFacts | undefined {
  const matching = matchingRules(way)
  return matching.length === 1 ? matching[0] : toldRule(place, way)
}

/** The agent asked the kernel with and without it. */
export function toldRule({ facts }: Place, way: WayFacts): RuleFacts | undefined {
  const told = facts?.conditions.filter(
    ({ type, status, reason }) => type === 'ForeignRoutesPass' && status === 'False' && reason === 'ForeignRule',
  )
  const named = matchingRules(way).filter(({ priority, text }) =>
    told?.some(({ object }) => object?.name.endsWith(` ${priority}: ${text}`)),
  )
  return named.length === 1 ? named[0] : undefined
}

function matchingRules(way: WayFacts): RuleFacts[] {
  return known(way.rules)?.filter(({ matches, gone }) => matches && gone !== true) ?? []
}

/** Nothing looks into the main table, so that no route there counts. */
export function mainRuleGone(c: Crossing, { node }: Place, way: WayFacts, says: Evidence): Finding | undefined {
  if (known(way.rules)?.some(({ gone }) => gone === true) !== true) return undefined
  return stopped(
    {
      code: 'RuleMissing',
      node,
      object: { kind: 'Rule', name: 'from all lookup main' },
      message: `${node} has no rule that looks into the table main, where the routes are`,
      values: { ip: commandOf(c) },
    },
    says,
    evidence(way.rules, 'no rule leads all packets to the table main'),
  )
}

export function diverted(
  c: Crossing,
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
      values: { priority, ip: commandOf(c) },
    },
    says,
    evidence(way.rules, `rule ${text} comes before the main table and matches`),
  )
}

/** `ip rule` is about IPv4 where nothing in its words says otherwise. */
function commandOf({ packet }: Crossing): string {
  return packet.family === 'ipv6' ? 'ip -6' : 'ip'
}

/** By device and next hop; a route to a pod has no gateway. */
export function isSameWay(a: RouteFacts, b: RouteFacts): boolean {
  return a.type === b.type && a.device === b.device && a.gateway === b.gateway
}

/** Of several next hops the wanted route shows its first one, and the kernel the one that this packet takes. */
export function isAnotherHop({ wanted }: WayFacts, route: RouteFacts, ours: RouteFacts): boolean {
  return (
    wanted?.divergence === undefined &&
    route.protocol === 'margay' &&
    route.prefix === ours.prefix &&
    route.table === ours.table
  )
}

export function routeOf(said: LookupFacts | undefined): RouteFacts | undefined {
  return said !== undefined && 'route' in said ? said.route : undefined
}
