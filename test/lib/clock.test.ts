import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { Backoff } from '../../lib/backoff.ts'
import { keepProcess, ManualClock, systemClock } from '../../lib/clock.ts'

test('timers fire in order of their time, also those set by another timer', t => {
  const clock = new ManualClock()
  const fired: string[] = []
  clock.after(20, () => fired.push('b'))
  clock.after(10, () => {
    fired.push('a')
    clock.after(5, () => fired.push(`a+5 at ${clock.monotonicMs()}`))
  })
  clock.after(30, () => fired.push('late'))
  clock.advance(20)
  t.deepEqual(fired, ['a', 'a+5 at 15', 'b'])
  t.is(clock.pending, 1)
})

test('a cancelled timer never fires and is not pending', t => {
  const clock = new ManualClock()
  const cancel = clock.after(1, () => t.fail())
  cancel()
  cancel()
  clock.advance(10)
  t.is(clock.pending, 0)
})

test('delays grow to the ceiling, stay within their half, and start over after a success', t => {
  const low = new Backoff({ firstMs: 100, maxMs: 1000, random: () => 0 })
  t.deepEqual([low.next(), low.next(), low.next(), low.next(), low.next()], [50, 100, 200, 400, 500])
  low.reset()
  t.is(low.next(), 50)
})

test('a timer of 194 days, a long-lived stale time of RFC 9494, does not fire at once', async t => {
  let fired = false
  const cancel = systemClock.after(16_777_215_000, () => {
    fired = true
  })
  // Node cuts a delay above 2^31 ms to 1 ms
  await sleep(20)
  t.false(fired)
  cancel()
})

test('what keeps the process alive does so until it is let go, and a timer of the system clock does not', t => {
  const reasons = () => process.getActiveResourcesInfo().filter(kind => kind === 'Timeout').length
  const before = reasons()
  const cancel = systemClock.after(60_000, () => undefined)
  t.is(reasons(), before)
  cancel()
  const release = keepProcess()
  t.is(reasons(), before + 1)
  release()
  t.is(reasons(), before)
})

test('an option that is undefined has its default', t => {
  const delay = new Backoff({ firstMs: 100, maxMs: 1000, random: undefined }).next()
  t.true(delay >= 50 && delay <= 100)
})
