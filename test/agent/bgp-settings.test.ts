// BGPConfiguration and BGPPeer under a running cluster: what both ends of a session must do together.
import test from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { aNode, aPool, aResource } from '../datastore/objects.ts'
import { aCluster, aMachine, eventually, learnedRoutes, startAgent } from './machines.ts'

test('another listenPort is followed by all nodes at once, no route goes, and a node that restarts finds the others', async t => {
  const { store, network, machines } = await aCluster(t)
  const one = await startAgent(t, machines[0], store, network)
  const two = await startAgent(t, machines[1], store, network)
  const routes = await eventually(
    t,
    'routes',
    () => learnedRoutes(machines[0]),
    all => all.length > 0,
  )
  const gone: string[] = []
  const monitor = machines[0].world.kernel().monitor(event => {
    if (event.type === 'route-gone' && event.route.gateway !== undefined) gone.push(event.route.dst)
  })
  const spec = { listenPort: 1179 }
  await store.create('BGPConfiguration', aResource('BGPConfiguration', { metadata: { name: 'default' }, spec }))
  const listeners = () => [...network.listeners.keys()].sort()
  await eventually(t, 'listeners', listeners, all => `${all}` === '192.0.2.11 1179,192.0.2.12 1179')
  const established = (agent: typeof one) => agent.status().peers.every(({ state }) => state === 'Established')
  await eventually(
    t,
    'sessions',
    () => [established(one), established(two)],
    ([a, b]) => a === true && b === true,
  )
  t.deepEqual(gone, [])
  await one.close()
  const again = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'sessions after a restart',
    () => [established(again), established(two)],
    ([a, b]) => a === true && b === true,
  )
  t.deepEqual(await learnedRoutes(machines[0]), routes)
  monitor.close()
})

test('a BGPConfiguration for one node sets its port at both ends and the communities of its blocks, and what cannot differ is told', async t => {
  const { store, network, machines } = await aCluster(t)
  const one = await startAgent(t, machines[0], store, network)
  const two = await startAgent(t, machines[1], store, network)
  const listeners = () => [...network.listeners.keys()].sort()
  await eventually(t, 'listeners', listeners, all => `${all}` === '192.0.2.11 179,192.0.2.12 179')
  const spec = {
    ...{ listenPort: 1180, asNumber: 65009 },
    prefixAdvertisements: [{ cidr: '10.244.0.0/16', communities: ['65001:7'] }],
  }
  const own = aResource('BGPConfiguration', { metadata: { name: 'node.n1' }, spec })
  await store.create('BGPConfiguration', own)
  await eventually(t, 'n1 alone listens elsewhere', listeners, all => `${all}` === '192.0.2.11 1180,192.0.2.12 179')
  const communities = (agent: typeof one, other: typeof one) => {
    const [path] = agent.explain(other.allocator.blocks()[0]!.cidr).candidates
    return path === undefined ? 'no route' : (path.attributes.communities ?? [])
  }
  await eventually(
    t,
    'the communities of the block of n1',
    () => [communities(two, one), communities(one, two)],
    seen => JSON.stringify(seen) === '[["65001:7"],[]]',
  )
  const told = one.conditions().filter(({ object }) => object?.name === 'node.n1')
  t.is(told.length, 1)
  t.like(told[0], { type: 'FieldsSupported', reason: 'NoEffect', remedy: 'remove asNumber, or do not rely on it' })
  t.regex(two.conditions().find(({ object }) => object?.name === 'node.n1')?.message ?? '', /asNumber has no effect/)
  await two.close()
  const again = await startAgent(t, machines[1], store, network)
  const established = (agent: typeof one) => agent.status().peers.every(({ state }) => state === 'Established')
  await eventually(t, 'an agent that starts finds the port', () => established(one) && established(again), Boolean)
  await store.delete('BGPConfiguration', 'node.n1')
  await eventually(t, 'listeners again', listeners, all => `${all}` === '192.0.2.11 179,192.0.2.12 179')
  await eventually(t, 'sessions again', () => established(one) && established(again), Boolean)
})

