// Prefixes of Services between the cluster and what a node announces: when they are watched, and when they go.
import test from 'ava'
import { ClusterFeed } from '../../agent/cluster-feed.ts'
import { ClusterView } from '../../agent/cluster-view.ts'
import { ServiceFeed } from '../../agent/service-feed.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Store } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { type Database, openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aResource } from '../datastore/objects.ts'

const EXCLUDED = { 'node.kubernetes.io/exclude-from-external-load-balancers': 'true' }
const RANGE = '203.0.113.0/24'
const WEB = '203.0.113.1/32'

const turns = async () => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
}

const aConfig = (spec: object = { serviceLoadBalancerIPs: [{ cidr: RANGE }] }) =>
  aResource('BGPConfiguration', { metadata: { name: 'default' }, spec })

const web = (ip = '203.0.113.1') =>
  aResource('Service', {
    metadata: { name: 'web', namespace: 'shop' },
    spec: { type: 'LoadBalancer', clusterIP: '10.96.0.1', externalTrafficPolicy: 'Local' },
    status: { loadBalancer: { ingress: [{ ip }] } },
  })

const ends = (...all: { nodeName: string; ready?: boolean; terminating?: boolean }[]) =>
  aResource('EndpointSlice', {
    metadata: { name: 'web-x', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: all.map(({ nodeName, ready = true, terminating = false }, i) => ({
      ...{ nodeName, addresses: [`10.0.0.${i}`], conditions: { ready, serving: true, terminating } },
    })),
  })

/** The agent of n1 as far as it announces Services. `announced` are prefixes; one that it leaves has a `-` before it. */
async function anAgent(store: Store, { database = openDatabase(':memory:') }: { database?: Database } = {}) {
  const clock = new ManualClock()
  const watched: string[] = []
  const watching: Store = {
    ...store,
    watch: (kind, handlers, options) => {
      watched.push(kind)
      return store.watch(kind, handlers, options)
    },
  }
  const caches = openCaches(watching, { database, clock, log: silentLog })
  const view = new ClusterView(caches, 'n1')
  let announced: readonly string[] = []
  let flushes = 0
  const routing = {
    ...{
      trust: () => undefined,
      identify: async () => undefined,
      drain: () => undefined,
      share: () => undefined,
      change: () => undefined,
    },
    announce: (all: readonly { prefix: string; communities: readonly string[] }[]) => {
      flushes++
      announced = all.map(({ prefix, communities }) => (communities.includes('65535:0') ? `-${prefix}` : prefix)).sort()
    },
  }
  const changed = () => void setImmediate(() => feed.flush(routing, { blocks: [], own: [] }))
  const services = new ServiceFeed({ nodeName: 'n1', view, clock, changed })
  const feed: ClusterFeed = new ClusterFeed({
    ...{ nodeName: 'n1', view, services, changed },
    felix: { set: () => undefined, configure: () => undefined },
    secrets: { want: () => undefined, onChange: () => undefined },
    report: () => undefined,
  })
  caches.start()
  await turns()
  feed.open({ address: '192.0.2.11' })
  changed()
  await turns()
  const close = () => {
    services.close()
    view.close()
    caches.close()
  }
  return { clock, watched, close, announced: () => announced, flushes: () => flushes }
}

async function aCluster() {
  const store = createFakeStore()
  const at = (address: string) => ({ annotations: { [NODE_ANNOTATION.ipv4Address]: `${address}/24` } })
  await store.create('Node', aNode('n1', at('192.0.2.11')))
  await store.create('Node', aNode('n2', at('203.0.113.12')))
  await store.create('Service', web())
  await store.updateStatus('Service', web())
  await store.create('EndpointSlice', ends({ nodeName: 'n1' }))
  return store
}

const set = async (store: Store, ...all: Parameters<typeof ends>) => {
  await store.update('EndpointSlice', ends(...all))
  await turns()
}

test('Services and their endpoints are watched from when a BGPConfiguration names ranges, and no earlier', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig({ asNumber: 64513 }))
  const agent = await anAgent(store)
  t.false(agent.watched.includes('Service'))
  t.deepEqual(agent.announced(), [])
  await store.update('BGPConfiguration', aConfig())
  await turns()
  t.deepEqual(agent.watched.filter(kind => ['Service', 'EndpointSlice'].includes(kind)).sort(), [
    ...['EndpointSlice', 'Service'],
  ])
  t.deepEqual(agent.announced(), [RANGE, WEB].sort())
  await store.update('BGPConfiguration', aConfig({}))
  await turns()
  t.deepEqual(agent.announced(), [])
  agent.close()
})

