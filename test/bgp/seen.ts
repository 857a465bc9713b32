// What each daemon says that it received from us for one prefix: its own words, read into one type.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Carried } from './carried.ts'
import { birdSocket, openbgpdSocket, vtysh } from './daemons.ts'
import { type Link, OURS, say } from './interop.ts'

/** One reader per daemon, by its name; the paths from us, in no order. */
export const seen: Record<string, (link: Link, prefix: string) => Carried[]> = {
  BIRD: seenByBird,
  'BIRD 3': seenByBird,
  FRR(link, prefix) {
    const answer = JSON.parse(vtysh(link, `show bgp ${familyOf(prefix)} unicast ${prefix} json`)) as {
      paths?: FrrPath[]
    }
    return (answer.paths ?? []).filter(({ peer }) => peer.peerId === OURS[familyOf(prefix)]).map(ofFrr)
  },
  GoBGP(link, prefix) {
    const family = familyOf(prefix)
    const table = JSON.parse(say(link, 'gobgp', 'global', 'rib', '-a', family, prefix, '-j')) as Record<
      string,
      GoPath[]
    >
    return (table[prefix] ?? []).filter(path => path['neighbor-ip'] === OURS[family]).map(({ attrs }) => ofGobgp(attrs))
  },
  OpenBGPD(link, prefix) {
    const text = say(link, 'bgpctl', '-j', '-s', openbgpdSocket(link), 'show', 'rib', 'detail', prefix)
    const { rib = [] } = JSON.parse(text) as { rib?: OpenbgpdPath[] }
    return rib.filter(({ neighbor }) => neighbor.remote_addr === OURS[familyOf(prefix)]).map(ofOpenbgpd)
  },
  ExaBGP(link, prefix) {
    const path = join(link.folder, 'exabgp.heard')
    const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1) : []
    const last = lines
      .map(line => (JSON.parse(line) as ExaUpdate).neighbor.message?.update)
      .findLast(update => JSON.stringify(update?.announce ?? {}).includes(`"${prefix}"`))
    return last === undefined ? [] : [ofExabgp(last)]
  },
}

const familyOf = (prefix: string) => (prefix.includes(':') ? 'ipv6' : 'ipv4')
const present = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T
const number = (text: string | undefined) => (text === undefined ? undefined : Number(text))
/** Tools order extended communities by what they are, not as they came. */
const sorted = (texts: readonly string[] | undefined) => texts && [...texts].sort()

