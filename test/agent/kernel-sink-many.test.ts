import test from 'ava'
import { KernelSink } from '../../agent/kernel-sink.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, type RouteChange, type RouteFilter } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aHost, called, MAIN, selected } from './sink-host.ts'

test('a table of 20,000 routes over two next hops is written once each, in parts, and neither lost events nor half of the paths make all be written again', async t => {
  const COUNT = 20_000
  const [sent, reads, lookedUp, told]: [number[], string[], string[], string[]] = [[], [], [], []]
  const world = new FakeWorld()
  const kernel = world.kernel({ ownRoutes: 'untold' })
  const { index } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: index, address: '192.0.2.1', length: 24, scope: ROUTE_SCOPE.universe })
  const spied = called(kernel, (method, [given]) => {
    if (method === 'routes') reads.push(`${(given as RouteFilter).protocol ?? 'all'}`)
    if (method === 'lookupRoute') lookedUp.push(given as string)
    if (method === 'changeRoutes') sent.push((given as RouteChange[]).length)
  })
  kernel.monitor(event => {
    if ('route' in event) told.push(event.route.dst)
  })
  const clock = new ManualClock()
  const written: string[] = []
  const note = (prefixes: readonly string[] | 'unknown') => void written.push(...prefixes)
  const sink = new KernelSink(spied, { table: MAIN }, silentLog, { clock, written: note })
  const pass = async (ms: number) => {
    clock.advance(ms)
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  }
  const route = (n: number) => selected(`10.${n >> 8}.${n & 255}.0/24`)
  const paths = ['192.0.2.9', '192.0.2.8'].map(nextHop => ({ ...route(0), nextHop }))
  for (let n = 0; n < COUNT; n++) sink.selected({ ...route(n), paths })
  await pass(20)
  t.deepEqual(sent, [], 'more may come')
  await pass(20)
  t.deepEqual(sent, [1 << 14, COUNT - (1 << 14)])
  t.deepEqual(reads, ['all'])
  t.deepEqual(lookedUp, ['192.0.2.9', '192.0.2.8'])
  t.is(new Set(written).size, COUNT)

  // as when the buffer of the monitor was too small
  for (const list of [sent, reads, written]) list.length = 0
  world.overrun()
  await pass(0)
  await pass(200)
  await pass(20)
  t.deepEqual([sent, written], [[], []])
  t.deepEqual(reads, [`${ROUTE_PROTOCOL.margayBgp}`])

  // the group of all routes becomes one of the path that is left, also where not all of them are told at once
  reads.length = 0
  for (const [from, to] of [
    [0, COUNT / 2],
    [COUNT / 2, COUNT],
  ] as const) {
    for (let n = from; n < to; n++) sink.selected({ ...route(n), paths: [paths[0]!] })
    await pass(20)
  }
  await pass(20)
  t.deepEqual([sent, reads], [[], []])
  const groups = (await kernel.nextHopObjects())!.filter(({ group }) => group !== undefined)
  t.deepEqual(
    groups.map(({ group }) => group!.length),
    [1],
  )

  sink.allowDeletes()
  await pass(20)
  for (let n = 0; n < COUNT; n++) sink.withdrawn(route(n).prefix)
  await pass(20)
  await pass(20)
  t.deepEqual(sent, [1 << 14, COUNT - (1 << 14)])
  t.deepEqual(reads, [])
  t.is(new Set(written).size, COUNT)
  t.deepEqual(told, [])
  sink.close()
})

test('where thousands of changes come without end, they are written after ten seconds', async t => {
  const { sink, pass, routes } = await aHost()
  const counts: number[] = []
  for (let n = 0; n < 5; n++) {
    for (let i = 0; i < 2000; i++) sink.selected(selected(`10.${n}.${i >> 8}.${i & 255}/32`))
    await pass(3000)
    counts.push((await routes()).length)
  }
  t.deepEqual(counts, [0, 0, 0, 8000, 8000])
  sink.close()
})

test('where it takes long to look prefixes up, others have a turn each 5 ms, before anything is written', async t => {
  /** Turns of the event loop from the timer to the first write, where 64 prefixes take so long. */
  const turnsAt = async (msPer64: number) => {
    let written = false
    const clock = new ManualClock()
    let lateMs = 0
    clock.monotonicMs = () => {
      lateMs += msPer64
      return lateMs
    }
    const { kernel } = await aHost()
    const spied = called(kernel, method => {
      if (method === 'changeRoutes') written = true
    })
    const sink = new KernelSink(spied, { table: MAIN }, silentLog, { clock })
    for (let n = 0; n < 64 * 16; n++) sink.selected(selected(`10.${n >> 8}.${n & 255}.0/24`))
    clock.advance(20)
    let turns = 0
    for (; !written && turns < 100; turns++) await new Promise(setImmediate)
    await sink.close()
    return turns
  }
  const [instant, slow, slower] = [await turnsAt(0), await turnsAt(2.5), await turnsAt(5)]
  t.true(instant < 5, `${instant}`)
  // 16 looks at the clock, of which each second finds 5 ms over, or each
  t.deepEqual([slow - instant, slower - instant], [8, 16])
})
