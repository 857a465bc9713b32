// The two selector languages and the addresses of the reference evaluator: by cases of our own, and beside the program's, which
// are written in another way.
import test from 'ava'
import fc from 'fast-check'
import { matchesSelector, parseSelector, SelectorError } from '../../api/selector.ts'
import * as ip from '../../lib/ip.ts'
import { expressions, labelSelectors, NETS } from './policies.ts'
import { contains, sameAddress, Unreadable } from './reference/addresses.ts'
import type { LabelSelector, Labels } from './reference/objects.ts'
import { BadSelector, isExpression, matchesExpression, matchesLabels } from './reference/selectors.ts'

const LABELS: Labels = { role: 'web', 'a.b/c': 'x y', empty: '' }

test('selectors of Calico are read by their grammar', t => {
  const table: Readonly<Record<string, boolean>> = {
    '': true,
    'all()': true,
    'global( )': true,
    "role == 'web'": true,
    'role=="web"': true,
    "role != 'web'": false,
    "other != 'web'": true,
    'has(role)': true,
    'has( a.b/c )': true,
    '!has(other)': true,
    "role in {'db', 'web'}": true,
    "role in {'db', 'web',}": true,
    'role in {}': false,
    'role not in {}': true,
    "other in {'web'}": false,
    "other not in {'web'}": true,
    "role notin{'web'}": false,
    "role contains 'e'": true,
    "role starts with 'w'": true,
    "role startswith 'e'": false,
    "role ends with 'b'": true,
    "other contains ''": false,
    "empty contains ''": true,
    'a.b/c == "x y"': true,
    // && binds more than ||, and ! more than both
    'has(role) || has(other) && has(other)': true,
    '(has(role) || has(other)) && has(other)': false,
    '!has(other) && has(role)': true,
    '!(has(other) || has(role))': false,
    "!role == 'db'": true,
    '!!has(role)': true,
  }
  for (const [text, wanted] of Object.entries(table)) t.is(matchesExpression(text, LABELS), wanted, text)
  const wrong = [
    'role',
    'role ==',
    'role == web',
    "role = 'web'",
    "'web' == role",
    'has()',
    'has (role)',
    'all(',
    'has(role',
    '(has(role)',
  ]
  const more = [
    'has(role) &&',
    'has(role) & has(a)',
    'has(role) has(a)',
    "role in 'web'",
    "role in {'a' 'b'}",
    "role == 'web",
    'role like "w"',
    '!',
    'role!',
  ]
  for (const text of [...wrong, ...more]) {
    t.false(isExpression(text), text)
    t.throws(() => matchesExpression(text, LABELS), { instanceOf: BadSelector })
  }
})

test('all() and global() say what they are told to', t => {
  t.false(matchesExpression('all()', {}, { all: false, global: true }))
  t.true(matchesExpression('!all()', {}, { all: false, global: true }))
  t.true(matchesExpression('global() || has(a)', {}, { all: false, global: true }))
})

test('label selectors of Kubernetes are read by their operators', t => {
  const one = (key: string, operator: string, values?: string[]): LabelSelector => {
    return { matchExpressions: [{ key, operator, values }] }
  }
  const table: readonly (readonly [LabelSelector, boolean])[] = [
    [{}, true],
    [{ matchLabels: null, matchExpressions: null }, true],
    [{ matchLabels: { role: 'web' } }, true],
    [{ matchLabels: { role: 'web', other: '' } }, false],
    [one('role', 'In', ['db', 'web']), true],
    [one('other', 'In', ['web']), false],
    [one('role', 'NotIn', ['web']), false],
    [one('other', 'NotIn', ['web']), true],
    [one('empty', 'Exists'), true],
    [one('other', 'Exists'), false],
    [one('other', 'DoesNotExist'), true],
    [one('empty', 'DoesNotExist'), false],
    [one('role', 'Like', ['web']), false],
  ]
  for (const [selector, wanted] of table) t.is(matchesLabels(selector, LABELS), wanted, JSON.stringify(selector))
})

