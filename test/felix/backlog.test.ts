// What is handed to the kernel first when much changes at once, and how felix behaves meanwhile.
import test from 'ava'
import { Backlog } from '../../felix/backlog.ts'
import type { Differences } from '../../felix/desired.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { addLink, kernelState, routeTo, setUpNode, spy } from './node-kernel.ts'
import { calculated, EMPTY, endpoint, FULL, tell, VXLAN_POOL, type World } from './worlds.ts'

const isPod = (name: string) => name.startsWith('cali')
const NODES = 2500

/** A world with many far nodes and one pod. */
const MANY: World = {
  ...EMPTY,
  pools: [VXLAN_POOL],
  remotes: Array.from({ length: NODES }, (_, i) => ({
    name: `far-${i}`,
    address: `192.168.${20 + (i >> 8)}.${i & 255}`,
    vxlanTunnelAddress: `10.245.${20 + (i >> 8)}.${i & 255}`,
  })),
  endpoints: [endpoint('a', '10.245.1.5')],
}

const everything = (world: World) => calculated(world).wanted() as Differences
const NOTHING = calculated(EMPTY).step()

test('what concerns pods is handed on at once, the rest in slices, and nothing is lost or handed on twice', t => {
  const backlog = new Backlog(isPod, 1000)
  const handed = new Map<string, number>()
  let first = true
  for (let next = backlog.next(everything(MANY), 'slice'); ; next = backlog.next(NOTHING, 'slice')) {
    if (first) t.true(next.neighbour.has('calia 10.245.1.5') && next.route.has('10.245.1.5/32'))
    if (first) t.true(next.neighbour.size + next.fdb.size + next.route.size <= 1010)
    first = false
    for (const kind of ['neighbour', 'fdb', 'route'] as const)
      for (const key of next[kind].keys()) handed.set(`${kind} ${key}`, (handed.get(`${kind} ${key}`) ?? 0) + 1)
    if (backlog.isEmpty) break
  }
  const { neighbour, fdb, route } = everything(MANY)
  t.is(handed.size, neighbour.size + fdb.size + route.size)
  t.deepEqual(new Set(handed.values()), new Set([1]))
})

test('a key that changes while it waits is handed on once, with its last value', t => {
  const backlog = new Backlog(isPod, 10)
  backlog.next(everything(MANY), 'slice')
  const key = `vxlan.calico ${MANY.remotes[NODES - 1]!.vxlanTunnelAddress}`
  const gone = { ...NOTHING, neighbour: new Map([[key, undefined]]) }
  backlog.next(gone, 'slice')
  const rest = backlog.next(NOTHING, 'all')
  t.true(rest.neighbour.has(key))
  t.is(rest.neighbour.get(key), undefined)
  t.true(backlog.isEmpty)
})

test('a pod is applied before the entries of thousands of nodes are', async t => {
  const { kernel, felix } = await node()
  tell(felix, MANY)
  await felix.applied('a')
  t.truthy(await routeTo(kernel, '10.245.1.5/32'))
  t.true((await kernelState(kernel)).fdb.length < NODES)
  await felix.applied()
  t.is((await kernelState(kernel)).fdb.length, NODES)
  await felix.close()
})

test('a restart with thousands of nodes removes none of their entries on the way', async t => {
  const first = await node()
  tell(first.felix, MANY)
  await first.felix.inSync()
  await first.felix.close()
  const watched = spy(first.world.kernel())
  const felix = start(watched.kernel)
  tell(felix, { ...MANY, remotes: MANY.remotes.slice(1) })
  await felix.inSync()
  await felix.close()
  t.deepEqual(watched.writes.toSorted(), ['changeNftables', 'deleteFdb', 'deleteNeighbour'])
  t.is((await kernelState(first.kernel)).fdb.length, NODES - 1)
})

test('few differences are handed on in one go', t => {
  const backlog = new Backlog(isPod, 1000)
  const { neighbour, fdb, route } = everything(FULL)
  const next = backlog.next(everything(FULL), 'slice')
  t.deepEqual([next.neighbour.size, next.fdb.size, next.route.size], [neighbour.size, fdb.size, route.size])
  t.true(backlog.isEmpty)
})

async function node(): Promise<{ world: FakeWorld; kernel: Kernel; felix: Felix }> {
  const world = new FakeWorld()
  const kernel = world.kernel()
  await setUpNode(kernel)
  await addLink(kernel, 'calia')
  return { world, kernel, felix: start(world.kernel()) }
}

function start(kernel: Kernel): Felix {
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const felix = new Felix(kernel, { clock: new ManualClock(), log: silentLog, marks, onConditions: () => {} })
  felix.start()
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
  return felix
}
