import { execFile, execFileSync, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import anyTest, { type ExecutionContext, type TestFn } from 'ava'
import { type ApiServer, startApiServer } from '../../apiserver/server.ts'
import { findSystemProgram, SYSTEM_PATH } from '../../lib/system-program.ts'
import { kubeconfigFor } from './kubeconfig.ts'

type Run = { code: number; out: string; err: string }
type Context = {
  server: ApiServer
  dir: string
  kubeconfig: string
  kubectl: (line: string, stdin?: string) => Promise<Run>
}

const test = anyTest as TestFn<Context>
const KUBECTL = findSystemProgram('kubectl')

test.beforeEach(async t => {
  const server = await startApiServer()
  const dir = await mkdtemp(join(tmpdir(), 'margay-kubectl-'))
  const kubeconfig = kubeconfigFor(server)
  const env = { ...process.env, PATH: SYSTEM_PATH, HOME: dir, KUBECONFIG: kubeconfig, KUBE_EDITOR: join(dir, 'editor') }
  const kubectl: Context['kubectl'] = (line, stdin = '') =>
    new Promise(resolve => {
      const child = execFile(KUBECTL!, line.split(' '), { env }, (error, out, err) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
      )
      child.stdin!.end(stdin)
    })
  t.context = { server, dir, kubeconfig, kubectl }
})
test.afterEach.always(async t => {
  await t.context.server.close()
  await rm(t.context.dir, { recursive: true, force: true })
})

/** Second number of kubectl's version; 0 without a kubectl. Debian 12 has 1.20, which lacks some of what is tested here. */
const MINOR = minorVersion()

function minorVersion(): number {
  if (KUBECTL === undefined) return 0
  const told = JSON.parse(execFileSync(KUBECTL, ['version', '--client', '-o', 'json'], { encoding: 'utf8' }))
  return Number.parseInt(told.clientVersion.minor, 10)
}

/** A test that needs the real kubectl, of version 1.`since` at least; without that it says that it was left out. */
function withKubectl(title: string, body: (t: ExecutionContext<Context>) => Promise<void>, since = 1): void {
  test(title, async t => {
    t.timeout(60_000)
    if (MINOR >= since) return body(t)
    t.log(KUBECTL === undefined ? 'skipped: no kubectl here' : `skipped: kubectl is 1.${MINOR}, this needs 1.${since}`)
    t.pass()
  })
}

const POOL = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.244.0.0/16, ipipMode: CrossSubnet, natOutgoing: true}
`
const CORE = `apiVersion: v1
kind: Node
metadata: {name: n1, annotations: {projectcalico.org/IPv4Address: 192.0.2.1/24}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: nginx, resources: {limits: {cpu: 100m}}}]}
`

withKubectl('kubectl applies, lists, gets and deletes our kinds', async t => {
  const { kubectl } = t.context
  t.like(await kubectl('apply -f -', POOL), { code: 0, out: 'ippool.projectcalico.org/pool created\n' })
  t.like(await kubectl('apply -f -', POOL), { code: 0, out: 'ippool.projectcalico.org/pool unchanged\n' })
  const changed = POOL.replace('CrossSubnet', 'Always')
  t.like(await kubectl('apply -f -', changed), { code: 0, out: 'ippool.projectcalico.org/pool configured\n' })
  const rows = (await kubectl('get ippools')).out.split('\n').map(row => row.split(/\s+/).slice(0, 4))
  t.deepEqual(rows.slice(0, 2), [
    ['NAME', 'CIDR', 'IPIPMODE', 'VXLANMODE'],
    ['pool', '10.244.0.0/16', 'Always', 'Never'],
  ])
  t.is((await kubectl('get ippool pool -o jsonpath={.spec.blockSize}')).out, '26')
  t.regex((await kubectl('describe ippool pool')).out, /Cidr:\s+10\.244\.0\.0\/16/)
  t.like(await kubectl('delete ippool pool'), { code: 0 })
  t.like(await kubectl('get ippool pool'), { code: 1 })
})

withKubectl('kubectl applies, describes and selects core objects, and every field is kept', async t => {
  const { kubectl } = t.context
  t.is((await kubectl('apply -f -', CORE)).out, 'node/n1 created\nnamespace/shop created\npod/web created\n')
  t.is((await kubectl('apply -f -', CORE)).out, 'node/n1 unchanged\nnamespace/shop unchanged\npod/web unchanged\n')
  t.is((await kubectl('get pod -n shop web -o jsonpath={.spec.containers[0].resources.limits.cpu}')).out, '100m')
  t.is((await kubectl('get pods -A --field-selector spec.nodeName=n1 -o name')).out, 'pod/web\n')
  t.is((await kubectl('get pods -A -l app=db -o name')).out, '')
  t.regex((await kubectl('get nodes')).out, /^n1\s+<none>\s+192\.0\.2\.1\/24/m)
  for (const line of ['describe node n1', 'describe pod -n shop web', 'describe ns shop'])
    t.like(await kubectl(line), { code: 0 }, line)
  t.like(await kubectl('delete ns shop'), { code: 0 })
  t.is((await kubectl('get pods -A -o name')).out, '')
})

withKubectl('kubectl labels, annotates, patches in every way, and edits', async t => {
  const { kubectl, dir } = t.context
  await kubectl('apply -f -', POOL)
  await kubectl('apply -f -', CORE)
  const ok = async (line: string): Promise<void> => {
    const { code, err } = await kubectl(line)
    t.is(code, 0, `${line}: ${err}`)
  }
  await ok('label ippool pool rack=a')
  await ok('label node n1 rack=a')
  await ok('annotate ippool pool note=x')
  await ok('annotate pod -n shop web note=x')
  await ok('patch ippool pool --type=merge -p {"spec":{"disabled":true}}')
  await ok('patch ippool pool --type=json -p [{"op":"replace","path":"/spec/ipipMode","value":"Never"}]')
  await ok('patch pod -n shop web -p {"spec":{"containers":[{"name":"c","image":"nginx:2"}]}}')
  t.is((await kubectl('get pod -n shop web -o jsonpath={.spec.containers[*].resources.limits.cpu}')).out, '100m')
  t.is(
    (await kubectl('get ippool pool -o jsonpath={.spec.disabled},{.spec.ipipMode},{.metadata.labels.rack}')).out,
    'true,Never,a',
  )
  await writeFile(join(dir, 'editor'), '#!/bin/sh\nsed -i "s/rack: a/rack: b/" "$1"\n', { mode: 0o755 })
  for (const object of ['ippool/pool', 'node/n1']) {
    await ok(`edit ${object}`)
    t.is((await kubectl(`get ${object} -o jsonpath={.metadata.labels.rack}`)).out, 'b')
  }
})

withKubectl('kubectl is told what is wrong with an object, by field', async t => {
  const { code, err } = await t.context.kubectl('apply -f -', POOL.replace('CrossSubnet', 'Sometimes'))
  t.is(code, 1)
  t.regex(err, /spec\.ipipMode/)
})

withKubectl('kubectl watches additions, changes and deletions', async t => {
  const { kubectl, dir, kubeconfig } = t.context
  await kubectl('apply -f -', POOL)
  const env = { ...process.env, PATH: SYSTEM_PATH, HOME: dir, KUBECONFIG: kubeconfig }
  const child = spawn(KUBECTL!, ['get', 'ippools', '-w', '--output-watch-events', '--no-headers'], { env })
  t.teardown(() => child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async (): Promise<string> => String((await lines.next()).value).split(/\s+/)[0]!
  const seen = [await next()]
  await kubectl('label ippool pool rack=a')
  seen.push(await next())
  await kubectl('delete ippool pool')
  seen.push(await next())
  t.deepEqual(seen, ['ADDED', 'MODIFIED', 'DELETED'])
})

withKubectl('kubectl applies server-side, twice, and owns what it applied', async t => {
  const { kubectl } = t.context
  for (let i = 0; i < 2; i++) t.like(await kubectl('apply --server-side -f -', POOL), { code: 0 })
  const { err } = await kubectl('apply --server-side --field-manager other -f -', POOL.replace('CrossSubnet', 'Always'))
  t.regex(err, /conflict with "kubectl"/)
})

withKubectl('kubectl creates a namespace and a Secret, explains a kind and lists the resources', async t => {
  const { kubectl } = t.context
  t.like(await kubectl('create namespace shop'), { code: 0 })
  t.like(await kubectl('create secret generic bgp -n shop --from-literal=rack=one'), { code: 0 })
  const rack = async () => (await kubectl('get secret bgp -n shop -o jsonpath={.data.rack}')).out
  t.is(await rack(), 'b25l')
  for (const [how, text] of [
    ['apply --server-side --force-conflicts', 'two'],
    ['apply --server-side', 'three'],
    ['apply', 'five'],
    ['replace', 'six'],
  ]) {
    const secret = `apiVersion: v1\nkind: Secret\nmetadata: {name: bgp, namespace: shop}\nstringData: {rack: ${text}}\n`
    t.like(await kubectl(`${how} -f -`, secret), { code: 0 }, how)
    t.is(await rack(), Buffer.from(text!).toString('base64'), how)
  }
  t.regex((await kubectl('api-resources')).out, /ippools\s+projectcalico\.org\/v3\s+false\s+IPPool/)
  const { code, err } = await kubectl('explain ippool')
  // a kubectl that reads OpenAPI v2 alone (before 1.27) finds no fields there, and says so
  t.true(code === 0 || /couldn't find resource/.test(err), err)
  t.like(await kubectl('version'), { code: 0 })
})

withKubectl('kubectl label takes a field from who applied it, and the next apply conflicts with the label', async t => {
  const { kubectl } = t.context
  const labelled = (labels: string): string => POOL.replace('{name: pool}', `{name: pool, labels: {${labels}}}`)
  await kubectl('apply --server-side -f -', labelled('a: "1"'))
  t.like(await kubectl('label ippool pool a=2 --overwrite'), { code: 0 })
  const { code, err } = await kubectl('apply --server-side -f -', labelled('a: "1"'))
  t.is(code, 1)
  t.regex(err, /conflict with "kubectl-label".*\.metadata\.labels\.a/s)
  t.like(await kubectl('apply --server-side --force-conflicts -f -', labelled('a: "1"')), { code: 0 })
  t.is((await kubectl('get ippool pool -o jsonpath={.metadata.labels.a}')).out, '1')
})

withKubectl(
  'client-side then server-side apply drops the label that is applied no longer',
  async t => {
    const { kubectl } = t.context
    const labelled = (labels: string): string => POOL.replace('{name: pool}', `{name: pool, labels: {${labels}}}`)
    await kubectl('apply -f -', labelled('a: x, b: x'))
    t.like(await kubectl('apply --server-side -f -', labelled('a: x, b: x')), { code: 0 })
    t.like(await kubectl('apply --server-side -f -', labelled('a: x')), { code: 0 })
    t.is((await kubectl('get ippool pool -o jsonpath={.metadata.labels}')).out, '{"a":"x"}')
    const { out } = await kubectl(
      'get ippool pool --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}',
    )
    t.true(out.split(' ').includes('kubectl'), out)
  },
  26,
)

withKubectl(
  'a typing error in a manifest is refused by kubectl --validate=strict, and told by --validate=warn',
  async t => {
    const { kubectl } = t.context
    const wrong = POOL.replace('ipipMode: CrossSubnet', 'blocksize: 28')
    for (const how of ['apply', 'apply --server-side', 'create']) {
      const { code, err } = await kubectl(`${how} --validate=strict -f -`, wrong)
      t.is(code, 1, how)
      t.regex(err, /unknown field "spec\.blocksize"/, how)
    }
    const { code, err } = await kubectl('apply --validate=warn -f -', wrong)
    t.is(code, 0, err)
    t.regex(err, /Warning: unknown field "spec\.blocksize"/)
    const felix = `apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {interfacePrefix: tap}\n`
    t.regex((await kubectl('apply -f -', felix)).err, /interfacePrefix has no effect/)
    const policy = `apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: deny}\nspec: {selecter: all()}\n`
    t.regex((await kubectl('apply --validate=strict -f -', policy)).err, /unknown field "spec\.selecter"/)
    const byHttp = policy.replace('selecter: all()', 'ingress: [{action: Allow, http: {methods: [GET]}}]')
    const told = await kubectl('apply --validate=strict -f -', byHttp)
    t.regex(told.err, /Warning: .*deny: ingress.*http.*: the rule allows nothing/)
    t.regex((await kubectl('get gnp deny -o jsonpath={.spec.tier}')).out, /^default$/)
    t.like(await kubectl('delete ippool pool'), { code: 0 })
    t.like(await kubectl('apply --validate=strict -f -', POOL), { code: 0 })
  },
  25,
)

withKubectl(
  'kubectl applies, changes, shows and deletes a NetworkPolicy of Kubernetes and a ServiceAccount',
  async t => {
    const { kubectl } = t.context
    await kubectl('apply -f -', CORE)
    const policy = (...apps: string[]) => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: to-web, namespace: shop, labels: {team: a}}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
${apps.map(app => `  - {from: [{podSelector: {matchLabels: {app: ${app}}}}], ports: [{port: 80, protocol: TCP}]}\n`).join('')}`
    t.like(await kubectl('apply -f -', policy('shop', 'bot')), {
      ...{ code: 0, err: '', out: 'networkpolicy.networking.k8s.io/to-web created\n' },
    })
    t.like(await kubectl('apply -f -', policy('shop', 'bot')), {
      out: 'networkpolicy.networking.k8s.io/to-web unchanged\n',
    })
    t.like(await kubectl('apply -f -', policy('till').replace('team: a', 'team: b')), { code: 0 })
    const { out } = await kubectl('get netpol to-web -n shop -o json')
    const { metadata, spec } = JSON.parse(out) as { metadata: { labels: object }; spec: { ingress: object[] } }
    t.deepEqual(metadata.labels, { team: 'b' })
    t.deepEqual(spec.ingress, [
      { from: [{ podSelector: { matchLabels: { app: 'till' } } }], ports: [{ port: 80, protocol: 'TCP' }] },
    ])
    t.like(await kubectl('apply --server-side --force-conflicts -f -', policy('web')), { code: 0 })
    t.regex((await kubectl('get networkpolicies.networking.k8s.io -A')).out, /shop +to-web/)
    t.like(await kubectl('delete netpol to-web -n shop'), { code: 0 })
    t.is((await kubectl('get netpol -A -o name')).out, '')
    t.like(await kubectl('create serviceaccount till -n shop'), { code: 0 })
    t.is((await kubectl('get sa -n shop -o name')).out, 'serviceaccount/till\n')
  },
)

