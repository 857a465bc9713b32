// What the rooms hear when an object of the cluster changes: the difference, and nothing where nothing is used.
import test from 'ava'
import { ClusterFeed } from '../../agent/cluster-feed.ts'
import { ClusterView } from '../../agent/cluster-view.ts'
import { Routing } from '../../agent/routing.ts'
import { ServiceFeed } from '../../agent/service-feed.ts'
import { SessionLog } from '../../agent/status/session-log.ts'
import { BGP_ANNOTATION, NODE_ANNOTATION } from '../../api/core.ts'
import type { Condition } from '../../api/status.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Pool } from '../../felix/input.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool, aResource } from '../datastore/objects.ts'

const at = (name: string, address: string, extra: Record<string, string> = {}) =>
  aNode(name, { annotations: { [NODE_ANNOTATION.ipv4Address]: `${address}/24`, ...extra } })

const turns = async () => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
}

async function aFeed() {
  const store = createFakeStore()
  await store.create('Node', at('n1', '192.0.2.11'))
  await store.create('Node', at('n2', '192.0.2.12'))
  await store.create('IPPool', aPool('a'))
  const heard: string[] = []
  const reports = new Map<string, readonly Condition[]>()
  let changes = 0
  const clock = new ManualClock()
  const caches = openCaches(store, { database: openDatabase(':memory:'), clock, log: silentLog })
  const view = new ClusterView(caches, 'n1')
  const changed = () => {
    changes++
    setImmediate(() => feed.tell())
  }
  const feed: ClusterFeed = new ClusterFeed({
    nodeName: 'n1',
    view,
    secrets: { want: () => undefined, onChange: () => undefined },
    services: new ServiceFeed({ nodeName: 'n1', view, clock, changed }),
    felix: {
      set: (kind, key, value) => void heard.push(`${kind} ${key}${value === undefined ? ' gone' : ''}`),
      configure: ({ config, ...others }) =>
        void heard.push(
          'peering' in others
            ? `peering ${others.peering?.ipv4}`
            : `config ${config?.vxlanMtu}${config?.resilient ? ' resilient' : ''}`,
        ),
    },
    report: (source, conditions) => void reports.set(source, conditions),
    changed,
  })
  caches.start()
  await turns()
  const take = () => heard.splice(0)
  return { store, feed, view, clock, take, reports, changes: () => changes }
}

test('felix hears of each pool and each other node once', async t => {
  const { take } = await aFeed()
  t.deepEqual(take().sort(), ['config 0', 'pool a', 'remote n2'])
})

test('a heartbeat of a node tells nobody anything', async t => {
  const { store, take, changes } = await aFeed()
  take()
  const before = changes()
  const node = await store.get('Node', 'n2')
  const conditions = [{ type: 'Ready', status: 'True', lastHeartbeatTime: '2026-01-01T00:00:00Z' }]
  await store.updateStatus('Node', { ...node, status: { ...node.status, conditions } })
  await turns()
  t.deepEqual(take(), [])
  t.is(changes(), before)
})

test('a node whose address becomes unreadable stays for felix, and one that goes is gone', async t => {
  const { store, take } = await aFeed()
  take()
  const node = await store.get('Node', 'n2')
  await store.update('Node', {
    ...node,
    metadata: { ...node.metadata, annotations: { [NODE_ANNOTATION.ipv4Address]: 'none' } },
  })
  await turns()
  t.deepEqual(take(), ['remote n2'], 'with the same address, and without its tunnels')
  await store.delete('Node', 'n2')
  await turns()
  t.deepEqual(take(), ['remote n2 gone'])
})

test('a FelixConfiguration for this node comes before that of the cluster, and one for another node is nothing to it', async t => {
  const { store, take } = await aFeed()
  take()
  const put = async (name: string, vxlanMTU: number) => {
    await store.create(
      'FelixConfiguration',
      aResource('FelixConfiguration', { metadata: { name }, spec: { vxlanMTU } }),
    )
    await turns()
    return take().at(-1)
  }
  t.is(await put('node.n1', 1300), 'config 1300')
  t.is(await put('default', 1400), 'config 1300')
  t.is(await put('node.n2', 1200), 'config 1300')
  await store.delete('FelixConfiguration', 'node.n1')
  await turns()
  t.is(take().at(-1), 'config 1400')
})

test('a new FelixConfiguration and its end change the settings', async t => {
  const { store, take } = await aFeed()
  take()
  const spec = { vxlanMTU: 1300 }
  await store.create('FelixConfiguration', aResource('FelixConfiguration', { metadata: { name: 'default' }, spec }))
  await turns()
  await store.delete('FelixConfiguration', 'default')
  await turns()
  t.deepEqual(take(), ['config 1300', 'config 0'])
})

