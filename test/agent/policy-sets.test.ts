// What a node takes for being in the sets of others, by the objects that it sees.
import test from 'ava'
import { FlowEnds } from '../../agent/flows/ends.ts'
import { PolicySets } from '../../agent/policy-sets.ts'
import { RECEIPT_ANNOTATION } from '../../api/policy-receipts.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { NotFound } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'

function aNode(store = createFakeStore()) {
  const clock = new ManualClock()
  const caches = openCaches(store, { database: openDatabase(':memory:'), clock, log: silentLog })
  const lines: unknown[] = []
  const ends = new FlowEnds()
  const asked: (string | undefined)[] = []
  const sets: PolicySets = new PolicySets({
    ...{ caches, clock, log: { ...silentLog, info: (told: unknown) => void lines.push(told) } },
    at: address => ends.at(address),
    ask: () => void asked.push(sets.lateVersion),
  })
  return { store, clock, caches, sets, lines, asked, ends }
}

const settled = () => new Promise(resolve => setTimeout(resolve, 20))

test('before policies are known, and while there is one of any kind, other nodes may have addresses in sets', async t => {
  const { store, caches, sets } = aNode()
  t.true(sets.mayHold())
  caches.start()
  await settled()
  t.false(sets.mayHold())
  const spec = { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }
  await store.create(
    'KubernetesNetworkPolicy',
    aResource('KubernetesNetworkPolicy', { metadata: { name: 'p', namespace: 'default' }, spec }),
  )
  await settled()
  t.true(sets.mayHold())
  await store.delete('KubernetesNetworkPolicy', 'p', { namespace: 'default' })
  await settled()
  t.false(sets.mayHold())
  caches.close()
})

test('a server that does not have a kind has no policy of it', async t => {
  const store = createFakeStore()
  const without: FakeStore = {
    ...store,
    watch: (kind, handlers, options) => {
      if (kind !== 'ClusterNetworkPolicy') return store.watch(kind, handlers, options)
      handlers.connection?.({ connected: false, cause: new NotFound('no such kind') })
      return { close: () => undefined, hurry: () => undefined }
    },
  }
  const { caches, sets } = aNode(without)
  caches.start()
  await settled()
  t.false(sets.mayHold())
  caches.close()
})

test('a pod has its addresses until it has ended, has others or is gone; while it has none, or the API server is away, nobody knows', async t => {
  const { store, caches, sets } = aNode()
  caches.start()
  const pod = { namespace: 'default', name: 'a' }
  const heard = async (status: object | undefined, address = '10.0.0.1') => {
    if (status !== undefined) store.inject('Pod', aResource('Pod', { metadata: pod, spec: { nodeName: 'n1' }, status }))
    await settled()
    return sets.heard(pod, address)
  }
  const status = { phase: 'Running', podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::0:1' }] }
  t.is(await heard(undefined), 'gone')
  t.is(await heard({ phase: 'Pending' }), 'unclear')
  t.is(await heard(status), 'has')
  t.is(await heard(status, 'fd00::1'), 'has')
  t.is(await heard(status, '10.0.0.2'), 'gone')
  t.is(await heard({ ...status, phase: 'Succeeded' }), 'gone')
  t.is(await heard(status), 'has')
  store.disconnect()
  t.is(await heard(undefined), 'unclear')
  caches.close()
})

test('an address is the pod’s of which the kubelet says so, not of one whose annotation does, and nobody’s while the API server is away', async t => {
  const { store, caches, sets, ends } = aNode()
  caches.start()
  const pod = (name: string, status: object, annotations = {}) =>
    store.inject(
      'Pod',
      aResource('Pod', { metadata: { namespace: 'default', name, annotations }, spec: { nodeName: 'n1' }, status }),
    )
  pod('a', { phase: 'Running', podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::0:1' }] })
  // who may make a Pod writes its annotations, and has it wait for something for ever
  pod('greedy', { phase: 'Pending' }, { 'cni.projectcalico.org/podIPs': '10.0.0.3/32,10.0.0.4/32' })
  await settled()
  ends.set('endpoint', 'default/greedy', {
    ...{ kind: 'pod', labels: {}, addresses: ['10.0.0.3', '10.0.0.4'], ports: [] },
  })
  ends.set('endpoint', 'default/a', { kind: 'pod', labels: {}, addresses: ['10.0.0.1', 'fd00::1'], ports: [] })
  ends.set('endpoint', 'host-1', { kind: 'host', labels: {}, addresses: ['192.0.2.1'], ports: [] })
  for (const address of ['10.0.0.1', 'fd00::1']) t.deepEqual(sets.holder(address), { namespace: 'default', name: 'a' })
  for (const address of ['10.0.0.2', '10.0.0.3', '10.0.0.4', '192.0.2.1']) t.is(sets.holder(address), undefined)
  store.disconnect()
  await settled()
  t.is(sets.holder('10.0.0.1'), undefined)
  caches.close()
})

test('all nodes are through when margay-controllers write so, and no version is one while the API server is away', async t => {
  const { store, caches, sets } = aNode()
  caches.start()
  await settled()
  t.false(sets.areThrough('1'))
  const annotations = { [RECEIPT_ANNOTATION.podsSettled]: '100' }
  store.inject(
    'ClusterInformation',
    aResource('ClusterInformation', { metadata: { name: 'default', annotations }, spec: {} }),
  )
  await settled()
  t.deepEqual(
    ['99', '100', '101', '1000', 'x', ''].map(version => sets.areThrough(version)),
    [true, true, false, false, false, false],
  )
  t.regex(sets.version()!, /^[0-9]+$/)
  store.disconnect()
  await settled()
  t.is(sets.version(), undefined)
  caches.close()
})

test('that addresses went to other pods early is one line and one question in ten minutes, with how many it were', async t => {
  const { clock, caches, sets, lines, asked } = aNode()
  caches.start()
  await settled()
  for (let i = 0; i < 100; i++) {
    sets.late(`10.0.0.${i}`)
    clock.advance(10_000)
  }
  t.deepEqual(lines, [
    { address: '10.0.0.0', addresses: 1 },
    { address: '10.0.0.60', addresses: 60 },
  ])
  t.deepEqual(asked, [sets.version(), sets.version()])
  caches.close()
})
