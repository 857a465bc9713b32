// What the receipts of all nodes come to: one policy at a time, by walks, and for a whole cluster by its steps.
import test from 'ava'
import fc from 'fast-check'
import { PolicyDigest, revisionOf } from '../../api/policy-receipts.ts'
import type { PolicyReceipt } from '../../api/receipt-schemas.ts'
import { type BookedPolicy, ReceiptBook } from '../../controllers/receipt-book.ts'

const KIND = 'KubernetesNetworkPolicy'
const revision = (id: string, spec: unknown) => revisionOf(id, spec)
const booked = (id: string, spec: unknown, generation = 1): BookedPolicy => ({
  ...{ kind: KIND, revision: revision(id, spec), generation },
})

/** What a node that sees these policies says; `asked`: those that it needs. */
function says(
  seen: Readonly<Record<string, unknown>>,
  asked: readonly string[],
  failing: readonly string[] = [],
): PolicyReceipt {
  const digest = new PolicyDigest()
  for (const [id, spec] of Object.entries(seen)) digest.toggle(revision(id, spec))
  return {
    worked: { [KIND]: digest.text },
    enforced: asked.filter(id => !failing.includes(id)).map(id => revision(id, seen[id])),
    failing: failing.map(id => ({ policy: id, revision: revision(id, seen[id]), reason: 'Refused', message: 'no' })),
  }
}

function aBook(
  policies: Readonly<Record<string, unknown>>,
  receipts: Readonly<Record<string, PolicyReceipt>>,
): ReceiptBook {
  const book = new ReceiptBook()
  book.list(KIND, new Map(Object.entries(policies).map(([id, spec]) => [id, booked(id, spec)])), true)
  for (const [node, receipt] of Object.entries(receipts)) book.setReceipt(node, receipt)
  book.take(1e9)
  return book
}

const shown = (book: ReceiptBook, id: string) => {
  const { required, enforcing, lagging } = book.countOf(id)
  return [`${enforcing}/${required}`, ...lagging.map(({ node, reason }) => `${node} ${reason}`)]
}

test('a new policy is not said to be enforced before each node has said that it has worked through it', t => {
  const before = { a: 1 }
  const after = { a: 1, b: 1 }
  const all = { n1: says(before, ['a']), n2: says(before, ['a']), n3: says(before, []) }
  const book = aBook(before, all)
  t.deepEqual(shown(book, 'a'), ['2/2'])
  book.set(KIND, 'b', booked('b', 1))
  t.deepEqual(book.take(10), ['b'])
  t.deepEqual(shown(book, 'b'), ['0/3', 'n1 Behind', 'n2 Behind', 'n3 Behind'])
  book.setReceipt('n1', says(after, ['a', 'b']))
  book.setReceipt('n2', says(after, ['a', 'b']))
  t.deepEqual(shown(book, 'b'), ['2/3', 'n3 Behind'])
  book.setReceipt('n3', says(after, []))
  t.deepEqual(shown(book, 'b'), ['2/2'])
  t.deepEqual(shown(book, 'a'), ['2/2'])
})

test('a policy that changes counts as enforced where its new revision is, and no other policy is touched', t => {
  const one = { a: 1, b: 1 }
  const two = { a: 2, b: 1 }
  const book = aBook(one, { n1: says(one, ['a', 'b']), n2: says(one, ['a', 'b']) })
  book.set(KIND, 'a', booked('a', 2, 2))
  t.deepEqual(shown(book, 'a'), ['0/2', 'n1 Behind', 'n2 Behind'])
  book.setReceipt('n2', says(two, ['a', 'b']))
  t.deepEqual(shown(book, 'a'), ['1/2', 'n1 Behind'])
  t.deepEqual(shown(book, 'b'), ['2/2'])
  t.deepEqual(book.take(10), ['a'])
})

test('a node that refuses a policy is required, does not enforce it, and says why', t => {
  const all = { a: 1 }
  const book = aBook(all, { n1: says(all, ['a']), n2: says(all, ['a'], ['a']) })
  t.deepEqual(shown(book, 'a'), ['1/2', 'n2 Refused'])
  book.setReceipt('n2', says(all, ['a']))
  t.deepEqual(shown(book, 'a'), ['2/2'])
})

test('nodes that say why they lag come before those that say nothing: of thousands a status names the first ten', t => {
  const all = { a: 1 }
  const book = aBook(all, { n2: says({}, []), n8: says(all, ['a'], ['a']), n5: says(all, ['a'], ['a']) })
  book.setAwaited('n1', true)
  t.deepEqual(shown(book, 'a'), ['0/4', 'n5 Refused', 'n8 Refused', 'n1 NoReceipt', 'n2 Behind'])
})

