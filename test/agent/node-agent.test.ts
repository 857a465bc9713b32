// Two whole agents over kernels in memory, a store in memory and TCP in memory: what the rooms do together.
import { join } from 'node:path'
import test from 'ava'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { FakeStore } from '../../datastore/fake.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { aNode, aPool, aResource } from '../datastore/objects.ts'
import { aCluster, cni, eventually, learnedRoutes, type Machine, ownRoutes, startAgent } from './machines.ts'

test('two agents learn each other’s blocks, and a pod’s ADD and DEL leave the block as it was', async t => {
  const { store, network, machines } = await aCluster(t)
  const [one, two] = [
    await startAgent(t, machines[0], store, network),
    await startAgent(t, machines[1], store, network),
  ]
  await eventually(
    t,
    'ready',
    () => one.ready() && two.ready(),
    ready => ready,
  )
  const blocks = await eventually(
    t,
    'blocks',
    () => two.allocator.blocks(),
    b => b.length > 0,
  )
  await eventually(
    t,
    'routes of n1',
    () => learnedRoutes(machines[0]),
    routes => routes.includes(`${blocks[0]!.cidr} via 192.0.2.12`),
  )
  const used = () => one.allocator.blocks().reduce((sum, block) => sum + block.used, 0)
  const before = used()
  const added = await cni(one, 'ADD', 'c1')
  t.is(added.exitCode, 0, added.stdout)
  t.is(used(), before + 1)
  t.deepEqual(await cni(one, 'ADD', 'c1'), added, 'ADD again gives the same result')
  t.is((await cni(one, 'DEL', 'c1')).exitCode, 0)
  t.is(used(), before)
})

test('another vxlanMTU in FelixConfiguration becomes the MTU of the tunnel device, of new pods and of running ones', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.delete('IPPool', 'pool')
  const vxlan = { ipipMode: 'Never', vxlanMode: 'Always' }
  await store.create('IPPool', aPool('vxlan', { cidr: '10.245.0.0/16', ...vxlan }))
  const [at] = machines
  const agent = await startAgent(t, at, store, network)
  await eventually(
    t,
    'ready',
    () => agent.ready(),
    ready => ready,
  )
  t.is((await cni(agent, 'ADD', 'c1')).exitCode, 0)
  const mtus = async () => {
    using pod = at.world.kernel().inside('/run/netns/c1')
    const links = [...(await at.world.kernel().links()), (await pod.link('eth0'))!]
    return links
      .flatMap(({ name, kind, mtu }) => (kind === 'veth' || kind === 'vxlan' ? [`${name} ${mtu}`] : []))
      .sort()
  }
  const host = agent.endpoints.live()[0]!.interfaceName
  await eventually(t, 'MTU 1450', mtus, seen => `${seen}` === `${host} 1450,eth0 1450,vxlan.calico 1450`)
  const config = aResource('FelixConfiguration', { metadata: { name: 'default' }, spec: { vxlanMTU: 1300 } })
  await store.create('FelixConfiguration', config)
  await eventually(t, 'MTU 1300', mtus, seen => `${seen}` === `${host} 1300,eth0 1300,vxlan.calico 1300`)
  t.is((await cni(agent, 'ADD', 'c2')).exitCode, 0)
  t.is(agent.endpoints.live().find(({ containerID }) => containerID === 'c2')?.mtu, 1300)
  t.is(agent.conditions().find(({ type }) => type === 'PodMtuApplied')?.status, 'True')
})

test('an agent that starts again never tells the other nodes that its tunnel has no address', async t => {
  const { store, network, machines } = await aCluster(t)
  const said: unknown[] = []
  const patch: FakeStore['patch'] = (kind, name, value, options) => {
    if (kind === 'Node') said.push(value)
    return store.patch(kind, name, value, options)
  }
  const noted = { ...store, patch }
  const address = async () =>
    (await store.get('Node', 'n1')).metadata.annotations?.['projectcalico.org/IPv4IPIPTunnelAddr']
  const first = await startAgent(t, machines[0], noted, network)
  await eventually(t, 'address of the tunnel', address, text => text !== undefined)
  await first.close()
  const before = await address()
  const again = await startAgent(t, machines[0], noted, network)
  await eventually(
    t,
    'ready',
    () => again.ready(),
    ready => ready,
  )
  t.is(await address(), before)
  t.true(said.length > 0)
  for (const value of said) t.notRegex(JSON.stringify(value), /IPv4IPIPTunnelAddr":null/)
})

test('objects of other nodes and faulty configuration never make a node unready, and each fault is told', async t => {
  const { store, network, machines } = await aCluster(t)
  const agent = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'ready',
    () => agent.ready(),
    ready => ready,
  )
  const address = (text: string) => ({ annotations: { [NODE_ANNOTATION.ipv4Address]: text } })
  await store.create('Node', aNode('bad', address('none')))
  await store.create('Node', aNode('twin-a', address('192.0.2.13/24')))
  await store.create('Node', aNode('twin-b', address('192.0.2.13/24')))
  // created in the same second as the first pool, it is the younger one by its name
  await store.create('IPPool', aPool('within', { cidr: '10.244.7.0/24' }))
  const felix = { metadata: { name: 'other' }, spec: { vxlanPort: 4790 } }
  await store.create('FelixConfiguration', aResource('FelixConfiguration', felix))
  for (const name of ['peer-a', 'peer-b'])
    await store.create(
      'BGPPeer',
      aResource('BGPPeer', { metadata: { name }, spec: { peerIP: '192.0.2.1', asNumber: 1 } }),
    )
  const told = await eventually(
    t,
    'told',
    () =>
      agent.conditions().flatMap(({ type, status, object }) => (status === 'False' ? [`${type} ${object?.name}`] : [])),
    conditions => conditions.length >= 5,
  )
  t.deepEqual(told.sort(), [
    'AddressesUnique twin-b',
    'FieldsSupported other',
    'ObjectsReadable bad',
    'PeersConfigured peer-b',
    'PoolsDisjoint within',
  ])
  t.true(agent.ready())
})

