import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import anyTest, { type TestFn } from 'ava'
import { startApiServer } from '../../apiserver/server.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { type Run, runHere } from './run.ts'

type Ctl = (args: string[], stdin?: string) => Promise<Run>
const test = anyTest as TestFn<{ one: Ctl; other: Ctl; close: () => Promise<unknown> }>

test.beforeEach(async t => {
  const servers = await Promise.all([startApiServer(), startApiServer()])
  const [one, other] = servers.map((server): Ctl => {
    const kubeconfig = kubeconfigFor(server)
    return (args, stdin) => runHere([...args, '--kubeconfig', kubeconfig], stdin)
  })
  t.context = { one: one!, other: other!, close: () => Promise.all(servers.map(server => server.close())) }
})
test.afterEach.always(t => t.context.close())

const CLUSTER = `apiVersion: projectcalico.org/v3
kind: IPAMBlock
metadata: {name: 10-244-0-0-26, annotations: {margay/journal: e1}}
spec:
  cidr: 10.244.0.0/26
  affinity: host:n1
  allocations: [0${', null'.repeat(63)}]
  unallocated: [${Array.from({ length: 63 }, (_, i) => i + 1).join(', ')}]
  attributes: [{handle_id: h1, secondary: {node: n1, pod: web, namespace: default}}]
  sequenceNumber: 1766000000123456789
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p1, labels: {site: a}, finalizers: [margay/blocks]}
spec: {cidr: 10.244.0.0/16, blockSize: 26, ipipMode: Always}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 192.0.2.1, asNumber: 65001}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {rack: r1}, annotations: {projectcalico.org/ASNumber: "64999", other: x}}
`

test('what export prints, import makes the same in another cluster, IPAM and large integers included', async t => {
  const { one, other } = t.context
  t.is((await one(['apply', '-f', '-'], CLUSTER)).code, 0)
  t.regex((await one(['datastore', 'lock', '--wait', '0'])).out, /is locked/)
  const { code, out, err } = await one(['datastore', 'export'])
  t.deepEqual([code, err], [0, ''])
  t.notRegex(out, /resourceVersion|uid|creationTimestamp|managedFields|rack|other/)
  await other(['apply', '-f', '-'], 'apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n')
  const imported = await other(['datastore', 'import', '--wait', '0', '-f', '-'], out)
  t.is(imported.code, 0, imported.err)
  const order = imported.out.split('\n').map(line => line.split('/')[0]!.split('.')[0])
  t.deepEqual(order, ['clusterinformation', 'ippool', 'bgppeer', 'ipamblock', 'node', ''])
  t.regex(imported.err, /The datastore is locked for the import/)
  await other(['datastore', 'unlock'])
  await one(['datastore', 'unlock'])
  t.is((await other(['datastore', 'export'])).out, (await one(['datastore', 'export'])).out)
  t.regex((await other(['get', 'ipamblock', '10-244-0-0-26', '-o', 'yaml'])).out, /sequenceNumber: 1766000000123456789/)
})

const INFORMATION = (guid: string): string =>
  `apiVersion: projectcalico.org/v3\nkind: ClusterInformation\nmetadata: {name: default}\nspec: {clusterGUID: ${guid}, datastoreReady: true}\n`

test('an import locks a cluster with a ClusterInformation of its own first, and leaves its GUID', async t => {
  const { one, other } = t.context
  await one(['apply', '-f', '-'], `${INFORMATION('aaa')}---\n${CLUSTER}`)
  await other(['apply', '-f', '-'], INFORMATION('bbb'))
  const { out } = await one(['datastore', 'export'])
  for (const flags of [[], ['--overwrite']]) {
    const imported = await other(['datastore', 'import', '--wait', '0', ...flags, '-f', '-'], out)
    t.is(imported.code, 0, imported.err)
    t.regex(imported.out, /^clusterinformation\.projectcalico\.org\/default locked\nippool/)
    t.regex(imported.err, /The datastore is locked for the import/)
    const path = '-ojsonpath={.spec.clusterGUID} {.spec.datastoreReady}'
    t.is((await other(['get', 'clusterinformation', 'default', path])).out, 'bbb false')
    await other(['datastore', 'unlock'])
  }
})

test('an import that cannot lock its target creates nothing', async t => {
  const { one } = t.context
  await one(['apply', '-f', '-'], CLUSTER)
  const { out } = await one(['datastore', 'export'])
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url!.split('?')[0]}`)
    if (request.url === '/apis') return void response.end('{"groups":[{"name":"projectcalico.org"}]}')
    response.writeHead(403).end('{"kind":"Status","message":"clusterinformations are forbidden"}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const imported = await runHere(['datastore', 'import', '--wait', '0', '-f', '-', '--server', url], out)
  t.is(imported.code, 1)
  t.regex(imported.err, /clusterinformations are forbidden/)
  t.deepEqual(asked, ['GET /apis', 'PATCH /apis/projectcalico.org/v3/clusterinformations/default'])
})

test('an import can be repeated, and replaces what says something else only with --overwrite', async t => {
  const { one } = t.context
  await one(['apply', '-f', '-'], CLUSTER)
  const { out } = await one(['datastore', 'migrate', 'export', '-o', 'json'])
  t.regex(
    (await one(['datastore', 'migrate', 'import', '--wait', '0', '-f', '-'], out)).out,
    /ippool.projectcalico.org\/p1 unchanged\n/,
  )
  await one(['patch', 'ippool', 'p1', '-p', '{"spec":{"disabled":true}}'])
  const refused = await one(['datastore', 'import', '--wait', '0', '-f', '-'], out)
  t.is(refused.code, 1)
  t.regex(refused.err, /IPPool p1 is there and says something else\. Delete it, or give --overwrite/)
  t.regex(
    (await one(['datastore', 'import', '--wait', '0', '--overwrite', '-f', '-'], out)).out,
    /ippool.projectcalico.org\/p1 replaced\n/,
  )
})

test('an export of a datastore that is not locked says what may be missing', async t => {
  const { one } = t.context
  t.regex((await one(['datastore', 'export'])).err, /the datastore is not locked/)
})

test('lock and unlock set the field that agents heed', async t => {
  const { one } = t.context
  const ready = async (): Promise<string> =>
    (await one(['get', 'clusterinformation', 'default', '-o', 'jsonpath={.spec.datastoreReady}'])).out
  await one(['datastore', 'lock', '--wait', '0'])
  t.is(await ready(), 'false')
  await one(['datastore', 'unlock'])
  t.is(await ready(), 'true')
})

test('export as JSON and as YAML escapes control characters that a terminal would obey', async t => {
  const { one } = t.context
  const pool = { apiVersion: 'projectcalico.org/v3', kind: 'IPPool', spec: { cidr: '10.244.0.0/16' } }
  const metadata = { name: 'p1', annotations: { note: 'a\u009b2Jb' } }
  t.is((await one(['apply', '-f', '-'], JSON.stringify({ ...pool, metadata }))).code, 0)
  for (const format of ['json', 'yaml']) {
    const { out } = await one(['datastore', 'export', '-o', format])
    t.regex(out, /"a\\u009b2Jb"/, format)
    t.false(out.includes('\u009b'), format)
  }
})
