// Alerts for Prometheus: what an operator should be woken for, or should look at. A test lets each one fire and be silent.
import { stringify } from 'yaml'

type Alert = {
  expr: string
  /** How long it must hold. */
  for: string
  severity: 'critical' | 'warning'
  summary: string
  remedy: string
}

const ALERTS: Readonly<Record<string, Alert>> = {
  MargayNodeNotReady: {
    ...{ expr: 'margay_ready == 0', for: '2m', severity: 'critical' },
    summary: 'The node of {{ $labels.instance }} does not serve its pods.',
    remedy: 'margayctl node status on the node says why and what to do; the conditions are in docs/conditions.md.',
  },
  // what is dead tells nothing: a comparison with one of its metrics finds nothing and is silent
  MargayProgramDown: {
    ...{ expr: 'up{job=~"margay.*"} == 0', for: '5m', severity: 'critical' },
    summary: '{{ $labels.instance }} of the job {{ $labels.job }} does not answer Prometheus.',
    remedy:
      'Look at its pod: kubectl describe and kubectl logs --previous. If it runs, its port is closed: MetricsServed.',
  },
  MargayNodesNotSeen: {
    expr: 'max(felix_cluster_num_hosts) - count(count by (instance) (margay_ready)) > 0',
    ...{ for: '15m', severity: 'warning' },
    summary: 'Of {{ $value }} nodes of the cluster no agent tells anything.',
    remedy: 'Compare kubectl get nodes with the pods of the DaemonSet margay-node: one is not there, or not scraped.',
  },
  MargayNothingSeen: {
    ...{ expr: 'absent(margay_ready)', for: '5m', severity: 'critical' },
    summary: 'No agent of the cluster tells anything.',
    remedy: 'Look at the DaemonSet margay-node; prometheusMetricsEnabled of the FelixConfiguration opens the ports.',
  },
  MargayPoolNearlyFull: {
    expr: 'sum by (ippool) (ipam_allocations_in_use) / on (ippool) ipam_ippool_size > 0.9',
    ...{ for: '10m', severity: 'warning' },
    summary: '{{ $value | humanizePercentage }} of the addresses of IPPool {{ $labels.ippool }} are in use.',
    remedy: 'Create another IPPool: pods get addresses of every enabled one.',
  },
  MargayNoAddressLeft: {
    ...{ expr: 'margay_condition{type="AddressesLeft"} == 0', for: '2m', severity: 'critical' },
    summary: 'The node of {{ $labels.instance }} has no free address and gets no block more: new pods do not start.',
    remedy: 'Create another IPPool, or look at maxBlocksPerHost of the IPAMConfiguration.',
  },
  MargayFewAddressesLeft: {
    ...{ expr: 'margay_condition{type="BlocksLeft"} == 0', for: '10m', severity: 'warning' },
    summary:
      'The node of {{ $labels.instance }} gets no block more; new pods start until its last addresses are in use.',
    remedy: 'margayctl ipam show --show-blocks says how many; create another IPPool, or look at maxBlocksPerHost.',
  },
  MargayPathsLost: {
    ...{ expr: 'margay_condition{type="PathsPass"} == 0', for: '2m', severity: 'critical' },
    summary:
      'Packets of pods between {{ $labels.instance }} and other nodes are lost, or arrive under other addresses.',
    remedy: 'margayctl node status on the node names the other nodes, what is proved and where to look.',
  },
  MargayBgpSessionDown: {
    ...{ expr: 'margay_bgp_peer_up == 0', for: '5m', severity: 'warning' },
    summary: 'The BGP session of {{ $labels.instance }} with {{ $labels.peer }} ({{ $labels.address }}) is down.',
    remedy: 'margayctl bgp peers on the node says why; margay_bgp_peer_last_error has the reason as a word.',
  },
  MargayManyBgpSessionsDown: {
    expr: 'sum by (instance) (margay_bgp_peers{state!="Established"}) / sum by (instance) (margay_bgp_peers) > 0.1',
    ...{ for: '5m', severity: 'critical' },
    summary: '{{ $value | humanizePercentage }} of the BGP sessions of {{ $labels.instance }} are down.',
    remedy: 'Look at the uplink of the node and at margayctl bgp peers.',
  },
  MargayKernelRefuses: {
    ...{ expr: 'margay_condition{type="KernelInSync"} == 0', for: '5m', severity: 'warning' },
    summary: 'The kernel of {{ $labels.instance }} refuses something that is wanted.',
    remedy: 'margayctl node status on the node names the object and the reason.',
  },
  MargayPodsNotFiltered: {
    ...{ expr: 'margay_condition{type="PodsFiltered"} == 0', for: '2m', severity: 'critical' },
    summary: 'Packets of pods under foreign addresses are not dropped on {{ $labels.instance }}.',
    remedy: 'margayctl node status on the node says what of nftables is missing.',
  },
  MargayPoliciesNotEnforced: {
    ...{ expr: 'margay_condition{type="PoliciesEnforced"} == 0', for: '15m', severity: 'warning' },
    summary:
      'There are policies or host endpoints that {{ $labels.instance }} does not enforce, or of which it keeps a part closed.',
    remedy:
      'margayctl node status on the node names them and the reason; what is not there yet is in docs/unsupported.md.',
  },
  MargayRepairsOften: {
    ...{ expr: 'increase(margay_events_total{type=~"Healed|Removed"}[10m]) > 20', for: '0s', severity: 'warning' },
    summary: 'Another program keeps changing routes, rules or settings of {{ $labels.instance }}.',
    remedy: 'margayctl events on the node names the objects; find the program that changes them and stop it.',
  },
  MargayApiServerLost: {
    ...{ expr: 'margay_condition{type="ApiServerConnected"} == 0', for: '10m', severity: 'warning' },
    summary: 'The agent of {{ $labels.instance }} does not hear from the API server; its pods keep their network.',
    remedy: 'margayctl node status on the node has the cause and its remedy.',
  },
  MargayAgentRestarts: {
    expr: 'changes(process_start_time_seconds[1h]) > 3 and on (instance) margay_build_info',
    ...{ for: '0s', severity: 'warning' },
    summary: 'The agent of {{ $labels.instance }} started {{ $value }} times in an hour.',
    remedy: 'Look at the log of its last run: kubectl logs --previous.',
  },
  MargayNoControllerLeads: {
    ...{ expr: '(sum(margay_controllers_leader) or vector(0)) != 1', for: '5m', severity: 'warning' },
    summary: '{{ $value }} of the margay-controllers lead: blocks of deleted nodes are not freed.',
    remedy:
      'Look at their logs, and at the Lease margay-controllers; docs/observe.md says how their metrics get a port.',
  },
}

/** The file of rules as Prometheus reads it. */
export function alertsText(): string {
  const rules = Object.entries(ALERTS).map(([alert, { expr, for: holds, severity, summary, remedy }]) => ({
    ...{ alert, expr, for: holds, labels: { severity } },
    annotations: { summary, description: remedy },
  }))
  const head =
    '# Written by `npm run manifests`; do not edit. Alerts for Prometheus: rule_files, or spec.groups of a PrometheusRule.\n'
  return head + stringify({ groups: [{ name: 'margay', rules }] }, { lineWidth: 0 })
}
