// When blocks are published: after failures more and more rarely, until somebody says that the server may be back.
import test from 'ava'
import { Unreachable } from '../../datastore/port.ts'
import { PublishQueue } from '../../ipam/publish-queue.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

test('a block whose publishing fails while the server comes back is published within a second, not after the pause of many failures', async t => {
  const clock = new ManualClock()
  let passes = 0
  let held: PromiseWithResolvers<void> | undefined
  let isBack = false
  const queue = new PublishQueue({
    ...{ clock, log: silentLog },
    publish: async () => {
      passes++
      await held?.promise
      if (!isBack) throw new Unreachable('away')
    },
  })
  const pass = async (ms: number) => {
    clock.advance(ms)
    for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  }
  queue.start()
  queue.add('10.0.0.0/26')
  for (let i = 0; i < 12; i++) await pass(30_000)
  const before = passes
  held = Promise.withResolvers()
  await pass(30_000)
  t.is(passes, before + 1, 'a pass is under way')
  queue.hurry()
  const { resolve } = held
  held = undefined
  resolve()
  await pass(0) // it fails: it began before the server was back
  isBack = true
  await pass(1000)
  t.deepEqual(queue.unpublished().blocks, [])
  await queue.close()
})
