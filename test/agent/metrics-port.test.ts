// Where an agent serves its metrics, as its FelixConfiguration changes.
import { once } from 'node:events'
import { createServer } from 'node:net'
import test from 'ava'
import { MetricsPort } from '../../agent/metrics-port.ts'
import type { Resource } from '../../api/kinds.ts'
import type { Condition } from '../../api/status.ts'
import { RuleCounts } from '../../felix/rule-counts.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'
import { someNumbers } from './status/numbers.ts'

type Felix = Resource<'FelixConfiguration'>

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}

const eventually = async (ask: () => Promise<boolean>): Promise<void> => {
  while (!(await ask())) await new Promise(setImmediate)
}

test('metrics are served where FelixConfiguration says while it says so, and its object for this node goes before', async t => {
  const objects = new Map<string, Felix>()
  const listeners: (() => void)[] = []
  let conditions: readonly Condition[] = []
  const clock = new ManualClock()
  const port = new MetricsPort({
    ...{ nodeName: 'n1', clock, log: silentLog },
    view: {
      onChange: (_kind, listen) => void listeners.push(listen as () => void),
      get: (_kind, name) => objects.get(name) as never,
    },
    agent: { numbers: someNumbers, droppedPackets: async () => new Map(), ruleCounts: async () => new RuleCounts() },
    report: told => {
      conditions = told
    },
  })
  t.teardown(() => port.close())
  const set = (name: string, spec: object) => {
    objects.set(name, aResource('FelixConfiguration', { metadata: { name }, spec }))
    for (const listen of listeners) listen()
  }
  const [first, second] = [await freePort(), await freePort()]
  const text = (at: number) =>
    fetch(`http://127.0.0.1:${at}/metrics`).then(
      response => response.text(),
      () => '',
    )
  port.start()
  const common = { prometheusMetricsHost: '127.0.0.1', prometheusMetricsPort: first }
  set('default', common)
  t.is(await text(first), '', 'off unless it is enabled')
  set('default', { ...common, prometheusMetricsEnabled: true })
  await eventually(async () => /^process_open_fds \d/m.test(await text(first)))
  set('node.n1', { prometheusMetricsPort: second })
  await eventually(async () => (await text(second)).includes('margay_ready'))
  t.is(await text(first), '')
  set('default', { ...common, prometheusMetricsEnabled: true, prometheusProcessMetricsEnabled: false })
  clock.advance(1000)
  t.notRegex(await text(second), /process_/, 'on the same server')
  set('node.n1', { prometheusMetricsHost: '192.0.2.77' })
  await eventually(async () => conditions.length > 0)
  t.like(conditions[0], { type: 'MetricsServed', reason: 'NoSuchAddress' })
  set('node.n1', { prometheusMetricsEnabled: false })
  t.deepEqual(conditions, [])
  t.is(await text(first), '')
})
