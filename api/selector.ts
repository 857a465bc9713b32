// Calico's selector language (libcalico-go/lib/selector): `role in {"web", "db"} && !has(test) || all()`. Lowest first:
// `||`, `&&`, `!`. A label that is absent fails every comparison but `!=` and `not in`. Strings have no escapes.

export type Labels = Readonly<Record<string, string>>

export type Selector =
  | { op: 'all' | 'global' }
  | { op: 'has'; label: string }
  | { op: '==' | '!=' | 'contains' | 'starts with' | 'ends with'; label: string; value: string }
  | { op: 'in' | 'not in'; label: string; values: readonly string[] }
  | { op: 'not'; of: Selector }
  | { op: 'and' | 'or'; of: readonly Selector[] }

/** A selector that cannot be read; `at` is the zero-based character where. */
export class SelectorError extends Error {
  override readonly name = 'SelectorError'
  readonly at: number
  constructor(text: string, at: number, expected: string) {
    super(`selector ${JSON.stringify(text)}, character ${at + 1}: expected ${expected}`)
    this.at = at
  }
}

/** Deeper nesting than any person writes; without a bound, hostile input could exhaust the stack. */
const MAX_DEPTH = 100

/** Parses a selector; blank text selects everything. Throws SelectorError. */
export function parseSelector(text: string): Selector {
  const scan = new Scanner(text)
  if (scan.atEnd()) return { op: 'all' }
  const selector = parseOr(scan, 0)
  if (!scan.atEnd()) throw scan.error('&&, || or the end')
  return selector
}

/** Whether labels satisfy a parsed selector. `global()` is true here: what it narrows is the choice of namespaces. */
export function evaluate(selector: Selector, labels: Labels): boolean {
  switch (selector.op) {
    case 'all':
    case 'global':
      return true
    case 'not':
      return !evaluate(selector.of, labels)
    case 'and':
      return selector.of.every(s => evaluate(s, labels))
    case 'or':
      return selector.of.some(s => evaluate(s, labels))
  }
  const value = Object.hasOwn(labels, selector.label) ? labels[selector.label] : undefined
  switch (selector.op) {
    case 'has':
      return value !== undefined
    case '==':
      return value === selector.value
    case '!=':
      return value !== selector.value
    case 'contains':
      return value?.includes(selector.value) ?? false
    case 'starts with':
      return value?.startsWith(selector.value) ?? false
    case 'ends with':
      return value?.endsWith(selector.value) ?? false
    case 'in':
      return value !== undefined && selector.values.includes(value)
    case 'not in':
      return value === undefined || !selector.values.includes(value)
  }
}

/** Parsed selectors by text: a cluster has few and asks them often. The oldest is dropped at the limit. */
const parsed = new Map<string, Selector>()
const PARSED_LIMIT = 1000

/** Whether labels satisfy a selector given as text. Throws SelectorError. */
export function matchesSelector(text: string, labels: Labels): boolean {
  let selector = parsed.get(text)
  if (selector === undefined) {
    selector = parseSelector(text)
    if (parsed.size >= PARSED_LIMIT) for (const oldest of parsed.keys()) if (parsed.delete(oldest)) break
    parsed.set(text, selector)
  }
  return evaluate(selector, labels)
}

function parseOr(scan: Scanner, depth: number): Selector {
  const of = [parseAnd(scan, depth)]
  while (scan.take('||')) of.push(parseAnd(scan, depth))
  return of.length === 1 ? of[0]! : { op: 'or', of }
}

function parseAnd(scan: Scanner, depth: number): Selector {
  const of = [parseTerm(scan, depth)]
  while (scan.take('&&')) of.push(parseTerm(scan, depth))
  return of.length === 1 ? of[0]! : { op: 'and', of }
}

function parseTerm(scan: Scanner, depth: number): Selector {
  let negated = false
  while (scan.take('!')) negated = !negated
  const term = parseOperation(scan, depth)
  return negated ? { op: 'not', of: term } : term
}

function parseOperation(scan: Scanner, depth: number): Selector {
  if (scan.take('(')) {
    if (depth >= MAX_DEPTH) throw scan.error(`at most ${MAX_DEPTH} nested parentheses`)
    const inner = parseOr(scan, depth + 1)
    scan.expect(')')
    return inner
  }
  for (const op of ['all', 'global'] as const)
    if (scan.take(`${op}(`)) {
      scan.expect(')')
      return { op }
    }
  if (scan.take('has(')) {
    const label = scan.label()
    scan.expect(')')
    return { op: 'has', label }
  }
  const label = scan.label()
  for (const op of ['==', '!=', 'contains'] as const) if (scan.take(op)) return { op, label, value: scan.string() }
  for (const word of ['starts', 'ends'] as const)
    if (scan.take(word)) {
      scan.expect('with')
      return { op: `${word} with`, label, value: scan.string() }
    }
  if (scan.take('in')) return { op: 'in', label, values: scan.set() }
  if (scan.take('not')) {
    scan.expect('in')
    return { op: 'not in', label, values: scan.set() }
  }
  throw scan.error('==, !=, in, not in, contains, starts with or ends with')
}

class Scanner {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  atEnd(): boolean {
    this.#skipBlanks()
    return this.#at === this.#text.length
  }

  take(token: string): boolean {
    this.#skipBlanks()
    if (!this.#text.startsWith(token, this.#at)) return false
    this.#at += token.length
    return true
  }

  expect(token: string): void {
    if (!this.take(token)) throw this.error(token)
  }

  label(): string {
    this.#skipBlanks()
    const label = /[a-zA-Z0-9_./-]{1,512}/y
    label.lastIndex = this.#at
    const found = label.exec(this.#text)
    if (found === null) throw this.error('a label name, has(), all(), global(), ! or (')
    this.#at += found[0].length
    return found[0]
  }

  string(): string {
    this.#skipBlanks()
    const quoteMark = this.#text[this.#at]
    if (quoteMark !== '"' && quoteMark !== "'") throw this.error('a quoted string')
    const end = this.#text.indexOf(quoteMark, this.#at + 1)
    if (end < 0) throw this.error(`a closing ${quoteMark}`)
    const value = this.#text.slice(this.#at + 1, end)
    this.#at = end + 1
    return value
  }

  set(): readonly string[] {
    this.expect('{')
    const values: string[] = []
    while (!this.take('}')) {
      values.push(this.string())
      if (!this.take(',')) {
        this.expect('}')
        break
      }
    }
    return values
  }

  error(expected: string): SelectorError {
    this.#skipBlanks()
    return new SelectorError(this.#text, this.#at, expected)
  }

  #skipBlanks(): void {
    while (this.#text[this.#at] === ' ' || this.#text[this.#at] === '\t') this.#at++
  }
}
