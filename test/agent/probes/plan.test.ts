import test from 'ava'
import { Plan, type Planned } from '../../../agent/probes/plan.ts'

const MOST = 32

function nodes(count: number, lans = 1): Planned[] {
  return Array.from({ length: count }, (_, i) => ({ key: `n${i} ipv4`, node: `n${i}`, lan: `lan${i % lans}` }))
}

function planOf(paths: readonly Planned[], self = 'self'): Plan {
  const plan = new Plan(self)
  plan.set(paths)
  return plan
}

test('up to 32 paths are all looked at in each round', t => {
  for (const count of [0, 1, 2, 31, 32]) {
    const plan = planOf(nodes(count))
    t.is(plan.round().length, count)
    t.is(plan.round().length, count)
    t.false(plan.isSampled)
  }
})

test('of more paths a round has 32, none twice, and every path has its turn in time', t => {
  for (const count of [33, 40, 100, 1000, 5000]) {
    const plan = planOf(nodes(count, 7))
    const seen = new Set<string>()
    const rounds = Math.ceil(count / 16)
    for (let i = 0; i < rounds; i++) {
      const round = plan.round()
      t.is(new Set(round).size, MOST)
      for (const key of round) seen.add(key)
    }
    t.is(seen.size, count, `${count} nodes`)
  }
})

test('two of each LAN are in every round, up to eight LANs', t => {
  const paths = nodes(1000, 8)
  const plan = planOf(paths)
  const lanOf = new Map(paths.map(({ key, lan }) => [key, lan]))
  for (let i = 0; i < 5; i++) {
    const counts = Map.groupBy(plan.round(), key => lanOf.get(key)!)
    t.is(counts.size, 8)
    for (const [lan, keys] of counts) t.true(keys.filter(key => plan.isSteady(key)).length >= 2, lan)
  }
})

test('every node is watched by others in every round, and by none much more than the rest', t => {
  const all = nodes(300, 3)
  const watchers = new Map<string, number>()
  for (const self of all) {
    const plan = planOf(
      all.filter(({ node }) => node !== self.node),
      self.node,
    )
    for (const { key } of all)
      if (key !== self.key && plan.isSteady(key)) watchers.set(key, (watchers.get(key) ?? 0) + 1)
  }
  t.is(watchers.size, 300)
  t.true(Math.max(...watchers.values()) <= 40, `${Math.max(...watchers.values())}`)
  t.true(Math.min(...watchers.values()) >= 4, `${Math.min(...watchers.values())}`)
})

test('a path that comes or goes leaves the turns of most others as they were', t => {
  const paths = nodes(200)
  const plan = planOf(paths)
  for (let i = 0; i < 3; i++) plan.round()
  plan.set(paths.slice(1))
  const seen = new Set<string>()
  for (let i = 0; i < Math.ceil(199 / 16); i++) for (const key of plan.round()) seen.add(key)
  t.is(seen.size, 199)
})
