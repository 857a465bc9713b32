// The dashboard and the alerts, against what running programs say: two agents and margay-controllers in memory. Prometheus' own
// promtool evaluates every query; without it only names and labels are checked.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { parse, stringify } from 'yaml'
import { BfdOnDemand } from '../../agent/bfd-on-demand.ts'
import { metricsPage } from '../../agent/status/metrics-page.ts'
import { BGP_ANNOTATION } from '../../api/core.ts'
import { CONTROLLERS_METRICS, NODE_METRICS } from '../../api/metrics.ts'
import { Controllers } from '../../controllers/controllers.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { gauge, type MetricRow } from '../../lib/metrics-text.ts'
import { findSystemProgram } from '../../lib/system-program.ts'
import { manifestFiles } from '../../manifests/installation.ts'
import { aCluster, cni, eventually, startAgent } from '../agent/machines.ts'
import { SaidThread } from '../bgp/said-bfd.ts'
import { aResource } from '../datastore/objects.ts'

const files = manifestFiles()
/** Prometheus' own, of each target. */
const UP = gauge('1 when the last scrape had an answer.', 'job')
const TABLE: Readonly<Record<string, MetricRow>> = { ...NODE_METRICS, ...CONTROLLERS_METRICS, up: UP }

type Panel = { title: string; targets?: { expr: string }[] }
type Rule = { alert: string; expr: string; for: string }
const panels = (JSON.parse(files.get('monitoring/dashboard.json')!) as { panels: Panel[] }).panels
const QUERIES = panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))
const RULES = (parse(files.get('monitoring/rules.yaml')!) as { groups: { rules: Rule[] }[] }).groups[0]!.rules
const expressions = [...QUERIES.map(({ expr }) => expr), ...RULES.map(({ expr }) => expr)]

/** The row of a name in a query: a summary has two series. */
const rowOf = (name: string) => TABLE[name] ?? TABLE[name.replace(/_(sum|count)$/, '')]

test('every metric that a query of the dashboard or an alert names is in the table, with the labels that the query asks for', t => {
  t.true(expressions.length > 40)
  for (const expr of expressions) {
    const names = [...expr.matchAll(/\b(?:up|(?:felix|margay|ipam|process|nodejs)_[a-z_]+)\b/g)]
    t.true(names.length > 0, expr)
    for (const [name] of names) t.truthy(rowOf(name), `${name} in ${expr}`)
    for (const [, name = '', selector = ''] of expr.matchAll(/\b([a-z_]+)\{([^}]*)\}/g))
      for (const [, label = ''] of selector.matchAll(/(\w+)[!=]/g))
        t.true([...(rowOf(name)?.labels ?? []), 'instance'].includes(label), `${label} of ${name}`)
    const known = new Set(['instance', ...names.flatMap(([name]) => rowOf(name)?.labels ?? [])])
    for (const [, labels = ''] of expr.matchAll(/\b(?:by|on) \(([^)]*)\)/g))
      for (const label of labels.split(', ')) t.true(known.has(label), `${label} in ${expr}`)
  }
})

