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
const [COMING_MS, LEAVING_MS] = [1500, 3000]

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
async function anAgent(store: Store, database: Database = openDatabase(':memory:'), nodeName = 'n1') {
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
  const view = new ClusterView(caches, nodeName)
  let announced: readonly string[] = []
  let told: readonly string[] = []
  let flushes = 0
  const routing = {
    ...{
      trust: () => undefined,
      admit: () => undefined,
      identify: async () => undefined,
      drain: () => undefined,
      setPools: () => undefined,
      nextHops: { recheck: () => undefined, setPeerWay: () => undefined },
      share: () => undefined,
      change: () => undefined,
      witness: () => undefined,
    },
    announce: (all: readonly { prefix: string; communities: readonly string[] }[]) => {
      flushes++
      announced = all.map(({ prefix, communities }) => (communities.includes('65535:0') ? `-${prefix}` : prefix)).sort()
    },
  }
  const changed = () => void setImmediate(() => feed.flush(routing, { blocks: [], own: [] }))
  const services = new ServiceFeed({ nodeName, view, clock, changed })
  const feed: ClusterFeed = new ClusterFeed({
    ...{ nodeName, view, services, changed },
    felix: { set: () => undefined, configure: () => undefined },
    secrets: { want: () => undefined, onChange: () => undefined },
    report: (_, conditions) => {
      told = conditions.map(({ reason }) => reason)
    },
  })
  caches.start()
  await turns()
  feed.open({ address: '192.0.2.11', subnets: ['192.0.2.0/24'] })
  changed()
  await turns()
  const atFirst = announced
  clock.advance(COMING_MS)
  await turns()
  const close = () => {
    services.close()
    view.close()
    caches.close()
  }
  return { clock, watched, close, atFirst, announced: () => announced, told: () => told, flushes: () => flushes }
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

/** What comes is announced by then. */
const pass = async ({ clock }: { clock: ManualClock }, ms = COMING_MS) => {
  clock.advance(ms)
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
  t.deepEqual(agent.announced(), [])
  await pass(agent)
  t.deepEqual(agent.announced(), [RANGE, WEB].sort())
  await store.update('BGPConfiguration', aConfig({}))
  await turns()
  t.deepEqual(agent.announced(), [])
  agent.close()
})

test('a prefix that this node leaves is announced for three seconds more as one to avoid, and then withdrawn', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const agent = await anAgent(store)
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' })
  t.deepEqual(agent.announced(), [`-${WEB}`, RANGE])
  await pass(agent, LEAVING_MS - 100)
  // something else changes meanwhile: the time goes on
  await store.update('Service', { ...web(), metadata: { ...web().metadata, labels: { a: 'b' } } })
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' }, { nodeName: 'n2' })
  t.deepEqual(agent.announced(), [`-${WEB}`, RANGE])
  await pass(agent, 100)
  t.deepEqual(agent.announced(), [RANGE])
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2', ready: true })
  t.deepEqual(agent.announced(), [RANGE], 'it does not come back to leave')
  await set(store, { nodeName: 'n1' }, { nodeName: 'n2' })
  await pass(agent)
  t.deepEqual(agent.announced(), [WEB, RANGE].sort())
  agent.close()
})

test('a prefix that comes is announced once kube-proxy had time for it, and not at all when it went before or comes to leave', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const agent = await anAgent(store)
  await set(store, { nodeName: 'n2' })
  await set(store, { nodeName: 'n1' })
  await pass(agent, COMING_MS - 100)
  t.deepEqual(agent.announced(), [RANGE])
  // something else changes meanwhile: the time goes on
  await set(store, { nodeName: 'n1' }, { nodeName: 'n2' })
  await pass(agent, 100)
  t.deepEqual(agent.announced(), [WEB, RANGE].sort())
  await set(store, { nodeName: 'n2' })
  await set(store, { nodeName: 'n1' })
  await pass(agent, COMING_MS - 100)
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' })
  await pass(agent, LEAVING_MS)
  t.deepEqual(agent.announced(), [RANGE])
  await set(store, { nodeName: 'n1' })
  await pass(agent, COMING_MS - 100)
  t.deepEqual(agent.announced(), [RANGE], 'the time begins anew')
  agent.close()
})

