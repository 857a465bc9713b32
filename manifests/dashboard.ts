// The Grafana dashboard: rows of panels, each with its queries. A test evaluates every query over what the programs really say.
// `$__rate_interval` and `$instance` are Grafana's; a query that may find nothing says what it means then.

type Query = { expr: string; legend: string }
type Panel = { title: string; is: string; unit: string; queries: readonly Query[]; decimals?: number }
type Row = { title: string; panels: readonly Panel[] }

const query = (expr: string, legend: string): Query => ({ expr, legend })
const HERE = 'instance=~"$instance"'

const ROWS: readonly Row[] = [
  {
    title: 'Nodes',
    panels: [
      {
        ...{ title: 'Nodes that serve their pods', unit: 'short', decimals: 0 },
        is: 'Of the agents that answer: how many are ready, and how many are not.',
        queries: [
          query('sum(margay_ready)', 'ready'),
          query('count(margay_ready) - sum(margay_ready)', 'not ready'),
          query('max(felix_cluster_num_hosts)', 'Node objects'),
        ],
      },
      {
        ...{ title: 'Conditions that are not kept', unit: 'short', decimals: 0 },
        is: 'Nodes by condition; docs/conditions.md has what each promises, margayctl node status what to do.',
        queries: [query(`sum by (type) (1 - margay_condition{${HERE}})`, '{{type}}')],
      },
      {
        ...{ title: 'What others changed and was put back', unit: 'short', decimals: 0 },
        is: 'Objects in the kernel, in five minutes; margayctl events names them.',
        queries: [
          query(
            `sum by (instance) (increase(margay_events_total{type=~"Healed|Removed",${HERE}}[5m]))`,
            '{{instance}}',
          ),
        ],
      },
      {
        ...{ title: 'What agents know of the API server', unit: 'short', decimals: 0 },
        is: 'Agents that follow everything, that lost a watch, and that know nothing yet.',
        queries: [
          query('count(felix_resync_state == 3) or vector(0)', 'everything'),
          query('count(felix_resync_state == 2) or vector(0)', 'not everything now'),
          query('count(felix_resync_state == 1) or vector(0)', 'nothing yet'),
        ],
      },
    ],
  },
  {
    title: 'Addresses',
    panels: [
      {
        ...{ title: 'How full each IPPool is', unit: 'percentunit' },
        is: 'Addresses in use of all in the range.',
        queries: [query('sum by (ippool) (ipam_allocations_in_use) / on (ippool) ipam_ippool_size', '{{ippool}}')],
      },
      {
        ...{ title: 'Addresses in use', unit: 'short', decimals: 0 },
        is: 'By IPPool.',
        queries: [query('sum by (ippool) (ipam_allocations_in_use)', '{{ippool}}')],
      },
      {
        ...{ title: 'Blocks', unit: 'short', decimals: 0 },
        is: 'By IPPool, and those of nodes without a Node object.',
        queries: [
          query('sum by (ippool) (ipam_blocks)', '{{ippool}}'),
          query('max(margay_ipam_blocks_gc_candidates)', 'of gone nodes'),
        ],
      },
      {
        ...{ title: 'How full the blocks of a node are', unit: 'percentunit' },
        is: 'The fullest ten nodes; a node gets another block before its last one is full.',
        queries: [
          query(
            `topk(10, sum by (instance) (margay_ipam_addresses_used{${HERE}}) / sum by (instance) (margay_ipam_addresses{${HERE}}))`,
            '{{instance}}',
          ),
        ],
      },
    ],
  },
  {
    title: 'BGP',
    panels: [
      {
        ...{ title: 'Sessions by state', unit: 'short', decimals: 0 },
        is: 'All sessions of all nodes.',
        queries: [query(`sum by (state) (margay_bgp_peers{${HERE}})`, '{{state}}')],
      },
      {
        ...{ title: 'Time since a session came up or went down', unit: 's' },
        is: 'Of sessions with series of their own.',
        queries: [query(`time() - margay_bgp_peer_changed_timestamp_seconds{${HERE}}`, '{{instance}} {{peer}}')],
      },
      {
        ...{ title: 'Prefixes by family', unit: 'short', decimals: 0 },
        is: 'Received, accepted and advertised, of all sessions together.',
        queries: [query(`sum by (family, direction) (margay_bgp_peer_prefixes{${HERE}})`, '{{family}} {{direction}}')],
      },
      {
        ...{ title: 'UPDATE messages', unit: 'pps' },
        is: 'In and out, of all sessions together.',
        queries: [
          query(
            `sum by (direction) (rate(margay_bgp_peer_updates_total{${HERE}}[$__rate_interval]))`,
            'updates {{direction}}',
          ),
          query(
            `sum by (direction) (rate(margay_bgp_peer_messages_total{${HERE}}[$__rate_interval]))`,
            'all {{direction}}',
          ),
        ],
      },
      {
        ...{ title: 'Sessions that went down', unit: 'short', decimals: 0 },
        is: 'In five minutes, by session.',
        queries: [
          query(
            `sum by (instance, peer) (increase(margay_bgp_peer_flaps_total{${HERE}}[5m]))`,
            '{{instance}} {{peer}}',
          ),
        ],
      },
      {
        ...{ title: 'Last errors', unit: 'short', decimals: 0 },
        is: 'Why sessions were not up when they last were not; of those that are up too.',
        queries: [query(`sum by (code) (margay_bgp_peer_last_error{${HERE}})`, '{{code}}')],
      },
      {
        ...{ title: 'States', unit: 'short', decimals: 0 },
        is: 'By session: 1 Idle to 6 Established.',
        queries: [query(`margay_bgp_peer_state{${HERE}}`, '{{instance}} {{peer}} {{address}}')],
      },
      {
        ...{ title: 'Sessions that are not up', unit: 'short', decimals: 0 },
        is: 'Of sessions with series of their own.',
        queries: [query(`sum by (instance) (1 - margay_bgp_peer_up{${HERE}})`, '{{instance}}')],
      },
    ],
  },
  {
    title: 'Pods and kernel',
    panels: [
      {
        ...{ title: 'Pods', unit: 'short', decimals: 0 },
        is: 'Interfaces of pods, by node.',
        queries: [query(`felix_active_local_endpoints{${HERE}}`, '{{instance}}')],
      },
      {
        ...{ title: 'Time of a pass over the kernel', unit: 's' },
        is: 'Mean of all passes that brought the kernel to what is wanted.',
        queries: [
          query(
            `rate(felix_int_dataplane_apply_time_seconds_sum{${HERE}}[$__rate_interval]) / rate(felix_int_dataplane_apply_time_seconds_count{${HERE}}[$__rate_interval])`,
            '{{instance}}',
          ),
        ],
      },
      {
        ...{ title: 'Passes that the kernel refused something in', unit: 'short', decimals: 0 },
        is: 'In five minutes; the condition KernelInSync names what.',
        queries: [query(`sum by (instance) (increase(felix_int_dataplane_failures{${HERE}}[5m]))`, '{{instance}}')],
      },
      {
        ...{ title: 'Packets that the pod filter dropped', unit: 'pps' },
        is: 'By the rule; docs/threats.md says what each is for.',
        queries: [
          query(`sum by (reason) (rate(margay_dropped_packets_total{${HERE}}[$__rate_interval]))`, '{{reason}}'),
        ],
      },
      {
        ...{ title: 'Routes learned', unit: 'short', decimals: 0 },
        is: 'Prefixes that were chosen from BGP peers, by node.',
        queries: [query(`margay_learned_routes{${HERE}}`, '{{instance}}')],
      },
    ],
  },
  {
    title: 'Programs',
    panels: [
      {
        ...{ title: 'Memory', unit: 'bytes' },
        is: 'Resident, of agents.',
        queries: [query(`process_resident_memory_bytes{${HERE}} and on (instance) margay_build_info`, '{{instance}}')],
      },
      {
        ...{ title: 'Processor time', unit: 'percentunit' },
        is: 'Of one processor, of agents.',
        queries: [
          query(
            `rate(process_cpu_seconds_total{${HERE}}[$__rate_interval]) and on (instance) margay_build_info`,
            '{{instance}}',
          ),
        ],
      },
      {
        ...{ title: 'Open files', unit: 'short', decimals: 0 },
        is: 'Of agents.',
        queries: [query(`process_open_fds{${HERE}} and on (instance) margay_build_info`, '{{instance}}')],
      },
      {
        ...{ title: 'Starts of agents', unit: 'short', decimals: 0 },
        is: 'In an hour.',
        queries: [
          query(`changes(process_start_time_seconds{${HERE}}[1h]) and on (instance) margay_build_info`, '{{instance}}'),
        ],
      },
      {
        ...{ title: 'Controllers', unit: 'short', decimals: 0 },
        is: 'One leads; conditions that are not kept.',
        queries: [
          query('sum(margay_controllers_leader)', 'leaders'),
          query('sum by (type) (1 - margay_controllers_condition)', '{{type}}'),
        ],
      },
      {
        ...{ title: 'Versions', unit: 'short', decimals: 0 },
        is: 'Agents by version.',
        queries: [query('count by (version) (margay_build_info)', '{{version}}')],
      },
    ],
  },
]

