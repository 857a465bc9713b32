// The index answers as asking every selector about every item does, however it came to its state.
import test from 'ava'
import fc from 'fast-check'
import { evaluate, type Labels, parseSelector } from '../../../api/selector.ts'
import { SelectorIndex } from '../../../felix/policy/selector-index.ts'
import { someLabels, someSelector } from './selectors.ts'

type Item = { name: string }

/** An index, and what its tellings add up to. */
function watched() {
  const members = new Map<string, Set<string>>()
  const set = (selector: string) => {
    const found = members.get(selector) ?? new Set()
    members.set(selector, found)
    return found
  }
  const index = new SelectorIndex<Item>({
    entered: (selector, { name }) => {
      if (set(selector).has(name)) throw new Error(`${name} entered ${selector} twice`)
      set(selector).add(name)
    },
    left: (selector, { name }) => {
      if (!set(selector).delete(name)) throw new Error(`${name} left ${selector} without being there`)
    },
  })
  const register = (selector: string) => {
    index.register(selector)
    members.set(selector, new Set([...index.itemsOf(selector)].map(({ name }) => name)))
  }
  return { index, members, register }
}

const names = fc.constantFrom('one', 'two', 'three', 'four', 'five')
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ item: names, labels: fc.option(someLabels, { nil: undefined }) }) },
    { weight: 2, arbitrary: fc.record({ register: someSelector }) },
    fc.record({ unregister: fc.nat({ max: 20 }) }),
  ),
  { maxLength: 40 },
)

test('members that entered and left add up to what every selector says of every item', t => {
  fc.assert(
    fc.property(steps, walk => {
      const { index, members, register } = watched()
      const items = new Map<string, Item>()
      const labelsOf = new Map<string, Labels>()
      const registered: string[] = []
      for (const step of walk) {
        if ('register' in step) {
          if (registered.includes(step.register)) index.register(step.register)
          else register(step.register)
          registered.push(step.register)
        } else if ('unregister' in step) {
          const [text] = registered.splice(step.unregister, 1)
          if (text === undefined) continue
          index.unregister(text)
          if (!registered.includes(text)) members.delete(text)
        } else {
          const item = items.get(step.item) ?? { name: step.item }
          items.set(step.item, item)
          index.set(item, step.labels)
          if (step.labels === undefined) labelsOf.delete(step.item)
          else labelsOf.set(step.item, step.labels)
        }
        for (const text of new Set(registered)) {
          const selector = parseSelector(text)
          const expected = [...labelsOf].filter(([, labels]) => evaluate(selector, labels)).map(([name]) => name)
          t.deepEqual([...members.get(text)!].sort(), expected.sort(), text)
          t.deepEqual([...index.itemsOf(text)].map(({ name }) => name).sort(), expected.sort(), text)
        }
        for (const [name, labels] of labelsOf) {
          const expected = [...new Set(registered)].filter(text => evaluate(parseSelector(text), labels))
          t.deepEqual(index.selectorsOf(items.get(name)!).sort(), expected.sort())
        }
        t.deepEqual([...members.keys()].sort(), [...new Set(registered)].sort())
      }
    }),
    { numRuns: 300 },
  )
})

test('a change of one item asks few of 2,000 selectors of one namespace, and of one label in all namespaces', t => {
  for (const selectorOf of [
    (i: number) => `projectcalico.org/namespace == "one" && app == "a${i}"`,
    (i: number) => `app == "a" && projectcalico.org/namespace == "n${i}"`,
  ]) {
    const { index, register } = watched()
    for (let i = 0; i < 2000; i++) register(selectorOf(i))
    let read = 0
    const labels = (own: Labels) =>
      new Proxy(own, {
        get(of, key) {
          read++
          return Reflect.get(of, key)
        },
      })
    index.set({ name: 'pod' }, labels({ 'projectcalico.org/namespace': 'one', app: 'a' }))
    t.true(read < 500, `${read} labels were read`)
  }
})

test('a selector that demands one thing twice can be taken back', t => {
  const { index, register } = watched()
  register('app == "a" || app == "a" || app in {"a", "a"}')
  index.unregister('app == "a" || app == "a" || app in {"a", "a"}')
  const item = { name: 'pod' }
  index.set(item, { app: 'a' })
  t.deepEqual(index.selectorsOf(item), [])
})
