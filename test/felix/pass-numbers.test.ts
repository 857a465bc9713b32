import test from 'ava'
import { PassNumbers } from '../../felix/pass-numbers.ts'
import { ManualClock } from '../../lib/clock.ts'

test('passes are counted with their time, and those with a refusal or an error as failures', async t => {
  const clock = new ManualClock()
  const passes = new PassNumbers(clock)
  const pass = (refused: readonly unknown[]) =>
    passes.measure(async () => {
      clock.advance(250)
      return { refused }
    })
  await pass([])
  await pass([1])
  t.deepEqual(passes.now, { count: 2, seconds: 0.5, failures: 1 })
  await t.throwsAsync(passes.measure(() => Promise.reject(new Error('no kernel'))))
  t.deepEqual(passes.now, { count: 3, seconds: 0.5, failures: 2 })
})
