// Templates in Go's language (text/template) as far as people use it with kubectl: fields, variables, pipelines, if, with,
// range, comparison and printing, and kubectl's `exists` and `base64decode`. `define`, `template` and `block` are refused.
import { isObject } from '../../api/merge-patch.ts'
import { callFunction, isFunction, isTrue } from './go-functions.ts'
import { goData, goText, keysOf } from './go-values.ts'
import { TemplateError, unescaped } from './jsonpath.ts'

/** What prints a value by a template. Rejects what does not fit with TemplateError. */
export type GoTemplate = { render(value: unknown): string }

type Operand =
  | { is: 'value'; value: unknown }
  | { is: 'dot' }
  | { is: 'variable'; name: string }
  | { is: 'call'; name: string }
  | { is: 'pipe'; pipe: Pipe }
type Term = Operand & { fields: readonly string[] }
type Command = readonly Term[]
type Pipe = { declares: readonly string[]; assigns: boolean; commands: readonly Command[] }
type Node =
  | { node: 'text'; text: string }
  | { node: 'print'; pipe: Pipe }
  | { node: 'if' | 'with' | 'range'; pipe: Pipe; then: readonly Node[]; otherwise: readonly Node[] }
  | { node: 'break' | 'continue' }

/** Reads a template. Throws TemplateError. */
export function parseGoTemplate(text: string): GoTemplate {
  const parser = new Parser(tokensOf(text))
  const { nodes, end } = parser.block()
  if (end !== '') throw new TemplateError(`unexpected {{${end}}}`)
  return {
    render: data => {
      const value = goData(data)
      const out: string[] = []
      const variables = [{ name: '$', value }]
      new Run(out, variables).nodes(nodes, value)
      return out.join('')
    },
  }
}

// --- reading

type Token = { text: string } | { action: string[] }

