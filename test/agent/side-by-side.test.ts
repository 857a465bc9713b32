// A node's agent and a margay-bgp that write into the same table of one namespace.
import test, { type ExecutionContext } from 'ava'
import { KernelSink } from '../../agent/kernel-sink.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { isRoot, openNetns, sweep } from '../felix/netns.ts'
import { addLink, eventually, routeTo, setUpNode, table } from '../felix/node-kernel.ts'
import { FULL, tell } from '../felix/worlds.ts'

const selected = (prefix: string) =>
  ({ prefix, family: 'ipv4', nextHop: '192.168.10.9', encapsulations: [], peer: 'tor' }) as const

async function sideBySide(t: ExecutionContext, kernel: Kernel, otherProgram: Kernel): Promise<void> {
  const closers: (() => unknown)[] = []
  try {
    await setUpNode(otherProgram)
    for (const { interfaceName } of FULL.endpoints) await addLink(otherProgram, interfaceName)
    const startFelix = async () => {
      const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
      const felix = new Felix(kernel, { clock: new ManualClock(), log: silentLog, marks, onConditions: () => {} })
      closers.push(() => felix.close())
      felix.start()
      tell(felix, { ...FULL, capabilities: { ipip: false, vxlan: true } })
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      await felix.inSync()
      return felix
    }
    const startSink = async (prefixes: readonly string[]) => {
      const sink = new KernelSink(kernel, { table: 254 }, silentLog)
      closers.push(() => sink.close())
      for (const prefix of prefixes) sink.selected(selected(prefix))
      sink.allowDeletes()
      for (const prefix of prefixes)
        await eventually(`${prefix} is written`, async () => (await routeTo(otherProgram, prefix)) !== undefined)
      return sink
    }
    const agent = await startFelix()
    const bgp = await startSink(['10.250.0.0/24', '10.251.0.0/24'])
    const both = await table(otherProgram)
    t.true(both.includes('unicast 10.250.0.0/24 via 192.168.10.9 dev eth0 proto 179'))
    t.true(both.includes('unicast 10.244.2.0/26 via 192.168.10.12 dev eth0 proto 80'))

    await agent.close()
    const again = await startFelix()
    t.deepEqual(await table(otherProgram), both)
    bgp.close()
    // what the earlier margay-bgp left and this one does not want goes, and nothing of the agent
    await startSink(['10.250.0.0/24'])
    await eventually(
      'the stale route is removed',
      async () => (await routeTo(otherProgram, '10.251.0.0/24')) === undefined,
    )
    await again.applied()
    t.deepEqual(
      await table(otherProgram),
      both.filter(line => !line.includes('10.251.0.0/24')),
    )
  } finally {
    for (const close of closers) await close()
  }
}

const TITLE =
  'an agent and a margay-bgp in one namespace and table leave each other’s routes alone, also after restarts'

test(`${TITLE} (fake kernel)`, async t => {
  const world = new FakeWorld()
  await sideBySide(t, world.kernel(), world.kernel())
})

if (isRoot)
  test(`${TITLE} (real kernel)`, async t => {
    sweep()
    const { kernel, otherProgram, close } = await openNetns()
    try {
      await sideBySide(t, kernel, otherProgram)
    } finally {
      await close()
    }
  })

test('a route that the agent holds is refused to margay-bgp with a warning, and written when it is free', async t => {
  const world = new FakeWorld()
  const otherProgram = world.kernel()
  await setUpNode(otherProgram)
  const { index } = (await otherProgram.link('eth0'))!
  const agents = {
    dst: '10.250.0.0/24',
    table: 254,
    type: 'unicast',
    protocol: 80,
    scope: 0,
    gateway: '192.168.10.12',
    ifindex: index,
  } as const
  await otherProgram.changeRoutes([{ verb: 'add', route: agents }])
  const warnings: Record<string, unknown>[] = []
  const log = { ...silentLog, warn: (facts: Record<string, unknown>) => warnings.push(facts) } as typeof silentLog
  const sink = new KernelSink(world.kernel(), { table: 254 }, log)
  t.teardown(() => sink.close())
  sink.selected(selected('10.250.0.0/24'))
  await eventually('it is refused', () => warnings.length > 0)
  t.like(warnings[0], { route: '10.250.0.0/24', reason: 'ForeignOwner', refused: 1 })
  t.like(await routeTo(otherProgram, '10.250.0.0/24'), { protocol: 80, gateway: '192.168.10.12' })
  await otherProgram.changeRoutes([{ verb: 'delete', route: agents }])
  const written = async () => (await routeTo(otherProgram, '10.250.0.0/24'))?.protocol === 179
  await eventually('it is written', written)
  t.pass()
})
