// The fields of a kind as Kubernetes describes them (structural schemas of apiextensions.k8s.io/v1), and short ways to
// write them down. The CRDs have these shapes as they are; margay-api and margayctl check objects against them
// (check.ts). Hazard: shapes are shared between kinds, so nobody changes one.

import type { Meaning } from './meanings.ts'

export type Shape = {
  /** What the value stands for (meanings.ts). It is not in the CRD. */
  readonly means?: Meaning
  readonly type?: 'string' | 'integer' | 'number' | 'boolean' | 'object' | 'array'
  readonly format?: 'int32' | 'int64' | 'cidr' | 'date-time'
  readonly enum?: readonly (string | number)[]
  /** A regular expression of Go (RE2), as Kubernetes reads it. */
  readonly pattern?: string
  readonly minLength?: number
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly minProperties?: number
  readonly maxProperties?: number
  readonly default?: string | number | boolean
  readonly nullable?: true
  readonly properties?: Readonly<Record<string, Shape>>
  readonly required?: readonly string[]
  readonly additionalProperties?: Shape
  readonly items?: Shape
  readonly 'x-kubernetes-int-or-string'?: true
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map'
  readonly 'x-kubernetes-list-map-keys'?: readonly string[]
  readonly 'x-kubernetes-preserve-unknown-fields'?: true
  readonly 'x-kubernetes-validations'?: readonly Rule[]
}

/** A rule in CEL over `self`, the value that it stands at. `fieldPath` says which field of it is told. */
export type Rule = { readonly rule: string; readonly message: string; readonly fieldPath?: string }

/** What a kind has beside its metadata; `rules` are about the whole object. */
export type KindShape = { readonly spec: Shape; readonly status?: Shape; readonly rules?: readonly Rule[] }

type More = Omit<Shape, 'type'>

export const bool: Shape = { type: 'boolean' }
export const whole: Shape = { type: 'integer' }
export const real: Shape = { type: 'number' }
export const int32: Shape = { type: 'integer', format: 'int32' }
export const int64: Shape = { type: 'integer', format: 'int64' }
export const instant: Shape = { type: 'string', format: 'date-time' }
export const cidr: Shape = { type: 'string', format: 'cidr' }
export const nullableWhole: Shape = { type: 'integer', nullable: true }
/** A CIDR of at most so many characters. */
export function cidrOf(maxLength: number): Shape {
  return { type: 'string', maxLength, format: 'cidr' }
}
/** A number, or a text that stands for one or for a name. */
export const numberOrText: Shape = { 'x-kubernetes-int-or-string': true }

export function text(maxLength?: number, more: More = {}): Shape {
  return { type: 'string', ...(maxLength !== undefined && { maxLength }), ...more }
}

/** A value of the shape that stands for something. */
export function meaning(means: Meaning, shape: Shape = text()): Shape {
  return { ...shape, means }
}

/** A selector of Calico's. */
export const selector: Shape = meaning('selector', text(1024))

/** A text that a regular expression of Go's matches. */
export function matching(pattern: string, more: More = {}): Shape {
  return { type: 'string', pattern, ...more }
}

export function oneOf(...values: readonly string[]): Shape {
  return { type: 'string', enum: values }
}

/** One of these words in any case, or an empty text. */
export function anyCase(...words: readonly string[]): Shape {
  return matching(`^(?i)(${words.join('|')})?$`)
}

/** An integer within bounds, both included. */
export function between(minimum: number, maximum: number, more: More = {}): Shape {
  return { type: 'integer', minimum, maximum, ...more }
}

/** A list that server-side apply replaces as a whole. */
export function list(items: Shape, more: More = {}): Shape {
  return { type: 'array', items, 'x-kubernetes-list-type': 'atomic', ...more }
}

/** A list without repeated values. */
export function set(items: Shape, more: More = {}): Shape {
  return { type: 'array', items, 'x-kubernetes-list-type': 'set', ...more }
}

export function mapOf(additionalProperties: Shape): Shape {
  return { type: 'object', additionalProperties }
}

/** An object; the names of the fields that it must have end with `!`. */
export function object(fields: Readonly<Record<string, Shape>>, rules: readonly Rule[] = [], more: More = {}): Shape {
  const names = Object.keys(fields)
  const required = names.filter(name => name.endsWith('!')).map(name => name.slice(0, -1))
  return {
    type: 'object',
    properties: Object.fromEntries(names.map(name => [name.replace(/!$/, ''), fields[name]!])),
    ...(required.length > 0 && { required }),
    ...(rules.length > 0 && { 'x-kubernetes-validations': rules }),
    ...more,
  }
}

/** The shape with the value that a server puts where the field is absent. */
export function byDefault(shape: Shape, value: string | number | boolean): Shape {
  return { ...shape, default: value }
}

/** The shape as Kubernetes takes it. */
export function withoutMeanings({ means: _means, ...shape }: Shape): Shape {
  const { properties, items, additionalProperties } = shape
  return {
    ...shape,
    ...(items && { items: withoutMeanings(items) }),
    ...(additionalProperties && { additionalProperties: withoutMeanings(additionalProperties) }),
    ...(properties && {
      properties: Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, withoutMeanings(field)])),
    }),
  }
}

/** Makes a shape when it is first asked for: most programs need few of them. */
export function once<T>(make: () => T): () => T {
  let made: T | undefined
  return () => {
    made ??= make()
    return made
  }
}

export function cel(rule: string, message: string, fieldPath?: string): Rule {
  return { rule, message, ...(fieldPath !== undefined && { fieldPath }) }
}