const ACTION =
  /\{\{(-\s)?\s*(?:(\/\*[\s\S]*?\*\/)\s*|((?:"(?:\\.|[^"\\\n])*"|`[^`]*`|'(?:\\.|[^'\\])'|(?!\s-\}\}|\}\})[\s\S])*))(\s-)?\}\}/g
const WORD = /\s+|"(?:\\.|[^"\\\n])*"|`[^`]*`|'(?:\\.|[^'\\])'|[+-]?\d[\w.+]*|\$\w*|\.\w+|\.|:=|[=|,()]|\w+|[\s\S]/gu

/** Text and actions by turns; `{{-` and `-}}` take the blanks beside them. */
function tokensOf(text: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  let trim = false
  const push = (piece: string, trimEnd: boolean): void => {
    const start = trim ? piece.trimStart() : piece
    tokens.push({ text: trimEnd ? start.trimEnd() : start })
  }
  for (const match of text.matchAll(ACTION)) {
    const [all, left, comment, action = '', right] = match
    push(text.slice(at, match.index), left !== undefined)
    trim = right !== undefined
    at = match.index + all.length
    if (comment === undefined) tokens.push({ action: wordsOf(action) })
  }
  const rest = text.slice(at)
  if (rest.includes('{{')) throw new TemplateError(`unclosed action: ${rest.slice(rest.indexOf('{{'))}`)
  push(rest, false)
  return tokens
}

/** The words of an action. A field right behind a word belongs to it: `$x.name`, `(index .a 0).b`; '' marks a blank. */
function wordsOf(action: string): string[] {
  return [...action.trim().matchAll(WORD)].map(([word]) => (/^\s/.test(word) ? '' : word))
}

const REFUSED = ['define', 'template', 'block']

class Parser {
  readonly #tokens: readonly Token[]
  #at = 0
  #words: string[] = []

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
  }

  /** Nodes up to `{{end}}` or `{{else ...}}`, whose word is returned; '' is the end of the template. */
  block(): { nodes: Node[]; end: '' | 'end' | 'else' } {
    const nodes: Node[] = []
    while (this.#at < this.#tokens.length) {
      const token = this.#tokens[this.#at++]!
      if ('text' in token) {
        nodes.push({ node: 'text', text: token.text })
        continue
      }
      this.#words = [...token.action]
      const [word] = this.#words
      if (word === 'end' || word === 'else') {
        this.#take()
        this.#blank()
        return { nodes, end: word }
      }
      nodes.push(this.#node(word))
    }
    return { nodes, end: '' }
  }

  #node(word: string | undefined): Node {
    if (word === undefined) throw new TemplateError('missing value for command')
    if (REFUSED.includes(word)) throw new TemplateError(`{{${word}}} is not supported: write its text where it is used`)
    if (word === 'if' || word === 'with' || word === 'range') {
      this.#take()
      return this.#control(word)
    }
    if (word === 'break' || word === 'continue') return { node: word }
    const pipe = this.#pipe()
    this.#finished()
    return { node: 'print', pipe }
  }

  #control(word: 'if' | 'with' | 'range'): Node {
    const pipe = this.#pipe()
    this.#finished()
    const { nodes: then, end } = this.block()
    if (end === '') throw new TemplateError(`{{${word}}} has no {{end}}`)
    if (end === 'end') return { node: word, pipe, then, otherwise: [] }
    const next = this.#words[0]
    if (next === 'if' || next === 'with') {
      this.#take()
      return { node: word, pipe, then, otherwise: [this.#control(next)] }
    }
    this.#finished()
    const otherwise = this.block()
    if (otherwise.end !== 'end') throw new TemplateError(`{{${word}}} has no {{end}}`)
    return { node: word, pipe, then, otherwise: otherwise.nodes }
  }

  #pipe(): Pipe {
    const { declares, assigns } = this.#declared()
    const commands: Command[] = [this.#command()]
    while (this.#words[0] === '|') {
      this.#take()
      commands.push(this.#command())
    }
    return { declares, assigns, commands }
  }

  #declared(): { declares: string[]; assigns: boolean } {
    this.#blank()
    const words = this.#words.filter(word => word !== '')
    const [first = '', second, third = '', fourth] = words
    const two = second === ',' && third.startsWith('$')
    const mark = two ? fourth : second
    if (!first.startsWith('$') || (mark !== ':=' && mark !== '=')) return { declares: [], assigns: false }
    this.#words = this.#words.slice(this.#words.indexOf(mark) + 1)
    return { declares: two ? [first, third] : [first], assigns: mark === '=' }
  }

  #command(): Command {
    const terms: Term[] = []
    for (;;) {
      this.#blank()
      const word = this.#words[0]
      if (word === undefined || word === '|' || word === ')') break
      terms.push(this.#term())
    }
    if (terms.length === 0) throw new TemplateError('missing value for command')
    const [first, ...more] = terms
    if (more.length > 0 && first!.is !== 'call') throw new TemplateError('only a function takes arguments')
    return terms
  }

  #term(): Term {
    const operand = this.#operand()
    const fields = operand.fields.slice()
    while (this.#words[0]?.startsWith('.') && this.#words[0] !== '.') fields.push(this.#take().slice(1))
    return { ...operand, fields }
  }

  #operand(): Term {
    const word = this.#take()
    const value = (it: unknown): Term => ({ is: 'value', value: it, fields: [] })
    if (word === '(') {
      const pipe = this.#pipe()
      this.#blank()
      if (this.#take() !== ')') throw new TemplateError('unclosed left paren')
      return { is: 'pipe', pipe, fields: [] }
    }
    if (word === '.') return { is: 'dot', fields: [] }
    if (word.startsWith('.')) return { is: 'dot', fields: [word.slice(1)] }
    if (word.startsWith('$')) return { is: 'variable', name: word, fields: [] }
    if (word.startsWith('"') && word.length > 1) return value(unescaped(word.slice(1, -1)))
    if (word.startsWith('`') && word.length > 1) return value(word.slice(1, -1))
    if (word.startsWith("'") && word.length > 1) return value(BigInt(unescaped(word.slice(1, -1)).codePointAt(0)!))
    if (/^[+-]?\d/.test(word)) return value(numberOf(word))
    if (word === 'true' || word === 'false') return value(word === 'true')
    if (word === 'nil') return value(undefined)
    if (isFunction(word)) return { is: 'call', name: word, fields: [] }
    throw new TemplateError(/^\w/.test(word) ? `function "${word}" not defined` : `unexpected "${word}" in command`)
  }

  #take(): string {
    return this.#words.shift() ?? ''
  }

  #blank(): void {
    while (this.#words[0] === '') this.#take()
  }

  #finished(): void {
    this.#blank()
    if (this.#words.length > 0) throw new TemplateError(`unexpected "${this.#words[0]}" in command`)
  }
}

function numberOf(word: string): bigint | number {
  const digits = word.replaceAll('_', '')
  if (/^[+-]?(\d+|0x[\da-fA-F]+)$/.test(digits)) return BigInt(digits.replace('+', ''))
  const number = Number(digits)
  if (Number.isNaN(number)) throw new TemplateError(`bad number syntax: ${JSON.stringify(word)}`)
  return number
}

// --- running

type Variable = { name: string; value: unknown }
type Leave = 'break' | 'continue' | undefined

