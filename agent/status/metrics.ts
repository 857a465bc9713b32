// The metrics of one agent, made afresh for each scrape from what is true now: nothing here can drift, and nothing is counted
// where packets, routes or pods wait for it. Hazard: series without a bound; a node of a large mesh has thousands of sessions, on
// each of thousands of nodes. See MOST in api/metrics.ts.
import { MESH_PEER } from '../../api/answers.ts'
import { MOST, NODE_METRICS, OTHER } from '../../api/metrics.ts'
import type { PathState } from '../../api/paths.ts'
import { CONDITION_TYPES, type Condition, EVENT_TYPES, type EventType } from '../../api/status.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import type { BgpState } from '../../bgp/fsm/step.ts'
import { firstAndRest, MetricsText } from '../../lib/metrics-text.ts'

export type PeerNumbers = Pick<
  PeerStatus,
  'name' | 'address' | 'state' | 'sinceMs' | 'lastReason' | 'flaps' | 'messages' | 'bfd'
> & {
  /** Calico's word for where the session comes from. */
  type: string
}

type Counts = { received: number; accepted: number; announced: number }

/** What an agent knows of itself. */
export type NodeNumbers = {
  version: string
  ready: boolean
  conditions: readonly Condition[]
  datastore: 'unknown' | 'partly' | 'whole'
  nodes: number
  endpoints: number
  learned: number
  passes: { count: number; seconds: number; failures: number }
  events: ReadonlyMap<EventType, number>
  blocks: readonly { pool: string; used: number; size: number }[]
  /** By family. */
  room: readonly { family: string; free: number; untilBlock: number }[]
  /** Of path probes. */
  paths: readonly Pick<PathState, 'state'>[]
  peers: readonly PeerNumbers[]
  /** Of one peer, by family. */
  prefixes(peer: string): ReadonlyMap<string, Counts>
  /** Packets that the pod filter dropped, by the reason. */
  dropped: ReadonlyMap<string, number>
  /** Packets by what policies did to them, and the direction: `deny ingress`. */
  decided: ReadonlyMap<string, number>
  copiesLost: number
  /** Events and changes that were not kept. */
  recordsDropped: number
}

const PATH_STATES = ['unknown', 'passes', 'suspect', 'lost', 'absent'] as const satisfies readonly PathState['state'][]
const RESYNC = { unknown: 1, partly: 2, whole: 3 } as const
/** RFC 4273, bgpPeerState. */
const STATES: Readonly<Record<BgpState, number>> = {
  ...{ Idle: 1, Connect: 2, Active: 3, OpenSent: 4, OpenConfirm: 5, Established: 6 },
}

type Text = MetricsText<typeof NODE_METRICS>

/** The text that a scraper reads. */
export function metricsText(numbers: NodeNumbers): string {
  const text: Text = new MetricsText(NODE_METRICS)
  text.set('margay_build_info', 1, { version: numbers.version })
  text.set('margay_ready', numbers.ready ? 1 : 0)
  text.set('felix_active_local_endpoints', numbers.endpoints)
  text.set('felix_cluster_num_hosts', numbers.nodes)
  text.set('felix_resync_state', RESYNC[numbers.datastore])
  text.set('margay_learned_routes', numbers.learned)
  for (const state of PATH_STATES)
    text.set('margay_paths', numbers.paths.filter(path => path.state === state).length, { state })
  const { count, seconds, failures } = numbers.passes
  text.set('felix_int_dataplane_apply_time_seconds', { count, sum: seconds })
  text.set('felix_int_dataplane_failures', failures)
  for (const [reason, packets] of numbers.dropped) text.set('margay_dropped_packets_total', packets, { reason })
  for (const [key, packets] of numbers.decided) {
    const [outcome = '', direction = ''] = key.split(' ')
    text.set('margay_policy_packets_total', packets, { outcome, direction })
  }
  text.set('margay_flow_copies_lost_total', numbers.copiesLost)
  text.set('margay_records_dropped_total', numbers.recordsDropped)
  for (const type of Object.keys(EVENT_TYPES) as EventType[])
    text.set('margay_events_total', numbers.events.get(type) ?? 0, { type })
  conditions(text, numbers.conditions)
  blocks(text, numbers.blocks)
  for (const { family, free, untilBlock } of numbers.room) {
    text.set('margay_ipam_addresses_free', free, { family })
    text.set('margay_ipam_pods_until_block', untilBlock, { family })
  }
  sessions(text, numbers)
  return text.toString()
}

