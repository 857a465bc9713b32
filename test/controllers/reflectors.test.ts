// Automatic route reflectors: what is asked for, the next move, and the chore that makes it.
import test from 'ava'
import { BGP_ANNOTATION, NODE_ANNOTATION } from '../../api/core.ts'
import {
  formatReflectors,
  MOST_REFLECTORS,
  MOST_STEP,
  parseReflectors,
  REFLECTORS_ANNOTATION,
  type ReflectorState,
} from '../../api/reflectors.ts'
import { type PlanNode, reflectorPlan } from '../../controllers/reflector-plan.ts'
import { askedReflectors, type ReflectorWish } from '../../controllers/reflector-wish.ts'
import { Reflectors, type ReflectorsDeps } from '../../controllers/reflectors.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'

const metadata = (text: string) => ({ annotations: { [BGP_ANNOTATION.autoReflectors]: text } })

test('the annotation is read with commas or without, and an unknown word is refused with those that are known', t => {
  const label = 'topology.kubernetes.io/rack'
  const whole = { wish: { above: 100, perRack: 3, label } }
  t.deepEqual(askedReflectors(metadata(`above=100, per-rack=3, label=${label}`)), whole)
  t.deepEqual(askedReflectors(metadata(` above=100 per-rack=3 label=${label} `)), whole)
  t.deepEqual(askedReflectors(metadata('above=1')), { wish: { above: 1, perRack: 2 } })
  for (const none of [metadata(''), {}, undefined]) t.deepEqual(askedReflectors(none), {})
  t.is(
    askedReflectors(metadata('above=9 racks=3')).fault,
    'nothing is known of the word "racks", but of above, per-rack and label',
  )
  for (const bad of [
    'above=0',
    'above=x',
    'above',
    'per-rack=2',
    'above=9 per-rack=9',
    'above=9 label=',
    'above=9 label=a/b/c',
  ])
    t.truthy(askedReflectors(metadata(bad)).fault, bad)
})

test('a state is read as it was written; what somebody else wrote there is none', t => {
  for (const state of [
    { step: 7, mesh: 'thin', nodes: ['n1', 'n2.example.org'] },
    { step: 1, mesh: 'whole', nodes: [] },
  ] as const)
    t.deepEqual(parseReflectors(formatReflectors(state)), { ...state, nodes: [...state.nodes] })
  for (const text of [
    undefined,
    '',
    'thin',
    'step=1 mesh=off nodes=',
    'step=x mesh=thin nodes=a',
    'step=1 mesh=thin nodes=A B',
  ])
    t.is(parseReflectors(text), undefined)
  // one reflector is not two
  t.deepEqual(parseReflectors('step=1 mesh=thin nodes=a,a')?.nodes, ['a'])
  const nodes = Array.from({ length: MOST_REFLECTORS + 1 }, (_, i) => `n${i}`)
  t.is(parseReflectors(formatReflectors({ step: 1, mesh: 'thin', nodes })), undefined)
})

const wish: ReflectorWish = { above: 3, perRack: 1 }
type Told = { via?: string[]; direct?: boolean; step?: number }
const aNode = (
  name: string,
  { via = [], direct = true, step = 5 }: Told = {},
  more: Partial<PlanNode> = {},
): PlanNode => ({
  ...{ name, rack: '', isFit: true, isAwaited: true, readyMs: 0, said: { step, via, direct } },
  ...more,
})
const state = (mesh: ReflectorState['mesh'], ...nodes: string[]): ReflectorState => ({ step: 5, mesh, nodes })
const many = (told: Told, more: Partial<PlanNode> = {}) => ['a', 'b', 'c', 'd'].map(name => aNode(name, told, more))

