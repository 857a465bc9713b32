// JSON read only as far as some fields: the same as parsing all of it and dropping the rest.
import test from 'ava'
import fc from 'fast-check'
import { emitJson, parseJson } from '../../api/json.ts'
import { pickFields } from '../../datastore/fields.ts'
import { parseFields } from '../../datastore/parse-fields.ts'
import type { Fields } from '../../datastore/port.ts'

const KEYS = ['a', 'b', 'name', 'x"y', 'back\\slash', '__proto__', '']
const key = fc.oneof(fc.constantFrom(...KEYS), fc.string())
const scalar = fc.oneof(
  fc.string(),
  fc.constantFrom('"', '\\', '}{', '],[', '\\"', ':,', '\n'),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n }),
  fc.constantFrom(true, false, null),
)
const { value } = fc.letrec<{ value: unknown }>(tie => ({
  value: fc.oneof(
    { maxDepth: 4 },
    scalar,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(key, tie('value'), { maxKeys: 5 }),
  ),
}))
const { fields } = fc.letrec<{ fields: Fields }>(tie => ({
  fields: fc.oneof(
    { maxDepth: 3 },
    fc.constant<Fields>(true),
    fc.dictionary(fc.constantFrom(...KEYS), tie('fields'), { maxKeys: 4 }),
  ),
}))

test('the named fields are the same as after parsing all, with and without blanks between', t => {
  fc.assert(
    fc.property(value, fields, fc.constantFrom(undefined, 1, 3), (whole, named, indent) => {
      const text = emitJson(whole, indent)
      t.deepEqual(pickFields(parseFields(text, named), named), pickFields(parseJson(text), named))
    }),
    { numRuns: 2000 },
  )
})

test('a text that is cut off or has something behind it is a SyntaxError', t => {
  const text = '{"a":{"b":[1,"x\\"",{}]},"name":"n" , "c":{"d":null}}'
  for (let length = 0; length < text.length; length++)
    t.throws(() => parseFields(text.slice(0, length), { name: true }), { instanceOf: SyntaxError })
  t.throws(() => parseFields(`${text} x`, { name: true }), { instanceOf: SyntaxError })
})

test('of the items of a list the named fields are kept, and each item keeps its place', t => {
  const text = '{"ports":[{"name":"http","image":"x"},{"image":"y"},7,[{"image":"z"}]],"empty":[]}'
  const fields = { ports: { name: true }, empty: { name: true } } as const
  const kept = { ports: [{ name: 'http' }, {}, 7, [{ image: 'z' }]], empty: [] }
  t.deepEqual(parseFields(text, fields), kept)
  t.deepEqual(pickFields(parseJson(text), fields), kept)
})

test('lists that are nested ten thousand levels deep are read, whatever is asked of them', t => {
  const deep = 10_000
  const text = `{"ports":${'['.repeat(deep)}${']'.repeat(deep)}}`
  t.notThrows(() => pickFields(parseFields(text, { ports: { name: true } }), { ports: { name: true } }))
})

test('of an object the other fields are left out, and a key with an escape is still the field that it names', t => {
  const text = '{"status":{"images":[{"n":"}"}],"addresses":["10.0.0.1"]},"kind":"Node"}'
  t.deepEqual(parseFields(text, { status: { addresses: true } }), { status: { addresses: ['10.0.0.1'] } })
  t.like(parseFields('{"n\\u0061me":"n"}', { name: true }), { name: 'n' })
})
