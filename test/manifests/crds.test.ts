import { readFileSync } from 'node:fs'
import test from 'ava'
import { parseAllDocuments } from 'yaml'
import { crdKinds, crdOf } from '../../api/crd.ts'
import { crdsText } from '../../manifests/crds.ts'

const CRDS = new URL('../../manifests/crds.yaml', import.meta.url)

test('crds.yaml is what the table of kinds gives', t => {
  t.is(readFileSync(CRDS, 'utf8'), crdsText(), 'run: npm run manifests')
  t.is(parseAllDocuments(crdsText()).length, crdKinds().length)
})

/** Rules of a structural schema (apiextensions.k8s.io/v1): a type everywhere, or one of the two ways out. */
function faults(node: unknown, path: string): string[] {
  if (typeof node !== 'object' || node === null) return [`${path}: not a schema`]
  const schema = node as Record<string, unknown>
  const found: string[] = []
  const open = schema['x-kubernetes-preserve-unknown-fields'] === true || schema['x-kubernetes-int-or-string'] === true
  if (schema['type'] === undefined && !open) found.push(`${path}: no type`)
  for (const word of ['$ref', 'anyOf', 'oneOf', 'allOf', 'const', 'propertyNames', '$schema'])
    if (word in schema) found.push(`${path}: ${word}`)
  if (schema['properties'] !== undefined && schema['additionalProperties'] !== undefined)
    found.push(`${path}: properties beside additionalProperties`)
  for (const [name, value] of Object.entries((schema['properties'] ?? {}) as object))
    found.push(...faults(value, `${path}.${name}`))
  if (schema['items'] !== undefined) found.push(...faults(schema['items'], `${path}[]`))
  if (schema['additionalProperties'] !== undefined) found.push(...faults(schema['additionalProperties'], `${path}{}`))
  return found
}

for (const kind of crdKinds())
  test(`the CRD of ${kind} is a structural schema`, t => {
    const { spec } = crdOf(kind) as { spec: { versions: { schema: { openAPIV3Schema: unknown } }[] } }
    t.deepEqual(faults(spec.versions[0]!.schema.openAPIV3Schema, kind), [])
  })
