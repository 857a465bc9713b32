// CalicoNodeStatus objects of this node, filled by its agent.
import test from 'ava'
import { NodeStatuses } from '../../agent/node-statuses.ts'
import { calicoNodeStatus, type Observed } from '../../agent/status/calico-node-status.ts'
import type { Resource } from '../../api/kinds.ts'
import { validate } from '../../api/validate.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { Refused } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

const OBSERVED: Observed = {
  ...{ ready: true, version: '0.1.0', startedMs: 0, address: '192.0.2.1', routerId: '192.0.2.1' },
  peers: [
    { address: '192.0.2.2', state: 'Established', sinceMs: 1000, origin: 'mesh' },
    { address: '192.0.2.3', state: 'Active', sinceMs: 2000, origin: 'node' },
    { address: '2001:db8::2', state: 'Established', sinceMs: 3000, origin: 'global' },
  ],
  blocks: ['10.244.0.0/26'],
  learned: [
    { prefix: '10.244.0.64/26', nextHop: '192.0.2.2', interface: 'tunl0' },
    { prefix: '10.9.0.0/16', nextHop: '192.0.2.254', interface: 'eth0' },
  ],
}

test('a node of IPv6 alone has no speaker of IPv4, and an identifier that is none of its addresses', t => {
  const own = { address: undefined, ipv6Address: '2001:db8::1', routerId: '109.174.215.226' }
  const { agent } = calicoNodeStatus(['Agent'], { ...OBSERVED, ...own }, 0) as { agent: object }
  t.like(agent, { birdV4: null, birdV6: { state: 'Ready', routerID: '109.174.215.226' } })
})

test('a status has the parts that were asked for, in Calico’s words, and passes Calico’s schema', t => {
  const status = calicoNodeStatus(['Agent', 'BGP', 'Routes'], OBSERVED, 5000)
  t.deepEqual(status, {
    agent: {
      birdV4: {
        ...{ state: 'Ready', version: 'margay 0.1.0', lastBootTime: '1970-01-01T00:00:00Z', routerID: '192.0.2.1' },
      },
      birdV6: null,
    },
    bgp: {
      ...{ numberEstablishedV4: 1, numberNotEstablishedV4: 1, numberEstablishedV6: 1, numberNotEstablishedV6: 0 },
      peersV4: [
        { peerIP: '192.0.2.2', type: 'NodeMesh', state: 'Established', since: '1970-01-01T00:00:01Z' },
        { peerIP: '192.0.2.3', type: 'NodePeer', state: 'Active', since: '1970-01-01T00:00:02Z' },
      ],
      peersV6: [{ peerIP: '2001:db8::2', type: 'GlobalPeer', state: 'Established', since: '1970-01-01T00:00:03Z' }],
    },
    routes: {
      routesV4: [
        { destination: '10.244.0.0/26', learnedFrom: { sourceType: 'Static' }, type: 'FIB' },
        {
          ...{ destination: '10.244.0.64/26', gateway: '192.0.2.2', interface: 'tunl0', type: 'FIB' },
          learnedFrom: { sourceType: 'NodeMesh', peerIP: '192.0.2.2' },
        },
        {
          ...{ destination: '10.9.0.0/16', gateway: '192.0.2.254', interface: 'eth0', type: 'FIB' },
          learnedFrom: { sourceType: 'BGPPeer' },
        },
      ],
      routesV6: [],
    },
    lastUpdated: '1970-01-01T00:00:05Z',
  })
  const spec = { node: 'n1', classes: ['Agent', 'BGP', 'Routes'], updatePeriodSeconds: 10 }
  t.false(Array.isArray(validate('CalicoNodeStatus', { metadata: { name: 'x' }, spec, status })))
  t.like(calicoNodeStatus(['BGP'], OBSERVED, 0), { agent: null, routes: null })
})

test('a route over several paths is told once for each', t => {
  const paths = [{ nextHop: '192.0.2.2' }, { nextHop: '192.0.2.254', interface: 'eth0' }]
  const learned = [{ prefix: '203.0.113.7/32', nextHop: '192.0.2.2', paths }]
  const { routes } = calicoNodeStatus(['Routes'], { ...OBSERVED, blocks: [], learned }, 0) as { routes: object }
  t.deepEqual(routes, {
    routesV4: [
      {
        ...{ destination: '203.0.113.7/32', gateway: '192.0.2.2', type: 'FIB' },
        learnedFrom: { sourceType: 'NodeMesh', peerIP: '192.0.2.2' },
      },
      {
        ...{ destination: '203.0.113.7/32', gateway: '192.0.2.254', interface: 'eth0', type: 'FIB' },
        learnedFrom: { sourceType: 'BGPPeer' },
      },
    ],
    routesV6: [],
  })
})

test('of thousands of peers the numbers are whole and the list is bounded', t => {
  const peers = Array.from({ length: 3000 }, (_, i) => ({
    ...{ address: `10.0.${i >> 8}.${i & 255}`, state: 'Established', sinceMs: 0, origin: 'mesh' as const },
  }))
  const { bgp } = calicoNodeStatus(['BGP'], { ...OBSERVED, peers }, 0) as {
    bgp: { numberEstablishedV4: number; peersV4: [] }
  }
  t.deepEqual([bgp.numberEstablishedV4, bgp.peersV4.length], [3000, 1000])
})

