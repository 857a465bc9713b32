import test from 'ava'
import fc from 'fast-check'
import { sameJson } from '../../api/json.ts'
import { strategicMerge } from '../../api/strategic-merge.ts'
import { JsonPatchError, jsonPatch } from '../../apiserver/json-patch.ts'
import { processorMs } from '../slowness.ts'

const json = (document: unknown, patch: unknown): unknown => jsonPatch(document, patch, sameJson)

// after RFC 6902, appendix A
const vectors: [title: string, document: unknown, patch: unknown[], result: unknown][] = [
  ['adds a member', { a: 1 }, [{ op: 'add', path: '/b', value: 2 }], { a: 1, b: 2 }],
  ['inserts into a list', { a: [1, 3] }, [{ op: 'add', path: '/a/1', value: 2 }], { a: [1, 2, 3] }],
  ['appends to a list', { a: [1] }, [{ op: 'add', path: '/a/-', value: 2 }], { a: [1, 2] }],
  ['removes from a list', { a: [1, 2, 3] }, [{ op: 'remove', path: '/a/1' }], { a: [1, 3] }],
  ['replaces a value', { a: { b: 1 } }, [{ op: 'replace', path: '/a/b', value: 2 }], { a: { b: 2 } }],
  ['moves a value', { a: { b: 1 }, c: {} }, [{ op: 'move', from: '/a/b', path: '/c/d' }], { a: {}, c: { d: 1 } }],
  ['copies a value', { a: [1] }, [{ op: 'copy', from: '/a', path: '/b' }], { a: [1], b: [1] }],
  ['reads ~1 as / and ~0 as ~', { 'a/b~c': 1 }, [{ op: 'replace', path: '/a~1b~0c', value: 2 }], { 'a/b~c': 2 }],
  [
    'goes on after a test that holds',
    { a: 1 },
    [
      { op: 'test', path: '/a', value: 1 },
      { op: 'remove', path: '/a' },
    ],
    {},
  ],
  ['replaces the whole', { a: 1 }, [{ op: 'replace', path: '', value: { b: 2 } }], { b: 2 }],
]

for (const [title, document, patch, result] of vectors)
  test(`a JSON patch ${title}`, t => {
    const before = structuredClone(document)
    t.deepEqual(json(document, patch), result)
    t.deepEqual(document, before)
  })

const faults: unknown[] = [
  {},
  [{ op: 'remove', path: '/nothing' }],
  [{ op: 'replace', path: '/nothing', value: 1 }],
  [{ op: 'add', path: '/a/5', value: 1 }],
  [{ op: 'add', path: '/a/01', value: 1 }],
  [{ op: 'add', path: '/x/y', value: 1 }],
  [{ op: 'add', path: '/b' }],
  [{ op: 'add', path: 'b', value: 1 }],
  [{ op: 'test', path: '/a', value: [2] }],
  [{ op: 'move', from: '/a', path: '/a/0' }],
  [{ op: 'jump', path: '/a' }],
  [{ op: 'remove', path: '' }],
  [null],
]

for (const patch of faults)
  test(`the JSON patch ${JSON.stringify(patch)} is refused`, t => {
    t.throws(() => json({ a: [1] }, patch), { instanceOf: JsonPatchError })
  })

test('any operations give a document or a JsonPatchError', t => {
  const path = fc.stringMatching(/^(\/(a|b|0|1|-|__proto__|constructor|~0)){0,3}$/)
  const operation = fc.record({
    op: fc.constantFrom('add', 'remove', 'replace', 'move', 'copy', 'test'),
    path,
    from: path,
    value: fc.jsonValue(),
  })
  fc.assert(
    fc.property(fc.array(operation), operations => {
      try {
        json({ a: [1, { b: 2 }], b: {} }, operations)
      } catch (error) {
        if (!(error instanceof JsonPatchError)) throw error
      }
      return ({} as Record<string, unknown>)['a'] === undefined
    }),
  )
  t.pass()
})

test('a strategic patch merges containers by name, ports by number, and deletes by directive', t => {
  const pod = { spec: { containers: [{ name: 'a', image: '1', ports: [{ containerPort: 80 }] }, { name: 'b' }] } }
  const patch = {
    spec: {
      containers: [
        { name: 'a', image: '2', ports: [{ containerPort: 443 }] },
        { name: 'b', $patch: 'delete' },
        { name: 'c' },
      ],
    },
  }
  t.deepEqual(strategicMerge(pod, patch), {
    spec: {
      containers: [{ name: 'a', image: '2', ports: [{ containerPort: 80 }, { containerPort: 443 }] }, { name: 'c' }],
    },
  })
})

test('a strategic patch replaces other lists, orders by directive, and keeps no directive', t => {
  const before = {
    metadata: { finalizers: ['a', 'b'] },
    spec: { taints: [{ key: 'x' }], volumes: [{ name: 'v' }, { name: 'w' }] },
  }
  const patch = {
    metadata: { '$deleteFromPrimitiveList/finalizers': ['a'] },
    spec: {
      taints: [{ key: 'y' }],
      '$setElementOrder/volumes': [{ name: 'w' }, { name: 'v' }],
      volumes: [{ name: 'w', emptyDir: {} }],
      fresh: { $patch: 'replace', kept: 1 },
    },
  }
  t.deepEqual(strategicMerge(before, patch), {
    metadata: { finalizers: ['b'] },
    spec: { taints: [{ key: 'y' }], volumes: [{ name: 'w', emptyDir: {} }, { name: 'v' }], fresh: { kept: 1 } },
  })
})

test('a JSON patch that doubles the document again and again is refused before it is large', t => {
  const copies = Array.from({ length: 40 }, (_, i) => ({ op: 'copy', from: '/a', path: `/a/c${i}` }))
  t.throws(() => json({ a: { b: 1 } }, copies), { instanceOf: JsonPatchError, message: /copied or compared/ })
})

test('a strategic patch of long lists takes time by their length, not by its square', t => {
  const items = (from: number): object[] =>
    Array.from({ length: 20_000 }, (_, i) => ({ type: `t${from + i}`, v: from }))
  const tookMs = processorMs(() => {
    const merged = strategicMerge({ conditions: items(0) }, { conditions: items(10_000) }) as { conditions: object[] }
    t.is(merged.conditions.length, 30_000)
  })
  t.true(tookMs < 5000, `${tookMs} ms`)
})
