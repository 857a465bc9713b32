// The part of CEL (Common Expression Language) that the rules of our shapes use, with Kubernetes' functions for addresses:
// the same text is in the CRDs and is checked here. Rules are ours, so a text that cannot be read is a bug and throws Error.
// As in CEL, `||` and `&&` do not mind a side that cannot be worked out when the other one decides.
import { contains, familyOf, formatCidr, maskAddress, parseAddress, parseCidr } from '../lib/ip.ts'
import { sameJson } from './json.ts'

/** What a rule names, such as `self`. */
type Variables = Readonly<Record<string, unknown>>

/** A rule has no answer, such as for a field that is absent. Kubernetes takes that for a rule that is not kept. */
class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

type Expression = (variables: Variables) => unknown

const compiled = new Map<string, Expression>()

/** Whether a rule is kept. Throws Error on a text that is no rule. */
export function isKept(rule: string, variables: Variables): boolean {
  let expression = compiled.get(rule)
  if (expression === undefined) {
    expression = new Parser(rule).whole()
    compiled.set(rule, expression)
  }
  try {
    return expression(variables) === true
  } catch (error) {
    if (error instanceof NoAnswer) return false
    throw error
  }
}

const TOKEN = /\s*(?:(\d+(?:\.\d+)?)|'([^']*)'|([A-Za-z_]\w*)|(\|\||&&|==|!=|<=|>=|[<>!?:().,[\]]))/y

type Token = { kind: 'number' | 'text' | 'name' | 'sign' | 'end'; text: string }

function tokensOf(rule: string): Token[] {
  const tokens: Token[] = []
  TOKEN.lastIndex = 0
  for (const source = rule.trimEnd(); TOKEN.lastIndex < source.length; ) {
    const at = TOKEN.lastIndex
    const [, number, text, name, sign] = TOKEN.exec(source) ?? []
    if (number !== undefined) tokens.push({ kind: 'number', text: number })
    else if (text !== undefined) tokens.push({ kind: 'text', text })
    else if (name !== undefined) tokens.push({ kind: 'name', text: name })
    else if (sign !== undefined) tokens.push({ kind: 'sign', text: sign })
    else throw new Error(`CEL: ${rule}: cannot read what is at ${at}`)
  }
  return [...tokens, { kind: 'end', text: '' }]
}

class Parser {
  readonly #rule: string
  readonly #tokens: readonly Token[]
  #at = 0

  constructor(rule: string) {
    this.#rule = rule
    this.#tokens = tokensOf(rule)
  }

  whole(): Expression {
    const expression = this.#choice()
    if (this.#next.kind !== 'end') throw this.#fault('the end')
    return expression
  }

  get #next(): Token {
    return this.#tokens[this.#at]!
  }

  #take(...signs: readonly string[]): string | undefined {
    const { kind, text } = this.#next
    if (kind !== 'sign' || !signs.includes(text)) return undefined
    this.#at++
    return text
  }

  #expect(sign: string): void {
    if (this.#take(sign) === undefined) throw this.#fault(sign)
  }

  #fault(expected: string): Error {
    return new Error(`CEL: ${this.#rule}: expected ${expected}, found ${JSON.stringify(this.#next.text)}`)
  }

  #choice(): Expression {
    const condition = this.#either()
    if (this.#take('?') === undefined) return condition
    const yes = this.#choice()
    this.#expect(':')
    const no = this.#choice()
    return variables => (truth(condition(variables)) ? yes(variables) : no(variables))
  }

  #either(): Expression {
    let left = this.#both()
    while (this.#take('||') !== undefined) left = decided(left, this.#both(), true)
    return left
  }

  #both(): Expression {
    let left = this.#comparison()
    while (this.#take('&&') !== undefined) left = decided(left, this.#comparison(), false)
    return left
  }

  #comparison(): Expression {
    const left = this.#not()
    const sign = this.#take('==', '!=', '<', '<=', '>', '>=')
    if (sign === undefined) return left
    const right = this.#not()
    const compare = COMPARISONS[sign as keyof typeof COMPARISONS]
    return variables => compare(left(variables), right(variables))
  }

  #not(): Expression {
    if (this.#take('!') === undefined) return this.#member()
    const operand = this.#not()
    return variables => !truth(operand(variables))
  }

  #member(): Expression {
    let value = this.#primary()
    while (this.#take('.') !== undefined) {
      const name = this.#name()
      value = this.#take('(') === undefined ? field(value, name) : this.#method(value, name)
    }
    return value
  }

  #method(of: Expression, name: string): Expression {
    const decide = MACROS[name]
    if (decide !== undefined) {
      const variable = this.#name()
      this.#expect(',')
      const condition = this.#choice()
      this.#expect(')')
      return variables => {
        const holds = (item: unknown): boolean => truth(condition({ ...variables, [variable]: item }))
        return decide(listOf(of(variables)), holds)
      }
    }
    const given = this.#arguments()
    const method = METHODS[name]
    if (method === undefined) throw this.#fault(`a method that is known, not ${name}`)
    return variables => method(of(variables), ...given.map(each => each(variables)))
  }

  #primary(): Expression {
    if (this.#take('(') !== undefined) {
      const inner = this.#choice()
      this.#expect(')')
      return inner
    }
    const { kind, text } = this.#next
    if (kind === 'number' || kind === 'text') {
      this.#at++
      const value = kind === 'number' ? Number(text) : text
      return () => value
    }
    const name = this.#name()
    if (name === 'true' || name === 'false') return () => name === 'true'
    if (this.#take('(') === undefined) return variables => own(variables, name)
    if (name === 'has') return this.#has()
    const given = this.#arguments()
    const call = FUNCTIONS[name]
    if (call === undefined) throw this.#fault(`a function that is known, not ${name}`)
    return variables => call(...given.map(each => each(variables)))
  }

  /** `has(a.b)`: whether `a` has the field `b`. */
  #has(): Expression {
    let of = this.#primary()
    this.#expect('.')
    let name = this.#name()
    while (this.#take('.') !== undefined) {
      of = field(of, name)
      name = this.#name()
    }
    this.#expect(')')
    return variables => hasOwn(of(variables), name)
  }

  #arguments(): Expression[] {
    const given: Expression[] = []
    if (this.#take(')') !== undefined) return given
    do given.push(this.#choice())
    while (this.#take(',') !== undefined)
    this.#expect(')')
    return given
  }

  #name(): string {
    const { kind, text } = this.#next
    if (kind !== 'name') throw this.#fault('a name')
    this.#at++
    return text
  }
}

