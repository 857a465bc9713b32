// The whole program over a fake API server: who tells what, beside another program of the same cluster.
import { once } from 'node:events'
import { createServer } from 'node:net'
import test from 'ava'
import { Controllers } from '../../controllers/controllers.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { Refused, Unreachable } from '../../datastore/port.ts'
import { silentLog } from '../../lib/log.ts'
import { aBlock, aNode, aPool, aResource } from '../datastore/objects.ts'
import { ProcessClock } from './world.ts'

type Program = { controllers: Controllers; clock: ProcessClock }

function program(store: FakeStore, identity: string): Program {
  const clock = new ProcessClock()
  const options = { identity, namespace: 'kube-system', graceMs: 60_000, answerMs: 60_000, firstPools: [] }
  const controllers = new Controllers(options, { store, clock, log: silentLog })
  controllers.start()
  return { controllers, clock }
}

async function pass(seconds: number, ...programs: readonly Program[]): Promise<void> {
  for (let i = 0; i < seconds; i++) {
    for (const { clock } of programs) clock.advance(1_000)
    for (let turn = 0; turn < 8; turn++) await new Promise(setImmediate)
  }
}

const typesOf = ({ controllers }: Program) => controllers.conditions().map(({ type }) => type)

test('a program that led once tells nothing of blocks and pools while another one leads, but for what it freed itself', async t => {
  const store = createFakeStore()
  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name))
  const used = { allocations: [0, null], unallocated: [1], attributes: [{ handle_id: 'h', secondary: { node: 'n2' } }] }
  await store.create('IPAMBlock', aBlock('10.0.0.0/31', { affinity: 'virtual:other' }))
  await store.create('IPAMBlock', aBlock('10.0.0.2/31', { affinity: 'host:n1' }))
  await store.create('IPAMBlock', aBlock('10.0.0.4/31', { affinity: 'host:n2', ...used }))
  await store.create('IPPool', aPool('p', { cidr: '10.0.0.0/24' }, { finalizers: ['margay/blocks'] }))
  const first = program(store, 'first')
  await pass(5, first)
  await store.delete('Node', 'n1')
  await store.delete('IPPool', 'p')
  await pass(130, first)
  t.deepEqual(typesOf(first), ['BlocksOwned', 'PoolsReleased'])
  t.like(first.controllers.numbers(), { leads: true, unclear: 1, freed: { blocks: 1 } })
  // stopped (SIGSTOP) for longer than its lease
  const second = program(store, 'second')
  for (let i = 0; i < 60; i++) {
    first.clock.advanceStopped(1_000)
    await pass(1, second)
  }
  t.deepEqual(typesOf(first), [], 'from the moment in which it does not lead any more')
  await pass(60, first, second)
  t.deepEqual(typesOf(second), ['BlocksOwned', 'PoolsReleased'])
  t.deepEqual(typesOf(first), [])
  const { census, ...numbers } = first.controllers.numbers()
  t.deepEqual(census, [])
  t.deepEqual(numbers, {
    leads: false,
    waiting: 0,
    unclear: 0,
    pools: [],
    forecasts: [],
    freed: { blocks: 1, addresses: 0 },
  })
  await first.controllers.close()
  await second.controllers.close()
})