class Run {
  readonly #out: string[]
  readonly #variables: Variable[]

  constructor(out: string[], variables: Variable[]) {
    this.#out = out
    this.#variables = variables
  }

  nodes(nodes: readonly Node[], dot: unknown): Leave {
    for (const node of nodes) {
      const leave = this.#node(node, dot)
      if (leave !== undefined) return leave
    }
    return undefined
  }

  #node(node: Node, dot: unknown): Leave {
    switch (node.node) {
      case 'text':
        this.#out.push(node.text)
        return undefined
      case 'print': {
        const value = this.#pipe(node.pipe, dot)
        if (node.pipe.declares.length === 0) this.#out.push(goText(value))
        return undefined
      }
      case 'break':
      case 'continue':
        return node.node
      default:
        return this.#scoped(() => this.#control(node, dot))
    }
  }

  #control({ node, pipe, then, otherwise }: Node & { node: 'if' | 'with' | 'range' }, dot: unknown): Leave {
    if (node === 'range') return this.#range({ pipe, then, otherwise }, dot)
    const value = this.#pipe(pipe, dot)
    if (!isTrue(value)) return this.nodes(otherwise, dot)
    return this.nodes(then, node === 'with' ? value : dot)
  }

  #range(
    { pipe, then, otherwise }: { pipe: Pipe; then: readonly Node[]; otherwise: readonly Node[] },
    dot: unknown,
  ): Leave {
    const [first, second] = pipe.declares
    const entries = entriesOf(this.#pipe({ ...pipe, declares: [] }, dot))
    if (entries.length === 0) return this.nodes(otherwise, dot)
    for (const [key, value] of entries) {
      const leave = this.#scoped(() => {
        if (first !== undefined) this.#set(first, second === undefined ? value : key, pipe.assigns)
        if (second !== undefined) this.#set(second, value, pipe.assigns)
        return this.nodes(then, value)
      })
      if (leave === 'break') break
    }
    return undefined
  }

  #scoped(act: () => Leave): Leave {
    const mark = this.#variables.length
    const leave = act()
    this.#variables.length = mark
    return leave
  }

  #pipe({ declares, assigns, commands }: Pipe, dot: unknown): unknown {
    const value = commands.reduce<{ value: unknown } | undefined>(
      (final, command) => ({ value: this.#command(command, dot, final) }),
      undefined,
    )!.value
    for (const name of declares) this.#set(name, value, assigns)
    return value
  }

  #set(name: string, value: unknown, assigns: boolean): void {
    if (!assigns) this.#variables.push({ name, value })
    else this.#variable(name).value = value
  }

  #variable(name: string): Variable {
    const found = this.#variables.findLast(each => each.name === name)
    if (found === undefined) throw new TemplateError(`undefined variable "${name}"`)
    return found
  }

  #command([first, ...more]: Command, dot: unknown, final: { value: unknown } | undefined): unknown {
    if (first!.is !== 'call') {
      if (final !== undefined) throw new TemplateError(`can't give argument to non-function ${goText(final.value)}`)
      return this.#term(first!, dot)
    }
    const words = more.map(term => () => this.#term(term, dot))
    return fieldsOf(callFunction(first!.name, [...words, ...(final === undefined ? [] : [() => final.value])]), first!)
  }

  #term(term: Term, dot: unknown): unknown {
    switch (term.is) {
      case 'value':
        return term.value
      case 'dot':
        return fieldsOf(dot, term)
      case 'variable':
        return fieldsOf(this.#variable(term.name).value, term)
      case 'pipe':
        return fieldsOf(this.#pipe(term.pipe, dot), term)
      case 'call':
        return fieldsOf(callFunction(term.name, []), term)
    }
  }
}

/** What is absent has absent fields; what is no object has none, and to ask for one is a fault. */
function fieldsOf(value: unknown, { fields }: Term): unknown {
  return fields.reduce((at, field) => {
    if (at === undefined || at === null) return undefined
    if (!isObject(at)) throw new TemplateError(`can't evaluate field ${field} in ${goText(at)}`)
    return Object.hasOwn(at, field) ? at[field] : undefined
  }, value)
}

function entriesOf(value: unknown): [key: unknown, value: unknown][] {
  if (value === undefined || value === null) return []
  if (Array.isArray(value)) return value.map((each, i) => [BigInt(i), each])
  if (isObject(value)) return keysOf(value).map(key => [key, value[key]])
  if (typeof value === 'bigint') return Array.from({ length: Number(value) }, (_, i) => [BigInt(i), BigInt(i)])
  throw new TemplateError(`range can't iterate over ${goText(value)}`)
}
