import test from 'ava'
import fc from 'fast-check'
import { emitJson, parseJson, sameJson } from '../../api/json.ts'
import { processorMs } from '../slowness.ts'

test('an integer above 2^53 comes back digit by digit', t => {
  const text = '{"sequenceNumber":1766000000123456789,"n":[-9223372036854775808,9007199254740991,1.5,1e3]}'
  const value = parseJson(text)
  t.deepEqual(value, {
    sequenceNumber: 1766000000123456789n,
    n: [-9223372036854775808n, 9007199254740991, 1.5, 1000],
  })
  t.is(emitJson(value), text.replace('1e3', '1000'))
})

test('a number with a million digits is a double, at once', t => {
  const parse = () =>
    t.deepEqual(parseJson(`[${'9'.repeat(1_000_000)},1766000000123456789]`), [Infinity, 1766000000123456789n])
  t.true(processorMs(parse) < 1000)
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

test('the fast reader gives what a reader of every number gives, whatever strings look like', t => {
  const long = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
  // texts that look like the places where a long integer stands, and the mark itself
  const tricky = fc.array(
    fc.oneof(
      fc.constantFrom('"', '\\', ':', ',', '[', ' ', '\u0000', '1766000000123456789', '.5', 'e3', '-'),
      fc.string(),
    ),
    { maxLength: 6 },
  )
  const text = tricky.map(parts => parts.join(''))
  const { value } = fc.letrec(tie => ({
    value: fc.oneof(
      { maxDepth: 4 },
      text,
      long,
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer().map(n => n * 1e15),
      fc.array(tie('value')),
      fc.dictionary(text, tie('value'), { noNullPrototype: true }),
    ),
  }))
  fc.assert(
    fc.property(value, fc.constantFrom(undefined, 2), (given, indent) => {
      const written = emitJson(given, indent)
      t.deepEqual(parseJson(written), parseSlowly(written))
    }),
    { numRuns: 500 },
  )
})

/** Reads every number by its digits; one of more than twenty is a double. */
function parseSlowly(text: string): unknown {
  const parse = JSON.parse as (
    text: string,
    revive: (key: string, value: unknown, context: { source: string }) => unknown,
  ) => unknown
  return parse(text, (_key, value, { source }) =>
    typeof value === 'number' && /^-?\d{1,20}$/.test(source) && !Number.isSafeInteger(value) ? BigInt(source) : value,
  )
}

test('an integer of 17 digits alone, or with a fraction or an exponent, is read as what it is', t => {
  t.is(parseJson('17660000001234567'), 17660000001234567n)
  t.is(parseJson(' -17660000001234567 '), -17660000001234567n)
  t.is(parseJson('1766000000123456'), 1766000000123456)
  t.deepEqual(
    parseJson('[17660000001234567.5,17660000001234567e1]'),
    JSON.parse('[17660000001234567.5,17660000001234567e1]'),
  )
})

test('what is not JSON throws SyntaxError', t => {
  for (const text of [
    '',
    '{',
    '{"a":1766000000123456789',
    'undefined',
    '017660000001234567',
    '[,17660000001234567]',
    '"17660000001234567',
  ])
    t.throws(() => parseJson(text), { instanceOf: SyntaxError })
})

test('sameJson compares by content, and an undefined key is an absent one', t => {
  t.true(sameJson({ a: 1, b: [1n, { c: undefined }] }, { b: [1n, {}], a: 1 }))
  t.false(sameJson({ a: 1 }, { a: 2 }))
  t.false(sameJson([1], { 0: 1 }))
  t.false(sameJson({ a: null }, {}))
})

test('a text is read however deep it is nested, with long integers and with what may pass for their mark', t => {
  for (const inner of ['1766000000123456789', '["\\u00001766000000123456789",1766000000123456789]']) {
    let value = parseJson(`${'['.repeat(100_000)}${inner}${']'.repeat(100_000)}`)
    while (Array.isArray(value) && value.length === 1) value = value[0]
    t.deepEqual(
      value,
      inner.startsWith('[') ? ['\u00001766000000123456789', 1766000000123456789n] : 1766000000123456789n,
    )
  }
})