test('the annotation of the BGPConfiguration says which paths are used together, and one that makes no sense is reported', async t => {
  const { store, feed, reports } = await aFeed()
  feed.open({ address: '192.0.2.11', subnets: ['192.0.2.0/24'] })
  const shared: unknown[] = []
  const routing = {
    ...{ trust: () => undefined, admit: () => undefined, identify: async () => undefined, drain: () => undefined },
    ...{ change: () => undefined, announce: () => undefined, share: (rule: unknown) => void shared.push(rule) },
    ...{
      setPools: () => undefined,
      nextHops: { recheck: () => undefined, setPeerWay: () => undefined },
      witness: () => undefined,
    },
  }
  const told = async () => {
    await turns()
    await feed.flush(routing, { blocks: [], own: [] })
    const reasons = reports.get('peers')?.map(({ reason }) => reason) ?? []
    return [shared.at(-1), reasons.includes('BadMultipath')]
  }
  t.deepEqual(await told(), [{ paths: 16, of: 'either' }, false])
  const metadata = (text: string) => ({ name: 'default', annotations: { [BGP_ANNOTATION.multipath]: text } })
  await store.create('BGPConfiguration', aResource('BGPConfiguration', { metadata: metadata('paths=4 of=ebgp') }))
  t.deepEqual(await told(), [{ paths: 4, of: 'ebgp' }, false])
  const put = async (text: string) => {
    const object = await store.get('BGPConfiguration', 'default')
    await store.update('BGPConfiguration', { ...object, metadata: { ...object.metadata, ...metadata(text) } })
    return told()
  }
  t.deepEqual(await put('off'), [undefined, false])
  t.deepEqual(await put('on'), [{ paths: 16, of: 'either' }, true])
})

test('felix hears of resilient groups when the annotation of the BGPConfiguration asks for them, and when it does not any more', async t => {
  const { store, take } = await aFeed()
  take()
  const annotations = { [BGP_ANNOTATION.multipath]: 'resilient' }
  await store.create('BGPConfiguration', aResource('BGPConfiguration', { metadata: { name: 'default', annotations } }))
  await turns()
  t.deepEqual(take(), ['config 0 resilient'])
  const object = await store.get('BGPConfiguration', 'default')
  await store.update('BGPConfiguration', { ...object, metadata: { ...object.metadata, annotations: {} } })
  await turns()
  t.deepEqual(take(), ['config 0'])
})

test('which pools ask for IP-in-IP is told for the next hops of routers, and addresses that nodes get or lose are told once', async t => {
  const { store, feed } = await aFeed()
  feed.open({ address: '192.0.2.11', subnets: ['192.0.2.0/24'] })
  const told: string[] = []
  const routing = {
    ...{
      trust: () => undefined,
      admit: () => undefined,
      identify: async () => undefined,
      drain: () => undefined,
      share: () => undefined,
    },
    ...{ change: () => undefined, announce: () => undefined },
    setPools: (pools: Iterable<Pool>) => void told.push([...pools].map(({ cidr, ipip }) => `${cidr} ${ipip}`).join()),
    witness: () => undefined,
    nextHops: {
      recheck: (addresses: Iterable<string>) => void told.push(`nodes ${[...addresses].join()}`),
      setPeerWay: () => undefined,
    },
  }
  const flushed = async () => {
    await turns()
    told.length = 0
    await feed.flush(routing, { blocks: [], own: [] })
    return told
  }
  const pool = (name: string, cidr: string, spec: object) =>
    store.create('IPPool', aResource('IPPool', { metadata: { name }, spec: { cidr, ...spec } }))
  await pool('x', '10.54.0.0/16', { ipipMode: 'CrossSubnet' })
  await pool('y', '10.55.0.0/16', { vxlanMode: 'Always' })
  await pool('z', '10.56.0.0/16', {})
  const [pools] = (await flushed()) as [string]
  t.is(pools, '10.244.0.0/16 Never,10.54.0.0/16 CrossSubnet,10.55.0.0/16 Never,10.56.0.0/16 Never')
  const annotations = { [NODE_ANNOTATION.ipv4Address]: '192.0.2.77/24' }
  await store.create('Node', aNode('n77', { annotations }))
  t.deepEqual(await flushed(), [pools, 'nodes 192.0.2.77'])
  t.deepEqual(await flushed(), [pools, 'nodes '])
  await store.delete('Node', 'n77')
  t.deepEqual(await flushed(), [pools, 'nodes 192.0.2.77'])
})

test('a field without effect is reported while it is set', async t => {
  const { store, reports } = await aFeed()
  const felix = { metadata: { name: 'default' }, spec: { interfacePrefix: 'tap' } }
  await store.create('FelixConfiguration', aResource('FelixConfiguration', felix))
  await turns()
  const object = { kind: 'FelixConfiguration', name: 'default' }
  t.like(reports.get('fields')?.[0], { type: 'FieldsSupported', object })
  await store.delete('FelixConfiguration', 'default')
  await turns()
  t.deepEqual(reports.get('fields'), [])
})

