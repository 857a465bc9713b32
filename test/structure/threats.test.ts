// docs/threats.md names the test that shows each of its claims: every one exists, and is used.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { files, textOf } from './source.ts'

const text = readFileSync(new URL('../../docs/threats.md', import.meta.url), 'utf8')
const shown = [...text.matchAll(/^- ([A-Z]\d*) `(test\/[^`]+)`: "(.+)"$/gm)].map(([, mark, file, title]) => {
  return { mark: mark!, file: file!, title: title! }
})

test('every test that docs/threats.md names exists, file and title', t => {
  t.true(shown.length > 50)
  const missing = shown.filter(({ file, title }) => !files.includes(file) || !textOf(file).includes(title))
  t.deepEqual(missing, [])
})

test('every row of docs/threats.md names its tests, and every test that is listed there belongs to a row', t => {
  const rows = text.split('\n').filter(line => line.startsWith('| ') && !line.endsWith(' shown by |'))
  const marks = rows.map(row => row.split(' | ').at(-1)!.replace(/ \|$/, '').split(', '))
  t.deepEqual([...new Set(marks.flat())].toSorted(), shown.map(({ mark }) => mark).toSorted())
})
