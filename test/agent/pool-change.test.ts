// Another range and another block size for the pods of a cluster that runs, as docs/pools.md has it: the old pool takes no more,
// pods move one by one, and no pod loses its network meanwhile.
import test from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { NotFound } from '../../datastore/port.ts'
import { contains } from '../../lib/ip.ts'
import { aPool } from '../datastore/objects.ts'
import { aCluster, cni, eventually, learnedRoutes, startAgent } from './machines.ts'

/** The address of a container; undefined for one that is not there. */
const addressOf = (agent: NodeAgent, container: string) =>
  agent.endpoints.live().find(({ containerID }) => containerID === container)?.addresses[0]

for (const how of ['disabled', 'deleted'] as const)
  test(`a pool that is ${how} is drained into one of another range and block size, while every pod keeps its network`, async t => {
    t.timeout(120_000)
    const { store, network, machines } = await aCluster(t)
    await store.delete('IPPool', 'pool')
    await store.create('IPPool', aPool('old', { cidr: '10.8.0.0/24', blockSize: 28 }))
    const agents = [await startAgent(t, machines[0], store, network), await startAgent(t, machines[1], store, network)]
    const [one, two] = agents as [NodeAgent, NodeAgent]
    await eventually(t, 'ready', () => agents.every(each => each.ready()), Boolean)
    const pods = [
      [one, 'c0'],
      [one, 'c1'],
      [two, 'c2'],
    ] as const
    for (const [agent, container] of pods) t.is((await cni(agent, 'ADD', container)).exitCode, 0)
    const living = () => pods.flatMap(([agent, container]) => addressOf(agent, container) ?? [])
    const old = living()
    t.true(old.every(address => address.startsWith('10.8.')))
    const waysToOld = async () => {
      const ways = [...(await learnedRoutes(machines[0])), ...(await learnedRoutes(machines[1]))]
      return living().filter(address => ways.some(way => contains(way.split(' ')[0]!, address)))
    }
    await eventually(t, 'ways to all pods', waysToOld, seen => seen.length === 3)
    const lost: string[] = []
    const monitors = machines.map(({ world }) =>
      world.kernel().monitor(event => {
        if (event.type !== 'route-gone') return
        lost.push(...living().filter(address => contains(event.route.dst, address)))
      }),
    )

    await store.create('IPPool', aPool('new', { cidr: '10.9.0.0/24', blockSize: 29 }))
    if (how === 'disabled') await store.patch('IPPool', 'old', { spec: { disabled: true } })
    else await store.delete('IPPool', 'old')
    t.truthy(await store.get('IPPool', 'old'), 'the finalizer keeps it while pods have addresses of it')
    const inNew = (agent: NodeAgent) =>
      agent.allocator.blocks().some(({ cidr }) => cidr.startsWith('10.9.') && cidr.endsWith('/29'))
    await eventually(t, 'blocks of the new size', () => agents.every(inNew), Boolean)

    for (const [i, [agent, container]] of pods.entries()) {
      t.is((await cni(agent, 'DEL', container)).exitCode, 0)
      t.is((await cni(agent, 'ADD', container)).exitCode, 0)
      t.regex(addressOf(agent, container)!, /^10\.9\./, 'what starts is of the new pool')
      t.deepEqual(living().slice(i + 1), old.slice(i + 1), 'what runs keeps its address')
    }
    await eventually(t, 'ways to all pods again', waysToOld, seen => seen.length === 3)
    if (how === 'disabled') await store.delete('IPPool', 'old')
    const old404 = () =>
      store.get('IPPool', 'old').then(
        () => 'there',
        error => (error instanceof NotFound ? 'gone' : String(error)),
      )
    await eventually(t, 'the old pool goes with its last pod', old404, seen => seen === 'gone', 60)
    const blocks = async () => (await store.list('IPAMBlock')).map(({ spec }) => spec.cidr)
    await eventually(t, 'and its blocks', blocks, seen => seen.every(cidr => cidr.startsWith('10.9.')))
    for (const monitor of monitors) monitor.close()
    t.deepEqual(lost, [], 'no route to a pod that ran was gone for a moment')
    t.true(agents.every(each => each.ready()))
  })

test('a new pool in the range of the old one is not used, and the condition PoolsDisjoint says so', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.patch('IPPool', 'pool', { spec: { disabled: true } })
  // a server of CRDs alone takes it
  await store.create('IPPool', aPool('same', { cidr: '10.244.0.0/17', blockSize: 28 }))
  const agent = await startAgent(t, machines[0], store, network)
  const overlap = () =>
    agent.conditions().find(({ type, object }) => type === 'PoolsDisjoint' && object?.name === 'same')
  await eventually(t, 'told', overlap, seen => seen?.status === 'False')
  t.not((await cni(agent, 'ADD', 'c0')).exitCode, 0)
  t.deepEqual(agent.allocator.blocks(), [])
})