test('a pool of which the nodes that it selects get no block more is told with the pods that it still serves, until there is room', async t => {
  const store = createFakeStore()
  await store.create('Node', aNode('n1', { labels: { zone: 'a' } }))
  await store.create('Node', aNode('n2', { labels: { zone: 'b' } }))
  const spec = { cidr: '10.0.0.0/30', blockSize: 31, nodeSelector: "zone == 'a'" }
  await store.create('IPPool', aPool('p', spec, { finalizers: ['margay/blocks'] }))
  const used = { allocations: [0, null], unallocated: [1], attributes: [{ handle_id: 'h', secondary: { node: 'n1' } }] }
  await store.create('IPAMBlock', aBlock('10.0.0.0/31', { affinity: 'host:n1', ...used }))
  const one = program(store, 'one')
  await pass(20, one)
  t.deepEqual(typesOf(one), [])
  t.regex(one.controllers.metrics(), /^margay_ipam_pods_left\{ippool="p"\} 3$/m)
  await store.create('IPAMBlock', aBlock('10.0.0.2/31', { affinity: 'host:n2' }))
  await pass(320, one)
  t.like(one.controllers.conditions()[0], {
    type: 'BlocksLeft',
    reason: 'NoBlock',
    object: { kind: 'IPPool', name: 'p' },
  })
  t.regex(one.controllers.conditions()[0]!.message, / 1 pod more gets? /)
  t.regex(one.controllers.metrics(), /^margay_ipam_blocks_left\{ippool="p"\} 0$/m)
  await store.update('Node', { ...(await store.get('Node', 'n2')), metadata: { name: 'n2', labels: { zone: 'a' } } })
  await store.delete('IPAMBlock', '10-0-0-2-31')
  await pass(320, one)
  t.deepEqual(typesOf(one), [])
  await one.controllers.close()
})

test('no block is asked about or freed before the KubeControllersConfiguration is known, which may say that none ever is', async t => {
  const store = createFakeStore()
  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name))
  await store.create('IPAMBlock', aBlock('10.0.0.2/31', { affinity: 'host:n1' }))
  const configuration = (leakGracePeriod: string) =>
    aResource('KubeControllersConfiguration', {
      metadata: { name: 'default' },
      spec: { controllers: { node: { leakGracePeriod } } },
    })
  await store.create('KubeControllersConfiguration', configuration('0s'))
  const before = await store.get('IPAMBlock', '10-0-0-2-31')
  const cases = [
    ['Forbidden', new Refused(403, 'forbidden: list kubecontrollersconfigurations')],
    ['NotRead', new Unreachable('away')],
    ['NotRead', undefined],
    ['Invalid', 'leakGracePeriod: no duration'],
  ] as const
  for (const [reason, cause] of cases) {
    let letIn: () => void = () => undefined
    const watch: FakeStore['watch'] = (kind, handlers, options) => {
      if (kind !== 'KubeControllersConfiguration') return store.watch(kind, handlers, options)
      if (cause instanceof Error) queueMicrotask(() => handlers.connection?.({ connected: false, cause }))
      const problems = [{ path: 'spec.controllers.node.leakGracePeriod', message: 'no duration' }]
      if (reason === 'Invalid') {
        handlers.refused?.({ type: 'sync', objects: [{ name: 'default', problems }] })
        handlers.event({ type: 'sync', items: [], resourceVersion: '1' })
      }
      letIn = () => void store.watch(kind, handlers, options)
      return { close: () => undefined, hurry: () => undefined }
    }
    const one = program({ ...store, watch }, reason)
    await pass(2, one)
    await store.delete('Node', 'n1').catch(() => undefined)
    await pass(400, one)
    t.deepEqual(await store.get('IPAMBlock', '10-0-0-2-31'), before)
    t.deepEqual(typesOf(one), ['ConfigurationKnown'])
    t.is(one.controllers.conditions()[0]?.reason, reason)
    t.false(one.controllers.ready())
    t.is(one.controllers.numbers().census[0]?.blocks, 1, 'it is counted all the same')
    letIn()
    await pass(400, one)
    t.deepEqual(typesOf(one), [])
    t.deepEqual(await store.get('IPAMBlock', '10-0-0-2-31'), before, '0s: never')
    await one.controllers.close()
  }
  const { metadata } = await store.get('KubeControllersConfiguration', 'default')
  await store.update('KubeControllersConfiguration', { ...configuration('1m'), metadata })
  const last = program(store, 'last')
  await pass(150, last)
  t.deepEqual(await store.list('IPAMBlock'), [])
  await last.controllers.close()
})

