// Fields that nobody reads: a typing error that would be kept without a word. A field of Calico's that this version does
// not read yet is none of these, so that a manifest written for Calico applies; it is told as without effect.
import type { z } from 'zod'
import { calicoFields } from './calico-fields.ts'
import { isCustom, type Kind, type KindRow, kinds } from './kinds.ts'
import { isObject } from './merge-patch.ts'
import { innermost, shapeOf } from './schema-shape.ts'

/** What a server writes into the metadata beside the fields that we read. */
const METADATA = ['generateName', 'managedFields', 'selfLink', 'deletionGracePeriodSeconds', 'clusterName']
const TOP = ['apiVersion', 'kind', 'metadata', 'status']

/** Where the unknown fields of an object stand, such as `spec.blocksize`. Kubernetes' own kinds are Kubernetes' to know: none. */
export function unknownFields(kind: Kind, object: unknown): string[] {
  const { schema }: KindRow = kinds[kind]
  if (!isCustom(kind) || !isObject(object)) return []
  const others = calicoFields(kind)
  return walk(schema, object, '').filter(path => {
    const [top, field] = path.split('.') as [string, string | undefined]
    if (field === undefined) return !TOP.includes(top)
    if (top === 'status') return false
    if (top === 'metadata') return !METADATA.includes(field)
    // programs alone write WorkloadEndpoints, and nobody reads them
    return kind !== 'WorkloadEndpoint' && !others.includes(pathInSpec(path))
  })
}

/** Such as `attributes.releasedAt` for `spec.attributes[3].releasedAt`. */
function pathInSpec(path: string): string {
  return path.slice('spec.'.length).replace(/\[\d+\]/g, '')
}

/** The message for one unknown field; names the field that was probably meant. */
export function formatUnknown(kind: Kind, path: string): string {
  const parent = path.slice(0, path.lastIndexOf('.') + 1)
  const name = path.slice(parent.length)
  const known = knownBelow(kind, parent).find(each => each.toLowerCase() === name.toLowerCase().replaceAll('-', ''))
  return known === undefined ? `unknown field "${path}"` : `unknown field "${path}": is ${parent}${known} meant?`
}

function knownBelow(kind: Kind, parent: string): string[] {
  const parts = parent.split('.').filter(part => part !== '')
  const schema = parts.reduce<z.core.$ZodType | undefined>((at, part) => shapeOf(at)?.[part], kinds[kind].schema)
  return [...Object.keys(shapeOf(schema) ?? {}), ...(parent === 'spec.' ? calicoFields(kind) : [])]
}

function walk(schema: z.core.$ZodType | undefined, value: unknown, at: string): string[] {
  if (Array.isArray(value)) {
    const element = elementOf(schema)
    return element === undefined ? [] : value.flatMap((item, i) => walk(element, item, `${at}[${i}]`))
  }
  const shape = shapeOf(schema)
  if (shape === undefined || !isObject(value)) return []
  return Object.entries(value).flatMap(([key, inner]) => {
    const path = at === '' ? key : `${at}.${key}`
    return Object.hasOwn(shape, key) ? walk(shape[key], inner, path) : [path]
  })
}

function elementOf(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  const def = innermost(schema)
  return def?.type === 'array' ? def.element : undefined
}
