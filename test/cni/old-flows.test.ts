import test from 'ava'
import { OldFlows } from '../../cni/old-flows.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Flow } from '../../kernel/port/conntrack.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ManualClock } from '../../lib/clock.ts'
import { familyOf } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'
import { aPool } from '../ipam/world.ts'
import { added, aHost, call, POD } from './host.ts'

let lastId = 0
const nextTurn = () => new Promise(setImmediate)

/** A connection whose packets go on to `behind`, where that is another one than `destination`. */
function aFlow(source: string, destination: string, behind = destination): Flow {
  const ends = { protocol: 6, ports: { source: 40_000, destination: 80 } }
  const original = { ...ends, source, destination }
  const reply = { ...ends, source: behind, destination: source, ports: { source: 80, destination: 40_000 } }
  return { id: ++lastId, family: familyOf(source), original, reply, isExpected: false, isAnswered: true }
}

test('soon after DEL nothing is tracked of the pod’s address any more, to it, from it or behind a Service, and DEL waits for no walk', async t => {
  const host = await aHost()
  const { ips } = await added(host)
  const address = ips[0]!.address.split('/')[0]!
  const other = aFlow('192.0.2.1', '192.0.2.2')
  host.world.tracked.flows = [
    aFlow(address, '192.0.2.2'),
    aFlow('192.0.2.1', address),
    other,
    aFlow('192.0.2.1', '10.96.0.1', address),
  ]
  await call(host, 'DEL')
  t.is(host.world.tracked.flows.length, 4)
  host.clock.advance(250)
  await nextTurn()
  t.deepEqual(host.world.tracked.flows, [other])
})

test('a pod that gets the address of one that has just gone finds nothing tracked of it, and keeps its own connections', async t => {
  const host = await aHost(undefined, undefined, undefined, { pools: [aPool('p', '10.0.0.0/32', 32)] })
  const address = (await added(host)).ips[0]!.address.split('/')[0]!
  host.world.tracked.flows = [aFlow(address, '192.0.2.2')]
  await call(host, 'DEL')
  await added(host, 'c2', '/run/netns/other')
  t.deepEqual(host.world.tracked.flows, [])
  const own = aFlow(address, '192.0.2.3')
  host.world.tracked.flows = [own]
  host.clock.advance(1000)
  await nextTurn()
  t.deepEqual(host.world.tracked.flows, [own])
})

test('one walk serves all pods that go within a quarter of a second, and their addresses need none any more', async t => {
  const world = new FakeWorld()
  const { flows, walks, clock } = counting(world)
  await flows.follow([BLOCK], new Set(['10.0.0.1', '10.0.0.2']))
  flows.clear(['10.0.0.1'])
  clock.advance(200)
  flows.clear(['10.0.0.2', '10.9.9.9'])
  t.is(walks.length, 1)
  clock.advance(50)
  await nextTurn()
  t.deepEqual(walks[1], ['10.0.0.1', '10.0.0.2', '10.9.9.9'])
  await flows.prepare(['10.0.0.1', '10.0.0.2'])
  t.is(walks.length, 2)
  await flows.prepare(['10.9.9.9'])
  t.is(walks.length, 3, 'of no block: nobody walks for it when its block comes again')
  flows.clear(['10.0.0.1'])
  flows.close()
  clock.advance(1000)
  t.is(walks.length, 3)
})

test('when ADD answers nothing is tracked of an earlier pod at its address, and nothing was when its interface came', async t => {
  const host = await aHost()
  const first = (await added(host)).ips[0]!.address.split('/')[0]!
  await call(host, 'DEL')
  const next = first.replace(/\d+$/, last => `${Number(last) + 1}`)
  host.world.tracked.flows = [aFlow('192.0.2.1', next)]
  const atLink: number[] = []
  const createLink: Kernel['createLink'] = spec => {
    atLink.push(host.world.tracked.flows.length)
    return host.deps.kernel.createLink(spec)
  }
  const kernel = new Proxy(host.deps.kernel, {
    get: (target, name) => (name === 'createLink' ? createLink : Reflect.get(target, name).bind(target)),
  })
  const { ips } = await added({ ...host, deps: { ...host.deps, kernel } }, 'c2', '/run/netns/other')
  t.is(ips[0]!.address, `${next}/32`)
  t.deepEqual(atLink, [0])
})

test('an ADD is refused, and leaves nothing, while entries of its address cannot be deleted', async t => {
  const host = await aHost()
  const world = host.world
  world.addNetns(POD)
  const refused = new KernelError(ERRNO.EBUSY, 'delete connection', 'protocol 6')
  const kernel = { ...trackedBy(world), deleteFlows: async (flows: readonly Flow[]) => flows.map(() => refused) }
  const deps = { ...host.deps, oldFlows: new OldFlows({ kernel, clock: host.clock, log: silentLog }) }
  world.tracked.flows = Array.from({ length: 64 }, (_, i) => aFlow('192.0.2.1', `10.0.0.${i}`))
  const answer = JSON.parse((await call({ ...host, deps }, 'ADD')).stdout)
  t.like(answer, { code: 11 })
  t.regex(answer.msg, /connections of an earlier pod at 10\.0\.0\.\d+ cannot be deleted/)
  t.deepEqual(
    (await world.kernel().links()).map(({ name }) => name),
    ['lo'],
  )
  t.deepEqual([...deps.ipam.held().keys()], [])
})