test('the metrics are served at prometheusMetricsPort too while the configuration has one, and a port that is taken is told', async t => {
  const store = createFakeStore()
  await store.create('Node', aNode('n1'))
  const taken = createServer().listen(0)
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  const spec = { prometheusMetricsPort: port }
  const object = aResource('KubeControllersConfiguration', { metadata: { name: 'default' }, spec })
  await store.create('KubeControllersConfiguration', object)
  const one = program(store, 'one')
  await pass(5, one)
  t.true(typesOf(one).includes('MetricsServed'))
  taken.close()
  await once(taken, 'close')
  await pass(6, one)
  t.false(typesOf(one).includes('MetricsServed'))
  t.regex(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text(), /^margay_controllers_leader 1$/m)
  const { metadata } = await store.get('KubeControllersConfiguration', 'default')
  const without = aResource('KubeControllersConfiguration', { metadata, spec: {} })
  await store.update('KubeControllersConfiguration', without)
  await pass(2, one)
  await t.throwsAsync(fetch(`http://127.0.0.1:${port}/metrics`))
  await one.controllers.close()
})

const clusterInformation = (datastoreReady: boolean) =>
  aResource('ClusterInformation', { metadata: { name: 'default' }, spec: { datastoreReady } })
const lockStore = (store: FakeStore, isLocked: boolean) =>
  store.patch('ClusterInformation', 'default', { spec: { datastoreReady: !isLocked } })
const namesOf = async (store: FakeStore) => [
  ...(await store.list('IPAMBlock')).map(({ spec }) => spec.cidr),
  ...(await store.list('IPPool')).map(({ metadata }) => metadata.name),
]

test('while the datastore is locked no block is asked about or freed and no deleted pool goes, and the time without a Node begins at the unlock', async t => {
  const store = createFakeStore()
  await store.create('ClusterInformation', clusterInformation(false))
  await store.create('Node', aNode('n2'))
  const tunnel = { handle_id: 'ipip-tunnel-addr-n2', secondary: { node: 'n2', type: 'ipipTunnelAddress' } }
  const used = { affinity: 'host:n2', allocations: [0, null], unallocated: [1], attributes: [tunnel] }
  await store.create('IPAMBlock', aBlock('10.0.0.2/31', { affinity: 'host:n1' }))
  await store.create('IPAMBlock', aBlock('10.0.1.4/31', used))
  await store.create('IPPool', aPool('p', { cidr: '10.0.1.0/24' }, { finalizers: ['margay/blocks'] }))
  await store.delete('IPPool', 'p')
  const before = await store.get('IPAMBlock', '10-0-0-2-31')
  const one = program(store, 'one')
  await pass(600, one)
  t.deepEqual(await store.get('IPAMBlock', '10-0-0-2-31'), before)
  t.deepEqual(await namesOf(store), ['10.0.0.2/31', '10.0.1.4/31', 'p'])
  t.deepEqual(typesOf(one), ['DatastoreUnlocked'])
  t.like(one.controllers.conditions()[0], { reason: 'Locked', remedy: "'margayctl datastore unlock' ends that" })
  t.true(one.controllers.ready())
  await lockStore(store, false)
  await pass(58, one)
  t.like(one.controllers.conditions()[0], { type: 'DatastoreUnlocked', reason: 'JustUnlocked' })
  t.deepEqual(await namesOf(store), ['10.0.0.2/31', '10.0.1.4/31', 'p'], 'agents publish their pods first')
  await pass(15, one)
  t.deepEqual(typesOf(one), [])
  t.deepEqual(await namesOf(store), ['10.0.0.2/31', '10.0.1.4/31'])
  await pass(90, one)
  t.deepEqual(await namesOf(store), ['10.0.0.2/31', '10.0.1.4/31'], 'its Node may join yet')
  await pass(60, one)
  t.deepEqual(await namesOf(store), ['10.0.1.4/31'])
  await one.controllers.close()
})

