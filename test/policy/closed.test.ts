// A part of a policy that makes no sense closes what it says: whatever is broken, nothing passes that did not pass before.
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { judgeModel, modelOf } from './model.ts'
import { answers, calico, cluster, fixed, kubernetes, packet } from './random-worlds.ts'
import type { World, WorldObject } from './reference/objects.ts'
import type { Packet } from './reference.ts'

type Path = readonly (string | number)[]

/** The places of all values of a spec, and of all objects in it. */
function places(value: unknown, path: Path = []): { leaves: Path[]; objects: Path[] } {
  if (typeof value !== 'object' || value === null) return { leaves: [path], objects: [] }
  const inner = Object.entries(value).map(([key, each]) => places(each, [...path, Array.isArray(value) ? +key : key]))
  return {
    leaves: inner.flatMap(({ leaves }) => leaves),
    objects: [...(Array.isArray(value) ? [] : [path]), ...inner.flatMap(({ objects }) => objects)],
  }
}

/** A copy with another value at a place. */
function withAt(value: unknown, [first, ...rest]: Path, make: (is: unknown) => unknown): unknown {
  if (first === undefined) return make(value)
  if (Array.isArray(value)) return value.map((each, i) => (i === first ? withAt(each, rest, make) : each))
  const object = value as Record<string, unknown>
  return { ...object, [first]: withAt(object[first], rest, make) }
}

const NONSENSE = { zzz: [1] }
/** Which packets pass where this policy is the only one, and what is told. */
function passing(rest: readonly WorldObject[], policy: WorldObject, packets: readonly Packet[]) {
  const world: World = { objects: [...rest, policy], answers }
  const { model, refused } = modelOf(world)
  const allowed = packets.map(each => {
    const { egress, ingress } = judgeModel(model, world, each)
    return egress.verdict === 'allow' && ingress.verdict === 'allow'
  })
  return { allowed, refused }
}

/** Breaks each policy at a place that `choose` finds, and compares what passes. */
function closes(
  t: ExecutionContext,
  policy: fc.Arbitrary<WorldObject>,
  { choose, make }: { choose: (spec: unknown) => Path[]; make: (is: unknown) => unknown },
): void {
  let closed = 0
  fc.assert(
    fc.property(fixed, policy, fc.nat(), fc.array(packet, { minLength: 5, maxLength: 5 }), (rest, of, at, packets) => {
      const { spec } = of as { spec: unknown }
      const paths = choose(spec)
      const path = paths[at % Math.max(1, paths.length)]
      if (path === undefined) return
      const broken = { ...of, spec: withAt(spec, path, make) } as WorldObject
      const [before, after] = [passing(rest, of, packets), passing(rest, broken, packets)]
      t.true(after.refused.length > 0, `nothing is told of ${path.join('.')}`)
      for (const [i, each] of packets.entries()) {
        const [was, is] = [before.allowed[i], after.allowed[i]]
        if (was && !is) closed++
        t.false(is && !was, `${path.join('.')} of ${JSON.stringify(of)} opens ${JSON.stringify(each)}`)
      }
    }),
    { numRuns: 150 },
  )
  t.true(closed > 0, 'no packet was stopped: the test says nothing')
}

for (const [name, policy] of [
  ['NetworkPolicy of Kubernetes', kubernetes],
  ['policy of Calico', calico],
  ['ClusterNetworkPolicy', cluster],
] as const) {
  test(`a value that cannot be read opens nothing, anywhere in a ${name}`, t => {
    closes(t, policy, { choose: spec => places(spec).leaves, make: () => NONSENSE })
  })

  test(`a field that is not known opens nothing, anywhere in a ${name}`, t => {
    // labels have any name
    const choose = (spec: unknown) => places(spec).objects.filter(path => path.at(-1) !== 'matchLabels')
    closes(t, policy, { choose, make: is => ({ ...(is as object), zzz: 1 }) })
  })
}

/** Values that stand for something somewhere, and ones that never do. */
const value = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom<unknown>('', '\'"', "a == '\"'", 'global()', 'all()', '10.0.0.0/8', '80:81', 80, 6, -1, 4, [], {}, [
    [],
  ]),
  fc.constantFrom<unknown>([''], [0], { names: ['\'"'] }, { matchLabels: { a: '\'"' } }, { name: 's' }),
)

test('whatever stands in a policy, it is read to the end, and its rules mean something', t => {
  fc.assert(
    fc.property(
      fc.oneof(kubernetes, calico, cluster),
      fc.array(fc.tuple(fc.nat(), value), { minLength: 1, maxLength: 4 }),
      fixed,
      packet,
      (of, changes, rest, each) => {
        let { spec } = of as { spec: unknown }
        for (const [at, make] of changes) {
          const { leaves, objects } = places(spec)
          const all = [...leaves, ...objects].filter(path => path.length > 0)
          const path = all[at % Math.max(1, all.length)]
          if (path !== undefined) spec = withAt(spec, path, () => make)
        }
        t.notThrows(() => passing(rest, { ...of, spec } as WorldObject, [each]))
      },
    ),
    { numRuns: 400 },
  )
})