type Wanted = Resource<'CalicoNodeStatus'>
const wanted = (name: string, node: string, updatePeriodSeconds?: number): Wanted =>
  ({
    metadata: { name },
    spec: { node, classes: ['Agent'], ...(updatePeriodSeconds === undefined ? {} : { updatePeriodSeconds }) },
  }) as Wanted

/** A node n1 with its agent's part, over a store that counts writes. */
async function started(objects: readonly Wanted[], refuses: (name: string) => boolean = () => false) {
  const clock = new ManualClock()
  const store = createFakeStore()
  for (const object of objects) await store.create('CalicoNodeStatus', object)
  const writes: string[] = []
  const statuses = new NodeStatuses({
    ...{ nodeName: 'n1', clock, log: silentLog, observe: () => OBSERVED },
    store: {
      watch: store.watch.bind(store),
      patch: async (kind, name, patch, options) => {
        writes.push(name)
        if (refuses(name)) throw new Refused(403, `no right to write ${name}`)
        return store.patch(kind, name, patch, options)
      },
    },
  })
  statuses.start()
  const settled = async (): Promise<void> => {
    for (let turn = 0; turn < 300; turn++) await new Promise(resolve => setImmediate(resolve))
  }
  await settled()
  return {
    ...{ store, writes, statuses },
    advance: async (seconds: number): Promise<void> => {
      clock.advance(seconds * 1000)
      await settled()
    },
    settled,
  }
}

test('an object of this node is filled at once, and again as often as it asks; 0 and nothing mean once', async t => {
  const { store, writes, advance, statuses } = await started([
    ...[wanted('often', 'n1', 10), wanted('once', 'n1', 0), wanted('silent', 'n1'), wanted('other', 'n2', 10)],
  ])
  t.deepEqual(writes.toSorted(), ['often', 'once', 'silent'])
  t.like((await store.get('CalicoNodeStatus', 'once')).status, { agent: { birdV4: { state: 'Ready' } } })
  writes.length = 0
  await advance(9)
  t.deepEqual(writes, [])
  await advance(1)
  await advance(10)
  t.deepEqual(writes, ['often', 'often'])
  await store.delete('CalicoNodeStatus', 'often')
  await advance(100)
  t.deepEqual(writes, ['often', 'often'])
  statuses.close()
})

test('a period is never under five seconds, own writes lead to no others, and a change of the spec is answered at once', async t => {
  const { store, writes, advance, settled, statuses } = await started([wanted('fast', 'n1', 1)])
  await advance(1)
  t.is(writes.length, 1)
  await advance(4)
  t.is(writes.length, 2)
  await store.patch('CalicoNodeStatus', 'fast', { spec: { classes: ['BGP'] } })
  await settled()
  t.is(writes.length, 3)
  t.is((await store.get('CalicoNodeStatus', 'fast')).status?.['agent'], undefined)
  statuses.close()
})

test('of many objects that ask for repetition the 16 newest get it', async t => {
  const all = Array.from({ length: 20 }, (_, i) => wanted(`s${String(i).padStart(2, '0')}`, 'n1', 10))
  const { writes, advance, statuses } = await started(all)
  t.is(writes.length, 20)
  writes.length = 0
  await advance(10)
  // all are of the same second: then the name decides
  const newest = all.slice(4).map(({ metadata }) => metadata.name)
  t.deepEqual(writes.toSorted(), newest)
  statuses.close()
})

test('also of many objects with a period of five seconds the 16 newest are repeated', async t => {
  const all = Array.from({ length: 100 }, (_, i) => wanted(`s${String(i).padStart(2, '0')}`, 'n1', 5))
  const { writes, advance, statuses } = await started(all)
  t.is(writes.length, 100)
  writes.length = 0
  await advance(5)
  await advance(5)
  t.is(writes.length, 32)
  statuses.close()
})

test('of all that were refused one is tried after a pause that grows to five minutes, and the others when it is written', async t => {
  const all = Array.from({ length: 50 }, (_, i) => wanted(`s${i}`, 'n1', i % 2 === 0 ? 5 : 0))
  let refuses = true
  const { store, writes, advance, statuses } = await started(all, () => refuses)
  t.is(writes.length, 50)
  writes.length = 0
  for (let second = 0; second < 3600; second += 30) await advance(30)
  t.true(writes.length >= 12 && writes.length <= 35, `${writes.length} tries in an hour`)
  refuses = false
  await advance(300)
  const filled = (await store.list('CalicoNodeStatus')).filter(({ status }) => status?.['agent'] !== undefined)
  t.is(filled.length, 50)
  statuses.close()
})

test('objects that were refused wait no longer once the API server may be written again', async t => {
  let refuses = true
  const { store, writes, advance, settled, statuses } = await started(
    [wanted('a', 'n1'), wanted('b', 'n1')],
    () => refuses,
  )
  for (let minute = 0; minute < 30; minute++) await advance(60)
  refuses = false
  writes.length = 0
  statuses.retryNow()
  await settled()
  t.is(writes.length, 2)
  const filled = (await store.list('CalicoNodeStatus')).filter(({ status }) => status?.['agent'] !== undefined)
  t.is(filled.length, 2)
  statuses.close()
})

test('an object that is refused for ever does not keep the others from their periods', async t => {
  const { writes, advance, statuses } = await started(
    [wanted('good', 'n1', 10), wanted('bad', 'n1', 10)],
    name => name === 'bad',
  )
  writes.length = 0
  for (let second = 0; second < 600; second += 10) await advance(10)
  t.is(writes.filter(name => name === 'good').length, 60)
  t.true(writes.filter(name => name === 'bad').length < 12)
  statuses.close()
})