test('with the API server away an agent restarts, keeps its routes and pods, and serves ADD and DEL', async t => {
  const { store, network, machines } = await aCluster(t)
  const first = await startAgent(t, machines[0], store, network)
  const peer = await startAgent(t, machines[1], store, network)
  await eventually(
    t,
    'ready',
    () => first.ready() && peer.ready(),
    ready => ready,
  )
  const routes = await eventually(
    t,
    'routes',
    () => learnedRoutes(machines[0]),
    r => r.length > 0,
  )
  t.is((await cni(first, 'ADD', 'old')).exitCode, 0)
  await first.close()
  t.deepEqual(await learnedRoutes(machines[0]), routes, 'a stopped agent leaves its routes')

  store.disconnect()
  const lost: string[] = []
  const monitor = machines[0].world.kernel().monitor(event => {
    if (event.type === 'route-gone') lost.push(event.route.dst)
  })
  const second = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'ready again',
    () => second.conditions(),
    () => second.ready(),
  )
  t.is(second.conditions().find(c => c.type === 'ApiServerConnected')?.status, 'False')
  t.is((await cni(second, 'ADD', 'new')).exitCode, 0)
  t.is((await cni(second, 'DEL', 'old')).exitCode, 0)
  await eventually(
    t,
    'peers',
    () => second.status().peers.map(p => p.state),
    states => states.includes('Established'),
  )
  t.deepEqual(await learnedRoutes(machines[0]), routes)
  monitor.close()
  t.deepEqual(
    lost.filter(dst => routes.some(route => route.startsWith(dst))),
    [],
  )

  store.reconnect()
  const block = await eventually(
    t,
    'publication',
    async () => (await store.list('IPAMBlock')).find(b => b.spec.affinity === 'host:n1')!.spec.attributes,
    attributes => attributes.some(a => a.secondary?.['containerID'] === 'new' || a.handle_id?.includes('new') === true),
  )
  t.false(JSON.stringify(block).includes('net.old'))
})

test('an agent that comes after an earlier version waits for its peers before it removes a tunnel device', async t => {
  const { store, network, machines } = await aCluster(t)
  const first = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'ready',
    () => first.ready(),
    ready => ready,
  )
  await first.close()
  // what the earlier version left: its routes to other nodes are of another protocol, those to own blocks are not
  const kernel = machines[0].world.kernel()
  t.true((await ownRoutes(machines[0])).includes('blackhole'))
  await kernel.createLink({ kind: 'vxlan', name: 'vxlan.calico', vni: 4096, port: 4789, mtu: 1450 })
  const second = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'ready again',
    () => second.ready(),
    ready => ready,
  )
  // its block has no pods: the sessions of before have some seconds to come back
  let exitCode: number | undefined
  void cni(second, 'ADD', 'new').then(added => {
    exitCode = added.exitCode
  })
  await eventually(
    t,
    'added',
    () => exitCode,
    code => code !== undefined,
  )
  t.is(exitCode, 0)
  t.not(await kernel.link('vxlan.calico'), undefined)
})

test('an agent that never saw the cluster refuses pods with a reason and does not touch the kernel', async t => {
  const { store, network, machines } = await aCluster(t)
  store.disconnect()
  const agent = await startAgent(t, machines[0], store, network)
  const answer = await cni(agent, 'ADD', 'c1')
  t.is(answer.exitCode, 1)
  t.regex(answer.stdout, /the cluster was never seen/)
  t.deepEqual((await machines[0].world.kernel().links()).map(l => l.name).sort(), ['eth0', 'lo'])
})

test('a pod that asks while the pool is full gets a reason, and nothing is left behind', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.delete('IPPool', 'pool')
  await store.create('IPPool', aPool('tiny', { cidr: '10.9.0.0/30', blockSize: 30 }))
  const agent = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'ready',
    () => agent.ready(),
    ready => ready,
  )
  const answers: Awaited<ReturnType<typeof cni>>[] = []
  for (let i = 0; i < 5; i++) answers.push(await cni(agent, 'ADD', `c${i}`))
  const served = answers.filter(answer => answer.exitCode === 0)
  t.true(served.length >= 1 && served.length <= 4)
  for (const refused of answers.slice(served.length)) t.regex(refused.stdout, /no free block is left in tiny/)
  const links = (await machines[0].world.kernel().links()).filter(link => link.name.startsWith('cali'))
  t.is(links.length, served.length)
})

