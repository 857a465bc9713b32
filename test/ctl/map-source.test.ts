// What the map shows, gathered from agents' sockets and from the objects of a server.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { serveSocket } from '../../agent/socket/server.ts'
import type { Context } from '../../ctl/command.ts'
import { Collected } from '../../ctl/map-source.ts'
import { ManualClock } from '../../lib/clock.ts'
import { asJson, type HttpRoute } from '../../lib/http-routes.ts'
import { silentLog } from '../../lib/log.ts'
import { aPod, aResource } from '../datastore/objects.ts'

const STATUS = { node: 'n1', address: '192.0.2.1', subnet: '192.0.2.0/24', ready: true, conditions: [], peers: [] }
const EVENT = {
  at: '2026-01-02T03:04:05Z',
  type: 'Healed',
  object: { kind: 'Route', name: 'r' },
  reason: 'x',
  message: 'y',
}

const podAt = (name: string, podIP: string) => ({
  ...aPod(name, { nodeName: 'n1' }, { labels: { app: name } }),
  status: { podIP, podIPs: [{ ip: podIP }] },
})

const SHUT = aResource('KubernetesNetworkPolicy', {
  metadata: { name: 'db', namespace: 'default' },
  spec: {
    podSelector: { matchLabels: { app: 'db' } },
    policyTypes: ['Ingress'],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 5432, protocol: 'TCP' }] }],
  },
})

const OBJECTS: Readonly<Record<string, object[]>> = {
  Pod: [podAt('web', '10.244.0.5'), podAt('db', '10.244.0.6'), podAt('job', '10.244.0.7')],
  Namespace: [aResource('Namespace', { metadata: { name: 'default' } })],
  KubernetesNetworkPolicy: [SHUT],
}

async function collected(t: ExecutionContext, routes: Record<string, HttpRoute> = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'map-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const answers = { 'GET /status': asJson(() => STATUS), ...routes }
  const socket = await serveSocket(join(dir, 'n1'), answers, silentLog)
  t.teardown(() => socket.close())
  const context = {
    objects: async () => ({ list: async (kind: string) => OBJECTS[kind] ?? [] }),
    namespace: async () => 'default',
    err: () => undefined,
  } as unknown as Context
  const clock = new ManualClock()
  const source = new Collected({ nodeSockets: `n1=${join(dir, 'n1')},n2=${join(dir, 'away')}` }, context, clock)
  t.teardown(() => source.close())
  await source.start()
  return { source, clock }
}

test('a node that answers has a snapshot, and one that does not is silent with the reason', async t => {
  const { source } = await collected(t)
  const [n1, n2] = source.seen().toSorted((a, b) => (a.node < b.node ? -1 : 1))
  t.like(n1, { node: 'n1', silent: undefined, last: { address: '192.0.2.1', subnet: '192.0.2.0/24', ready: true } })
  t.is(n2?.last, undefined)
  t.regex(n2?.silent ?? '', /away/)
})

test('flows and events are those of the nodes that answer, with their node', async t => {
  const { source } = await collected(t, {
    'GET /flows': asJson(() => []),
    'GET /events': (_request, response) =>
      void response
        .writeHead(200, { 'content-type': 'application/x-ndjson' })
        .end(`${JSON.stringify({ record: { seq: 1, ...EVENT } })}\n`),
  })
  t.deepEqual(await source.flows(), [])
  t.like(await source.events(), { length: 1, 0: { node: 'n1', type: 'Healed' } })
})

test('who may talk to a pod, and to whom it may, is what the policies of the cluster say both ways', async t => {
  const { source } = await collected(t)
  const told = await source.policy('default/db', 'tcp/5432')
  t.like(told, {
    more: 0,
    peers: {
      length: 2,
      0: { pod: 'default/job', to: { action: 'allow' }, from: { action: 'deny' } },
      1: { pod: 'default/web', to: { action: 'allow' }, from: { action: 'allow' } },
    },
  })
  t.like(await source.policy('default/db', 'tcp/80'), {
    peers: { 1: { pod: 'default/web', from: { action: 'deny' } } },
  })
  t.regex(JSON.stringify(await source.policy('default/none', undefined)), /there is no pod default\/none/)
  t.regex(JSON.stringify(await source.policy('default/db', 'tcp')), /write tcp\/PORT/)
})

test('a question that makes no sense is told in words', async t => {
  const { source } = await collected(t)
  t.regex(JSON.stringify(await source.explain('nobody', 'nothing', undefined)), /"error":/)
})