function seenByBird(link: Link, prefix: string): Carried[] {
  return say(link, 'birdc', '-s', birdSocket(link), 'show', 'route', 'all', prefix)
    .split(/^(?=\S.*\[| {21}\S.*\[)/m)
    .slice(1)
    .filter(block => /\[s[46] /.test(block))
    .map(ofBird)
}

function ofBird(block: string): Carried {
  const field = (name: string) => new RegExp(`(?:BGP\\.|bgp_)${name}: *(.*)`).exec(block)?.[1]
  const words = (name: string) => field(name)?.split(' ').filter(Boolean)
  const tuples = (name: string) =>
    field(name)
      ?.slice(1, -1)
      .split(') (')
      .map(text => text.replaceAll(/, ?/g, ':'))
  const [address, asn] = words('aggregator') ?? []
  return present<Carried>({
    origin: ({ IGP: 'IGP', EGP: 'EGP', Incomplete: 'INCOMPLETE' } as const)[field('origin') ?? ''],
    asPath: words('(?:as_)?path')?.map(Number),
    nextHop: words('next_hop')?.[0],
    med: number(field('med')),
    localPref: number(field('local_pref')),
    atomicAggregate: field('atomic_aggr') === undefined ? undefined : true,
    aggregator: address && `${asn?.slice(2)} ${address}`,
    communities: tuples('community'),
    extended: sorted(tuples('ext_community')),
    large: tuples('large_community'),
    originatorId: field('originator_id'),
    clusterList: words('cluster_list'),
    otc: number(field('otc')),
  })
}

type FrrPath = {
  aspath: { segments: { list: number[] }[] }
  aggregatorAs?: number
  aggregatorId?: string
  origin: string
  metric?: number
  locPrf?: number
  atomicAggregate?: boolean
  community?: { list: string[] }
  extendedCommunity?: { string: string }
  largeCommunity?: { list: string[] }
  originatorId?: string
  clusterList?: { list: string[] }
  otc?: number
  nexthops: { ip: string }[]
  peer: { peerId: string }
}

/** It prints those that it knows by name. */
const FRR_COMMUNITIES: Readonly<Record<string, string>> = { llgrStale: '65535:6', gracefulShutdown: '65535:0' }

const ofFrr = (path: FrrPath): Carried =>
  present<Carried>({
    origin: ({ IGP: 'IGP', EGP: 'EGP', incomplete: 'INCOMPLETE' } as const)[path.origin],
    asPath: path.aspath.segments.flatMap(({ list }) => list),
    nextHop: path.nexthops[0]?.ip,
    med: path.metric,
    localPref: path.locPrf,
    atomicAggregate: path.atomicAggregate ? true : undefined,
    aggregator: path.aggregatorAs === undefined ? undefined : `${path.aggregatorAs} ${path.aggregatorId}`,
    communities: path.community?.list.map(text => FRR_COMMUNITIES[text] ?? text),
    extended: sorted(path.extendedCommunity?.string.replaceAll('RT:', 'rt:').replaceAll('SoO:', 'ro:').split(' ')),
    large: path.largeCommunity?.list,
    originatorId: path.originatorId,
    clusterList: path.clusterList?.list,
    otc: path.otc,
  })

type GoAttribute = {
  type: number
  value?: unknown
  as_paths?: { asns: number[] }[]
  nexthop?: string
  metric?: number
  as?: number
  address?: string
  communities?: number[]
}
type GoPath = { 'neighbor-ip'?: string; attrs: GoAttribute[] }

function ofGobgp(attributes: readonly GoAttribute[]): Carried {
  const of = (type: number) => attributes.find(attribute => attribute.type === type)
  const value = <T>(type: number) => of(type)?.value as T | undefined
  const aggregator = of(7)
  return present<Carried>({
    origin: ([undefined, 'IGP', 'EGP', 'INCOMPLETE'] as const)[(value<number>(1) ?? -1) + 1],
    asPath: of(2)?.as_paths?.flatMap(({ asns }) => asns),
    nextHop: of(3)?.nexthop ?? of(14)?.nexthop,
    med: of(4)?.metric,
    localPref: value<number>(5),
    atomicAggregate: of(6) && true,
    aggregator: aggregator && `${aggregator.as} ${aggregator.address}`,
    communities: of(8)?.communities?.map(community => `${community >>> 16}:${community & 0xffff}`),
    extended: sorted(
      value<{ subtype: number; value: string }[]>(16)?.map(c => `${c.subtype === 2 ? 'rt' : 'ro'}:${c.value}`),
    ),
    large: value<{ ASN: number; LocalData1: number; LocalData2: number }[]>(32)?.map(
      c => `${c.ASN}:${c.LocalData1}:${c.LocalData2}`,
    ),
    originatorId: value<string>(9),
    clusterList: value<string[]>(10),
  })
}

type OpenbgpdPath = {
  neighbor: { remote_addr: string }
  aspath: string
  exit_nexthop: string
  origin: string
  metric: number
  localpref: number
  communities?: string[]
  extended_communities?: string[]
  large_communities?: string[]
  attributes?: { type: string; AS?: number; router_id?: string; originator?: string; cluster_list?: string[] }[]
}

function ofOpenbgpd(path: OpenbgpdPath): Carried {
  const of = (type: string) => path.attributes?.find(attribute => attribute.type === type)
  const aggregator = of('Aggregator')
  return present<Carried>({
    origin: ({ IGP: 'IGP', EGP: 'EGP', incomplete: 'INCOMPLETE' } as const)[path.origin],
    asPath: path.aspath.split(' ').filter(Boolean).map(Number),
    nextHop: path.exit_nexthop,
    // it does not tell 0 from absent
    med: path.metric || undefined,
    localPref: path.localpref,
    atomicAggregate: of('Atomic Aggregate') && true,
    aggregator: aggregator && `${aggregator.AS} ${aggregator.router_id}`,
    communities: path.communities,
    extended: sorted(path.extended_communities?.map(text => text.replace('rt ', 'rt:').replace('soo ', 'ro:'))),
    large: path.large_communities,
    originatorId: of('Originator Id')?.originator,
    clusterList: of('Cluster Id List')?.cluster_list,
  })
}

type ExaMessage = {
  attribute?: {
    origin?: 'igp' | 'egp' | 'incomplete'
    'as-path'?: number[]
    med?: number
    'local-preference'?: number
    'atomic-aggregate'?: boolean
    aggregator?: string
    community?: number[][]
    'extended-community'?: { value: number }[]
    'large-community'?: number[][]
    'originator-id'?: string
    'cluster-list'?: string[]
  }
  announce?: Record<string, Record<string, unknown>>
}
type ExaUpdate = { neighbor: { message?: { update?: ExaMessage } } }

function ofExabgp({ attribute: a = {}, announce = {} }: ExaMessage): Carried {
  return present<Carried>({
    origin: a.origin?.toUpperCase() as Carried['origin'],
    asPath: a['as-path'],
    nextHop: Object.keys(Object.values(announce)[0] ?? {})[0],
    med: a.med,
    localPref: a['local-preference'],
    atomicAggregate: a['atomic-aggregate'] ? true : undefined,
    aggregator: a.aggregator?.replace(':', ' '),
    communities: a.community?.map(parts => parts.join(':')),
    extended: sorted(a['extended-community']?.map(({ value }) => ofTwoOctetAs(BigInt(value)))),
    large: a['large-community']?.map(parts => parts.join(':')),
    originatorId: a['originator-id'],
    clusterList: a['cluster-list'],
  })
}

/** An extended community of a two-octet AS (RFC 4360 §3.1) by its number: its text in JSON is ambiguous. */
function ofTwoOctetAs(value: bigint): string {
  const subtype = (value >> 48n) & 0xffn
  return `${subtype === 2n ? 'rt' : 'ro'}:${(value >> 32n) & 0xffffn}:${value & 0xffffffffn}`
}
