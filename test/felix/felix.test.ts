// Felix on the fake kernel, which has every tunnel kind.
import test from 'ava'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { addLink, routeTo, setUpNode } from './node-kernel.ts'
import { felixSuite } from './suite.ts'
import { endpoint, FULL, learned, tell } from './worlds.ts'

felixSuite(test, {
  full: FULL,
  open: async () => {
    const world = new FakeWorld()
    return { kernel: world.kernel(), otherProgram: world.kernel(), close: async () => {} }
  },
})

test('an interface that is made again during a pass has everything when its endpoint counts as applied', async t => {
  const real = new FakeWorld().kernel()
  await setUpNode(real)
  await addLink(real, 'calia')
  const held = Promise.withResolvers<void>()
  const reached = Promise.withResolvers<void>()
  let holds = false
  const kernel = new Proxy(real, {
    get(target, name: keyof Kernel) {
      if (name === 'monitor') return () => ({ close: () => undefined }) // no event tells of the new interface
      const method = target[name]
      if (name !== 'changeRoutes' || !holds) return typeof method === 'function' ? method.bind(target) : method
      return async (changes: Parameters<Kernel['changeRoutes']>[0]) => {
        reached.resolve()
        await held.promise
        return target.changeRoutes(changes)
      }
    },
  })
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const felix = new Felix(kernel, { clock: new ManualClock(), log: silentLog, marks, onConditions: () => {} })
  felix.start()
  tell(felix, { ...FULL, endpoints: [endpoint('a', '10.244.1.5')] })
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
  await felix.inSync()
  holds = true
  felix.set('learned', '10.99.0.0/26', learned('10.99.0.0/26', '192.168.10.12'))
  await reached.promise
  await real.deleteLink('calia')
  await real.createLink({ kind: 'veth', name: 'calia', peer: { name: 'p-calia' } })
  const applied = felix.applied('a')
  holds = false
  held.resolve()
  await applied
  t.is(real.readSysctl('ipv4', ['conf', 'calia', 'proxy_arp']).trim(), '1')
  t.truthy(await routeTo(real, '10.244.1.5/32'))
  await felix.close()
})
