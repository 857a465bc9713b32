// A scenario of Calico's confd, played to the part of an agent that makes sessions and announcements of the cluster's objects,
// and what comes of it beside what Calico tells BIRD.

import type { Announced } from '../../../agent/cluster/advertised.ts'
import type { PeerChange } from '../../../agent/cluster/session-requests.ts'
import type { Session } from '../../../agent/cluster/sessions.ts'
import { ClusterFeed } from '../../../agent/cluster-feed.ts'
import type { Watched } from '../../../agent/cluster-view.ts'
import type { SpeakerIdentity } from '../../../agent/routing.ts'
import { ServiceFeed } from '../../../agent/service-feed.ts'
import { fromCalicoNode } from '../../../api/calico-node.ts'
import type { Kind, Resource } from '../../../api/kinds.ts'
import type { Condition } from '../../../api/status.ts'
import { validate } from '../../../api/validate.ts'
import { BGP_PORT } from '../../../bgp/config.ts'
import type { PeerWay } from '../../../felix/input.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { contains, type Family, familyOf } from '../../../lib/ip.ts'
import { filterDifferences } from './bird-filter.ts'

type CalicoPeer = {
  name: string
  neighbor: string
  as: number
  port?: number
  sourceAddress?: string
  passive?: 'on'
  ttlSecurity: 'on' | 'off'
  multihop?: string
  flags?: readonly string[]
  /** LOCAL_PREF is that of the priority of a route, which is 1024 where nobody says another one. */
  localPrefFromMetric?: true
  rrClusterId?: string
  nextHop?: 'self' | 'keep'
  localAs?: string
  allowLocalAs?: string
  /** Names of `filters`, and what each is called with. */
  importFilters: readonly (readonly [name: string, argument: string])[]
  exportFilters: readonly (readonly [name: string, argument: string])[]
}

/** Of one family. `exported` are statements of BIRD's, `own` its static routes: `blackhole`, or `via` a gateway. */
type CalicoBird = {
  peers: readonly CalicoPeer[]
  filters: Readonly<Record<string, readonly string[]>>
  exported: readonly string[]
  own: readonly (readonly [cidr: string, how: string])[]
  confirmed: readonly string[]
  routerId: string
  listen?: string
  localAs?: number
}

/** What sessions and announcements are made of. */
const READ: readonly string[] = [
  'Node',
  'BGPFilter',
  'BGPPeer',
  'BGPConfiguration',
  'IPPool',
  'Service',
  'EndpointSlice',
] satisfies (Watched | 'Service' | 'EndpointSlice')[]

type Given = { kind: string; metadata: { name: string; labels?: Record<string, unknown> }; spec?: unknown }

export type Scenario = {
  scenario: string
  node: string
  resources: readonly Given[]
  ipv4: CalicoBird
  ipv6: CalicoBird
}

/** One thing in which the two are not the same, by its kind, and in words. */
export type Difference = { kind: string; text: string }

const FAMILIES = ['ipv4', 'ipv6'] as const satisfies readonly Family[]

/** Everything in which this node's sessions and announcements are not Calico's. */
export async function differences(scenario: Scenario): Promise<Difference[]> {
  const { peers, identity, announced, ways, invalid } = await played(scenario)
  const found: Difference[] = invalid.map(text => ({ kind: 'object', text }))
  for (const family of FAMILIES) {
    const calico = scenario[family]
    const mine = peers.filter(({ address }) => address !== undefined && familyOf(address) === family)
    const compared = { localAs: calico.localAs ?? identity.asn, routerId: calico.routerId, port: portOf(calico) }
    found.push(
      ...unlike(family, compared, { localAs: identity.asn, routerId: identity.routerId, port: identity.port }),
      ...calico.peers.flatMap(peer => peerDifferences(peer, mine, calico.localAs ?? identity.asn, calico.filters)),
      ...mine.flatMap(({ name = '', address, port = BGP_PORT }) => {
        const isCalicos = calico.peers.some(each => each.neighbor === address && (each.port ?? BGP_PORT) === port)
        return isCalicos ? [] : [{ kind: 'more peers', text: name }]
      }),
      ...routeDifferences(family, calico, announced, ways),
      ...preferenceDifferences(calico, announced),
    )
  }
  return found
}

