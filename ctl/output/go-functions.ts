// The functions of Go's templates, and the two that kubectl adds. Arguments come as functions, since `and` and `or` stop
// at the first that decides. Pure.
import { isObject } from '../../api/merge-patch.ts'
import { goText } from './go-values.ts'
import { TemplateError } from './jsonpath.ts'

type Arguments = readonly (() => unknown)[]

const FUNCTIONS: Readonly<Record<string, (values: unknown[], all: Arguments) => unknown>> = {
  and: (_, all) => decided(all, value => !isTrue(value)),
  or: (_, all) => decided(all, isTrue),
  not: ([value]) => !isTrue(value),
  len: ([value]) => BigInt(lengthOf(value)),
  index: ([value, ...keys]) => keys.reduce(itemAt, value),
  slice: ([value, from, to]) => sliceOf(value, from, to),
  print: values => printed(values, false),
  println: values => `${printed(values, true)}\n`,
  printf: ([format, ...values]) => formatted(goText(format), values),
  eq: ([first, ...others]) => others.some(other => same(first, other)),
  ne: ([a, b]) => !same(a, b),
  lt: ([a, b]) => orderOf(a, b) < 0,
  le: ([a, b]) => orderOf(a, b) <= 0,
  gt: ([a, b]) => orderOf(a, b) > 0,
  ge: ([a, b]) => orderOf(a, b) >= 0,
  urlquery: values => encodeURIComponent(printed(values, false).toWellFormed()).replaceAll('%20', '+'),
  exists: ([value, ...keys]) => exists(value, keys),
  base64decode: ([value]) => Buffer.from(goText(value), 'base64').toString('utf8'),
}
const LAZY = ['and', 'or']

/** Whether a template may call a function of that name. */
export function isFunction(name: string): boolean {
  return Object.hasOwn(FUNCTIONS, name)
}

/** Calls one of the functions. Throws TemplateError when the values do not fit. */
export function callFunction(name: string, all: Arguments): unknown {
  return FUNCTIONS[name]!(LAZY.includes(name) ? [] : all.map(value => value()), all)
}

/** What counts as true in Go's templates: everything but nothing, false, zero and what is empty. */
export function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0
  if (isObject(value)) return Object.keys(value).length > 0
  return Boolean(value)
}

function decided(all: Arguments, decides: (value: unknown) => boolean): unknown {
  let value: unknown
  for (const each of all) {
    value = each()
    if (decides(value)) return value
  }
  return value
}

function lengthOf(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value)
  if (Array.isArray(value)) return value.length
  if (isObject(value)) return Object.keys(value).length
  throw new TemplateError(`error calling len: ${goText(value)} has no length`)
}

function itemAt(value: unknown, key: unknown): unknown {
  if (value === undefined || value === null) throw new TemplateError('error calling index: index of untyped nil')
  if (isObject(value)) {
    if (typeof key !== 'string') throw new TemplateError(`error calling index: ${goText(key)} is no key of an object`)
    return Object.hasOwn(value, key) ? value[key] : undefined
  }
  if (typeof key !== 'bigint') throw new TemplateError(`error calling index: cannot index with ${goText(key)}`)
  const items: ArrayLike<unknown> | undefined = Array.isArray(value)
    ? value
    : typeof value === 'string'
      ? Buffer.from(value)
      : undefined
  if (items === undefined) throw new TemplateError(`error calling index: can't index ${goText(value)}`)
  if (key < 0n || key >= items.length) throw new TemplateError(`error calling index: index out of range: ${key}`)
  const item = items[Number(key)]
  return Array.isArray(value) ? item : BigInt(item as number)
}

function sliceOf(value: unknown, from: unknown, to: unknown): unknown {
  if (typeof value !== 'string' && !Array.isArray(value))
    throw new TemplateError(`error calling slice: can't slice ${goText(value)}`)
  const items = typeof value === 'string' ? Buffer.from(value) : value
  const [start, end] = [Number(from ?? 0n), Number(to ?? BigInt(items.length))]
  if (!(start >= 0 && start <= end && end <= items.length))
    throw new TemplateError(`error calling slice: ${start}:${end} is out of range`)
  return typeof value === 'string' ? items.slice(start, end).toString() : items.slice(start, end)
}

function same(a: unknown, b: unknown): boolean {
  const nothing = (value: unknown): boolean => value === undefined || value === null
  if (nothing(a) || nothing(b)) return nothing(a) && nothing(b)
  return orderOf(a, b) === 0
}

/** Of values of one kind: Go compares no integer with a number that has a fraction. */
function orderOf(a: unknown, b: unknown): number {
  if (typeof a !== typeof b) throw new TemplateError('incompatible types for comparison')
  if (typeof a === 'object') throw new TemplateError('invalid type for comparison')
  return a! < b! ? -1 : a === b ? 0 : 1
}

