// Fields that nobody knows: a typing error that would be kept without a word, or pruned. A field of Calico's that this version
// does not act on is none of these: it is told as without effect (unsupported.ts).
import { hasCrd, type Kind, type KindRow, kinds } from './kinds.ts'
import { isObject } from './merge-patch.ts'
import { objectMeta } from './meta.ts'
import type { Shape } from './shapes/shape.ts'

/** The fields of the metadata: those that we read, and what else Kubernetes has there. */
const METADATA = [
  ...Object.keys(objectMeta.shape),
  ...['generateName', 'managedFields', 'selfLink', 'deletionGracePeriodSeconds', 'clusterName'],
]
const TOP = ['apiVersion', 'kind', 'metadata', 'spec', 'status']

/** Where the unknown fields of an object stand, such as `spec.blocksize`. Kubernetes' own kinds are Kubernetes' to know: none. */
export function unknownFields(kind: Kind, object: unknown): string[] {
  const { shape }: KindRow = kinds[kind]
  if (!hasCrd(kind) || shape === undefined || !isObject(object)) return []
  const metadata = isObject(object['metadata']) ? Object.keys(object['metadata']) : []
  return [
    ...Object.keys(object).filter(field => !TOP.includes(field)),
    ...metadata.filter(field => !METADATA.includes(field)).map(field => `metadata.${field}`),
    ...walk(shape().spec, object['spec'], 'spec'),
  ]
}

/** The message for one unknown field; names the field that was probably meant. */
export function formatUnknown(kind: Kind, path: string): string {
  const parent = path.slice(0, path.lastIndexOf('.') + 1)
  const name = path.slice(parent.length)
  const known = knownBelow(kind, parent).find(each => each.toLowerCase() === name.toLowerCase().replaceAll('-', ''))
  return known === undefined ? `unknown field "${path}"` : `unknown field "${path}": is ${parent}${known} meant?`
}

function knownBelow(kind: Kind, parent: string): readonly string[] {
  const [top, ...parts] = parent.split('.').filter(part => part !== '')
  if (top === undefined) return TOP
  if (top === 'metadata') return METADATA
  const { shape }: KindRow = kinds[kind]
  const at = parts.reduce<Shape | undefined>((outer, part) => inner(outer, part), shape?.().spec)
  return Object.keys(at?.properties ?? {})
}

/** The field of an object's shape by its name, where `[2]` may follow it. */
function inner(shape: Shape | undefined, part: string): Shape | undefined {
  const field = shape?.properties?.[part.replace(/\[\d+\]$/, '')]
  return part.endsWith(']') ? field?.items : field
}

function walk(shape: Shape | undefined, value: unknown, at: string): string[] {
  if (Array.isArray(value)) {
    const element = shape?.items
    return element === undefined ? [] : value.flatMap((item, i) => walk(element, item, `${at}[${i}]`))
  }
  const { properties } = shape ?? {}
  if (properties === undefined || !isObject(value)) return []
  return Object.entries(value).flatMap(([key, field]) => {
    const path = `${at}.${key}`
    return Object.hasOwn(properties, key) ? walk(properties[key], field, path) : [path]
  })
}
