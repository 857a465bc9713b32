// What a simulation says is what agents do: the same objects are given to agents with kernels in memory and to the paper.
import test from 'ava'
import { reportOf } from '../../../agent/simulation/report.ts'
import { simulate } from '../../../agent/simulation/simulation.ts'
import { NODE_ANNOTATION } from '../../../api/core.ts'
import { MemoryNetwork } from '../../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../../bgp/speaker.ts'
import { createFakeStore } from '../../../datastore/fake.ts'
import { familyOf } from '../../../lib/ip.ts'
import { aNode, aPool, aResource } from '../../datastore/objects.ts'
import { aMachine, cni, eventually, learnedRoutes, startAgent } from '../machines.ts'
import { aRouter, aTopology } from './paper.ts'

test('agents have in their kernels the routes that a simulation of their objects says, also those of a router', async t => {
  const store = createFakeStore()
  const network = new MemoryNetwork()
  const names = ['n1', 'n2', 'n3']
  for (const name of names) await store.create('Node', aNode(name, name === 'n3' ? { labels: { edge: 'yes' } } : {}))
  await store.create('IPPool', aPool('pool', { cidr: '10.244.0.0/16', ipipMode: 'Never' }))
  await store.create(
    'BGPPeer',
    aResource('BGPPeer', {
      metadata: { name: 'tor' },
      spec: { nodeSelector: "edge == 'yes'", peerIP: '192.0.2.1', asNumber: 65001 },
    }),
  )
  const machines = await Promise.all(names.map((name, i) => aMachine(t, name, `192.0.2.${11 + i}`)))
  const tor = new Speaker({ asn: 65001, routerId: '192.0.2.1' }, { transport: network.host('192.0.2.1') })
  t.teardown(() => tor.close())
  await tor.listen({ address: '192.0.2.1', port: 179 })
  tor.setPeer({ address: '192.0.2.13', asn: 64512, import: 'accept', export: 'accept' })
  for (const prefix of ['10.244.128.0/17', '203.0.113.0/24']) tor.announce({ prefix })
  for (const machine of machines) await cni(await startAgent(t, machine, store, network), 'ADD', 'c0')

  const blocks = await store.list('IPAMBlock')
  t.is(blocks.length, 3)
  const published = await eventually(
    t,
    'the agents publish who they are',
    () => store.list('Node'),
    nodes => nodes.every(({ metadata }) => metadata.annotations?.[NODE_ANNOTATION.ipv4Address] !== undefined),
  )
  const topology = aTopology(
    { Node: published, IPAMBlock: blocks, IPPool: await store.list('IPPool'), BGPPeer: await store.list('BGPPeer') },
    [
      aRouter('tor', {
        ...{ asNumber: 65001, addresses: ['192.0.2.1/24'], networks: ['10.244.128.0/17', '203.0.113.0/24'] },
        neighbors: [{ address: '192.0.2.13', asNumber: 64512 }],
      }),
    ],
  )
  const simulation = await simulate(topology)
  t.teardown(() => simulation.close())
  const { routes, findings } = reportOf(simulation)
  t.deepEqual(findings, [])
  t.true(
    routes.every(({ prefix }) => familyOf(prefix) === 'ipv4' && prefix !== '203.0.113.0/24'),
    'it lies in no pool',
  )
  for (const machine of machines) {
    const said = routes
      .filter(({ node }) => node === machine.name)
      .flatMap(({ prefix, ways }) => ways.map(({ nextHop }) => `${prefix} via ${nextHop}`))
      .sort()
    t.true(said.length >= 2)
    const has = async () => (await learnedRoutes(machine)).sort()
    await eventually(t, `routes of ${machine.name} are ${said.join(', ')}`, has, found => found.join() === said.join())
  }
})
