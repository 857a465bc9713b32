// Rules in CEL as a Kubernetes API server reads them.
import test from 'ava'
import { isKept } from '../../api/cel.ts'
import { type KindRow, kinds } from '../../api/kinds.ts'
import type { Rule, Shape } from '../../api/shapes/shape.ts'

function* rulesOf(shape: Shape): Generator<Rule> {
  yield* shape['x-kubernetes-validations'] ?? []
  for (const inner of [...Object.values(shape.properties ?? {}), shape.items, shape.additionalProperties])
    if (inner !== undefined) yield* rulesOf(inner)
}

test('every rule of every kind can be read', t => {
  const rules = (Object.values(kinds) as KindRow[]).flatMap(({ shape }) => {
    if (shape === undefined) return []
    const { spec, status, rules: ofObject = [] } = shape()
    return [...ofObject, ...rulesOf(spec), ...(status === undefined ? [] : rulesOf(status))]
  })
  t.true(rules.length > 150)
  for (const { rule } of rules) t.notThrows(() => isKept(rule, { self: {} }), rule)
})

const self = { name: 'node.n1', list: ['a', 'b'], number: 7, cidr: '10.0.0.1/8', v6: 'FD00::/8', empty: '' }

for (const [rule, kept] of [
  ['self.number >= 7 && self.number < 8 && self.number != 8', true],
  ["self.number == '7'", false],
  ['has(self.name) && !has(self.other) && size(self.list) == 2 && size(self.empty) == 0', true],
  ["self.name.startsWith('node.') ? self.list.exists(x, x == 'b') : false", true],
  ["self.list.exists(x, x == 'c')", false],
  ['self.list.all(x, self.list.exists_one(y, y == x))', true],
  ["self.list.all(x, x == 'a')", false],
  ["self.list.exists_one(x, x != 'c')", false],
  // a side without an answer does not matter where the other one decides
  ['self.other == 1 || true', true],
  ['true || self.other == 1', true],
  ['self.other == 1 && false', false],
  ['!(self.other == 1 && false)', true],
  // and is no rule that is kept where it does
  ['self.other == 1 || false', false],
  ['!(self.other == 1)', false],
  ['self.name > 1', false],
  ['cidr(self.cidr) != cidr(self.cidr).masked() && cidr(self.cidr).prefixLength() == 8', true],
  ["cidr(self.cidr).containsIP('10.255.0.1') && !cidr(self.cidr).containsIP(ip('11.0.0.1'))", true],
  ["cidr(self.cidr).containsIP('fd00::1')", false],
  ['cidr(self.v6).ip().family() == 6 && cidr(self.v6) == cidr(self.v6).masked()', true],
  ["isIP('192.0.2.1') && !isIP('192.0.2.0/24')", true],
  ["ip('ten').family() == 4", false],
] as const)
  test(`${rule} is ${kept ? 'kept' : 'not kept'}`, t => {
    t.is(isKept(rule, { self }), kept)
  })

test('a text that is no rule is a bug, and said', t => {
  for (const rule of ['self.', 'self.a ==', '(self.a', 'self.a + 1', "self.a.matches('x')", 'has(self)', 'self.a b'])
    t.throws(() => isKept(rule, { self: { a: true } }), { message: /^CEL: / }, rule)
})