withKubectl('kubectl applies, changes, shows and deletes a Service, and what is behind it', async t => {
  const { kubectl } = t.context
  await kubectl('apply -f -', CORE)
  const objects = (policy: string) => `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  externalTrafficPolicy: ${policy}
  ports: [{port: 80, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1], nodeName: n1, conditions: {ready: false, serving: true, terminating: true}}]
`
  t.like(await kubectl('apply -f -', objects('Cluster')), { code: 0, err: '' })
  t.like(await kubectl('apply -f -', objects('Local')), { code: 0, err: '' })
  t.regex(
    (await kubectl('get svc -A -o wide')).out,
    /TYPE +CLUSTER-IP +EXTERNALPOLICY +AGE\nshop +web +LoadBalancer +10\.96\.0\.10 +Local/,
  )
  const { out } = await kubectl('get endpointslices -n shop -o json')
  t.like((JSON.parse(out) as { items: { endpoints: object[] }[] }).items[0]!.endpoints[0], {
    ...{ nodeName: 'n1', conditions: { ready: false, serving: true, terminating: true } },
  })
  t.like(await kubectl('delete svc web -n shop'), { code: 0 })
  t.is((await kubectl('get svc -A -o name')).out, '')
})

withKubectl("a field of Calico's Node is refused with the annotation that is meant", async t => {
  const { kubectl } = t.context
  await kubectl('apply -f -', CORE)
  const { code, err } = await kubectl('patch node n1 --type=merge -p {"spec":{"bgp":{"asNumber":"64999"}}}')
  t.is(code, 1)
  t.regex(err, /spec\.bgp\.asNumber: .*annotation projectcalico\.org\/ASNumber/)
})

withKubectl(
  'kubectl auth tells who one is and what one may do, and get all lists the pods',
  async t => {
    const { kubectl } = t.context
    t.regex((await kubectl('auth whoami')).out, /Username\s+system:admin[\s\S]*system:masters/)
    t.like(await kubectl('auth can-i create ippools'), { code: 0, out: 'yes\n' })
    t.regex((await kubectl('auth can-i --list')).out, /\*\.\*/)
    await kubectl('apply -f -', CORE)
    t.is((await kubectl('get all -A -o name')).out, 'pod/web\n')
  },
  28,
)

withKubectl('kubectl cluster-info and get events work on a server that holds no services and no events', async t => {
  const { kubectl } = t.context
  const { code, out } = await kubectl('cluster-info')
  t.is(code, 0)
  t.regex(out, /control plane.* is running at/)
  t.like(await kubectl('get events -A'), { code: 0, out: '' })
  t.like(await kubectl('get services -o name'), { code: 0, out: '' })
})
