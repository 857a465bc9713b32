// The lists told by differences are those that follow from all policies, tiers and endpoints at once.
import test from 'ava'
import fc from 'fast-check'
import { evaluate, type Labels, parseSelector } from '../../../api/selector.ts'
import { ActivePolicies, type EndpointLists, type PolicyList } from '../../../felix/policy/active.ts'
import type { LocalEndpoint, Policy, PolicyRule, Profile, Tier } from '../../../felix/policy/model.ts'
import { comparePolicies, compareTiers } from '../../../felix/policy/order.ts'
import { someLabels, someSelector } from './selectors.ts'

type State = {
  tier: Map<string, Tier>
  policy: Map<string, Policy>
  profile: Map<string, Profile>
  local: Map<string, LocalEndpoint>
  labels: Map<string, Labels>
}

const RULE: PolicyRule = { action: 'allow', source: {}, destination: {} }
const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined })
const tierName = fc.constantFrom('default', 'first', 'unknown')
const order = fc.constantFrom(1, 2, Number.POSITIVE_INFINITY)
const endpoint = fc.constantFrom('ns/a', 'ns/b', 'ns/c')
const rules = maybe(fc.array(fc.constant(RULE), { maxLength: 2 }))

const step = fc.oneof(
  fc.record({
    kind: fc.constant('tier'),
    key: tierName,
    value: maybe(
      fc.constantFrom('deny', 'pass').chain(defaultAction => order.map(of => ({ order: of, defaultAction }))),
    ),
  }),
  fc
    .tuple(fc.constantFrom('one', 'two', 'three', 'four'), tierName, order, someSelector, rules, rules)
    .chain(([name, tier, of, selector, ingress, egress]) =>
      fc.constantFrom('normal', 'forward', 'preDNAT', 'untracked', 'normal').map(hostStage => {
        const sortName = `${name}//GlobalNetworkPolicy`
        const ref = { kind: 'GlobalNetworkPolicy', name } as const
        return {
          kind: 'policy',
          key: sortName,
          value: { ref, tier, order: of, sortName, selector, ingress, egress, hostStage },
        }
      }),
    ),
  fc.constantFrom('one', 'two', 'three', 'four').map(name => ({
    kind: 'policy',
    key: `${name}//GlobalNetworkPolicy`,
    value: undefined,
  })),
  fc.record({
    kind: fc.constant('profile'),
    key: fc.constantFrom('kns.ns', 'other'),
    value: maybe(rules.map(of => ({ ingress: of ?? [], egress: [] }))),
  }),
  fc.record({
    kind: fc.constant('local'),
    key: endpoint,
    value: maybe(
      fc.record({
        interfaceName: fc.constantFrom('cali1', 'cali2'),
        profiles: fc.constantFrom([], ['kns.ns'], ['kns.ns', 'other'], ['other']),
      }),
    ),
  }),
  fc.record({ kind: fc.constant('labels'), key: endpoint, value: maybe(someLabels) }),
  fc.constant({ kind: 'take' }),
) as fc.Arbitrary<Step>

type Step =
  | { [K in keyof State]: { kind: K; key: string; value: MapValue<State[K]> | undefined } }[keyof State]
  | { kind: 'take' }
type MapValue<M> = M extends Map<string, infer V> ? V : never

const empty = (): State => ({
  tier: new Map(),
  policy: new Map(),
  profile: new Map(),
  local: new Map(),
  labels: new Map(),
})

function tell(active: ActivePolicies, state: State, of: Step): void {
  if (of.kind === 'take') return
  if (of.value === undefined) state[of.kind].delete(of.key)
  else (state[of.kind] as Map<string, unknown>).set(of.key, of.value)
  if (of.kind === 'tier') active.setTier(of.key, of.value)
  else if (of.kind === 'policy') active.setPolicy(of.key, of.value)
  else if (of.kind === 'profile') active.setProfile(of.key, of.value)
  else if (of.kind === 'local') active.setLocal(of.key, of.value, state.labels.get(of.key))
  else active.setLabels(of.key, of.value)
}

type Shown = { interfaceName: string; ingress: unknown; egress: unknown }

function expected(state: State): Map<string, Shown> {
  const out = new Map<string, Shown>()
  for (const [key, { interfaceName, profiles }] of state.local) {
    const labels = state.labels.get(key)
    if (labels === undefined) continue
    const listOf = (direction: 'ingress' | 'egress') => {
      const asked = [...state.policy.values()].filter(
        policy =>
          policy[direction] !== undefined &&
          ['normal', 'forward'].includes(policy.hostStage) &&
          evaluate(parseSelector(policy.selector), labels),
      )
      const tiers = [...new Set(asked.map(({ tier }) => tier))].sort((a, b) =>
        compareTiers([a, state.tier.get(a)], [b, state.tier.get(b)]),
      )
      const all = tiers.map(name => ({
        name,
        defaultAction: state.tier.get(name)?.defaultAction ?? 'deny',
        policies: asked.filter(({ tier }) => tier === name).sort(comparePolicies),
      }))
      // no rule passes on here
      const isDecided = all.some(
        ({ defaultAction, policies }) => defaultAction === 'deny' && policies.some(({ staged }) => staged !== true),
      )
      return {
        direction,
        tiers: all,
        profiles: isDecided ? [] : profiles.map(name => ({ name, profile: state.profile.get(name) })),
      }
    }
    out.set(key, { interfaceName, ingress: listOf('ingress'), egress: listOf('egress') })
  }
  return out
}

