// Automatic route reflectors: the next move.
import test from 'ava'
import {
  formatReflectors,
  isLaterStep,
  MOST_REFLECTORS,
  MOST_STEP,
  parseReflectors,
  type ReflectorState,
} from '../../api/reflectors.ts'
import { type PlanNode, reflectorPlan } from '../../controllers/reflector-plan.ts'
import type { ReflectorWish } from '../../controllers/reflector-wish.ts'

const wish: ReflectorWish = { above: 3, perRack: 1 }
const NOW_MS = 1_700_000_000_000
type Told = { via?: string[]; direct?: boolean; step?: number; held?: true }
const aNode = (
  name: string,
  { via = [], direct = true, step = 5, held }: Told = {},
  more: Partial<PlanNode> = {},
): PlanNode => ({
  ...{ name, rack: '', isFit: true, isAwaited: true, readyMs: 0, said: { step, via, direct, ...(held && { held }) } },
  ...more,
})
const state = (mesh: ReflectorState['mesh'], ...nodes: string[]): ReflectorState => ({ step: 5, mesh, nodes })
const many = (told: Told, more: Partial<PlanNode> = {}) => ['a', 'b', 'c', 'd'].map(name => aNode(name, told, more))

test('the mesh goes only once every node that may carry packets has all its routes from two reflectors, by a word of this step', t => {
  const via = ['a', 'b']
  const plan = (nodes: PlanNode[]) => reflectorPlan({ state: state('whole', 'a', 'b'), wish, nodes, nowMs: NOW_MS })
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
  const plan = (told: Told) =>
    reflectorPlan({ state: state('thin', 'a', 'b', 'c'), wish, nodes: cordoned(told), nowMs: NOW_MS })
  t.deepEqual(plan({ via: ['a', 'b', 'c'] }).next, { step: 6, mesh: 'thin', nodes: ['b', 'c'] })
  t.deepEqual(plan({ via: ['a', 'b'] }).waitsFor, ['a', 'b', 'c', 'd'])
  const back = (mesh: ReflectorState['mesh'], told: Told) =>
    reflectorPlan({ state: state(mesh, 'a', 'b'), wish: undefined, nodes: many(told), nowMs: NOW_MS })
  t.deepEqual(back('thin', {}).next, { step: 6, mesh: 'whole', nodes: ['a', 'b'] })
  t.deepEqual(back('whole', { direct: false }).waitsFor, ['a', 'b', 'c', 'd'])
  t.deepEqual(back('whole', {}).next, { step: 6, mesh: 'whole', nodes: ['a'] })
  const end = (told: Told) =>
    reflectorPlan({ state: state('whole'), wish: undefined, nodes: many(told), nowMs: NOW_MS })
  t.deepEqual(end({ step: 4 }).waitsFor, ['a', 'b', 'c', 'd'], 'who reflects and has not heard of the end')
  t.is(end({}).next, 'nothing')
})

