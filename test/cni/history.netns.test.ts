// Random histories as in history.test.ts, on this machine's kernel. It restarts and is not killed.
import test from 'ava'
import fc from 'fast-check'
import { netnsPath, removeNetns } from '../../kernel/netns.ts'
import { History } from './history.ts'
import { aStep } from './history-steps.ts'
import { newNetns, sweep } from './node.ts'
import { RealWorld } from './real-world.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip
const PAUSE_MS = 5

async function pause(): Promise<number> {
  await new Promise(resolve => setTimeout(resolve, PAUSE_MS))
  return PAUSE_MS
}

asRoot('on a real kernel runtimes come to their right ends too', async t => {
  t.timeout(100_000)
  sweep()
  const counts = { added: 0, refused: 0, killed: 0, collected: 0 }
  const steps = fc.sample(fc.array(aStep, { minLength: 30, maxLength: 30 }), {
    numRuns: Number(process.env['MARGAY_RUNS'] ?? 1),
    seed: Number(process.env['MARGAY_SEED'] ?? 10),
  })
  for (const [run, history] of steps.entries()) {
    const node = newNetns()
    const world = new RealWorld(netnsPath(node))
    const played = new History(world, run, { prefix: `/run/netns/${node}-`, pause })
    t.teardown(() => {
      played.removeNamespaces()
      world.close()
      removeNetns(node)
    })
    const kernel = world.kernel()
    await kernel.setLink('lo', { up: true })
    kernel.writeSysctl('ipv4', ['ip_forward'], '1')
    kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
    await played.begin()
    // crash.netns.test.ts kills for good: one that is killed in this process leaves sockets that nobody closes
    for (const step of history) await played.apply(step.do === 'send' ? { ...step, killAfter: undefined } : step)
    await played.end()
    t.deepEqual(played.faults, [])
    for (const name of Object.keys(counts) as (keyof typeof counts)[]) counts[name] += played.counts[name]
  }
  t.log(counts)
  t.true(counts.added > 10 && counts.collected > 0)
})
