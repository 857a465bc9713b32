// Agents, controllers, the removal and the command line on a real API server that has Calico's own CRDs: those of an older
// version, without a status, rules and the newest fields, and, where the reference is there, those of Calico as they are.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { crdKinds, crdOf } from '../../api/crd.ts'
import { servedAs } from '../../api/served.ts'
import { FirstObjects } from '../../controllers/first-objects.ts'
import { openStore } from '../../datastore/kube.ts'
import { openObjects } from '../../datastore/objects.ts'
import { assign, emitBlock, emptyBlock, parseBlock } from '../../ipam/block.ts'
import { holdPool } from '../../ipam/pool-release.ts'
import { until } from '../../lab/program.ts'
import { silentLog } from '../../lib/log.ts'
import { Recorded } from '../datastore/objects.ts'
import { apiServerChecks, type Cluster, removedFromN1, SERVER_SIDE } from './checks.ts'

const at = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const REFERENCE = process.env['MARGAY_REFERENCE'] ?? at('../shared/reference')
const calicos = globSync('calico-crds/v1/crd.projectcalico.org_*.yaml', { cwd: REFERENCE })
const check = apiServerChecks()

type Json = { [key: string]: Json } & Json[]
const NEWER = ['affinityClaimTime', 'alternateOwnerAttrs', 'releasedAt', 'namespaceSelector', 'ipCooldownSeconds']

