import test from 'ava'
import { ManualClock } from '../../lib/clock.ts'
import { SoonestTimer } from '../../lib/soonest-timer.ts'

function counted(): { clock: ManualClock; timer: SoonestTimer; fired: number[] } {
  const clock = new ManualClock()
  const fired: number[] = []
  const startMs = clock.monotonicMs()
  return { clock, timer: new SoonestTimer(clock, () => fired.push(clock.monotonicMs() - startMs)), fired }
}

test('it fires once, at the soonest of the times that were asked for, in whatever order', t => {
  for (const delays of [
    [200, 20, 1000],
    [20, 1000, 200],
  ]) {
    const { clock, timer, fired } = counted()
    for (const delayMs of delays) timer.within(delayMs)
    clock.advance(5000)
    t.deepEqual(fired, [20])
  }
})

test('a time that is nearer by the clock counts, not a delay that is shorter', t => {
  const { clock, timer, fired } = counted()
  timer.within(100)
  clock.advance(90)
  timer.within(20)
  clock.advance(1000)
  t.deepEqual(fired, [100])
})

test('it fires again when it is asked again, also from within', t => {
  const clock = new ManualClock()
  let fired = 0
  const timer = new SoonestTimer(clock, () => {
    fired++
    if (fired < 3) timer.within(10)
  })
  timer.within(10)
  clock.advance(30)
  t.is(fired, 3)
})

test('nothing is left of what was cancelled', t => {
  const { clock, timer, fired } = counted()
  timer.within(50)
  timer.cancel()
  timer.within(100)
  clock.advance(1000)
  t.deepEqual(fired, [100])
  timer.cancel()
})