function portOf({ listen = '' }: CalicoBird): number {
  return Number(/ port (\d+)$/.exec(listen)?.[1] ?? BGP_PORT)
}

function peerDifferences(
  calico: CalicoPeer,
  mine: readonly Session[],
  localAs: number,
  filters: CalicoBird['filters'],
): Difference[] {
  const { name, neighbor, port = BGP_PORT, importFilters, exportFilters } = calico
  const peer = mine.find(each => each.address === neighbor && (each.port ?? BGP_PORT) === port)
  if (peer === undefined) return [{ kind: 'peers', text: `${name} is missing` }]
  const wanted = {
    name,
    as: calico.as,
    source: calico.sourceAddress,
    passive: calico.passive === 'on',
    ttl: calico.ttlSecurity === 'on' ? Number(calico.multihop) : undefined,
    reflector: calico.flags?.includes('rr client') === true,
    nextHop: calico.nextHop ?? 'auto',
    localAs: Number(calico.localAs ?? localAs),
    ownAsAllowed: calico.allowLocalAs === undefined ? undefined : Number(calico.allowLocalAs),
  }
  const textOf = (names: CalicoPeer['importFilters']) => names.map(([each]) => filters[each] ?? [])
  const filtered = [
    ...filterDifferences(peer, 'import', textOf(importFilters)),
    ...filterDifferences(peer, 'export', textOf(exportFilters)),
  ].map(text => ({ kind: 'filters', text: `${name}: ${text}` }))
  const got = {
    name: peer.name,
    as: peer.asn,
    source: peer.source,
    passive: peer.passive === true,
    ttl: peer.ttlSecurity,
    reflector: peer.reflectorClient === true,
    nextHop: peer.nextHop,
    localAs: peer.localAs ?? localAs,
    ownAsAllowed: peer.allowAsIn,
  }
  return [...unlike(name, wanted, got), ...filtered]
}

function routeDifferences(
  family: Family,
  { confirmed, exported, own }: CalicoBird,
  announced: readonly Announced[],
  ways: ReadonlyMap<string, string>,
): Difference[] {
  const found: Difference[] = []
  for (const [cidr, how] of own)
    if (how.startsWith('via '))
      found.push(...unlike(cidr, { 'static routes': how.slice(4) }, { 'static routes': ways.get(cidr) }))
    else if (!confirmed.includes(cidr) && !announced.some(({ prefix }) => prefix === cidr))
      found.push({ kind: 'services', text: `${cidr} is not announced` })
  for (const { prefix } of announced)
    if (familyOf(prefix) === family && !confirmed.includes(prefix) && !own.some(([cidr]) => cidr === prefix))
      found.push({ kind: 'services', text: `${prefix} is announced` })
  const kept = exported.flatMap(text => /net ~ (\S+?)\s?\) then \{ reject/.exec(text)?.[1] ?? [])
  for (const block of confirmed) {
    const isCalicos = !kept.some(cidr => familyOf(cidr) === familyOf(block) && contains(cidr, block))
    const isMine = announced.some(({ prefix }) => prefix === block)
    if (isCalicos !== isMine) found.push({ kind: 'exports', text: `${block}: ${isMine} here` })
  }
  return found
}

function preferenceDifferences({ peers, confirmed }: CalicoBird, announced: readonly Announced[]): Difference[] {
  const wanted = peers.some(({ localPrefFromMetric }) => localPrefFromMetric) ? 2147483647 - 1024 : undefined
  const mine = announced.filter(({ prefix }) => wanted !== undefined && confirmed.includes(prefix))
  return mine.flatMap(({ prefix, localPref }) => unlike(prefix, { preference: wanted }, { preference: localPref }))
}

function unlike<T extends object>(whose: string, wanted: T, got: { [K in keyof T]: unknown }): Difference[] {
  return Object.entries(wanted).flatMap(([kind, value]) => {
    const mine = got[kind as keyof T]
    return value === mine ? [] : [{ kind, text: `${whose}: ${value}, and ${mine} here` }]
  })
}

