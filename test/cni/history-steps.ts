// Steps of random histories, so that what is seldom elsewhere is not seldom here.
import fc from 'fast-check'
import { CONTAINERS, type Step, type Verb } from './history.ts'

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

export const aStep: fc.Arbitrary<Step> = fc.oneof(
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
