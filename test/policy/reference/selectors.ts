// The two selector languages, each with an evaluator of its own that shares nothing with api/selector.ts: label selectors
// of Kubernetes, and the expressions of Calico (`role == 'web' && !has(test)`), read token by token.
import type { LabelSelector, Labels } from './objects.ts'

/** Whether labels satisfy a label selector; an operator that is unknown is satisfied by nothing. */
export function matchesLabels(selector: LabelSelector, labels: Labels): boolean {
  const value = (key: string) => (Object.hasOwn(labels, key) ? labels[key] : undefined)
  for (const [key, wanted] of Object.entries(selector.matchLabels ?? {})) if (value(key) !== wanted) return false
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    const found = value(key)
    const listed = found !== undefined && (values ?? []).includes(found)
    if (operator === 'In' && listed) continue
    if (operator === 'NotIn' && !listed) continue
    if (operator === 'Exists' && found !== undefined) continue
    if (operator === 'DoesNotExist' && found === undefined) continue
    return false
  }
  return true
}

/** A selector of Calico that cannot be read. */
export class BadSelector extends Error {
  override readonly name = 'BadSelector'
}

/** What `all()` and `global()` say of the one that is asked; both say yes where nothing else is told. */
export type Calls = { all: boolean; global: boolean }

type Test = (labels: Labels, calls: Calls) => boolean
type Token = { kind: 'word' | 'text' | 'sign'; value: string }

/** Whether labels satisfy a selector of Calico. Blank text is satisfied by all. Throws BadSelector. */
export function matchesExpression(text: string, labels: Labels, calls: Calls = { all: true, global: true }): boolean {
  return read(text)(labels, calls)
}

/** Whether a selector of Calico can be read. */
export function isExpression(text: string): boolean {
  try {
    read(text)
    return true
  } catch (error) {
    if (error instanceof BadSelector) return false
    throw error
  }
}

function read(text: string): Test {
  const tokens = tokensOf(text)
  if (tokens.length === 0) return (_, { all }) => all
  const test = either(tokens)
  if (tokens.length > 0) throw new BadSelector(`too much: ${text}`)
  return test
}

const SIGN = /^(==|!=|&&|\|\||[!(){},])/
const WORD = /^[a-zA-Z0-9_./-]{1,512}/
const TEXT = /^(?:"([^"]*)"|'([^']*)')/
/** After a label there is an operator, which may touch what follows it. */
const OPERATOR = /^(contains|starts[ \t]*with|ends[ \t]*with|not[ \t]*in|in)/
const CALL = /^(?:(all|global)\([ \t]*|has\([ \t]*([a-zA-Z0-9_./-]{1,512})[ \t]*)\)/

function tokensOf(text: string): Token[] {
  const tokens: Token[] = []
  for (let rest = text.replace(/^[ \t]+/, ''); rest !== ''; rest = rest.replace(/^[ \t]+/, '')) {
    const isAfterLabel = tokens.at(-1)?.kind === 'word'
    const pattern = [SIGN, TEXT, ...(isAfterLabel ? [OPERATOR] : [CALL, WORD])].find(each => each.test(rest))
    if (pattern === undefined) throw new BadSelector(`unexpected: ${rest}`)
    const found = pattern.exec(rest)!
    rest = rest.slice(found[0].length)
    if (pattern === WORD) tokens.push({ kind: 'word', value: found[0] })
    else if (pattern === TEXT) tokens.push({ kind: 'text', value: found[1] ?? found[2]! })
    else if (pattern === CALL && found[2] !== undefined) tokens.push({ kind: 'sign', value: `has ${found[2]}` })
    else tokens.push({ kind: 'sign', value: (found[1] ?? '').replace(/[ \t]/g, '') })
  }
  return tokens
}

function next(tokens: Token[], kind: Token['kind'], ...values: string[]): Token | undefined {
  const [token] = tokens
  if (token?.kind !== kind || (values.length > 0 && !values.includes(token.value))) return undefined
  tokens.shift()
  return token
}

function either(tokens: Token[]): Test {
  const left = both(tokens)
  if (next(tokens, 'sign', '||') === undefined) return left
  const right = either(tokens)
  return (labels, calls) => left(labels, calls) || right(labels, calls)
}

function both(tokens: Token[]): Test {
  const left = not(tokens)
  if (next(tokens, 'sign', '&&') === undefined) return left
  const right = both(tokens)
  return (labels, calls) => left(labels, calls) && right(labels, calls)
}

function not(tokens: Token[]): Test {
  if (next(tokens, 'sign', '!') === undefined) return one(tokens)
  const of = not(tokens)
  return (labels, calls) => !of(labels, calls)
}

function one(tokens: Token[]): Test {
  if (next(tokens, 'sign', '(') !== undefined) {
    const inside = either(tokens)
    if (next(tokens, 'sign', ')') === undefined) throw new BadSelector('no )')
    return inside
  }
  const [first] = tokens
  if (first?.kind === 'sign') {
    tokens.shift()
    if (first.value === 'all') return (_, { all }) => all
    if (first.value === 'global') return (_, { global }) => global
    if (first.value.startsWith('has ')) return labels => Object.hasOwn(labels, first.value.slice(4))
  }
  const label = next(tokens, 'word')?.value
  const operator = next(tokens, 'sign')?.value
  if (label === undefined || operator === undefined) throw new BadSelector('no comparison')
  const ask = (test: (value: string) => boolean, absent: boolean) => (labels: Labels) =>
    Object.hasOwn(labels, label) ? test(labels[label]!) : absent
  if (operator === 'in' || operator === 'notin') {
    const values = set(tokens)
    return operator === 'in' ? ask(v => values.includes(v), false) : ask(v => !values.includes(v), true)
  }
  const wanted = next(tokens, 'text')?.value
  if (wanted === undefined) throw new BadSelector(`no text after ${operator}`)
  if (operator === '==') return ask(v => v === wanted, false)
  if (operator === '!=') return ask(v => v !== wanted, true)
  if (operator === 'contains') return ask(v => v.includes(wanted), false)
  if (operator === 'startswith') return ask(v => v.startsWith(wanted), false)
  if (operator === 'endswith') return ask(v => v.endsWith(wanted), false)
  throw new BadSelector(`not an operator: ${operator}`)
}

function set(tokens: Token[]): string[] {
  if (next(tokens, 'sign', '{') === undefined) throw new BadSelector('no {')
  const values: string[] = []
  for (let value = next(tokens, 'text'); value !== undefined; value = next(tokens, 'text')) {
    values.push(value.value)
    if (next(tokens, 'sign', ',') === undefined) break
  }
  if (next(tokens, 'sign', '}') === undefined) throw new BadSelector('no }')
  return values
}