/** A condition is one series for its type, however many objects break it. */
function conditions(text: Text, all: readonly Condition[]): void {
  const wrong = new Map<string, number>()
  for (const { type, status } of all) if (status !== 'True') wrong.set(type, (wrong.get(type) ?? 0) + 1)
  for (const type of Object.keys(CONDITION_TYPES)) {
    text.set('margay_condition', wrong.has(type) ? 0 : 1, { type })
    text.set('margay_condition_objects', wrong.get(type) ?? 0, { type })
  }
}

function blocks(text: Text, all: NodeNumbers['blocks']): void {
  const pools = [...Map.groupBy(all, ({ pool }) => pool)]
  const { first, rest } = firstAndRest(pools, MOST.pools, ([pool]) => pool)
  const shown = rest.length === 0 ? first : [...first, [OTHER, rest.flatMap(([, own]) => own)] as const]
  for (const [ippool, own] of shown) {
    text.set('margay_ipam_blocks', own.length, { ippool })
    text.set('margay_ipam_addresses', sum(own.map(({ size }) => size)), { ippool })
    text.set('margay_ipam_addresses_used', sum(own.map(({ used }) => used)), { ippool })
  }
}

/** Sessions that have series of their own, then one sum of the others for each type. */
function sessions(text: Text, { peers, prefixes }: Pick<NodeNumbers, 'peers' | 'prefixes'>): void {
  const states = Object.keys(STATES)
  for (const [type, all] of Map.groupBy(peers, peer => peer.type))
    for (const state of states)
      text.set('margay_bgp_peers', all.filter(peer => peer.state === state).length, { type, state })
  const fit = peers.length <= MOST.peers
  const named = peers.filter(({ type }) => fit || type !== MESH_PEER)
  const { first } = firstAndRest(named, MOST.peers, ({ name }) => name)
  for (const peer of first) {
    const labels = { peer: peer.name, address: peer.address, type: peer.type }
    text.set('margay_bgp_peer_up', peer.state === 'Established' ? 1 : 0, labels)
    text.set('margay_bgp_peer_state', STATES[peer.state], labels)
    text.set('margay_bgp_peer_changed_timestamp_seconds', peer.sinceMs / 1000, labels)
    if (peer.bfd !== undefined) text.set('margay_bgp_peer_bfd_up', peer.bfd.state === 'Up' ? 1 : 0, labels)
    summed(text, { labels, peers: [peer], prefixes })
  }
  const shown = new Set(first)
  const others = Map.groupBy(
    peers.filter(peer => !shown.has(peer)),
    peer => peer.type,
  )
  for (const [type, rest] of others) summed(text, { labels: { peer: OTHER, address: '', type }, peers: rest, prefixes })
}

type Summed = Pick<NodeNumbers, 'peers' | 'prefixes'> & { labels: { peer: string; address: string; type: string } }

/** What can be told of several sessions as a sum. */
function summed(text: Text, { labels, peers, prefixes }: Summed): void {
  const of = (number: (peer: PeerNumbers) => number) => sum(peers.map(number))
  const flaps = of(peer => peer.flaps)
  text.set('margay_bgp_peer_flaps_total', flaps, labels)
  if (peers.some(({ bfd }) => bfd !== undefined))
    text.set(
      'margay_bgp_peer_bfd_losses_total',
      of(({ bfd }) => bfd?.losses ?? 0),
      labels,
    )
  for (const [direction, updates] of [
    ['in', 'updatesIn'],
    ['out', 'updatesOut'],
  ] as const) {
    const [all, ofThem] = [of(peer => peer.messages[direction]), of(peer => peer.messages[updates])]
    text.set('margay_bgp_peer_messages_total', all, { ...labels, direction })
    text.set('margay_bgp_peer_updates_total', ofThem, { ...labels, direction })
  }
  for (const [family, { received, accepted, announced }] of familySums(peers, prefixes)) {
    text.set('margay_bgp_peer_prefixes', received, { ...labels, family, direction: 'received' })
    text.set('margay_bgp_peer_prefixes', accepted, { ...labels, family, direction: 'accepted' })
    text.set('margay_bgp_peer_prefixes', announced, { ...labels, family, direction: 'advertised' })
  }
  for (const [code, all] of Map.groupBy(peers, ({ lastReason }) => lastReason))
    if (code !== undefined) text.set('margay_bgp_peer_last_error', all.length, { ...labels, code })
}

function familySums(peers: readonly PeerNumbers[], prefixes: NodeNumbers['prefixes']): ReadonlyMap<string, Counts> {
  const sums = new Map<string, Counts>()
  for (const { name } of peers)
    for (const [family, { received, accepted, announced }] of prefixes(name)) {
      const before = sums.get(family) ?? { received: 0, accepted: 0, announced: 0 }
      sums.set(family, {
        received: before.received + received,
        accepted: before.accepted + accepted,
        announced: before.announced + announced,
      })
    }
  return sums
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0)
}
