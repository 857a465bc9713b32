import test from 'ava'
import { apiVersion, type Kind, kinds } from '../../../api/kinds.ts'
import type { AnyObject } from '../../../api/lifecycle.ts'
import { UsageError } from '../../../ctl/failure.ts'
import { parseManifest } from '../../../ctl/manifest.ts'
import { printerOf } from '../../../ctl/output/printer.ts'
import { aBlock, aPod, aPool } from '../../datastore/objects.ts'

const noFile = async (path: string): Promise<string> => {
  throw new UsageError(`no file ${path}`)
}

/** What `-o` and other options print of objects of one kind. */
async function printed(
  kind: Kind,
  objects: readonly object[],
  options: Record<string, string | boolean>,
  view: { single?: boolean; withNamespace?: boolean } = {},
): Promise<string> {
  const printer = await printerOf(options, noFile)
  const found = objects.map(object => ({
    kind,
    object: { apiVersion: apiVersion(kinds[kind]), kind, ...object } as unknown as AnyObject,
  }))
  return printer.print(found, { single: false, withNamespace: false, ...view })
}

test("pools show calicoctl's columns, more of them when wide", async t => {
  const pools = [aPool('p1', { natOutgoing: true })]
  t.is(
    await printed('IPPool', pools, {}),
    'NAME  CIDR           IPIPMODE  VXLANMODE  SELECTOR\np1    10.244.0.0/16  Never     Never      all()\n',
  )
  const wide = await printed('IPPool', pools, { output: 'wide' })
  t.regex(wide, /^NAME +CIDR +NAT +IPIPMODE +VXLANMODE +DISABLED +DISABLEBGPEXPORT +SELECTOR\n/)
})

test('the namespace is a column when all are shown', async t => {
  const lines = (await printed('Pod', [aPod('web')], {}, { withNamespace: true })).split('\n')
  t.regex(lines[0]!, /^NAMESPACE +NAME /)
  t.regex(lines[1]!, /^default +web +<none>/)
})

test('JSON and YAML keep integers above 2^53, and read back as a manifest', async t => {
  const block = aBlock('10.0.0.0/31', { sequenceNumber: 1_766_000_000_123_456_789n })
  for (const output of ['json', 'yaml']) {
    const text = await printed('IPAMBlock', [block], { output }, { single: true })
    t.regex(text, /sequenceNumber"?: 1766000000123456789/)
    t.like(parseManifest(text, 'test', 'default'), [{ kind: 'IPAMBlock', object: block }] as never)
  }
})

test('a list reads back as its items', async t => {
  const text = await printed('IPPool', [aPool('a'), aPool('b')], { output: 'yaml' })
  t.deepEqual(
    parseManifest(text, 'test', 'default').map(({ object }) => object.metadata.name),
    ['a', 'b'],
  )
})

test("custom columns are kubectl's paths, or names of columns as with calicoctl", async t => {
  const pools = [aPool('a', { natOutgoing: true }), aPool('long-name')]
  const output = 'custom-columns=NAME:.metadata.name,NAT:spec.natOutgoing,NONE:{.spec.nothing}'
  t.is(
    await printed('IPPool', pools, { output }),
    'NAME        NAT     NONE\na           true    <none>\nlong-name   false   <none>\n',
  )
  t.is(
    await printed('IPPool', pools, { output: 'custom-columns=NAME,CIDR', headers: false }),
    'a           10.244.0.0/16\nlong-name   10.244.0.0/16\n',
  )
  await t.throwsAsync(printed('IPPool', pools, { output: 'custom-columns=NAME,COLOUR' }), {
    instanceOf: UsageError,
    message: /IPPool has no column COLOUR: give one of NAME, CIDR, NAT/,
  })
})

test('a template is that of -o, or of --template', async t => {
  const pools = [aPool('a'), aPool('b')]
  const output = 'jsonpath={range .items[*]}{.metadata.name};{end}'
  t.is(await printed('IPPool', pools, { output }), 'a;b;')
  const template = '{{range .items}}{{.metadata.name}};{{end}}'
  t.is(await printed('IPPool', pools, { output: 'go-template', template }), 'a;b;')
  t.is(await printed('IPPool', pools, { output: 'jsonpath-as-json={.kind}' }), '[\n    "IPPoolList"\n]\n')
  await t.throwsAsync(printed('IPPool', pools, { output: 'jsonpath' }), { message: /no template given/ })
})

test('--export leaves out what belongs to this cluster', async t => {
  const pool = aPool('a')
  const stored = { ...pool, metadata: { ...pool.metadata, uid: 'u1', resourceVersion: '7', generation: 1 } }
  const text = await printed('IPPool', [stored], { output: 'yaml', export: true }, { single: true })
  t.regex(text, /metadata:\n {2}name: a\nspec:/)
})

test('every kind of the table has a name as kubectl writes it, and a table with a row', async t => {
  for (const kind of Object.keys(kinds) as Kind[]) {
    const object = { metadata: { name: 'x', namespace: 'default' } }
    t.regex(await printed(kind, [object], { output: 'name' }), /^[a-z]+(\.[a-z0-9.]+)?\/x\n$/, kind)
    t.regex(await printed(kind, [object], {}), /^NAME.*\nx/, kind)
  }
})
