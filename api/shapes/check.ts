// Checks an object against the shape of its kind as a Kubernetes API server does: types, bounds, formats and the rules in
// CEL; and fills in defaults. Numbers of 64 bits may be a bigint. Hazard: a pattern is Go's, where no text takes long; here one
// may, so a shape has none that reads a text in two ways.
import { parseCidr } from '../../lib/ip.ts'
import { isKept } from '../cel.ts'
import { isObject } from '../merge-patch.ts'
import { MEANINGS } from './meanings.ts'
import type { KindShape, Rule, Shape } from './shape.ts'

/** `path` as kubectl prints it: `spec.ports[0].name`. `of` is the part that a rule is about; absent, the value has not its shape. */
export type ShapeProblem = { path: string; message: string; of?: string }

/** Everything in an object that its kind does not allow. */
export function kindProblems({ spec, status, rules = [] }: KindShape, object: unknown): ShapeProblem[] {
  if (!isObject(object)) return [{ path: '', message: 'must be an object' }]
  if (object['spec'] === undefined) return [{ path: 'spec', message: 'is required' }]
  const problems = shapeProblems(spec, object['spec'], 'spec')
  if (status !== undefined && object['status'] !== undefined)
    for (const problem of shapeProblems(status, object['status'], 'status')) problems.push(problem)
  return problems.some(isShapeFault) ? problems : problems.concat(ruleProblems(rules, object, ''))
}

/** The value with defaults where a field is absent. The same value comes back when there is none to fill in. */
export function withDefaults(shape: Shape, value: unknown): unknown {
  if (Array.isArray(value)) {
    const { items } = shape
    if (items === undefined) return value
    const filled = value.map(item => withDefaults(items, item))
    return filled.every((item, i) => item === value[i]) ? value : filled
  }
  if (!isObject(value)) return value
  const added: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(shape.properties ?? {})) {
    const is = value[name]
    const filled = is === undefined ? field.default : withDefaults(field, is)
    if (filled !== is) added[name] = filled
  }
  return Object.keys(added).length === 0 ? value : { ...value, ...added }
}

function shapeProblems(shape: Shape, value: unknown, path: string): ShapeProblem[] {
  const one = (message: string | undefined): ShapeProblem[] => (message === undefined ? [] : [{ path, message }])
  if (value === null) return shape.nullable === true ? [] : one('must not be null')
  if (shape['x-kubernetes-int-or-string'] === true)
    return typeof value === 'string' || isInteger(value)
      ? one(meaningFault(shape, value))
      : one('must be an integer or a text')
  const found = ofType(shape, value, path)
  const isOneOf = shape.enum === undefined || shape.enum.includes(value as string)
  if (found.length === 0 && !isOneOf) return one(`must be one of ${shape.enum.map(each => `"${each}"`).join(', ')}`)
  if (found.some(isShapeFault)) return found
  const fault = meaningFault(shape, value)
  return fault === undefined
    ? found.concat(ruleProblems(shape['x-kubernetes-validations'] ?? [], value, path))
    : one(fault)
}

/** Rules may rely on the shapes of what they look at. */
function isShapeFault({ of }: ShapeProblem): boolean {
  return of === undefined
}

function meaningFault({ means }: Shape, value: unknown): string | undefined {
  if (means === undefined || value === '') return undefined
  return (MEANINGS[means] as (value: unknown) => string | undefined)(value)
}

function ofType(shape: Shape, value: unknown, path: string): ShapeProblem[] {
  const one = (message: string | undefined): ShapeProblem[] => (message === undefined ? [] : [{ path, message }])
  switch (shape.type) {
    case 'string':
      return one(typeof value === 'string' ? textFault(shape, value) : 'must be a text')
    case 'boolean':
      return one(typeof value === 'boolean' ? undefined : 'must be true or false')
    case 'integer':
      return one(isInteger(value) ? numberFault(shape, value) : 'must be an integer')
    case 'number':
      return one(typeof value === 'number' ? numberFault(shape, value) : 'must be a number')
    case 'array':
      return Array.isArray(value) ? listProblems(shape, value, path) : one('must be a list')
    case 'object':
      return isObject(value) ? objectProblems(shape, value, path) : one('must be an object')
    case undefined:
      return []
  }
}

function isInteger(value: unknown): value is number | bigint {
  return typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))
}

