// Every cause has a world in which it is the first, and no world gives another one. The table, its document, and what may never happen:
// that a fact which is not to be had turns one cause into another.
import { readFileSync } from 'node:fs'
import test from 'ava'
import fc from 'fast-check'
import { CAUSES } from '../../explain/causes.ts'
import type { NodeAnswer } from '../../explain/crossing.ts'
import { explainText } from '../../manifests/explain.ts'
import { WORLDS } from './cause-worlds.ts'
import { type World, walked } from './worlds.ts'

const root = new URL('../../', import.meta.url).pathname

for (const [code, world] of Object.entries(WORLDS))
  test(`${code} is the first cause where it is the fault, with a remedy that is whole`, t => {
    const found = walked(world)
    t.is(
      found.first?.code,
      code,
      JSON.stringify(
        found.steps.filter(({ verdict }) => verdict !== 'passes'),
        null,
        1,
      ),
    )
    t.is(found.verdict, 'stopped')
    t.notRegex(found.first!.remedy, /[{}?]/)
    t.not(found.first!.message, '')
    t.is(
      found.steps.filter(({ cause }) => cause !== undefined && cause.code !== code).length,
      0,
      JSON.stringify(found.others),
    )
  })

test('docs/explain.md says what the table of causes says', t => {
  t.is(readFileSync(`${root}docs/explain.md`, 'utf8'), explainText(), 'npm run manifests writes it')
})

test('every cause has a heading of its own, to which its page leads', t => {
  const text = explainText()
  for (const code of Object.keys(CAUSES)) t.true(text.includes(`\n### ${code}\n`), code)
  for (const world of Object.values(WORLDS)) {
    const { code, page } = walked(world).first!
    t.is(page, `docs/explain.md#${code.toLowerCase()}`)
  }
})

type AnyFact = Record<string, unknown>

/** Every fact of an answer, wherever it stands. */
function factsIn(value: unknown): AnyFact[] {
  if (typeof value !== 'object' || value === null) return []
  const own = 'of' in value && 'ageMs' in value ? [value as AnyFact] : []
  return [...own, ...Object.values(value).flatMap(factsIn)]
}

function factsOf({ near, far }: World): AnyFact[] {
  return [...new Set([near, far].flatMap(factsIn))]
}

function withoutFact(world: World, i: number): World {
  const copy = structuredClone(world)
  // on one node both ends are one answer
  if (world.near === world.far) copy.far = copy.near
  const fact = factsOf(copy)[i]!
  delete fact['value']
  fact['absent'] = 'not to be had'
  return copy
}

test('without any one of its facts a cause stays, or becomes unknown, and never another one', t => {
  for (const [code, world] of Object.entries(WORLDS))
    for (const i of factsOf(world).keys()) {
      const { first, others, verdict } = walked(withoutFact(world, i))
      const codes = [first, ...others].flatMap(each => each?.code ?? [])
      t.true(
        codes.every(each => each === code),
        `${code} without fact ${i}: ${codes.join(', ')}`,
      )
      t.not(verdict, first === undefined ? 'stopped' : 'passes')
    }
})

test('without any of what a node says, for one that is silent, a cause never becomes another one', t => {
  const quiet = (answer: NodeAnswer | undefined): NodeAnswer | undefined =>
    answer && { node: answer.node, ms: 0, silent: 'no answer', away: false }
  for (const [code, world] of Object.entries(WORLDS))
    for (const each of [
      { ...world, near: quiet(world.near) },
      { ...world, far: quiet(world.far) },
      { ...world, near: quiet(world.near), far: quiet(world.far) },
    ]) {
      const { first, verdict } = walked(each)
      const may = [code, undefined]
      t.true(may.includes(first?.code), `${code}: ${first?.code}`)
      if (first === undefined) t.not(verdict, 'stopped')
    }
})

/** All answers that the worlds have, to be put together at random. */
const ANSWERS = Object.values(WORLDS).flatMap(({ near, far }) => [near, far])
const TRACES = Object.values(WORLDS).flatMap(({ traces }) => traces ?? [])
const QUESTIONS = Object.values(WORLDS).map(({ question }) => question)

test('whatever two nodes say, the walk ends, its causes are of the table, and it stops only with a cause', t => {
  const any = fc.record({
    question: fc.constantFrom(...QUESTIONS),
    near: fc.constantFrom(...ANSWERS),
    far: fc.constantFrom(...ANSWERS),
    traces: fc.subarray(TRACES, { maxLength: 3 }),
    without: fc.array(fc.nat(60), { maxLength: 20 }),
  })
  fc.assert(
    fc.property(any, ({ without, ...parts }) => {
      const world = structuredClone<World>(parts)
      const facts = factsOf(world)
      for (const i of without) {
        const fact = facts[i % Math.max(1, facts.length)]
        if (fact === undefined) continue
        delete fact['value']
        fact['absent'] = 'not to be had'
      }
      const { first, others, verdict } = walked(world)
      t.is(verdict === 'stopped', first !== undefined)
      for (const each of [first, ...others]) if (each !== undefined) t.true(Object.hasOwn(CAUSES, each.code))
    }),
    { numRuns: 300 },
  )
})
