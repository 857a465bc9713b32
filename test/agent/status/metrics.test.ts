// The metrics of an agent: what a scraper reads, and that it stays small in a large cluster.

import { readFileSync } from 'node:fs'
import test from 'ava'
import { metricsText, type NodeNumbers, type PeerNumbers } from '../../../agent/status/metrics.ts'
import { MOST, NODE_METRICS } from '../../../api/metrics.ts'
import { broken } from '../../../api/status.ts'
import type { PeerBfdStatus } from '../../../bgp/config.ts'
import { metricsDocument } from '../../../manifests/metrics.ts'
import { someNumbers } from './numbers.ts'

const MESH = 'node-to-node mesh'

function aPeer(name: string, part: Partial<PeerNumbers> = {}): PeerNumbers {
  return {
    ...{ name, address: '192.0.2.2', type: 'global', state: 'Established', sinceMs: 1_700_000_000_500, flaps: 1 },
    messages: { in: 10, out: 20, updatesIn: 3, updatesOut: 4 },
    ...part,
  }
}

const many = (count: number, part: Partial<PeerNumbers>, name = 'Peer') =>
  Array.from({ length: count }, (_, i) => aPeer(`${name}_${String(i).padStart(4, '0')}`, part))

function textOf(part: Partial<NodeNumbers>): string {
  return metricsText({ ...someNumbers(), ...part })
}

const seriesOf = (text: string, name: string) => text.split('\n').filter(line => line.startsWith(`${name}{`))

test('docs/metrics.md is what the table says', t => {
  const url = new URL('../../../docs/metrics.md', import.meta.url)
  t.is(readFileSync(url, 'utf8'), metricsDocument(), 'npm run manifests writes it')
})

test('a condition is one series for its type, however many objects break it', t => {
  const wrong = (name: string) =>
    broken('BlocksReachable', { reason: 'VtepUnknown', message: 'm', remedy: 'r', object: { kind: 'Route', name } })
  const text = textOf({ conditions: [wrong('10.0.0.0/26'), wrong('10.0.0.64/26')] })
  t.regex(text, /^margay_condition\{type="BlocksReachable"\} 0$/m)
  t.regex(text, /^margay_condition_objects\{type="BlocksReachable"\} 2$/m)
  t.regex(text, /^margay_condition\{type="KernelProgrammed"\} 1$/m)
})

test('a session has its state, the time of its last change, messages, prefixes by family, flaps and last error', t => {
  const counts = { received: 4, accepted: 3, announced: 2 }
  const text = textOf({
    peers: [aPeer('rack', { lastReason: 'hold-timer' }), aPeer('spine', { state: 'Active', lastReason: 'refused' })],
    prefixes: name => new Map(name === 'rack' ? [['ipv4-unicast', counts]] : []),
  })
  const rack = 'peer="rack",address="192.0.2.2",type="global"'
  const spine = 'peer="spine",address="192.0.2.2",type="global"'
  for (const line of [
    `margay_bgp_peer_up{${rack}} 1`,
    `margay_bgp_peer_up{${spine}} 0`,
    `margay_bgp_peer_state{${rack}} 6`,
    `margay_bgp_peer_state{${spine}} 3`,
    `margay_bgp_peer_changed_timestamp_seconds{${rack}} 1700000000.5`,
    `margay_bgp_peer_flaps_total{${rack}} 1`,
    `margay_bgp_peer_messages_total{${rack},direction="out"} 20`,
    `margay_bgp_peer_updates_total{${rack},direction="in"} 3`,
    `margay_bgp_peer_prefixes{${rack},family="ipv4-unicast",direction="received"} 4`,
    `margay_bgp_peer_prefixes{${rack},family="ipv4-unicast",direction="accepted"} 3`,
    `margay_bgp_peer_prefixes{${rack},family="ipv4-unicast",direction="advertised"} 2`,
    `margay_bgp_peer_last_error{${rack},code="hold-timer"} 1`,
    `margay_bgp_peer_last_error{${spine},code="refused"} 1`,
    'margay_bgp_peers{type="global",state="Established"} 1',
    'margay_bgp_peers{type="global",state="Idle"} 0',
  ])
    t.true(text.includes(`${line}\n`), line)
})

test('where all sessions fit those of the mesh have series of their own too', t => {
  const text = textOf({ peers: [...many(3, { type: MESH }, 'Mesh'), aPeer('rack')] })
  t.is(seriesOf(text, 'margay_bgp_peer_up').length, 4)
  t.false(text.includes('peer="other"'))
})

