// Two whole agents in a cluster that has Calico's resources in the form in which Calico stores them.
import test from 'ava'
import { METADATA_ANNOTATION } from '../../api/stored-form.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { openStore } from '../../datastore/kube.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { startStoredFormServer } from '../datastore/stored-form-server.ts'
import { aMachine, cni, eventually, learnedRoutes, startAgent } from './machines.ts'

test('pods get addresses, blocks are published and learned, and an agent that starts again while the server is away keeps both', async t => {
  const server = await startStoredFormServer()
  const open = () => {
    const store = openStore({ server: server.url, token: server.token })
    t.teardown(() => store.close())
    return store
  }
  const admin = open()
  for (const name of ['n1', 'n2']) await admin.create('Node', aNode(name))
  await admin.create('IPPool', aPool('pool', { cidr: '10.244.0.0/16', ipipMode: 'CrossSubnet' }))
  const network = new MemoryNetwork()
  const machines = [await aMachine(t, 'n1', '192.0.2.11'), await aMachine(t, 'n2', '192.0.2.12')] as const
  const one = await startAgent(t, machines[0], open(), network)
  const two = await startAgent(t, machines[1], open(), network)
  await eventually(
    t,
    'ready',
    () => one.ready() && two.ready(),
    ready => ready,
  )
  t.is((await cni(two, 'ADD', 'c1')).exitCode, 0)
  const published = async () => {
    const headers = { authorization: `Bearer ${server.token}` }
    const answer = await fetch(`${server.url}/apis/crd.projectcalico.org/v1/ipamblocks`, { headers })
    const { items } = (await answer.json()) as { items: { metadata: object; spec: { attributes: unknown[] } }[] }
    return items
  }
  const blocks = await eventually(t, 'a published address', published, items =>
    items.some(
      ({ metadata, spec }) => JSON.stringify(metadata).includes(METADATA_ANNOTATION) && spec.attributes.length > 0,
    ),
  )
  t.is(blocks.length, 2)
  const [block] = two.allocator.blocks()
  await eventually(
    t,
    'routes of n1',
    () => learnedRoutes(machines[0]),
    routes => routes.includes(`${block!.cidr} via 192.0.2.12`),
  )

  await two.close()
  await server.close()
  const again = await startAgent(t, machines[1], open(), network)
  await eventually(
    t,
    'ready again',
    () => again.ready(),
    ready => ready,
  )
  t.is((await cni(again, 'ADD', 'c2')).exitCode, 0)
})
