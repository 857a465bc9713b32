// Random histories of what runtimes send to one node, against what must come of it: see history.ts.
import test from 'ava'
import fc from 'fast-check'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { History } from './history.ts'
import { aStep } from './history-steps.ts'

test('whatever runtimes send, in any order and repetition, and whenever the node is killed, it comes to its right end', async t => {
  t.timeout(600_000)
  let faults: readonly string[] = []
  const counts = { added: 0, refused: 0, killed: 0, collected: 0 }
  const played = fc.assert(
    fc.asyncProperty(fc.integer({ min: 0 }), fc.array(aStep, { minLength: 8, maxLength: 24 }), async (seed, steps) => {
      const history = new History(new FakeWorld(), seed)
      await history.begin()
      for (const each of steps) {
        await history.apply(each)
        if (history.faults.length > 0) break
      }
      await history.end()
      for (const name of Object.keys(counts) as (keyof typeof counts)[]) counts[name] += history.counts[name]
      if (history.faults.length === 0) return
      faults = history.faults
      throw new Error(faults.join('\n'))
    }),
    { numRuns: Number(process.env['MARGAY_RUNS'] ?? 20), seed: Number(process.env['MARGAY_SEED'] ?? 1) },
  )
  await played.finally(() => t.log(counts, ...faults))
  for (const count of Object.values(counts)) t.true(count > 0)
})
