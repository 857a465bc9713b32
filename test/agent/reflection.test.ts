// Automatic route reflectors as agents heed them: from the mesh to reflectors and back, real sessions over TCP in memory.
import test, { type ExecutionContext } from 'ava'
import { nodeFacts } from '../../agent/cluster/nodes.ts'
import { Peers } from '../../agent/cluster/peers.ts'
import { bgpSettings } from '../../agent/cluster/settings.ts'
import { Routing } from '../../agent/routing.ts'
import { SessionLog } from '../../agent/status/session-log.ts'
import { BGP_ANNOTATION, NODE_ANNOTATION } from '../../api/core.ts'
import { parseReflectors, REFLECTORS_ANNOTATION, type ReflectorState } from '../../api/reflectors.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Reflectors } from '../../controllers/reflectors.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { settle } from '../bgp/settle.ts'
import { aNode, aResource } from '../datastore/objects.ts'

const SIZE = 6
const NAMES = Array.from({ length: SIZE }, (_, i) => `n${i}`)
const addressOf = (name: string) => `192.0.2.1${name.slice(1)}`
const blockOf = (name: string) => `10.244.${name.slice(1)}.0/26`

/** Agents that hear of the state one after the other. Every node announces one block; `routes` are those that it has now. */
async function aCluster(t: ExecutionContext) {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const lost: string[] = []
  /** What nodes wait for until routes are in their kernels. */
  const held = new Map<string, Promise<void>>()
  const agents = NAMES.map(name => {
    const address = addressOf(name)
    const routes = new Set<string>()
    const routing = new Routing({
      ...{ transport: network.host(address), clock, log: silentLog, nodeName: name },
      ...{ capabilities: { ipip: false, vxlan: true }, sessions: new SessionLog({ clock, log: silentLog }) },
      ...{ restarting: false, settled: async () => held.get(name), converged: () => undefined },
      learned: (prefix, route) => {
        if (route !== undefined) routes.add(prefix)
        else {
          routes.delete(prefix)
          lost.push(`${name} ${prefix}`)
        }
      },
    })
    routing.announce([{ prefix: blockOf(name), communities: [], localPref: 2147482623 }])
    t.teardown(() => routing.close())
    const peers = new Peers({ nodeName: name, address, config: bgpSettings(undefined) })
    return { name, address, routing, peers, routes }
  })
  const flush = async ({ address, routing, peers }: (typeof agents)[number]) => {
    await routing.identify({ asn: peers.asn, clusterId: peers.clusterId, port: 179, routerId: address, address })
    routing.change(peers.take())
    routing.witness(peers.reflection())
  }
  const pass = async (seconds = 15) => {
    for (let step = 0; step < seconds * 10; step++) {
      clock.advance(100)
      await settle(4)
    }
  }
  const tell = async (reflectors: ReflectorState | undefined, order = agents) => {
    for (const agent of order) {
      agent.peers.configure({ reflectors })
      await flush(agent)
      await pass(1)
    }
    await pass()
  }
  const node = async (name: string, annotations: Record<string, string> = {}) => {
    const object = aNode(name, {
      annotations: { [NODE_ANNOTATION.ipv4Address]: `${addressOf(name)}/24`, ...annotations },
    })
    for (const { peers } of agents) peers.node(name, nodeFacts(object).facts)
  }
  for (const name of NAMES) await node(name)
  for (const agent of agents) await flush(agent)
  await pass()
  const said = () => agents.map(({ routing }) => routing.reflection)
  const up = () =>
    agents.map(({ routing }) => routing.peers().filter(({ state }) => state === 'Established').length).join(' ')
  const flaps = () => agents.flatMap(({ routing }) => routing.peers()).reduce((sum, each) => sum + each.flaps, 0)
  return { agents, flush, tell, pass, node, said, up, flaps, lost, held, clock }
}

const state = (step: number, mesh: ReflectorState['mesh'], ...nodes: string[]): ReflectorState => ({
  step,
  mesh,
  nodes,
})

