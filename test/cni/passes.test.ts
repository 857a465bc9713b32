// What a pod costs felix: one pass for ADD and one for DEL. The kernel tells of the link and its settings as they were made after
// they are as they should be; that is no change by others, and must not take from what real repairs may take.
import test from 'ava'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { setUpNode } from '../felix/node-kernel.ts'
import { aPool } from '../ipam/world.ts'
import { aHost, call } from './host.ts'

for (const families of ['IPv4', 'both families'])
  test(`ADD and DEL of a pod take one pass each, ${families}`, async t => {
    const world = new FakeWorld()
    await setUpNode(world.kernel())
    const pools = [aPool('p', '10.0.0.0/24'), ...(families === 'IPv4' ? [] : [aPool('v6', 'fd00:244::/112')])]
    const { felix, ...host } = await aHost(undefined, world, world.kernel(), { pools })
    await felix.inSync()
    for (const id of ['c1', 'c2', 'c3']) {
      const netns = `/run/netns/${id}`
      world.addNetns(netns)
      for (const verb of ['ADD', 'DEL']) {
        const before = felix.passes.now.count
        t.is((await call({ felix, ...host }, verb, { id, netns })).exitCode, 0)
        // what the kernel tells comes in later turns
        for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate)
        t.is(felix.passes.now.count - before, 1, `${verb} of ${id}`)
      }
    }
    await host.close()
  })
