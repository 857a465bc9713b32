// What the flag of V8 and the call of malloc promise: with a later Node that heeds them no more, every node of a cluster needs
// 100 MB more.
import { setTimeout as delay } from 'node:timers/promises'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import test from 'ava'
import { afterStart, limitYoungGeneration } from '../../agent/heap.ts'
import { returnFreedMemory } from '../../kernel/libc.ts'
import { ManualClock } from '../../lib/clock.ts'

const MIB = 2 ** 20
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const residentMib = (): number => process.memoryUsage.rss() / MIB
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

test('memory of tables that went is the kernel’s again, also after a larger one went and while one that came later is there', async t => {
  returnFreedMemory()
  let tables = [new Uint8Array(24 * MIB).fill(1)]
  tables = []
  for (let round = 0; round < 3; round++) {
    collect()
    await delay(10)
  }
  const before = residentMib()
  for (let n = 0; n < 40; n++) tables.push(new Uint8Array(4 * MIB).fill(1))
  const last = tables.pop()!
  tables = []
  // arrays are freed by another thread some time after a collection
  for (let round = 0; round < 100 && residentMib() > before + 40; round++) {
    collect()
    await delay(50)
  }
  t.true(residentMib() <= before + 40, `${residentMib()} MiB, ${before} before`)
  t.is(last.length, 4 * MIB)
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
