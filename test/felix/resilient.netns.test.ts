// Three routers that announce the same prefix to a node, in felix' own table and on the real kernel: with resilient groups one that
// is lost moves its own flows alone, whether its session ends or its link, and when the option came while the routes stood.
import test from 'ava'
import type { Settings } from '../../felix/input.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { Racks } from '../bgp/racks.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { eventually } from './node-kernel.ts'

const PATIENCE_MS = 120_000
const FLOWS = 200
const PREFIX = '203.0.113.0/24'
const CONFIG: Settings['config'] = {
  vxlanPort: 4789,
  vxlanVni: 4096,
  ipipMtu: 0,
  vxlanMtu: 0,
  workloadRouteProtocol: 3,
}
const RESILIENT = { buckets: 512, idleSeconds: 120 }

const runs = isRoot ? test : test.skip
runs('of three paths one is lost: with resilient groups its flows alone move', async t => {
  t.timeout(PATIENCE_MS)
  await using racks = new Racks(3)
  using kernel = racks.kernel()
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const felix = new Felix(kernel, { clock: systemClock, log: silentLog, marks, onConditions: () => undefined })
  await using undo = new AsyncDisposableStack()
  undo.defer(() => felix.close())
  const announcedBy = (...numbers: number[]) => {
    const paths = numbers.map(number => ({ nextHop: `10.0.${number}.2`, encapsulations: [] }))
    felix.set('learned', PREFIX, { prefix: PREFIX, ...paths[0]!, paths })
  }
  felix.configure({
    ...{ node: { name: 'n1', ipv4: '10.0.1.1/24', uplink: 't1' }, config: CONFIG },
    ...{ capabilities: { ipip: false, vxlan: false }, uplinkMtu: 1500 },
  })
  announcedBy(1, 2, 3)
  felix.start()
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
  const groups = async () => ((await kernel.nextHopObjects()) ?? []).filter(({ group }) => group !== undefined)
  /** Which router each flow gets to, by a single group with so many members. */
  const flows = async (size: number, resilient: typeof RESILIENT | undefined) => {
    await eventually('one group has the paths', async () => {
      const [only, other] = await groups()
      return other === undefined && only?.group?.length === size
    })
    t.deepEqual((await groups())[0]?.resilient, resilient)
    return racks.flows('ipv4', FLOWS)
  }
  const movedOfOthers = (before: readonly string[], after: readonly string[]) =>
    before.filter((name, i) => name !== 'tor1' && after[i] !== name).length

  await felix.inSync()
  const plain = await flows(3, undefined)
  announcedBy(2, 3)
  await felix.inSync()
  // the kernel gives each member a part of the hashes, in their order: without the first all others get other parts
  const moved = movedOfOthers(plain, await flows(2, undefined))
  t.true(moved > 0)
  t.log(`a plain group: ${moved} of ${plain.filter(name => name !== 'tor1').length} flows of the others moved`)

  announcedBy(1, 2, 3)
  await felix.inSync()
  felix.configure({ config: { ...CONFIG, resilient: RESILIENT } })
  await felix.inSync()
  const before = await flows(3, RESILIENT)
  for (const name of ['tor1', 'tor2', 'tor3']) t.true(before.includes(name), before.join())
  announcedBy(2, 3)
  await felix.inSync()
  const without = await flows(2, RESILIENT)
  t.false(without.includes('tor1'))
  t.is(movedOfOthers(before, without), 0, 'its session ended')

  // a path that comes back gets flows only of buckets that were idle for long: another group has them all at once
  announcedBy(1, 2, 3)
  const other = { ...RESILIENT, buckets: 256 }
  felix.configure({ config: { ...CONFIG, resilient: other } })
  await felix.inSync()
  const again = await flows(3, other)
  t.true(again.includes('tor1'), again.join())
  racks.setCarrier(racks.routers[0]!, false)
  const dark = await flows(2, other)
  t.false(dark.includes('tor1'))
  t.is(movedOfOthers(again, dark), 0, 'its link has no carrier')
})