test('while the one endpoint moves to this node, the one that it comes from goes on announcing until this one announces too', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const [from, to] = [await anAgent(store), await anAgent(store, undefined, 'n2')]
  const both = () => [from, to].map(each => each.announced().filter(prefix => prefix.endsWith(WEB)))
  t.deepEqual(both(), [[WEB], []])
  await set(store, { nodeName: 'n1' }, { nodeName: 'n2' })
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' })
  t.deepEqual(both(), [[`-${WEB}`], []])
  for (const each of [from, to]) await pass(each)
  t.deepEqual(both(), [[`-${WEB}`], [WEB]])
  for (const each of [from, to]) await pass(each)
  t.deepEqual(both(), [[], [WEB]])
  for (const each of [from, to]) each.close()
})

test('an endpoint that ends while its prefix leaves, and one that is no more ready, withdraw it at once; one that comes keeps it', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const agent = await anAgent(store)
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' })
  await set(store, { nodeName: 'n2' })
  t.deepEqual(agent.announced(), [RANGE])
  await set(store, { nodeName: 'n1' }, { nodeName: 'n2' })
  await pass(agent)
  await set(store, { nodeName: 'n1', ready: false }, { nodeName: 'n2' })
  t.deepEqual(agent.announced(), [RANGE])
  await set(store, { nodeName: 'n1' }, { nodeName: 'n2' })
  await pass(agent)
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n2' })
  await set(store, { nodeName: 'n1', ready: false, terminating: true }, { nodeName: 'n1' })
  t.deepEqual(agent.announced(), [WEB, RANGE].sort())
  const before = agent.flushes()
  await pass(agent, 2 * LEAVING_MS)
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
  await pass(agent, LEAVING_MS)
  t.deepEqual(agent.announced(), [])
  await label({})
  await pass(agent)
  t.deepEqual(agent.announced(), [RANGE, WEB].sort())
  agent.close()
})

test('whatever a Service says, the address of a node is not announced for it', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const agent = await anAgent(store)
  await store.updateStatus('Service', web('203.0.113.12'))
  await turns()
  await pass(agent)
  t.deepEqual(agent.announced(), [RANGE])
  await store.delete('Node', 'n2')
  await store.updateStatus('Service', web('203.0.113.13'))
  await turns()
  await pass(agent)
  t.deepEqual(agent.announced(), [RANGE, '203.0.113.13/32'].sort())
  agent.close()
})

test('a range that begins at the address of a node is announced, and that address alone is not', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig({ serviceLoadBalancerIPs: [{ cidr: '203.0.113.12/30' }] }))
  const agent = await anAgent(store)
  await store.updateStatus('Service', web('203.0.113.12'))
  await turns()
  await pass(agent)
  t.deepEqual(agent.announced(), ['203.0.113.12/30'])
  agent.close()
})

test('of a Service with very many addresses 256 are announced, and the node says so until it has fewer', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const agent = await anAgent(store)
  const many = (count: number) => {
    const ingress = Array.from({ length: count }, (_, i) => ({ ip: `203.0.113.${i}` }))
    return { ...web(), status: { loadBalancer: { ingress: [...ingress, { ip: '203.0.113.255' }] } } }
  }
  await store.updateStatus('Service', many(256))
  await turns()
  await pass(agent)
  t.deepEqual([agent.announced().length, agent.told()], [256, ['TooManyAddresses']], 'but for the address of n2')
  await store.updateStatus('Service', many(255))
  await turns()
  await pass(agent)
  t.deepEqual([agent.announced().length, agent.told()], [256, []])
  agent.close()
})

test('while the API server is away everything stays announced, and after a restart without it, from the first moment on', async t => {
  const store = await aCluster()
  await store.create('BGPConfiguration', aConfig())
  const database = openDatabase(':memory:')
  const first = await anAgent(store, database)
  await pass(first, 60_000)
  store.disconnect()
  await pass(first, 3_600_000)
  t.deepEqual(first.announced(), [RANGE, WEB].sort())
  first.close()
  const second = await anAgent(store, database)
  t.deepEqual(second.atFirst, [RANGE, WEB].sort())
  t.deepEqual(second.announced(), [RANGE, WEB].sort())
  second.close()
})