/** What a node makes of the objects, as its caches have them: an object that is not valid counts as it was before. */
async function played({ resources, node: nodeName, ipv4, ipv6 }: Scenario) {
  const objects = new Map<string, { metadata: { name: string } }>()
  const invalid: string[] = []
  for (const given of resources) {
    const { kind, object } = asHere(given)
    if (!READ.includes(kind)) continue
    const valid = validate(kind as Kind, object)
    if (Array.isArray(valid)) invalid.push(`${kind} ${given.metadata.name}: ${JSON.stringify(valid)}`)
    else objects.set(`${kind}/${given.metadata.name}`, valid)
  }
  const all = <K extends Kind>(kind: K) =>
    [...objects].flatMap(([key, object]) => (key.startsWith(`${kind}/`) ? [object as Resource<K>] : []))
  const listeners: (() => void)[] = []
  const ways = new Map<string, string>()
  const cacheOf = <K extends Kind>(kind: K) => ({
    ...{ all: () => all(kind), get: () => undefined, size: 0, refused: [], version: undefined, cause: undefined },
    ...{ synced: true, known: true, connected: true, onChange: () => () => undefined, onState: () => () => undefined },
  })
  const services = new ServiceFeed({
    ...{ nodeName, clock: new ManualClock(), changed: () => undefined },
    view: { services: () => cacheOf('Service'), endpointReadiness: () => cacheOf('EndpointSlice') },
  })
  const feed: ClusterFeed = new ClusterFeed({
    nodeName,
    view: {
      all,
      get: (kind, name) => all(kind).find(({ metadata }) => metadata.name === name),
      onChange: (kind, listen) =>
        void listeners.push(() => {
          for (const after of all(kind)) listen({ key: after.metadata.name, after })
        }),
    },
    felix: {
      set: (kind, key, value) => {
        if (kind === 'peerWay' && value !== undefined) ways.set(key, (value as PeerWay).gateway)
      },
      configure: () => undefined,
    },
    services,
    secrets: { want: () => undefined, onChange: () => undefined },
    report: (_source: string, _conditions: readonly Condition[]) => undefined,
    changed: () => undefined,
  })
  const own = all('Node').find(({ metadata }) => metadata.name === nodeName)
  const addressOf = (family: string) => own?.metadata.annotations?.[`projectcalico.org/${family}Address`]?.split('/')[0]
  feed.open({ address: addressOf('IPv4'), ipv6Address: addressOf('IPv6'), subnets: [] })
  for (const tell of listeners) tell()
  const told: { identity?: SpeakerIdentity; peers: readonly PeerChange[]; announced: readonly Announced[] } = {
    peers: [],
    announced: [],
  }
  const routing = {
    trust: () => undefined,
    admit: () => undefined,
    drain: () => undefined,
    setPools: () => undefined,
    nextHops: { recheck: () => undefined, setPeerWay: () => undefined },
    share: () => undefined,
    identify: async (identity: SpeakerIdentity) => {
      told.identity = identity
    },
    change: (peers: readonly PeerChange[]) => {
      told.peers = peers
    },
    witness: () => undefined,
    announce: (announced: readonly Announced[]) => {
      told.announced = announced
    },
  }
  await feed.flush(routing, { blocks: [...ipv4.confirmed, ...ipv6.confirmed], own: [] })
  const peers = told.peers.flatMap(({ peer }) => (peer === undefined ? [] : [peer]))
  return { peers, identity: told.identity!, announced: told.announced, ways, invalid }
}

/**
 * An object as calicoctl or margayctl sends it. The scenarios were read as YAML 1.1, in which `true` is no text and 5663:12 is
 * the number of seconds in as many minutes.
 */
function asHere({ kind, ...given }: Given): { kind: string; object: unknown } {
  if (kind === 'Service' || kind === 'EndpointSlice')
    return { kind, object: { ...given, metadata: { namespace: 'default', ...given.metadata } } }
  if (kind !== 'Node') return { kind, object: JSON.parse(JSON.stringify(given).replaceAll('339792', '"5663:12"')) }
  const labels = Object.entries(given.metadata.labels ?? {}).map(([name, value]) => [name, String(value)])
  const { apiVersion: _calicos, ...node } = fromCalicoNode({
    ...given,
    metadata: { ...given.metadata, labels: Object.fromEntries(labels) },
  }).node
  return { kind, object: node }
}
