// The shortest form of `npm run bench:memory`. So few pods say nothing by octets, so it is looked for what would be kept of them:
// a text with a name of one, in a snapshot of the heap.
import { readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeHeapSnapshot } from 'node:v8'
import test from 'ava'
import { slopeOf, watchMemory } from '../../bench/memory/pods.ts'

const PODS = 60
/** Each address remembers the name of its last pod alone, until another one has it. */
const NAME = /(?:container|uid|\/pod)-\d+/

test('of pods that came and went no name is left in an agent, and what its files have is seen', async t => {
  const file = join(tmpdir(), `margay-${process.pid}.heapsnapshot`)
  const samples = await watchMemory(
    PODS,
    20,
    () => undefined,
    () => writeHeapSnapshot(file),
  )
  t.deepEqual(
    samples.map(({ pods }) => pods),
    [0, 20, 40, 60],
  )
  for (const { heap, files } of samples) t.true(heap > 1e6 && files > 1e5)
  t.teardown(() => rmSync(file, { force: true }))
  const { strings } = JSON.parse(readFileSync(file, 'utf8')) as { strings: string[] }
  t.deepEqual(
    strings.filter(text => text.length < 1000 && NAME.test(text)),
    [],
  )
})

test('the slope is that of the last half: what grows at first counts nothing', t => {
  const sample = (pods: number, heap: number) => ({ pods, heap, files: 0 })
  const rising = [0, 900, 1000, 1100, 1200, 1300].map((heap, i) => sample(i * 10, heap))
  t.is(slopeOf(rising, 'heap'), 10)
  const flat = [0, 1000, 2000, 3000, 3000, 3000].map((heap, i) => sample(i * 10, heap))
  t.is(slopeOf(flat, 'heap'), 0)
  t.is(slopeOf(flat, 'files'), 0)
})
