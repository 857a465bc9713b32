// What the flag of V8 promises: with a later Node that reads it no more, every node of a cluster needs 100 MB more.
import { getHeapSpaceStatistics } from 'node:v8'
import test from 'ava'
import { afterStart, limitYoungGeneration } from '../../agent/heap.ts'
import { ManualClock } from '../../lib/clock.ts'

const MIB = 2 ** 20
const youngMib = (): number =>
  getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')!.space_size / MIB

/** Reads lists as a start does: many objects live for a while, few for long. */
function readLists(rounds: number): object[] {
  const kept: object[] = []
  for (let round = 0; round < rounds; round++) {
    const page = JSON.parse(JSON.stringify(Array.from({ length: 20_000 }, (_, n) => ({ name: `node-${n}`, n }))))
    kept.push(...page.slice(0, 100))
  }
  return kept
}

test('the young generation does not grow while lists are read', t => {
  const before = youngMib()
  limitYoungGeneration()
  t.is(readLists(20).length, 2000)
  t.true(youngMib() <= Math.max(before, 4), `${youngMib()} MiB, ${before} before`)
})

test('a start that takes longer than ten seconds is not over before the node is ready', t => {
  const clock = new ManualClock()
  let ready = false
  let over = 0
  afterStart(
    () => ready,
    clock,
    () => over++,
  )
  clock.advance(60_000)
  t.is(over, 0)
  ready = true
  clock.advance(10_000)
  t.is(over, 1)
  clock.advance(60_000)
  t.is(over, 1)
})
