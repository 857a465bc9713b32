// A file whose job takes more than 400 lines says why in its opening comment, or is two files.
import test from 'ava'
import { files, textOf } from './source.ts'

const LIMIT = 400
const REASON = /^\/\/ Over 400 lines: \S.{20,}$/m

test('a file of more than 400 lines says why', t => {
  const long = files.filter(file => textOf(file).split('\n').length - 1 > LIMIT)
  t.deepEqual(
    long.filter(file => !REASON.test(textOf(file).slice(0, 1500))),
    [],
  )
})

test('a file that says why it is long is long', t => {
  const short = files.filter(file => textOf(file).split('\n').length - 1 <= LIMIT)
  t.deepEqual(
    short.filter(file => file !== 'test/structure/length.test.ts' && REASON.test(textOf(file).slice(0, 1500))),
    [],
  )
})