const WORDS = { role: ['web', 'db'], app: ['shop', ''] } as const
const someLabels = fc.record(
  { role: fc.constantFrom('web', 'db', 'w'), app: fc.constantFrom('shop', '', 'pos') },
  { requiredKeys: [] },
)
const seed = 1

test('the selectors of the program say the same of all labels', t => {
  fc.assert(
    fc.property(expressions(WORDS), fc.array(someLabels, { minLength: 5, maxLength: 5 }), (text, sets) => {
      for (const labels of sets) t.is(matchesSelector(text, labels), matchesExpression(text, labels), text)
    }),
    { numRuns: 500, seed },
  )
})

test('the program reads the texts that are selectors, and no others', t => {
  const pieces = [
    'role',
    ' ',
    '==',
    "'web'",
    '"db"',
    '!',
    '&&',
    '||',
    '(',
    ')',
    'in',
    'not in',
    '{',
    '}',
    ',',
    'has(a)',
    'all()',
    'contains',
    'ends with',
  ]
  const text = fc.oneof(
    fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map(list => list.join(' ')),
    fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map(list => list.join('')),
    // one character less
    fc.tuple(expressions(WORDS), fc.nat(60)).map(([whole, at]) => whole.slice(0, at) + whole.slice(at + 1)),
  )
  fc.assert(
    fc.property(text, each => {
      t.is(isRead(each), isExpression(each), each)
    }),
    { numRuns: 3000, seed },
  )
})

function isRead(text: string): boolean {
  try {
    parseSelector(text)
    return true
  } catch (error) {
    if (error instanceof SelectorError) return false
    throw error
  }
}

test('a CIDR holds the addresses of its prefix, in every spelling', t => {
  const table: readonly (readonly [string, string, boolean])[] = [
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.1.2.3/8', '10.9.9.9', true],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::', false],
    ['::/0', '10.0.0.1', false],
    ['10.0.0.1', '10.0.0.1', true],
    ['10.0.0.1/32', '10.0.0.0', false],
    ['fd00::/126', 'fd00:0:0:0::3', true],
    ['fd00::/126', 'fd00::4', false],
    ['fd00::/127', 'fd00::2', false],
    ['::ffff:0:0/96', '::ffff:10.0.0.1', true],
    ['2001:db8:0:0:0:0:0:1/128', '2001:DB8::1', true],
  ]
  for (const [cidr, address, wanted] of table) t.is(contains(cidr, address), wanted, `${cidr} ${address}`)
  for (const bad of ['10.0.0/8', '10.0.0.0/33', '10.0.0.0/x', 'fd00::/129', ''])
    t.throws(() => contains(bad, '10.0.0.1'), { instanceOf: Unreadable }, bad)
  t.true(sameAddress('fd00::1', 'fd00:0::1'))
})

test('the program finds the same addresses in the same CIDRs', t => {
  const address = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.constantFrom(
      '10.0.0.1',
      '10.0.0.4',
      '10.0.0.7',
      '198.51.100.127',
      '198.51.100.128',
      'fd00::3',
      'fd00::4',
      '2001:db8:5::1',
    ),
  )
  fc.assert(
    fc.property(fc.constantFrom(...NETS), address, (net, each) => {
      const canonical = ip.parseAddress(each)!
      t.is(
        ip.familyOf(net) === ip.familyOf(canonical) && ip.contains(ip.formatCidr(ip.cidr(net)), canonical),
        contains(net, each),
        `${net} ${each}`,
      )
    }),
    { numRuns: 1000, seed },
  )
})

test('label selectors meet few labels often enough to say something', t => {
  const both = new Set<boolean>()
  fc.assert(
    fc.property(labelSelectors(WORDS), someLabels, (selector, labels) => {
      both.add(matchesLabels(selector, labels))
    }),
    { numRuns: 100, seed },
  )
  t.is(both.size, 2)
})
