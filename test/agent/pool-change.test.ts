// Another range and another block size for the pods of a cluster that runs, as docs/pools.md has it: the old pool takes no more,
// pods move one by one, and no pod loses its network meanwhile.
import test from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { splitPool } from '../../ctl/ipam-split.ts'
import { NotFound } from '../../datastore/port.ts'
import type { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { systemClock } from '../../lib/clock.ts'
import { contains } from '../../lib/ip.ts'
import { aPool, aResource } from '../datastore/objects.ts'
import { aCluster, cni, eventually, learnedRoutes, startAgent } from './machines.ts'

/** The address of a container; undefined for one that is not there. */
const addressOf = (agent: NodeAgent, container: string) =>
  agent.endpoints.live().find(({ containerID }) => containerID === container)?.addresses[0]

/** A kernel that looks, after each transaction of nftables, whether packets of all addresses out of the pools are still masqueraded. */
function watched(world: FakeWorld, addresses: () => readonly string[], lost: string[]): Kernel {
  const kernel = world.kernel()
  const change = kernel.changeNftables.bind(kernel)
  kernel.changeNftables = async (...args) => {
    const refusals = await change(...args)
    const table = await kernel.nftables({ family: 'ip', name: 'margay' })
    for (const set of ['pools', 'masqueraded']) {
      const ranges = (table?.elements ?? []).filter(each => each.set === set).flatMap(({ elements }) => elements)
      for (const address of addresses())
        if (!ranges.some(({ key }) => contains(key[0]!, address))) lost.push(`${address} in ${set}`)
    }
    return refusals
  }
  return kernel
}

const broken = (agent: NodeAgent) =>
  agent.conditions().flatMap(({ type, status }) => (status === 'False' ? [type] : []))

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

test('a pool is split while its pods run: no route and no masquerading is gone for a moment, and each node has the parts', async t => {
  t.timeout(120_000)
  const { store, network, machines } = await aCluster(t)
  await store.delete('IPPool', 'pool')
  const settings = { cidr: '10.8.0.0/24', blockSize: 28, natOutgoing: true }
  await store.create('IPPool', aPool('whole', settings, { creationTimestamp: '2026-01-01T00:00:00Z' }))
  const lock = (datastoreReady: boolean) =>
    aResource('ClusterInformation', { metadata: { name: 'default' }, spec: { datastoreReady } })
  await store.create('ClusterInformation', lock(true))
  let pods: string[] = []
  const unmasked: string[] = []
  const start = (i: 0 | 1) => {
    const kernel = watched(machines[i].world, () => pods, unmasked)
    return startAgent(t, machines[i], store, network, systemClock, { kernel })
  }
  const [one, two] = [await start(0), await start(1)]
  await eventually(t, 'ready', () => one.ready() && two.ready(), Boolean)
  for (const agent of [one, two]) t.is((await cni(agent, 'ADD', 'c0')).exitCode, 0)
  const started = [one, two].map(agent => addressOf(agent, 'c0')!)
  const masqueraded = async () => {
    const table = await machines[0].world.kernel().nftables({ family: 'ip', name: 'margay' })
    return table?.elements.some(({ set, elements }) => set === 'masqueraded' && elements.length > 0)
  }
  await eventually(t, 'masqueraded', masqueraded, Boolean)
  pods = started
  const ways = async () =>
    [...(await learnedRoutes(machines[0])), ...(await learnedRoutes(machines[1]))].filter(way =>
      pods.some(pod => contains(way.split(' ')[0]!, pod)),
    )
  await eventually(t, 'ways to both pods', ways, seen => seen.length === 2)
  const held = async () => (await store.get('IPPool', 'whole')).metadata.finalizers
  await eventually(t, 'the pool is held', held, seen => seen?.includes('margay/blocks') === true)
  await one.allocator.flush()
  await two.allocator.flush()
  const gone: string[] = []
  const monitors = machines.map(({ world }) =>
    world.kernel().monitor(event => {
      if (event.type === 'route-gone' && pods.some(pod => contains(event.route.dst, pod))) gone.push(event.route.dst)
    }),
  )
  await store.update('ClusterInformation', { ...(await store.get('ClusterInformation', 'default')), ...lock(false) })
  const { parts } = await splitPool(store, { name: 'whole' }, 4)
  const poolsOf = (agent: NodeAgent) => agent.allocator.blocks().map(({ pool }) => pool)
  const inParts = () => [one, two].every(agent => poolsOf(agent).every(pool => pool.startsWith('split-whole-')))
  await eventually(t, 'blocks are of the parts', () => [poolsOf(one), poolsOf(two)], inParts)
  t.is((await cni(one, 'ADD', 'c1')).exitCode, 0, 'also under the lock')
  t.true(parts.some(part => contains(part.cidr, addressOf(one, 'c1')!)))
  for (const monitor of monitors) monitor.close()
  t.deepEqual([...gone, ...unmasked], [])
  t.is((await ways()).length, 2)
  t.deepEqual([...broken(one), ...broken(two)], [])
  for (const agent of [one, two]) {
    t.deepEqual((await agent.checkAddresses()).findings, [])
    // what is not published under the lock is not held to the rules of calicoctl
    await agent.close()
  }
})
