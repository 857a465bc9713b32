import test from 'ava'
import { failureOf, UsageError, worst } from '../../ctl/failure.ts'
import { parseKind, parseManifest } from '../../ctl/manifest.ts'
import { renderFields, renderTable, show } from '../../ctl/render.ts'
import { emitYaml, parseYaml } from '../../ctl/yaml.ts'
import { Conflict, NotFound, Refused, Unreachable } from '../../datastore/port.ts'

test('columns are as wide as their widest cell, and no line ends in blanks', t => {
  t.is(
    renderTable(
      ['A', 'LONG'],
      [
        ['wide cell', 'x'],
        ['b', ''],
      ],
    ),
    'A          LONG\nwide cell  x\nb\n',
  )
})

const faults: [title: string, text: string, message: RegExp][] = [
  ['nothing', '', /holds no resource/],
  ['broken YAML', 'a: [', /test: .*line 1/s],
  ['a bare word', 'word', /document 1: is no object/],
  ['an unknown kind', 'kind: Cat', /kind "Cat" is not known/],
  ['another API version', 'apiVersion: v9\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.0.0.0/16}', /apiVersion/],
  ['an invalid field', 'kind: IPPool\nmetadata: {name: p}\nspec: {cidr: x}', /IPPool p: spec\.cidr/],
]

for (const [title, text, message] of faults)
  test(`a manifest with ${title} is refused with its place`, t => {
    t.throws(() => parseManifest(text, 'test', 'default'), { instanceOf: UsageError, message })
  })

test('every fault of a manifest is told at once', t => {
  const text = 'kind: Cat\n---\nkind: Dog'
  t.throws(() => parseManifest(text, 'test', 'default'), { message: /document 1: .*\n.*document 2: / })
})

test('an unknown kind on the command line is answered with the known ones', t => {
  t.throws(() => parseKind('cats'), { instanceOf: UsageError, message: /ippools/ })
})

test('each failure has its exit code, the object, and a remedy', t => {
  const codes = [new UsageError('u'), new NotFound('n'), new Conflict('c'), new Refused(422, 'r'), new Unreachable('x')]
  t.deepEqual(
    codes.map(error => failureOf(error, 'IPPool p').code),
    [2, 1, 1, 1, 3],
  )
  t.is(failureOf(new Refused(422, 'bad'), 'IPPool p').message, 'IPPool p: bad. Correct the named fields.')
  t.throws(() => failureOf(new TypeError('bug')), { instanceOf: TypeError })
  t.deepEqual([worst([]), worst([0, 3, 1])], [0, 3])
})

const EVIL = 'a\u001b]0;x\u0007\u009b2J\u202e\u007f\r\nb'
const SHOWN = 'a\\u001b]0;x\\u0007\\u009b2J\\u202e\\u007f\\r\\nb'

test('a cell or a field with control characters and line ends is one line without them, and its column is wide enough', t => {
  t.is(renderTable(['A', 'B'], [[EVIL, 'x']]), `${'A'.padEnd(SHOWN.length)}  B\n${SHOWN}  x\n`)
  t.is(renderFields([[EVIL, EVIL]]), `${SHOWN}: ${SHOWN}\n`)
  t.is(
    show('', 'table', () => `${EVIL}\n`),
    `${SHOWN.replace('\\n', '\n')}\n`,
  )
})

test('JSON and YAML hold no control characters, and say the same', t => {
  const value = { [EVIL]: [EVIL], plain: 'x\u009b' }
  const json = show(value, 'json', () => '')
  for (const text of [json, emitYaml(value)]) t.notRegex(text.replaceAll('\n', ''), /\p{Cc}/u)
  t.deepEqual(JSON.parse(json), value)
  t.deepEqual(parseYaml(emitYaml(value)), [value])
})

test('a table of 200,000 rows is printed', t => {
  const rows = Array.from({ length: 200_000 }, (_, i) => [String(i)])
  t.is(renderTable(undefined, rows).split('\n').length, 200_001)
})
