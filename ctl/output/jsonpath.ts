// JSONPath templates in kubectl's dialect (k8s.io/client-go/util/jsonpath): text around `{...}`, where a group holds a
// path, `range` and `end`, or a quoted text. Parsing and walking are pure; a field that is missing is nothing, not a fault.
import { isObject } from '../../api/merge-patch.ts'
import { goData, goJson, goText } from './go-values.ts'

/** The template cannot be read, or does not fit the value; the message says where. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError'
}

type Step =
  | { step: 'text'; text: string }
  | { step: 'value'; value: unknown }
  | { step: 'field'; name: string }
  | { step: 'every' }
  | { step: 'descend' }
  | { step: 'slice'; from: number | undefined; to: number | undefined; by: number; one: boolean }
  | { step: 'union'; paths: readonly Step[][] }
  | { step: 'filter'; left: Step[]; operator: string; right: Step[] }

type Part = { path: Step[] } | { range: Step[]; body: Part[] }

/** A template that was read: `render` prints what it finds in a value, `find` returns it, one list for each path. */
export type JsonPath = { render(value: unknown): string; find(value: unknown): unknown[][] }

/** Reads a template. Throws TemplateError. */
export function parseJsonPath(template: string): JsonPath {
  const reader = new Reader(template)
  const parts = reader.parts(false)
  const find = (value: unknown): unknown[][] => found(parts, goData(value))
  return {
    find,
    render: value =>
      find(value)
        .map(results => results.map(shown).join(' '))
        .join(''),
  }
}

/** The forms in which kubectl takes a single path: `x.y`, `.x.y`, `{x.y}` and `{.x.y}`, all as the last. Throws TemplateError. */
export function relaxedPath(text: string): string {
  const [, braced, bare] = /^\{\.?([^{}]+)\}$|^\.?([^{}]+)$/.exec(text) ?? []
  const path = braced ?? bare
  if (path === undefined) throw new TemplateError(`${text} is no path: write it such as .metadata.name`)
  return `{.${path}}`
}

function shown(value: unknown): string {
  return typeof value === 'object' && value !== null ? goJson(value) : goText(value)
}

// --- reading

const END_OF_NAME = /[\s.,[\]$@{}]/

