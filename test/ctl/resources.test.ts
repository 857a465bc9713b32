// The habits of kubectl and calicoctl that the commands on resources keep.
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import anyTest, { type TestFn } from 'ava'
import { kinds } from '../../api/kinds.ts'
import { RECEIPT_KINDS } from '../../api/policy-receipts.ts'
import { type ApiServer, startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import { until } from '../../lab/program.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { aResource } from '../datastore/objects.ts'
import { beginHere, type Run, runHere } from './run.ts'

type Ctl = (line: string | string[], stdin?: string) => Promise<Run>

const test = anyTest as TestFn<{ server: ApiServer; kubeconfig: string; ctl: Ctl; dir: string }>

test.beforeEach(async t => {
  const server = await startApiServer()
  const kubeconfig = kubeconfigFor(server)
  const dir = mkdtempSync(join(tmpdir(), 'margayctl-'))
  const words = (line: string | string[]): string[] => (typeof line === 'string' ? line.split(' ') : line)
  t.context = {
    ...{ server, kubeconfig, dir },
    ctl: (line, stdin) => runHere([...words(line), '--kubeconfig', kubeconfig], stdin),
  }
})
test.afterEach.always(async t => {
  await t.context.server.close()
  rmSync(t.context.dir, { recursive: true, force: true })
})

const pool = (n: number, label = 'a'): string =>
  `apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p${n}, labels: {site: ${label}}}\nspec: {cidr: 10.${n}.0.0/16}\n`
const TWO = `${pool(1)}---\n${pool(2, 'b')}`
const POD = (name: string, namespace: string): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: ${namespace}, labels: {app: ${name}}}\nspec: {nodeName: n1, containers: []}\n`

test('one command shows objects of several kinds, by KIND/NAME or KIND,KIND', async t => {
  const { ctl } = t.context
  await ctl('apply -f -', `${TWO}---\nkind: Node\nmetadata: {name: n1}\n`)
  t.is((await ctl('get ippool/p1 node/n1 -o name')).out, 'ippool.projectcalico.org/p1\nnode/n1\n')
  const { out } = await ctl('get nodes,ippools')
  t.regex(out, /^NAME .*\nnode\/n1 .*\n\nNAME .*\nippool.projectcalico.org\/p1 .*\nippool.projectcalico.org\/p2 /)
  t.is(JSON.parse((await ctl('get no,ippool -o json')).out).kind, 'List')
  t.is(JSON.parse((await ctl('get ippools -o json')).out).kind, 'IPPoolList')
  t.is(JSON.parse((await ctl('get ippool p1 -o json')).out).kind, 'IPPool')
})

test('selectors by label and by field choose what is shown and deleted', async t => {
  const { ctl } = t.context
  await ctl('apply -f -', TWO)
  t.is((await ctl('get ippools -l site=b -o name')).out, 'ippool.projectcalico.org/p2\n')
  t.is((await ctl('get ippools --field-selector metadata.name=p1 -o name')).out, 'ippool.projectcalico.org/p1\n')
  t.deepEqual(await ctl('delete ippools -l site=c'), { code: 0, out: '', err: 'No resources found.\n' })
  t.is((await ctl('delete ippools -l site=b')).out, 'ippool.projectcalico.org "p2" deleted\n')
  t.is((await ctl('delete ippools --all -o name')).out, 'ippool.projectcalico.org/p1\n')
})

test('what is not there is a failure, unless it may be missing', async t => {
  const { ctl } = t.context
  t.like(await ctl('get ippool p1'), { code: 1, out: '' })
  t.deepEqual(await ctl('get ippool p1 --ignore-not-found'), { code: 0, out: '', err: '' })
  t.deepEqual(await ctl('delete ippool p1 --ignore-not-found'), { code: 0, out: '', err: '' })
  t.deepEqual(await ctl('get ippools'), { code: 0, out: '', err: 'No resources found.\n' })
  t.deepEqual(await ctl('get ippools --ignore-not-found'), { code: 0, out: '', err: '' })
})

test('a dry run changes nothing, on the client and on the server', async t => {
  const { ctl } = t.context
  for (const [how, note] of [
    ['client', '(dry run)'],
    ['server', '(server dry run)'],
  ] as const) {
    t.is((await ctl(`create -f - --dry-run=${how}`, pool(1))).out, `ippool.projectcalico.org/p1 created ${note}\n`)
    t.regex(
      (await ctl(`apply -f - --dry-run=${how}`, pool(1))).out,
      /^ippool.projectcalico.org\/p1 \w+ \(.*dry run\)\n/,
    )
    t.is((await ctl('get ippools -o name')).out, '')
  }
  await ctl('apply -f -', pool(1))
  for (const how of ['client', 'server']) {
    t.regex((await ctl(`delete ippool p1 --dry-run=${how}`)).out, /deleted \(.*dry run\)\n/)
    const patch = ['patch', 'ippool', 'p1', '-p', '{"spec":{"disabled":true}}', `--dry-run=${how}`, '-o', 'json']
    t.true(JSON.parse((await ctl(patch)).out).spec.disabled)
    const labels = JSON.parse((await ctl(`label ippool p1 x=y --dry-run=${how} -o json`)).out).metadata.labels
    t.is(labels.x, 'y')
  }
  t.is(
    (await ctl(['get', 'ippool', 'p1', '-o', 'jsonpath={.spec.disabled}{.metadata.labels}'])).out,
    'false{"site":"a"}',
  )
})

test('a write shows the object that it led to when -o asks for it', async t => {
  const { ctl } = t.context
  t.is((await ctl('apply -o name -f -', TWO)).out, 'ippool.projectcalico.org/p1\nippool.projectcalico.org/p2\n')
  const { out } = await ctl(['replace', '-f', '-', '-o', 'jsonpath={.spec.cidr}'], pool(1))
  t.is(out, '10.1.0.0/16')
})

test('patch takes merge, JSON and strategic patches, from the line and from a file', async t => {
  const { ctl, dir } = t.context
  await ctl(
    'apply -f -',
    `${pool(1)}---\nkind: Node\nmetadata: {name: n1}\nspec: {taints: [{key: a, effect: NoSchedule}]}\n`,
  )
  const json = '[{"op":"replace","path":"/spec/disabled","value":true}]'
  t.is((await ctl(['patch', 'ippool', 'p1', '--type=json', '-p', json])).out, 'ippool.projectcalico.org/p1 patched\n')
  t.regex((await ctl(['patch', 'ippool/p1', '--type=json', '-p', json])).out, /patched \(no change\)/)
  writeFileSync(join(dir, 'patch.yaml'), 'spec: {disabled: false}\n')
  t.is((await ctl(`patch ippool p1 --patch-file ${dir}/patch.yaml --type strategic`)).code, 0)
  t.is((await ctl(['get', 'ippool', 'p1', '-o', 'jsonpath={.spec.disabled}'])).out, 'false')
  const taint = '{"spec":{"taints":[{"key":"b","effect":"NoExecute"}]}}'
  t.is((await ctl(['patch', 'node', 'n1', '--type', 'merge', '-p', taint])).code, 0)
  t.is((await ctl(['get', 'node', 'n1', '-o', 'jsonpath={.spec.taints[*].key}'])).out, 'b')
})

test('label sets, keeps and removes, by the words of kubectl and of calicoctl', async t => {
  const { ctl } = t.context
  await ctl('apply -f -', TWO)
  t.is((await ctl('label ippool p1 rack=r1 zone=z')).out, 'ippool.projectcalico.org/p1 labeled\n')
  t.is((await ctl('label ippool/p1 rack=r1')).out, 'ippool.projectcalico.org/p1 not labeled\n')
  const refused = await ctl('label ippool p1 rack=r2')
  t.is(refused.code, 1)
  t.regex(refused.err, /'rack' already has a value \(r1\), and --overwrite is not given/)
  t.is((await ctl('label ippool p1 rack=r2 --overwrite')).code, 0)
  t.is((await ctl('label ippool p1 zone-')).out, 'ippool.projectcalico.org/p1 unlabeled\n')
  t.is((await ctl('label ippool p1 rack --remove')).out, 'ippool.projectcalico.org/p1 unlabeled\n')
  t.regex((await ctl('label ippools --all x=y')).out, /p1 labeled\n.*p2 labeled\n/)
  const { out } = await ctl('get ippools --show-labels --no-headers')
  t.regex(out, /^p1 .* site=a,x=y\np2 .* site=b,x=y\n$/)
})

test('the order is that of names, or of --sort-by', async t => {
  const { ctl } = t.context
  await ctl('apply -f -', `${pool(10)}---\n${pool(9)}---\n${pool(2)}`)
  t.is((await ctl('get ippools --sort-by=.spec.cidr -o jsonpath={.items[*].metadata.name}')).out, 'p2 p9 p10')
  t.is((await ctl('get ippools -o jsonpath={.items[*].metadata.name}')).out, 'p10 p2 p9')
})

test('a watch shows what is there and then what changes', async t => {
  const { ctl, kubeconfig } = t.context
  await ctl('apply -f -', pool(1))
  const name = (n: number): string => `ippool.projectcalico.org/p${n}\n`
  const watch = beginHere(['get', 'ippools', '-w', '-o', 'name', '--kubeconfig', kubeconfig])
  await watch.printed(name(1))
  await ctl('apply -f -', TWO)
  await watch.printed(name(1) + name(2))
  await ctl('delete ippool p1')
  await watch.printed(name(1) + name(2) + name(1))
  watch.interrupt()
  t.like(await watch.ended, { code: 0, err: '' })
})

test("the namespace and the server are those of the kubeconfig's context, or of the one that is named", async t => {
  const { ctl, kubeconfig, dir } = t.context
  await ctl(
    'apply -f -',
    `kind: Namespace\nmetadata: {name: shop}\n---\n${POD('web', 'shop')}---\n${POD('db', 'default')}`,
  )
  const config = JSON.parse(readFileSync(kubeconfig, 'utf8'))
  const [{ context }] = config.contexts
  config.contexts.push({ name: 'shop', context: { ...context, namespace: 'shop' } })
  config.contexts.push({ name: 'nowhere', context: { ...context, cluster: 'gone' } })
  const path = join(dir, 'kubeconfig')
  writeFileSync(path, JSON.stringify(config))
  const names = async (...more: string[]): Promise<string> =>
    (await runHere(['get', 'pods', '-o', 'name', '--kubeconfig', path, ...more])).out
  t.is(await names(), 'pod/db\n')
  t.is(await names('--context', 'shop'), 'pod/web\n')
  t.is(await names('--context', 'shop', '-n', 'default'), 'pod/db\n')
  t.is(await names('-A'), 'pod/db\npod/web\n')
  for (const [more, message] of [
    [['--context', 'other'], /has no context other/],
    [['--context', 'nowhere'], /has no context nowhere with a server/],
    [['--server', 'http://127.0.0.1:1'], /not both/],
  ] as const) {
    const { code, err } = await runHere(['get', 'pods', '--kubeconfig', path, ...more])
    t.is(code, 2)
    t.regex(err, message)
  }
})

test("calicoctl's configuration file leads to its kubeconfig, and one for etcd is refused", async t => {
  const { kubeconfig, ctl, dir } = t.context
  await ctl('apply -f -', pool(1))
  const config = (spec: string): string => {
    const path = join(dir, 'calicoctl.cfg')
    writeFileSync(path, `apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n${spec}`)
    return path
  }
  const good = config(`  datastoreType: "kubernetes"\n  kubeconfig: "${kubeconfig}"\n`)
  t.like(await runHere(['get', 'ippool', 'p1', '-o', 'name', '--config', good, '--allow-version-mismatch']), {
    ...{ code: 0, out: 'ippool.projectcalico.org/p1\n' },
  })
  const etcd = await runHere(['get', 'ippools', '-c', config('  etcdEndpoints: https://etcd1:2379\n')])
  t.is(etcd.code, 2)
  t.regex(etcd.err, /datastoreType is etcdv3: the Kubernetes API is the only datastore here/)
})

test('an object that is not valid is shown as it is, and can be deleted', async t => {
  const broken = { metadata: { name: 'p1' }, spec: { cidr: 'none', blockSize: 99 } }
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url!.split('?')[0]}`)
    const list = { metadata: { resourceVersion: '1' }, items: [broken] }
    const groups = { groups: [{ name: 'projectcalico.org', versions: [{ version: 'v3' }] }] }
    const answer = request.url === '/apis' ? groups : request.url!.includes('/ippools/') ? broken : list
    response.end(JSON.stringify(answer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const shown = await runHere(['get', 'ippools', '--server', url])
  t.regex(shown.out, /^p1 +none /m, shown.err)
  t.is((await runHere(['delete', 'ippool', 'p1', '--server', url])).code, 0)
  t.is(asked.at(-1), 'DELETE /apis/projectcalico.org/v3/ippools/p1')
})

