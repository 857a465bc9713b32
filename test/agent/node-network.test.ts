// One node between its cluster and its rooms: what it tells felix, the other nodes and people, in which order, and what it
// waits for.
import test, { type ExecutionContext } from 'ava'
import { ClusterView } from '../../agent/cluster-view.ts'
import { NodeNetwork } from '../../agent/node-network.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Condition } from '../../api/status.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Assigned, AssignRefusal, OwnBlock } from '../../ipam/port.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool } from '../datastore/objects.ts'

const turns = async () => {
  for (let i = 0; i < 30; i++) await new Promise(setImmediate)
}

const NONE_LEFT: AssignRefusal = { refused: 'exhausted', message: 'no free block is left', remedy: 'add an IPPool' }

type Options = { tunnels?: { ipip: boolean; vxlan: boolean; vxlanIpv6?: boolean }; nodeIp?: string }

/** Node n1 at 192.0.2.11, started, in a cluster that it sees once `see` was called. */
async function aNetwork(t: ExecutionContext, { tunnels = { ipip: false, vxlan: false }, nodeIp }: Options = {}) {
  const clock = new ManualClock()
  const store = createFakeStore()
  await store.create('Node', aNode('n1'))
  await store.create('IPPool', aPool('a'))
  const kernel = new FakeWorld().kernel()
  const eth0 = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.addAddress({ ifindex: eth0.index, address: '192.0.2.11', length: 24, scope: ROUTE_SCOPE.universe })
  const caches = openCaches(store, { database: openDatabase(':memory:'), clock, log: silentLog })
  const view = new ClusterView(caches, 'n1')
  const [told, asked] = [[] as string[], [] as ((answer: readonly Assigned[] | AssignRefusal) => void)[]]
  const reports = new Map<string, readonly Condition[]>()
  let blocks: OwnBlock[] = []
  let [borrowed, lent]: [readonly string[], ReadonlyMap<string, string>] = [[], new Map()]
  let blocksChanged: (all: readonly OwnBlock[]) => void = () => undefined
  let needed = tunnels
  const network = new NodeNetwork({
    ...{
      nodeName: 'n1',
      nodeIp: nodeIp ?? '192.0.2.11',
      kernel,
      store,
      clock,
      view,
      log: silentLog,
      bgpLog: silentLog,
    },
    transport: new MemoryNetwork().host('192.0.2.11'),
    routeProtocol: 80,
    podAddresses: () => [],
    floating: () => [],
    secrets: { want: () => undefined, onChange: () => undefined },
    felix: {
      set: (kind, key, value) => void told.push(`${kind} ${key}${value === undefined ? ' gone' : ''}`),
      configure: ({ node, uplinkMtu }) => {
        if (node !== undefined) told.push(`node ${node.ipv4} vxlan ${node.vxlanTunnelAddress}`)
        if (node?.ipv6 !== undefined) told.push(`ipv6 ${node.ipv6} over ${node.ipv6Uplink ?? 'the same'}`)
        if (uplinkMtu !== undefined) told.push(`uplink ${uplinkMtu}`)
      },
      complete: what => void told.push(`complete ${what}`),
      tunnelsNeeded: () => ({ vxlanIpv6: false, ...needed, vxlanIpv4: needed.vxlan, vxlanOverIpv6: false }),
      applied: async () => undefined,
    },
    allocator: {
      // pools of whatever encapsulation have no more than those of the tunnel's
      assign: ({ tunnel }) =>
        tunnel === undefined ? Promise.resolve(NONE_LEFT) : new Promise(resolve => asked.push(resolve)),
      held: () => new Map(),
      isServed: () => true,
      isCarried: () => true,
      rename: () => undefined,
      release: async () => [],
      blocks: () => blocks,
      borrowed: () => borrowed,
      lentTo: () => lent,
      blocksKnown: true,
      connection: { connected: true },
      onBlocks: listen => {
        blocksChanged = listen
        return () => undefined
      },
      conditions: () => [],
    },
    status: { report: (source, conditions) => void reports.set(source, conditions) },
    record: () => undefined,
    noteLearned: () => undefined,
  })
  const close = async () => {
    view.close()
    await network.close()
    caches.close()
  }
  t.teardown(close)
  network.start({ capabilities: { ipip: true, vxlan: true }, hadRoutes: false })
  await turns()
  const annotation = async (name: keyof typeof NODE_ANNOTATION) =>
    (await store.get('Node', 'n1')).metadata.annotations?.[NODE_ANNOTATION[name]]
  return {
    ...{ network, kernel, store, clock, told, asked, reports, annotation, close },
    take: () => told.splice(0),
    see: async () => {
      caches.start()
      await turns()
    },
    own: (...cidrs: string[]) => {
      blocks = cidrs.map(cidr => ({ cidr, pool: 'a', size: 64, used: 0 }))
      blocksChanged(blocks)
    },
    lend: (now: { borrowed?: string[]; lent?: Record<string, string> }) => {
      borrowed = now.borrowed ?? []
      lent = new Map(Object.entries(now.lent ?? {}))
      blocksChanged(blocks)
    },
    need: (now: typeof needed) => {
      needed = now
      network.changed()
    },
  }
}

