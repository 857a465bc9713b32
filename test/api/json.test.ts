import test from 'ava'
import fc from 'fast-check'
import { emitJson, parseJson, sameJson } from '../../api/json.ts'

test('an integer above 2^53 comes back digit by digit', t => {
  const text = '{"sequenceNumber":1766000000123456789,"n":[-9223372036854775808,9007199254740991,1.5,1e3]}'
  const value = parseJson(text)
  t.deepEqual(value, {
    sequenceNumber: 1766000000123456789n,
    n: [-9223372036854775808n, 9007199254740991, 1.5, 1000],
  })
  t.is(emitJson(value), text.replace('1e3', '1000'))
})

test('digits inside text are text', t => {
  t.deepEqual(parseJson('{"a":"1766000000123456789"}'), { a: '1766000000123456789' })
})

test('any value of JSON with big integers survives emit and parse', t => {
  const big = fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n })
  const { value } = fc.letrec(tie => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.string(),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      big,
      big.map(n => -n - 1n),
      fc.array(tie('value')),
      fc.dictionary(fc.string(), tie('value'), { noNullPrototype: true }),
    ),
  }))
  fc.assert(fc.property(value, v => sameJson(parseJson(emitJson(v)), v)))
  t.pass()
})

test('what is not JSON throws SyntaxError', t => {
  for (const text of ['', '{', '{"a":1766000000123456789', 'undefined'])
    t.throws(() => parseJson(text), { instanceOf: SyntaxError })
})

test('sameJson compares by content, and an undefined key is an absent one', t => {
  t.true(sameJson({ a: 1, b: [1n, { c: undefined }] }, { b: [1n, {}], a: 1 }))
  t.false(sameJson({ a: 1 }, { a: 2 }))
  t.false(sameJson([1], { 0: 1 }))
  t.false(sameJson({ a: null }, {}))
})