/** Keeps what `take` told. */
function told(active: ActivePolicies) {
  const lists = new Map<string, PolicyList>()
  const endpoints = new Map<string, EndpointLists>()
  return {
    lists,
    take() {
      const changes = active.take()
      for (const [key, list] of changes.lists)
        if (list !== undefined) lists.set(key, list)
        else if (!lists.delete(key)) throw new Error(`${key} was not there`)
      for (const [key, of] of changes.endpoints)
        if (of !== undefined) endpoints.set(key, of)
        else if (!endpoints.delete(key)) throw new Error(`${key} was not there`)
      return changes
    },
    shown(): Map<string, Shown> {
      const contentOf = (list: string) => {
        const { key, ...content } = lists.get(list)!
        return content
      }
      return new Map(
        [...endpoints].map(([key, { interfaceName, ingress, egress }]) => [
          key,
          { interfaceName, ingress: contentOf(ingress), egress: contentOf(egress) },
        ]),
      )
    },
    used: () => new Set([...endpoints.values()].flatMap(({ ingress, egress }) => [ingress, egress])),
  }
}

test('lists told by differences are those that follow from everything at once, and none is left without an endpoint', t => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (walk, reversed) => {
      const active = new ActivePolicies()
      const kept = told(active)
      const state = empty()
      for (const each of [...(reversed ? walk.toReversed() : walk), { kind: 'take' } as const]) {
        tell(active, state, each)
        tell(active, state, each)
        if (each.kind !== 'take') continue
        kept.take()
        // AVA compares maps and sets in their order
        t.deepEqual(Object.fromEntries(kept.shown()), Object.fromEntries(expected(state)))
        t.deepEqual([...kept.lists.keys()].sort(), [...kept.used()].sort())
      }
    }),
    { numRuns: 500 },
  )
})

const policy = (name: string, more: Partial<Policy> = {}): Policy => ({
  ref: { kind: 'GlobalNetworkPolicy', name },
  tier: 'default',
  order: 1,
  sortName: `${name}//GlobalNetworkPolicy`,
  selector: 'app == "a"',
  ingress: [RULE],
  hostStage: 'normal',
  ...more,
})

test('endpoints that ask the same policies in the same order share a list; a policy that changes is told once', t => {
  const active = new ActivePolicies()
  for (let i = 0; i < 250; i++)
    active.setLocal(
      `ns/pod-${i}`,
      { interfaceName: `cali${i}`, profiles: ['kns.ns'] },
      { app: i % 2 === 0 ? 'a' : 'b' },
    )
  active.setPolicy('p', policy('p'))
  const first = active.take()
  // ingress with and without the policy, egress
  t.is(first.lists.size, 3)
  t.is(first.endpoints.size, 250)
  active.setPolicy('p', policy('p', { ingress: [] }))
  const second = active.take()
  t.deepEqual([second.lists.size, second.endpoints.size], [1, 0])
  active.setPolicy('q', policy('q', { selector: 'app == "c"' }))
  const third = active.take()
  t.deepEqual([third.lists.size, third.endpoints.size], [0, 0])
})

test('tiers and policies are asked by order, the largest last, then by name; what is no object is behind all', t => {
  const tier = (order: number): Tier => ({ name: '', order, defaultAction: 'deny' })
  const tiers: [string, Tier | undefined][] = [
    ['absent-a', undefined],
    ['z', tier(1)],
    ['absent-b', undefined],
    ['b', tier(Number.POSITIVE_INFINITY)],
    ['a', tier(Number.POSITIVE_INFINITY)],
    ['c', tier(1)],
  ]
  t.deepEqual(
    tiers.sort(compareTiers).map(([name]) => name),
    ['c', 'z', 'a', 'b', 'absent-a', 'absent-b'],
  )
  const names = ['a/ns/X', 'a//X', 'a-b//X', '\u{10000}', '\uffff', 'b']
  const sorted = names.map(sortName => ({ order: Number.POSITIVE_INFINITY, sortName })).sort(comparePolicies)
  t.deepEqual(
    sorted.map(({ sortName }) => sortName),
    ['a-b//X', 'a//X', 'a/ns/X', 'b', '\uffff', '\u{10000}'],
  )
})

test('a policy that begins to pass packets on, or a tier that no more denies, lets the profiles count', t => {
  const active = new ActivePolicies()
  const kept = told(active)
  const profiles = () => {
    kept.take()
    return [...kept.lists.values()]
      .map(({ direction, profiles }) => `${direction} ${profiles.map(({ name }) => name)}`)
      .sort()
  }
  const pass: PolicyRule = { ...RULE, action: 'pass' }
  active.setLocal('ns/a', { interfaceName: 'cali1', profiles: ['kns.ns'] }, { app: 'a' })
  active.setPolicy('p', policy('p'))
  t.deepEqual(profiles(), ['egress kns.ns', 'ingress '])
  active.setPolicy('p', policy('p', { ingress: [RULE, pass] }))
  t.deepEqual(profiles(), ['egress kns.ns', 'ingress kns.ns'])
  active.setPolicy('p', policy('p', { ingress: [{ ...pass, never: true }] }))
  t.deepEqual(profiles(), ['egress kns.ns', 'ingress '])
  active.setTier('default', { name: 'default', order: 1, defaultAction: 'pass' })
  t.deepEqual(profiles(), ['egress kns.ns', 'ingress kns.ns'])
  active.setTier('default', { name: 'default', order: 1, defaultAction: 'deny' })
  active.setPolicy('p', policy('p', { staged: true }))
  t.deepEqual(profiles(), ['egress kns.ns', 'ingress kns.ns'])
})