test('an agent whose journal cannot be written starts and forgets a pod that is gone, on disk too as soon as it can', async t => {
  const { store, network, machines } = await aCluster(t)
  const first = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'ready',
    () => first.ready(),
    ready => ready,
  )
  t.is((await cni(first, 'ADD', 'old')).exitCode, 0)
  const [old] = first.endpoints.all()
  await first.close()
  await machines[0].world.kernel().deleteLink(old!.interfaceName)

  const refuse = `CREATE TRIGGER full BEFORE DELETE ON cni_endpoints BEGIN SELECT RAISE(ABORT, 'disk is full'); END`
  inJournal(machines[0], refuse)
  const rows = () => {
    const db = openDatabase(join(machines[0].dataDir, 'node.db'))
    const ids = db.prepare('SELECT id FROM cni_endpoints').all()
    db.close()
    return ids.map(({ id }) => id)
  }
  const second = await startAgent(t, machines[0], store, network)
  t.deepEqual(second.endpoints.all(), [])
  await second.close()
  t.deepEqual(rows(), [old!.id])
  inJournal(machines[0], 'DROP TRIGGER full')
  const third = await startAgent(t, machines[0], store, network)
  t.deepEqual(third.endpoints.all(), [])
  await third.close()
  t.deepEqual(rows(), [])
})

function inJournal({ dataDir }: Machine, sql: string): void {
  const db = openDatabase(join(dataDir, 'node.db'))
  db.exec(sql)
  db.close()
}

test('an API server restored from nothing takes no route, block or session away, and is told until a person confirms it', async t => {
  const { store, network, machines } = await aCluster(t)
  const [one, two] = [
    await startAgent(t, machines[0], store, network),
    await startAgent(t, machines[1], store, network),
  ]
  const routes = await eventually(
    t,
    'routes',
    () => learnedRoutes(machines[0]),
    r => r.length > 0,
  )
  await eventually(
    t,
    'ready',
    () => one.ready() && two.ready(),
    ready => ready,
  )
  const blocks = one.allocator.blocks().map(({ cidr }) => cidr)
  store.forget([
    ['Node', 'n1'],
    ['Node', 'n2'],
    ['IPPool', 'pool'],
    ...blocks.map(cidr => ['IPAMBlock', cidr.replace(/[./]/g, '-')] as const),
  ])
  const doubted = (agent: typeof one) => agent.conditions().find(({ type }) => type === 'ClusterRecognised')
  await eventually(
    t,
    'doubt',
    () => [doubted(one), doubted(two)],
    all => all.every(condition => condition?.reason === 'NotBelieved'),
  )
  t.true(one.ready())
  t.is((await cni(one, 'ADD', 'c1')).exitCode, 0, 'pods are served from the journal')
  t.deepEqual(await learnedRoutes(machines[0]), routes)
  t.deepEqual(
    one.status().peers.map(({ state }) => state),
    ['Established'],
  )
  t.deepEqual(await store.list('IPAMBlock').then(all => all.filter(({ spec }) => spec.affinity === 'host:n1')), [])

  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name))
  await store.create('IPPool', aPool('pool', { cidr: '10.244.0.0/16', ipipMode: 'CrossSubnet' }))
  await eventually(
    t,
    'belief',
    () => doubted(one),
    condition => condition?.status === 'True',
  )
  await eventually(
    t,
    'blocks published again',
    async () => (await store.list('IPAMBlock')).filter(({ spec }) => spec.affinity === 'host:n1').length,
    count => count === blocks.length,
  )
  await eventually(
    t,
    'routes again, when the other node has published its address',
    () => learnedRoutes(machines[0]),
    seen => `${seen}` === `${routes}`,
  )
})

test('as soon as an API server is believed again, what was refused meanwhile is published, however long that was', async t => {
  const { store, network, machines } = await aCluster(t)
  const clock = new ManualClock()
  const agent = await startAgent(t, machines[0], store, network, clock)
  const turns = async (ms: number) => {
    clock.advance(ms)
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  }
  const published = () => agent.conditions().find(({ type }) => type === 'BlocksPublished')?.status
  for (let i = 0; i < 20; i++) await turns(500)
  t.is(published(), 'True')
  const names = agent.allocator.blocks().map(({ cidr }) => cidr.replace(/[./]/g, '-'))
  store.forget([['IPPool', 'pool'], ...names.map(name => ['IPAMBlock', name] as const)])
  for (let i = 0; i < 200; i++) await turns(1000)
  t.is(published(), 'False')
  await store.create('IPPool', aPool('pool', { cidr: '10.244.0.0/16', ipipMode: 'CrossSubnet' }))
  await agent.acceptCluster()
  for (let i = 0; i < 3; i++) await turns(1)
  t.is(published(), 'True')
  t.is((await store.list('IPAMBlock')).length, names.length)
})