test('from the mesh to reflectors, to other reflectors and back no node loses a route, and only sessions end that are to end', async t => {
  const { agents, tell, said, up, flaps, lost } = await aCluster(t)
  t.is(up(), '5 5 5 5 5 5')
  const everybody = (step: number, via: string[], direct: boolean) => NAMES.map(() => ({ step, via, direct }))
  await tell(state(1, 'whole'))
  t.deepEqual(said(), everybody(1, [], true))
  await tell(state(2, 'whole', 'n1'))
  await tell(state(3, 'whole', 'n1', 'n3'), agents.toReversed())
  t.deepEqual(said(), everybody(3, ['n1', 'n3'], true))
  await tell(state(4, 'thin', 'n1', 'n3'))
  t.deepEqual(
    said().map(each => [each?.step, each?.via.join(), each?.direct]),
    // the reflectors have all from the nodes themselves
    NAMES.map(name => [4, 'n1,n3', name === 'n1' || name === 'n3']),
  )
  t.is(up(), '2 5 2 5 2 2')
  await tell(state(5, 'thin', 'n1', 'n3', 'n0'), agents.toReversed())
  t.true(said().every(each => each?.via.join() === 'n0,n1,n3'))
  await tell(state(6, 'thin', 'n3', 'n0'))
  t.is(up(), '5 2 2 5 2 2')
  await tell(state(7, 'whole', 'n3', 'n0'), agents.toReversed())
  t.deepEqual(said(), everybody(7, ['n0', 'n3'], true))
  await tell(state(8, 'whole', 'n0'))
  await tell(state(9, 'whole'))
  await tell(undefined)
  t.deepEqual(
    said(),
    NAMES.map(() => undefined),
  )
  t.is(up(), '5 5 5 5 5 5')
  t.deepEqual(lost, [])
  t.is(flaps(), 0)
  for (const { name, routes } of agents)
    t.deepEqual([...routes].sort(), NAMES.filter(each => each !== name).map(blockOf))
})

test('where what the leader wrote is gone while the mesh is thin, reflectors go on, all nodes have sessions again, and no route is lost', async t => {
  const { agents, tell, said, up, lost, flush, pass } = await aCluster(t)
  await tell(state(1, 'whole', 'n1', 'n3'))
  await tell(state(2, 'thin', 'n1', 'n3'))
  t.is(up(), '2 5 2 5 2 2')
  const reflectorsFirst = [1, 3, 0, 2, 4, 5].map(i => agents[i]!)
  await tell(undefined, reflectorsFirst)
  t.is(up(), '5 5 5 5 5 5')
  const held = { step: 2, via: ['n1', 'n3'], direct: true, held: true }
  t.deepEqual(
    said(),
    NAMES.map(name => (['n1', 'n3'].includes(name) ? held : undefined)),
  )
  // a leader begins again, and comes to its end
  await tell(state(3, 'whole', 'n1', 'n3'), agents.toReversed())
  t.deepEqual(
    said(),
    NAMES.map(() => ({ step: 3, via: ['n1', 'n3'], direct: true })),
  )
  await tell(state(4, 'thin', 'n1', 'n3'))
  t.is(up(), '2 5 2 5 2 2')
  // an old copy with others
  await tell(state(1, 'thin', 'n0', 'n2'), reflectorsFirst)
  t.is(up(), '5 5 5 5 5 5')
  t.true(said().every(each => each?.step === 4 && each.held === true))
  await tell(state(5, 'whole', 'n1', 'n3'))
  await tell(state(6, 'whole', 'n1'))
  await tell(state(7, 'whole'))
  await tell(undefined)
  // one that comes back after the end
  for (const agent of agents) agent.peers.configure({ reflectors: state(2, 'thin', 'n0', 'n2') })
  for (const agent of agents) await flush(agent)
  await pass()
  t.is(up(), '5 5 5 5 5 5')
  t.deepEqual(lost, [])
})