test('a node that is awaited and says nothing counts for each policy, and no more once it speaks', t => {
  const all = { a: 1, b: 1 }
  const book = aBook(all, { n1: says(all, ['a']) })
  book.setAwaited('n2', true)
  t.deepEqual(book.take(10).toSorted(), ['a', 'b'])
  t.deepEqual(
    [shown(book, 'a'), shown(book, 'b')],
    [
      ['1/2', 'n2 NoReceipt'],
      ['0/1', 'n2 NoReceipt'],
    ],
  )
  book.setReceipt('n2', says(all, ['b']))
  book.setAwaited('n2', false)
  t.deepEqual([shown(book, 'a'), shown(book, 'b')], [['1/1'], ['1/1']])
  book.setReceipt('n2', undefined)
  t.deepEqual(shown(book, 'b'), ['0/0'])
})

test('a node that is ahead of what was seen here is as far as it was, and has its place when that is seen', t => {
  const [one, two] = [{ a: 1 }, { a: 1, b: 1 }]
  const book = aBook(one, { n1: says(one, ['a']) })
  book.setReceipt('n1', says(two, ['a', 'b']))
  t.deepEqual(shown(book, 'a'), ['1/1'])
  book.set(KIND, 'b', booked('b', 1))
  t.deepEqual(shown(book, 'b'), ['1/1'])
})

test('a policy that is what it was before is not new to a node that saw no more than that', t => {
  const one = { a: 1 }
  const book = aBook(one, { n1: says(one, ['a']) })
  book.set(KIND, 'a', booked('a', 2, 2))
  book.set(KIND, 'a', booked('a', 1, 3))
  t.deepEqual(shown(book, 'a'), ['1/1'])
})

test('after a restart a node with an unknown state lags in all that had not settled, and in nothing that had', t => {
  const [old, now] = [
    { a: 1, b: 1 },
    { a: 1, b: 2 },
  ]
  const book = aBook(now, { n1: says(old, ['a']), n2: says(now, ['a', 'b']) })
  book.settled('a', revision('a', 1))
  book.settled('b', revision('b', 1))
  t.deepEqual(shown(book, 'a'), ['2/2'])
  t.deepEqual(shown(book, 'b'), ['1/2', 'n1 Behind'])
})

/** What the counts are by definition, from the history of a cluster whose nodes each have seen a part of it. */
function byDefinition(
  history: readonly Readonly<Record<string, unknown>>[],
  nodes: readonly { at: number; asked: readonly string[] }[],
  id: string,
): string {
  const now = history.at(-1)!
  const changedAt = history.findLastIndex((state, i) => i === 0 || state[id] !== history[i - 1]![id])
  const has = ({ at, asked }: (typeof nodes)[number]) => asked.includes(id) && history[at]![id] === now[id]
  const enforcing = nodes.filter(has).length
  // a state that came again is that of the newest time it was so
  const placeOf = (at: number) => history.findLastIndex(state => JSON.stringify(state) === JSON.stringify(history[at]))
  const lagging = nodes.filter(node => !has(node) && placeOf(node.at) < changedAt).length
  return `${enforcing}/${enforcing + lagging}`
}

test('whatever nodes have seen of arbitrary changes, the counts are those of the definition', t => {
  const ids = ['a', 'b', 'c']
  const change = fc.record({ id: fc.constantFrom(...ids), spec: fc.constantFrom(1, 2, undefined) })
  const node = fc.record({ at: fc.nat(12), asked: fc.subarray(ids) })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), fc.array(node, { maxLength: 4 }), (changes, told) => {
      const history: Record<string, unknown>[] = [{ a: 1, b: 1 }]
      for (const { id, spec } of changes) {
        const next = { ...history.at(-1)! }
        if (spec === undefined) delete next[id]
        else next[id] = spec
        if (JSON.stringify(next) !== JSON.stringify(history.at(-1))) history.push(sorted(next))
      }
      const nodes = told.map(({ at, asked }) => ({ at: Math.min(at, history.length - 1), asked }))
      const book = new ReceiptBook()
      const all = Object.entries(history[0]!).map(([id, spec]) => [id, booked(id, spec)] as const)
      book.list(KIND, new Map(all), true)
      for (const [i, state] of history.entries()) {
        const before = history[i - 1]
        if (before !== undefined)
          for (const id of ids)
            if (state[id] !== before[id])
              book.set(KIND, id, state[id] === undefined ? undefined : booked(id, state[id]))
        for (const [n, { at, asked }] of nodes.entries())
          if (at === i)
            book.setReceipt(
              `n${n}`,
              says(
                state,
                asked.filter(id => state[id] !== undefined),
              ),
            )
      }
      for (const id of ids) {
        if (history.at(-1)![id] === undefined) continue
        if (shown(book, id)[0] !== byDefinition(history, nodes, id))
          throw new Error(`${id}: ${shown(book, id).join()} and by definition ${byDefinition(history, nodes, id)}`)
      }
    }),
    { numRuns: 500 },
  )
  t.pass()
})

function sorted(state: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(state).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}