test('the mesh goes only once every node that may carry packets has all its routes from two reflectors, by a word of this step', t => {
  const via = ['a', 'b']
  const plan = (nodes: PlanNode[]) => reflectorPlan({ state: state('whole', 'a', 'b'), wish, nodes })
  t.deepEqual(plan(many({ via })).next, { step: 6, mesh: 'thin', nodes: ['a', 'b'] })
  const others = many({ via }).slice(0, 3)
  for (const told of [{ via: ['a'] }, { via, step: 4 }]) {
    const { next, waitsFor } = plan([...others, aNode('d', told)])
    t.deepEqual([next, waitsFor], [undefined, ['d']])
  }
  t.deepEqual(plan([...others, aNode('d', {}, { said: undefined })]).waitsFor, ['d'])
  t.truthy(plan([...others, aNode('d', {}, { isAwaited: false, isFit: false })]).next)
})

test('a reflector goes only once every node has two others, and the last ones once it has all from the nodes themselves', t => {
  const cordoned = (told: Told) => [aNode('a', told, { isFit: false }), ...many(told).slice(1)]
  const plan = (told: Told) => reflectorPlan({ state: state('thin', 'a', 'b', 'c'), wish, nodes: cordoned(told) })
  t.deepEqual(plan({ via: ['a', 'b', 'c'] }).next, { step: 6, mesh: 'thin', nodes: ['b', 'c'] })
  t.deepEqual(plan({ via: ['a', 'b'] }).waitsFor, ['a', 'b', 'c', 'd'])
  const back = (mesh: ReflectorState['mesh'], told: Told) =>
    reflectorPlan({ state: state(mesh, 'a', 'b'), wish: undefined, nodes: many(told) })
  t.deepEqual(back('thin', {}).next, { step: 6, mesh: 'whole', nodes: ['a', 'b'] })
  t.deepEqual(back('whole', { direct: false }).waitsFor, ['a', 'b', 'c', 'd'])
  t.deepEqual(back('whole', {}).next, { step: 6, mesh: 'whole', nodes: ['a'] })
  t.is(reflectorPlan({ state: state('whole'), wish: undefined, nodes: many({}) }).next, 'nothing')
})

test('a number of nodes around the wish moves nothing to and fro', t => {
  const via = ['a', 'b']
  const nodes = (count: number) => Array.from({ length: count }, (_, i) => aNode('abcdefghijklmno'[i]!, { via }))
  const now = (count: number, of: ReflectorState | undefined) =>
    reflectorPlan({ state: of, wish: { above: 10, perRack: 2 }, nodes: nodes(count) }).next
  t.is(now(10, undefined), undefined)
  t.deepEqual(now(11, undefined), { step: 6, mesh: 'whole', nodes: [] })
  t.is(now(10, state('thin', 'a', 'b')), undefined)
  t.deepEqual(now(9, state('thin', 'a', 'b')), { step: 6, mesh: 'whole', nodes: ['a', 'b'] })
})

test('racks have their reflectors as far as they can, those that reflect stay, and there are two at the least and sixteen at the most', t => {
  const told = { said: { step: 5, via: [], direct: true } }
  const nodes = (racks: number, each: number) =>
    Array.from({ length: racks * each }, (_, i) =>
      aNode(`n${String(i).padStart(3, '0')}`, {}, { ...told, rack: `r${i % racks}`, readyMs: i }),
    )
  /** What it comes to where all is confirmed at once. */
  const end = (all: PlanNode[], { perRack }: { perRack: number }, from: string[] = []) => {
    let now = state('whole', ...from)
    for (let i = 0; i < 60; i++) {
      const said = { step: now.step, via: [...now.nodes], direct: true }
      const { next } = reflectorPlan({
        ...{ state: now, wish: { above: 1, perRack } },
        nodes: all.map(node => ({ ...node, said })),
      })
      if (next === undefined || next === 'nothing') break
      now = next
    }
    t.is(now.mesh, 'thin')
    return now.nodes
  }
  t.deepEqual(end(nodes(1, 4), { perRack: 1 }), ['n000', 'n001'])
  t.deepEqual(end(nodes(3, 3), { perRack: 2 }), ['n000', 'n001', 'n002', 'n003', 'n004', 'n005'])
  t.deepEqual(end(nodes(2, 3), { perRack: 1 }, ['n005', 'n002']), ['n005', 'n002'])
  t.is(end(nodes(40, 2), { perRack: 2 }).length, 16)
  // a rack of one node, and one without a node that can
  const few = [
    ...nodes(1, 3),
    aNode('z', {}, { ...told, rack: 'z' }),
    aNode('y', {}, { ...told, rack: 'y', isFit: false }),
  ]
  t.deepEqual(end(few, { perRack: 2 }), ['n000', 'z', 'n001'])
  // two racks become one
  t.is(end(nodes(1, 6), { perRack: 2 }, ['n000', 'n001', 'n002', 'n003']).length, 2)
})