class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  /** Parts up to the end of the template, or up to `{end}` when inside a range. */
  parts(inRange: boolean): Part[] {
    const parts: Part[] = []
    while (this.#at < this.#text.length) {
      const open = this.#text.indexOf('{', this.#at)
      const text = this.#text.slice(this.#at, open < 0 ? undefined : open)
      if (text !== '') parts.push({ path: [{ step: 'text', text }] })
      if (open < 0) {
        this.#at = this.#text.length
        break
      }
      this.#at = open + 1
      this.#blanks()
      const word = /^(range|end)(?=[\s.,[\]$@{}])/.exec(this.#text.slice(this.#at))?.[1]
      if (word !== undefined) this.#at += word.length
      const path = this.#path('}')
      if (word === 'range') parts.push({ range: path, body: this.parts(true) })
      else if (word === 'end' && inRange) return parts
      else if (word === 'end') throw new TemplateError('not in range, nothing to end')
      else parts.push({ path })
    }
    return parts
  }

  /** Steps up to `close`, which is passed over; '' is the end of the text. */
  #path(close: '}' | ''): Step[] {
    const steps: Step[] = []
    for (;;) {
      const rest = this.#text.slice(this.#at)
      if (rest === '' && close === '') return steps
      if (rest === '' || rest[0] === '\n') throw new TemplateError(`unclosed action in ${this.#text}`)
      if (close !== '' && rest[0] === close) {
        this.#at++
        return steps
      }
      steps.push(...this.#step(rest, steps.at(-1)))
    }
  }

  #step(rest: string, before: Step | undefined): Step[] {
    if (rest.startsWith('[?(')) return [this.#filter()]
    if (rest.startsWith('..')) {
      if (before?.step === 'descend') throw new TemplateError('invalid multiple recursive descent')
      this.#at += 2
      return [{ step: 'descend' }, ...(/^\.\.[\p{L}\p{Nd}_*]/u.test(rest) ? [this.#field()] : [])]
    }
    switch (rest[0]) {
      case ' ':
      case '@':
      case '$':
        this.#at++
        return []
      case '[':
        return this.#brackets()
      case '"':
      case "'":
        return [{ step: 'text', text: this.#quoted(rest[0]) }]
      case '.':
        this.#at++
        return [this.#field()]
    }
    const number = /^[+-]?\d[\d.]*/.exec(rest)?.[0]
    if (number !== undefined) {
      this.#at += number.length
      return [{ step: 'value', value: number.includes('.') ? Number(number) : BigInt(number.replace('+', '')) }]
    }
    const word = this.#name()
    if (word === 'true' || word === 'false') return [{ step: 'value', value: word === 'true' }]
    if (word === '') throw new TemplateError(`unrecognized character in action: ${rest[0]}`)
    throw new TemplateError(`unrecognized identifier ${word}`)
  }

  #field(): Step {
    const name = this.#name()
    return name === '*' ? { step: 'every' } : { step: 'field', name: name.replaceAll('\\', '') }
  }

  #name(): string {
    const start = this.#at
    while (this.#at < this.#text.length && !END_OF_NAME.test(this.#text[this.#at]!))
      this.#at += this.#text[this.#at] === '\\' ? 2 : 1
    return this.#text.slice(start, this.#at)
  }

  #quoted(quote: string): string {
    const start = this.#at + 1
    let end = start
    while (end < this.#text.length && this.#text[end] !== quote) end += this.#text[end] === '\\' ? 2 : 1
    if (end >= this.#text.length) throw new TemplateError(`unterminated quoted string in ${this.#text}`)
    this.#at = end + 1
    return unescaped(this.#text.slice(start, end))
  }

  #brackets(): Step[] {
    const end = this.#text.indexOf(']', this.#at)
    if (end < 0) throw new TemplateError(`unterminated array in ${this.#text}`)
    const inside = this.#text.slice(this.#at + 1, end)
    this.#at = end + 1
    const parts = inside.split(',')
    if (parts.length > 1) return [{ step: 'union', paths: parts.map(part => new Reader(`[${part.trim()}]`).#path('')) }]
    const key = /^'([^']*)'$/.exec(inside)?.[1]
    if (key !== undefined) return new Reader(`.${key}`).#path('')
    if (inside === '*') return [{ step: 'slice', from: undefined, to: undefined, by: 1, one: false }]
    const [, from, to, by] = /^(-?\d*)(:-?\d*)?(:-?\d*)?$/.exec(inside) ?? []
    if (from === undefined) throw new TemplateError(`invalid array index ${inside}`)
    const number = (text: string | undefined): number | undefined => {
      const digits = text?.replace(':', '') ?? ''
      return digits === '' ? undefined : Number(digits)
    }
    const step = number(by) ?? 1
    if (step <= 0) throw new TemplateError('step must be > 0')
    return [{ step: 'slice', from: number(from), to: number(to), by: step, one: to === undefined }]
  }

  #filter(): Step {
    const start = this.#at + '[?('.length
    let at = start
    for (let quote = ''; quote !== '' || this.#text[at] !== ')'; at++) {
      const letter = this.#text[at]
      if (letter === undefined) throw new TemplateError(`unterminated filter in ${this.#text}`)
      if (quote === '' && (letter === '"' || letter === "'")) quote = letter
      else if (letter === quote && this.#text[at - 1] !== '\\') quote = ''
    }
    if (this.#text[at + 1] !== ']') throw new TemplateError('unclosed array expect ]')
    const inside = this.#text.slice(start, at)
    this.#at = at + 2
    const [, left, operator, right] = /^([^!<>=]+)([!<>=]+)(.+?)$/.exec(inside) ?? []
    if (left === undefined) return { step: 'filter', left: new Reader(inside).#path(''), operator: 'exists', right: [] }
    if (!Object.hasOwn(COMPARE, operator!)) throw new TemplateError(`unrecognized filter operator ${operator}`)
    return {
      ...{ step: 'filter', left: new Reader(left).#path(''), operator: operator! },
      right: new Reader(right!).#path(''),
    }
  }

  #blanks(): void {
    while (this.#text[this.#at] === ' ') this.#at++
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v' }

/** The text of a Go string literal, its quotes left out. */
export function unescaped(text: string): string {
  return text.replace(/\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\s\S])/g, (_all, code: string) =>
    code.length > 1 ? String.fromCodePoint(Number.parseInt(code.slice(1), 16)) : (ESCAPES[code] ?? code),
  )
}

// --- walking

function found(parts: readonly Part[], value: unknown): unknown[][] {
  return parts.flatMap(part =>
    'path' in part ? [walk(part.path, [value])] : walk(part.range, [value]).flatMap(each => found(part.body, each)),
  )
}

function walk(path: readonly Step[], values: readonly unknown[]): unknown[] {
  return path.reduce<readonly unknown[]>((at, step) => next(step, at), values) as unknown[]
}

function next(step: Step, values: readonly unknown[]): unknown[] {
  switch (step.step) {
    case 'text':
      return [step.text]
    case 'value':
      return [step.value]
    case 'field':
      return values.flatMap(value => (isObject(value) && Object.hasOwn(value, step.name) ? [value[step.name]] : []))
    case 'every':
      return values.flatMap(inner)
    case 'descend':
      return values.flatMap(descended)
    case 'slice':
      return values.flatMap(value => sliced(step, value))
    case 'union':
      return step.paths.flatMap(path => walk(path, values))
    case 'filter':
      return values.flatMap(value => list(value, 'filtered').filter(each => passes(step, each)))
  }
}

function inner(value: unknown): unknown[] {
  if (Array.isArray(value)) return value
  return isObject(value) ? Object.values(value) : []
}

/** The value and all below it that has something below itself. */
function descended(value: unknown): unknown[] {
  const below = inner(value)
  return below.length === 0 ? [] : [value, ...below.flatMap(descended)]
}

function list(value: unknown, use: string): unknown[] {
  if (Array.isArray(value)) return value
  if (value === null || value === undefined) return []
  throw new TemplateError(`${typeof value === 'object' ? 'an object' : goText(value)} is no list and cannot be ${use}`)
}

function sliced({ from = 0, to, by, one }: Step & { step: 'slice' }, value: unknown): unknown[] {
  const items = list(value, 'indexed')
  const start = from < 0 ? from + items.length : from
  const last = one ? start + 1 : (to ?? items.length)
  const end = last < 0 ? last + items.length : last
  if (start === end) return []
  const bad = [start, end].find((index, i) => index < 0 || index >= items.length + i)
  if (bad !== undefined) throw new TemplateError(`array index out of bounds: index ${bad}, length ${items.length}`)
  if (start > end) throw new TemplateError(`starting index ${start} is greater than ending index ${end}`)
  return items.slice(start, end).filter((_, i) => i % by === 0)
}

const COMPARE: Readonly<Record<string, (order: number) => boolean>> = {
  '<': order => order < 0,
  '<=': order => order <= 0,
  '>': order => order > 0,
  '>=': order => order >= 0,
  '==': order => order === 0,
  '!=': order => order !== 0,
}

function passes({ left, operator, right }: Step & { step: 'filter' }, value: unknown): boolean {
  const lefts = walk(left, [value])
  if (operator === 'exists') return lefts.length > 0
  const rights = lefts.length === 0 ? [] : walk(right, [value])
  if (lefts.length > 1 || rights.length > 1) throw new TemplateError('can only compare one element at a time')
  if (lefts.length === 0 || rights.length === 0) return false
  return COMPARE[operator]!(orderOf(lefts[0], rights[0]))
}

function orderOf(a: unknown, b: unknown): number {
  const kind = (value: unknown): string => (typeof value === 'bigint' ? 'number' : typeof value)
  if (kind(a) !== kind(b) || typeof a === 'object') throw new TemplateError('incompatible types for comparison')
  return a! < b! ? -1 : a! > b! ? 1 : 0 // no `===`: a bigint and a number may be the same
}
