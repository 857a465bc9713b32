// One text for selectors that choose the same by the same words: what is joined is sorted, repetitions and double negations are
// gone. A text is the name of one set in the kernel, so whoever compares selectors compares these texts.
// Hazards: a string of the language has no escapes, so a value with both quotes cannot be written; `a || b` inside of `&&` and
// behind `!` needs its parentheses, and no others are written, so that no text is nested deeper than what it was made of.
import type { Selector } from './selector.ts'

/**
 * The text of a selector, which `parseSelector` reads again. Throws RangeError where a value has both quotes, which no
 * parsed selector has.
 */
export function canonicalSelector(selector: Selector): string {
  return formatted(simplified(selector))
}

/** The selector with a prefix before the name of each label. `calls` says what stands for `all()` and `global()` then. */
export function prefixLabels(
  selector: Selector,
  prefix: string,
  calls: { all?: Selector; global?: Selector } = {},
): Selector {
  switch (selector.op) {
    case 'all':
    case 'global':
      return calls[selector.op] ?? selector
    case 'not':
      return { op: 'not', of: prefixLabels(selector.of, prefix, calls) }
    case 'and':
    case 'or':
      return { op: selector.op, of: selector.of.map(each => prefixLabels(each, prefix, calls)) }
    default:
      return { ...selector, label: prefix + selector.label }
  }
}

const ALL: Selector = { op: 'all' }
const NONE: Selector = { op: 'not', of: ALL }

function simplified(selector: Selector): Selector {
  switch (selector.op) {
    case 'not': {
      const inner = simplified(selector.of)
      return inner.op === 'not' ? inner.of : { op: 'not', of: inner }
    }
    case 'in':
    case 'not in':
      return { ...selector, values: [...new Set(selector.values)].sort() }
    case 'and':
    case 'or':
      return joined(selector.op, selector.of.map(simplified))
    default:
      return selector
  }
}

function joined(op: 'and' | 'or', parts: readonly Selector[]): Selector {
  const flat = parts.flatMap(part => (part.op === op ? part.of : [part]))
  if (op === 'or' && flat.some(part => part.op === 'all')) return ALL
  const byText = new Map(flat.filter(part => part.op !== 'all').map(part => [formatted(part), part]))
  const of = [...byText].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, part]) => part)
  if (of.length === 0) return op === 'and' ? ALL : NONE
  return of.length === 1 ? of[0]! : { op, of }
}

function formatted(selector: Selector): string {
  switch (selector.op) {
    case 'all':
    case 'global':
      return `${selector.op}()`
    case 'has':
      return `has(${selector.label})`
    case 'not':
      return `!${inside(selector.of, ['and', 'or'])}`
    case 'and':
      return selector.of.map(part => inside(part, ['or'])).join(' && ')
    case 'or':
      return selector.of.map(formatted).join(' || ')
    case 'in':
    case 'not in':
      return `${selector.label} ${selector.op} {${selector.values.map(quoted).join(', ')}}`
    default:
      return `${selector.label} ${selector.op} ${quoted(selector.value)}`
  }
}

function inside(selector: Selector, looser: readonly Selector['op'][]): string {
  return looser.includes(selector.op) ? `(${formatted(selector)})` : formatted(selector)
}

function quoted(value: string): string {
  if (!value.includes('"')) return `"${value}"`
  if (!value.includes("'")) return `'${value}'`
  throw new RangeError(`a selector cannot ask for a value with both quotes: ${value}`)
}
