import test from 'ava'
import fc from 'fast-check'
import { canonicalSelector, prefixLabels } from '../../api/canonical-selector.ts'
import { matchesSelector, parseSelector, type Selector, SelectorError } from '../../api/selector.ts'
import { rows } from '../bgp/wire/corpora.ts'

const cases: [text: string, canonical: string][] = [
  ['', 'all()'],
  [' (all() )', 'all()'],
  ["a=='b'", 'a == "b"'],
  ["a == '\"'", "a == '\"'"],
  ["a startswith 'b'", 'a starts with "b"'],
  ["a notin {'b'}", 'a not in {"b"}'],
  ["a in {'z', 'b', 'z'}", 'a in {"b", "z"}'],
  ['a in {}', 'a in {}'],
  ['!!has(a)', 'has(a)'],
  ['!(!(has(a)))', 'has(a)'],
  ['!(!has(a) && !has(b))', '!(!has(a) && !has(b))'],
  ['has(b) && has(a) && has(b)', 'has(a) && has(b)'],
  ['(has(c) && has(b)) && has(a)', 'has(a) && has(b) && has(c)'],
  ['has(b) || (has(a) || has(b))', 'has(a) || has(b)'],
  ['all() && has(a)', 'has(a)'],
  ['all() && all()', 'all()'],
  ['all() || has(a)', 'all()'],
  ['has(a) && (has(c) || has(b))', 'has(a) && (has(b) || has(c))'],
  ['has(a) && has(c) || has(b)', 'has(a) && has(c) || has(b)'],
  ['!(has(b) || has(a))', '!(has(a) || has(b))'],
  ["!a == 'b'", '!a == "b"'],
  ['global()', 'global()'],
  ["x == 'y' && !all()", '!all() && x == "y"'],
]

for (const [text, canonical] of cases)
  test(`${JSON.stringify(text)} is ${canonical} in canonical text`, t => {
    t.is(canonicalSelector(parseSelector(text)), canonical)
  })

const label = fc.constantFrom('a', 'b', 'has', 'not', 'x/y')
const value = fc.constantFrom('', '1', '2', "'", '"', 'x y')
const leaf: fc.Arbitrary<Selector> = fc.oneof(
  fc.constantFrom<Selector>({ op: 'all' }, { op: 'global' }),
  fc.record({ op: fc.constant('has' as const), label }),
  fc.record({ op: fc.constantFrom('==', '!=', 'contains', 'starts with', 'ends with'), label, value }),
  fc.record({ op: fc.constantFrom('in', 'not in'), label, values: fc.array(value, { maxLength: 3 }) }),
)
const { selector } = fc.letrec<{ selector: Selector }>(tie => ({
  selector: fc.oneof(
    { depthSize: 'small' },
    leaf,
    tie('selector').map(of => ({ op: 'not' as const, of })),
    fc.record({ op: fc.constantFrom('and', 'or'), of: fc.array(tie('selector'), { minLength: 1, maxLength: 4 }) }),
  ),
}))
const labels = fc.dictionary(label, value, { noNullPrototype: true })

/** As the language says, without the reader of texts. */
function chooses(of: Selector, of2: Readonly<Record<string, string>>): boolean {
  switch (of.op) {
    case 'not':
      return !chooses(of.of, of2)
    case 'and':
      return of.of.every(each => chooses(each, of2))
    case 'or':
      return of.of.some(each => chooses(each, of2))
    case 'all':
    case 'global':
      return true
  }
  const found = of2[of.label]
  switch (of.op) {
    case 'has':
      return found !== undefined
    case '==':
      return found === of.value
    case '!=':
      return found !== of.value
    case 'contains':
      return found?.includes(of.value) === true
    case 'starts with':
      return found?.startsWith(of.value) === true
    case 'ends with':
      return found?.endsWith(of.value) === true
    case 'in':
      return found !== undefined && of.values.includes(found)
    case 'not in':
      return found === undefined || !of.values.includes(found)
  }
}

test('a canonical selector chooses the same labels as the selector that it was made of', t => {
  fc.assert(
    fc.property(selector, labels, (of, given) => {
      const text = canonicalSelector(of)
      t.is(matchesSelector(text, given), chooses(of, given), text)
    }),
    { numRuns: 2000 },
  )
})

test('a canonical text is its own canonical text', t => {
  fc.assert(
    fc.property(selector, of => {
      const text = canonicalSelector(of)
      t.is(canonicalSelector(parseSelector(text)), text)
    }),
    { numRuns: 2000 },
  )
})

test('the order of what is joined, and repetitions of it, do not change the text', t => {
  fc.assert(
    fc.property(fc.constantFrom('and', 'or'), fc.array(selector, { minLength: 1, maxLength: 5 }), (op, of) => {
      const other = [...of].reverse()
      t.is(canonicalSelector({ op, of }), canonicalSelector({ op, of: [...other, of[0]!] }))
    }),
  )
})

test('a canonical text is not nested deeper than the text that it was made of', t => {
  const deep = `${"x == '1' || has(a) && (".repeat(100)}has(b)${')'.repeat(100)}`
  t.notThrows(() => parseSelector(canonicalSelector(parseSelector(deep))))
})

test('a value with both quotes is refused, since no text can say it', t => {
  t.throws(() => canonicalSelector({ op: '==', label: 'a', value: `'"` }), { instanceOf: RangeError })
})

test('each label of a selector gets its prefix, and all() and global() become what is said', t => {
  const text = "!(a == 'a') && (has(b) || c in {'c'}) && all()"
  t.is(
    canonicalSelector(prefixLabels(parseSelector(text), 'pcns.')),
    '!pcns.a == "a" && (has(pcns.b) || pcns.c in {"c"})',
  )
  const calls = { all: { op: 'has', label: 'ns' }, global: { op: 'not', of: { op: 'has', label: 'ns' } } } as const
  const both = prefixLabels(parseSelector('all() || !global() && has(a)'), 'pcns.', calls)
  t.is(canonicalSelector(both), 'has(ns) || has(ns) && has(pcns.a)')
})

type Row = {
  selector: string
  valid: boolean
  match?: Record<string, string>[]
  noMatch?: Record<string, string>[]
  canonical?: string
  prefix?: string
  prefixed?: string
}

test("Calico's selectors choose what its tests say, in canonical text too, and their canonical texts are the same ones", t => {
  const calicos = rows<Row>('calico-selectors-even.ndjson', t)
  for (const { selector, valid, match = [], noMatch = [], canonical, prefix, prefixed } of calicos ?? []) {
    if (!valid) {
      t.throws(() => parseSelector(selector), { instanceOf: SelectorError }, selector)
      continue
    }
    const text = canonicalSelector(parseSelector(selector))
    for (const each of match) t.true(matchesSelector(text, each), `${selector} ${JSON.stringify(each)}`)
    for (const each of noMatch) t.false(matchesSelector(text, each), `${selector} ${JSON.stringify(each)}`)
    // Calico writes more parentheses, and does not sort what is joined
    if (canonical !== undefined) t.is(canonicalSelector(parseSelector(canonical)), text)
    if (prefix === undefined || prefixed === undefined) continue
    t.is(canonicalSelector(prefixLabels(parseSelector(selector), prefix)), canonicalSelector(parseSelector(prefixed)))
  }
})
