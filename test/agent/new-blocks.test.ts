// Whole agents: an address of a new block is given when the other node has a route to the block in its kernel.
import test from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { contains } from '../../lib/ip.ts'
import { aPool } from '../datastore/objects.ts'
import { aCluster, cni, eventually, learnedRoutes, slowRoutes, startAgent } from './machines.ts'

const isUp = (agent: NodeAgent) => agent.status().peers.some(({ state }) => state === 'Established')

test('each pod of a node whose blocks run out has its address when the other node knows the way to it', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.delete('IPPool', 'pool')
  await store.create('IPPool', aPool('small', { cidr: '10.244.0.0/16', blockSize: 30 }))
  const [first, second] = machines
  const agent = await startAgent(t, first, store, network)
  await startAgent(t, second, store, network, undefined, { kernel: slowRoutes(second.world.kernel()) })
  await eventually(t, 'a session', () => isUp(agent), Boolean)
  await eventually(t, 'ready', () => agent.ready(), Boolean)
  // that of its start, before there was a session
  const routes = () => learnedRoutes(second)
  await eventually(t, 'the first block', routes, known => known.length > 0)
  const blocks = new Set<string>()
  for (const container of ['c0', 'c1', 'c2', 'c3', 'c4', 'old', 'new']) {
    const { exitCode, stdout } = await cni(agent, 'ADD', container)
    t.is(exitCode, 0, stdout)
    const address = (JSON.parse(stdout) as { ips: { address: string }[] }).ips[0]!.address.split('/')[0]!
    const known = (await learnedRoutes(second)).map(route => route.split(' ')[0]!)
    t.true(
      known.some(block => contains(block, address)),
      `${address} is not in ${known.join(', ')}`,
    )
    blocks.add(known.find(block => contains(block, address))!)
  }
  t.true(blocks.size > 1)
})
