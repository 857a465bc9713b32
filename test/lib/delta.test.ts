import test from 'ava'
import fc from 'fast-check'
import { Delta } from '../../lib/delta.ts'

const same = (a: number, b: number) => a === b

test('removals come after additions', t => {
  const delta = new Delta(same)
  delta.saw('old', 1)
  delta.want('new', 2)
  t.deepEqual(
    [...delta.pending()],
    [
      { key: 'new', value: 2, seen: undefined },
      { key: 'old', seen: 1 },
    ],
  )
})

test('after any walk, carrying out everything pending leaves nothing pending and every key as wanted', t => {
  const key = fc.constantFrom('a', 'b', 'c', 'd')
  const step = fc.oneof(
    fc.record({ do: fc.constant('want' as const), key, value: fc.option(fc.nat(2), { nil: undefined }) }),
    fc.record({ do: fc.constant('saw' as const), key, value: fc.option(fc.nat(2), { nil: undefined }) }),
    fc.record({ do: fc.constant('resync' as const), entries: fc.array(fc.tuple(key, fc.nat(2))) }),
  )
  fc.assert(
    fc.property(fc.array(step), steps => {
      const delta = new Delta(same)
      for (const s of steps) {
        if (s.do === 'resync') delta.resync(s.entries)
        else delta[s.do](s.key, s.value)
      }
      for (const { key: k, value } of [...delta.pending()]) delta.saw(k, value)
      t.true(delta.inSync)
      t.deepEqual([...delta.seen()].sort(), [...delta.wanted()].sort())
    }),
  )
})

test('what is pending is taken bit by bit while it changes: each key once, as it is then, and none that came meanwhile', t => {
  const delta = new Delta<number>((a, b) => a === b)
  for (const key of ['a', 'b', 'c', 'd']) delta.want(key, 1)
  const left = delta.pending()
  t.like(left.next().value, { key: 'a', value: 1 })
  delta.saw('a', 1)
  delta.want('a', 2)
  delta.saw('b', 1)
  delta.want('c', 3)
  delta.saw('d', 1)
  delta.want('d')
  delta.want('e', 1)
  t.deepEqual(
    [...left].map(({ key, value }) => `${key} ${value}`),
    ['c 3', 'd undefined'],
  )
})
