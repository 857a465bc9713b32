// `explain --policy`: what policies would do to flows that were seen, from the objects of an API server and what agents tell.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { serveSocket } from '../../agent/socket/server.ts'
import type { Flow } from '../../api/answers.ts'
import type { OpenConnection } from '../../api/connection-answer.ts'
import { startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import { asJson } from '../../lib/http-routes.ts'
import { silentLog } from '../../lib/log.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { aPod, aResource } from '../datastore/objects.ts'
import { runHere } from './run.ts'

const ADDRESS = { web: '10.244.0.5', db: '10.244.1.7', job: '10.244.1.9' } as const

const connection = (from: keyof typeof ADDRESS, to: keyof typeof ADDRESS, destinationPort: number): OpenConnection => ({
  ...{ source: ADDRESS[from], destination: ADDRESS[to], protocol: 6, destinationPort, count: 3 },
})

const denied: Flow = {
  ...{ first: '2026-01-02T03:04:05Z', last: '2026-01-02T03:04:05Z', packets: 4, verdict: 'deny', family: 'ipv4' },
  ...{ protocol: 'tcp', destinationPort: 5432, because: 'rule' },
  source: { address: ADDRESS.job },
  destination: { address: ADDRESS.db },
}

/** Three pods, of which `db` takes packets of `web` alone; what its node tells was seen. */
async function aCluster(t: ExecutionContext, connections: OpenConnection[] = [connection('web', 'db', 5432)]) {
  const server = await startApiServer()
  t.teardown(() => server.close())
  const store = openStore({ server: server.url, token: server.token })
  t.teardown(() => store.close())
  for (const [name, address] of Object.entries(ADDRESS)) {
    await store.create('Pod', aPod(name, { nodeName: 'n1' }, { labels: { app: name } }))
    await store.patch(
      'Pod',
      name,
      { status: { podIP: address, podIPs: [{ ip: address }] } },
      { namespace: 'default', subresource: 'status' },
    )
  }
  const dir = mkdtempSync(join(tmpdir(), 'what-if-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const routes = { 'GET /connections': asJson(() => connections), 'GET /flows': asJson(() => [denied]) }
  const socket = await serveSocket(join(dir, 'n1'), routes, silentLog)
  t.teardown(() => socket.close())
  const words = ['--kubeconfig', kubeconfigFor(server), '-n', 'default']
  const run = (manifest: string, ...more: string[]) =>
    runHere(['explain', '--policy', '-', '--node-sockets', `n1=${join(dir, 'n1')}`, ...words, ...more], manifest)
  return { store, run, dir }
}

/** Of Kubernetes, for `db`. */
const onlyFrom = (app: string) =>
  JSON.stringify({
    ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'db', namespace: 'default' } },
    spec: {
      podSelector: { matchLabels: { app: 'db' } },
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ podSelector: { matchLabels: { app } } }] }],
    },
  })

const calico = (spec: object, name = 'shut') =>
  JSON.stringify({ apiVersion: 'projectcalico.org/v3', kind: 'GlobalNetworkPolicy', metadata: { name }, spec })

test('a policy that would end what is open is told flow by flow with its rule, and the exit code is 1; nothing is written', async t => {
  const { run, store } = await aCluster(t)
  const shut = await run(onlyFrom('job'))
  t.is(shut.code, 1)
  t.regex(shut.out, /default\/web +default\/db +tcp\/5432 +3 +allow +deny +ingress of default\/db/)
  t.notRegex(
    shut.out,
    /default\/job/,
    'a packet that was denied before the policy was there is judged by objects, and allowed before and after',
  )
  t.deepEqual(await store.list('KubernetesNetworkPolicy'), [])
})

test('a policy that lets more pass is no failure, and says which flows it would let pass', async t => {
  const { run, store } = await aCluster(t)
  const policy = JSON.parse(onlyFrom('web')) as { metadata: object; spec: object }
  await store.create('KubernetesNetworkPolicy', aResource('KubernetesNetworkPolicy', policy))
  const open = await run(
    calico({ tier: 'default', order: 1, selector: "app == 'db'", ingress: [{ action: 'Allow' }] }),
    '-o',
    'json',
  )
  t.is(open.code, 0)
  const { asked, changed } = JSON.parse(open.out) as { asked: number; changed: object[] }
  t.is(asked, 2)
  t.like(changed, {
    length: 1,
    0: { source: ADDRESS.job, was: 'deny', before: { action: 'deny' }, after: { action: 'allow' } },
  })
  const gone = await run(onlyFrom('web'), '--delete', '-o', 'json')
  t.like(JSON.parse(gone.out), { changed: { length: 1, 0: { source: ADDRESS.job, after: { action: 'allow' } } } })
})

test('a policy that changes no flow says so; one packet is told in any case, with who decides it', async t => {
  const { run } = await aCluster(t)
  const same = await run(onlyFrom('web').replace('"app":"db"', '"app":"nobody"'))
  t.deepEqual([same.code, same.out], [0, 'Of 2 flows none would be judged in another way.\n'])
  const one = await run(onlyFrom('web'), 'job', 'db', 'tcp/5432')
  t.is(one.code, 1)
  t.regex(one.out, /default\/job +default\/db +tcp\/5432 +1 +allow +deny/)
  const kept = await run(onlyFrom('web'), 'web', 'db', 'tcp/5432')
  t.deepEqual([kept.code, /allow +allow +.*NetworkPolicy default\/db rule 1/.test(kept.out)], [0, true], kept.out)
})

test('flows to one port are one with their number, whichever node tells them, and a node that tells none is named', async t => {
  const { run, dir } = await aCluster(t, [
    connection('web', 'db', 80),
    connection('web', 'db', 80),
    connection('job', 'db', 80),
  ])
  const words = ['--node-sockets', `n1=${join(dir, 'n1')},n2=${join(dir, 'away')}`]
  const told = await run(onlyFrom('job'), ...words)
  t.is(told.code, 1)
  t.regex(told.err, /node n2 does not tell its flows: /)
  t.is(told.out.match(/default\/web/g)?.length, 1)
})

test('what is no policy is passed over by name, and a manifest without any, or that is wrong, is refused', async t => {
  const { run } = await aCluster(t)
  const pool = JSON.stringify({
    apiVersion: 'projectcalico.org/v3',
    kind: 'IPPool',
    metadata: { name: 'p' },
    spec: { cidr: '10.9.0.0/16' },
  })
  t.regex(
    (await run(`${onlyFrom('web')}\n---\n${pool}`)).err,
    /Passed over, since policies do not depend on it: IPPool p/,
  )
  t.deepEqual((await run(pool)).code, 2)
  t.regex(
    (await run(onlyFrom('web').replace('"podSelector":{"matchLabels":{"app":"db"}}', '"podSelector":7'))).err,
    /NetworkPolicy/,
  )
  t.regex((await run(onlyFrom('web'), 'web')).err, /name two ends, or none/)
  t.regex((await runHere(['explain'])).err, /name two ends, or one node, or give --policy FILE/)
})

test('where a rule asks for names of domains, the answer says that it cannot know', async t => {
  const { run } = await aCluster(t)
  const named = JSON.stringify({
    ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name: 'out' } },
    spec: {
      ...{ tier: 'Admin', priority: 5, subject: { namespaces: {} } },
      egress: [{ action: 'Accept', to: [{ domainNames: ['example.com'] }] }],
    },
  })
  t.regex((await run(named)).err, /names of domains match nothing here/)
})
