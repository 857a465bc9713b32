import test from 'ava'
import fc from 'fast-check'
import { matchesSelector, parseSelector, type Selector, SelectorError } from '../../api/selector.ts'

const labels = { role: 'web', 'projectcalico.org/namespace': 'shop', empty: '', rack: 'a-1' }

const cases: [selector: string, expected: boolean][] = [
  ['', true],
  ['  ', true],
  ['all()', true],
  ['all( )', true],
  ['global()', true],
  ["role == 'web'", true],
  ['role=="web"', true],
  ["role == 'db'", false],
  ["role != 'db'", true],
  ["absent != 'x'", true],
  ["absent == ''", false],
  ["empty == ''", true],
  ['has(role)', true],
  ['has( projectcalico.org/namespace )', true],
  ['has(absent)', false],
  ['!has(absent)', true],
  ['!!has(role)', true],
  ["! role == 'web'", false],
  ["role in {'web', 'db'}", true],
  ["role in{'db'}", false],
  ['role in {}', false],
  ["role in {'web',}", true],
  ["absent in {''}", false],
  ["role not in {'web'}", false],
  ["absent not in {'web'}", true],
  ["role notin {'db'}", true],
  ["rack starts with 'a-'", true],
  ["rack ends with '-1'", true],
  ["rack contains '-'", true],
  ["absent contains ''", false],
  ["role startswith 'w'", true],
  ['has(absent) && has(absent) || has(role)', true],
  ['has(role) || has(absent) && has(absent)', true],
  ['(has(role) || has(absent)) && has(absent)', false],
  ["constructor == 'x'", false],
  ['has(constructor)', false],
]

for (const [selector, expected] of cases)
  test(`${JSON.stringify(selector)} is ${expected}`, t => {
    t.is(matchesSelector(selector, labels), expected)
  })

const faults: [selector: string, at: number][] = [
  ['role', 4],
  ['role =', 5],
  ['role = "a"', 5],
  ['role == web', 8],
  ["role == 'web", 8],
  ["role == 'a' &&", 14],
  ["role == 'a' & has(b)", 12],
  ["role == 'a')", 11],
  ["(role == 'a'", 12],
  ['has()', 4],
  ['has(role', 8],
  ['all() all()', 6],
  ["role in 'a'", 8],
  ["role in {'a' 'b'}", 13],
  ["role starts 'a'", 12],
  ['!', 1],
  ['$', 0],
]

for (const [selector, at] of faults)
  test(`${JSON.stringify(selector)} is refused at character ${at + 1}`, t => {
    const error = t.throws(() => parseSelector(selector), { instanceOf: SelectorError })
    t.is(error?.at, at)
    t.regex(error?.message ?? '', new RegExp(`character ${at + 1}: expected`))
  })

test('nesting of 100,000 parentheses is refused without a crash', t => {
  t.throws(() => parseSelector('('.repeat(100_000)), { instanceOf: SelectorError })
  t.notThrows(() => parseSelector(`${'!'.repeat(100_000)}all()`))
})

const label = fc.constantFrom('role', 'rack', 'a/b', 'x_y')
const value = fc.stringMatching(/^[a-z0-9 ]{0,6}$/)
const { selector } = fc.letrec<{ selector: Selector }>(tie => ({
  selector: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'selector' },
    fc.constantFrom<Selector>({ op: 'all' }, { op: 'global' }),
    fc.record({ op: fc.constant('has' as const), label }),
    fc.record({ op: fc.constantFrom('==', '!=', 'contains', 'starts with', 'ends with'), label, value }),
    fc.record({ op: fc.constantFrom('in', 'not in'), label, values: fc.array(value, { maxLength: 3 }) }),
    fc.record({ op: fc.constantFrom('and', 'or'), of: fc.array(tie('selector'), { minLength: 2, maxLength: 3 }) }),
    // the parser cancels two negations in a row
    fc.record({ op: fc.constant('not' as const), of: tie('selector').filter(s => s.op !== 'not') }),
  ) as fc.Arbitrary<Selector>,
}))

/** The text of a selector. */
function formatSelector(selector: Selector): string {
  switch (selector.op) {
    case 'all':
    case 'global':
      return `${selector.op}()`
    case 'has':
      return `has(${selector.label})`
    case 'not':
      return `!${formatPart(selector.of)}`
    case 'and':
      return selector.of.map(formatPart).join(' && ')
    case 'or':
      return selector.of.map(formatPart).join(' || ')
    case 'in':
    case 'not in':
      return `${selector.label} ${selector.op} {${selector.values.map(quote).join(', ')}}`
    default:
      return `${selector.label} ${selector.op} ${quote(selector.value)}`
  }
}

function formatPart(selector: Selector): string {
  return selector.op === 'and' || selector.op === 'or' ? `(${formatSelector(selector)})` : formatSelector(selector)
}

function quote(value: string): string {
  return value.includes('"') ? `'${value}'` : `"${value}"`
}

test('the text of any selector parses back to it', t => {
  fc.assert(fc.property(selector, s => t.deepEqual(parseSelector(formatSelector(s)), s) as boolean))
})

test('a negation is true exactly where the selector is not, and De Morgan holds', t => {
  const some = fc.dictionary(label, value, { noNullPrototype: true })
  fc.assert(
    fc.property(selector, selector, some, (a, b, l) => {
      const matches = (s: Selector) => matchesSelector(formatSelector(s), l)
      const [x, y] = [matches(a), matches(b)]
      return (
        matches({ op: 'not', of: a }) === !x &&
        matches({ op: 'not', of: { op: 'and', of: [a, b] } }) === (!x || !y) &&
        matches({ op: 'or', of: [a, b] }) === (x || y)
      )
    }),
  )
  t.pass()
})

test('any text is a selector or a SelectorError', t => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^(all\(\)|has\(|[a-z ]|==|!|&&|\|\||[(){},"'])*$/))
  fc.assert(
    fc.property(text, s => {
      try {
        parseSelector(s)
        return true
      } catch (error) {
        return error instanceof SelectorError
      }
    }),
  )
  t.pass()
})