test('a number of nodes around the wish moves nothing to and fro', t => {
  const via = ['a', 'b']
  const nodes = (count: number, told: Told) =>
    Array.from({ length: count }, (_, i) => aNode('abcdefghijklmno'[i]!, told))
  const now = (count: number, of: ReflectorState | undefined) =>
    reflectorPlan({
      state: of,
      wish: { above: 10, perRack: 2 },
      nodes: nodes(count, of === undefined ? {} : { via }),
      nowMs: NOW_MS,
    }).next
  t.is(now(10, undefined), undefined)
  t.deepEqual(now(11, undefined), { step: NOW_MS + 1, mesh: 'whole', nodes: [] })
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
        ...{ state: now, wish: { above: 1, perRack }, nowMs: NOW_MS },
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

test('where there are as many as there can be one goes before another one comes, and where none of them is left the mesh comes back', t => {
  const names = Array.from({ length: 40 }, (_, i) => `n${String(i).padStart(3, '0')}`)
  const full = names.slice(0, MOST_REFLECTORS)
  /** The states that it comes to where all is confirmed at once. */
  const states = (isFit: (name: string) => boolean, isAlive: (name: string) => boolean): ReflectorState[] => {
    const all = [state('thin', ...full)]
    for (let i = 0; i < 60; i++) {
      const now = all.at(-1)!
      const said = { step: now.step, via: now.nodes.filter(isAlive), direct: now.mesh === 'whole' }
      const nodes = names.map((name, at) =>
        aNode(name, {}, { said, rack: `r${at}`, isFit: isFit(name), isAwaited: isAlive(name), readyMs: at }),
      )
      const { next } = reflectorPlan({ state: now, wish, nodes, nowMs: NOW_MS })
      if (next === undefined || next === 'nothing') break
      t.deepEqual(parseReflectors(formatReflectors(next)), next)
      all.push(next)
    }
    return all.slice(1)
  }
  const isLeft = (name: string) => name !== 'n003'
  const [went, came, ...more] = states(isLeft, () => true)
  t.deepEqual(went?.nodes, full.filter(isLeft))
  t.deepEqual(came?.nodes, [...full.filter(isLeft), 'n016'])
  t.deepEqual(more, [])
  for (const isAlive of [() => true, (name: string) => name >= 'n016']) {
    const all = states(name => name >= 'n016', isAlive)
    t.is(all[0]?.mesh, 'whole')
    t.deepEqual([all.at(-1)?.mesh, all.at(-1)?.nodes.toSorted()], ['thin', names.slice(16, 32)])
  }
})

test('no number that a node says, nor the last one there is, makes a state that agents cannot read, or one that somebody has answered', t => {
  const via = ['a', 'b']
  const next = (now: ReflectorState | undefined, ...steps: number[]) => {
    const liars = steps.map((step, i) => aNode(`z${i}`, { via, step }, { isAwaited: false }))
    const told = many({ via, step: now?.step ?? 5 })
    const plan = reflectorPlan({ state: now, wish, nodes: [...told, ...liars], nowMs: NOW_MS }).next
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
  for (const step of [9, MOST_STEP, Number.MAX_SAFE_INTEGER]) t.is(next(undefined, step), NOW_MS + 1)
})

test('a state that is gone, or older than what most nodes have followed, begins again with those that say that they reflect', t => {
  const via = ['b', 'c']
  const plan = (now: ReflectorState | undefined, nodes: PlanNode[], asked: ReflectorWish | undefined = wish) =>
    reflectorPlan({ state: now, wish: asked, nodes, nowMs: NOW_MS })
  const again = { mesh: 'whole', nodes: via }
  // of so many nodes as there are not
  const unasked = { ...wish, above: 9 }
  t.deepEqual(plan(undefined, many({ via })).next, { ...again, step: NOW_MS + 1 })
  t.deepEqual(plan(undefined, many({ via }), unasked).next, { ...again, step: NOW_MS + 1 })
  const later = NOW_MS + 70
  t.deepEqual(plan(undefined, many({ via, step: later })).next, { ...again, step: later + 1 })
  // one that is gone for long says for ever what it said
  const gone = many({ via }, { isAwaited: false, isFit: false })
  t.deepEqual(plan(undefined, gone, unasked), { waitsFor: [] })
  const old = state('thin', 'a', 'd')
  t.deepEqual(plan(old, many({ via, step: 9 })).next, { ...again, step: 10 })
  t.deepEqual(plan(old, many({ via, held: true })).next, { ...again, step: 6 })
  // it is given a step that it can follow; that others say nothing may be as a backup has it
  const one = (told: Told) => [...many({ via: ['a', 'd'] }).slice(0, 3), aNode('d', { via: ['a', 'd'], ...told })]
  t.deepEqual(plan(old, one({ step: 9, held: true })).next, { ...old, mesh: 'whole', step: 10 })
  t.deepEqual(plan(old, one({ step: 9 })), { waitsFor: [] })
})

test('one that goes on reflecting although it is not named is named, and what it says until then answers nothing', t => {
  const now = state('thin', 'a', 'b')
  const plan = (...nodes: PlanNode[]) => reflectorPlan({ state: now, wish, nodes, nowMs: NOW_MS })
  const others = many({ via: ['a', 'b'] }).slice(0, 3)
  const stray: Told = { via: ['d'], held: true, step: 3 }
  t.deepEqual(plan(...others, aNode('d', stray)).next, { step: 6, mesh: 'thin', nodes: ['a', 'b', 'd'] })
  t.deepEqual(plan(...others, aNode('d', { via: ['d'], step: 3 })), { waitsFor: [] }, 'it has not heard yet')
  t.deepEqual(plan(...others, aNode('d', stray, { isAwaited: false })), { waitsFor: [] })
  const said = { via: ['a', 'b'], held: true as const }
  const whole = { ...state('whole', 'a', 'b'), step: 6 }
  const waiting = reflectorPlan({
    ...{ state: whole, wish, nowMs: NOW_MS },
    nodes: [...many({ via: ['a', 'b'], step: 6 }).slice(0, 3), aNode('d', { ...said, step: 5 })],
  })
  t.deepEqual(waiting.waitsFor, ['d'])
})

test('steps come one after the other, round the circle of all', t => {
  t.true(isLaterStep(8, 7) && isLaterStep(NOW_MS, 7) && isLaterStep(1, MOST_STEP))
  for (const [step, than] of [
    [7, 7],
    [7, 8],
    [7, NOW_MS],
    [MOST_STEP, 1],
  ] as const)
    t.false(isLaterStep(step, than))
})

test('where two reflectors cannot be counted on others come at once, and without any the mesh comes back', t => {
  const gone = [aNode('a', {}, { isFit: false }), aNode('b', {}, { isFit: false })]
  const plan = (nodes: PlanNode[]) => reflectorPlan({ state: state('thin', 'a', 'b'), wish, nodes, nowMs: NOW_MS })
  t.deepEqual(plan([...gone, aNode('c'), aNode('d')]).next, { step: 6, mesh: 'thin', nodes: ['a', 'b', 'c'] })
  t.deepEqual(plan([...gone, aNode('c'), aNode('d', {}, { isFit: false })]).next, {
    ...{ step: 6, mesh: 'whole', nodes: ['a', 'b'] },
  })
  // Nodes that were deleted: agents have sessions with all by then
  t.deepEqual(plan(many({}).slice(1)).next, { step: 6, mesh: 'whole', nodes: ['b'] })
})

test('a reflector whose Node is away stays for as long as nodes hear from it: others that are away may have all routes from it', t => {
  const plan = (via: string[], more: Partial<PlanNode> = {}) => {
    const away = aNode('e', { step: 4 }, { isFit: false, isAwaited: false, ...more })
    return reflectorPlan({ state: state('thin', 'a', 'e', 'b'), wish, nodes: [...many({ via }), away], nowMs: NOW_MS })
  }
  t.deepEqual(plan(['a', 'b', 'e']), { waitsFor: ['e'] })
  t.deepEqual(plan(['a', 'b']).next, { step: 6, mesh: 'thin', nodes: ['a', 'b'] })
  const drained = { isAwaited: true, said: { step: 5, via: ['a', 'b', 'e'], direct: false } }
  t.deepEqual(plan(['a', 'b', 'e'], drained).next, { step: 6, mesh: 'thin', nodes: ['a', 'b'] })
})