const SOURCE = { type: 'prometheus', uid: '$datasource' }
/** Grafana's grid is 24 wide. */
const [WIDTH, HEIGHT, ACROSS] = [6, 7, 4]

/** The dashboard as Grafana reads it. */
export function dashboardText(): string {
  const panels: object[] = []
  let y = 0
  for (const { title, panels: all } of ROWS) {
    const row = { type: 'row', collapsed: false, panels: [] }
    panels.push({ id: panels.length + 1, title, gridPos: { x: 0, y, w: 24, h: 1 }, ...row })
    y++
    for (const [at, panel] of all.entries()) {
      const x = (at % ACROSS) * WIDTH
      if (at > 0 && x === 0) y += HEIGHT
      panels.push(panelOf(panel, { id: panels.length + 1, gridPos: { x, y, w: WIDTH, h: HEIGHT } }))
    }
    y += HEIGHT
  }
  const variables = [
    { name: 'datasource', type: 'datasource', label: 'Prometheus', query: 'prometheus' },
    {
      ...{
        name: 'instance',
        type: 'query',
        label: 'Node',
        datasource: SOURCE,
        query: 'label_values(margay_ready, instance)',
      },
      ...{ multi: true, includeAll: true, allValue: '.*', refresh: 2, sort: 1 },
      current: { text: 'All', value: '$__all' },
    },
  ]
  const dashboard = {
    ...{
      uid: 'margay',
      title: 'Margay',
      description: 'The cluster network: nodes, addresses, BGP, pods and programs.',
    },
    ...{ tags: ['margay', 'network'], schemaVersion: 39, version: 1, editable: true, refresh: '30s' },
    ...{ time: { from: 'now-3h', to: 'now' }, timezone: 'browser', templating: { list: variables }, panels },
  }
  return `${JSON.stringify(dashboard, undefined, 2)}\n`
}

function panelOf({ title, is, unit, decimals, queries }: Panel, place: { id: number; gridPos: object }): object {
  return {
    ...place,
    ...{ type: 'timeseries', title, description: is, datasource: SOURCE },
    fieldConfig: { defaults: { unit, min: 0, ...(decimals !== undefined && { decimals }) }, overrides: [] },
    options: { legend: { displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'multi' } },
    targets: queries.map(({ expr, legend }, at) => ({
      ...{ refId: String.fromCharCode(65 + at), datasource: SOURCE, editorMode: 'code' },
      ...{ expr, legendFormat: legend, range: true },
    })),
  }
}