test('a leader and agents together move the cluster to reflectors, replace one that is cordoned, and move it back', async t => {
  const { agents, flush, pass, up, flaps, lost, clock } = await aCluster(t)
  const store = createFakeStore()
  await store.create('ClusterInformation', aResource('ClusterInformation', { metadata: { name: 'default' }, spec: {} }))
  for (const name of NAMES)
    await store.create(
      'Node',
      aResource('Node', {
        metadata: { name, annotations: { [NODE_ANNOTATION.ipv4Address]: `${addressOf(name)}/24` } },
        status: { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }] },
      }),
    )
  let wish = 'above=5'
  const leader = new Reflectors({
    ...{ store, clock, log: silentLog, known: () => true, changed: () => undefined },
    configuration: {
      unknown: undefined,
      get current() {
        const annotations = { [BGP_ANNOTATION.autoReflectors]: wish }
        return aResource('BGPConfiguration', { metadata: { name: 'default', annotations }, spec: {} })
      },
    },
  })
  t.teardown(() => leader.close())
  const now = async () =>
    (await store.get('ClusterInformation', 'default')).metadata.annotations?.[REFLECTORS_ANNOTATION]
  /** Until the leader has nothing more to do: what was written is heard by one agent after the other. */
  const rest = async () => {
    let [before, same] = [await now(), 0]
    for (let i = 0; i < 80 && same < 8; i++) {
      await leader.run()
      const text = await now()
      same = text === before ? same + 1 : 0
      before = text
      for (const agent of agents) {
        agent.peers.configure({ reflectors: parseReflectors(text) })
        await flush(agent)
        await pass(0.3)
        const { reflection } = agent.routing
        leader.take(agent.name, { worked: {}, enforced: [], failing: [], ...(reflection && { reflection }) })
      }
    }
    return before?.replace(/^step=\d+ /, '')
  }
  t.is(await rest(), 'mesh=thin nodes=n0,n1')
  t.is(up(), '5 5 2 2 2 2')
  await store.patch('Node', 'n0', { spec: { unschedulable: true } })
  t.is(await rest(), 'mesh=thin nodes=n1,n2')
  t.is(up(), '2 5 5 2 2 2')
  wish = ''
  t.is(await rest(), undefined)
  t.is(up(), '5 5 5 5 5 5')
  t.deepEqual(lost, [])
  t.is(flaps(), 0)
})

test('a node says no reflector that has not told it all, nor that it has all from the nodes themselves before it has', async t => {
  const { agents, flush, pass } = await aCluster(t)
  const hear = async (name: string, reflectors: ReflectorState) => {
    const agent = agents.find(each => each.name === name)!
    agent.peers.configure({ reflectors })
    await flush(agent)
    await pass(5)
    return agent.routing.reflection
  }
  // n1 has not heard that it is one
  t.deepEqual(await hear('n0', state(2, 'whole', 'n1', 'n3')), { step: 2, via: [], direct: true })
  t.deepEqual(await hear('n1', state(2, 'whole', 'n1', 'n3')), { step: 2, via: ['n1'], direct: true })
  await pass(40)
  t.deepEqual(agents[0]!.routing.reflection?.via, ['n1'])
  for (const name of NAMES) await hear(name, state(2, 'whole', 'n1', 'n3'))
  for (const name of NAMES) await hear(name, state(3, 'thin', 'n1', 'n3'))
  // the others have not heard that the mesh is to be whole again
  t.deepEqual(await hear('n0', state(4, 'whole', 'n1', 'n3')), { step: 4, via: ['n1', 'n3'], direct: false })
})

test('where fewer than two of the named reflectors are there, sessions with all nodes come back without another word', async t => {
  const { agents, flush, tell, pass, node, up, lost } = await aCluster(t)
  await tell(state(1, 'whole', 'n1', 'n3'))
  await tell(state(2, 'thin', 'n1', 'n3'))
  t.is(up(), '2 5 2 5 2 2')
  // people make it a reflector of their own: it leaves the mesh
  await node('n3', { [NODE_ANNOTATION.routeReflectorClusterId]: '224.0.0.1' })
  for (const agent of agents) await flush(agent)
  await pass()
  t.is(up(), '4 4 4 0 4 4')
  t.deepEqual(
    lost.filter(each => !each.includes('n3') && !each.includes(blockOf('n3'))),
    [],
  )
})

