// Labels and selectors for tests of policy: few words, so that they meet often.
import fc from 'fast-check'

const NAMES = ['app', 'role', 'projectcalico.org/namespace', 'projectcalico.org/orchestrator', 'pcns.team']
const VALUES = ['a', 'b', 'ab', 'k8s']

const name = fc.constantFrom(...NAMES)
const value = fc.constantFrom(...VALUES)

export const someLabels = fc.dictionary(name, value, { maxKeys: 4, noNullPrototype: true })

const term = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(name, value).map(([label, of]) => `${label} == "${of}"`) },
  fc.tuple(name, value).map(([label, of]) => `${label} != "${of}"`),
  fc
    .tuple(name, fc.constantFrom('contains', 'starts with', 'ends with'), value)
    .map(([l, op, v]) => `${l} ${op} "${v}"`),
  fc
    .tuple(name, fc.constantFrom('in', 'not in'), fc.array(value, { maxLength: 3 }))
    .map(([label, op, values]) => `${label} ${op} {${values.map(each => `"${each}"`).join(', ')}}`),
  name.map(label => `has(${label})`),
  name.map(label => `!has(${label})`),
  fc.constantFrom('all()', '!all()'),
)

export const someSelector = fc.oneof(
  { weight: 2, arbitrary: term },
  fc
    .tuple(fc.array(term, { minLength: 2, maxLength: 3 }), fc.constantFrom(' && ', ' || '))
    .map(([terms, op]) => terms.join(op)),
  fc.tuple(term, term, term).map(([a, b, c]) => `${a} && (${b} || !(${c}))`),
)