test('felix is told of borrowed addresses as of own blocks, and of what is lent of those and to whom', async t => {
  const { take, own, lend } = await aNetwork(t)
  own('10.0.0.0/26')
  lend({ borrowed: ['10.0.9.1/32'], lent: { '10.0.0.5/32': 'n2', '10.0.0.6/32': 'n2' } })
  lend({ lent: { '10.0.0.6/32': 'n3' } })
  await turns()
  t.deepEqual(
    take().filter(line => /^(ownBlock|lent) /.test(line)),
    [
      ...['ownBlock 10.0.0.0/26', 'ownBlock 10.0.9.1/32', 'lent 10.0.0.5/32', 'lent 10.0.0.6/32'],
      ...['ownBlock 10.0.9.1/32 gone', 'lent 10.0.0.5/32 gone', 'lent 10.0.0.6/32'],
    ],
  )
})

test('a node that has not seen its cluster tells felix its blocks, which it knows itself, and nothing is complete', async t => {
  const { network, take, own, reports } = await aNetwork(t)
  own('10.0.0.0/26', '10.0.1.0/26')
  own('10.0.1.0/26')
  await turns()
  const told = take()
  t.deepEqual(
    told.filter(line => line.startsWith('ownBlock')),
    ['ownBlock 10.0.0.0/26', 'ownBlock 10.0.1.0/26', 'ownBlock 10.0.0.0/26 gone'],
  )
  t.deepEqual(
    told.filter(line => line.startsWith('complete') || line.startsWith('node')),
    [],
  )
  t.regex(network.problem() ?? '', /the cluster was never seen: /)
  t.is(reports.get('api')?.[0]?.reason, 'Disconnected')
  t.deepEqual(network.routing?.explain('10.0.0.0/26').candidates ?? [], [])
})

test('once the cluster is seen felix hears who this node is before that everything is complete, and so do other nodes', async t => {
  const { network, take, see, annotation, reports } = await aNetwork(t)
  await see()
  const told = take()
  const complete = told.indexOf('complete datastore')
  for (const line of ['uplink 1500', 'pool a', 'node 192.0.2.11/24 vxlan undefined']) {
    t.true(told.includes(line), `${line}: ${told.join('; ')}`)
    t.true(told.indexOf(line) < complete, line)
  }
  t.is(await annotation('ipv4Address'), '192.0.2.11/24')
  t.is(network.problem(), undefined)
  t.is(network.address?.ipv4?.uplink, 'eth0')
  t.deepEqual(reports.get('api'), [])
})

test('felix hears over which interface the IPv6 address is, where that is another one', async t => {
  const { kernel, store, take, see } = await aNetwork(t)
  const { index: ifindex } = await kernel.createLink({ kind: 'dummy', name: 'eth1' })
  await kernel.addAddress({ ifindex, address: '2001:db8::11', length: 64, scope: ROUTE_SCOPE.universe })
  const annotations = { [NODE_ANNOTATION.ipv6Address]: '2001:db8::11/64' }
  await store.patch('Node', 'n1', { metadata: { annotations } })
  await see()
  t.true(take().includes('ipv6 2001:db8::11/64 over eth1'))
})

test('many changes in one turn of the event loop are one pass', async t => {
  const { network, take, see } = await aNetwork(t)
  await see()
  take()
  for (let i = 0; i < 100; i++) network.changed()
  await turns()
  t.deepEqual(
    take().filter(line => line.startsWith('complete')),
    ['complete datastore'],
  )
})

test('while IPAM has not given a tunnel its address the node is described to nobody; then with all of them', async t => {
  const { take, see, asked, annotation, network } = await aNetwork(t, { tunnels: { ipip: false, vxlan: true } })
  await see()
  t.is(asked.length, 1)
  t.deepEqual(
    take().filter(line => line.startsWith('node') || line.startsWith('complete')),
    [],
  )
  t.is(await annotation('ipv4Address'), undefined)
  asked[0]!([{ address: '10.0.0.7', family: 'ipv4', block: '10.0.0.0/26' }])
  await turns()
  t.true(take().includes('node 192.0.2.11/24 vxlan 10.0.0.7'))
  t.is(await annotation('vxlanTunnelAddress'), '10.0.0.7')
  t.deepEqual(network.tunnels, { vxlan: '10.0.0.7' })
})

