// How fast repairs go: at once, unless one object is fought over, or all of them take too much of a processor.
import test from 'ava'
import { RepairPace } from '../../felix/repair-pace.ts'

/** Repairs of one object, each undone at once, from `fromMs` on; returns when each is done. */
function fight(
  pace: RepairPace,
  object: string,
  { count, fromMs, everyMs = 0 }: Record<'count' | 'fromMs', number> & { everyMs?: number },
): number[] {
  const doneMs: number[] = []
  for (let nowMs = fromMs; doneMs.length < count; nowMs += everyMs) {
    nowMs += pace.waitMs(object, nowMs)
    pace.repaired([object], 0, nowMs)
    doneMs.push(nowMs)
  }
  return doneMs
}

test('twenty repairs of an object in a second are done at once, then each waits longer, up to five seconds', t => {
  const doneMs = fight(new RepairPace(), 'route', { count: 40, fromMs: 0 })
  t.deepEqual(
    doneMs.slice(0, 21),
    Array.from({ length: 21 }, () => 0),
  )
  const waits = doneMs.slice(21).map((ms, i) => ms - doneMs[20 + i]!)
  t.true(waits[0]! >= 100 && waits[0]! <= 200, `${waits[0]}`)
  t.true(waits.at(-1)! >= 2500 && waits.at(-1)! <= 5000, `${waits.at(-1)}`)
})

test('an object that is changed ten times a second, for as long as it is, is repaired at once each time', t => {
  const doneMs = fight(new RepairPace(), 'route', { count: 600, fromMs: 0, everyMs: 100 })
  t.is(doneMs.at(-1), 59_900)
})

test('an object that nobody touched for a second is repaired at once again', t => {
  const pace = new RepairPace()
  const last = fight(pace, 'route', { count: 30, fromMs: 0 }).at(-1)!
  t.is(pace.waitMs('route', last + 1001), 0)
})

test('a fight over one object, and another program that undoes it all the time is told once', t => {
  const pace = new RepairPace()
  const told: string[] = []
  for (let i = 0; i < 100; i++) told.push(...pace.repaired(['route a'], 1, i))
  t.deepEqual(told, ['route a'])
  t.true(pace.waitMs('route a', 100) > 0)
  t.is(pace.waitMs('route b', 100), 0)
})

test('repairs of many objects take a quarter of a processor, and a quarter of a second of it at once', t => {
  const pace = new RepairPace()
  let nowMs = 0
  let passes = 0
  for (; nowMs < 60_000; passes++) {
    nowMs += pace.waitMs(`route ${passes}`, nowMs)
    nowMs += 50 // the pass
    pace.repaired([`route ${passes}`], 50, nowMs)
  }
  t.true(passes * 50 <= 60_000 * 0.25 + 250 + 50, `${passes}`)
  t.true(passes * 50 >= 60_000 * 0.24, `${passes}`)
})

test('after a pass that took a minute of a processor no repair waits longer than five seconds', t => {
  const pace = new RepairPace()
  pace.repaired(['route a'], 60_000, 0)
  t.is(pace.waitMs('route b', 0), 5000)
  t.is(pace.waitMs('route b', 5000), 0)
})

test('what has rest is forgotten', t => {
  const pace = new RepairPace()
  for (let i = 0; i < 100_000; i++) pace.repaired([`route ${i}`], 0, i)
  t.true(pace.size <= 2001, `${pace.size}`)
})

test('of interfaces that come ten in a second, each once, a few are remembered', t => {
  const pace = new RepairPace()
  for (let i = 0; i < 5000; i++) pace.repaired([`link ${i}`], 0, i * 100)
  t.true(pace.size <= 65, `${pace.size}`)
})
