// A route's attributes as text, and how the daemons of the interop suite are told to announce them. What a daemon cannot be
// told is missing in its own list, with the reason.
/** What a route carries, as text; the way that all tools are read into. Absent: not on the route, or not told by the tool. */
export type Carried = {
  origin?: 'IGP' | 'EGP' | 'INCOMPLETE'
  asPath?: readonly number[]
  nextHop?: string
  med?: number
  localPref?: number
  atomicAggregate?: boolean
  /** `asn address`. */
  aggregator?: string
  communities?: readonly string[]
  /** `rt:A:B` and `ro:A:B`. */
  extended?: readonly string[]
  large?: readonly string[]
  originatorId?: string
  clusterList?: readonly string[]
  otc?: number
}

/** Everything that a route can carry, but for the path's first AS and what reflection adds. */
export const EVERYTHING = {
  origin: 'EGP',
  asPath: [64500, 4200000001],
  med: 77,
  localPref: 222,
  atomicAggregate: true,
  aggregator: '4200000001 192.0.2.77',
  communities: ['65010:1', '65010:2'],
  extended: ['ro:65010:5', 'rt:65010:100'],
  large: ['4200000001:1:2'],
} as const satisfies Carried

/** BIRD: statements of a filter. Its language reads ATOMIC_AGGREGATE and AGGREGATOR but cannot set them. */
export function birdStatements(c: Carried): string {
  const pair = (text: string) => `(${text.replaceAll(':', ', ')})`
  const lines = [
    ...[...(c.asPath ?? [])].reverse().map(asn => `bgp_path.prepend(${asn})`),
    ...(c.communities ?? []).map(text => `bgp_community.add(${pair(text)})`),
    ...(c.extended ?? []).map(text => `bgp_ext_community.add(${pair(text)})`),
    ...(c.large ?? []).map(text => `bgp_large_community.add(${pair(text)})`),
  ]
  if (c.origin !== undefined) lines.push(`bgp_origin = ORIGIN_${c.origin}`)
  if (c.med !== undefined) lines.push(`bgp_med = ${c.med}`)
  if (c.localPref !== undefined) lines.push(`bgp_local_pref = ${c.localPref}`)
  return lines.map(line => `${line};`).join(' ')
}

/** FRR: a route map called `carried`. */
export function frrRouteMap(c: Carried): string {
  const of = (kind: string) => c.extended?.filter(text => text.startsWith(kind)).map(text => text.slice(3))
  const sets: [string, string | number | undefined][] = [
    ['as-path prepend', c.asPath?.join(' ')],
    ['origin', c.origin?.toLowerCase()],
    ['metric', c.med],
    ['local-preference', c.localPref],
    ['community', c.communities?.join(' ')],
    ['extcommunity rt', of('rt:')?.join(' ')],
    ['extcommunity soo', of('ro:')?.join(' ')],
    ['large-community', c.large?.join(' ')],
    ['atomic-aggregate', c.atomicAggregate ? '' : undefined],
    ['aggregator as', c.aggregator],
  ]
  const lines = sets.flatMap(([name, value]) => (value === undefined ? [] : [` set ${name} ${value}`]))
  return ['route-map carried permit 10', ...lines, 'exit'].join('\n')
}

/** GoBGP: words of `gobgp global rib add`, which have none for ATOMIC_AGGREGATE, nor for communities of RFC 4360 here. */
export function gobgpWords(c: Carried): string[] {
  const words: [string, string | number | undefined][] = [
    ['origin', c.origin?.toLowerCase()],
    ['aspath', c.asPath?.join(',')],
    ['med', c.med],
    ['local-pref', c.localPref],
    ['community', c.communities?.join(',')],
    ['large-community', c.large?.join(',')],
    ['aggregator', c.aggregator?.replace(' ', ':')],
  ]
  return words.flatMap(([name, value]) => (value === undefined ? [] : [name, String(value)]))
}

/** OpenBGPD: what `network` sets. Of the path it can only repeat its own AS; aggregation it cannot set. */
export function openbgpdSet(c: Carried): string {
  const words = [
    `origin ${c.origin?.toLowerCase() ?? 'igp'}`,
    ...(c.med === undefined ? [] : [`med ${c.med}`]),
    ...(c.localPref === undefined ? [] : [`localpref ${c.localPref}`]),
    ...(c.communities ?? []).map(text => `community ${text}`),
    ...(c.extended ?? []).map(text => `ext-community ${text.replace(':', ' ').replace('ro ', 'soo ')}`),
    ...(c.large ?? []).map(text => `large-community ${text}`),
  ]
  return `set { ${words.join(' ')} }`
}

/** A route in ExaBGP's own words; a next hop that it does not name is `nextHop`. */
export function exabgpRoute(route: { prefix: string } & Carried, nextHop: string): string {
  const words = [`route ${route.prefix} next-hop ${route.nextHop ?? nextHop}`]
  const say = (name: string, value: string | number | undefined) =>
    value !== undefined && words.push(`${name} ${value}`)
  const list = (values: readonly (string | number)[] | undefined) => values && `[ ${values.join(' ')} ]`
  say('origin', route.origin?.toLowerCase())
  say('as-path', list(route.asPath))
  say('med', route.med)
  say('local-preference', route.localPref)
  if (route.atomicAggregate) words.push('atomic-aggregate')
  say('aggregator', route.aggregator && `( ${route.aggregator.replace(' ', ':')} )`)
  say('community', list(route.communities))
  say('extended-community', list(route.extended?.map(text => text.replace('rt:', 'target:').replace('ro:', 'origin:'))))
  say('large-community', list(route.large))
  say('originator-id', route.originatorId)
  say('cluster-list', list(route.clusterList))
  return `${words.join(' ')};`
}