/** `||` for true, `&&` for false. */
function decided(left: Expression, right: Expression, by: boolean): Expression {
  return variables => {
    try {
      if (truth(left(variables)) === by) return by
    } catch (error) {
      if (error instanceof NoAnswer && right(variables) === by) return by
      throw error
    }
    return truth(right(variables))
  }
}

function truth(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new NoAnswer('not a boolean')
  return value
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new NoAnswer('not a list')
  return value
}

function hasOwn(value: unknown, name: string): boolean {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
}

function own(value: unknown, name: string): unknown {
  if (!hasOwn(value, name)) throw new NoAnswer(`no ${name}`)
  return (value as Variables)[name]
}

function field(of: Expression, name: string): Expression {
  return variables => own(of(variables), name)
}

/** An address or a CIDR as a value: equal when the texts are. */
type Ip = { ip: string }
type Net = { net: string }

const COMPARISONS = {
  '==': (a: unknown, b: unknown) => sameJson(a, b),
  '!=': (a: unknown, b: unknown) => !sameJson(a, b),
  '<': (a: unknown, b: unknown) => ordered(a, b) < 0,
  '<=': (a: unknown, b: unknown) => ordered(a, b) <= 0,
  '>': (a: unknown, b: unknown) => ordered(a, b) > 0,
  '>=': (a: unknown, b: unknown) => ordered(a, b) >= 0,
} as const

function ordered(a: unknown, b: unknown): number {
  const isNumber = (value: unknown): value is number | bigint => typeof value === 'number' || typeof value === 'bigint'
  if (!isNumber(a) || !isNumber(b)) throw new NoAnswer('not numbers')
  return a < b ? -1 : a > b ? 1 : 0
}

const FUNCTIONS: Readonly<Record<string, (...given: unknown[]) => unknown>> = {
  size(value) {
    if (typeof value === 'string') return [...value].length
    if (Array.isArray(value)) return value.length
    if (typeof value === 'object' && value !== null) return Object.keys(value).length
    throw new NoAnswer('has no size')
  },
  isIP: text => typeof text === 'string' && parseAddress(text) !== undefined,
  ip: text => ipOf(text),
  cidr(text) {
    const { address, length } = netOf(text)
    return { net: `${address}/${length}` } satisfies Net
  },
}

/** What is asked of the items of a list. */
const MACROS: Readonly<Record<string, (items: readonly unknown[], holds: (item: unknown) => boolean) => boolean>> = {
  exists: (items, holds) => items.some(holds),
  exists_one: (items, holds) => items.filter(holds).length === 1,
  all: (items, holds) => items.every(holds),
}

const METHODS: Readonly<Record<string, (of: unknown, ...given: unknown[]) => unknown>> = {
  contains: (of, part) => textOf(of).includes(textOf(part)),
  startsWith: (of, part) => textOf(of).startsWith(textOf(part)),
  family: of => (familyOf((of as Ip).ip) === 'ipv4' ? 4 : 6),
  ip: of => ipOf((of as Net).net.split('/')[0]),
  prefixLength: of => netOf((of as Net).net).length,
  masked(of) {
    const { address, length } = netOf((of as Net).net)
    return { net: `${maskAddress(address, length)}/${length}` } satisfies Net
  },
  containsIP(of, address) {
    const { ip } = typeof address === 'string' ? ipOf(address) : (address as Ip)
    const net = netOf((of as Net).net)
    const outer = formatCidr({ ...net, address: maskAddress(net.address, net.length) })
    return net.family === familyOf(ip) && contains(outer, ip)
  },
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new NoAnswer('not a text')
  return value
}

function ipOf(text: unknown): Ip {
  const ip = parseAddress(textOf(text))
  if (ip === undefined) throw new NoAnswer('not an address')
  return { ip }
}

function netOf(text: unknown): NonNullable<ReturnType<typeof parseCidr>> {
  const net = parseCidr(textOf(text))
  if (net === undefined) throw new NoAnswer('not a CIDR')
  return { ...net, address: ipOf(textOf(text).split('/')[0]).ip }
}