const aPolicyStatus = (kind: string, name: string, nodes: string, laggingNodes: string) => ({
  metadata: { name: `${kind.toLowerCase()}.${name}` },
  spec: { kind, name },
  status: {
    ...{ nodes, laggingNodes, revision: 'aa', nodesRequired: 0, nodesEnforcing: 0, lagging: [] },
    since: '2026-01-02T03:04:05Z',
  },
})

test('policies of every kind say in a wide table how many nodes enforce them, and which lag', async t => {
  const { ctl, kubeconfig } = t.context
  const store = openStore({ kubeconfig })
  await ctl('apply -f -', 'kind: Namespace\nmetadata: {name: shop}\n')
  for (const kind of RECEIPT_KINDS) {
    const namespace = kinds[kind].namespaced ? { namespace: 'shop' } : {}
    await store.create(kind, aResource(kind, { metadata: { name: 'web', ...namespace }, spec: {} }))
    const name = kinds[kind].namespaced ? 'shop.web' : 'web'
    await store.create('PolicyStatus', aPolicyStatus(kind, name, '811/812', 'node-7'))
  }
  await store.close()
  for (const kind of RECEIPT_KINDS) {
    const word = kind === 'KubernetesNetworkPolicy' ? 'netpol' : kind.toLowerCase()
    const { out, err } = await ctl(`get ${word} -n shop -o wide`)
    t.regex(out, /NODES +SINCE +LAGGING\nweb .*811\/812 +2026-01-02T03:04:05Z +node-7\n$/, `${kind} ${err}`)
  }
})