test('no number that a node says, nor the last one there is, makes a state that agents cannot read, or one that somebody has answered', t => {
  const via = ['a', 'b']
  const next = (now: ReflectorState | undefined, ...steps: number[]) => {
    const liars = steps.map((step, i) => aNode(`z${i}`, { via, step }, { isAwaited: false }))
    const told = many({ via, step: now?.step ?? 5 })
    const plan = reflectorPlan({ state: now, wish, nodes: [...told, ...liars] }).next
    t.true(plan !== undefined && plan !== 'nothing')
    const read = parseReflectors(formatReflectors(plan as ReflectorState))
    t.deepEqual(read, plan as ReflectorState)
    return read?.step
  }
  const now = state('whole', 'a', 'b')
  t.is(next(now), 6)
  for (const step of [MOST_STEP, MOST_STEP - 1, Number.MAX_SAFE_INTEGER, 1e30, -7]) t.is(next(now, step), 6)
  t.is(next(now, 6, 7, 9), 8)
  const last = { ...now, step: MOST_STEP }
  t.is(next(last), 1)
  t.is(next(last, 1, 2), 3)
  t.is(next(undefined, 9), 10)
  t.is(next(undefined, MOST_STEP), 1)
  t.is(next(undefined, Number.MAX_SAFE_INTEGER), 6)
})

test('where two reflectors cannot be counted on others come at once, and without any the mesh comes back', t => {
  const gone = [aNode('a', {}, { isFit: false }), aNode('b', {}, { isFit: false })]
  const plan = (nodes: PlanNode[]) => reflectorPlan({ state: state('thin', 'a', 'b'), wish, nodes })
  t.deepEqual(plan([...gone, aNode('c'), aNode('d')]).next, { step: 6, mesh: 'thin', nodes: ['a', 'b', 'c'] })
  t.deepEqual(plan([...gone, aNode('c'), aNode('d', {}, { isFit: false })]).next, {
    ...{ step: 6, mesh: 'whole', nodes: ['a', 'b'] },
  })
  // Nodes that were deleted: agents have sessions with all by then
  t.deepEqual(plan(many({}).slice(1)).next, { step: 6, mesh: 'whole', nodes: ['b'] })
})

async function aChore(text: string, { spec = {}, asn = '' }: { spec?: object; asn?: string } = {}) {
  const [store, clock] = [createFakeStore(), new ManualClock()]
  const current = aResource('BGPConfiguration', { metadata: { name: 'default', ...metadata(text) }, spec })
  let object: ReflectorsDeps['configuration'] = { unknown: undefined, current }
  await store.create('ClusterInformation', aResource('ClusterInformation', { metadata: { name: 'default' }, spec: {} }))
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const name of names)
    await store.create(
      'Node',
      aResource('Node', {
        metadata: {
          name,
          annotations: {
            [NODE_ANNOTATION.ipv4Address]: '192.0.2.1/24',
            ...(name === 'e' && { [NODE_ANNOTATION.routeReflectorClusterId]: '224.0.0.1' }),
            ...(name === 'a' && asn !== '' && { [NODE_ANNOTATION.asNumber]: asn }),
          },
        },
        status: { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }] },
      }),
    )
  const chore = new Reflectors({
    ...{ store, clock, log: silentLog, known: () => true, changed: () => undefined },
    configuration: {
      get unknown() {
        return object.unknown
      },
      get current() {
        return object.current
      },
    },
  })
  const now = async () =>
    (await store.get('ClusterInformation', 'default')).metadata.annotations?.[REFLECTORS_ANNOTATION]
  const run = async () => {
    const nextMs = await chore.run()
    for (let i = 0; i < 6; i++) await new Promise(setImmediate)
    return nextMs
  }
  const say = (step: number, via: string[]) => {
    for (const name of names.slice(0, 4))
      chore.take(name, { worked: {}, enforced: [], failing: [], reflection: { step, via, direct: true } })
  }
  const configure = (next: typeof object) => {
    object = next
  }
  return { store, clock, chore, now, run, say, configure }
}