test('sessions, blocks and refusals go out with the flush, from the state as it is then', async t => {
  const { store, feed, reports } = await aFeed()
  const clock = new ManualClock()
  const sessions = new SessionLog({ clock, log: silentLog })
  const routing = new Routing({
    ...{ transport: new MemoryNetwork().host('192.0.2.11'), clock, log: silentLog, nodeName: 'n1' },
    ...{ capabilities: { ipip: true, vxlan: true }, restarting: false, sessions },
    ...{ learned: () => undefined, settled: async () => {}, converged: () => undefined },
  })
  t.teardown(() => routing.close())
  const peer = (name: string) =>
    aResource('BGPPeer', { metadata: { name }, spec: { peerIP: '192.0.2.1', asNumber: 65001 } })
  await store.create('BGPPeer', peer('a'))
  await store.create('BGPPeer', peer('b'))
  await store.create('Node', at('n3', '192.0.2.13', { [NODE_ANNOTATION.asNumber]: 'many' }))
  await turns()
  feed.open({ address: '192.0.2.11', subnets: ['192.0.2.0/24'] })
  await feed.flush(routing, { blocks: ['10.244.0.0/26'], own: [] })
  t.deepEqual(
    routing
      .peers()
      .map(({ name }) => name)
      .sort(),
    ['Global_192_0_2_1', 'Mesh_192_0_2_12', 'Mesh_192_0_2_13'],
  )
  t.like(reports.get('peers')?.[0], { reason: 'AddressClash', object: { kind: 'BGPPeer', name: 'b' } })
  t.like(feed.unreadable()[0], { reason: 'BadAnnotation', object: { kind: 'Node', name: 'n3' } })
  t.is(routing.explain('10.244.0.0/26').candidates.length, 1)
})

test('pools and settings of many objects are passed on once after a burst, not once for each object', async t => {
  const store = createFakeStore()
  for (let i = 0; i < 100; i++) {
    await store.create('IPPool', aPool(`p${i}`, { cidr: `10.${i}.0.0/16` }))
    const [metadata, spec] = [{ name: `node.n${i}` }, { listenPort: 1000 + i, nodeMeshMaxRestartTime: '1m' }]
    await store.create('BGPConfiguration', aResource('BGPConfiguration', { metadata, spec }))
  }
  const caches = openCaches(store, { database: openDatabase(':memory:'), clock: new ManualClock(), log: silentLog })
  const inner = new ClusterView(caches, 'n1')
  const looks = new Map<string, number>()
  const reports: number[] = []
  let ports: readonly number[] = []
  let pools = 0
  let scheduled = false
  const feed: ClusterFeed = new ClusterFeed({
    nodeName: 'n1',
    view: {
      onChange: (kind, listen) => inner.onChange(kind, listen),
      get: (kind, name) => inner.get(kind, name),
      all: kind => {
        looks.set(kind, (looks.get(kind) ?? 0) + 1)
        return inner.all(kind)
      },
    },
    secrets: { want: () => undefined, onChange: () => undefined },
    services: { setRanges: () => undefined, setExcluded: () => undefined, take: () => new Map(), refused: () => [] },
    felix: {
      set: kind => void (kind === 'pool' && pools++),
      configure: ({ config }) => {
        ports = config?.nat?.bgpPorts ?? []
      },
    },
    report: (_, conditions) => void reports.push(conditions.length),
    changed: () => {
      if (scheduled) return
      scheduled = true
      setImmediate(() => {
        scheduled = false
        feed.tell()
      })
    },
  })
  caches.start()
  await turns()
  t.is(pools, 100)
  t.is(ports.length, 101)
  t.is(reports.at(-1), 100)
  t.true(Math.max(...looks.values()) < 10, JSON.stringify([...looks]))
  t.true(reports.length < 10)
})

test('the address that pods peer with is none of a subnet of this node, whichever interface that is of', async t => {
  const { store, feed, take } = await aFeed()
  feed.open({ address: '192.0.2.11', subnets: ['192.0.2.0/24'] })
  const spec = { localWorkloadPeeringIPV4: '198.51.100.9' }
  await store.create('BGPConfiguration', aResource('BGPConfiguration', { metadata: { name: 'default' }, spec }))
  await turns()
  t.deepEqual(
    take().filter(each => each.startsWith('peering')),
    ['peering 198.51.100.9'],
  )
  feed.open({ address: '192.0.2.11', subnets: ['192.0.2.0/24', '198.51.100.0/24'] })
  feed.tell()
  t.deepEqual(take(), ['peering undefined'])
})