test('a watch of policies in a wide table shows one again when other nodes enforce it', async t => {
  const { kubeconfig } = t.context
  const store = openStore({ kubeconfig })
  const kind = 'GlobalNetworkPolicy'
  await store.create(kind, aResource(kind, { metadata: { name: 'web' }, spec: {} }))
  const made = await store.create('PolicyStatus', aPolicyStatus(kind, 'web', '811/812', 'node-7'))
  const watch = beginHere(['get', 'globalnetworkpolicy', '-o', 'wide', '-w', '--kubeconfig', kubeconfig])
  const row = (nodes: string, lagging: string): string =>
    `web   default  <none>  <none>    ${nodes}  2026-01-02T03:04:05Z  ${lagging}\n`
  const heading = 'NAME  TIER     ORDER   SELECTOR  NODES    SINCE                 LAGGING\n'
  const first = heading + row('811/812', 'node-7')
  await watch.printed(first)
  await store.update('PolicyStatus', { ...made, ...aPolicyStatus(kind, 'web', '812/812', ''), metadata: made.metadata })
  const second = row('812/812', '<none>')
  await watch.printed(first + second)
  await store.delete(kind, 'web')
  await watch.printed(first + second + second)
  await store.delete('PolicyStatus', made.metadata.name)
  watch.interrupt()
  t.like(await watch.ended, { code: 0, err: '', out: first + second + second })
  await store.close()
})