test('of 5,000 sessions of the mesh and 100 BGPPeers a bounded number has series, and sums have the others', t => {
  const peers = [
    ...many(4999, { type: MESH }, 'Mesh'),
    aPeer('Mesh_x', { type: MESH, state: 'Idle', lastReason: 'refused' }),
    ...many(100, { type: 'node specific' }),
  ]
  const prefixes = () => new Map([['ipv4-unicast', { received: 1, accepted: 1, announced: 2 }]])
  const text = textOf({ peers, prefixes, nodes: 5000, learned: 5000 })
  t.is(seriesOf(text, 'margay_bgp_peer_up').length, MOST.peers - 1)
  t.regex(text, /^margay_bgp_peer_flaps_total\{peer="other",address="",type="node-to-node mesh"\} 5000$/m)
  t.regex(text, /^margay_bgp_peer_flaps_total\{peer="other",address="",type="node specific"\} 51$/m)
  t.regex(
    text,
    /^margay_bgp_peer_prefixes\{peer="other",address="",type="node-to-node mesh",family="ipv4-unicast",direction="advertised"\} 10000$/m,
  )
  t.regex(text, /^margay_bgp_peer_last_error\{peer="other",address="",type="node-to-node mesh",code="refused"\} 1$/m)
  t.regex(text, /^margay_bgp_peers\{type="node-to-node mesh",state="Established"\} 4999$/m)
  t.true(text.split('\n').length < 1000, `${text.split('\n').length} lines`)
})

test('blocks are summed by pool, and pools beyond the bound are one sum', t => {
  const pools = Array.from({ length: 500 }, (_, i) => ({ pool: `p${1000 + i}`, used: 1, size: 64 }))
  const text = textOf({ blocks: [...pools, { pool: 'p1000', used: 2, size: 64 }] })
  t.is(seriesOf(text, 'margay_ipam_addresses_used').length, MOST.pools)
  t.regex(text, /^margay_ipam_addresses_used\{ippool="p1000"\} 3$/m)
  t.regex(text, /^margay_ipam_blocks\{ippool="other"\} 401$/m)
})

test('the names that Calico’s dashboards ask an agent for have their values', t => {
  const passes = { count: 7, seconds: 0.25, failures: 2 }
  const text = textOf({ passes, endpoints: 3, nodes: 12, datastore: 'whole' })
  for (const line of [
    'felix_active_local_endpoints 3',
    'felix_cluster_num_hosts 12',
    'felix_resync_state 3',
    'felix_int_dataplane_apply_time_seconds_count 7',
    'felix_int_dataplane_apply_time_seconds_sum 0.25',
    'felix_int_dataplane_failures 2',
  ])
    t.true(text.includes(`\n${line}\n`), line)
  t.regex(textOf({ datastore: 'partly' }), /^felix_resync_state 2$/m)
})

test('packets that were dropped and events are counted by their kind', t => {
  const text = textOf({ dropped: new Map([['foreign IPv4 source', 7]]), events: new Map([['Healed', 2]]) })
  t.regex(text, /^margay_dropped_packets_total\{reason="foreign IPv4 source"\} 7$/m)
  t.regex(text, /^margay_events_total\{type="Healed"\} 2$/m)
  const decided = textOf({ decided: new Map([['staged-deny egress', 5]]), copiesLost: 4, recordsDropped: 5 })
  t.regex(decided, /^margay_policy_packets_total\{outcome="staged-deny",direction="egress"\} 5$/m)
  t.regex(decided, /^margay_flow_copies_lost_total 4$/m)
  t.regex(decided, /^margay_records_dropped_total 5$/m)
  t.regex(text, /^margay_events_total\{type="SessionChanged"\} 0$/m)
})

const aBfd = (more: Partial<PeerBfdStatus>): PeerBfdStatus => ({
  ...{ hops: 'single', local: '192.0.2.1', state: 'Up', diagnostic: 'none', losses: 0, sinceMs: 0 },
  ...more,
})

test('whether BFD is up, and how often it lost the path, is told of peers that have it', t => {
  const lost = aBfd({ state: 'Down', losses: 3 })
  const text = textOf({ peers: [aPeer('a', { bfd: aBfd({ losses: 1 }) }), aPeer('b', { bfd: lost }), aPeer('c')] })
  t.regex(text, /^margay_bgp_peer_bfd_up\{peer="a",.*\} 1$/m)
  t.regex(text, /^margay_bgp_peer_bfd_up\{peer="b",.*\} 0$/m)
  t.regex(text, /^margay_bgp_peer_bfd_losses_total\{peer="b",.*\} 3$/m)
  t.is(text.match(/^margay_bgp_peer_bfd_\w+\{/gm)?.length, 4)
})

test('every metric of the table but those of the process is written by some state of a node', t => {
  const text = textOf({
    peers: [aPeer('rack', { lastReason: 'refused', bfd: aBfd({}) })],
    prefixes: () => new Map([['ipv4-unicast', { received: 1, accepted: 1, announced: 1 }]]),
    blocks: [{ pool: 'p', used: 1, size: 64 }],
    dropped: new Map([['redirect', 1]]),
    decided: new Map([['deny ingress', 1]]),
  })
  const missing = Object.keys(NODE_METRICS).filter(name => !text.includes(`# TYPE ${name} `))
  t.deepEqual(
    missing.filter(name => !/^(process|nodejs)_/.test(name)),
    [],
  )
})
