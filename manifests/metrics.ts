// docs/metrics.md from the table of metrics.
import { CONTROLLERS_METRICS, MOST, NODE_METRICS, OTHER } from '../api/metrics.ts'
import type { MetricRow } from '../lib/metrics-text.ts'
import { PROCESS_METRICS } from '../lib/process-metrics.ts'

export function metricsDocument(): string {
  return `# Metrics

Prometheus' text format. \`npm run manifests\` writes this page from \`api/metrics.ts\`; [observe.md](observe.md) says where the metrics are
served and has the dashboard and the alerts. Names marked C are Calico's, with the same meaning and labels, so its dashboards and
alerts find them. Everything is read when it is asked for: a scrape costs what it costs, and nothing else costs anything.

No label has values without a bound:
- \`peer\` and \`address\`: at most ${MOST.peers} sessions of a node have series of their own, those of BGPPeers first by name. Those of the node-to-node
  mesh have them only where all sessions of the node fit; else they are one sum for their type, as the BGPPeers beyond the bound are:
  \`peer="${OTHER}"\`. \`margay_bgp_peers\` always counts all.
- \`ippool\`: ${MOST.pools} by name, and \`ippool\` with \`node\`: ${MOST.poolNodes} by name; the others are one sum, \`${OTHER}\`. A block in no pool is in \`no_ippool\`, one of no node has \`node="none"\`.
- every other label has its values from a closed table (conditions, events, states, reasons).

## Of margay-node
${tableOf(NODE_METRICS)}
## Of margay-controllers
What begins with \`ipam_\` and \`margay_ipam_\` is told by the program that leads alone, but for what a program freed itself.

${tableOf(CONTROLLERS_METRICS)}
## Of both
${tableOf(PROCESS_METRICS, {})}
## Metrics of Calico that are not there
Those of iptables and ipsets (rules are in nftables, and counted by \`felix_int_dataplane_apply_time_seconds\`), of policies
(whether they are enforced says the condition \`PoliciesEnforced\`) and host endpoints, of all workload endpoints of the cluster (a node counts its own), of Go, of eBPF, of
WireGuard and of Typha.
`
}

function tableOf(table: Readonly<Record<string, MetricRow>>, without: object = PROCESS_METRICS): string {
  const rows = Object.entries(table)
    .filter(([name]) => !Object.hasOwn(without, name))
    .map(([name, { type, labels, help, calico }]) => {
      const named = labels.map(label => `\`${label}\``).join(', ')
      return `| \`${name}\` | ${calico ? 'C' : ''} | ${type} | ${named} | ${help} |\n`
    })
  return `| metric | | type | labels | what it is |\n|---|---|---|---|---|\n${rows.join('')}`
}
