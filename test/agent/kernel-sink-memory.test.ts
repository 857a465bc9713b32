import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import test from 'ava'
import { KernelSink } from '../../agent/kernel-sink.ts'
import { PREFIX_TABLES } from '../../bgp/rib/store/prefix-table.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** The maps of V8 have room for so many before they double. */
const COUNT = 65_000
/** 137 were measured; an object for each route, a text in two pieces or a set that doubled for nothing is 20 to 120 more. */
const MOST_OCTETS = 155

test('a route over two next hops that was written takes less than 155 octets of heap', async t => {
  const clock = new ManualClock()
  const { kernel, written } = await takesAll()
  const sink = new KernelSink(kernel, { table: ROUTE_TABLE.main }, silentLog, { clock })
  const prefixes = new PREFIX_TABLES.ipv4()
  const ids = Array.from({ length: COUNT }, (_, n) => prefixes.add(Uint8Array.of(10 + (n >> 16), n >> 8, n), 0, 24))
  const paths = ['192.0.2.9', '192.0.2.8'].map(nextHop => ({ nextHop, peer: 'tor', encapsulations: [] }))
  collect()
  const before = process.memoryUsage().heapUsed
  for (const id of ids) sink.selected({ ...paths[0]!, prefix: prefixes.text(id), family: 'ipv4', paths })
  clock.advance(20)
  while (written() < COUNT) {
    await new Promise(setImmediate)
    clock.advance(20)
  }
  await sink.close()
  collect()
  const octets = (process.memoryUsage().heapUsed - before) / COUNT
  t.log(`${octets.toFixed(0)} octets`)
  t.true(octets < MOST_OCTETS)
  t.is(sink.selectedPaths('10.0.0.0/24')?.length, 2)
})

/** A kernel that takes every route and keeps none. */
async function takesAll(): Promise<{ kernel: Kernel; written(): number }> {
  const kernel = new FakeWorld().kernel({ ownRoutes: 'untold' })
  const { index } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: index, address: '192.0.2.1', length: 24, scope: ROUTE_SCOPE.universe })
  let count = 0
  kernel.changeRoutes = async changes => {
    count += changes.length
    return changes.map(() => undefined)
  }
  return { kernel, written: () => count }
}
