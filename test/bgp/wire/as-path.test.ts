import test from 'ava'
import {
  countAs,
  emitAsPath,
  firstAs,
  formatAsPath,
  mergeAs4Path,
  needsFourOctets,
  parseAsPath,
  pathLength,
  prepend,
  withoutConfed,
} from '../../../bgp/wire/as-path.ts'
import { toHex } from '../../../lib/bytes.ts'
import { emitted } from './wire.ts'

const sequence = (...asns: number[]) => ({ type: 2, asns })
const set = (...asns: number[]) => ({ type: 1, asns })
const confed = (...asns: number[]) => ({ type: 3, asns })
const confedSet = (...asns: number[]) => ({ type: 4, asns })

test('a path prints with sets in braces and confederation segments in brackets', t => {
  t.is(formatAsPath([confed(1, 2), confedSet(3, 4), sequence(5, 6), set(7, 8)]), '(1 2) [3,4] 5 6 {7,8}')
  t.is(formatAsPath([]), '')
})

test('a set counts one and confederation segments nothing towards the length', t => {
  t.is(pathLength([confed(1, 2), sequence(5, 6), set(7, 8)]), 3)
  t.is(pathLength([]), 0)
})

test('the first AS of a path is the first one outside the confederation, and a set is none', t => {
  t.is(firstAs([confed(1), sequence(5, 6)]), 5)
  t.is(firstAs([set(5)]), undefined)
  t.is(firstAs([]), undefined)
})

test('countAs counts an AS in every kind of segment', t => {
  t.is(countAs([confed(5), sequence(5, 5, 6), set(5)], 5), 4)
})

test('prepending adds to a first segment of the same type until it has 255 numbers', t => {
  t.deepEqual(prepend([sequence(3)], [1, 2]), [sequence(1, 2, 3)])
  t.deepEqual(prepend([set(3)], [1]), [sequence(1), set(3)])
  t.deepEqual(prepend([sequence(3)], [1], 3), [confed(1), sequence(3)])
  t.deepEqual(prepend([sequence(3)], []), [sequence(3)])
  const full = sequence(...new Array<number>(255).fill(9))
  t.deepEqual(prepend([full], [1]), [sequence(1), full])
})

test('a segment of more than 255 numbers is written as several', t => {
  const path = [sequence(...new Array<number>(300).fill(9))]
  const bytes = emitted(w => emitAsPath(w, path, 2))
  const back = parseAsPath(bytes, 0, bytes.length, 2)
  t.deepEqual(
    back?.map(s => s.asns.length),
    [255, 45],
  )
})

test('with two octets AS_TRANS stands for what does not fit', t => {
  t.is(toHex(emitted(w => emitAsPath(w, [sequence(4200000000, 7)], 2))), '02025ba00007')
  t.true(needsFourOctets([sequence(4200000000)]))
  t.false(needsFourOctets([confed(4200000000), sequence(7)]))
})

test('AS4_PATH replaces the tail of AS_PATH, and is ignored when it is the longer one', t => {
  t.deepEqual(mergeAs4Path([sequence(1, 23456, 3)], [sequence(70000, 3)]), [sequence(1, 70000, 3)])
  t.deepEqual(mergeAs4Path([sequence(23456)], [sequence(70000, 3)]), [sequence(23456)])
  t.deepEqual(mergeAs4Path([confed(9), sequence(1, 23456)], [sequence(70000)]), [confed(9), sequence(1, 70000)])
})

test('a path that leaves a confederation has no confederation segments', t => {
  t.deepEqual(withoutConfed([confed(1), sequence(2), confedSet(3)]), [sequence(2)])
})
