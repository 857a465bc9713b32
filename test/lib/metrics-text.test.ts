import test from 'ava'
import { counter, firstAndRest, gauge, MetricsText, summary } from '../../lib/metrics-text.ts'

const TABLE = {
  b_seconds: summary('How long.'),
  a_total: counter('With a \\ and\na line.', 'name', 'other'),
  c: gauge('Never set.'),
}

test('each metric with a series has its help and its type once, in the order of the table', t => {
  const text = new MetricsText(TABLE)
  text.set('a_total', 1, { name: 'x', other: 'y' })
  text.set('b_seconds', { count: 2, sum: 0.5 })
  text.set('a_total', 2, { other: 'z', name: 'x' })
  t.is(
    text.toString(),
    `# HELP b_seconds How long.
# TYPE b_seconds summary
b_seconds_sum 0.5
b_seconds_count 2
# HELP a_total With a \\\\ and\\na line.
# TYPE a_total counter
a_total{name="x",other="y"} 1
a_total{name="x",other="z"} 2
`,
  )
})

test('a quote, a backslash and a line end in the value of a label end neither the value nor the line', t => {
  const text = new MetricsText(TABLE)
  text.set('a_total', 1, { name: 'a"b\\c\nd', other: '' })
  t.is(text.toString().split('\n')[2], 'a_total{name="a\\"b\\\\c\\nd",other=""} 1')
})

test('all are first where they fit, by their names, and else the sum of the others takes the place of one', t => {
  t.deepEqual(firstAndRest([2, 1, 3], 3, String), { first: [1, 2, 3], rest: [] })
  t.deepEqual(firstAndRest([4, 1, 3, 2], 3, String), { first: [1, 2], rest: [3, 4] })
})
