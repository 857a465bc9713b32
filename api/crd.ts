// CustomResourceDefinitions from the table of kinds: the shapes (api/shapes) are structural schemas as apiextensions.k8s.io/v1
// asks for them. What no schema and no rule can say (a selector that can be read) has no place here: margay-api and margayctl
// check it.
import { hasCrd, type Kind, type KindRow, kinds } from './kinds.ts'
import { type Shape, withoutMeanings } from './shapes/shape.ts'
import { IMMUTABLE } from './transitions.ts'

/** The kinds that are CRDs, in the order of the table: those that Kubernetes does not have itself. */
export function crdKinds(): Kind[] {
  return (Object.keys(kinds) as Kind[]).filter(hasCrd)
}

/** The CustomResourceDefinition of a kind. Throws Error for a kind of Kubernetes. */
export function crdOf(kind: Kind): Record<string, unknown> {
  const row: KindRow = kinds[kind]
  const { plural, singular, shortNames, group, namespaced, version, status, selectable, printed = [] } = row
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular,
        ...(shortNames.length > 0 && { shortNames: [...shortNames] }),
      },
      scope: namespaced ? 'Namespaced' : 'Cluster',
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          ...(status && { subresources: { status: {} } }),
          ...(selectable && { selectableFields: selectable.map(path => ({ jsonPath: `.${path.join('.')}` })) }),
          ...(printed.length > 0 && {
            additionalPrinterColumns: printed.map(([name, jsonPath, type]) => ({ name, type, jsonPath })),
          }),
          schema: { openAPIV3Schema: schemaOf(kind) },
        },
      ],
    },
  }
}

function schemaOf(kind: Kind): Shape & { 'x-kubernetes-validations'?: unknown } {
  const row: KindRow = kinds[kind]
  const shape = row.shape?.()
  if (shape === undefined) throw new Error(`${kind} is a kind of Kubernetes`)
  const opened = (part: Shape): Shape => {
    const plain = withoutMeanings(part)
    return row.keepsUnknown === true ? withUnknown(plain) : plain
  }
  return {
    type: 'object',
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object' },
      spec: withTransitions(kind, opened(shape.spec)),
      ...(shape.status && { status: opened(shape.status) }),
    },
    required: ['metadata', 'spec'],
    ...(shape.rules && { 'x-kubernetes-validations': shape.rules }),
  }
}

/** Fields that never change, in CEL (Kubernetes 1.25). An optional one is not added or taken away either. */
function withTransitions(kind: Kind, shape: Shape): Shape {
  const { fields, remedy } = IMMUTABLE[kind] ?? { fields: [], remedy: '' }
  const { properties = {}, required = [] } = shape
  const message = (field: string): string => `${field} cannot change: ${remedy}`
  const fixed = fields.map(field => [field, withRule(properties[field]!, 'self == oldSelf', message(field))] as const)
  const optional = fields.filter(field => !required.includes(field))
  return optional.reduce(
    (made, field) => withRule(made, `has(self.${field}) == has(oldSelf.${field})`, message(field)),
    fixed.length === 0 ? shape : { ...shape, properties: { ...properties, ...Object.fromEntries(fixed) } },
  )
}

function withRule(shape: Shape, rule: string, message: string): Shape {
  const key = 'x-kubernetes-validations'
  return { ...shape, [key]: [...(shape[key] ?? []), { rule, message }] }
}

/** The shape with room for fields that it does not name, in every object of it. */
function withUnknown(shape: Shape): Shape {
  const { properties, items } = shape
  return {
    ...shape,
    ...(items && { items: withUnknown(items) }),
    ...(properties && {
      properties: Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, withUnknown(field)])),
      'x-kubernetes-preserve-unknown-fields': true,
    }),
  }
}