test('an owner that was asked before a lock, under which it cannot answer, is asked again after it', async t => {
  const store = createFakeStore()
  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name))
  await store.create('ClusterInformation', clusterInformation(true))
  await store.create('IPAMBlock', aBlock('10.0.0.2/31', { affinity: 'host:n1' }))
  const one = program(store, 'one')
  await pass(5, one)
  await store.delete('Node', 'n1')
  await pass(90, one)
  const asked = await store.get('IPAMBlock', '10-0-0-2-31')
  t.regex(JSON.stringify(asked), /owner-asked/)
  await lockStore(store, true)
  await pass(600, one)
  await lockStore(store, false)
  await pass(61 + 60 + 50, one)
  t.deepEqual(await namesOf(store), ['10.0.0.2/31'])
  await pass(60, one)
  t.deepEqual(await namesOf(store), [])
  await one.controllers.close()
})

test('nothing is done before it is known whether the datastore is locked', async t => {
  const store = createFakeStore()
  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name))
  await store.create('IPAMBlock', aBlock('10.0.0.2/31', { affinity: 'host:n1' }))
  await store.delete('Node', 'n1')
  for (const cause of [new Refused(403, 'forbidden: list clusterinformations'), new Unreachable('away')]) {
    let letIn: () => void = () => undefined
    const watch: FakeStore['watch'] = (kind, handlers, options) => {
      if (kind !== 'ClusterInformation') return store.watch(kind, handlers, options)
      queueMicrotask(() => handlers.connection?.({ connected: false, cause }))
      letIn = () => void store.watch(kind, handlers, options)
      return { close: () => undefined, hurry: () => undefined }
    }
    const one = program({ ...store, watch }, cause.name)
    await pass(300, one)
    t.deepEqual(await store.list('ClusterInformation'), [], 'no first object either')
    t.deepEqual(await namesOf(store), ['10.0.0.2/31'])
    t.like(one.controllers.conditions(), [
      { type: 'LockKnown', reason: cause instanceof Refused ? 'Forbidden' : 'NotRead' },
    ])
    t.false(one.controllers.ready())
    letIn()
    await pass(1, one)
    t.deepEqual(typesOf(one), [])
    await one.controllers.close()
    await store.delete('ClusterInformation', 'default')
  }
})

test('HostEndpoints are made as the KubeControllersConfiguration says, not while the datastore is locked, and one that is not made is told', async t => {
  const store = createFakeStore()
  await store.create('ClusterInformation', clusterInformation(false))
  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name))
  const foreign = aResource('HostEndpoint', { metadata: { name: 'n1-auto-hep' }, spec: { node: 'n1' } })
  await store.create('HostEndpoint', foreign)
  const configuration = (autoCreate: string) =>
    aResource('KubeControllersConfiguration', {
      metadata: { name: 'default' },
      spec: { controllers: { node: { hostEndpoint: { autoCreate } } } },
    })
  await store.create('KubeControllersConfiguration', configuration('Enabled'))
  const names = async () => (await store.list('HostEndpoint')).map(({ metadata }) => metadata.name)
  const one = program(store, 'one')
  await pass(120, one)
  t.deepEqual(await names(), ['n1-auto-hep'])
  await lockStore(store, false)
  await pass(75, one)
  t.deepEqual(await names(), ['n1-auto-hep', 'n2-auto-hep'])
  t.like(one.controllers.conditions(), [
    {
      ...{ type: 'HostEndpointsMade', reason: 'ForeignObject' },
      object: { kind: 'HostEndpoint', name: 'n1-auto-hep' },
    },
  ])
  t.true(one.controllers.ready())
  const { metadata } = await store.get('KubeControllersConfiguration', 'default')
  await store.update('KubeControllersConfiguration', { ...configuration('Disabled'), metadata })
  await pass(5, one)
  t.deepEqual(await names(), ['n1-auto-hep'])
  t.deepEqual(typesOf(one), [])
  await one.controllers.close()
})