/** A CRD of ours as an older version of Calico has it. */
function olderCrd(kind: ReturnType<typeof crdKinds>[number]): object | undefined {
  const served = servedAs(kind, 'v1')
  if (served === undefined) return undefined
  const crd = crdOf(kind) as { spec: { scope: string; versions: { schema: { openAPIV3Schema: object } }[] } }
  const schema = older(crd.spec.versions[0]!.schema.openAPIV3Schema as Json) as object
  return {
    ...{ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition' },
    metadata: { name: `${served.plural}.${served.group}` },
    spec: {
      group: served.group,
      names: { kind: served.kind, listKind: `${served.kind}List`, plural: served.plural, singular: served.singular },
      scope: crd.spec.scope,
      versions: [{ name: served.version, served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  }
}

/** Without rules, patterns, formats and what is newer; a field that nobody knows is dropped. */
function older(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(older)
  if (typeof value !== 'object' || value === null) return value
  const left = [
    'x-kubernetes-validations',
    'x-kubernetes-preserve-unknown-fields',
    'pattern',
    'format',
    'enum',
    'default',
  ]
  return Object.fromEntries(
    Object.entries(value)
      .filter(
        ([field, each]) =>
          !left.includes(field) || (typeof each === 'object' && !Array.isArray(each) && field !== 'default'),
      )
      .filter(([field]) => !NEWER.includes(field))
      .map(([field, each]) => [field, older(each)]),
  )
}

/** The installation over CRDs that are there. */
async function install({ must }: Cluster): Promise<void> {
  await must(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=60s'])
  await must([...SERVER_SIDE, '-k', at('manifests/overlays/calico-crds')])
  await must([...SERVER_SIDE, '-f', at('manifests/remove.yaml')])
}

/** What agents, controllers and the removal do, with the rights of their accounts. */
async function lifeOfACluster(t: ExecutionContext, cluster: Cluster): Promise<void> {
  const { api, must, storeOf } = cluster
  await install(cluster)
  const agent = await storeOf('margay-node')
  t.is(await agent.apiGroup(), 'v1')
  const pools = new Recorded(agent, 'IPPool')
  await pools.until(each => each.events.length > 0)
  const controllers = await storeOf('margay-controllers')
  const kubeadm = () => 'networking: {podSubnet: "10.9.0.0/16"}'
  await new FirstObjects({ store: controllers, log: silentLog, pools: undefined, kubeadm }).run()
  await pools.until(each => each.lines().includes('set default-ipv4-ippool'))
  pools.watch.close()
  t.is(
    await must(['get', 'clusterinformations.crd.projectcalico.org', '-o', 'jsonpath={.items[*].metadata.name}']),
    'default',
  )

  t.true(await holdPool(agent, 'default-ipv4-ippool'))
  t.deepEqual((await agent.get('IPPool', 'default-ipv4-ippool')).metadata.finalizers, ['margay/blocks'])
  const blocks = new Recorded(agent, 'IPAMBlock', { fieldSelector: 'spec.affinity=host:n1' })
  await blocks.until(each => each.events.length > 0)
  const owner = { node: 'n1', epoch: '7' }
  const empty = emptyBlock('10.9.1.0/30', 1_766_000_000_123_456_789n)
  const made = await agent.create('IPAMBlock', emitBlock(empty, owner))
  const used = assign(parseBlock(made), { handle: 'h', secondary: { pod: 'web', namespace: 'shop', node: 'n1' } }, 0)
  const written = await agent.update('IPAMBlock', emitBlock(used, owner, made))
  t.deepEqual(parseBlock(written), used)
  t.is(parseBlock(written).sequence, used.sequence)
  t.deepEqual((await agent.update('IPAMBlock', written)).metadata.resourceVersion, written.metadata.resourceVersion)
  await agent.create('IPAMBlock', emitBlock(emptyBlock('10.9.2.0/30', 1n), { node: 'gone', epoch: '1' }))
  await blocks.until(each => each.events.length > 2)
  t.deepEqual(blocks.lines(), ['sync ', 'set 10-9-1-0-30', 'set 10-9-1-0-30'])
  blocks.watch.close()

  const objects = openObjects({ kubeconfig: api.kubeconfig('admin'), manager: 'margayctl' })
  const named = { metadata: { name: 'peer', labels: { rack: 'a' } }, spec: { peerIP: '192.0.2.9', asNumber: 65001 } }
  for (const patch of [named, { ...named, metadata: { name: 'peer', labels: { row: 'b' } } }])
    await objects.patch('BGPPeer', 'peer', patch, 'apply')
  t.deepEqual((await objects.get('BGPPeer', 'peer')).metadata.labels, { rack: 'a', row: 'b' })
  await objects.delete('BGPPeer', 'peer')
  const ofNode = { fieldSelector: 'spec.node=n1', storedName: 'n1' }
  const statuses = new Recorded(agent, 'CalicoNodeStatus', ofNode)
  await statuses.until(each => each.events.length > 0)
  for (const name of ['other', 'n2', 'n1'])
    await objects.create('CalicoNodeStatus', {
      metadata: { name },
      spec: { node: name === 'n2' ? 'n2' : 'n1', classes: ['Agent'] },
    })
  await statuses.until(each => each.events.length > 1)
  t.deepEqual(statuses.lines(), ['sync ', 'set n1'])
  statuses.watch.close()
  for (const name of ['other', 'n2', 'n1']) await objects.delete('CalicoNodeStatus', name)
  objects.close()

  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } }
  await must(['create', '-f', '-'], JSON.stringify(node))
  const removed = await removedFromN1(t, cluster)
  t.deepEqual(removed.slice(0, 2), ['IPAMBlock 10-9-1-0-30', 'finalizer of IPPool default-ipv4-ippool'])
  await must([
    'delete',
    'node/n1',
    'ipamblocks/10-9-2-0-30',
    'ippools/default-ipv4-ippool',
    'clusterinformations/default',
  ])
  await must(['delete', 'kubecontrollersconfigurations/default'])
}

check(
  'over the CRDs of an older Calico agents, controllers and the removal do what they do, each with its rights alone',
  async (t, cluster) => {
    const crds = crdKinds().flatMap(kind => olderCrd(kind) ?? [])
    const list = { apiVersion: 'v1', kind: 'List', items: crds }
    await cluster.must(['apply', '--server-side', '-f', '-'], JSON.stringify(list))
    await lifeOfACluster(t, cluster)
  },
)

check('what an older CRD drops is missed by nobody, and what it lets pass stops nobody', async (t, { api, must }) => {
  const store = openStore({ kubeconfig: api.kubeconfig('admin') })
  t.teardown(() => store.close())
  const block = emitBlock(emptyBlock('10.9.1.0/30', 7n), { node: 'n1', epoch: '7' })
  const owned = { handle_id: 'h', alternateOwnerAttrs: { pod: 'x' }, releasedAt: '2026-01-02T03:04:05Z' }
  const spec = {
    ...block.spec,
    affinityClaimTime: '2026-01-02T03:04:05Z',
    attributes: [owned],
    allocations: [0, null, null, null],
  }
  const made = await store.create('IPAMBlock', { ...block, spec: { ...spec, unallocated: [1, 2, 3] } })
  t.deepEqual(made.spec.attributes, [{ handle_id: 'h' }])
  t.is(made.spec['affinityClaimTime'], undefined)
  t.is(parseBlock(made).slots[0]?.handle, 'h')
  await store.delete('IPAMBlock', made.metadata.name)

  const pool = (name: string, of: object) => ({
    ...{ apiVersion: 'crd.projectcalico.org/v1', kind: 'IPPool', metadata: { name }, spec: of },
  })
  const items = [
    pool('good', { cidr: '10.0.0.0/16' }),
    pool('both', { cidr: '10.1.0.0/16', ipipMode: 'Always', vxlanMode: 'Always' }),
    pool('none', { cidr: 'not-a-cidr', blockSize: 99 }),
  ]
  await must(['create', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  const refused: string[] = []
  const names: string[] = []
  const told = Promise.withResolvers<void>()
  const watch = store.watch('IPPool', {
    refused: event => event.type === 'sync' && refused.push(...event.objects.map(({ name }) => name)),
    event: event => {
      if (event.type === 'sync') names.push(...event.items.map(({ metadata }) => metadata.name))
      told.resolve()
    },
  })
  await told.promise
  watch.close()
  t.deepEqual(names, ['good'])
  t.deepEqual(refused.toSorted(), ['both', 'none'])
  const condition = { type: 'Allocatable', status: 'True' as const, reason: 'Fine', message: 'it is' }
  const status = { conditions: [{ ...condition, lastTransitionTime: '2026-01-02T03:04:05Z' }] }
  t.is((await store.updateStatus('IPPool', { ...(await store.get('IPPool', 'good')), status })).status, undefined)
  await must(['delete', 'ippools', '--all'])
})

check(
  'over the CRDs of Calico as they are it is the same, and a status is kept',
  async (t, cluster) => {
    const { api, must, mustGo } = cluster
    await must(['delete', '-k', at('manifests/overlays/calico-crds')])
    await mustGo(['crd', '--all'])
    const text = calicos.map(name => readFileSync(join(REFERENCE, name), 'utf8')).join('\n---\n')
    await must([...SERVER_SIDE, '-f', '-'], text)
    const served = () => must(['get', '--raw', '/apis/crd.projectcalico.org/v1'])
    t.true(await until(async () => (await served()).includes('"ippools/status"'), 60_000, 300), await served())
    await lifeOfACluster(t, cluster)
    const store = openStore({ kubeconfig: api.kubeconfig('admin') })
    t.teardown(() => store.close())
    const pool = await store.create('IPPool', { metadata: { name: 'p' }, spec: { cidr: '10.0.0.0/16' } } as never)
    const condition = { type: 'Allocatable', status: 'True' as const, reason: 'Fine', message: 'it is' }
    const status = { conditions: [{ ...condition, lastTransitionTime: '2026-01-02T03:04:05Z' }] }
    t.deepEqual((await store.updateStatus('IPPool', { ...pool, status })).status, status)
    await store.delete('IPPool', 'p')
  },
  calicos.length > 0 ? undefined : `the CRDs of Calico are not in ${REFERENCE}`,
)
