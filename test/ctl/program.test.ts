import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import anyTest, { type TestFn } from 'ava'
import { type ApiServer, startApiServer } from '../../apiserver/server.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { type Run, runCtl, runHere } from './run.ts'

type Ctl = (args: string[], stdin?: string) => Promise<Run>

const test = anyTest as TestFn<{ server: ApiServer; ctl: Ctl }>

test.beforeEach(async t => {
  const server = await startApiServer()
  const kubeconfig = kubeconfigFor(server)
  t.context = { server, ctl: (args, stdin) => runHere([...args, '--kubeconfig', kubeconfig], stdin) }
})
test.afterEach.always(t => t.context.server.close())

const POOL = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p1}
spec: {cidr: 10.244.0.0/16, ipipMode: Always}
`

const FELIX = `apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {vxlanMTU: 1400}
`

test('apply creates, then leaves alone, then updates, and keeps finalizers', async t => {
  const { ctl } = t.context
  t.deepEqual(await ctl(['apply', '-f', '-'], POOL), { code: 0, out: 'ippool.projectcalico.org/p1 created\n', err: '' })
  t.deepEqual(await ctl(['apply', '-f', '-'], POOL), {
    code: 0,
    out: 'ippool.projectcalico.org/p1 unchanged\n',
    err: '',
  })
  await ctl(['patch', 'ippool', 'p1', '-p', '{"metadata":{"finalizers":["example.org/hold"]}}'])
  const changed = POOL.replace('Always', 'Never')
  t.deepEqual(await ctl(['apply', '-f', '-'], changed), {
    code: 0,
    out: 'ippool.projectcalico.org/p1 configured\n',
    err: '',
  })
  const { out } = await ctl(['get', 'ippools', 'p1', '-o', 'json'])
  const { metadata, spec } = JSON.parse(out)
  t.deepEqual([metadata.finalizers, spec.ipipMode], [['example.org/hold'], 'Never'])
})

test('a field without effect is written, and a warning says what happens instead', async t => {
  const { ctl } = t.context
  const { code, out, err } = await ctl(['apply', '-f', '-'], FELIX.replace('vxlanMTU: 1400', 'interfacePrefix: tap'))
  t.like({ code, out }, { code: 0, out: 'felixconfiguration.projectcalico.org/default created\n' })
  t.regex(err, /^margayctl: FelixConfiguration default: interfacePrefix has no effect: the pods' interfaces are called/)
})

test('a field that guards what does not work without it is written, and a warning says what stays closed', async t => {
  const { ctl } = t.context
  const { code, out, err } = await ctl(
    ['apply', '-f', '-'],
    FELIX.replace('vxlanMTU: 1400', 'prometheusMetricsCAFile: /ca.pem'),
  )
  t.like({ code, out }, { code: 0, out: 'felixconfiguration.projectcalico.org/default created\n' })
  t.regex(
    err,
    /^margayctl: FelixConfiguration default: prometheusMetricsCAFile is not supported: the metrics are not served at any port/,
  )
})

test('policies and host endpoints are written without a warning', async t => {
  const { ctl } = t.context
  const policy = `apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: deny}
spec: {selector: all(), applyOnForward: true}
`
  const host = `apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: n1-eth0}
