// What a node makes of the annotation of automatic route reflectors where it may not be what the leader wrote.
import test from 'ava'
import type { NodeFacts } from '../../../agent/cluster/nodes.ts'
import { Reflection } from '../../../agent/cluster/reflection.ts'
import { MOST_REFLECTORS, type ReflectorState } from '../../../api/reflectors.ts'

const MANY = Array.from({ length: MOST_REFLECTORS + 4 }, (_, i) => `n${i}`)
const state = (step: number, mesh: ReflectorState['mesh'], ...nodes: string[]): ReflectorState => ({
  ...{ step, mesh, nodes },
})
const THIN = state(7, 'thin', 'n1', 'n2')

/** A node that has followed `THIN`; what it does after others are told to it, one by one. */
function after(name: string, ...told: (ReflectorState | undefined)[]): string {
  const known = new Map(MANY.map(each => [each, { name: each, labels: {}, address: '192.0.2.1' } as NodeFacts]))
  const reflection = new Reflection(name, nodesOf(known))
  reflection.set(THIN)
  for (const each of told) reflection.set(each)
  const asked = reflection.asked()
  const goesBy = asked === undefined ? 'nothing' : `${asked.step}${asked.held ? ' held' : ''}`
  const reflects = reflection.has(name) ? ', reflects' : ''
  return `${goesBy}${reflects}, ${reflection.joins('n18', 'n19') ? 'whole' : 'thin'}`
}

const nodesOf = (known: Map<string, NodeFacts>) => ({
  get: (name: string) => known.get(name),
  all: () => known.values(),
})

test('a reflector that is told of no state, an old one or another one of the same step goes on, with the mesh whole', t => {
  for (const told of [undefined, state(6, 'thin', 'n3', 'n4'), state(7, 'thin', 'n1', 'x'), state(7, 'whole')])
    t.is(after('n1', told), '7 held, reflects, whole')
  t.is(after('n1', undefined, THIN), '7, reflects, thin', 'it is put back')
})

test('a node that does not reflect has the mesh whole then, and says so where something is written', t => {
  t.is(after('n5', undefined), 'nothing, whole')
  t.is(after('n5', state(6, 'thin', 'n3', 'n5')), '7 held, whole')
  t.is(after('n5', undefined, state(6, 'thin', 'n3', 'n5')), '7 held, whole', 'what it followed is not forgotten')
  t.is(after('n5', state(8, 'whole'), undefined), 'nothing, whole')
})

test('a later state is followed, but for one by which a reflector stops while others come or go', t => {
  t.is(after('n1', state(8, 'thin', 'n2')), '8, whole')
  t.is(after('n1', state(8, 'whole', 'n2')), '8, whole')
  t.is(after('n1', state(8, 'whole', 'n2', 'n1', 'n3'), state(9, 'thin', 'n2', 'n3')), '9, thin')
  t.is(after('n5', state(8, 'thin', 'n3', 'n4')), '8, thin')
  for (const told of [
    state(8, 'thin', 'n2', 'n3'),
    state(8, 'thin', 'n3', 'n4'),
    state(8, 'whole'),
    state(8, 'whole', 'x', 'y'),
  ])
    t.is(after('n1', told), '7 held, reflects, whole')
})

test('a reflector that goes on stops once it was named again, and then not', t => {
  t.is(
    after('n1', undefined, state(8, 'whole', 'n2')),
    '7 held, reflects, whole',
    'who began again had not heard of it',
  )
  t.is(after('n1', undefined, state(8, 'whole', 'n2'), state(9, 'whole', 'n2', 'n1')), '9, reflects, whole')
  const named = [state(8, 'whole', 'n1', 'n2'), state(9, 'whole', 'n2')]
  t.is(after('n1', undefined, ...named), '9, whole')
  // no more can be named
  const others = MANY.filter(name => name !== 'n1').slice(0, MOST_REFLECTORS)
  t.is(after('n1', undefined, state(8, 'thin', ...others)), '8, thin')
})
