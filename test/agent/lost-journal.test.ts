// A node whose data directory was lost, or does not know all that runs: living pods keep their network.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { assign, emitBlock, emptyBlock, epochOf } from '../../ipam/block.ts'
import { ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { Clock } from '../../lib/clock.ts'
import { indexOf } from '../../lib/ip.ts'
import { fastClock } from './fast-clock.ts'
import { aCluster, cni, eventually, type Machine, startAgent } from './machines.ts'

const podRoutes = async ({ world }: Machine) => {
  const kernel = world.kernel()
  const names = new Map((await kernel.links()).map(({ index, name }) => [index, name]))
  const routes = await kernel.routes({ table: ROUTE_TABLE.main })
  return routes
    .flatMap(({ dst, ifindex = 0 }) => (names.get(ifindex)?.startsWith('cali') ? [`${dst} ${names.get(ifindex)}`] : []))
    .sort()
}

/** Starts an agent and waits until it is ready and has all its blocks. */
async function startReady(
  t: ExecutionContext,
  at: Machine,
  { store, network }: Pick<Awaited<ReturnType<typeof aCluster>>, 'store' | 'network'>,
  clock?: Clock,
) {
  const agent = await startAgent(t, at, store, network, clock)
  const isReady = () => agent.ready() && agent.allocator.blocksKnown
  await eventually(t, 'ready', () => agent.conditions(), isReady)
  return agent
}

/**
 * A node with two pods whose data directory is gone, or what `lose` does to it. `published` says how many of the pods the
 * API server knows.
 */
async function aLoss(
  t: ExecutionContext,
  { lose = (dataDir: string) => rmSync(dataDir, { recursive: true }), published = 2 } = {},
) {
  const cluster = await aCluster(t)
  const { store, network } = cluster
  const [at] = cluster.machines
  const first = await startAgent(t, at, store, network)
  await eventually(
    t,
    'ready',
    () => first.conditions(),
    () => first.ready(),
  )
  await first.allocator.flush()
  const containers = ['c1', 'c2']
  for (const [i, container] of containers.entries()) {
    if (i === published) store.disconnect()
    const { exitCode, stdout } = await cni(first, 'ADD', container)
    t.is(exitCode, 0, stdout)
    if (i < published) await first.allocator.flush()
  }
  const known = (await store.list('IPAMBlock').catch(() => [])).flatMap(({ spec }) => spec.attributes)
  if (published === 2) t.is(known.filter(({ handle_id }) => handle_id?.startsWith('net.')).length, 2)
  const before = { routes: await podRoutes(at), rows: first.endpoints.all() }
  t.is(before.routes.length, 2)
  await first.close()
  store.reconnect()
  lose(at.dataDir)
  return { ...cluster, at, before }
}

test('after the loss of the data directory living pods keep routes and addresses, and a condition says so', async t => {
  const { store, network, at, before } = await aLoss(t)
  const lost: string[] = []
  at.world.kernel().monitor(event => {
    if (event.type === 'route-gone') lost.push(event.route.dst)
  })
  const again = await startAgent(t, at, store, network, fastClock(20))
  t.is(again.endpoints.live().length, 2)
  t.like(again.conditions().find(({ type }) => type === 'JournalComplete')!, { status: 'False', reason: 'PodsAdopted' })
  t.true(again.events.last(50).some(({ message }) => message.startsWith('JournalComplete')))
  const named = () => again.endpoints.all().map(({ id }) => id)
  await eventually(t, 'whose they are', named, ids => `${ids.sort()}` === 'net/c1/eth0,net/c2/eth0')
  t.deepEqual(
    again.endpoints.all().map(({ netns, mac, handle }) => [netns, mac, handle]),
    before.rows.map(({ netns, mac, handle }) => [netns, mac, handle]),
  )
  // more than the ten seconds after which unknown routes on a pod's interface are removed
  await new Promise(resolve => setTimeout(resolve, 1500))
  t.deepEqual(await podRoutes(at), before.routes)
  t.deepEqual(lost, [], 'not even for a moment')

  t.is((await cni(again, 'ADD', 'c3')).exitCode, 0)
  t.is((await podRoutes(at)).length, 3)
  t.is(new Set((await podRoutes(at)).map(route => route.split(' ')[0])).size, 3)
  for (const container of ['c1', 'c2']) t.is((await cni(again, 'DEL', container)).exitCode, 0)
  t.is((await podRoutes(at)).length, 1)
  t.is(again.conditions().find(({ type }) => type === 'JournalComplete')?.status, 'True')
})

test('an agent without journal and API server keeps living pods, serves their DEL, and gives their addresses to nobody', async t => {
  const { store, network, at, before } = await aLoss(t)
  store.disconnect()
  const again = await startAgent(t, at, store, network, fastClock(20))
  t.is((await cni(again, 'DEL', 'c1')).exitCode, 0)
  await new Promise(resolve => setTimeout(resolve, 1000))
  t.deepEqual(
    await podRoutes(at),
    before.routes.filter(route => route.endsWith(before.rows[1]!.interfaceName)),
  )
  store.reconnect()
  await eventually(
    t,
    'ready',
    () => again.conditions(),
    () => again.ready(),
  )
  t.is((await cni(again, 'ADD', 'c3')).exitCode, 0)
  const addresses = again.endpoints.all().flatMap(each => each.addresses)
  t.is(new Set(addresses).size, 2)
})

test('after a damaged journal the agent starts, says so loudly, and has pods and blocks from kernel and API server', async t => {
  const { store, network, at, before } = await aLoss(t, {
    lose(dataDir) {
      writeFileSync(join(dataDir, 'node.db'), Buffer.alloc(100_000, 0xa5))
      writeFileSync(join(dataDir, 'events.db'), 'no database either')
    },
  })
  const again = await startAgent(t, at, store, network, fastClock(20))
  const told = () => again.conditions().flatMap(({ status, reason }) => (status === 'False' ? [reason] : []))
  await eventually(t, 'told', told, reasons => reasons.includes('Damaged') && reasons.includes('PodsAdopted'))
  await eventually(
    t,
    'ready',
    () => again.conditions(),
    () => again.ready(),
  )
  t.deepEqual(await podRoutes(at), before.routes)
  t.is((await cni(again, 'ADD', 'c3')).exitCode, 0)
  for (const container of ['c1', 'c2', 'c3']) t.is((await cni(again, 'DEL', container)).exitCode, 0)
})

for (const published of [0, 1])
  test(`when ${2 - published} of 2 addresses were not published before the data directory was lost, no other pod gets one of them`, async t => {
    const { store, network, at, before } = await aLoss(t, { published })
    const again = await startAgent(t, at, store, network, fastClock(20))
    await eventually(
      t,
      'ready',
      () => again.conditions(),
      () => again.ready(),
    )
    t.deepEqual(await podRoutes(at), before.routes)
    for (const container of ['c3', 'c4']) t.is((await cni(again, 'ADD', container)).exitCode, 0)
    const addresses = again.endpoints.live().flatMap(each => each.addresses)
    t.is(new Set(addresses).size, 4)
    for (const { addresses: kept } of before.rows) t.true(kept.every(address => addresses.includes(address)))
    await again.allocator.flush()
    const used = (await store.list('IPAMBlock')).flatMap(({ spec }) => spec.allocations.filter(each => each !== null))
    t.is(
      used.length,
      again.allocator.blocks().reduce((sum, block) => sum + block.used, 0),
    )
    for (const container of ['c1', 'c2', 'c3', 'c4']) t.is((await cni(again, 'DEL', container)).exitCode, 0)
    const left = [...again.allocator.held().keys()].filter(handle => !handle.includes('tunnel'))
    t.deepEqual(left, [])
  })

test('addresses that the API server still has for pods that ended before the data directory was lost are free again', async t => {
  const { store, network, at, before } = await aLoss(t)
  for (const { interfaceName } of before.rows) await at.world.kernel().deleteLink(interfaceName)
  const again = await startReady(t, at, { store, network }, fastClock(20))
  const pods = () => [...again.allocator.held().keys()].filter(handle => handle.startsWith('net.'))
  await eventually(t, 'free', pods, handles => handles.length === 0)
})

/** The API server has the address of c1 for a pod that ended: its end and the start of c1 were not published. */
async function nameEarlierPod({ store }: Pick<Awaited<ReturnType<typeof aLoss>>, 'store'>): Promise<void> {
  const [block] = await store.list('IPAMBlock')
  const attributes = block!.spec.attributes.map(each =>
    each.handle_id === 'net.c1.eth0'
      ? { handle_id: 'net.dead.eth0', secondary: { ...each.secondary, containerID: 'dead' } }
      : each,
  )
  await store.update('IPAMBlock', { ...block!, spec: { ...block!.spec, attributes } })
}

test('the address of a pod that the API server has for an earlier one stays the pod’s when the runtime deletes the earlier one once more', async t => {
  const loss = await aLoss(t)
  const { store, network, at } = loss
  await nameEarlierPod(loss)
  const again = await startReady(t, at, { store, network }, fastClock(20))
  const used = again.endpoints.live().flatMap(({ addresses }) => addresses)
  t.is((await cni(again, 'DEL', 'dead')).exitCode, 0)
  const held = [...again.allocator.held().values()].flat().map(({ address }) => address)
  t.true(used.every(address => held.includes(address)))
  t.false(again.allocator.held().has('net.dead.eth0'))
  for (const container of ['c1', 'c2']) t.is((await cni(again, 'DEL', container)).exitCode, 0)
  t.deepEqual(
    [...again.allocator.held().keys()].filter(handle => !handle.includes('tunnel')),
    [],
  )
})

test('after an old copy of the data directory was put back, the address of a pod that runs is not that of the earlier pod in the copy', async t => {
  const cluster = await aCluster(t)
  const [at] = cluster.machines
  const started = () => startReady(t, at, cluster)
  let agent = await started()
  t.is((await cni(agent, 'ADD', 'c1')).exitCode, 0)
  const [address] = agent.endpoints.live()[0]!.addresses
  await agent.close()
  const copy = mkdtempSync(join(tmpdir(), 'margay-copy-'))
  t.teardown(() => rmSync(copy, { recursive: true }))
  cpSync(at.dataDir, copy, { recursive: true })
  agent = await started()
  t.is((await cni(agent, 'DEL', 'c1')).exitCode, 0)
  t.is((await cni(agent, 'ADD', 'c2', { args: { cni: { ips: [address] } } })).exitCode, 0)
  await agent.close()
  rmSync(at.dataDir, { recursive: true })
  cpSync(copy, at.dataDir, { recursive: true })
  agent = await started()
  t.deepEqual(
    agent.endpoints.live().map(({ addresses }) => addresses),
    [[address]],
  )
  const holders = () =>
    [...agent.allocator.held()].flatMap(([handle, held]) => (held.some(has => has.address === address) ? [handle] : []))
  t.is(holders().length, 1)
  t.not(holders()[0], 'net.c1.eth0')
  t.is((await cni(agent, 'DEL', 'c2')).exitCode, 0)
  t.deepEqual(holders(), [])
})

test('the address of a pod that the API server has for an earlier one is free when the pod goes', async t => {
  const loss = await aLoss(t)
  const { store, network, at, before } = loss
  await nameEarlierPod(loss)
  const again = await startReady(t, at, { store, network }, fastClock(20))
  t.deepEqual(await podRoutes(at), before.routes)
  t.is((await cni(again, 'DEL', 'c1')).exitCode, 0)
  t.deepEqual(
    [...again.allocator.held().keys()].filter(handle => handle.startsWith('net.')),
    ['net.c2.eth0'],
  )
})

test('a block that comes back after a restart, since it could not be given back before, loses its pods that ended', async t => {
  const cluster = await aCluster(t)
  const [at] = cluster.machines
  const started = () => startReady(t, at, cluster)
  const first = await started()
  await first.allocator.flush()
  await first.close()
  const left = assign(
    emptyBlock('10.244.77.0/26', 1n),
    { handle: 'net.ended.eth0', secondary: { node: 'n1', containerID: 'ended' } },
    3,
  )
  const { store } = cluster
  const [own] = await store.list('IPAMBlock')
  await store.create('IPAMBlock', emitBlock(left, { node: 'n1', epoch: epochOf(own!)! }))
  const again = await started()
  const blocks = async () => (await store.list('IPAMBlock')).flatMap(({ spec }) => spec.attributes)
  const isGone = (found: Awaited<ReturnType<typeof blocks>>) => !found.some(each => each.handle_id === 'net.ended.eth0')
  await eventually(t, 'the ended pod', blocks, isGone)
  t.false(again.allocator.held().has('net.ended.eth0'))
})

test('addresses that Calico gave to pods that are gone are free again, and a pod that runs keeps its own', async t => {
  const cluster = await aCluster(t)
  const { store, network, machines } = cluster
  const before = await startReady(t, machines[0], cluster)
  t.is((await cni(before, 'ADD', 'c1')).exitCode, 0)
  const [pod] = before.endpoints.live()
  await before.allocator.flush()
  await before.close()
  rmSync(machines[0].dataDir, { recursive: true })
  // as Calico writes them: no containerID, and a handle without the interface; tunnels of earlier versions have no attributes
  const [block] = await store.list('IPAMBlock', { fieldSelector: 'spec.affinity=host:n1' })
  const secondary = { node: 'n1', namespace: 'shop', timestamp: '2026-01-01 00:00:00 +0000 UTC' }
  const attributes = [
    { handle_id: 'k8s-pod-network.0123', secondary: { ...secondary, pod: 'gone' } },
    { handle_id: 'k8s-pod-network.4567', secondary: { ...secondary, pod: 'runs' } },
    {},
    { handle_id: 'k8s-pod-network.89ab', secondary: { ...secondary, pod: 'cold' }, releasedAt: '2026-01-02T00:00:00Z' },
  ]
  const running = indexOf(block!.spec.cidr, pod!.addresses[0]!)!
  const allocations: (number | null)[] = block!.spec.allocations.map((_, ordinal) => (ordinal === running ? 1 : null))
  for (const index of [0, 2, 3]) allocations[(running + 10 + index) % 64] = index
  const unallocated = allocations.flatMap((index, ordinal) => (index === null ? [ordinal] : []))
  await store.update('IPAMBlock', {
    ...block!,
    metadata: { ...block!.metadata, annotations: {} },
    spec: { ...block!.spec, attributes, allocations, unallocated },
  })
  const agent = await startReady(t, machines[0], { store, network })
  const handles = () => [...agent.allocator.held().keys()].filter(handle => !handle.includes('tunnel')).sort()
  await eventually(t, 'collected', handles, all => `${all}` === 'k8s-pod-network.4567')
  t.deepEqual(
    agent.allocator
      .held()
      .get('k8s-pod-network.4567')
      ?.map(({ address }) => address),
    pod!.addresses,
  )
})