test('each panel of the dashboard has a place of its own and a query, and the dashboard the variables that they use', t => {
  type Place = { gridPos: { x: number; y: number; w: number; h: number }; id: number; type: string }
  const places = panels as unknown as Place[]
  t.is(new Set(places.map(({ id }) => id)).size, places.length)
  const cells = places.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`),
  )
  t.is(new Set(cells).size, cells.length)
  const names = [...new Set(expressions.join().match(/\$(?!labels|value)\w+/g))].sort()
  t.deepEqual(names, ['$__rate_interval', '$instance'])
})

/** What is served when two nodes with pods have a session with each other, and one more that nobody answers. */
async function pages(t: ExecutionContext): Promise<{ node: string; controllers: string }> {
  const { store, network, machines } = await aCluster(t)
  const spec = { peerIP: '192.0.2.99', asNumber: 65001 }
  const metadata = { name: 'rack', annotations: { [BGP_ANNOTATION.bfd]: '300ms x 3' } }
  await store.create('BGPPeer', aResource('BGPPeer', { metadata, spec }))
  const bfd = () => new BfdOnDemand(() => new SaidThread())
  const [one] = [
    await startAgent(t, machines[0], store, network, systemClock, { bfd: bfd() }),
    await startAgent(t, machines[1], store, network, systemClock, { bfd: bfd() }),
  ]
  const options = { identity: 'a', namespace: 'kube-system', graceMs: 60_000, answerMs: 60_000, firstPools: [] }
  const controllers = new Controllers(options, { store, clock: systemClock, log: silentLog })
  const whole = (text: string, table: object) => Object.keys(table).filter(name => !text.includes(`# TYPE ${name} `))
  const node = () => metricsPage(one, { ofProcess: true })
  await eventually(
    t,
    'ready',
    () => one.ready(),
    ready => ready,
  )
  t.is((await cni(one, 'ADD', 'c1')).exitCode, 0)
  await eventually(
    t,
    'metrics of a node',
    async () => whole(await node(), NODE_METRICS),
    left => left.length === 0,
  )
  controllers.start()
  t.teardown(() => controllers.close())
  const told = () => controllers.metrics()
  await eventually(
    t,
    'metrics of controllers',
    () => whole(told(), CONTROLLERS_METRICS),
    left => left.length === 0,
  )
  await eventually(t, 'session', node, text => /margay_bgp_peer_up\{.*\} 1/.test(text))
  return { node: await node(), controllers: told() }
}

type Sample = { name: string; labels: string; value: number; rise: number }

function samplesOf(text: string, instance: string): Sample[] {
  const lines = text.split('\n').filter(line => line !== '' && !line.startsWith('#'))
  const up = { name: 'up', labels: `job="margay",instance="${instance}"`, value: 1, rise: 0 }
  const told = lines.map(line => {
    const [, name = '', labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line)!
    const type = rowOf(name)?.type
    const own = `${labels === '' ? '' : `${labels},`}instance="${instance}"`
    return { name, labels: own, value: Number(value), rise: type === 'counter' || type === 'summary' ? 1 : 0 }
  })
  return [up, ...told]
}

const MINUTES = 70
const seriesOf = (samples: readonly Sample[]) =>
  samples.map(({ name, labels, value, rise }) => ({
    series: `${name}{${labels}}`,
    values: `${value}+${rise}x${MINUTES}`,
  }))

type Expected = { expr: string; eval_time: string; exp_samples: { labels: string; value: number }[] }
const finds = (expr: string): Expected => ({
  ...{ expr: `count(${expr}) > bool 0`, eval_time: `${MINUTES}m`, exp_samples: [{ labels: '{}', value: 1 }] },
})
const findsNothing = (expr: string): Expected => ({ expr, eval_time: `${MINUTES}m`, exp_samples: [] })

type Group = { name: string; samples: readonly Sample[]; tests: readonly Expected[] }

const promtool = findSystemProgram('promtool')
const checked = promtool === undefined ? test.skip : test
if (promtool === undefined)
  test('queries are not evaluated: there is no promtool on this machine', t => {
    t.log('skipped: apt-get install prometheus has it')
    t.pass()
  })

/** Runs promtool with an input or with files, by name. */
function run(t: ExecutionContext, args: readonly string[], input = ''): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(promtool!, args, { input, encoding: 'utf8', cwd: folder(t) })
  return { status, text: stdout + stderr }
}

const folders = new WeakMap<ExecutionContext, string>()
function folder(t: ExecutionContext): string {
  const known = folders.get(t)
  if (known !== undefined) return known
  const made = mkdtempSync(join(tmpdir(), 'margay-promtool-'))
  t.teardown(() => rmSync(made, { recursive: true }))
  folders.set(t, made)
  return made
}

/** Evaluates the tests of every group, with the alerts. */
function evaluate(t: ExecutionContext, groups: readonly Group[]): { status: number | null; text: string } {
  writeFileSync(join(folder(t), 'rules.yaml'), files.get('monitoring/rules.yaml')!)
  const tests = groups.map(({ name, samples, tests: expected }) => ({
    ...{ name, interval: '1m', input_series: seriesOf(samples), promql_expr_test: expected },
  }))
  writeFileSync(
    join(folder(t), 'tests.yaml'),
    stringify({ rule_files: ['rules.yaml'], evaluation_interval: '1m', tests }),
  )
  return run(t, ['test', 'rules', 'tests.yaml'])
}

const filled = (expr: string) => expr.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*')

/** What makes each alert fire, over samples of nodes that are well. */
const set =
  (name: string, value: number, labels = '', rise = 0) =>
  (sample: Sample): Sample =>
    sample.name === name && sample.labels.includes(labels) ? { ...sample, value, rise } : sample
