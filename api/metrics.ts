// Every metric of each program: type, help and labels. The programs write them from these rows, docs/metrics.md lists them, and
// the queries of the dashboard and of the alerts are checked against them. A label has values from a closed table, or there is
// a bound for them here; what is beyond it is one sum under the value OTHER. `calico`: Calico has a metric of this name, with
// the same meaning and labels, and its dashboards ask for it.
import { calico, counter, gauge, summary } from '../lib/metrics-text.ts'
import { PROCESS_METRICS } from '../lib/process-metrics.ts'

/** Calico's port of FelixConfiguration for the metrics of a node, where nobody names another. */
export const NODE_METRICS_PORT = 9091

/** The value of a label for the sum of what is beyond a bound. */
export const OTHER = 'other'

/** The most values of a label that has no closed table, by what the label names. */
export const MOST = {
  /** Sessions of a node with series of their own. Those of the node-to-node mesh have them only where all sessions fit. */
  peers: 50,
  /** IPPools, by name. */
  pools: 100,
  /** Pairs of an IPPool and a node, and nodes, by name. */
  poolNodes: 5000,
} as const

const PEER = ['peer', 'address', 'type'] as const
const POOL_NODE = ['ippool', 'node'] as const

/** Of margay-node. */
export const NODE_METRICS = {
  felix_active_local_endpoints: calico(gauge('Pod interfaces of this node.')),
  felix_cluster_num_hosts: calico(gauge('Nodes of the cluster, as this node knows them.')),
  felix_resync_state: calico(
    gauge('What this node knows of the API server: 1 nothing yet, 2 not everything is followed now, 3 everything.'),
  ),
  felix_int_dataplane_apply_time_seconds: calico(
    summary('How long it took to bring the kernel to what is wanted, for each pass.'),
  ),
  felix_int_dataplane_failures: calico(counter('Passes in which the kernel refused something that is tried again.')),
  margay_build_info: gauge('Always 1; the version of this program.', 'version'),
  margay_ready: gauge('1 when this node can serve its pods.'),
  margay_condition: gauge('1 when the condition is fine; docs/conditions.md says what each one promises.', 'type'),
  margay_condition_objects: gauge('Objects for which the condition is not fine.', 'type'),
  margay_events_total: counter(
    'What happened on this node, as margayctl events lists it; Healed and Removed: somebody else changed what is ours, or made what would count as ours, and it was put right.',
    'type',
  ),
  margay_paths: gauge(
    'Paths to other nodes that are probed, by family and node, in each state; `lost` is what PathsPass tells.',
    'state',
  ),
  margay_learned_routes: gauge('Prefixes that were chosen from BGP peers.'),
  margay_dropped_packets_total: counter('Packets that the pod filter dropped, by the rule.', 'reason'),
  margay_policy_packets_total: counter(
    'Packets that policies decided about, of a connection the first; staged- is what staged policies would do.',
    'outcome',
    'direction',
  ),
  margay_records_dropped_total: counter(
    'Events and changes that the recorder of this node did not keep: the disk was full or failed.',
  ),
  margay_flow_copies_lost_total: counter(
    'Copies of denied or logged packets that nobody is told of (margayctl flows).',
  ),
  margay_ipam_blocks: gauge('Blocks that this node owns.', 'ippool'),
  margay_ipam_addresses: gauge('Addresses in the blocks that this node owns.', 'ippool'),
  margay_ipam_addresses_used: gauge('Addresses in use in the blocks that this node owns.', 'ippool'),
  margay_ipam_addresses_free: gauge(
    'Addresses in the blocks of this node that a pod may have now: neither in use nor reserved, and rested.',
    'family',
  ),
  margay_ipam_pods_until_block: gauge('Pods that get an address until this node claims a block more.', 'family'),
  margay_bgp_peers: gauge(
    'All BGP sessions of this node, by where they come from and by their state.',
    'type',
    'state',
  ),
  margay_bgp_peer_up: gauge('1 when the session is Established.', ...PEER),
  margay_bgp_peer_state: gauge(
    'State of the session: 1 Idle, 2 Connect, 3 Active, 4 OpenSent, 5 OpenConfirm, 6 Established (RFC 4273).',
    ...PEER,
  ),
  margay_bgp_peer_changed_timestamp_seconds: gauge(
    'When the session came up or went down, in seconds since 1970; of one that is up, time() less this is its uptime.',
    ...PEER,
  ),
  margay_bgp_peer_flaps_total: counter('How often the session left Established.', ...PEER),
  margay_bgp_peer_bfd_up: gauge('1 when BFD says that the path to the peer is good. Only of peers with BFD.', ...PEER),
  margay_bgp_peer_bfd_losses_total: counter(
    'How often BFD lost the path to the peer. Only of peers with BFD.',
    ...PEER,
  ),
  margay_bgp_peer_messages_total: counter(
    'BGP messages of this session, in and out; they begin at 0 with each session.',
    ...PEER,
    'direction',
  ),
  margay_bgp_peer_updates_total: counter(
    'UPDATE messages of this session, in and out; they begin at 0 with each session.',
    ...PEER,
    'direction',
  ),
  margay_bgp_peer_prefixes: gauge(
    'Prefixes of the session: received, accepted of these, and advertised.',
    ...PEER,
    'family',
    'direction',
  ),
  margay_bgp_peer_last_error: gauge(
    '1; why the session was not up when it last was not. For peer="other" the number of such sessions.',
    ...PEER,
    'code',
  ),
  ...PROCESS_METRICS,
}

/** Of margay-controllers. The addresses (`ipam_`) are told by the program that leads. */
export const CONTROLLERS_METRICS = {
  ipam_allocations_in_use: calico(gauge('Addresses in use, by the node that owns their block.', ...POOL_NODE)),
  ipam_allocations_borrowed: calico(
    gauge('Addresses in use by another node than the one that owns their block.', ...POOL_NODE),
  ),
  ipam_allocations_gc_candidates: calico(
    gauge('Addresses in use in blocks of nodes that have no Node object.', ...POOL_NODE),
  ),
  ipam_blocks: calico(gauge('Blocks, by the node that owns them.', ...POOL_NODE)),
  ipam_ippool_size: calico(gauge('Addresses in the range of the IPPool.', 'ippool')),
  margay_ipam_pods_left: gauge('Pods that can still get an address of the IPPool.', 'ippool'),
  margay_ipam_blocks_left: gauge('Blocks of the IPPool that nodes may still claim.', 'ippool'),
  ipam_allocations_gc_reclamations: calico(counter('Addresses in blocks of gone nodes that this program freed.')),
  ipam_blocks_per_node: calico(gauge('Blocks, by the node that owns them: the older name.', 'node')),
  ipam_allocations_per_node: calico(
    gauge('Addresses in use, by the node that owns their block: the older name.', 'node'),
  ),
  margay_ipam_blocks_gc_candidates: gauge('Blocks of nodes without a Node object.'),
  margay_ipam_blocks_gc_reclamations_total: counter('Blocks of gone nodes that this program freed.'),
  margay_ipam_blocks_unclear: gauge('Blocks of which nobody can tell whose they are.'),
  margay_controllers_build_info: gauge('Always 1; the version of this program.', 'version'),
  margay_controllers_leader: gauge('1 in the program that leads.'),
  margay_controllers_condition: gauge(
    '1 when the condition is fine; docs/conditions.md says what each one promises.',
    'type',
  ),
  ...PROCESS_METRICS,
}