test('however many pods end while a walk is under way, one more walk serves them all', async t => {
  const world = new FakeWorld()
  const walks: number[] = []
  const gate = Promise.withResolvers<void>()
  const kernel = {
    ...trackedBy(world),
    flowsOf: async (addresses: ReadonlySet<string>, each: (flow: Flow) => void) => {
      walks.push(addresses.size)
      await gate.promise
      await trackedBy(world).flowsOf(addresses, each)
    },
  }
  const flows = new OldFlows({ kernel, clock: new ManualClock(), log: silentLog })
  world.tracked.flows = Array.from({ length: 6000 }, (_, i) => aFlow('192.0.2.1', `10.0.${i >> 8}.${i & 255}`))
  const first = flows.prepare(['10.0.0.0'])
  await new Promise(resolve => setImmediate(resolve))
  const others = world.tracked.flows.map(({ original }) => flows.prepare([original.destination]))
  gate.resolve()
  await Promise.all([first, ...others])
  t.deepEqual(world.tracked.flows, [])
  t.deepEqual(walks, [1, 6000, 6000], 'more entries than are held at once need a second look')
})

test('a kernel that cannot list connections holds no pod back; what else goes wrong is told to who asked', async t => {
  const fails = (errno: number) => {
    const flowsOf = () => Promise.reject(new KernelError(errno, 'list', 'tracked connections'))
    return new OldFlows({ kernel: { flowsOf, deleteFlows: async () => [] }, clock: new ManualClock(), log: silentLog })
  }
  await fails(ERRNO.EINVAL).prepare(['10.0.0.1'])
  const flows = fails(ERRNO.EPERM)
  await t.throwsAsync(flows.prepare(['10.0.0.1']), { instanceOf: KernelError })
  await t.throwsAsync(flows.prepare(['10.0.0.1']), { instanceOf: KernelError }, 'and the next one is asked again')
})

function trackedBy({ tracked }: FakeWorld): Pick<Kernel, 'flowsOf' | 'deleteFlows'> {
  return {
    flowsOf: (addresses, each) => tracked.flowsOf(addresses, each),
    deleteFlows: flows => tracked.deleteFlows(flows),
  }
}

/** Walks for addresses, as the kernel was asked for them. */
function counting(world: FakeWorld): { flows: OldFlows; walks: string[][]; clock: ManualClock } {
  const walks: string[][] = []
  const tracked = trackedBy(world)
  const kernel = {
    ...tracked,
    flowsOf: (addresses: ReadonlySet<string>, each: (flow: Flow) => void) => {
      walks.push([...addresses])
      return tracked.flowsOf(addresses, each)
    },
  }
  const clock = new ManualClock()
  return { flows: new OldFlows({ kernel, clock, log: silentLog }), walks, clock }
}

const BLOCK = { cidr: '10.0.0.0/30', pool: 'p', used: 1, size: 4 }

test('the free addresses of a block that came are walked for once, and pods get them without a walk, once each', async t => {
  const world = new FakeWorld()
  const { flows, walks } = counting(world)
  world.tracked.flows = [aFlow('192.0.2.1', '10.0.0.2'), aFlow('192.0.2.1', '10.0.0.1')]
  await flows.follow([BLOCK], new Set(['10.0.0.1']))
  t.deepEqual(walks, [['10.0.0.0', '10.0.0.2', '10.0.0.3']])
  t.deepEqual(
    world.tracked.flows.map(({ original }) => original.destination),
    ['10.0.0.1'],
    'the pod that is there keeps its connections',
  )
  await flows.follow([BLOCK], new Set(['10.0.0.1']))
  await flows.prepare(['10.0.0.2'])
  t.is(walks.length, 1)
  await flows.prepare(['10.0.0.2'])
  t.is(walks.length, 2, 'an ADD that was undone cleared nothing')
  flows.clear(['10.0.0.2'])
  await flows.prepare(['10.0.0.2'])
  t.is(walks.length, 3)
})

test('an address that a pod gets while its block is walked for, and one of a block that went and came again, is walked for', async t => {
  const world = new FakeWorld()
  const { flows, walks } = counting(world)
  const following = flows.follow([BLOCK], new Set())
  await Promise.all([following, flows.prepare(['10.0.0.2'])])
  t.is(walks.length, 1, 'the same walk serves both')
  await flows.prepare(['10.0.0.2'])
  t.is(walks.length, 2, 'it is in use')
  await flows.follow([], new Set())
  await flows.prepare(['10.0.0.3'])
  t.is(walks.length, 3)
  await flows.follow([BLOCK], new Set(['10.0.0.2', '10.0.0.3']))
  t.deepEqual(walks[3], ['10.0.0.0', '10.0.0.1'])
})
