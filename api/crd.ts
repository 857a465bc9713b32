// CustomResourceDefinitions from the table of kinds: structural schemas as apiextensions.k8s.io/v1 asks for them, no
// `$ref`, no `anyOf` without a type, unknown fields kept. What a schema checks in code (a CIDR without host bits) has
// no place here: Margay's own programs check it, and a Kubernetes API server checks shapes.
import { z } from 'zod'
import { isCustom, type Kind, type KindRow, kinds } from './kinds.ts'
import { IMMUTABLE } from './transitions.ts'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
type Node = { [key: string]: Json }

/** The kinds that are CRDs, in the order of the table: those that Kubernetes does not have itself. */
export function crdKinds(): Kind[] {
  return (Object.keys(kinds) as Kind[]).filter(isCustom)
}

/** The CustomResourceDefinition of a kind. */
export function crdOf(kind: Kind): Node {
  const row: KindRow = kinds[kind]
  const schema = z.toJSONSchema(row.schema, { io: 'input', target: 'openapi-3.0', unrepresentable: 'any' }) as Node
  const properties = (schema['properties'] ?? {}) as Node
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${row.plural}.${row.group}` },
    spec: {
      group: row.group,
      names: {
        kind,
        listKind: `${kind}List`,
        plural: row.plural,
        singular: row.singular,
        ...(row.shortNames.length > 0 && { shortNames: [...row.shortNames] }),
      },
      scope: row.namespaced ? 'Namespaced' : 'Cluster',
      versions: [
        {
          name: row.version,
          served: true,
          storage: true,
          ...(row.status && { subresources: { status: {} } }),
          ...(row.selectable && {
            selectableFields: row.selectable.map(path => ({ jsonPath: `.${path.join('.')}` })),
          }),
          additionalPrinterColumns: row.columns
            .filter(({ path }) => path[0] === 'spec')
            .map(({ name, path, wide }) => ({
              name,
              type: 'string',
              jsonPath: `.${path.join('.')}`,
              ...(wide && { priority: 1 }),
            })),
          schema: {
            openAPIV3Schema: {
              type: 'object',
              properties: {
                apiVersion: { type: 'string' },
                kind: { type: 'string' },
                metadata: { type: 'object' },
                ...Object.fromEntries(
                  Object.entries(properties)
                    .filter(([name]) => name !== 'metadata')
                    .map(([name, value]) => [name, withRules(kind, name, structural(value as Node))]),
                ),
              },
            },
          },
        },
      ],
    },
  }
}

/** Fields that never change, in CEL (Kubernetes 1.25). An optional one is not added or taken away either. */
function withRules(kind: Kind, field: string, node: Node): Node {
  const rules = field === 'spec' ? IMMUTABLE[kind] : undefined
  if (rules === undefined) return node
  const required = (node['required'] ?? []) as string[]
  const validations = rules.fields.map(each => ({
    rule: required.includes(each)
      ? `self.${each} == oldSelf.${each}`
      : `has(self.${each}) == has(oldSelf.${each}) && (!has(self.${each}) || self.${each} == oldSelf.${each})`,
    message: `${each} cannot change: ${rules.remedy}`,
  }))
  return { ...node, 'x-kubernetes-validations': validations }
}

/** Bounds that only say "an integer that JavaScript can hold". */
const SAFE = [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]

function structural(node: Node): Node {
  const { anyOf, oneOf, additionalProperties, propertyNames: _names, ...rest } = node
  const choices = (anyOf ?? oneOf) as Node[] | undefined
  if (choices !== undefined) return ofChoices(choices)
  // an integer of 64 bits is no JSON schema of its own
  if (rest['type'] === undefined && rest['properties'] === undefined)
    return { 'x-kubernetes-preserve-unknown-fields': true }
  const out: Node = {}
  for (const [key, value] of Object.entries(rest)) {
    if (key === 'properties') out[key] = mapValues(value as Node)
    else if (key === 'items') out[key] = structural(value as Node)
    else if ((key === 'minimum' || key === 'maximum') && SAFE.includes(value as number)) continue
    else out[key] = value
  }
  if (rest['type'] === 'integer') out['format'] = 'int64'
  if (
    typeof additionalProperties === 'object' &&
    additionalProperties !== null &&
    !Array.isArray(additionalProperties)
  ) {
    if (Object.keys(additionalProperties).length > 0 && rest['properties'] === undefined)
      out['additionalProperties'] = structural(additionalProperties)
    else out['x-kubernetes-preserve-unknown-fields'] = true
  }
  return out
}

function ofChoices(choices: readonly Node[]): Node {
  const real = choices.filter(
    ({ type, enum: values }) => type !== 'null' && !(values as Json[] | undefined)?.includes(null),
  )
  const nullable = real.length < choices.length
  if (real.length === 1) return { ...structural(real[0]!), ...(nullable && { nullable: true }) }
  const types = new Set(real.map(({ type }) => type))
  // numbers that people also write as text: AS numbers, ports
  if (types.has('string') && (types.has('number') || types.has('integer')))
    return { 'x-kubernetes-int-or-string': true }
  return types.size === 1 && types.has('string') ? { type: 'string' } : { 'x-kubernetes-preserve-unknown-fields': true }
}

function mapValues(node: Node): Node {
  return Object.fromEntries(Object.entries(node).map(([name, value]) => [name, structural(value as Node)]))
}
