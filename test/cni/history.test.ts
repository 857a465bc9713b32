// Random histories of what runtimes send to one node, against what must come of it: see history.ts.
import test from 'ava'
import fc from 'fast-check'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { CONTAINERS, History, type Step, type Verb } from './history.ts'

const container = fc.constantFrom(...CONTAINERS)
const at = fc.constantFrom(0 as const, 0 as const, 1 as const, 2 as const)
const netns = fc.constantFrom(0 as const, 0 as const, 0 as const, 1 as const)

const verb: fc.Arbitrary<Verb> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ verb: fc.constant('ADD' as const), container, interface: at, netns }) },
  {
    weight: 5,
    arbitrary: fc.record({
      verb: fc.constantFrom('DEL' as const, 'DEL' as const, 'CHECK' as const),
      ...{ container, interface: at, bare: fc.boolean() },
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      verb: fc.constant('GC' as const),
      network: fc.constantFrom('net' as const, 'second' as const),
      lists: fc.constantFrom('all' as const, 'old' as const, 'old' as const, 'none' as const),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ verb: 'STATUS' as const }) },
)

const verbs = fc.array(fc.tuple(fc.constantFrom(0, 0, 1, 3, 12, 40), verb), { minLength: 1, maxLength: 5 })

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('send' as const), verbs }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('send' as const), verbs, killAfter: fc.integer({ min: 0, max: 60 }) }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('end namespace' as const, 'make namespace' as const),
      ...{ container, netns },
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.constantFrom(1, 61) }) },
)

test('whatever runtimes send, in any order and repetition, and whenever the node is killed, it comes to its right end', async t => {
  t.timeout(100_000)
  let faults: readonly string[] = []
  const counts = { added: 0, refused: 0, killed: 0, collected: 0 }
  const played = fc.assert(
    fc.asyncProperty(fc.integer({ min: 0 }), fc.array(step, { minLength: 8, maxLength: 24 }), async (seed, steps) => {
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