test('a reflector has other nodes as clients and other reflectors not, whoever asks for the session', t => {
  const clients = (spec?: object) => {
    const peers = new Peers({ nodeName: 'n1', address: addressOf('n1'), config: bgpSettings(undefined) })
    for (const name of ['n1', 'n2', 'n3', 'n4'])
      peers.node(
        name,
        nodeFacts(aNode(name, { annotations: { [NODE_ANNOTATION.ipv4Address]: `${addressOf(name)}/24` } })).facts,
      )
    if (spec !== undefined) peers.bgpPeer('p', aResource('BGPPeer', { metadata: { name: 'p' }, spec }))
    peers.configure({ reflectors: state(1, 'whole', 'n1', 'n2') })
    const all = peers.take().flatMap(({ peer }) => peer ?? [])
    t.is(all.length, 3)
    return all
      .filter(({ reflectorClient }) => reflectorClient === true)
      .map(({ address }) => address)
      .sort()
  }
  const others = ['n3', 'n4'].map(addressOf)
  t.deepEqual(clients(), others)
  t.deepEqual(clients({ node: 'n1', peerSelector: 'all()' }), others)
  for (const name of ['n2', 'n3'])
    for (const more of [{}, { node: 'n1' }])
      t.deepEqual(clients({ ...more, peerIP: addressOf(name), asNumber: 64512 }), others, name)
  for (const node of ['n2', 'n3'])
    t.deepEqual(clients({ node, peerIP: addressOf('n1'), asNumber: 64512 }), others, node)
})

test('what an automatic reflector tells routers outside the cluster is what it told them before', t => {
  const peers = new Peers({ nodeName: 'n1', address: addressOf('n1'), config: bgpSettings(undefined) })
  for (const name of NAMES)
    peers.node(
      name,
      nodeFacts(aNode(name, { annotations: { [NODE_ANNOTATION.ipv4Address]: `${addressOf(name)}/24` } })).facts,
    )
  const spec = { peerIP: '198.51.100.1', asNumber: 64512 }
  peers.bgpPeer('tor', aResource('BGPPeer', { metadata: { name: 'tor' }, spec }))
  peers.take()
  peers.configure({ reflectors: state(1, 'whole', 'n1') })
  const changes = peers.take()
  t.deepEqual(changes.map(({ key, peer }) => `${key} ${peer?.reflectorClient}`).sort(), [
    ...NAMES.filter(name => name !== 'n1').map(name => `${addressOf(name)} true`),
  ])
})

test('a node that asks whether its block is known is answered by a reflector once those behind it know it', async t => {
  const { agents, tell, pass, held, clock } = await aCluster(t)
  await tell(state(1, 'whole', 'n1', 'n3'))
  await tell(state(2, 'thin', 'n1', 'n3'))
  const [n0, ...others] = agents
  n0!.routing.announce([
    ...[blockOf('n0'), '10.244.99.0/26'].map(prefix => ({ prefix, communities: [], localPref: 2147482623 })),
  ])
  const slow = Promise.withResolvers<void>()
  held.set('n5', slow.promise)
  let isKnown = false
  const startMs = clock.monotonicMs()
  void n0!.routing.reached('10.244.99.0/26').then(() => {
    isKnown = true
  })
  await pass(2)
  t.true(others.every(({ routes }) => routes.has('10.244.99.0/26')))
  t.false(isKnown, 'one behind the reflectors has it in no kernel yet')
  slow.resolve()
  for (let i = 0; i < 20 && !isKnown; i++) await pass(0.1)
  t.true(isKnown && clock.monotonicMs() - startMs < 4_500, 'it was heard, not given up')
})