const FIRES: Readonly<Record<string, (sample: Sample) => Sample>> = {
  MargayNodeNotReady: set('margay_ready', 0),
  MargayProgramDown: set('up', 0, 'instance="n2:9094"'),
  MargayNodesNotSeen: set('felix_cluster_num_hosts', 2),
  MargayNothingSeen: sample => (sample.name === 'margay_ready' ? { ...sample, name: 'margay_other' } : sample),
  MargayPoolNearlyFull: set('ipam_allocations_in_use', 60_000),
  MargayNoAddressLeft: set('margay_condition', 0, 'type="AddressesLeft"'),
  MargayFewAddressesLeft: set('margay_condition', 0, 'type="BlocksLeft"'),
  MargayPathsLost: set('margay_condition', 0, 'type="PathsPass"'),
  MargayBgpSessionDown: set('margay_bgp_peer_up', 0),
  MargayManyBgpSessionsDown: set('margay_bgp_peers', 5, 'state="Idle"'),
  MargayKernelRefuses: set('margay_condition', 0, 'type="KernelInSync"'),
  MargayPodsNotFiltered: set('margay_condition', 0, 'type="PodsFiltered"'),
  MargayPoliciesNotEnforced: set('margay_condition', 0, 'type="PoliciesEnforced"'),
  MargayRepairsOften: set('margay_events_total', 0, 'type="Healed"', 5),
  MargayApiServerLost: set('margay_condition', 0, 'type="ApiServerConnected"'),
  MargayAgentRestarts: set('process_start_time_seconds', 0, '', 1),
  MargayNoControllerLeads: set('margay_controllers_leader', 0),
}

function well(sample: Sample): Sample {
  const { name, labels } = sample
  if (name === 'felix_cluster_num_hosts') return { ...sample, value: 1 }
  if (name === 'margay_bgp_peer_up' || /^margay_(controllers_)?condition$/.test(name)) return { ...sample, value: 1 }
  if (name === 'margay_bgp_peers' && !labels.includes('state="Established"')) return { ...sample, value: 0 }
  return name === 'margay_events_total' ? { ...sample, rise: 0 } : sample
}

checked(
  'promtool takes the output of the programs, every query of the dashboard finds something in it, and each alert fires when it should and only then',
  async t => {
    t.timeout(60_000)
    const { node, controllers } = await pages(t)
    for (const [page, text] of Object.entries({ node, controllers })) {
      const { text: told } = run(t, ['check', 'metrics'], text)
      // names that Calico gave are not ours to change
      const ours = told.split('\n').filter(line => line !== '' && !TABLE[line.split(' ')[0]!]?.calico)
      t.deepEqual(ours, [], page)
    }
    const rules = join(folder(t), 'rules.yaml')
    writeFileSync(rules, files.get('monitoring/rules.yaml')!)
    const { status: valid, text: why } = run(t, ['check', 'rules', rules])
    t.is(valid, 0, why)
    t.deepEqual(
      Object.keys(FIRES),
      RULES.map(({ alert }) => alert),
    )
    const samples = [...samplesOf(node, 'n1:9091'), ...samplesOf(controllers, 'n2:9094')]
    const healthy = samples.map(well)
    const firing = (alert: string) => `ALERTS{alertname="${alert}",alertstate="firing"}`
    const { status, text } = evaluate(t, [
      { name: 'dashboard', samples, tests: QUERIES.map(({ expr }) => finds(filled(expr))) },
      { name: 'all is well', samples: healthy, tests: [findsNothing('ALERTS')] },
      ...Object.entries(FIRES).map(([alert, change]) => ({
        name: alert,
        samples: healthy.map(change),
        tests: [finds(firing(alert))],
      })),
    ])
    t.is(status, 0, text)
    const isOf = (instance: string) => (sample: Sample) => sample.labels.includes(`instance="${instance}"`)
    const dead = (instance: string) =>
      healthy.filter(sample => !isOf(instance)(sample)).concat(set('up', 0)(healthy.find(isOf(instance))!))
    const down = evaluate(t, [
      {
        ...{ name: 'the agent is dead', samples: dead('n1:9091') },
        tests: ['MargayProgramDown', 'MargayNothingSeen'].map(alert => finds(firing(alert))),
      },
      {
        ...{ name: 'the controllers are dead', samples: dead('n2:9094') },
        tests: ['MargayProgramDown', 'MargayNoControllerLeads'].map(alert => finds(firing(alert))),
      },
      {
        ...{ name: 'there is nothing to ask', samples: [] },
        tests: ['MargayNothingSeen', 'MargayNoControllerLeads'].map(alert => finds(firing(alert))),
      },
    ])
    t.is(down.status, 0, down.text)
    // a query that finds nothing is seen
    const none = evaluate(t, [{ name: 'none', samples, tests: [finds('margay_no_such_metric')] }])
    t.not(none.status, 0)
  },
)