test('a prefix that this node leaves is announced for a second more as one to avoid, and then withdrawn', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const agent = await anAgent(store)
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' })
  t.deepEqual(agent.announced(), [`-${WEB}`, RANGE])
  agent.clock.advance(900)
  await turns()
  // something else changes meanwhile: the time goes on
  await store.update('Service', { ...web(), metadata: { ...web().metadata, labels: { a: 'b' } } })
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' }, { nodeName: 'n2' })
  t.deepEqual(agent.announced(), [`-${WEB}`, RANGE])
  agent.clock.advance(100)
  await turns()
  t.deepEqual(agent.announced(), [RANGE])
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2', ready: true })
  t.deepEqual(agent.announced(), [RANGE], 'it does not come back to leave')
  await set(store, { nodeName: 'n1' }, { nodeName: 'n2' })
  t.deepEqual(agent.announced(), [WEB, RANGE].sort())
  agent.close()
})

test('an endpoint that ends while its prefix leaves, and one that is no more ready, withdraw it at once; one that comes keeps it', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const agent = await anAgent(store)
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' })
  await set(store, { nodeName: 'n2' })
  t.deepEqual(agent.announced(), [RANGE])
  await set(store, { nodeName: 'n1' }, { nodeName: 'n2' })
  await set(store, { nodeName: 'n1', ready: false }, { nodeName: 'n2' })
  t.deepEqual(agent.announced(), [RANGE])
  await set(store, { nodeName: 'n1' }, { nodeName: 'n2' })
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' })
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n1' })
  t.deepEqual(agent.announced(), [WEB, RANGE].sort())
  const before = agent.flushes()
  agent.clock.advance(5000)
  await turns()
  t.is(agent.flushes(), before)
  agent.close()
})

test('a node with the label that excludes it leaves ranges and addresses, and takes them back without it', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const agent = await anAgent(store)
  const label = async (labels: Record<string, string>) => {
    const node = await store.get('Node', 'n1')
    await store.update('Node', { ...node, metadata: { ...node.metadata, labels } })
    await turns()
  }
  await label(EXCLUDED)
  t.deepEqual(agent.announced(), [`-${RANGE}`, `-${WEB}`])
  agent.clock.advance(1000)
  await turns()
  t.deepEqual(agent.announced(), [])
  await label({})
  t.deepEqual(agent.announced(), [RANGE, WEB].sort())
  agent.close()
})

test('whatever a Service says, the address of a node is not announced for it', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const agent = await anAgent(store)
  await store.updateStatus('Service', web('203.0.113.12'))
  await turns()
  t.deepEqual(agent.announced(), [RANGE])
  await store.delete('Node', 'n2')
  await store.updateStatus('Service', web('203.0.113.13'))
  await turns()
  t.deepEqual(agent.announced(), [RANGE, '203.0.113.13/32'].sort())
  agent.close()
})

test('while the API server is away everything stays announced, and after a restart without it, from the first moment on', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const database = openDatabase(':memory:')
  const first = await anAgent(store, { database })
  first.clock.advance(60_000)
  await turns()
  store.disconnect()
  first.clock.advance(3_600_000)
  await turns()
  t.deepEqual(first.announced(), [RANGE, WEB].sort())
  first.close()
  const second = await anAgent(store, { database })
  second.clock.advance(5000)
  await turns()
  t.deepEqual(second.announced(), [RANGE, WEB].sort())
  second.close()
})
