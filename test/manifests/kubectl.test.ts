// kubectl and a real API server take what is in manifests/, and give it back again.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { parseAllDocuments } from 'yaml'
import { BgpSecrets } from '../../agent/bgp-secrets.ts'
import type { Password } from '../../agent/cluster/passwords.ts'
import { NodePublisher } from '../../agent/node-publisher.ts'
import { NodeStatuses } from '../../agent/node-statuses.ts'
import { PolicyReceipts } from '../../agent/policy-receipts.ts'
import { KubernetesEvents } from '../../agent/status/kubernetes-events.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { revisionOf } from '../../api/policy-receipts.ts'
import { FirstObjects } from '../../controllers/first-objects.ts'
import { PolicyStatuses } from '../../controllers/policy-statuses.ts'
import { Refused } from '../../datastore/port.ts'
import { ManualClock, systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { runHere } from '../ctl/run.ts'
import { apiServerChecks, removedFromN1, SERVER_SIDE } from './checks.ts'
import { helmProblem, runHelm } from './helm-program.ts'

const at = (name: string) => fileURLToPath(new URL(`../../manifests/${name}`, import.meta.url))
const MARGAY = at('margay.yaml')
const BGP_DOCS = fileURLToPath(new URL('../../docs/bgp.md', import.meta.url))
const check = apiServerChecks()

check(
  'a server takes the installation as a dry run, and twice in earnest, and a client’s apply changes nothing',
  async (t, { must }) => {
    await must(['apply', '--server-side', '--dry-run=server', '-f', MARGAY])
    await must(['apply', '--server-side', '-f', MARGAY])
    await must(['apply', '--server-side', '-f', MARGAY])
    const generations = () => must(['get', 'crd,ds', '-A', '-o', 'custom-columns=:metadata.name,:metadata.generation'])
    const before = await generations()
    await must(['apply', '-f', MARGAY])
    t.is(await generations(), before)
    await must(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s'])
  },
)

check('policies and host endpoints are taken without a warning', async (t, { api, must }) => {
  const policy = (apiVersion: string, kind: string, spec: object) =>
    JSON.stringify({ apiVersion, kind, metadata: { name: 'deny' }, spec })
  await must([...SERVER_SIDE, '-f', MARGAY])
  for (const text of [
    policy('networking.k8s.io/v1', 'NetworkPolicy', { podSelector: {} }),
    policy('projectcalico.org/v3', 'GlobalNetworkPolicy', { selector: 'all()' }),
    policy('projectcalico.org/v3', 'HostEndpoint', { node: 'n1', interfaceName: 'eth0' }),
    policy('projectcalico.org/v3', 'GlobalNetworkPolicy', { selector: 'all()', preDNAT: true, applyOnForward: true }),
  ]) {
    const { code, stderr } = await api.kubectl(['create', '--dry-run=server', '-f', '-'], text)
    t.deepEqual([code, stderr], [0, ''])
  }
})

check('every overlay is taken, with its pools, once the CRDs are there', async (t, { must }) => {
  for (const name of ['no-bgp-export', 'vxlan', 'dual-stack', 'k3s', 'microk8s']) {
    const made = await must([...SERVER_SIDE, '--dry-run=server', '-o', 'json', '-k', at(`overlays/${name}`)])
    const { items } = JSON.parse(made) as {
      items: { kind: string; spec: { template: { spec: { volumes: unknown } } } }[]
    }
    const pools = items.filter(({ kind }) => kind === 'IPPool')
    t.is(pools.length, { 'dual-stack': 2, k3s: 0, microk8s: 0 }[name] ?? 1, name)
    const volumes = JSON.stringify(items.find(({ kind }) => kind === 'DaemonSet')?.spec.template.spec.volumes)
    t.is(volumes.includes('"/opt/cni/bin"'), !['k3s', 'microk8s'].includes(name), name)
  }
})

check('over Calico’s CRDs those of Margay’s own kinds alone are applied', async (t, { must }) => {
  const made = await must([...SERVER_SIDE, '--dry-run=server', '-o', 'json', '-k', at('overlays/calico-crds')])
  type Made = { kind: string; metadata: { name: string }; data?: { apiGroup?: string } }
  const { items } = JSON.parse(made) as { items: Made[] }
  const crds = items.filter(({ kind }) => kind === 'CustomResourceDefinition').map(({ metadata }) => metadata.name)
  t.deepEqual(crds.toSorted(), ['policyreceipts.margay.io', 'policystatuses.margay.io'])
  t.is(items.find(({ kind }) => kind === 'ConfigMap')?.data?.apiGroup, 'v1')
  t.true(items.some(({ kind }) => kind === 'DaemonSet'))
})

check('the pods of DaemonSets and of the Deployment pass every admission', async (_t, { must }) => {
  for (const name of ['margay.yaml', 'remove.yaml']) {
    await must([...SERVER_SIDE, '-f', at(name)])
    for (const document of parseAllDocuments(readFileSync(at(name), 'utf8'))) {
      const { kind, spec } = document.toJS()
      if (kind !== 'DaemonSet' && kind !== 'Deployment') continue
      const metadata = { name: 'a-pod', namespace: 'kube-system' }
      const pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: spec.template.spec }
      await must(['create', '--dry-run=server', '-f', '-'], JSON.stringify(pod))
    }
  }
})

check('an older version is replaced: its containers and variables are gone', async (t, { api, must }) => {
  const now = readFileSync(MARGAY, 'utf8')
    .split('---\n')
    .find(text => text.includes('kind: DaemonSet'))!
  const older = now
    .replaceAll(/image: (.*):\d+\.\d+\.\d+/g, 'image: $1:0.0.1')
    .replaceAll('name: agent', 'name: older')
    .replaceAll('name: NODE_IP', 'name: OLDER')
  for (const apply of [['apply'], SERVER_SIDE]) {
    await api.kubectl(['delete', '-n', 'kube-system', 'ds', 'margay-node'])
    await must([...apply, '-f', '-'], older)
    await must([...apply, '-f', '-'], now)
    const made = await must(['-n', 'kube-system', 'get', 'ds', 'margay-node', '-o', 'json'])
    t.false(/0\.0\.1|older|OLDER/.test(JSON.stringify(JSON.parse(made).spec)))
  }
})

check(
  'agents write their Node, and controllers what a new cluster lacks, with the rights of their accounts',
  async (t, { must, storeOf }) => {
    await must([...SERVER_SIDE, '-f', MARGAY])
    await must(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s'])
    const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady' }
    const before = { 'example.org/mine': 'kept', [NODE_ANNOTATION.ipipTunnelAddress]: '10.0.0.9' }
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n2', annotations: before } }
    await must(['create', '-f', '-'], JSON.stringify(node))
    await must([
      'patch',
      'node',
      'n2',
      '--subresource=status',
      '-p',
      JSON.stringify({ status: { conditions: [ready] } }),
    ])
    const agentStore = await storeOf('margay-node')
    const publisher = new NodePublisher('n2', {
      store: agentStore,
      clock: systemClock,
      log: silentLog,
    })
    publisher.want({ ipv4: '192.0.2.2/24', vxlanTunnelAddress: '10.0.0.1' })
    publisher.wantCondition({ status: 'True', reason: 'NoBlock', message: 'none yet' })
    publisher.wantCondition({ status: 'False', reason: 'PodsServed', message: 'served' })
    const written = async () => JSON.parse(await must(['get', 'node', 'n2', '-o', 'json']))
    for (let i = 0; i < 100 && !JSON.stringify(await written()).includes('PodsServed'); i++) await pause(100)
    const { metadata, status } = await written()
    t.deepEqual(publisher.refused(), [])
    publisher.close()
    // a server puts new ones first
    const [network, own] = status.conditions.toSorted((a: { type: string }, b: { type: string }) =>
      a.type < b.type ? -1 : 1,
    )
    t.like(own, ready)
    t.like(network, { type: 'NetworkUnavailable', status: 'False', reason: 'PodsServed' })
    t.is(status.conditions.length, 2)
    t.deepEqual(metadata.annotations, {
      'example.org/mine': 'kept',
      [NODE_ANNOTATION.ipv4Address]: '192.0.2.2/24',
      [NODE_ANNOTATION.vxlanTunnelAddress]: '10.0.0.1',
    })

    const clock = new ManualClock(Date.now())
    const events = new KubernetesEvents({
      ...{ store: agentStore, clock, log: silentLog, nodeName: 'n2', nodeUid: () => metadata.uid },
    })
    const happens = async (counts: string) => {
      const object = { kind: 'Route', name: '10.0.0.0/26' } as const
      events.news.record({ type: 'Healed', object, reason: 'ChangedByOther', message: 'put back' })
      clock.advance(300_000)
      const seen = () => must(['get', 'events', '-o', 'jsonpath={.items[*].count}'])
      for (let i = 0; i < 100 && (await seen()) !== counts; i++) await pause(100)
      t.is(await seen(), counts)
    }
    await happens('1')
    await happens('1 1')
    t.regex(
      await must(['describe', 'node', 'n2']),
      /Warning +ForeignChangeRepaired .*margay-node +Route 10\.0\.0\.0\/26: put back/,
    )
    const elsewhere = { metadata: { name: 'e', namespace: 'kube-system' } }
    const kind = { group: '', version: 'v1', plural: 'events', kind: 'Event' }
    await t.throwsAsync(agentStore.writeAny(kind, elsewhere), { message: /forbidden/ })

    const store = await storeOf('margay-controllers')
    const kubeadm = () => 'networking: {podSubnet: "10.9.0.0/16,fd09::/56"}'
    await new FirstObjects({ store, log: silentLog, pools: undefined, kubeadm }).run()
    const names = ['ippool/default-ipv4-ippool', 'ippool/default-ipv6-ippool']
    t.is(
      await must(['get', 'ippools,clusterinformations,kubecontrollersconfigurations', '-o', 'name']).then(
        text => text.split('\n').length,
      ),
      5,
    )
    await must(['delete', ...names, 'clusterinformation/default', 'kubecontrollersconfiguration/default', 'node/n2'])
  },
)

check(
  'an agent writes its receipt, and the controllers the status of a policy, with the rights of their accounts, and kubectl shows it',
  async (t, { must, storeOf }) => {
    await must([...SERVER_SIDE, '-f', MARGAY])
    await must(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s'])
    const policy = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'web' } }
    await must(['create', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n2' } }))
    await must(['create', '-f', '-'], JSON.stringify({ ...policy, spec: { podSelector: {} } }))
    const [agentStore, store] = [await storeOf('margay-node'), await storeOf('margay-controllers')]
    const id = 'KubernetesNetworkPolicy default/web'
    const revision = revisionOf(id, (await agentStore.list('KubernetesNetworkPolicy'))[0]!.spec)
    const worked = { KubernetesNetworkPolicy: revision }
    const receipts = new PolicyReceipts({
      ...{ nodeName: 'n2', store: agentStore, clock: systemClock, log: silentLog, nodes: () => 1, random: () => 0 },
      receipt: () => ({ worked, pods: '1', asked: [{ policy: id, revision, failure: undefined }] }),
      ...{ faultOf: () => undefined, asked: () => undefined, late: () => undefined },
    })
    const statuses = new PolicyStatuses({
      receipt: () => undefined,
      store,
      clock: systemClock,
      changed: () => undefined,
    })
    receipts.changed()
    const shown = async (): Promise<string> => {
      await statuses.run()
      return must(['get', 'policystatuses'])
    }
    const wanted = /^NAME +NODES +SINCE +LAGGING\nkubernetesnetworkpolicy.default.web +1\/1 +\d+s *\n$/
    for (let i = 0; i < 100 && !wanted.test(await shown()); i++) await pause(200)
    t.regex(await shown(), wanted)
    receipts.close()
    statuses.close()
    const receipt = ['policyreceipt/n2', 'policystatus/kubernetesnetworkpolicy.default.web']
    await must(['delete', 'networkpolicy.networking.k8s.io/web', 'node/n2', ...receipt])
  },
)

check(
  'margayctl works as with margay-api, and agents fill CalicoNodeStatus with the rights of theirs',
  async (t, { api, must, storeOf }) => {
    await must([...SERVER_SIDE, '-f', MARGAY])
    await must(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s'])
    await must(['create', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } }))
    const ctl = async (args: readonly string[], input = '', code = 0) => {
      const ended = await runHere([...args, '--kubeconfig', api.kubeconfig('admin')], input)
      t.is(ended.code, code, `margayctl ${args.join(' ')}: ${ended.err}`)
      return ended.out
    }
    const store = await storeOf('margay-node')
    const observed = { ready: true, version: '1', startedMs: 0, address: '192.0.2.1', blocks: [], learned: [] }
    const peers = [{ address: '192.0.2.2', state: 'Established', sinceMs: 0, origin: 'mesh' }] as const
    const statuses = new NodeStatuses({
      ...{ nodeName: 'n1', store, clock: systemClock, log: silentLog, observe: () => ({ ...observed, peers }) },
    })
    t.teardown(() => statuses.close())
    statuses.start()
    t.regex(await ctl(['node', 'status', '--all', '--timeout', '60']), /^n1 +yes +1\/1$/m)
    t.is(await must(['get', 'caliconodestatuses', '-o', 'name']), '')

    const pool =
      'apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p1}\nspec: {cidr: 10.9.0.0/16, natOutgoing: true}\n'
    const name = 'ippool.projectcalico.org/p1'
    t.is(await ctl(['apply', '-f', '-', '--dry-run=server'], pool), `${name} created (server dry run)\n`)
    t.is(await ctl(['apply', '-f', '-'], pool), `${name} created\n`)
    t.is(await ctl(['apply', '-f', '-'], pool), `${name} unchanged\n`)
    t.is(await ctl(['label', 'pool/p1', 'site=a']), `${name} labeled\n`)
    const step = '[{"op":"replace","path":"/spec/natOutgoing","value":false}]'
    t.is(await ctl(['patch', 'ippool', 'p1', '--type=json', '-p', step]), `${name} patched\n`)
    t.is(
      await ctl(['patch', 'ippool', 'p1', '--type=strategic', '-p', '{"spec":{"disabled":true}}']),
      `${name} patched\n`,
    )
    const format = ['-o', 'jsonpath={.items[*].spec.natOutgoing} {.items[*].spec.disabled} {.items[*].metadata.labels}']
    t.is(
      await ctl(['get', 'ippools', '-l', 'site', ...format]),
      await must(['get', 'ippools', '-l', 'site', ...format]),
    )
    await ctl(['datastore', 'lock', '--wait', '0'])
    t.is(await must(['get', 'clusterinformation', 'default', '-o', 'jsonpath={.spec.datastoreReady}']), 'false')
    const exported = await ctl(['datastore', 'export'])
    await ctl(['delete', 'ippools', '--all'])
    t.regex(
      await ctl(['datastore', 'import', '--wait', '0', '-f', '-'], exported),
      /ippool.projectcalico.org\/p1 created/,
    )
    await ctl(['datastore', 'unlock'])
    await ctl(['get', 'ippool', 'p2'], '', 1)
    await must(['delete', 'ippool/p1', 'clusterinformation/default', 'node/n1'])
  },
)

check(
  'an agent reads a Secret with the commands that its condition has, another with the manifests of docs/bgp.md, and none without',
  async (t, { api, must, storeOf }) => {
    await must([...SERVER_SIDE, '-f', MARGAY])
    await must(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s'])
    await must(['-n', 'kube-system', 'create', 'secret', 'generic', 'mesh', '--from-literal=k=of the mesh'])
    const dataDir = mkdtempSync(join(tmpdir(), 'margay-kubectl-'))
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
    const secrets = new BgpSecrets({
      ...{ store: await storeOf('margay-node'), namespace: 'kube-system', dataDir, clock: systemClock, log: silentLog },
      ...{ isBelieved: () => true, check: () => undefined, report: () => undefined },
    })
    t.teardown(() => secrets.close())
    const known = new Map<string, Password | undefined>()
    secrets.onChange(({ name }, password) => known.set(name, password))
    const mesh = { name: 'mesh', key: 'k' }
    const rack = { name: 'bgp', key: 'rack' }
    secrets.want([mesh, rack])
    const causeOf = (name: string) => {
      const password = known.get(name)
      return password !== undefined && 'missing' in password ? password.missing : undefined
    }
    const until = async (what: string, holds: () => boolean) => {
      for (let i = 0; i < 300 && !holds(); i++) await pause(100)
      t.true(holds(), what)
    }
    await until('both are refused', () => [mesh, rack].every(({ name }) => causeOf(name)?.reason === 'Forbidden'))
    const commands = causeOf('mesh')!.remedy.split(': ').slice(1).join(': ').split(' && ')
    t.is(commands.length, 2)
    for (const command of commands) await must(command.split(' ').slice(1))
    await until('the mesh has its password', () => isDeepStrictEqual(known.get('mesh'), { text: 'of the mesh' }))
    t.is(causeOf('bgp')?.reason, 'Forbidden')
    const [, manifests] = /```yaml\n(apiVersion: v1\nkind: Secret\n[^`]*)```/.exec(readFileSync(BGP_DOCS, 'utf8'))!
    await must(['apply', '-f', '-'], manifests)
    await until('the peer has its password', () => isDeepStrictEqual(known.get('bgp'), { text: 'change me' }))
    await must(['-n', 'kube-system', 'delete', 'secret', 'mesh'])
    await until('it is told', () => causeOf('mesh')?.reason === 'NoSecret')
    const store = await storeOf('margay-node')
    await t.throwsAsync(store.list('Secret', { namespace: 'kube-system' }), { instanceOf: Refused })
    await must(['delete', 'bgppeer', 'rack'])
    await api.kubectl(['-n', 'kube-system', 'delete', 'secret', 'bgp'])
  },
)

check(
  'the removal works with the rights of its account, and then everything can be deleted: nothing is left',
  async (t, cluster) => {
    const { api, must, mustGo } = cluster
    await must([...SERVER_SIDE, '-f', MARGAY])
    await must(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=30s'])
    const meta = (name: string, more: object = {}) => ({
      apiVersion: 'projectcalico.org/v3',
      metadata: { name, ...more },
    })
    const objects = [
      { ...meta('p', { finalizers: ['margay/blocks'] }), kind: 'IPPool', spec: { cidr: '10.244.0.0/16' } },
      ...['n1', 'gone'].map((node, index) => ({
        ...meta(`10-244-${index}-0-30`),
        kind: 'IPAMBlock',
        spec: {
          ...{ cidr: `10.244.${index}.0/30`, affinity: `host:${node}`, attributes: [] },
          ...{ allocations: [null, null, null, null], unallocated: [0, 1, 2, 3] },
        },
      })),
      {
        ...{ apiVersion: 'v1', kind: 'Node' },
        metadata: { name: 'n1', annotations: { 'projectcalico.org/IPv4Address': '192.0.2.1/24' } },
      },
    ]
    for (const object of objects) await must(['create', '-f', '-'], JSON.stringify(object))
    const hangs = await api.kubectl(['delete', '--timeout=2s', 'ippool', 'p'])
    t.is(hangs.code, 1, 'a pool with blocks waits')

    await must([...SERVER_SIDE, '-f', at('remove.yaml')])
    const removed = await removedFromN1(t, cluster)
    t.deepEqual(removed, [
      'IPAMBlock 10-244-0-0-30',
      'finalizer of IPPool p',
      'annotations and condition NetworkUnavailable of Node n1',
    ])
    await mustGo(['-f', MARGAY, '-f', at('remove.yaml'), '--ignore-not-found'])
    t.is(await must(['get', 'crd', '-o', 'name']), '')
    const kinds = 'sa,cm,ds,deploy,pdb,role,rolebinding,clusterrole,clusterrolebinding'
    t.is(await must(['get', kinds, '-A', '-l', 'app.kubernetes.io/part-of=margay', '-o', 'name']), '')
  },
)

check(
  'Helm installs the network with a pool, exchanges the agents for the removal, and leaves nothing but the CRDs',
  async (t, { api, must, mustGo }) => {
    const helm = async (...words: string[]) => {
      const { code, said } = await runHelm([...words, '--namespace', 'kube-system'], {}, api.kubeconfig('admin'))
      t.is(code, 0, `helm ${words[0]}: ${said}`)
    }
    const pools = [{ name: 'default-ipv4-ippool', spec: { cidr: '10.244.0.0/16', natOutgoing: true } }]
    const values = ['--set', 'config.firstPools=none', '--set-json', `pools=${JSON.stringify(pools)}`]
    await helm('install', 'margay', at('chart'), ...values)
    t.is(await must(['get', 'ippools', '-o', 'jsonpath={.items[*].spec.cidr}']), '10.244.0.0/16')
    const containers = ['-n', 'kube-system', 'get', 'ds', 'margay-node', '-o']
    const names = 'jsonpath={.spec.template.spec.initContainers[*].name} {.spec.template.spec.containers[*].name}'
    t.is(await must([...containers, names]), 'install agent')
    await helm('upgrade', 'margay', at('chart'), '--reuse-values', '--set', 'remove=true')
    t.is(await must([...containers, names]), 'remove removed')
    await helm('uninstall', 'margay')
    const left = 'ds,deploy,cm,sa,clusterrole,clusterrolebinding,validatingadmissionpolicy,ippools'
    t.is(await must(['get', left, '-A', '-l', 'app.kubernetes.io/part-of=margay', '-o', 'name']), '')
    await mustGo(['-f', at('crds.yaml')])
  },
  helmProblem,
)