test('the chore moves the cluster by one annotation, and never chooses a reflector that people made', async t => {
  const { now, run, say, chore, configure, clock } = await aChore('above=3')
  await run()
  await run()
  t.is(await now(), 'step=1 mesh=whole nodes=')
  say(1, [])
  await run()
  await run()
  t.is(await now(), 'step=3 mesh=whole nodes=a,b')
  await run()
  t.is(await now(), 'step=3 mesh=whole nodes=a,b', 'nobody has said anything of it')
  clock.advance(180_000)
  await run()
  t.is(chore.problem?.reason, 'NodesBehind')
  t.regex(chore.problem!.message, /a, b, c, d$/)
  say(3, ['a', 'b'])
  await run()
  t.is(await now(), 'step=4 mesh=thin nodes=a,b')
  say(4, ['a', 'b'])
  await run()
  t.is(chore.problem, undefined)
  configure({ unknown: { reason: 'Forbidden', message: 'no right' }, current: undefined })
  await run()
  t.is(chore.problem?.reason, 'Forbidden')
  configure({ unknown: undefined, current: undefined })
  await run()
  t.is(await now(), 'step=5 mesh=whole nodes=a,b')
  chore.close()
})

test('a reflector whose agent has ended while its Node stays Ready is replaced after two minutes', async t => {
  const { store, now, run, say, chore, clock } = await aChore('above=3')
  const annotations = { [REFLECTORS_ANNOTATION]: 'step=4 mesh=thin nodes=a,b' }
  await store.patch('ClusterInformation', 'default', { metadata: { annotations } })
  say(4, ['b'])
  await run()
  await run()
  for (const seconds of [60, 59]) {
    clock.advance(seconds * 1000)
    await run()
    t.is(await now(), 'step=4 mesh=thin nodes=a,b')
  }
  clock.advance(2_000)
  await run()
  t.is(await now(), 'step=5 mesh=thin nodes=a,b,c')
  chore.close()
})

test('of two programs that decide on the same state one writes', async t => {
  const { store, now, run, say, chore } = await aChore('above=3')
  await run()
  await run()
  say(1, [])
  const annotations = { [REFLECTORS_ANNOTATION]: 'step=2 mesh=whole nodes=d' }
  const get = store.get
  // another one writes between the look and the write
  store.get = async (...args) => {
    const found = await get(...args)
    store.get = get
    await store.patch('ClusterInformation', 'default', { metadata: { annotations } })
    return found
  }
  t.is(await run(), 2_000)
  t.is(await now(), annotations[REFLECTORS_ANNOTATION])
  chore.close()
})

test('an annotation that makes no sense moves nothing; without a mesh, and with several AS numbers, there are no reflectors', async t => {
  const there = { [REFLECTORS_ANNOTATION]: 'step=4 mesh=thin nodes=a,b' }
  const after = async (...args: Parameters<typeof aChore>) => {
    const { store, now, run, chore } = await aChore(...args)
    await store.patch('ClusterInformation', 'default', { metadata: { annotations: there } })
    await run()
    await run()
    chore.close()
    return [chore.problem?.reason, await now()]
  }
  t.deepEqual(await after('above=many'), ['BadAutoReflectors', 'step=4 mesh=thin nodes=a,b'])
  t.deepEqual(await after('above=3', { spec: { nodeToNodeMeshEnabled: false } }), [
    ...['MeshOff', 'step=5 mesh=whole nodes=a,b'],
  ])
  t.deepEqual(await after('above=3', { asn: '65010' }), ['SeveralAsNumbers', 'step=5 mesh=whole nodes=a,b'])
  t.deepEqual(await after('above=3', { asn: '64512' }), [undefined, 'step=4 mesh=thin nodes=a,b'])
})
