import { isDeepStrictEqual } from 'node:util'
import test from 'ava'
import fc from 'fast-check'
import type { Multipath } from '../../../bgp/config.ts'
import { type Columns, Decision, type StepName } from '../../../bgp/rib/decision.ts'
import { AttributeFacts, type Facts } from '../../../bgp/rib/store/attribute-facts.ts'
import { factsOf } from '../../../bgp/rib/store/attribute-set.ts'
import { PathTable } from '../../../bgp/rib/store/path-table.ts'
import type { Attributes } from '../../../bgp/wire/attribute-values.ts'
import { COMMUNITY, SEGMENT } from '../../../bgp/wire/iana.ts'
import { addressBytes, ipv4Number } from '../../../lib/ip.ts'
import { chooseBest, chooseUsed, nextHopOf } from './naive.ts'
import { aPeer, someAttributes } from './sessions.ts'

type PathSpec = Partial<Facts> & { peer: number; external?: boolean; routerId?: number; pathId?: number }

/** Columns for candidates: path `i` has attribute set `i + 1`. Peer 0 is this speaker; a peer's rank is its index. */
function columns(candidates: readonly PathSpec[]): Columns {
  const facts = new AttributeFacts()
  facts.fit(candidates.length + 1)
  const paths = new PathTable()
  const peers = {
    external: new Uint8Array(300),
    tracked: new Uint8Array(300).fill(1),
    routerId: new Uint32Array(300),
    rank: new Uint32Array(300),
  }
  const plain: Facts = factsOf({ attributes: someAttributes() })
  for (const [i, { peer, external = true, routerId = 1, pathId = 0, ...own }] of candidates.entries()) {
    facts.set(i + 1, { ...plain, ...own })
    paths.setAccepted(paths.add(0, peer, pathId), i + 1)
    peers.external[peer] = external ? 1 : 0
    peers.routerId[peer] = routerId
    peers.rank[peer] = peer
  }
  return { paths, facts, peers }
}

/** Index of the winner and the step that decided, whatever the order of the candidates. */
function decide(candidates: readonly PathSpec[], alwaysCompareMed = false): { best: number; step: StepName } {
  const table = columns(candidates)
  const decision = new Decision({ alwaysCompareMed })
  const outcomes = new Set<string>()
  for (const order of permutations(candidates.map((_, i) => i))) {
    const paths = Uint32Array.from(order)
    const step = decision.decide(paths, paths.length, table)
    outcomes.add(JSON.stringify({ best: paths[0], step }))
    const quick = decision.best(Uint32Array.from(order), order.length, table)
    if (quick !== paths[0]) throw new Error(`the quick way chooses ${quick} and not ${paths[0]}`)
  }
  if (outcomes.size !== 1) throw new Error(`depends on order: ${[...outcomes].join(' ')}`)
  return JSON.parse([...outcomes][0]!)
}

function permutations(items: readonly number[]): number[][] {
  if (items.length < 2) return [[...items]]
  return items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map(rest => [item, ...rest]))
}

const steps: readonly [StepName, worse: PathSpec, better: PathSpec][] = [
  ['local', { peer: 1, localPref: 500 }, { peer: 0, external: false }],
  ['stale', { peer: 1, localPref: 500, flags: 8 }, { peer: 2, pathLength: 9 }],
  ['local-pref', { peer: 1, pathLength: 1 }, { peer: 2, localPref: 101, pathLength: 9 }],
  ['as-path-length', { peer: 1, pathLength: 3, origin: 0 }, { peer: 2, pathLength: 2, origin: 2 }],
  ['origin', { peer: 1, origin: 1, med: 0 }, { peer: 2, origin: 0, med: 9 }],
  ['med', { peer: 1, med: 9, external: true }, { peer: 2, med: 8, external: false }],
  ['external', { peer: 1, external: false, routerId: 1 }, { peer: 2, routerId: 9 }],
  ['router-id', { peer: 1, routerId: 0xffffffff }, { peer: 2, routerId: 0x7fffffff, clusterLength: 3 }],
  ['cluster-list', { peer: 1, clusterLength: 2 }, { peer: 2, clusterLength: 1 }],
  ['peer-address', { peer: 2 }, { peer: 1, pathId: 9 }],
  ['path-id', { peer: 1, pathId: 2 }, { peer: 1, pathId: 1 }],
]
for (const [step, worse, better] of steps)
  test(`step ${step} decides between two paths that are equal in the steps before it`, t => {
    t.deepEqual(decide([worse, better]), { best: 1, step })
  })

test('a path that is alone is the best one', t => {
  t.deepEqual(decide([{ peer: 1 }]), { best: 0, step: 'only' })
})

test('MED counts between paths of one neighbour AS only, and then decides the same in every order', t => {
  // the classic: without B, A loses to C; with B, A is gone before that comparison
  const a = { peer: 1, neighbourAs: 10, med: 100, routerId: 1 }
  const b = { peer: 2, neighbourAs: 10, med: 50, routerId: 3 }
  const c = { peer: 3, neighbourAs: 20, med: 200, routerId: 2 }
  t.deepEqual(decide([a, b, c]), { best: 2, step: 'router-id' })
  t.deepEqual(decide([a, c]), { best: 0, step: 'router-id' })
  t.deepEqual(decide([a, b, c], true), { best: 1, step: 'med' })
})

