import test from 'ava'
import fc from 'fast-check'
import { emitJson, sameJson } from '../../api/json.ts'
import {
  ListSelectorError,
  parseFieldSelector,
  parseFieldSelectorForMetadata,
  parseFieldSelectorForText,
  parseLabelSelector,
} from '../../api/list-selectors.ts'
import { mergePatch } from '../../api/merge-patch.ts'

// RFC 7386, appendix A
const vectors: [target: unknown, patch: unknown, result: unknown][] = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [
    ['a', 'b'],
    ['c', 'd'],
    ['c', 'd'],
  ],
  [{ a: 'b' }, ['c'], ['c']],
  [{ a: 'foo' }, null, null],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
]

for (const [target, patch, result] of vectors)
  test(`merging ${JSON.stringify(patch)} into ${JSON.stringify(target)} follows RFC 7386`, t => {
    t.deepEqual(mergePatch(target, patch), result)
  })

test('a merge patch does not reach a prototype', t => {
  mergePatch({}, JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'))
  t.is(({} as Record<string, unknown>)['polluted'], undefined)
})

test('merging the same patch twice is merging it once', t => {
  const value = fc.dictionary(
    fc.constantFrom('a', 'b', 'c'),
    fc.oneof(
      fc.integer(),
      fc.constant(null),
      fc.dictionary(fc.constantFrom('x', 'y'), fc.integer(), { noNullPrototype: true }),
    ),
    { noNullPrototype: true },
  )
  fc.assert(fc.property(value, value, (a, b) => sameJson(mergePatch(mergePatch(a, b), b), mergePatch(a, b))))
  t.pass()
})

const labels = { metadata: { labels: { app: 'web', tier: 'front' } } }
const selections: [selector: string, expected: boolean][] = [
  ['', true],
  ['app=web', true],
  ['app==web,tier!=back', true],
  ['app = web , tier', true],
  ['!app', false],
  ['!absent', true],
  ['absent!=x', true],
  ['app in (web,db)', true],
  ['app notin (web,db)', false],
  ['absent notin (web)', true],
  ['app in (db),tier', false],
]

for (const [selector, expected] of selections)
  test(`label selector ${JSON.stringify(selector)} is ${expected}`, t => {
    t.is(parseLabelSelector(selector)(labels), expected)
  })

test('a label or field selector with a fault names the part', t => {
  for (const bad of ['a b', '=x', 'app in web', 'app=a b', 'app in (web'])
    t.throws(() => parseLabelSelector(bad), { instanceOf: ListSelectorError })
  t.throws(() => parseFieldSelector('spec.nodeName'), { instanceOf: ListSelectorError, message: /spec\.nodeName/ })
})

test('a field selector reads any scalar, and an absent one is empty', t => {
  const pod = { metadata: { name: 'p' }, spec: { nodeName: 'n1', hostNetwork: true } }
  t.true(parseFieldSelector('spec.nodeName=n1,metadata.name==p,spec.hostNetwork=true')(pod))
  t.true(parseFieldSelector('status.phase=,status.phase!=Failed')(pod))
  t.false(parseFieldSelector('spec.nodeName!=n1')(pod))
})

test('a field selector that names the metadata alone is decided by it, and one of other fields is not', t => {
  const pod = { metadata: { name: 'p', namespace: 'shop' } }
  const { test: isP, decides } = parseFieldSelectorForMetadata('metadata.name=p,metadata.namespace!=home')
  t.true(decides)
  t.true(isP(pod))
  t.false(isP({ metadata: { name: 'q', namespace: 'shop' } }))
  const more = parseFieldSelectorForMetadata('metadata.name=p,spec.nodeName=n1')
  t.false(more.decides)
  t.true(more.test(pod))
  t.false(more.test({ metadata: { name: 'q' } }))
})

test('what a field selector selects passes the test of its text, and the text of most others does not', t => {
  const scalar = fc.oneof(
    fc.string({ maxLength: 6 }),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
  )
  const fields = fc.array(scalar, { minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(fields, values => {
      const object = { spec: Object.fromEntries(values.map((value, i) => [`f${i}`, value])) }
      const selector = values.map((value, i) => `spec.f${i}=${value}`).join(',')
      try {
        if (!parseFieldSelector(selector)(object)) return
      } catch (error) {
        if (error instanceof ListSelectorError) return // a value with a comma
        throw error
      }
      t.true(parseFieldSelectorForText(selector)(emitJson(object)), selector)
    }),
  )
  t.true(parseFieldSelectorForText('spec.nodeName=a"b\\c')(emitJson({ spec: { nodeName: 'a"b\\c' } })))
  t.false(parseFieldSelectorForText('spec.affinity=host:n1')(emitJson({ spec: { affinity: 'host:n2' } })))
})
