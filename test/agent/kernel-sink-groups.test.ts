// What the sink of `margay-bgp` says where the kernel has no such groups as its file asks for.
import test from 'ava'
import { KernelSink } from '../../agent/kernel-sink.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NextHopChange } from '../../kernel/port/next-hops.ts'
import { ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

test('a kernel without resilient groups gets plain ones, and that is said once', async t => {
  using kernel = new FakeWorld().kernel()
  const { index } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: index, address: '192.0.2.1', length: 24, scope: ROUTE_SCOPE.universe })
  const clock = new ManualClock()
  const old = new Proxy(kernel, {
    get: (target, name: keyof Kernel) => {
      if (name !== 'changeNextHopObjects') return Reflect.get(target, name).bind(target)
      return (changes: readonly NextHopChange[]) =>
        changes.some(({ object }) => object.resilient !== undefined)
          ? changes.map(({ object }) => new KernelError(ERRNO.EINVAL, 'add next hop object', `${object.id}`))
          : target.changeNextHopObjects(changes)
    },
  })
  const said: string[] = []
  const log = { ...silentLog, warn: (_: object, text?: string) => void said.push(text ?? '') }
  const resilient = { buckets: 512, idleSeconds: 120 }
  const sink = new KernelSink(old, { table: ROUTE_TABLE.main, resilient }, log, { clock })
  for (const prefix of ['10.0.0.0/24', '10.0.1.0/24']) {
    const paths = ['192.0.2.8', prefix.startsWith('10.0.0') ? '192.0.2.9' : '192.0.2.7'].map(nextHop => ({
      ...{ nextHop, encapsulations: [], peer: 'tor' },
    }))
    sink.selected({ prefix, family: 'ipv4', ...paths[0]!, paths })
    clock.advance(20)
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  }
  const groups = (await kernel.nextHopObjects())?.filter(({ group }) => group !== undefined)
  t.deepEqual(
    groups?.map(each => [each.group?.length, each.resilient]),
    [
      [2, undefined],
      [2, undefined],
    ],
  )
  t.deepEqual(said, ['no resilient groups: when one of three or more paths goes, flows of the others may move'])
  await sink.close()
})