test('the originator of a reflected path stands in for the identifier of the peer', t => {
  const direct = { peer: 1, external: false, routerId: 5 }
  const reflected = { peer: 2, external: false, routerId: 9, originator: 4 }
  t.deepEqual(decide([direct, reflected]), { best: 1, step: 'router-id' })
})

test('every path that loses is reported with the step it lost in', t => {
  const table = columns([{ peer: 1, localPref: 50 }, { peer: 2, pathLength: 7 }, { peer: 3 }])
  const lost = new Map<number, StepName>()
  new Decision({ alwaysCompareMed: false }).decide(Uint32Array.of(0, 1, 2), 3, table, (path, by) => lost.set(path, by))
  t.deepEqual(
    [...lost],
    [
      [0, 'local-pref'],
      [1, 'as-path-length'],
    ],
  )
})

test('confederation segments count for nothing and a set counts as one', t => {
  const asPath = [
    { type: SEGMENT.confedSequence, asns: [1, 2, 3] },
    { type: SEGMENT.sequence, asns: [7, 8] },
    { type: SEGMENT.set, asns: [1, 2, 3, 4] },
  ]
  const { pathLength, neighbourAs } = factsOf({ attributes: { asPath } })
  t.is(pathLength, 3)
  t.is(neighbourAs, 7)
})

const someShape = fc.record({
  asns: fc.subarray([3, 4, 5]),
  neighbour: fc.constantFrom(65001, 65002),
  med: fc.option(fc.nat(2), { nil: undefined }),
  localPref: fc.constantFrom(undefined, 100, 100, 200),
  origin: fc.constantFrom(0, 0, 1),
  stale: fc.constantFrom(false, false, true),
  originatorId: fc.constantFrom(undefined, undefined, 1, 2),
  clusterList: fc.constantFrom(undefined, [1], [1, 2]),
  internal: fc.boolean(),
  routerId: fc.integer({ min: 1, max: 3 }),
  hop: fc.nat(3),
})

function pathsOf(shapes: readonly (typeof someShape extends fc.Arbitrary<infer T> ? T : never)[]) {
  return shapes.map(({ asns, neighbour, stale, internal, routerId, hop, ...rest }, i) => {
    const a: Attributes = { ...someAttributes([neighbour, ...asns]), ...rest, nextHop: ipv4Number(`10.1.0.${hop}`) }
    if (stale) a.communities = [COMMUNITY.llgrStale]
    const from = aPeer(i + 1, { peerType: internal ? 'ibgp' : 'ebgp', routerId })
    return { from, pathId: 0, set: { attributes: a } }
  })
}

/** The same for the real one. */
function candidatesOf(paths: ReturnType<typeof pathsOf>): PathSpec[] {
  return paths.map(({ from, set }) => {
    const peer = addressBytes(from.remoteAddress)[3]!
    return { ...factsOf(set), peer, external: from.peerType === 'ebgp', routerId: from.routerId }
  })
}

test('the best path is that of a simple reading of the RFC, in every order of the paths', t => {
  const check = fc.property(fc.array(someShape, { minLength: 1, maxLength: 5 }), shapes => {
    const paths = pathsOf(shapes)
    const best = chooseBest(paths)!
    t.is(
      decide(candidatesOf(paths)).best,
      paths.findIndex(path => path.set === best.set),
    )
  })
  fc.assert(check, { numRuns: 300 })
})

test('the paths that are used together are those of a simple reading, in every order of the paths', t => {
  const rule = fc.record({
    paths: fc.integer({ min: 1, max: 4 }),
    of: fc.constantFrom('ebgp', 'ibgp', 'either', 'merge'),
    asPath: fc.constantFrom(undefined, 'length', 'same'),
  })
  // most of them alike, or hardly any two would be equal
  const shapes = fc.array(
    fc.oneof(
      {
        weight: 8,
        arbitrary: someShape.map(shape => ({
          ...{ ...shape, asns: [4], med: undefined, localPref: undefined, origin: 0 as const, stale: false },
        })),
      },
      someShape,
    ),
    { minLength: 2, maxLength: 5 },
  )
  let several = 0
  const check = fc.property(shapes, rule, (chosen, { asPath, ...rest }) => {
    const paths = pathsOf(chosen)
    const multipath: Multipath = { ...rest, ...(asPath !== undefined && { asPath }) }
    const want = chooseUsed(paths, multipath).map(path => paths.indexOf(path as (typeof paths)[number]))
    if (want.length > 1) several++
    const table = columns(candidatesOf(paths))
    // path i has the set i + 1
    const of = (set: number) => paths[set - 1]!.set
    const hops = {
      nextHop: (set: number) => ipv4Number(nextHopOf(of(set))),
      samePath: (a: number, b: number) => isDeepStrictEqual(of(a).attributes.asPath, of(b).attributes.asPath),
    }
    const decision = new Decision({ alwaysCompareMed: false })
    for (const order of permutations(paths.map((_, i) => i))) {
      const slots = Uint32Array.from(order)
      const left: number[] = []
      const used = decision.equals(slots, slots.length, table, { rule: multipath, hops }, slot => left.push(slot))
      t.deepEqual([...slots.subarray(0, used)], want)
      t.false(left.some(slot => want.includes(slot)))
    }
  })
  fc.assert(check, { numRuns: 300 })
  t.true(several > 20, `${several} of 300 with several paths`)
})