const RANGES = { int32: [-(2n ** 31n), 2n ** 31n - 1n], int64: [-(2n ** 63n), 2n ** 63n - 1n] } as const

function numberFault({ minimum, maximum, format }: Shape, value: number | bigint): string | undefined {
  if (minimum !== undefined && value < minimum) return `must be at least ${minimum}`
  if (maximum !== undefined && value > maximum) return `must be at most ${maximum}`
  const [least, most] = format === 'int32' || format === 'int64' ? RANGES[format] : []
  if (least !== undefined && most !== undefined && (value < least || value > most)) return `must be an ${format}`
  return undefined
}

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i

function textFault({ minLength, maxLength, pattern, format }: Shape, value: string): string | undefined {
  const length = maxLength === undefined && minLength === undefined ? 0 : [...value].length
  if (maxLength !== undefined && length > maxLength) return `must be at most ${maxLength} characters`
  if (minLength !== undefined && length < minLength) return `must be at least ${minLength} characters`
  if (pattern !== undefined && !expressionOf(pattern).test(value)) return `must match ${pattern}`
  if (format === 'cidr' && parseCidr(value) === undefined) return 'must be a CIDR such as 10.244.0.0/16'
  if (format === 'date-time' && !(INSTANT.test(value) && !Number.isNaN(Date.parse(value))))
    return 'must be a time such as 2026-01-31T12:00:00Z'
  return undefined
}

const expressions = new Map<string, RegExp>()

/** Go writes `(?i)` where the expression begins. */
function expressionOf(pattern: string): RegExp {
  const known = expressions.get(pattern)
  if (known !== undefined) return known
  const made = pattern.startsWith('^(?i)') ? new RegExp(`^${pattern.slice(5)}`, 'i') : new RegExp(pattern)
  expressions.set(pattern, made)
  return made
}

function listProblems(shape: Shape, value: readonly unknown[], path: string): ShapeProblem[] {
  const { items, minItems, maxItems } = shape
  if (maxItems !== undefined && value.length > maxItems)
    return [{ path, message: `must have at most ${maxItems} items` }]
  if (minItems !== undefined && value.length < minItems)
    return [{ path, message: `must have at least ${minItems} items` }]
  if (items === undefined) return []
  const problems = value.flatMap((item, i) => shapeProblems(items, item, `${path}[${i}]`))
  return problems.some(isShapeFault) ? problems : problems.concat(repeated(shape, value, path))
}

/** What stands in a set, or under the keys of a map, a second time. */
function repeated(shape: Shape, value: readonly unknown[], path: string): ShapeProblem[] {
  const type = shape['x-kubernetes-list-type']
  if (type !== 'set' && type !== 'map') return []
  const keys = shape['x-kubernetes-list-map-keys'] ?? []
  const seen = new Set<string>()
  return value.flatMap((item, i) => {
    const key = JSON.stringify(type === 'set' ? item : keys.map(name => (isObject(item) ? item[name] : undefined)))
    if (!seen.has(key)) {
      seen.add(key)
      return []
    }
    return [{ path: `${path}[${i}]`, message: 'is there already' }]
  })
}

function objectProblems(shape: Shape, value: Record<string, unknown>, path: string): ShapeProblem[] {
  const { properties, additionalProperties, required = [], minProperties = 0, maxProperties } = shape
  const problems: ShapeProblem[] = required
    .filter(name => value[name] === undefined)
    .map(name => ({ path: `${path}.${name}`, message: 'is required' }))
  const names = Object.keys(value).filter(name => value[name] !== undefined)
  if (names.length < minProperties) problems.push({ path, message: `must have at least ${minProperties} field` })
  if (maxProperties !== undefined && names.length > maxProperties)
    problems.push({ path, message: `must have at most ${maxProperties} field` })
  for (const name of names) {
    const isOwn = properties !== undefined && Object.hasOwn(properties, name)
    const field = isOwn ? properties[name] : additionalProperties
    if (field === undefined) continue
    // one by one: a list may have more faults than a call takes arguments
    for (const problem of shapeProblems(field, value[name], `${path}.${name}`)) problems.push(problem)
  }
  return problems
}

function ruleProblems(rules: readonly Rule[], self: unknown, path: string): ShapeProblem[] {
  return rules.flatMap(({ rule, message, fieldPath = '' }) => {
    if (isKept(rule, { self })) return []
    const at = `${path}${fieldPath}`.replace(/^\./, '')
    return [{ path: at, message, of: path }]
  })
}
