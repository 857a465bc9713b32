import test from 'ava'
import { failureOf, UsageError, worst } from '../../ctl/failure.ts'
import { parseKind, parseManifest } from '../../ctl/manifest.ts'
import { renderResources, renderTable } from '../../ctl/render.ts'
import { Conflict, NotFound, Refused, Unreachable } from '../../datastore/port.ts'
import { aBlock, aPod, aPool } from '../datastore/objects.ts'

const table = { format: 'table', single: false, withNamespace: false } as const

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

test("pools show calicoctl's columns, more of them when wide", t => {
  const pools = [aPool('p1', { natOutgoing: true })]
  t.is(
    renderResources('IPPool', pools, table),
    'NAME  CIDR           IPIPMODE  VXLANMODE  SELECTOR\np1    10.244.0.0/16  Never     Never      all()\n',
  )
  const wide = renderResources('IPPool', pools, { ...table, format: 'wide' })
  t.regex(wide, /^NAME +CIDR +NAT +IPIPMODE +VXLANMODE +DISABLED +DISABLEBGPEXPORT +SELECTOR\n/)
})

test('the namespace is a column when all are shown', t => {
  const lines = renderResources('Pod', [aPod('web')], { ...table, withNamespace: true }).split('\n')
  t.regex(lines[0]!, /^NAMESPACE +NAME /)
  t.regex(lines[1]!, /^default +web +<none>/)
})

test('JSON and YAML keep integers above 2^53, and read back as a manifest', t => {
  const block = aBlock('10.0.0.0/31', { sequenceNumber: 1_766_000_000_123_456_789n })
  for (const format of ['json', 'yaml'] as const) {
    const text = renderResources('IPAMBlock', [block], { ...table, format, single: true })
    t.regex(text, /sequenceNumber"?: 1766000000123456789/)
    t.like(parseManifest(text, 'test', 'default'), [{ kind: 'IPAMBlock', object: block }] as never)
  }
})

test('a list reads back as its items', t => {
  const text = renderResources('IPPool', [aPool('a'), aPool('b')], { ...table, format: 'yaml' })
  t.deepEqual(
    parseManifest(text, 'test', 'default').map(({ object }) => object.metadata.name),
    ['a', 'b'],
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