spec: {node: n1, interfaceName: eth0}
`
  for (const text of [policy, host]) t.like(await ctl(['apply', '-f', '-'], text), { code: 0, err: '' })
})

test('a manifest without a spec is taken, as calicoctl takes it, where none of its fields is needed', async t => {
  const { ctl } = t.context
  const bare = (kind: string): string => `apiVersion: projectcalico.org/v3\nkind: ${kind}\nmetadata: {name: default}\n`
  t.like(await ctl(['apply', '-f', '-'], bare('BGPConfiguration')), { code: 0 })
  t.regex((await ctl(['get', 'bgpconfig', 'default', '-o', 'yaml'])).out, /logSeverityScreen: Info/)
  const { code, err } = await ctl(['apply', '-f', '-'], bare('IPPool'))
  t.is(code, 2)
  t.regex(err, /spec\.cidr/)
})

test('a patch that sets a field without effect is warned of too', async t => {
  const { ctl } = t.context
  await ctl(['apply', '-f', '-'], FELIX)
  const patch = '{"spec":{"interfacePrefix":"tap"}}'
  const { code, out, err } = await ctl(['patch', 'felixconfiguration', 'default', '-p', patch])
  t.like({ code, out }, { code: 0, out: 'felixconfiguration.projectcalico.org/default patched\n' })
  t.regex(err, /^margayctl: FelixConfiguration default: interfacePrefix has no effect: /)
})

test('create, replace and delete say what they did, and refuse what is not so', async t => {
  const { ctl } = t.context
  t.like(await ctl(['replace', '-f', '-'], POOL), { code: 1, out: '' })
  t.like(await ctl(['create', '-f', '-'], POOL), { code: 0, out: 'ippool.projectcalico.org/p1 created\n' })
  t.like(await ctl(['create', '-f', '-'], POOL), { code: 1, out: '' })
  t.like(await ctl(['create', '-f', '-', '--skip-exists'], POOL), {
    code: 0,
    out: 'ippool.projectcalico.org/p1 skipped\n',
  })
  t.like(await ctl(['replace', '-f', '-'], POOL.replace('Always', 'Never')), {
    code: 0,
    out: 'ippool.projectcalico.org/p1 replaced\n',
  })
  t.like(await ctl(['delete', '-f', '-'], POOL), { code: 0, out: 'ippool.projectcalico.org "p1" deleted\n' })
  t.like(await ctl(['delete', 'ippool', 'p1']), { code: 1, out: '' })
  t.like(await ctl(['delete', 'ippool', 'p1', '-s']), { code: 0, out: 'ippool.projectcalico.org/p1 skipped\n' })
})

test('one missing name does not hide the others', async t => {
  const { ctl } = t.context
  await ctl(['apply', '-f', '-'], POOL)
  const { code, out, err } = await ctl(['get', 'ippool', 'p0', 'p1'])
  t.is(code, 1)
  t.regex(out, /^NAME.*\np1 /)
  t.regex(err, /margayctl: IPPool p0: .*not found.*margayctl get/)
})

test('namespaced kinds live in the namespace that is named, and -A shows all', async t => {
  const { ctl } = t.context
  const pod = 'kind: Namespace\nmetadata: {name: shop}\n---\nkind: Pod\nmetadata: {name: web}\nspec: {nodeName: n1}'
  t.like(await ctl(['apply', '-n', 'shop', '-f', '-'], pod), { code: 0 })
  t.deepEqual(await ctl(['get', 'pods']), { code: 0, out: '', err: 'No resources found in default namespace.\n' })
  t.regex((await ctl(['get', 'pods', '-A'])).out, /^shop +web +Pending/m)
  t.like(await ctl(['delete', 'pod', 'web', '-n', 'shop']), { code: 0 })
})

const wrong: [args: string[], message: RegExp][] = [
  [['get', 'cats'], /ippools/],
  [['get'], /give a KIND, KIND NAME or KIND\/NAME/],
  [['get', 'ippools', '-o', 'xml'], /table, wide, yaml, json/],
  [['apply'], /-f FILE/],
  [['apply', '-f', '/nowhere'], /\/nowhere/],
  [['delete', 'ippool'], /name the ippool/],
  [['delete'], /either KIND NAME/],
  [['get', 'ippools', '-o', 'jsonpath={.x'], /the template is wrong: unclosed action/],
  [['get', 'ippools', '-o', 'custom-columns='], /no template given/],
  [['get', 'ippool/p1', 'p2'], /is no KIND\/NAME/],
  [['delete', '-f', '-', '-l', 'a=b'], /-f names its objects: give no selector and no --all/],
  [['label', '-f', '-', '--all', 'a=b'], /-f names its objects: give no selector and no --all/],
  [['get', 'ippool', 'p1', '-l', 'a=b'], /names cannot be combined with --selector/],
  [['label', 'ippool', 'p1'], /give labels after the names/],
  [['label', 'ippool', 'p1', 'a=b c'], /is no value of a label/],
  [['patch', 'ippool', 'p1', '--type', 'json', '-p', '{}'], /--type json is a list/],
  [['apply', '-f', '-', '--dry-run', 'maybe'], /none, client, server/],
  [['datastore', 'lock', '--wait', ''], /--wait : give a whole number from 0 to 3600/],
  [['node', 'status', '--all', '--timeout', '0x10'], /--timeout 0x10: give a whole number from 1 to 600/],
  [['cluster', 'diags', '--tail', '1e3'], /--tail 1e3: give a whole number from 1 to 1000000/],
  [['patch', 'ippool', 'p1'], /give the patch with -p/],
  [['patch', 'ippool', 'p1', '-p', '[1]'], /must be an object/],
  [['nonsense'], /unknown command/],
]

for (const [args, message] of wrong)
  test(`"margayctl ${args.join(' ')}" is wrong usage and says why`, async t => {
    const { code, err } = await t.context.ctl(args)
    t.is(code, 2, err)
    t.regex(err, message)
  })

test('a server out of reach is 3, and the message says where it was sought', async t => {
  const { code, err } = await runCtl(['get', 'ippools', '--server', 'http://127.0.0.1:1'])
  t.is(code, 3)
  t.regex(err, /http:\/\/127\.0\.0\.1:1.*Check --server/)
})

const NODE = `apiVersion: v1
kind: Node
metadata: {name: n1, labels: {a: "1", b: "2"}}
spec: {podCIDR: 10.1.0.0/24, providerID: lab://n1, taints: [{key: x, effect: NoSchedule}]}
`

test('an apply leaves what it does not name, and drops what it named before', async t => {
  const { ctl } = t.context
  await ctl(['create', '-f', '-'], NODE)
  const labels = (text: string): string => `apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {${text}}}\n`
  t.like(await ctl(['apply', '-f', '-'], labels('c: "3", d: "4"')), { code: 0, out: 'node/n1 configured\n' })
  const node = async (): Promise<{ metadata: { labels: object }; spec: object }> =>
    JSON.parse((await ctl(['get', 'node', 'n1', '-o', 'json'])).out)
  const { metadata, spec } = await node()
  t.deepEqual(metadata.labels, { a: '1', b: '2', c: '3', d: '4' })
  t.deepEqual(spec, { podCIDR: '10.1.0.0/24', providerID: 'lab://n1', taints: [{ key: 'x', effect: 'NoSchedule' }] })
  await ctl(['apply', '-f', '-'], labels('c: "3"'))
  t.deepEqual((await node()).metadata.labels, { a: '1', b: '2', c: '3' })
})

test('an apply does not put a default back over what somebody else has set', async t => {
  const { ctl } = t.context
  await ctl(['apply', '-f', '-'], POOL)
  await ctl(['patch', 'ippool', 'p1', '-p', '{"spec":{"disabled":true}}'])
  t.like(await ctl(['apply', '-f', '-'], POOL), { code: 0, out: 'ippool.projectcalico.org/p1 unchanged\n' })
  t.true(JSON.parse((await ctl(['get', 'ippool', 'p1', '-o', 'json'])).out).spec.disabled)
})

test('replace replaces: what the manifest does not say goes', async t => {
  const { ctl } = t.context
  await ctl(['create', '-f', '-'], NODE)
  const bare = 'apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {c: "3"}}\n'
  t.like(await ctl(['replace', '-f', '-'], bare), { code: 0, out: 'node/n1 replaced\n' })
  const { metadata, spec } = JSON.parse((await ctl(['get', 'node', 'n1', '-o', 'json'])).out)
  t.deepEqual([metadata.labels, spec], [{ c: '3' }, {}])
})

test('what get shows can be applied again, and says nothing of who owns a field', async t => {
  const { ctl } = t.context
  await ctl(['apply', '-f', '-'], POOL)
  const { out } = await ctl(['get', 'ippool', 'p1', '-o', 'yaml'])
  t.notRegex(out, /managedFields/)
  t.like(await ctl(['apply', '-f', '-'], out), { code: 0 })
})

test('every -f counts: files, folders and standard input, for every verb', async t => {
  const { ctl } = t.context
  const dir = mkdtempSync(join(tmpdir(), 'margayctl-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const pool = (n: number): string => POOL.replace('p1', `p${n}`).replace('10.244', `10.${n}`)
  mkdirSync(join(dir, 'folder', 'below'), { recursive: true })
  for (const [name, n] of [
    ['a.yaml', 1],
    ['folder/c.yml', 3],
    ['folder/b.json', 2],
  ] as const)
    writeFileSync(join(dir, name), pool(n))
  writeFileSync(join(dir, 'folder', 'notes.txt'), 'no manifest')
  const all = ['-f', join(dir, 'a.yaml'), '-f', join(dir, 'folder'), '-f', '-']
  const said = (word: string): string =>
    [1, 2, 3, 4]
      .map(n =>
        word === 'deleted' ? `ippool.projectcalico.org "p${n}" deleted\n` : `ippool.projectcalico.org/p${n} ${word}\n`,
      )
      .join('')
  for (const [verb, word] of [
    ['apply', 'created'],
    ['replace', 'replaced'],
    ['delete', 'deleted'],
    ['create', 'created'],
  ] as const)
    t.deepEqual(await ctl([verb, ...all], pool(4)), { code: 0, out: said(word), err: '' }, verb)
})

test('a -f that cannot be read, an empty folder, and standard input twice are wrong usage, and nothing is sent', async t => {
  const { ctl } = t.context
  const dir = mkdtempSync(join(tmpdir(), 'margayctl-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  writeFileSync(join(dir, 'a.yaml'), POOL)
  mkdirSync(join(dir, 'empty'))
  for (const [more, words] of [
    [join(dir, 'nothing.yaml'), /cannot read .*nothing\.yaml/],
    [join(dir, 'empty'), /empty holds no file that ends in/],
  ] as const) {
    const { code, out, err } = await ctl(['apply', '-f', join(dir, 'a.yaml'), '-f', more])
    t.deepEqual([code, out], [2, ''])
    t.regex(err, words)
  }
  t.like(await ctl(['apply', '-f', '-', '-f', '-'], POOL), { code: 2, out: '' })
  t.like(await ctl(['get', 'ippool', 'p1']), { code: 1 })
})

test("a patch in the shape of Calico's Node has the effect that is meant, or is refused with the reason", async t => {
  const { ctl } = t.context
  await ctl(['create', '-f', '-'], NODE)
  const asn = '{"spec":{"bgp":{"asNumber":"64999"}}}'
  t.like(await ctl(['patch', 'node', 'n1', '-p', asn]), { code: 0, out: 'node/n1 patched\n' })
  const { metadata, spec } = JSON.parse((await ctl(['get', 'node', 'n1', '-o', 'json'])).out)
  t.is(metadata.annotations['projectcalico.org/ASNumber'], '64999')
  t.is(spec.bgp, undefined)
  const refused = await ctl(['patch', 'node', 'n1', '-p', '{"spec":{"wireguard":{"interfaceIPv4Address":"10.0.0.1"}}}'])
  t.is(refused.code, 2)
  t.regex(refused.err, /spec\.wireguard\.interfaceIPv4Address: is a field of Calico's Node that has no effect here/)
})

test("a manifest of Calico's Node is applied as Kubernetes' Node", async t => {
  const { ctl } = t.context
  const calico =
    'apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1}\nspec: {bgp: {ipv4Address: 192.0.2.1/24}}\n'
  t.like(await ctl(['apply', '-f', '-'], calico), { code: 0, out: 'node/n1 created\n' })
  t.regex((await ctl(['get', 'node', 'n1'])).out, /192\.0\.2\.1\/24/)
})

test('a field that nobody reads is refused by every verb, with the one that is meant', async t => {
  const { ctl } = t.context
  await ctl(['apply', '-f', '-'], POOL)
  const wrong = POOL.replace('ipipMode: Always', 'blocksize: 28')
  for (const verb of ['apply', 'create', 'replace']) {
    const { code, err } = await ctl([verb, '-f', '-'], wrong)
    t.is(code, 2, verb)
    t.regex(err, /IPPool p1: unknown field "spec\.blocksize": is spec\.blockSize meant\?/, verb)
  }
  t.like(await ctl(['patch', 'ippool', 'p1', '-p', '{"spec":{"disable":true}}']), { code: 2, out: '' })
})

test('a manifest in the form in which Calico stores its resources is taken for what it stands for', async t => {
  const kept = `{name: p1, annotations: {projectcalico.org/metadata: '{"labels":{"rack":"a"}}'}}`
  const stored = POOL.replace('projectcalico.org/v3', 'crd.projectcalico.org/v1').replace('{name: p1}', kept)
  t.is((await t.context.ctl(['apply', '-f', '-'], stored)).code, 0)
  const { out } = await t.context.ctl([
    'get',
    'ippools',
    '-l',
    'rack=a',
    '-o',
    'jsonpath={.items[*].metadata.annotations}',
  ])
  t.is(out.trim(), '')
  const config =
    'apiVersion: crd.projectcalico.org/v1\nkind: IPAMConfig\nmetadata: {name: default}\nspec: {strictAffinity: true, autoAllocateBlocks: true}\n'
  t.is((await t.context.ctl(['apply', '-f', '-'], config)).code, 0)
  t.like(await t.context.ctl(['apply', '-f', '-'], stored.replace('{"labels":{"rack":"a"}}', '[]')), { code: 2 })
})

test('a message about what a server says holds no control characters', async t => {
  const server = createServer((_request, response) => {
    response.writeHead(422).end(JSON.stringify({ kind: 'Status', message: 'no \u001b]0;x\u0007\u009b2J' }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  for (const words of [
    ['get', 'node'],
    ['get', 'node', 'a\u001b[2J'],
    ['cluster', 'diags', '--tail', '\u001b[2J'],
  ]) {
    const { err } = await runHere([...words, '--server', url, '--api-group', 'v3'])
    t.notRegex(err.replaceAll('\n', ''), /\p{Cc}/u)
    t.regex(err, /\\u001b/)
  }
})