function exists(value: unknown, keys: readonly unknown[]): boolean {
  let at = value
  for (const key of keys) {
    const found: unknown = isObject(at) && typeof key === 'string' && Object.hasOwn(at, key) ? at[key] : undefined
    const item: unknown = Array.isArray(at) && typeof key === 'bigint' ? at[Number(key)] : found
    if (item === undefined || item === null) return false
    at = item
  }
  return true
}

/** As Go's Print: a blank between two values where neither is a text; `always`: everywhere, as Println. */
function printed(values: readonly unknown[], always: boolean): string {
  return values
    .map((value, i) => {
      const blank = i > 0 && (always || (typeof value !== 'string' && typeof values[i - 1] !== 'string'))
      return (blank ? ' ' : '') + argumentText(value)
    })
    .join('')
}

/** Nothing as an argument prints as `<nil>`. */
function argumentText(value: unknown): string {
  return value === undefined || value === null ? '<nil>' : goText(value)
}

/** Characters that one verb may ask for. */
const LONGEST = 10_000
/** Digits that numbers have here (ECMA-262 21.1.3). */
const DIGITS: Readonly<Record<string, number>> = { f: 100, e: 100, g: 100 }

/** Throws TemplateError for more than there may be. */
function bounded(text: string, what: string, most: number): number {
  if (Number(text) <= most) return Number(text)
  throw new TemplateError(`error calling printf: the ${what} ${text.slice(0, 20)} is above ${most}`)
}

/** As Go's Printf, for the verbs v, s, d, f, g, e, x, q, t and their width, precision and flags. */
function formatted(format: string, values: readonly unknown[]): string {
  let used = 0
  const text = format.replace(/%([-+0 #]*)(\d*)(?:\.(\d+))?([a-zA-Z%])/g, (_all, flags, width, precision, verb) => {
    if (verb === '%') return '%'
    if (used >= values.length) return `%!${verb}(MISSING)`
    const value = values[used++]
    const digits = precision === undefined ? undefined : bounded(precision, 'precision', DIGITS[verb] ?? LONGEST)
    const plain = verbText(verb, value, digits, flags)
    const size = bounded(width, 'width', LONGEST)
    if (flags.includes('-')) return plain.padEnd(size)
    if (flags.includes('0') && typeof value !== 'string')
      return /^[+-]/.test(plain) ? plain[0] + plain.slice(1).padStart(size - 1, '0') : plain.padStart(size, '0')
    return plain.padStart(size)
  })
  const extra = values.slice(used).map(value => `${typeName(value)}=${argumentText(value)}`)
  return extra.length === 0 ? text : `${text}%!(EXTRA ${extra.join(', ')})`
}

function verbText(verb: string, value: unknown, precision: number | undefined, flags: string): string {
  const signed = (text: string): string => (flags.includes('+') && !text.startsWith('-') ? `+${text}` : text)
  const wrong = `%!${verb}(${typeName(value)}=${argumentText(value)})`
  if (value === undefined || value === null) return verb === 'v' ? '<nil>' : `%!${verb}(<nil>)`
  switch (verb) {
    case 'v':
      return argumentText(value)
    case 's':
      if (typeof value === 'string') return precision === undefined ? value : [...value].slice(0, precision).join('')
      return typeof value === 'object' ? argumentText(value) : wrong
    case 'q':
      return typeof value === 'string' ? JSON.stringify(value) : wrong
    case 't':
      return typeof value === 'boolean' ? String(value) : wrong
    case 'd':
      return typeof value === 'bigint' ? signed(String(value)) : wrong
    case 'x':
      if (typeof value === 'string') return Buffer.from(value).toString('hex')
      return typeof value === 'bigint' ? value.toString(16) : wrong
    case 'f':
      return typeof value === 'number' ? signed(value.toFixed(precision ?? 6)) : wrong
    case 'e':
      if (typeof value !== 'number') return wrong
      return signed(value.toExponential(precision ?? 6).replace(/e([+-])(\d)$/, 'e$10$2'))
    case 'g':
      return typeof value === 'number'
        ? signed(
            precision === undefined ? argumentText(value) : String(Number(value.toPrecision(Math.max(1, precision)))),
          )
        : wrong
    default:
      return wrong
  }
}

function typeName(value: unknown): string {
  if (value === undefined || value === null) return '<nil>'
  if (Array.isArray(value)) return '[]interface {}'
  if (isObject(value)) return 'map[string]interface {}'
  return { string: 'string', number: 'float64', bigint: 'int', boolean: 'bool' }[typeof value as string] ?? 'unknown'
}