test('a watch that shows changes alone shows a policy that stays as it is when other nodes enforce it', async t => {
  const { kubeconfig } = t.context
  const store = openStore({ kubeconfig })
  const kind = 'GlobalNetworkPolicy'
  await store.create(kind, aResource(kind, { metadata: { name: 'web' }, spec: {} }))
  let { metadata } = await store.create('PolicyStatus', aPolicyStatus(kind, 'web', '100/812', 'node-7'))
  const watch = beginHere(['get', 'globalnetworkpolicy', '-o', 'wide', '--watch-only', '--kubeconfig', kubeconfig])
  let nodes = 100
  const isShown = await until(async () => {
    const status = { ...aPolicyStatus(kind, 'web', `${++nodes}/812`, 'node-7'), metadata }
    metadata = (await store.update('PolicyStatus', status)).metadata
    return watch.said() !== ''
  }, 5000)
  t.true(isShown)
  watch.interrupt()
  t.like(await watch.ended, { code: 0, err: '' })
  t.regex(watch.said(), /^web .* \d+\/812 .*node-7\n/)
  await store.close()
})

test('policies in a wide table say how many nodes enforce them, since when and which lag', async t => {
  const { ctl, kubeconfig } = t.context
  const store = openStore({ kubeconfig })
  await ctl('apply -f -', 'kind: Namespace\nmetadata: {name: shop}\n')
  const policy = (kind: string, version: string, name: string): string =>
    `apiVersion: ${version}\nkind: ${kind}\nmetadata: {name: ${name}, namespace: shop}\nspec: {}\n`
  t.is((await ctl('apply -f -', policy('NetworkPolicy', 'projectcalico.org/v3', 'web'))).code, 0)
  for (const name of ['web', 'new'])
    await store.create('KubernetesNetworkPolicy', { metadata: { name, namespace: 'shop' }, spec: {} })
  const status = (nodes: string, laggingNodes: string) => ({
    ...{ nodes, laggingNodes, revision: 'aa', nodesRequired: 0, nodesEnforcing: 0, lagging: [] },
    since: '2026-01-02T03:04:05Z',
  })
  const spec = { kind: 'NetworkPolicy', namespace: 'shop', name: 'web' }
  await store.create('PolicyStatus', {
    ...{ metadata: { name: 'networkpolicy.shop.web' }, spec, status: status('812/812', '') },
  })
  await store.create('PolicyStatus', {
    ...{ metadata: { name: 'kubernetesnetworkpolicy.shop.web' }, spec, status: status('3/4', 'n7') },
  })
  await store.close()
  const rows = (out: string) =>
    out
      .trimEnd()
      .split('\n')
      .map(line => line.split(/\s+/).slice(-3).join(' '))
  t.deepEqual(rows((await ctl('get networkpolicy -n shop -o wide')).out), [
    'NODES SINCE LAGGING',
    '812/812 2026-01-02T03:04:05Z <none>',
  ])
  t.deepEqual(rows((await ctl('get netpol -n shop -o wide')).out), [
    'NODES SINCE LAGGING',
    '<none> <none> <none>',
    '3/4 2026-01-02T03:04:05Z n7',
  ])
  t.false((await ctl('get netpol -n shop')).out.includes('LAGGING'))
  t.regex((await ctl('get policystatuses')).out, /^NAME +NODES +SINCE +LAGGING\n.*3\/4.* n7\n.*812\/812/)
})