test('a BGPPeer for all nodes and one for this node with the same address are one session that stays up', async t => {
  const { store, network } = await aCluster(t)
  await store.delete('Node', 'n2')
  await store.delete('IPPool', 'pool')
  await store.create('IPPool', aPool('pool'))
  await store.create('Node', aNode('n4'))
  const tor = new Speaker({ asn: 65001, routerId: '192.0.2.1' }, { transport: network.host('192.0.2.1') })
  t.teardown(() => tor.close())
  await tor.listen({ address: '192.0.2.1', port: 179 })
  tor.setPeer({ address: '192.0.2.14', asn: 64512, passive: true })
  const peer = (name: string, spec: object) =>
    aResource('BGPPeer', { metadata: { name }, spec: { peerIP: '192.0.2.1', asNumber: 65001, ...spec } })
  await store.create('BGPPeer', peer('all', {}))
  await store.create('BGPPeer', peer('one', { node: 'n4' }))
  const agent = await startAgent(t, await aMachine(t, 'n4', '192.0.2.14'), store, network)
  const [session] = await eventually(
    t,
    'session',
    () => agent.status().peers,
    ([first]) => first?.state === 'Established',
  )
  t.like(session, { name: 'Node_192_0_2_1', type: 'node specific' })
  const dials = network.dials.length
  // whatever else changes in the cluster, the session is left alone
  for (const rack of ['a', 'b', 'c']) {
    await store.patch('Node', 'n4', { metadata: { labels: { rack } } })
    await store.patch('BGPPeer', 'all', { metadata: { labels: { rack } } })
    for (let i = 0; i < 20; i++) await new Promise(setImmediate)
  }
  const [after] = agent.status().peers
  t.is(agent.status().peers.length, 1)
  t.like(after, { name: 'Node_192_0_2_1', state: 'Established', flaps: 0, since: session!.since })
  t.is(network.dials.length, dials)
  t.like(
    agent.conditions().find(({ reason }) => reason === 'AddressClash'),
    { type: 'PeersConfigured', object: { kind: 'BGPPeer', name: 'all' } },
  )
})

test('with Calico’s objects for route reflection every node learns the blocks of the others from the reflector alone', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.delete('Node', 'n1')
  const reflector = { labels: { rr: 'yes' }, annotations: { [NODE_ANNOTATION.routeReflectorClusterId]: '224.0.0.1' } }
  await store.create('Node', aNode('r1', reflector))
  await store.create('Node', aNode('n3'))
  const mesh = { nodeToNodeMeshEnabled: false }
  await store.create('BGPConfiguration', aResource('BGPConfiguration', { metadata: { name: 'default' }, spec: mesh }))
  const joined = { nodeSelector: 'all()', peerSelector: "rr == 'yes'" }
  await store.create('BGPPeer', aResource('BGPPeer', { metadata: { name: 'reflected' }, spec: joined }))
  const [r1, n3] = [await aMachine(t, 'r1', '192.0.2.21'), await aMachine(t, 'n3', '192.0.2.13')]
  const agents: NodeAgent[] = []
  for (const machine of [r1, n3, machines[1]]) agents.push(await startAgent(t, machine, store, network))
  const peersOf = (i: number) =>
    agents[i]!.status()
      .peers.map(({ address, state }) => `${address} ${state}`)
      .sort()
  await eventually(
    t,
    'sessions with the reflector alone',
    () => [0, 1, 2].map(peersOf),
    all =>
      `${all.flat()}` === ['192.0.2.12', '192.0.2.13', '192.0.2.21', '192.0.2.21'].map(a => `${a} Established`).join(),
  )
  const [blockOf3] = agents[1]!.allocator.blocks()
  const [blockOf2] = agents[2]!.allocator.blocks()
  await eventually(
    t,
    'a route from node to node, not through the reflector',
    async () => [await learnedRoutes(n3), await learnedRoutes(machines[1])],
    ([of3, of2]) =>
      of3!.includes(`${blockOf2!.cidr} via 192.0.2.12`) && of2!.includes(`${blockOf3!.cidr} via 192.0.2.13`),
  )
  const [{ attributes } = { attributes: undefined }] = agents[1]!.explain(blockOf2!.cidr).candidates
  t.like(attributes, { originatorId: '192.0.2.12', clusterList: ['224.0.0.1'] })
  for (const agent of agents)
    t.deepEqual(
      agent.conditions().filter(({ type, status }) => type === 'PeersConfigured' && status !== 'True'),
      [],
    )
})

test('a Node that says so drains, which a restart of its agent does not end, with a condition that says how to end it', async t => {
  const { store, network, machines } = await aCluster(t)
  const one = await startAgent(t, machines[0], store, network)
  let two = await startAgent(t, machines[1], store, network)
  const worth = () => one.explain(two.allocator.blocks()[0]?.cidr ?? '').candidates[0]?.attributes.localPref
  await eventually(t, 'the route', worth, value => value === 2147482623)
  await store.patch('Node', 'n2', { metadata: { annotations: { [NODE_ANNOTATION.drainBgp]: 'true' } } })
  await eventually(t, 'the drain', worth, value => value === 0)
  const { drains, peers } = await two.drained()
  t.deepEqual([drains, peers.map(({ told }) => told)], [true, ['yes']])
  const draining = () => two.conditions().find(({ type }) => type === 'RoutesPreferred')
  t.like(draining(), { status: 'False', reason: 'Draining', object: { kind: 'Node', name: 'n2' } })
  t.regex(draining()!.remedy, /margayctl node drain-bgp n2 --undo/)
  t.true(two.ready())
  await two.close()
  two = await startAgent(t, machines[1], store, network)
  await eventually(
    t,
    'the session again',
    () => two.status().peers[0]?.state,
    state => state === 'Established',
  )
  t.true((await two.drained()).drains)
  t.is(worth(), 0)
  await store.patch('Node', 'n2', { metadata: { annotations: { [NODE_ANNOTATION.drainBgp]: null } } })
  await eventually(t, 'the end', worth, value => value === 2147482623)
  t.like(draining(), { status: 'True' })
})