test('a tunnel for which IPAM has no address keeps the node from nothing else, and the condition says so', async t => {
  const { take, see, asked, reports } = await aNetwork(t, { tunnels: { ipip: false, vxlan: true } })
  await see()
  asked[0]!({ refused: 'exhausted', message: 'no free block is left', remedy: 'add an IPPool' })
  await turns()
  t.true(take().includes('complete datastore'))
  t.like(reports.get('tunnels')?.[0], { type: 'TunnelsAddressed', remedy: 'add an IPPool' })
})

test('the IPv6 address of the tunnels keeps the node from nothing while IPAM is asked, and is told when it is there', async t => {
  const { take, see, asked, annotation, network, reports } = await aNetwork(t, {
    tunnels: { ipip: false, vxlan: false, vxlanIpv6: true },
  })
  await see()
  t.is(asked.length, 1)
  t.true(take().includes('complete datastore'))
  t.is(await annotation('vxlanTunnelAddressV6'), undefined)
  asked[0]!([{ address: 'fd00::7', family: 'ipv6', block: 'fd00::/122' }])
  await turns()
  t.is(await annotation('vxlanTunnelAddressV6'), 'fd00::7')
  t.deepEqual(network.tunnels, { vxlanV6: 'fd00::7' })
  t.deepEqual(reports.get('tunnels'), [])
})

test('without an IPv6 address of the tunnels the condition names the node, and says what suffers', async t => {
  const { see, asked, reports } = await aNetwork(t, { tunnels: { ipip: false, vxlan: true, vxlanIpv6: true } })
  await see()
  for (const answer of asked) answer(NONE_LEFT)
  await turns()
  t.deepEqual(
    reports.get('tunnels')?.map(({ object }) => `${object?.kind} ${object?.name}`),
    ['Link vxlan.calico', 'Node n1'],
  )
  t.is(
    reports.get('tunnels')?.[1]?.message,
    'IPv6 of VXLAN, for what this node itself begins to pods: no free block is left',
  )
})

test('what somebody else wrote over the annotations of this node is put right', async t => {
  const { store, see, annotation } = await aNetwork(t)
  await see()
  const patch = { metadata: { annotations: { [NODE_ANNOTATION.ipv4Address]: '203.0.113.1/24' } } }
  await store.patch('Node', 'n1', patch)
  await turns()
  t.is(await annotation('ipv4Address'), '192.0.2.11/24')
})

test('a node without an address says why and serves no pods, and looks again by itself', async t => {
  const { network, take, see, reports, clock, store } = await aNetwork(t, { nodeIp: 'auto' })
  await see()
  t.regex(network.problem() ?? '', /no IPv4 default route to tell the node address by; give --node-ip/)
  t.is(reports.get('address')?.length, 1)
  t.false(take().includes('complete datastore'))
  const addresses = [{ type: 'InternalIP', address: '192.0.2.11' }]
  await store.updateStatus('Node', { ...(await store.get('Node', 'n1')), status: { addresses } })
  clock.advance(60_000)
  await turns()
  t.is(network.problem(), undefined)
  t.deepEqual(reports.get('address'), [])
  t.true(take().includes('complete datastore'))
})

test('closed, a node begins no pass and leaves no timer', async t => {
  const { network, take, see, close, need, own, clock } = await aNetwork(t)
  await see()
  await close()
  take()
  network.changed()
  need({ ipip: true, vxlan: true })
  await turns()
  t.deepEqual(take(), [])
  t.is(clock.pending, 0)
  own('10.0.0.0/26')
  await turns()
  t.deepEqual(
    take().filter(line => line.startsWith('complete')),
    [],
  )
})

test('a pool that changes, and blocks that come, let a tunnel without an address ask again at once', async t => {
  const { see, asked, store, own, clock } = await aNetwork(t, { tunnels: { ipip: true, vxlan: false } })
  await see()
  const refuse = async () => {
    asked.at(-1)!({ refused: 'exhausted', message: 'no pool', remedy: 'add one' })
    await turns()
  }
  for (let i = 0; i < 8; i++) {
    await refuse()
    clock.advance(10_000)
    await turns()
  }
  await refuse()
  const before = asked.length
  await store.create('IPPool', aPool('b', { cidr: '10.99.0.0/16' }))
  await turns()
  t.is(asked.length, before + 1)
  await refuse()
  own('10.99.0.0/26')
  await turns()
  t.is(asked.length, before + 2)
})
