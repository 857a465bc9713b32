import test from 'ava'
import { type Chore, Chores } from '../../controllers/chores.ts'
import { Unreachable } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

/** Chores with one chore, which does what `act` says, and how often it ran. */
function oneChore(act: (run: number) => number) {
  const clock = new ManualClock()
  let runs = 0
  const chore: Chore = { name: 'one', run: async () => act(++runs) }
  const chores = new Chores([chore], { clock, log: silentLog })
  return { clock, chores, runs: () => runs }
}

const settled = () => new Promise(setImmediate)

test('a chore runs while this program leads, again after the time it asks for, and not after that', async t => {
  const { clock, chores, runs } = oneChore(() => 5_000)
  chores.hurry('one')
  clock.advance(60_000)
  await settled()
  t.is(runs(), 0, 'somebody else leads')
  chores.lead(true)
  await settled()
  t.is(runs(), 1)
  clock.advance(4_999)
  await settled()
  t.is(runs(), 1)
  clock.advance(1)
  await settled()
  t.is(runs(), 2)
  chores.lead(false)
  clock.advance(60_000)
  await settled()
  t.is(runs(), 2)
  t.is(clock.pending, 0)
  await chores.close()
})

test('a chore that failed is run at once when what it waits for changes', async t => {
  const { clock, chores, runs } = oneChore(run => {
    if (run < 5) throw new Unreachable('away')
    return 1_000_000
  })
  chores.lead(true)
  await settled()
  for (let i = 0; i < 3; i++) {
    clock.advance(60_000)
    await settled()
  }
  t.is(runs(), 4)
  t.deepEqual(
    chores.failures().map(({ name }) => name),
    ['one'],
  )
  chores.hurry('one')
  await settled()
  t.is(runs(), 5)
  t.deepEqual(chores.failures(), [])
  await chores.close()
})

test('a chore runs once at a time: what comes meanwhile is one more run', async t => {
  const clock = new ManualClock()
  const gates: (() => void)[] = []
  const chore: Chore = { name: 'one', run: () => new Promise(resolve => gates.push(() => resolve(1_000))) }
  const chores = new Chores([chore], { clock, log: silentLog })
  chores.lead(true)
  chores.hurry('one')
  chores.hurry('one')
  await settled()
  t.is(gates.length, 1)
  gates[0]!()
  await settled()
  t.is(gates.length, 2)
  chores.lead(false)
  gates[1]!()
  await chores.close()
  t.is(gates.length, 2)
})

test('whatever hurries a chore that costs much, its runs start at least its rest apart', async t => {
  const clock = new ManualClock()
  const starts: number[] = []
  const run = async () => {
    starts.push(clock.monotonicMs() / 1000)
    return 25_000
  }
  const chores = new Chores([{ name: 'one', restMs: 10_000, run }], { clock, log: silentLog })
  const startMs = clock.monotonicMs()
  chores.lead(true)
  for (let second = 1; second <= 60; second++) {
    if (second < 31) chores.hurry('one')
    clock.advance(1_000)
    await settled()
  }
  t.deepEqual(
    starts.map(at => at - startMs / 1000),
    [0, 10, 20, 30, 55],
  )
  await chores.close()
})
